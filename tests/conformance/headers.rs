//! The fixed header (§2.2 of 3.1.1, §2.1 of 5.0), and the size of a packet.

use crate::kit::*;

tests! {
    ["2.2.2-1"] ["2.1.3-1"] flags_are_sent_as_listed,
    ["2.2.2-2"] ["§2.1.3"] reserved_flags_end_the_connection,
    ["§2.2.1"] ["§2.1.2"] packets_for_the_other_end_are_refused,
    ["§2.2.3"] ["§2.1.4"] the_length_bounds_the_packet,
    [] ["3.2.2-15"] nothing_larger_than_the_brokers_maximum_is_sent,
    [] ["3.1.2-24"] a_packet_over_the_own_maximum_is_refused_by_its_header,
    [] ["§3.2.2.3.6"] a_maximum_of_zero_is_refused,
}

fn flags_are_sent_as_listed(version: Version) {
    let mut config = Config::new(version);
    config.keep_alive = 10;
    let mut client = Client::new(config);
    client.connect();
    let mut sent = client.output();
    client.receive(accepting(version));
    client.publish(0, 0, b"");
    client.publish(1, 1, b"");
    client.publish(2, 2, b"");
    subscribe(&mut client, 3, filters(&["a"]));
    unsubscribe(&mut client, 4, "a");
    sent.extend(client.output());
    client.receive(&ack(0x50, 4));
    client.receive(&publish(version, 0x32, "t", 1, b""));
    client.receive(&publish(version, 0x34, "t", 2, b""));
    client.receive(&ack(0x62, 2));
    sent.extend(client.output());
    client.pass(10 * SECOND);
    sent.extend(client.output());
    client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default()).unwrap();
    sent.extend(client.output());
    let expected = [0x10, 0x30, 0x32, 0x34, 0x82, 0xA2, 0x62, 0x40, 0x50, 0x70, 0xC0, 0xE0];
    assert_eq!(kinds(&sent), expected);
}

fn reserved_flags_end_the_connection(version: Version) {
    let bodies: &[(u8, &str, &str)] = &[
        (0x40, "0001", "0001"),
        (0x50, "0001", "0001"),
        (0x60, "0001", "0001"),
        (0x70, "0001", "0001"),
        (0x90, "0001 00", "0001 00 00"),
        (0xB0, "0001", "0001 00 00"),
        (0xD0, "", ""),
        (0xE0, "", "00"),
        (0xF0, "", "00"),
    ];
    for (first, body_3, body_5) in bodies {
        let body = bytes(pick(version, body_3, body_5));
        for flags in 0..16 {
            let legal = match (first, version) {
                // 3.1 §2.1: a PUBREL that is sent again has DUP.
                (0x60, Version::V31) => flags & 7 == 2,
                (0x60, _) => flags == 2,
                _ => flags == 0,
            };
            if !legal {
                breach_in(version, || connected(version), &framed(first | flags, &body), 0x81);
            }
        }
    }
    for flags in 1..16 {
        let mut connack = accepting(version).to_vec();
        connack[0] |= flags;
        breach_in(version, || connecting(Config::new(version)), &connack, 0x81);
    }
}

fn packets_for_the_other_end_are_refused(version: Version) {
    let connect = connect_of(Config::new(version));
    breach_in(version, || connected(version), &connect, 0x82);
    let subscribe = pick(version, "82 06 0001 0001 'a' 00", "82 07 0001 00 0001 'a' 00");
    let unsubscribe = pick(version, "A2 05 0001 0001 'a'", "A2 06 0001 00 0001 'a'");
    for row in [subscribe, unsubscribe, "C0 00"] {
        breach(version, row, 0x82);
    }
    breach(version, "00 00", 0x81);
    if !v5(version) {
        breach(version, "F0 00", 0x81);
        breach(version, "E0 00", 0x82);
    }
}

fn the_length_bounds_the_packet(version: Version) {
    let suback = pick(version, "90 02 0001", "90 03 0001 00");
    for row in [
        "40 01 00",
        "50 00",
        "62 01 01",
        "70 01 01",
        "D0 01 00",
        "30 00",
        "30 01 00",
        "30 03 FFFF 61",
        "32 04 0001 61 00",
        "90 01 00",
        "B0 01 00",
    ] {
        breach(version, row, 0x81);
    }
    breach(version, suback, 0x82);
    if v5(version) {
        for row in [
            "40 04 0001 00 01",
            "40 05 0001 00 00 00",
            "30 03 0001 61",
            "90 02 0001",
            "B0 02 0001",
            "E0 03 00 00 00",
        ] {
            breach(version, row, 0x81);
        }
    } else {
        for row in ["40 03 0001 00", "50 03 0001 00", "62 03 0001 00", "B0 03 0001 00"] {
            breach(version, row, 0x81);
        }
    }
}

fn nothing_larger_than_the_brokers_maximum_is_sent(version: Version) {
    let make = || online(Config::new(version), &connack5(0, b"\x27\0\0\0\x14"));
    let mut client = make();
    client.publish(0, 1, &[b'x'; 12]);
    client.publish(1, 1, &[b'x'; 13]);
    let sent = client.output();
    assert_eq!(sent.len(), 20);
    assert_eq!(kinds(&sent), [0x32]);
    assert_eq!(outcome(&client, 1), Some(&Err(PublishFailure::TooLarge { size: 21, max: 20 })));

    let mut client = make();
    subscribe(&mut client, 0, filters(&["123456789012"]));
    subscribe(&mut client, 1, filters(&["12345678901234"]));
    unsubscribe(&mut client, 2, "1234567890123");
    unsubscribe(&mut client, 3, "123456789012345");
    let sent = packets(&client.output());
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20]);
    let too_large = Some(Err(RequestFailure::TooLarge { size: 22, max: 20 }));
    assert_eq!((answer(&client, 1), answer(&client, 3)), (too_large.clone(), too_large));

    // What only explains is left out, the rest is said.
    let mut client = make();
    let text = property(Property::ReasonString, PropertyValue::Utf8("too long to be told"));
    client.session.disconnect(client.now, ReasonCode::UNSPECIFIED_ERROR, text).unwrap();
    assert_eq!(client.output(), b"\xE0\x01\x80");

    // In flight on another connection, larger than this one takes.
    let mut client = online(lasting(version), accepting(version));
    client.publish(0, 1, &[b'x'; 100]);
    client.output();
    assert_eq!(reconnect(&mut client, &connack5(1, b"\x27\0\0\0\x14")), b"");
    assert!(matches!(outcome(&client, 0), Some(Err(PublishFailure::TooLarge { max: 20, .. }))));
}

fn a_packet_over_the_own_maximum_is_refused_by_its_header(version: Version) {
    let config = Config { maximum_packet_size: 64, ..Config::new(version) };
    assert!(connect_of(config.clone()).windows(5).any(|bytes| bytes == b"\x27\0\0\0\x40"));
    let fits = publish(version, 0x30, "t", 0, &[b'x'; 58]);
    assert_eq!(fits.len(), 64);
    taken_in(version, || online(config.clone(), accepting(version)), &fits, b"");
    breach_in(version, || online(config.clone(), accepting(version)), b"\x30\x3F", 0x95);
    breach_in(
        version,
        || online(config.clone(), accepting(version)),
        b"\x30\xFF\xFF\xFF\x7F",
        0x95,
    );
}

fn a_maximum_of_zero_is_refused(version: Version) {
    let client = || connecting(Config::new(version));
    breach_in(version, client, &connack5(0, b"\x27\0\0\0\0"), 0x82);
    breach_in(version, client, &connack5(0, b"\x21\0\0"), 0x82);
    for zero in [
        Config { maximum_packet_size: 0, ..Config::new(version) },
        Config { receive_maximum: 0, ..Config::new(version) },
    ] {
        assert!(zero.check("c").is_err());
    }
    // More than there can be is no limit.
    for size in [[0x10, 0, 0, 0], [0x10, 0, 0, 5], [0xFF; 4]] {
        let connack = connack5(0, &[&[0x27], &size[..]].concat());
        let client = online(Config::new(version), &connack);
        assert!(client.session.limits().maximum_packet_size >= 1 << 28);
    }
}
