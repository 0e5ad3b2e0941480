//! Any packet that can be written is the same when it is read.

use midge::codec::{
    Ack, Auth, ConnAck, Connect, Cut, Disconnect, FilterRequest, MAX_PACKET_SIZE, Packet,
    Properties, PropertiesRef, Property, PropertyOwner, PropertyType, PropertyValue as Value,
    Publish, QoS, ReasonCode, RetainHandling, Role, SubAck, Subscribe, SubscribeOptions, UnsubAck,
    Unsubscribe, Version, Will, cut, decode,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::*;

proptest! {
    #[test]
    fn any_packet_survives((version, receiver, packet) in any_packet()) {
        let bytes = write(version, &packet).unwrap();
        prop_assert_eq!(read(version, receiver, &bytes), Ok(packet));
    }

    #[test]
    fn packets_survive_in_any_pieces(
        packets in vec(any_packet(), 1..8),
        pieces in vec(1_usize..64, 1..64),
    ) {
        let mut stream = Vec::new();
        for (version, _, packet) in &packets {
            packet.encode(*version, &mut stream).unwrap();
        }
        let (mut buffer, mut sent, mut expected) = (Vec::new(), 0, packets.iter());
        for piece in pieces.iter().cycle() {
            let end = (sent + piece).min(stream.len());
            buffer.extend_from_slice(&stream[sent..end]);
            sent = end;
            loop {
                match cut(&buffer, MAX_PACKET_SIZE).unwrap() {
                    Cut::Frame { frame, len } => {
                        let (version, receiver, packet) = expected.next().unwrap();
                        prop_assert_eq!(&decode(*version, *receiver, frame).unwrap(), packet);
                        buffer.drain(..len);
                    }
                    Cut::Need(more) => {
                        // Before the end of a stream no more is asked for than comes.
                        prop_assert!(buffer.is_empty() || more <= stream.len() - sent);
                        break;
                    }
                }
            }
            if sent == stream.len() {
                break;
            }
        }
        prop_assert!(buffer.is_empty() && expected.next().is_none());
    }

    #[test]
    fn any_bytes_break_no_law(bytes in vec(any::<u8>(), 0..200)) {
        crate::fuzz::law::chosen(&bytes);
    }
}

type Any = BoxedStrategy<(Version, Role, Packet<'static>)>;

fn any_packet() -> impl Strategy<Value = (Version, Role, Packet<'static>)> {
    prop::sample::select(ALL).prop_flat_map(|version| {
        let mut kinds = vec![
            connect(version),
            connack(version),
            publish(version),
            ack(version),
            subscribe(version),
            suback(version),
            unsubscribe(version),
            unsuback(version),
            disconnect(version),
            Just((version, Server, Packet::PingReq)).boxed(),
            Just((version, Client, Packet::PingResp)).boxed(),
        ];
        if version == V5 {
            kinds.push(auth());
        }
        proptest::strategy::Union::new(kinds)
    })
}

fn connect(version: Version) -> Any {
    let id_at_least = if version == V5 { 0 } else { 1 };
    (
        any::<bool>(),
        any::<u16>(),
        text(id_at_least),
        prop::option::of(will(version)),
        prop::option::of(text(0)),
        prop::option::of(binary()),
        properties(version, packet_owner(1)),
    )
        .prop_map(
            move |(clean_start, keep_alive, client_id, will, username, password, properties)| {
                let password = password.filter(|_| version == V5 || username.is_some());
                let connect = Connect {
                    version,
                    clean_start,
                    keep_alive,
                    client_id,
                    will,
                    username,
                    password,
                    properties,
                };
                (version, Server, Packet::Connect(Box::new(connect)))
            },
        )
        .boxed()
}

fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    (topic(), binary(), qos(), any::<bool>(), properties(version, PropertyOwner::Will)).prop_map(
        |(topic, payload, qos, retain, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            properties,
        },
    )
}

fn connack(version: Version) -> Any {
    let codes: &[u8] = if version == V5 { &[0, 0x80, 0x9F, 0xFF] } else { &[0, 0x84, 0x87] };
    (any::<bool>(), prop::sample::select(codes), properties(version, packet_owner(2)))
        .prop_map(move |(session_present, code, properties)| {
            let session_present = session_present && code == 0 && version != V31;
            let reason = ReasonCode::new(code);
            let connack = ConnAck { session_present, reason, properties };
            (version, Client, Packet::ConnAck(connack))
        })
        .boxed()
}

fn publish(version: Version) -> Any {
    (
        any::<bool>(),
        qos(),
        any::<bool>(),
        topic(),
        1_u16..,
        properties(version, packet_owner(3)),
        binary(),
        any::<bool>(),
    )
        .prop_map(move |(dup, qos, retain, topic, packet_id, properties, payload, by_alias)| {
            let above_0 = qos != QoS::AtMostOnce;
            let publish = Publish {
                dup: dup && above_0,
                qos,
                retain,
                topic: if by_alias && properties.topic_alias().is_some() { "" } else { topic },
                packet_id: above_0.then(|| id(packet_id)),
                properties,
                payload,
            };
            (version, Client, Packet::Publish(publish))
        })
        .boxed()
}

fn ack(version: Version) -> Any {
    (4_u8..=7, 1_u16.., any::<bool>())
        .prop_flat_map(move |(kind, packet_id, fails)| {
            properties(version, packet_owner(kind)).prop_map(move |properties| {
                let code = match (version, kind) {
                    (V5, 4 | 5) if fails => 0x97,
                    (V5, _) if fails => 0x92,
                    _ => 0,
                };
                let ack = Ack { properties, ..Ack::new(id(packet_id), ReasonCode::new(code)) };
                let packet = match kind {
                    4 => Packet::PubAck(ack),
                    5 => Packet::PubRec(ack),
                    6 => Packet::PubRel(ack),
                    _ => Packet::PubComp(ack),
                };
                (version, Client, packet)
            })
        })
        .boxed()
}

fn subscribe(version: Version) -> Any {
    let request = (filter(), qos(), any::<[bool; 2]>(), 0_u8..3).prop_map(
        move |(filter, qos, [no_local, retain_as_published], handling)| {
            let options = SubscribeOptions {
                qos,
                no_local: no_local && !filter.starts_with("$share/"),
                retain_as_published,
                retain_handling: match handling {
                    0 => RetainHandling::SendAtSubscribe,
                    1 => RetainHandling::SendIfNew,
                    _ => RetainHandling::DoNotSend,
                },
            };
            FilterRequest { filter, options: if version == V5 { options } else { qos.into() } }
        },
    );
    (1_u16.., properties(version, packet_owner(8)), vec(request, 1..5))
        .prop_map(move |(packet_id, properties, filters)| {
            let subscribe = Subscribe { packet_id: id(packet_id), properties, filters };
            (version, Server, Packet::Subscribe(subscribe))
        })
        .boxed()
}

fn suback(version: Version) -> Any {
    let listed: &[u8] = if version == V5 { &[0, 1, 2, 0x80, 0x8F, 0xA2] } else { &[0, 1, 2, 0x80] };
    (1_u16.., properties(version, packet_owner(9)), vec(prop::sample::select(listed), 1..9))
        .prop_map(move |(packet_id, properties, codes)| {
            let suback = SubAck { packet_id: id(packet_id), properties, codes: codes.leak() };
            (version, Client, Packet::SubAck(suback))
        })
        .boxed()
}

fn unsubscribe(version: Version) -> Any {
    (1_u16.., properties(version, packet_owner(10)), vec(filter(), 1..5))
        .prop_map(move |(packet_id, properties, filters)| {
            let unsubscribe = Unsubscribe { packet_id: id(packet_id), properties, filters };
            (version, Server, Packet::Unsubscribe(unsubscribe))
        })
        .boxed()
}

fn unsuback(version: Version) -> Any {
    let codes = prop::sample::select(&[0, 0x11, 0x8F]);
    (1_u16.., properties(version, packet_owner(11)), vec(codes, 1..9))
        .prop_map(move |(packet_id, properties, codes)| {
            let codes: &[u8] = if version == V5 { codes.leak() } else { &[] };
            let unsuback = UnsubAck { packet_id: id(packet_id), properties, codes };
            (version, Client, Packet::UnsubAck(unsuback))
        })
        .boxed()
}

fn disconnect(version: Version) -> Any {
    let codes: &[u8] = if version == V5 { &[0, 4, 0x81, 0x99] } else { &[0] };
    (prop::sample::select(codes), properties(version, packet_owner(14)))
        .prop_map(move |(code, properties)| {
            let disconnect = Disconnect { reason: ReasonCode::new(code), properties };
            (version, Server, Packet::Disconnect(disconnect))
        })
        .boxed()
}

fn auth() -> Any {
    (prop::sample::select(&[0, 0x18]), properties(V5, packet_owner(15)))
        .prop_map(move |(code, properties)| {
            let auth = Auth { reason: ReasonCode::new(code), properties };
            (V5, Client, Packet::Auth(auth))
        })
        .boxed()
}

/// The properties of the packet with this type number.
fn packet_owner(packet_type: u8) -> PropertyOwner {
    use midge::codec::PacketType::*;
    let types = [
        Connect,
        ConnAck,
        Publish,
        PubAck,
        PubRec,
        PubRel,
        PubComp,
        Subscribe,
        SubAck,
        Unsubscribe,
        UnsubAck,
        PingReq,
        PingResp,
        Disconnect,
        Auth,
    ];
    PropertyOwner::Packet(types[usize::from(packet_type) - 1])
}

fn properties(
    version: Version,
    owner: PropertyOwner,
) -> impl Strategy<Value = PropertiesRef<'static>> {
    let allowed: Vec<_> =
        Property::ALL.iter().copied().filter(|property| property.is_allowed_in(owner)).collect();
    vec((prop::sample::select(allowed), any::<u32>(), topic(), text(0)), 0..6).prop_map(
        move |entries| {
            let mut list = Properties::new();
            if version != V5 {
                return list_of(list);
            }
            for (property, integer, name, text) in entries {
                let once = !property.is_repeatable_in(owner);
                let lone = property == Property::AuthenticationData
                    && list.as_ref().authentication_method().is_none();
                if lone || once && list.as_ref().find(property).is_some() {
                    continue;
                }
                let value = match property.data_type() {
                    PropertyType::Byte => Value::Byte((integer & 1) as u8),
                    PropertyType::TwoByte => Value::TwoByte(integer as u16 | 1),
                    PropertyType::FourByte => Value::FourByte(integer | 1),
                    PropertyType::VariableByte => Value::VariableByte(integer >> 4 | 1),
                    PropertyType::Binary => Value::Binary(text.as_bytes()),
                    PropertyType::Utf8 => Value::Utf8(name),
                    PropertyType::Pair => Value::Pair(text, name),
                };
                list.push(property, value).unwrap();
            }
            list_of(list)
        },
    )
}

fn list_of(list: Properties) -> PropertiesRef<'static> {
    Box::leak(Box::new(list)).as_ref()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn text(at_least: usize) -> impl Strategy<Value = &'static str> {
    vec(any::<char>().prop_filter("U+0000", |character| *character != '\0'), at_least..20)
        .prop_map(|characters| leak(characters.into_iter().collect()))
}

fn topic() -> impl Strategy<Value = &'static str> {
    "[a-z/$ é☃\u{1F41D}]{1,20}".prop_map(leak)
}

fn filter() -> impl Strategy<Value = &'static str> {
    r"(\$share/[a-z]{1,4}/)?((\+|[a-zé]{0,3})/){0,4}(#|\+|[a-z]{1,3})".prop_map(leak)
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| &*bytes.leak())
}

fn leak(text: String) -> &'static str {
    text.leak()
}
