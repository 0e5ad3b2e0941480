//! Known bugs of other MQTT implementations, each with the bytes that set it off.

use std::time::{Duration, Instant};

use midge::codec::{
    Connect, Cut, EncodeError, MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, Packet, Publish, QoS,
    ReasonCode, cut, decode, topic_matches,
};

use crate::support::*;

fn refused(version: midge::codec::Version, receiver: midge::codec::Role, digits: &str) -> u8 {
    let bytes = hex(digits);
    match read(version, receiver, &bytes) {
        Err(error) => error.reason().code(),
        Ok(packet) => panic!("{digits} is understood as {packet:?}"),
    }
}

#[test]
fn cve_2024_10525_suback_without_reason_codes() {
    assert_eq!(refused(V311, Client, "90 02 0001"), 0x82);
    assert_eq!(refused(V5, Client, "90 03 0001 00"), 0x82);
}

#[test]
fn cve_2026_8686_property_past_the_property_block() {
    // The reason string says 5 bytes, the block has 2 more, the packet has 5 more.
    assert_eq!(refused(V5, Client, "20 0B 00 00 05 1F 0005 6162 636465"), 0x81);
}

#[test]
fn cve_2026_54412_topic_longer_than_the_packet() {
    assert_eq!(refused(V311, Client, "30 07 FFFF 4142434445"), 0x81);
    assert_eq!(refused(V311, Client, "32 04 0001 61 00"), 0x81);
}

#[test]
fn cve_2019_17210_topic_past_the_end() {
    assert_eq!(refused(V311, Client, "30 04 0003 6162"), 0x81);
    assert_eq!(refused(V5, Client, "30 04 0003 6162"), 0x81);
}

#[test]
fn cve_2021_41036_remaining_length_beyond_the_limit() {
    let limit = 1024;
    for (digits, fits) in [("30 FC07", true), ("30 FD07", true), ("30 FE07", false)] {
        // 1020, 1021 and 1022 bytes after a header of 3.
        assert_eq!(cut(&hex(digits), limit).is_ok(), fits, "{digits}");
    }
}

#[test]
fn paho_c_985_connack_with_a_bogus_property_length() {
    assert_eq!(refused(V5, Client, "20 0B 00 00 80FFFF0A 27 00989680"), 0x81);
}

#[test]
fn cve_2026_21888_integer_of_five_bytes() {
    assert!(cut(&hex("30 FFFFFFFF7F"), MAX_PACKET_SIZE).is_err());
    assert_eq!(refused(V5, Client, "30 08 0001 61 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "30 0A 0001 61 06 0B FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "20 07 00 00 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "40 08 0001 00 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "90 07 0001 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "B0 07 0001 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "E0 06 80 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Client, "F0 06 18 FFFFFFFF7F"), 0x81);
    assert_eq!(refused(V5, Server, "82 0B 0001 FFFFFFFF7F 0001 61 00"), 0x81);
    assert_eq!(refused(V5, Server, "A2 0A 0001 FFFFFFFF7F 0001 61"), 0x81);
    assert_eq!(refused(V5, Server, "10 12 0004 4D515454 05 02 003C FFFFFFFF7F 0001 61"), 0x81);
    assert_eq!(
        refused(V5, Server, "10 18 0004 4D515454 05 06 003C 00 0000 FFFFFFFF7F 0001 77 0001 78"),
        0x81
    );
}

#[test]
fn cve_2026_25627_fewer_bytes_than_declared() {
    assert_eq!(cut(&hex("30 8020 000161"), MAX_PACKET_SIZE), Ok(Cut::Need(4093)));
}

#[test]
fn nanomq_1169_qos_publish_without_packet_identifier() {
    assert_eq!(refused(V311, Client, "32 03 0001 61"), 0x81);
    assert_eq!(refused(V5, Client, "34 04 0001 61 00"), 0x81);
}

#[test]
fn wolfmqtt_521_suback_with_codes_of_no_table() {
    for version in [V311, V5] {
        for code in ["03", "7F"] {
            let properties = if version == V5 { "04 0001 00" } else { "03 0001" };
            assert_eq!(refused(version, Client, &format!("90 {properties} {code}")), 0x82);
        }
    }
}

#[test]
fn paho_golang_15_packets_of_too_few_bytes() {
    for &version in ALL {
        for receiver in [Client, Server] {
            for first in (0x00..=0xF0).step_by(0x10).flat_map(|first| [first, first | 2]) {
                for len in 0..=4 {
                    let bytes = framed(first, &vec![0; len]);
                    crate::fuzz::law::stream(version, receiver, &bytes);
                }
            }
        }
        assert!(read(version, Client, &hex("30 00")).is_err());
        assert!(read(version, Client, &hex("32 00")).is_err());
    }
}

#[test]
fn cve_2025_10543_topic_whose_length_wraps() {
    let topic = "a".repeat(65_536);
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &topic,
        packet_id: None,
        properties: Default::default(),
        payload: b"",
    };
    let too_long = EncodeError::FieldTooLong { field: "topic name", len: 65_536 };
    for &version in &[V311, V5] {
        assert_eq!(write(version, &Packet::Publish(publish)), Err(too_long.clone()));
        let fits = Publish { topic: &topic[1..], ..publish };
        let bytes = write(version, &Packet::Publish(fits)).unwrap();
        assert_eq!(read(version, Client, &bytes), Ok(Packet::Publish(fits)));
    }
}

#[test]
fn paho_golang_739_remaining_length_of_five_bytes() {
    // Never touched, so the system gives no memory for it.
    let payload = vec![0; MAX_REMAINING_LENGTH as usize + 1 - 3];
    let mut publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a",
        packet_id: None,
        properties: Default::default(),
        payload: &payload,
    };
    let mut out = Vec::new();
    let too_large = EncodeError::PacketTooLarge { size: u64::from(MAX_REMAINING_LENGTH) + 1 };
    assert_eq!(publish.encode_head(V311, &mut out), Err(too_large.clone()));
    assert_eq!(publish.encode(V311, &mut out), Err(too_large));
    assert!(out.is_empty());

    publish.payload = &payload[1..];
    publish.encode_head(V311, &mut out).unwrap();
    assert_eq!(out, hex("30 FFFFFF7F 0001 61"));
    assert_eq!(publish.encoded_len(V311), Ok(MAX_PACKET_SIZE as usize));
    assert!(publish.encoded_len(V5).is_err());
}

#[test]
fn paho_golang_754_memory_by_declaration() {
    // Nothing is allocated for it: the session test counts the bytes.
    assert_eq!(cut(&hex("30 FFFFFF7F"), MAX_PACKET_SIZE), Ok(Cut::Need(268_435_455)));
    let error = cut(&hex("30 FFFFFF7F"), 1 << 20).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PACKET_TOO_LARGE);
}

#[test]
fn rumqtt_1038_zero_where_zero_is_forbidden() {
    assert_eq!(refused(V5, Client, "20 06 00 00 03 21 0000"), 0x82);
    assert_eq!(refused(V5, Client, "30 07 0001 61 03 23 0000"), 0x94);
    assert_eq!(refused(V5, Client, "30 06 0001 61 02 0B 00"), 0x82);
}

#[test]
fn cve_2017_10910_very_many_tiny_packets() {
    let count = 200_000;
    let bytes = hex("30 03 0001 61").repeat(count);
    let (mut rest, mut found) = (&bytes[..], 0);
    while let Cut::Frame { frame, len } = cut(rest, MAX_PACKET_SIZE).unwrap() {
        assert!(matches!(decode(V311, Client, frame), Ok(Packet::Publish(_))));
        (rest, found) = (&rest[len..], found + 1);
    }
    assert_eq!((found, rest.len()), (count, 0));
}

#[test]
fn cve_2016_10523_subscribe_past_its_end() {
    assert_eq!(refused(V311, Server, "82 05 0001 FFFF 61"), 0x81);
    assert_eq!(refused(V311, Server, "82 03 0001 00"), 0x81);
}

#[test]
fn mqtt_js_1176_alias_before_its_topic() {
    let bytes = hex("30 06 0000 03 23 0009");
    let Ok(Packet::Publish(publish)) = read(V5, Client, &bytes) else { panic!() };
    assert_eq!((publish.topic, publish.properties.topic_alias()), ("", Some(9)));
}

#[test]
fn cve_2021_28166_connack_to_a_server() {
    let connect = hex("10 10 0004 4D515454 05 02 003C 03 210014 0000");
    assert!(matches!(read(V5, Server, &connect), Ok(Packet::Connect(_))));
    assert_eq!(refused(V5, Server, "29 02 0001"), 0x81);
    assert_eq!(refused(V5, Server, "20 03 00 00 00"), 0x82);
}

#[test]
fn cve_2023_0809_large_packet_before_connack() {
    let error = cut(&hex("90 FFFFFF7F"), 65_536).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PACKET_TOO_LARGE);
}

#[test]
fn cve_2023_3592_will_with_properties_of_others() {
    for properties in ["03 23 0001", "02 17 01", "05 11 00000001", "03 15 0000", "02 0B 01"] {
        let body =
            [hex("0004 4D515454 05 06 003C 00 0001 61"), hex(properties), hex("0001 77 0001 78")]
                .concat();
        let error = read(V5, Server, &framed(0x10, &body)).unwrap_err();
        assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR, "{properties}");
    }
}

#[test]
fn cve_2021_41039_very_many_user_properties() {
    let count = 200_000;
    let block = hex("26 0001 6B 0001 76").repeat(count);
    let mut body = hex("00 00");
    put_variable(&mut body, block.len());
    body.extend(block);
    let bytes = framed(0x20, &body);

    let start = Instant::now();
    let Ok(Packet::ConnAck(connack)) = read(V5, Client, &bytes) else { panic!() };
    assert_eq!(connack.properties.user_properties().count(), count);
    assert_eq!(connack.properties.receive_maximum(), None);
    assert_eq!(write(V5, &Packet::ConnAck(connack)).as_ref(), Ok(&bytes));
    // One pass takes milliseconds; one per property would take minutes.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn cve_2019_11779_topic_of_very_many_levels() {
    let name = "/".repeat(65_535);
    let filter = "+/".repeat(32_767) + "#";
    assert!(topic_matches("#", &name));
    assert!(topic_matches(&filter, &name));
    assert!(topic_matches(&name, &name));
    assert!(!topic_matches(&name, &name[1..]));
}

#[test]
fn cve_2021_34432_empty_topic() {
    assert_eq!(refused(V311, Client, "30 02 0000"), 0x82);
    assert_eq!(refused(V5, Client, "30 03 0000 00"), 0x82);
}

#[test]
fn cve_2018_12543_topics_that_begin_with_a_dollar() {
    for topic in ["$", "$x", "$SYS", "$share", "$share/g/a", "$/"] {
        let body = prefixed(topic.as_bytes());
        let bytes = framed(0x30, &body);
        let Ok(Packet::Publish(publish)) = read(V311, Client, &bytes) else { panic!("{topic}") };
        assert_eq!(publish.topic, topic);
    }
}

#[test]
fn passwords_stay_out_of_debug() {
    let connect = Connect {
        version: V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "a",
        will: None,
        username: Some("me"),
        password: Some(b"canary"),
        properties: list(&[
            (midge::codec::Property::AuthenticationMethod, midge::codec::PropertyValue::Utf8("m")),
            (
                midge::codec::Property::AuthenticationData,
                midge::codec::PropertyValue::Binary(b"canary"),
            ),
        ]),
    };
    let shown = format!("{:?}", Packet::Connect(Box::new(connect)));
    assert!(shown.contains("password: Some(6 bytes)"), "{shown}");
    assert!(shown.contains("authentication-data: 6 bytes"), "{shown}");
    assert!(!shown.contains("canary") && !shown.contains("99, 97"), "{shown}");
}
