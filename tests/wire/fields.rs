//! Fields at the edge of what their length can say.

use midge::codec::{
    Connect, EncodeError, FilterRequest, Packet, Properties, Property, PropertyValue as Value,
    Publish, QoS, Subscribe, Unsubscribe, Version, Will,
};

use crate::support::*;

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 65_535,
        client_id: "a",
        will: None,
        username: None,
        password: None,
        properties: Default::default(),
    }
}

fn will<'a>(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
    Will { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: Default::default() }
}

fn publish(topic: &str) -> Publish<'_> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Default::default(),
        payload: b"x",
    }
}

/// One packet of each kind of field, filled with `text`.
fn filled(version: Version, text: &str) -> Vec<(&'static str, Packet<'_>)> {
    let connect = connect(version);
    let boxed = |connect| Packet::Connect(Box::new(connect));
    let filter = FilterRequest { filter: text, options: QoS::AtMostOnce.into() };
    vec![
        ("client identifier", boxed(Connect { client_id: text, ..connect.clone() })),
        ("will topic", boxed(Connect { will: Some(will(text, b"x")), ..connect.clone() })),
        (
            "will payload",
            boxed(Connect { will: Some(will("w", text.as_bytes())), ..connect.clone() }),
        ),
        ("user name", boxed(Connect { username: Some(text), ..connect.clone() })),
        (
            "password",
            boxed(Connect { username: Some("u"), password: Some(text.as_bytes()), ..connect }),
        ),
        ("topic name", Packet::Publish(publish(text))),
        (
            "topic filter",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: Default::default(),
                filters: vec![filter],
            }),
        ),
        (
            "topic filter",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                properties: Default::default(),
                filters: vec!["a", text],
            }),
        ),
    ]
}

#[test]
fn a_field_of_65535_bytes_fits_and_one_more_does_not() {
    let text = "a".repeat(65_536);
    for version in [V311, V5] {
        for (field, packet) in filled(version, &text[1..]) {
            let bytes = write(version, &packet).unwrap();
            let receiver = if field == "topic name" { Client } else { Server };
            assert_eq!(read(version, receiver, &bytes), Ok(packet), "{field} in {version}");
        }
        for (field, packet) in filled(version, &text) {
            let too_long = EncodeError::FieldTooLong { field, len: 65_536 };
            assert_eq!(write(version, &packet), Err(too_long), "{field} in {version}");
        }
    }
}

#[test]
fn no_string_has_a_nul_character() {
    for &version in ALL {
        for (field, packet) in filled(version, "a\0b") {
            let written = write(version, &packet);
            if ["will payload", "password"].contains(&field) {
                assert!(written.is_ok(), "{field} in {version}");
            } else {
                match written {
                    Err(EncodeError::Breach { field: of, clause, .. }) => {
                        assert_eq!((of, clause), (field, "MQTT-1.5.4-2"));
                    }
                    other => panic!("{field} in {version}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_topic_of_3_1_has_32767_characters() {
    for (character, fits) in [("a", true), ("é", true), ("\u{10FFFF}", false)] {
        let text = character.repeat(32_767);
        let longer = text.clone() + "a";
        for (field, packet) in filled(V31, &text) {
            if field.starts_with("topic") || field == "will topic" {
                assert_eq!(write(V31, &packet).is_ok(), fits, "{field} of {character}");
            }
        }
        for (field, packet) in filled(V31, &longer) {
            if field.starts_with("topic") || field == "will topic" {
                assert!(write(V31, &packet).is_err(), "{field} of {character}");
            }
        }
        for (_, packet) in filled(V311, &longer) {
            assert_eq!(write(V311, &packet).is_ok(), fits);
        }
    }
    let topic = "a".repeat(32_768);
    let bytes = framed(0x30, &prefixed(topic.as_bytes()));
    assert!(read(V31, Client, &bytes).is_err());
    assert!(read(V311, Client, &bytes).is_ok());
}

#[test]
fn a_byte_order_mark_is_kept() {
    let bytes = write(V311, &Packet::Publish(publish("\u{FEFF}a"))).unwrap();
    assert_eq!(bytes, hex("30 07 0004 EFBBBF61 78"));
}

#[test]
fn integers_are_written_in_their_shortest_form() {
    for (value, digits) in [
        (1, "01"),
        (127, "7F"),
        (128, "8001"),
        (16_383, "FF7F"),
        (16_384, "808001"),
        (2_097_151, "FFFF7F"),
        (2_097_152, "80808001"),
        (268_435_455, "FFFFFF7F"),
    ] {
        let list = Properties::new()
            .with(Property::SubscriptionIdentifier, Value::VariableByte(value))
            .unwrap();
        let packet =
            Packet::Publish(Publish { properties: list.as_ref(), payload: b"", ..publish("a") });
        let bytes = write(V5, &packet).unwrap();
        let mut body = hex("0001 61");
        put_variable(&mut body, 1 + hex(digits).len());
        body.push(0x0B);
        body.extend(hex(digits));
        assert_eq!(bytes, framed(0x30, &body), "{value}");
        assert_eq!(read(V5, Client, &bytes), Ok(packet));
    }
}

#[test]
fn remaining_length_and_property_length_grow_at_their_boundaries() {
    for len in [119, 120, 121, 127, 128, 129, 16_380, 16_383, 16_384, 16_385, 65_535] {
        let payload = vec![0xFF; len];
        let packet = Publish { payload: &payload, ..publish("a") };
        for version in [V311, V5] {
            let mut body = hex(if version == V5 { "0001 61 00" } else { "0001 61" });
            body.extend_from_slice(&payload);
            let packet = Packet::Publish(packet);
            assert_eq!(write(version, &packet), Ok(framed(0x30, &body)));
        }

        let list = Properties::new().with(Property::CorrelationData, Value::Binary(&payload));
        let list = list.unwrap();
        let packet = Packet::Publish(Publish { properties: list.as_ref(), ..publish("a") });
        let mut body = hex("0001 61");
        put_variable(&mut body, 3 + len);
        body.push(0x09);
        body.extend(prefixed(&payload));
        body.push(b'x');
        assert_eq!(write(V5, &packet), Ok(framed(0x30, &body)));
        assert_eq!(read(V5, Client, &framed(0x30, &body)), Ok(packet));
    }
}
