//! Packets that must not be written.

use midge::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, EncodeError, FilterRequest, Packet, PacketType,
    Property, PropertyValue, Publish, QoS, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeOptions, UnsubAck, Unsubscribe, Version, Will,
};

use crate::support::*;

fn clause(version: Version, packet: &Packet<'_>) -> &'static str {
    match write(version, packet) {
        Err(EncodeError::Breach { clause, .. }) => clause,
        other => panic!("{packet:?} in {version}: {other:?}"),
    }
}

fn is_not_in(version: Version, packet: &Packet<'_>) -> bool {
    matches!(write(version, packet), Err(EncodeError::NotInVersion { .. }))
}

#[test]
fn connects() {
    let connect = |version, client_id| Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: Default::default(),
    };
    let boxed = |connect| Packet::Connect(Box::new(connect));
    for version in [V31, V311] {
        let password = Connect { password: Some(b"p"), ..connect(version, "a") };
        assert_eq!(clause(version, &boxed(password)), "3.1.1 MQTT-3.1.2-22");
        let kept = Connect { clean_start: false, ..connect(version, "") };
        assert_eq!(clause(version, &boxed(kept)), "3.1.1 MQTT-3.1.3-7");
    }
    assert_eq!(clause(V31, &boxed(connect(V31, ""))), "3.1.1 MQTT-3.1.3-7");
    let kept = Connect { clean_start: false, ..connect(V5, "") };
    assert!(write(V5, &boxed(kept)).is_ok());
    for (topic, expected) in [("a/#", "MQTT-3.3.2-2"), ("", "MQTT-4.7.3-1")] {
        let will = Will {
            topic,
            payload: b"",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Default::default(),
        };
        let packet = boxed(Connect { will: Some(will), ..connect(V5, "a") });
        assert_eq!(clause(V5, &packet), expected);
    }
}

#[test]
fn a_connect_is_written_in_its_own_version() {
    let connect = Connect {
        version: V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "",
        will: None,
        username: None,
        password: None,
        properties: Default::default(),
    };
    let bytes = write(V311, &Packet::Connect(Box::new(connect))).unwrap();
    assert_eq!(bytes, hex("10 0D 0004 4D515454 05 02 0000 00 0000"));
}

#[test]
fn connacks() {
    let connack = |session_present, code| {
        let reason = ReasonCode::new(code);
        Packet::ConnAck(ConnAck { session_present, reason, properties: Default::default() })
    };
    assert!(is_not_in(V31, &connack(true, 0)));
    assert_eq!(clause(V5, &connack(true, 0x87)), "MQTT-3.2.2-6");
    let refused = |code| {
        let packet = PacketType::ConnAck;
        Err(EncodeError::ReasonNotAllowed { packet, reason: ReasonCode::new(code) })
    };
    assert_eq!(write(V311, &connack(false, 0x8A)), refused(0x8A));
    assert_eq!(write(V5, &connack(false, 0x01)), refused(0x01));
}

#[test]
fn publishes() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a",
        packet_id: None,
        properties: Default::default(),
        payload: b"",
    };
    for &version in ALL {
        for (packet, expected) in [
            (Publish { packet_id: Some(id(1)), ..publish }, "MQTT-2.2.1-2"),
            (Publish { qos: QoS::AtLeastOnce, ..publish }, "MQTT-2.2.1-3"),
            (Publish { qos: QoS::ExactlyOnce, ..publish }, "MQTT-2.2.1-3"),
            (Publish { dup: true, ..publish }, "MQTT-3.3.1-2"),
            (Publish { topic: "a/#", ..publish }, "MQTT-3.3.2-2"),
            (Publish { topic: "a+b", ..publish }, "MQTT-3.3.2-2"),
            (Publish { topic: "", ..publish }, "MQTT-4.7.3-1"),
        ] {
            assert_eq!(clause(version, &Packet::Publish(packet)), expected);
            assert!(packet.encode_head(version, &mut Vec::new()).is_err());
        }
    }
}

#[test]
fn acks() {
    let mut out = Vec::new();
    let ack = Ack::success(id(1));
    for packet in [PacketType::Publish, PacketType::ConnAck, PacketType::SubAck] {
        assert_eq!(ack.encode(packet, V5, &mut out), Err(EncodeError::NotAnAck { packet }));
    }
    let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
    let unknown = Ack::new(id(1), reason);
    assert_eq!(
        unknown.encode(PacketType::PubAck, V5, &mut out),
        Err(EncodeError::ReasonNotAllowed { packet: PacketType::PubAck, reason })
    );
    for version in [V31, V311] {
        assert!(is_not_in(version, &Packet::PubComp(unknown)));
    }
    assert!(out.is_empty());
}

#[test]
fn subscriptions() {
    let subscribe = |filter: &'static str, options| {
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Default::default(),
            filters: vec![FilterRequest { filter, options }],
        })
    };
    let plain = SubscribeOptions::default();
    let no_local = SubscribeOptions { no_local: true, ..plain };
    let as_published = SubscribeOptions { retain_as_published: true, ..plain };
    let if_new = SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..plain };
    for version in [V31, V311] {
        for options in [no_local, as_published, if_new] {
            assert!(is_not_in(version, &subscribe("a", options)));
        }
        // A share is an extension there, whose rules the server makes.
        assert!(write(version, &subscribe("$share/g", plain)).is_ok());
    }
    assert_eq!(clause(V5, &subscribe("$share/g/a", no_local)), "MQTT-3.8.3-4");
    assert_eq!(clause(V5, &subscribe("$share/g", plain)), "MQTT-4.8.2-1");
    for &version in ALL {
        assert_eq!(clause(version, &subscribe("a#", plain)), "MQTT-4.7.1-1");
        assert_eq!(clause(version, &subscribe("a+", plain)), "MQTT-4.7.1-2");
        assert_eq!(clause(version, &subscribe("", plain)), "MQTT-4.7.3-1");
        let none = Subscribe { packet_id: id(1), properties: Default::default(), filters: vec![] };
        assert_eq!(clause(version, &Packet::Subscribe(none)), "MQTT-3.8.3-2");
        let none =
            Unsubscribe { packet_id: id(1), properties: Default::default(), filters: vec![] };
        assert_eq!(clause(version, &Packet::Unsubscribe(none)), "MQTT-3.10.3-2");
        let suback = |codes| {
            Packet::SubAck(SubAck { packet_id: id(1), properties: Default::default(), codes })
        };
        assert_eq!(clause(version, &suback(&[])), "MQTT-3.8.4-6");
        assert!(write(version, &suback(&[3])).is_err());
    }
    let unsuback = |codes| {
        Packet::UnsubAck(UnsubAck { packet_id: id(1), properties: Default::default(), codes })
    };
    assert_eq!(clause(V5, &unsuback(&[])), "MQTT-3.11.3-1");
    assert!(write(V5, &unsuback(&[1])).is_err());
    assert!(is_not_in(V311, &unsuback(&[0])));
}

/// All 256 bytes of options against §3.8.3.1, of which 36 are legal in 5.0 and three in 3.x.
#[test]
fn bytes_of_options_are_read() {
    for byte in 0..=255_u8 {
        let legal = byte & 0xC0 == 0 && byte & 0x30 != 0x30 && byte & 3 != 3;
        let bytes = [&hex("82 07 0001 00 0001 61")[..], &[byte]].concat();
        assert_eq!(read(V5, Server, &bytes).is_ok(), legal, "0x{byte:02x} in 5.0");
        for version in [V31, V311] {
            let bytes = [&hex("82 06 0001 0001 61")[..], &[byte]].concat();
            assert_eq!(read(version, Server, &bytes).is_ok(), byte < 3, "0x{byte:02x}");
        }
    }
}

/// All 36 bytes of options, as §3.8.3.1 lays them out.
#[test]
fn subscription_options() {
    let handlings =
        [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    for (high, retain_handling) in (0..).zip(handlings) {
        for bits in 0..12_u8 {
            let options = SubscribeOptions {
                qos: QoS::try_from(bits % 3).unwrap(),
                no_local: bits / 3 % 2 == 1,
                retain_as_published: bits / 6 == 1,
                retain_handling,
            };
            let packet = Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: Default::default(),
                filters: vec![FilterRequest { filter: "a", options }],
            });
            let byte = high << 4 | (bits / 6) << 3 | (bits / 3 % 2) << 2 | (bits % 3);
            let bytes = write(V5, &packet).unwrap();
            assert_eq!(bytes.last(), Some(&byte), "{options:?}");
            assert_eq!(read(V5, Server, &bytes), Ok(packet));
        }
    }
}

#[test]
fn ends() {
    let disconnect = |code| {
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::new(code),
            properties: Default::default(),
        })
    };
    let auth =
        |code| Packet::Auth(Auth { reason: ReasonCode::new(code), properties: Default::default() });
    assert!(is_not_in(V311, &disconnect(0x81)));
    assert!(write(V5, &disconnect(0x01)).is_err());
    assert!(write(V5, &auth(0x80)).is_err());
    let expiry = |code| {
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::new(code),
            properties: list(&[(Property::SessionExpiryInterval, PropertyValue::FourByte(1))]),
        })
    };
    assert!(write(V5, &expiry(0x04)).is_ok());
    // This reason only a server has, and that property only a client.
    assert_eq!(clause(V5, &expiry(0x8B)), "MQTT-3.14.2-2");
    for version in [V31, V311] {
        assert!(is_not_in(version, &auth(0x18)));
    }
}
