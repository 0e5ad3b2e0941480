//! Data representation: strings, integers, properties (3.1.1 §1.5, 5.0 §1.5 and §2.2.2).

use midge::codec::{PropertyError, TopicError, check_topic_filter, check_topic_name};

use crate::kit::*;

tests! {
    ["1.5.3-1"] ["1.5.4-1"] strings_are_well_formed_utf_8,
    ["1.5.3-2"] ["1.5.4-2"] strings_have_no_null_character,
    ["1.5.3-3"] ["1.5.4-3"] a_byte_order_mark_is_kept,
    ["§1.5.3"] ["§1.5.4"] control_characters_and_long_strings,
    ["§2.2.3"] ["1.5.5-1"] integers_are_written_in_their_shortest_form,
    [] ["1.5.7-1"] both_halves_of_a_user_property_are_strings,
    [] ["2.2.2-1"] a_packet_without_properties_says_so,
    [] ["§2.2.2.2"] properties_stand_only_where_they_belong,
}

/// Strings that are not: surrogates, an overlong form, beyond U+10FFFF, a continuation alone, a
/// sequence cut short.
const ILL_FORMED: [&[u8]; 6] =
    [b"\xED\xA0\x80", b"\xED\xBF\xBF", b"\xC0\xAF", b"\xF5\x80\x80\x80", b"\x80", b"a\xE2\x82"];

/// A PUBLISH with any bytes for a topic.
fn publish_to(version: Version, topic: &[u8]) -> Vec<u8> {
    framed(0x30, &[&prefixed(topic), none(version), b"bad"].concat())
}

/// Packets for a connected client with this value in each of the string fields they can have.
fn packets_with(value: &[u8]) -> Vec<Vec<u8>> {
    let field = |id: u8| [&[id], &prefixed(value)[..]].concat();
    let with = |first, before: &[u8], property: &[u8], after: &[u8]| {
        framed(first, &[before, &[property.len() as u8], property, after].concat())
    };
    let name = [&[0x26], &prefixed(value)[..], b"\0\x01v"].concat();
    let pair = [b"\x26\0\x01n", &prefixed(value)[..]].concat();
    let mut packets = Vec::new();
    for property in [field(0x03), field(0x08), name, pair] {
        packets.push(with(0x30, b"\0\x01a", &property, b"bad"));
    }
    for (first, before, after) in [
        (0x40, &b"\0\x01\0"[..], &b""[..]),
        (0x50, b"\0\x01\0", b""),
        (0x62, b"\0\x01\0", b""),
        (0x70, b"\0\x01\0", b""),
        (0x90, b"\0\x01", b"\0"),
        (0xB0, b"\0\x01", b"\0"),
        (0xE0, b"\x80", b""),
    ] {
        packets.push(with(first, before, &field(0x1F), after));
    }
    packets.push(with(0xE0, b"\x9C", &field(0x1C), b""));
    packets
}

fn strings_are_well_formed_utf_8(version: Version) {
    for text in ILL_FORMED {
        breach_in(version, || connected(version), &publish_to(version, text), 0x81);
        if v5(version) {
            for packet in packets_with(text) {
                breach_in(version, || connected(version), &packet, 0x81);
            }
            for id in [0x12, 0x15, 0x1A, 0x1C, 0x1F] {
                let connack = connack5(0, &[&[id], &prefixed(text)[..]].concat());
                breach_in(version, || connecting(Config::new(version)), &connack, 0x81);
            }
        }
    }
}

fn strings_have_no_null_character(version: Version) {
    let text = b"a\0b";
    breach_in(version, || connected(version), &publish_to(version, text), 0x81);
    if v5(version) {
        for packet in packets_with(text) {
            // A response topic is refused as a topic.
            let reason = if packet.contains(&0x08) && packet[0] == 0x30 { 0x82 } else { 0x81 };
            let mut client = connected(version);
            client.receive(&packet);
            let found = protocol_error(&client).code();
            assert!(found == 0x81 || found == reason, "{packet:02X?}");
        }
        let mut list = Properties::default();
        let value = PropertyValue::Pair("n", "a\0b");
        let refused = list.push(Property::UserProperty, value);
        assert!(matches!(refused, Err(PropertyError::InvalidValue { .. })));
    }
    // Nothing of the kind can be sent.
    assert_eq!(TopicName::try_from("a\0b"), Err(TopicError::Nul));
    assert_eq!(TopicFilter::try_from("a\0b"), Err(TopicError::Nul));
    assert!(midge::session::Will::new("a\0b", "").is_err());
    let config = Config::new(version);
    assert!(config.check("a\0b").is_err());
    let config = Config { username: Some("a\0b".into()), ..config };
    assert!(config.check("c").is_err());
}

fn a_byte_order_mark_is_kept(version: Version) {
    let topic = "\u{FEFF}a";
    let mut client = connected(version);
    client.receive(&publish(version, 0x30, topic, 0, b"x"));
    assert_eq!(client.topics, [topic]);
    let mut sent = message(b"x");
    sent.topic = topic.try_into().unwrap();
    client.session.publish(client.now, Ticket::new(0), sent).unwrap();
    assert_eq!(client.output(), publish(version, 0x30, topic, 0, b"x"));
}

fn control_characters_and_long_strings(version: Version) {
    // Discouraged, not forbidden: a broker that sends them is not disconnected.
    let topic = "a\u{1B}[2J\u{85}\u{FFFF}";
    let mut client = connected(version);
    client.receive(&publish(version, 0x30, topic, 0, b""));
    assert_eq!(client.topics, [topic]);
    // A length of two bytes is neither exceeded nor wrapped around.
    let (longest, longer) = ("a".repeat(65_535), "a".repeat(65_536));
    let config = Config::new(version);
    assert_eq!(config.check(&longest), Ok(()));
    assert!(config.check(&longer).is_err());
    let named = |name: &str| Config { username: Some(name.into()), ..config.clone() };
    assert_eq!(named(&longest).check("c"), Ok(()));
    assert!(named(&longer).check("c").is_err());
    let secret = |bytes: &str| Config { password: Some(bytes.as_bytes().into()), ..named("u") };
    assert_eq!(secret(&longest).check("c"), Ok(()));
    assert!(secret(&longer).check("c").is_err());
    let will = |payload: &str| Config {
        will: Some(midge::session::Will::new("t", payload.to_owned()).unwrap()),
        ..config.clone()
    };
    assert_eq!(will(&longest).check("c"), Ok(()));
    assert!(will(&longer).check("c").is_err());
    assert_eq!(check_topic_name(&longest), Ok(()));
    assert_eq!(check_topic_name(&longer), Err(TopicError::TooLong { len: 65_536 }));
    assert_eq!(check_topic_filter(&longer), Err(TopicError::TooLong { len: 65_536 }));
    for value in [PropertyValue::Utf8(&longer), PropertyValue::Binary(longer.as_bytes())] {
        let (text, binary) = (Property::ContentType, Property::CorrelationData);
        let of = if matches!(value, PropertyValue::Utf8(_)) { text } else { binary };
        assert!(Properties::default().push(of, value).is_err());
    }
    for value in [PropertyValue::Pair(&longer, ""), PropertyValue::Pair("", &longer)] {
        assert!(Properties::default().push(Property::UserProperty, value).is_err());
    }
}

fn integers_are_written_in_their_shortest_form(version: Version) {
    // The packet after its fixed header: length of topic, topic, properties, payload.
    for (length, header) in [
        (127_usize, &[127_u8][..]),
        (128, &[0x80, 1]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 1]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 1]),
    ] {
        let mut client = connected(version);
        client.publish(0, 0, &vec![b'x'; length - 3 - none(version).len()]);
        let sent = client.output();
        assert_eq!(sent[1..1 + header.len()], *header, "{length}");
        assert_eq!(sent.len(), 1 + header.len() + length);
    }
    // Five bytes are one too many, and are not waited for.
    let mut client = connected(version);
    client.receive(b"\x30\x80\x80\x80\x80");
    assert_eq!(protocol_error(&client).code(), 0x81);
    // The encoder's duty alone: a longer form of four bytes has one meaning all the same.
    taken(version, "D0 80 00", "");
    if v5(version) {
        for (value, bytes) in
            [(1, &[1_u8][..]), (128, &[0x80, 1]), (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F])]
        {
            let identifier = PropertyValue::VariableByte(value);
            let mut client = connected(version);
            let properties = property(Property::SubscriptionIdentifier, identifier);
            subscribe(&mut client, 0, SubscribeRequest { properties, ..filters(&["a"]) });
            let sent = client.output();
            assert_eq!(sent[4], 1 + bytes.len() as u8);
            assert_eq!(sent[6..6 + bytes.len()], *bytes);
        }
        let large = PropertyValue::VariableByte(268_435_456);
        assert!(Properties::default().push(Property::SubscriptionIdentifier, large).is_err());
    }
}

fn both_halves_of_a_user_property_are_strings(version: Version) {
    for row in [
        "30 0F 0001 'a' 08 26 0001 C0 0002 'xx' 'bad'",
        "30 0F 0001 'a' 08 26 0002 'xx' 0001 C0 'bad'",
        "30 0F 0001 'a' 08 26 0001 00 0002 'xx' 'bad'",
        "40 0C 0001 00 08 26 0002 'xx' 0001 FF",
    ] {
        breach(version, row, 0x81);
    }
    for pair in [("a\0", "b"), ("a", "b\0")] {
        let value = PropertyValue::Pair(pair.0, pair.1);
        assert!(Properties::default().push(Property::UserProperty, value).is_err());
    }
}

fn a_packet_without_properties_says_so(version: Version) {
    // The largest packet there is need not be announced.
    let config = Config { maximum_packet_size: 268_435_460, ..Config::new(version) };
    assert_eq!(connect_of(config.clone()), bytes("10 0E 0004 'MQTT' 05 02 003C 00 0001 'c'"));
    let will = Some(midge::session::Will::new("w", "x").unwrap());
    let sent = connect_of(Config { will, ..config });
    assert_eq!(sent, bytes("10 15 0004 'MQTT' 05 06 003C 00 0001 'c' 00 0001 'w' 0001 'x'"));
    let mut client = connected(version);
    client.publish(0, 0, b"x");
    subscribe(&mut client, 1, filters(&["a"]));
    unsubscribe(&mut client, 2, "a");
    let sent = client.output();
    let expected = "30 05 0001 't' 00 'x'  82 07 0001 00 0001 'a' 00  A2 06 0002 00 0001 'a'";
    assert_eq!(sent, bytes(expected));
}

fn properties_stand_only_where_they_belong(version: Version) {
    // tests/wire/properties.rs has all 27 properties in all packets; these are the three kinds of
    // breach, each ending the connection with its code.
    breach(version, "30 08 0001 'a' 03 21 0001 'b'", 0x82); // receive maximum
    breach(version, "30 0A 0001 'a' 04 01 00 01 00 'bb'", 0x82); // payload format twice
    breach(version, "30 06 0001 'a' 02 FF 00", 0x81); // no such property
    breach(version, "30 07 0001 'a' 05 01 00 'b'", 0x81); // longer than the packet
    breach(version, "30 07 0001 'a' 01 01 00 'b'", 0x81); // cut by its length
}
