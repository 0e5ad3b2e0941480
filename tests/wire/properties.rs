//! The 27 properties in each of the 15 packets and in the will, absent, once and twice, against a
//! table copied by hand from table 2-4 of the specification.

use midge::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, EncodeError, FilterRequest, Packet, Properties,
    PropertiesRef, Property, PropertyError, PropertyOwner, PropertyType, PropertyValue as Value,
    Publish, QoS, ReasonCode, Role, SubAck, Subscribe, UnsubAck, Unsubscribe, Will,
};

use crate::support::*;

/// Identifier, name, a legal value on the wire, and the owners: C CONNECT, A CONNACK, P PUBLISH,
/// W will, 4 PUBACK, 5 PUBREC, 6 PUBREL, 7 PUBCOMP, S SUBSCRIBE, s SUBACK, U UNSUBSCRIBE,
/// u UNSUBACK, D DISCONNECT, H AUTH. After a space those that may have it more than once.
const TABLE: [(u8, &str, &str, &str); 27] = [
    (0x01, "payload-format-indicator", "01", "PW "),
    (0x02, "message-expiry-interval", "00000000", "PW "),
    (0x03, "content-type", "0001 61", "PW "),
    (0x08, "response-topic", "0001 61", "PW "),
    (0x09, "correlation-data", "0001 FF", "PW "),
    (0x0B, "subscription-identifier", "FFFFFF7F", "PS P"),
    (0x11, "session-expiry-interval", "FFFFFFFF", "CAD "),
    (0x12, "assigned-client-identifier", "0001 61", "A "),
    (0x13, "server-keep-alive", "0000", "A "),
    (0x15, "authentication-method", "0001 61", "CAH "),
    (0x16, "authentication-data", "0001 FF", "CAH "),
    (0x17, "request-problem-information", "01", "C "),
    (0x18, "will-delay-interval", "00000000", "W "),
    (0x19, "request-response-information", "01", "C "),
    (0x1A, "response-information", "0001 61", "A "),
    (0x1C, "server-reference", "0001 61", "AD "),
    (0x1F, "reason-string", "0001 61", "A4567suDH "),
    (0x21, "receive-maximum", "0001", "CA "),
    (0x22, "topic-alias-maximum", "0000", "CA "),
    (0x23, "topic-alias", "FFFF", "P "),
    (0x24, "maximum-qos", "00", "A "),
    (0x25, "retain-available", "01", "A "),
    (0x26, "user-property", "0001 61 0001 62", "CAPW4567SsUuDH CAPW4567SsUuDH"),
    (0x27, "maximum-packet-size", "00000001", "CA "),
    (0x28, "wildcard-subscription-available", "00", "A "),
    (0x29, "subscription-identifier-available", "01", "A "),
    (0x2A, "shared-subscription-available", "01", "A "),
];

/// Who has properties, who receives them, and what stands before and after them in its body.
/// The two packets of a ping have neither properties nor a body.
const OWNERS: [(char, Role, u8, &str, &str); 16] = [
    ('C', Server, 0x10, "0004 4D515454 05 02 003C", "0001 61"),
    ('W', Server, 0x10, "0004 4D515454 05 06 003C 00 0001 61", "0001 77 0001 78"),
    ('A', Client, 0x20, "00 00", ""),
    ('P', Client, 0x30, "0001 61", "FF"),
    ('4', Client, 0x40, "0001 00", ""),
    ('5', Client, 0x50, "0001 00", ""),
    ('6', Client, 0x62, "0001 00", ""),
    ('7', Client, 0x70, "0001 00", ""),
    ('S', Server, 0x82, "0001", "0001 61 00"),
    ('s', Client, 0x90, "0001", "00"),
    ('U', Server, 0xA2, "0001", "0001 61"),
    ('u', Client, 0xB0, "0001", "00"),
    ('c', Server, 0xC0, "", ""),
    ('d', Client, 0xD0, "", ""),
    ('D', Server, 0xE0, "00", ""),
    ('H', Server, 0xF0, "18", ""),
];

const DATA: u8 = 0x16;

fn is_in(owner: char, owners: &str) -> (bool, bool) {
    let (allowed, repeatable) = owners.split_once(' ').unwrap();
    (allowed.contains(owner), repeatable.contains(owner))
}

fn packet_bytes(owner: (char, Role, u8, &str, &str), properties: &[u8]) -> Vec<u8> {
    let (_, _, first, before, after) = owner;
    let mut body = hex(before);
    put_variable(&mut body, properties.len());
    body.extend_from_slice(properties);
    body.extend(hex(after));
    framed(first, &body)
}

/// The property, `times` over, and before it the one that it cannot stand without.
fn block(id: u8, value: &str, times: usize) -> Vec<u8> {
    let once = [&[id], &hex(value)[..]].concat();
    let method = if id == DATA { hex("15 0001 6D") } else { Vec::new() };
    [method, once.repeat(times)].concat()
}

#[test]
fn each_property_is_accepted_where_and_as_often_as_the_specification_says() {
    for (id, name, value, owners) in TABLE {
        for owner in OWNERS {
            let (allowed, repeatable) = is_in(owner.0, owners);
            for (times, expected) in [(1, allowed), (2, repeatable), (3, repeatable)] {
                let bytes = packet_bytes(owner, &block(id, value, times));
                let read = read(V5, owner.1, &bytes);
                let what = format!("{name} {times} times in {}: {read:?}", owner.0);
                match read {
                    Ok(packet) => {
                        assert!(expected, "{what}");
                        assert_eq!(write(V5, &packet).as_ref(), Ok(&bytes), "{what}");
                    }
                    Err(error) => {
                        assert!(!expected, "{what}");
                        let ping = ['c', 'd'].contains(&owner.0);
                        let reason = if ping { 0x81 } else { 0x82 };
                        assert_eq!(error.reason().code(), reason, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_property_cut_or_extended_is_refused() {
    for (id, name, value, owners) in TABLE {
        for owner in OWNERS.into_iter().filter(|owner| is_in(owner.0, owners).0) {
            let whole = block(id, value, 1);
            let needed = if id == DATA { hex("15 0001 6D").len() } else { 0 };
            for len in needed + 1..whole.len() {
                let bytes = packet_bytes(owner, &whole[..len]);
                let error = read(V5, owner.1, &bytes).unwrap_err();
                assert_eq!(error.reason(), ReasonCode::MALFORMED_PACKET, "{name} cut at {len}");
            }
            let longer = [&whole[..], &[0x00]].concat();
            let error = read(V5, owner.1, &packet_bytes(owner, &longer)).unwrap_err();
            assert_eq!(error.reason(), ReasonCode::MALFORMED_PACKET, "{name} and a byte");
        }
    }
}

#[test]
fn no_other_identifier_is_a_property() {
    for id in 0..=255_u8 {
        let known = TABLE.iter().find(|row| row.0 == id);
        let property = Property::from_id(id);
        assert_eq!(property.map(Property::name), known.map(|row| row.1));
        if let Some(property) = property {
            assert_eq!(property.id(), id);
            assert_eq!(Property::from_name(property.name()), Some(property));
            assert_eq!(property.to_string(), property.name());
            continue;
        }
        for owner in OWNERS {
            let bytes = packet_bytes(owner, &[id, 0, 0, 0, 0]);
            let error = read(V5, owner.1, &bytes).unwrap_err();
            assert_eq!(error.reason(), ReasonCode::MALFORMED_PACKET, "0x{id:02x}");
        }
    }
    assert_eq!(Property::ALL.len(), TABLE.len());
    assert_eq!(Property::from_name("content_type"), None);
}

#[test]
fn flags_are_zero_or_one() {
    for id in [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A] {
        let (_, name, _, owners) = TABLE.iter().find(|row| row.0 == id).unwrap();
        for owner in OWNERS.into_iter().filter(|owner| is_in(owner.0, owners).0) {
            for value in 0..=255_u8 {
                let bytes = packet_bytes(owner, &[id, value]);
                let read = read(V5, owner.1, &bytes);
                assert_eq!(read.is_ok(), value < 2, "{name} {value}: {read:?}");
            }
        }
    }
}

#[test]
fn authentication_data_needs_its_method_before_or_after_it() {
    for owner in OWNERS.into_iter().filter(|owner| "CAH".contains(owner.0)) {
        let data = hex("16 0001 FF");
        let method = hex("15 0001 6D");
        for (block, accepted) in [
            (data.clone(), false),
            ([data.clone(), method.clone()].concat(), true),
            ([method, data].concat(), true),
        ] {
            let bytes = packet_bytes(owner, &block);
            assert_eq!(read(V5, owner.1, &bytes).is_ok(), accepted, "{}: {block:02x?}", owner.0);
        }
    }
}

#[test]
fn the_encoder_refuses_what_the_decoder_does() {
    for (id, name, value, owners) in TABLE {
        let property = Property::from_id(id).unwrap();
        let mut list = Properties::new();
        if id == DATA {
            list.push(Property::AuthenticationMethod, Value::Utf8("m")).unwrap();
        }
        for times in 1..=2 {
            push(&mut list, property, &hex(value));
            for owner in OWNERS {
                let Some((packet, at)) = packet_with(owner.0, list.as_ref()) else { continue };
                let (allowed, repeatable) = is_in(owner.0, owners);
                let expected = if !allowed {
                    // Its companion is the first that has no place here.
                    let property =
                        if id == DATA { Property::AuthenticationMethod } else { property };
                    Err(PropertyError::NotAllowed { property, owner: at })
                } else if times == 2 && !repeatable {
                    Err(PropertyError::Repeated { property })
                } else {
                    Ok(())
                };
                assert_eq!(list.check(at), expected, "{name} {times} times in {at}");
                let written = write(V5, &packet).map(|_| ());
                assert_eq!(
                    written,
                    expected.map_err(EncodeError::Property),
                    "{name} {times} times in {at}"
                );
                for version in [V31, V311] {
                    if !matches!(packet, Packet::Connect(_)) {
                        let written = write(version, &packet);
                        assert!(
                            matches!(written, Err(EncodeError::NotInVersion { .. })),
                            "{name} in {version}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_list_takes_only_values_of_the_right_type_that_are_legal() {
    let mut list = Properties::new();
    let values = [
        Value::Byte(1),
        Value::TwoByte(1),
        Value::FourByte(1),
        Value::VariableByte(1),
        Value::Binary(b"a"),
        Value::Utf8("a"),
        Value::Pair("a", "a"),
    ];
    for &property in Property::ALL {
        for value in values {
            let expected = property.data_type();
            let mut list = Properties::new();
            if value.data_type() == expected {
                assert_eq!(list.push(property, value), Ok(()));
                assert_eq!(list.as_ref().find(property), Some(value));
            } else {
                let error = PropertyError::WrongType { property, expected };
                assert_eq!(list.push(property, value), Err(error));
                assert!(list.is_empty());
            }
        }
    }

    let long = "a".repeat(65_536);
    let mut refuse = |property, value| {
        let error = list.push(property, value).unwrap_err();
        assert!(list.is_empty(), "{error}");
        error
    };
    let invalid = |property, what| PropertyError::InvalidValue { property, what };
    let too_long = |property| PropertyError::TooLong { property, len: 65_536 };
    for (property, value, error) in [
        (Property::ReceiveMaximum, Value::TwoByte(0), "is zero"),
        (Property::MaximumPacketSize, Value::FourByte(0), "is zero"),
        (Property::TopicAlias, Value::TwoByte(0), "is zero"),
        (Property::SubscriptionIdentifier, Value::VariableByte(0), "is zero"),
        (
            Property::SubscriptionIdentifier,
            Value::VariableByte(268_435_456),
            "is larger than 268435455",
        ),
        (Property::MaximumQos, Value::Byte(2), "is neither 0 nor 1"),
        (Property::PayloadFormatIndicator, Value::Byte(2), "is neither 0 nor 1"),
        (Property::ResponseTopic, Value::Utf8("a/#"), "is not a topic name"),
        (Property::ResponseTopic, Value::Utf8(""), "is not a topic name"),
        (Property::ContentType, Value::Utf8("a\0"), "contains U+0000"),
        (Property::UserProperty, Value::Pair("\0", ""), "contains U+0000"),
        (Property::UserProperty, Value::Pair("", "\0"), "contains U+0000"),
    ] {
        assert_eq!(refuse(property, value), invalid(property, error));
    }
    for (property, value) in [
        (Property::ContentType, Value::Utf8(&long)),
        (Property::CorrelationData, Value::Binary(long.as_bytes())),
        (Property::UserProperty, Value::Pair(&long, "")),
        (Property::UserProperty, Value::Pair("", &long)),
    ] {
        assert_eq!(refuse(property, value), too_long(property));
    }

    let longest = &long[1..];
    for (property, value) in [
        (Property::ContentType, Value::Utf8(longest)),
        (Property::CorrelationData, Value::Binary(longest.as_bytes())),
        (Property::UserProperty, Value::Pair(longest, longest)),
        (Property::SubscriptionIdentifier, Value::VariableByte(268_435_455)),
    ] {
        assert_eq!(list.push(property, value), Ok(()));
        assert_eq!(list.as_ref().find(property), Some(value));
    }
}

#[test]
fn getters_read_what_was_pushed() {
    let list = list(&[
        (Property::PayloadFormatIndicator, Value::Byte(1)),
        (Property::MessageExpiryInterval, Value::FourByte(1)),
        (Property::ContentType, Value::Utf8("ct")),
        (Property::ResponseTopic, Value::Utf8("rt")),
        (Property::CorrelationData, Value::Binary(b"cd")),
        (Property::SubscriptionIdentifier, Value::VariableByte(2)),
        (Property::SubscriptionIdentifier, Value::VariableByte(300)),
        (Property::SessionExpiryInterval, Value::FourByte(3)),
        (Property::AssignedClientIdentifier, Value::Utf8("id")),
        (Property::ServerKeepAlive, Value::TwoByte(4)),
        (Property::AuthenticationMethod, Value::Utf8("am")),
        (Property::AuthenticationData, Value::Binary(b"ad")),
        (Property::RequestProblemInformation, Value::Byte(0)),
        (Property::WillDelayInterval, Value::FourByte(5)),
        (Property::RequestResponseInformation, Value::Byte(1)),
        (Property::ResponseInformation, Value::Utf8("ri")),
        (Property::ServerReference, Value::Utf8("sr")),
        (Property::ReasonString, Value::Utf8("rs")),
        (Property::ReceiveMaximum, Value::TwoByte(6)),
        (Property::TopicAliasMaximum, Value::TwoByte(7)),
        (Property::TopicAlias, Value::TwoByte(8)),
        (Property::MaximumQos, Value::Byte(1)),
        (Property::RetainAvailable, Value::Byte(0)),
        (Property::UserProperty, Value::Pair("a", "1")),
        (Property::UserProperty, Value::Pair("a", "2")),
        (Property::MaximumPacketSize, Value::FourByte(9)),
        (Property::WildcardSubscriptionAvailable, Value::Byte(1)),
        (Property::SubscriptionIdentifierAvailable, Value::Byte(0)),
        (Property::SharedSubscriptionAvailable, Value::Byte(1)),
    ]);
    assert_eq!(list.payload_format_indicator(), Some(true));
    assert_eq!(list.message_expiry_interval(), Some(1));
    assert_eq!(list.content_type(), Some("ct"));
    assert_eq!(list.response_topic(), Some("rt"));
    assert_eq!(list.correlation_data(), Some(&b"cd"[..]));
    assert_eq!(list.subscription_identifiers().collect::<Vec<_>>(), [2, 300]);
    assert_eq!(list.session_expiry_interval(), Some(3));
    assert_eq!(list.assigned_client_identifier(), Some("id"));
    assert_eq!(list.server_keep_alive(), Some(4));
    assert_eq!(list.authentication_method(), Some("am"));
    assert_eq!(list.authentication_data(), Some(&b"ad"[..]));
    assert_eq!(list.request_problem_information(), Some(false));
    assert_eq!(list.will_delay_interval(), Some(5));
    assert_eq!(list.request_response_information(), Some(true));
    assert_eq!(list.response_information(), Some("ri"));
    assert_eq!(list.server_reference(), Some("sr"));
    assert_eq!(list.reason_string(), Some("rs"));
    assert_eq!(list.receive_maximum(), Some(6));
    assert_eq!(list.topic_alias_maximum(), Some(7));
    assert_eq!(list.topic_alias(), Some(8));
    assert_eq!(list.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(list.retain_available(), Some(false));
    assert_eq!(list.user_properties().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
    assert_eq!(list.maximum_packet_size(), Some(9));
    assert_eq!(list.wildcard_subscription_available(), Some(true));
    assert_eq!(list.subscription_identifier_available(), Some(false));
    assert_eq!(list.shared_subscription_available(), Some(true));
    assert_eq!(list.iter().count(), 29);

    let none = PropertiesRef::default();
    assert!(none.is_empty() && none.iter().next().is_none());
    assert_eq!(none.receive_maximum(), None);
}

#[test]
fn a_list_is_small_and_extends() {
    assert!(size_of::<Properties>() <= 24);
    let mut both = Properties::new().with(Property::TopicAlias, Value::TwoByte(1)).unwrap();
    both.extend(list(&[(Property::ContentType, Value::Utf8("x"))]));
    assert_eq!(both.as_ref().encoded_len(), 3 + 4);
    assert_eq!(Properties::from(both.as_ref()), both);
    assert_eq!(format!("{both:?}"), r#"{topic-alias: 1, content-type: "x"}"#);
}

fn push(list: &mut Properties, property: Property, wire: &[u8]) {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    let value = match (property.data_type(), wire) {
        (PropertyType::Byte, [a]) => Value::Byte(*a),
        (PropertyType::TwoByte, [a, b]) => Value::TwoByte(u16::from_be_bytes([*a, *b])),
        (PropertyType::FourByte, wire) => {
            Value::FourByte(u32::from_be_bytes(wire.try_into().unwrap()))
        }
        (PropertyType::VariableByte, [0xFF, 0xFF, 0xFF, 0x7F]) => Value::VariableByte(268_435_455),
        (PropertyType::Binary, [0, 1, rest @ ..]) => Value::Binary(rest),
        (PropertyType::Utf8, [0, 1, rest @ ..]) => Value::Utf8(text(rest)),
        (PropertyType::Pair, [0, 1, _, 0, 1, _]) => {
            Value::Pair(text(&wire[2..3]), text(&wire[5..]))
        }
        other => panic!("{other:?}"),
    };
    list.push(property, value).unwrap();
}

/// A packet that is right but for its properties.
fn packet_with(owner: char, properties: PropertiesRef<'_>) -> Option<(Packet<'_>, PropertyOwner)> {
    let none = PropertiesRef::default();
    let packet_id = id(1);
    let ack = Ack { properties, ..Ack::success(packet_id) };
    let connect = Connect {
        version: V5,
        clean_start: true,
        keep_alive: 60,
        client_id: "a",
        will: None,
        username: None,
        password: None,
        properties: none,
    };
    let packet = match owner {
        'C' => Packet::Connect(Box::new(Connect { properties, ..connect })),
        'W' => {
            let will =
                Will { topic: "w", payload: b"x", qos: QoS::AtMostOnce, retain: false, properties };
            let connect = Connect { will: Some(will), ..connect };
            return Some((Packet::Connect(Box::new(connect)), PropertyOwner::Will));
        }
        'A' => Packet::ConnAck(ConnAck {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            properties,
        }),
        'P' => Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "a",
            packet_id: None,
            properties,
            payload: b"",
        }),
        '4' => Packet::PubAck(ack),
        '5' => Packet::PubRec(ack),
        '6' => Packet::PubRel(ack),
        '7' => Packet::PubComp(ack),
        'S' => Packet::Subscribe(Subscribe {
            packet_id,
            properties,
            filters: vec![FilterRequest { filter: "a", options: QoS::AtMostOnce.into() }],
        }),
        's' => Packet::SubAck(SubAck { packet_id, properties, codes: &[0] }),
        'U' => Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: vec!["a"] }),
        'u' => Packet::UnsubAck(UnsubAck { packet_id, properties, codes: &[0] }),
        'D' => Packet::Disconnect(Disconnect { properties, ..Disconnect::default() }),
        'H' => Packet::Auth(Auth { reason: ReasonCode::CONTINUE_AUTHENTICATION, properties }),
        _ => return None,
    };
    let at = PropertyOwner::Packet(packet.packet_type());
    Some((packet, at))
}
