//! Packets that must be understood, written by hand after the specification.

use midge::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, FilterRequest, Packet, PropertiesRef, Property,
    PropertyValue as Value, Publish, QoS, ReasonCode, RetainHandling, Role, SubAck, Subscribe,
    SubscribeOptions, UnsubAck, Unsubscribe, Version, Will,
};

use crate::support::*;

/// A packet on the wire and what it means.
pub struct Accept {
    pub name: &'static str,
    pub versions: &'static [Version],
    pub receiver: Role,
    pub hex: &'static str,
    pub packet: Packet<'static>,
    /// Whether the packet is written with these bytes: there may be longer forms of it.
    pub canonical: bool,
    /// The body lengths, below its own, at which the body is that of another whole packet.
    pub also_whole: Vec<usize>,
}

impl Accept {
    pub fn bytes(&self) -> Vec<u8> {
        hex(self.hex)
    }

    fn also_whole(mut self, lengths: impl IntoIterator<Item = usize>) -> Self {
        self.also_whole.extend(lengths);
        self
    }

    fn long_form(mut self) -> Self {
        self.canonical = false;
        self
    }
}

fn accept(
    name: &'static str,
    versions: &'static [Version],
    receiver: Role,
    hex: &'static str,
    packet: Packet<'static>,
) -> Accept {
    Accept { name, versions, receiver, hex, packet, canonical: true, also_whole: Vec::new() }
}

pub fn vectors() -> Vec<Accept> {
    [connects(), connacks(), publishes(), acks(), subscribes(), unsubscribes(), others()]
        .into_iter()
        .flatten()
        .collect()
}

const NO_PROPERTIES: fn() -> PropertiesRef<'static> = PropertiesRef::default;

fn connect(version: Version, client_id: &'static str) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: NO_PROPERTIES(),
    }
}

fn connects() -> Vec<Accept> {
    let packet = |connect: Connect<'static>| Packet::Connect(Box::new(connect));
    vec![
        accept(
            "CONNECT of 3.1",
            ALL,
            Server,
            "10 11 0006 4D5149736470 03 02 003C 0003 616263",
            packet(connect(V31, "abc")),
        ),
        accept(
            "CONNECT of 3.1 with flags for names that are missing",
            ALL,
            Server,
            "10 11 0006 4D5149736470 03 C2 003C 0003 616263",
            packet(connect(V31, "abc")),
        )
        .long_form(),
        accept(
            "CONNECT of 3.1 with user name and password",
            ALL,
            Server,
            "10 17 0006 4D5149736470 03 C2 003C 0003 616263 0001 75 0001 70",
            packet(Connect { username: Some("u"), password: Some(b"p"), ..connect(V31, "abc") }),
        )
        .also_whole([17, 20]),
        accept(
            "CONNECT of 3.1.1",
            ALL,
            Server,
            "10 0D 0004 4D515454 04 02 003C 0001 61",
            packet(connect(V311, "a")),
        ),
        accept(
            "CONNECT of 3.1.1 with everything",
            ALL,
            Server,
            "10 1C 0004 4D515454 04 EC 000A 0002 6964 0001 77 0002 6279 0001 75 0002 FF00",
            packet(Connect {
                clean_start: false,
                keep_alive: 10,
                will: Some(Will {
                    topic: "w",
                    payload: b"by",
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    properties: NO_PROPERTIES(),
                }),
                username: Some("u"),
                password: Some(&[0xFF, 0]),
                ..connect(V311, "id")
            }),
        ),
        accept(
            "CONNECT of 3.1.1 with empty client identifier",
            ALL,
            Server,
            "10 0C 0004 4D515454 04 02 0000 0000",
            packet(Connect { keep_alive: 0, ..connect(V311, "") }),
        ),
        accept(
            "CONNECT of 5.0",
            ALL,
            Server,
            "10 0E 0004 4D515454 05 02 003C 00 0001 61",
            packet(connect(V5, "a")),
        ),
        accept(
            "CONNECT of 5.0 with everything",
            ALL,
            Server,
            "10 5C 0004 4D515454 05 D6 003C \
             24 11 0000000A 15 0001 6D 16 0002 FF00 17 00 19 01 21 0014 22 000A 26 0001 6B 0001 76 \
                27 00001000 \
             0000 \
             1E 01 01 02 0000003C 03 0001 63 08 0001 72 09 0001 64 18 00000005 26 0001 6B 0000 \
             0001 77 0000 0000 0003 010203",
            packet(Connect {
                will: Some(Will {
                    topic: "w",
                    payload: b"",
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    properties: list(&[
                        (Property::PayloadFormatIndicator, Value::Byte(1)),
                        (Property::MessageExpiryInterval, Value::FourByte(60)),
                        (Property::ContentType, Value::Utf8("c")),
                        (Property::ResponseTopic, Value::Utf8("r")),
                        (Property::CorrelationData, Value::Binary(b"d")),
                        (Property::WillDelayInterval, Value::FourByte(5)),
                        (Property::UserProperty, Value::Pair("k", "")),
                    ]),
                }),
                username: Some(""),
                password: Some(&[1, 2, 3]),
                properties: list(&[
                    (Property::SessionExpiryInterval, Value::FourByte(10)),
                    (Property::AuthenticationMethod, Value::Utf8("m")),
                    (Property::AuthenticationData, Value::Binary(&[0xFF, 0])),
                    (Property::RequestProblemInformation, Value::Byte(0)),
                    (Property::RequestResponseInformation, Value::Byte(1)),
                    (Property::ReceiveMaximum, Value::TwoByte(20)),
                    (Property::TopicAliasMaximum, Value::TwoByte(10)),
                    (Property::UserProperty, Value::Pair("k", "v")),
                    (Property::MaximumPacketSize, Value::FourByte(4096)),
                ]),
                ..connect(V5, "")
            }),
        ),
        accept(
            "CONNECT of 5.0 with a password alone",
            ALL,
            Server,
            "10 10 0004 4D515454 05 42 003C 00 0000 0001 70",
            packet(Connect { password: Some(b"p"), ..connect(V5, "") }),
        ),
    ]
}

fn connacks() -> Vec<Accept> {
    let packet = |session_present, reason, properties| {
        Packet::ConnAck(ConnAck { session_present, reason, properties })
    };
    let plain = |reason| packet(false, reason, NO_PROPERTIES());
    vec![
        accept("CONNACK", V3, Client, "20 02 00 00", plain(ReasonCode::SUCCESS)),
        accept(
            "CONNACK of 3.1 with a reserved byte",
            ONLY_31,
            Client,
            "20 02 01 00",
            plain(ReasonCode::SUCCESS),
        )
        .long_form(),
        accept(
            "CONNACK with session present",
            ONLY_311,
            Client,
            "20 02 01 00",
            packet(true, ReasonCode::SUCCESS, NO_PROPERTIES()),
        ),
        accept("CONNACK 1", V3, Client, "20 02 00 01", plain(ReasonCode::new(0x84))),
        accept("CONNACK 2", V3, Client, "20 02 00 02", plain(ReasonCode::new(0x85))),
        accept("CONNACK 3", V3, Client, "20 02 00 03", plain(ReasonCode::new(0x88))),
        accept("CONNACK 4", V3, Client, "20 02 00 04", plain(ReasonCode::new(0x86))),
        accept("CONNACK 5", V3, Client, "20 02 00 05", plain(ReasonCode::new(0x87))),
        accept(
            "CONNACK that refuses and claims a session",
            ALL,
            Client,
            "20 02 01 05",
            plain(ReasonCode::NOT_AUTHORIZED),
        )
        .long_form(),
        accept("CONNACK of 5.0", ONLY_5, Client, "20 03 00 00 00", plain(ReasonCode::SUCCESS)),
        accept(
            "CONNACK of 5.0 that refuses",
            ONLY_5,
            Client,
            "20 03 00 87 00",
            plain(ReasonCode::NOT_AUTHORIZED),
        ),
        accept(
            "CONNACK of 3.x to a client of 5.0",
            ONLY_5,
            Client,
            "20 02 00 01",
            plain(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION),
        )
        .long_form(),
        accept(
            "CONNACK of 5.0 with everything",
            ONLY_5,
            Client,
            "20 40 01 00 \
             3D 11 00000000 12 0002 6331 13 0003 15 0001 6D 16 0000 1A 0001 72 1C 0001 73 \
                1F 0002 6F6B 21 0002 22 0000 24 01 25 00 26 0001 61 0001 62 27 00000014 \
                28 00 29 01 2A 00",
            packet(
                true,
                ReasonCode::SUCCESS,
                list(&[
                    (Property::SessionExpiryInterval, Value::FourByte(0)),
                    (Property::AssignedClientIdentifier, Value::Utf8("c1")),
                    (Property::ServerKeepAlive, Value::TwoByte(3)),
                    (Property::AuthenticationMethod, Value::Utf8("m")),
                    (Property::AuthenticationData, Value::Binary(b"")),
                    (Property::ResponseInformation, Value::Utf8("r")),
                    (Property::ServerReference, Value::Utf8("s")),
                    (Property::ReasonString, Value::Utf8("ok")),
                    (Property::ReceiveMaximum, Value::TwoByte(2)),
                    (Property::TopicAliasMaximum, Value::TwoByte(0)),
                    (Property::MaximumQos, Value::Byte(1)),
                    (Property::RetainAvailable, Value::Byte(0)),
                    (Property::UserProperty, Value::Pair("a", "b")),
                    (Property::MaximumPacketSize, Value::FourByte(20)),
                    (Property::WildcardSubscriptionAvailable, Value::Byte(0)),
                    (Property::SubscriptionIdentifierAvailable, Value::Byte(1)),
                    (Property::SharedSubscriptionAvailable, Value::Byte(0)),
                ]),
            ),
        ),
    ]
}

fn publish(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: NO_PROPERTIES(),
        payload,
    }
}

fn publishes() -> Vec<Accept> {
    // A PUBLISH with a shorter payload is a whole packet too.
    let vector = |name, versions, hex, publish: Publish<'static>, whole_from| {
        let whole_until = whole_from + publish.payload.len();
        accept(name, versions, Client, hex, Packet::Publish(publish))
            .also_whole(whole_from..whole_until)
    };
    vec![
        vector("PUBLISH at QoS 0", V3, "30 07 0003 612F62 6869", publish("a/b", b"hi"), 5),
        vector(
            "PUBLISH at QoS 1, again, retained",
            V3,
            "3B 07 0001 61 000A 6869",
            Publish {
                dup: true,
                qos: QoS::AtLeastOnce,
                retain: true,
                packet_id: Some(id(10)),
                ..publish("a", b"hi")
            },
            5,
        ),
        vector(
            "PUBLISH at QoS 2 without payload",
            V3,
            "34 05 0001 61 FFFF",
            Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(65_535)), ..publish("a", b"") },
            5,
        ),
        vector(
            "PUBLISH at QoS 0 whose payload looks like a packet identifier",
            V3,
            "30 05 0001 61 0001",
            publish("a", &[0, 1]),
            3,
        ),
        vector(
            "PUBLISH to a byte order mark",
            V3,
            "30 05 0003 EFBBBF",
            publish("\u{FEFF}", b""),
            5,
        ),
        vector(
            "PUBLISH to control characters",
            V3,
            "30 06 0004 1B5B324A",
            publish("\x1b[2J", b""),
            6,
        ),
        vector("PUBLISH of 5.0", ONLY_5, "30 06 0001 61 00 6869", publish("a", b"hi"), 4),
        vector(
            "PUBLISH of 5.0 with everything",
            ONLY_5,
            "32 34 0001 61 0001 \
             2C 01 01 02 0000003C 03 0001 63 08 0001 72 09 0002 FF00 0B 01 0B FFFFFF7F 23 000A \
                26 0001 6B 0001 76 26 0001 6B 0001 76 \
             0102",
            Publish {
                qos: QoS::AtLeastOnce,
                packet_id: Some(id(1)),
                properties: list(&[
                    (Property::PayloadFormatIndicator, Value::Byte(1)),
                    (Property::MessageExpiryInterval, Value::FourByte(60)),
                    (Property::ContentType, Value::Utf8("c")),
                    (Property::ResponseTopic, Value::Utf8("r")),
                    (Property::CorrelationData, Value::Binary(&[0xFF, 0])),
                    (Property::SubscriptionIdentifier, Value::VariableByte(1)),
                    (Property::SubscriptionIdentifier, Value::VariableByte(268_435_455)),
                    (Property::TopicAlias, Value::TwoByte(10)),
                    (Property::UserProperty, Value::Pair("k", "v")),
                    (Property::UserProperty, Value::Pair("k", "v")),
                ]),
                ..publish("a", &[1, 2])
            },
            50,
        ),
        vector(
            "PUBLISH of 5.0 to an alias",
            ONLY_5,
            "30 06 0000 03 23 0001",
            Publish {
                properties: list(&[(Property::TopicAlias, Value::TwoByte(1))]),
                ..publish("", b"")
            },
            6,
        ),
    ]
}

fn acks() -> Vec<Accept> {
    let bad_quota = Ack {
        properties: list(&[
            (Property::ReasonString, Value::Utf8("ok")),
            (Property::UserProperty, Value::Pair("a", "")),
        ]),
        ..Ack::new(id(1), ReasonCode::QUOTA_EXCEEDED)
    };
    let unknown = Ack::new(id(1), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    let unmatched = Ack::new(id(1), ReasonCode::NO_MATCHING_SUBSCRIBERS);
    let ok = Ack::success(id(1));
    vec![
        accept("PUBACK", ALL, Client, "40 02 0001", Packet::PubAck(ok)),
        accept("PUBREC", ALL, Client, "50 02 0001", Packet::PubRec(ok)),
        accept("PUBREL", ALL, Client, "62 02 0001", Packet::PubRel(ok)),
        accept("PUBREL of 3.1, again", ONLY_31, Client, "6A 02 0001", Packet::PubRel(ok))
            .long_form(),
        accept("PUBCOMP", ALL, Server, "70 02 0001", Packet::PubComp(ok)),
        accept("PUBACK of 5.0", ONLY_5, Server, "40 03 0001 10", Packet::PubAck(unmatched))
            .also_whole([2]),
        accept("PUBACK in full", ONLY_5, Client, "40 04 0001 00 00", Packet::PubAck(ok))
            .long_form()
            .also_whole([2, 3]),
        accept(
            "PUBREC with everything",
            ONLY_5,
            Client,
            "50 0F 0001 97 0B 1F 0002 6F6B 26 0001 61 0000",
            Packet::PubRec(bad_quota),
        )
        .also_whole([2, 3]),
        accept("PUBREL of the unknown", ONLY_5, Client, "62 03 0001 92", Packet::PubRel(unknown))
            .also_whole([2]),
        accept("PUBCOMP of the unknown", ONLY_5, Server, "70 03 0001 92", Packet::PubComp(unknown))
            .also_whole([2]),
    ]
}

fn request(filter: &'static str, options: SubscribeOptions) -> FilterRequest<'static> {
    FilterRequest { filter, options }
}

fn subscribes() -> Vec<Accept> {
    let (qos_0, qos_1, qos_2) = (
        SubscribeOptions::from(QoS::AtMostOnce),
        SubscribeOptions::from(QoS::AtLeastOnce),
        SubscribeOptions::from(QoS::ExactlyOnce),
    );
    vec![
        accept(
            "SUBSCRIBE",
            V3,
            Server,
            "82 0C 0001 0003 612F62 01 0001 23 00",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                filters: vec![request("a/b", qos_1), request("#", qos_0)],
            }),
        )
        .also_whole([8]),
        accept(
            "SUBSCRIBE of 3.1, again",
            ONLY_31,
            Server,
            "8A 06 0001 0001 61 02",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                filters: vec![request("a", qos_2)],
            }),
        )
        .long_form(),
        accept(
            "SUBSCRIBE of 5.0 with everything",
            ONLY_5,
            Server,
            "82 10 0001 09 0B 8001 26 0001 61 0000 0001 2D 2D",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: list(&[
                    (Property::SubscriptionIdentifier, Value::VariableByte(128)),
                    (Property::UserProperty, Value::Pair("a", "")),
                ]),
                filters: vec![request(
                    "-",
                    SubscribeOptions {
                        qos: QoS::AtLeastOnce,
                        no_local: true,
                        retain_as_published: true,
                        retain_handling: RetainHandling::DoNotSend,
                    },
                )],
            }),
        ),
        accept(
            "SUBSCRIBE of 5.0, shared",
            ONLY_5,
            Server,
            "82 10 0002 00 000A 2473686172652F672F61 02",
            Packet::Subscribe(Subscribe {
                packet_id: id(2),
                properties: NO_PROPERTIES(),
                filters: vec![request("$share/g/a", qos_2)],
            }),
        ),
        accept(
            "SUBACK",
            V3,
            Client,
            "90 06 0001 00 01 02 80",
            Packet::SubAck(SubAck {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                codes: &[0, 1, 2, 0x80],
            }),
        )
        .also_whole([3, 4, 5]),
        accept(
            "SUBACK of 5.0",
            ONLY_5,
            Client,
            "90 0A 0001 05 1F 0002 6F6B 00 87",
            Packet::SubAck(SubAck {
                packet_id: id(1),
                properties: list(&[(Property::ReasonString, Value::Utf8("ok"))]),
                codes: &[0, 0x87],
            }),
        )
        .also_whole([9]),
    ]
}

fn unsubscribes() -> Vec<Accept> {
    vec![
        accept(
            "UNSUBSCRIBE",
            V3,
            Server,
            "A2 08 0001 0001 61 0001 2B",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                filters: vec!["a", "+"],
            }),
        )
        .also_whole([5]),
        accept(
            "UNSUBSCRIBE of 3.1, again",
            ONLY_31,
            Server,
            "AA 05 0001 0001 61",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                filters: vec!["a"],
            }),
        )
        .long_form(),
        accept(
            "UNSUBSCRIBE of 5.0",
            ONLY_5,
            Server,
            "A2 0C 0001 06 26 0001 61 0000 0001 62",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                properties: list(&[(Property::UserProperty, Value::Pair("a", ""))]),
                filters: vec!["b"],
            }),
        ),
        accept(
            "UNSUBACK",
            V3,
            Client,
            "B0 02 0001",
            Packet::UnsubAck(UnsubAck {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                codes: &[],
            }),
        ),
        accept(
            "UNSUBACK of 5.0",
            ONLY_5,
            Client,
            "B0 05 0001 00 00 11",
            Packet::UnsubAck(UnsubAck {
                packet_id: id(1),
                properties: NO_PROPERTIES(),
                codes: &[0, 0x11],
            }),
        )
        .also_whole([4]),
    ]
}

fn others() -> Vec<Accept> {
    let disconnect = |reason, properties| Packet::Disconnect(Disconnect { reason, properties });
    let auth = |reason, properties| Packet::Auth(Auth { reason, properties });
    let method = (Property::AuthenticationMethod, Value::Utf8("m"));
    vec![
        accept("PINGREQ", ALL, Server, "C0 00", Packet::PingReq),
        accept("PINGRESP", ALL, Client, "D0 00", Packet::PingResp),
        accept(
            "DISCONNECT",
            ALL,
            Server,
            "E0 00",
            disconnect(ReasonCode::NORMAL_DISCONNECTION, NO_PROPERTIES()),
        ),
        accept(
            "DISCONNECT with the will",
            ONLY_5,
            Server,
            "E0 01 04",
            disconnect(ReasonCode::DISCONNECT_WITH_WILL, NO_PROPERTIES()),
        )
        .also_whole([0]),
        accept(
            "DISCONNECT with a session expiry",
            ONLY_5,
            Server,
            "E0 07 00 05 11 0000000A",
            disconnect(
                ReasonCode::NORMAL_DISCONNECTION,
                list(&[(Property::SessionExpiryInterval, Value::FourByte(10))]),
            ),
        )
        .also_whole([0, 1]),
        accept(
            "DISCONNECT from a server, in full",
            ONLY_5,
            Client,
            "E0 02 8E 00",
            disconnect(ReasonCode::SESSION_TAKEN_OVER, NO_PROPERTIES()),
        )
        .long_form()
        .also_whole([0, 1]),
        accept(
            "DISCONNECT from a server, with everything",
            ONLY_5,
            Client,
            "E0 10 9C 0E 1C 0001 73 1F 0002 6F6B 26 0000 0000",
            disconnect(
                ReasonCode::USE_ANOTHER_SERVER,
                list(&[
                    (Property::ServerReference, Value::Utf8("s")),
                    (Property::ReasonString, Value::Utf8("ok")),
                    (Property::UserProperty, Value::Pair("", "")),
                ]),
            ),
        )
        .also_whole([0, 1]),
        accept("AUTH, empty", ONLY_5, Client, "F0 00", auth(ReasonCode::SUCCESS, NO_PROPERTIES())),
        accept(
            "AUTH from a server",
            ONLY_5,
            Client,
            "F0 0C 18 0A 15 0001 6D 16 0003 010203",
            auth(
                ReasonCode::CONTINUE_AUTHENTICATION,
                list(&[method, (Property::AuthenticationData, Value::Binary(&[1, 2, 3]))]),
            ),
        )
        .also_whole([0]),
        accept(
            "AUTH from a client",
            ONLY_5,
            Server,
            "F0 06 19 04 15 0001 6D",
            auth(ReasonCode::REAUTHENTICATE, list(&[method])),
        ),
    ]
}

#[test]
fn each_vector_is_understood() {
    for vector in vectors() {
        for &version in vector.versions {
            let bytes = vector.bytes();
            let packet = read(version, vector.receiver, &bytes);
            assert_eq!(packet.as_ref(), Ok(&vector.packet), "{} in {version}", vector.name);
        }
    }
}

#[test]
fn each_vector_is_written_in_its_shortest_form() {
    for vector in vectors() {
        for &version in vector.versions {
            let written = write(version, &vector.packet).unwrap();
            if vector.canonical {
                assert_eq!(written, vector.bytes(), "{} in {version}", vector.name);
            } else {
                assert_ne!(written, vector.bytes(), "{} in {version}", vector.name);
                let again = read(version, vector.receiver, &written);
                assert_eq!(again.as_ref(), Ok(&vector.packet), "{} in {version}", vector.name);
            }
        }
    }
}

#[test]
fn a_publish_is_understood_alone_too() {
    for vector in vectors() {
        let bytes = vector.bytes();
        let alone = Publish::decode(vector.versions[0], frame(&bytes).unwrap());
        match &vector.packet {
            Packet::Publish(publish) => {
                assert_eq!(alone.as_ref(), Ok(publish), "{}", vector.name);
            }
            _ => assert!(alone.is_err(), "{}", vector.name),
        }
    }
}

#[test]
fn the_head_of_a_publish_lacks_only_the_payload() {
    for vector in vectors() {
        if let Packet::Publish(publish) = &vector.packet {
            let mut out = Vec::new();
            publish.encode_head(vector.versions[0], &mut out).unwrap();
            out.extend_from_slice(publish.payload);
            assert_eq!(out, vector.bytes(), "{}", vector.name);
        }
    }
}
