//! What holds for the codec on any bytes. Shared by the fuzz targets and the wire tests.

use midge::codec::{
    Ack, Auth, ConnAck, Connect, Cut, Disconnect, FilterRequest, MAX_PACKET_SIZE, Packet, PacketId,
    Properties, PropertiesRef, Property, PropertyType, PropertyValue as Value, Publish, QoS,
    ReasonCode, RetainHandling, Role, SubAck, Subscribe, SubscribeOptions, UnsubAck, Unsubscribe,
    Version, Will, cut, decode,
};

/// Reads a stream whose first byte chooses the version by its lowest two bits, 0 for 3.1 and 1 for
/// 3.1.1, and the receiver by its highest, 1 for the server.
pub fn chosen(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let receiver = if choice & 0x80 == 0 { Role::Client } else { Role::Server };
    stream(version(choice), receiver, bytes);
}

fn version(choice: u8) -> Version {
    match choice & 3 {
        0 => Version::V31,
        1 => Version::V311,
        _ => Version::V5,
    }
}

/// Cuts and decodes packets until the stream ends or is refused.
///
/// # Panics
///
/// When a packet that was understood cannot be written, or is not the same after that.
pub fn stream(version: Version, receiver: Role, mut bytes: &[u8]) {
    loop {
        match cut(bytes, MAX_PACKET_SIZE) {
            Err(_) => return,
            Ok(Cut::Need(more)) => {
                assert!(more > 0, "cut asks for nothing");
                return;
            }
            Ok(Cut::Frame { frame, len }) => {
                assert!(len >= 2 && frame.body.len() + 2 <= len, "cut found {len} bytes");
                let alone = Publish::decode(version, frame);
                let Ok(packet) = decode(version, receiver, frame) else { return };
                if let Packet::Publish(publish) = &packet {
                    assert_eq!(alone.as_ref(), Ok(publish));
                }
                survives(version, receiver, &packet, len);
                bytes = &bytes[len..];
            }
        }
    }
}

/// Writes a packet that came in `len` bytes and reads it back.
fn survives(version: Version, receiver: Role, packet: &Packet<'_>, len: usize) {
    let mut out = Vec::new();
    if let Err(error) = packet.encode(version, &mut out) {
        panic!("{packet:?} was understood and cannot be written: {error}");
    }
    assert_eq!(packet.encoded_len(version), Ok(out.len()));
    // The refusal of 3.x to a client of 5.0 is the one packet whose canonical form is longer.
    assert!(out.len() <= len + 1, "{packet:?} grew from {len} to {} bytes", out.len());
    let Ok(Cut::Frame { frame, len }) = cut(&out, MAX_PACKET_SIZE) else {
        panic!("{packet:?} was written as {out:02x?}");
    };
    assert_eq!(len, out.len());
    assert_eq!(decode(version, receiver, frame).as_ref(), Ok(packet));
    assert!(!format!("{packet:?}").is_empty());
}

/// Makes any packet, legal or not, out of `data`, and writes it.
///
/// # Panics
///
/// When it is written and then nobody understands it as the same packet, or when it is refused and
/// something was written.
pub fn round_trip(data: &[u8]) {
    let mut source = Source(data);
    let version = version(source.byte());
    let lists = [source.properties(), source.properties()];
    let packet = source.packet(version, lists.each_ref().map(Properties::as_ref));
    let mut out = Vec::new();
    match packet.encode(version, &mut out) {
        Err(error) => assert!(out.is_empty(), "{error}"),
        Ok(()) => {
            let Ok(Cut::Frame { frame, len }) = cut(&out, MAX_PACKET_SIZE) else {
                panic!("{packet:?} was written as {out:02x?}");
            };
            assert_eq!(len, out.len());
            let understood = [Role::Client, Role::Server]
                .iter()
                .any(|receiver| decode(version, *receiver, frame).as_ref() == Ok(&packet));
            assert!(understood, "{packet:?} in {version} was written as {out:02x?}");
        }
    }
}

/// Values taken off the front of some bytes; zeros and nothing after their end.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn two_byte(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn four_byte(&mut self) -> u32 {
        u32::from(self.two_byte()) << 16 | u32::from(self.two_byte())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn text(&mut self) -> &'a str {
        let bytes = self.bytes();
        match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }

    fn qos(&mut self) -> QoS {
        QoS::try_from(self.byte() % 3).unwrap_or_default()
    }

    fn reason(&mut self) -> ReasonCode {
        ReasonCode::new(self.byte())
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.two_byte()).unwrap_or(PacketId::MAX)
    }

    fn properties(&mut self) -> Properties {
        let mut list = Properties::new();
        for _ in 0..self.byte() % 8 {
            let Some(property) = Property::from_id(self.byte() % 43) else { continue };
            let value = match property.data_type() {
                PropertyType::Byte => Value::Byte(self.byte()),
                PropertyType::TwoByte => Value::TwoByte(self.two_byte()),
                PropertyType::FourByte => Value::FourByte(self.four_byte()),
                PropertyType::VariableByte => Value::VariableByte(self.four_byte()),
                PropertyType::Binary => Value::Binary(self.bytes()),
                PropertyType::Utf8 => Value::Utf8(self.text()),
                PropertyType::Pair => Value::Pair(self.text(), self.text()),
            };
            let before = list.clone();
            if list.push(property, value).is_err() {
                assert_eq!(list, before);
            }
        }
        list
    }

    fn options(&mut self) -> SubscribeOptions {
        SubscribeOptions {
            qos: self.qos(),
            no_local: self.is(),
            retain_as_published: self.is(),
            retain_handling: match self.byte() % 3 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        }
    }

    fn packet(&mut self, version: Version, lists: [PropertiesRef<'a>; 2]) -> Packet<'a> {
        let [properties, will_properties] = lists;
        match self.byte() % 16 {
            1 => Packet::Connect(Box::new(Connect {
                version,
                clean_start: self.is(),
                keep_alive: self.two_byte(),
                client_id: self.text(),
                will: self.is().then(|| Will {
                    topic: self.text(),
                    payload: self.bytes(),
                    qos: self.qos(),
                    retain: self.is(),
                    properties: will_properties,
                }),
                username: self.is().then(|| self.text()),
                password: self.is().then(|| self.bytes()),
                properties,
            })),
            2 => Packet::ConnAck(ConnAck {
                session_present: self.is(),
                reason: self.reason(),
                properties,
            }),
            4 => Packet::PubAck(self.ack(properties)),
            5 => Packet::PubRec(self.ack(properties)),
            6 => Packet::PubRel(self.ack(properties)),
            7 => Packet::PubComp(self.ack(properties)),
            8 => Packet::Subscribe(Subscribe {
                packet_id: self.packet_id(),
                properties,
                filters: (0..self.byte() % 5)
                    .map(|_| FilterRequest { filter: self.text(), options: self.options() })
                    .collect(),
            }),
            9 => Packet::SubAck(SubAck {
                packet_id: self.packet_id(),
                properties,
                codes: self.bytes(),
            }),
            10 => Packet::Unsubscribe(Unsubscribe {
                packet_id: self.packet_id(),
                properties,
                filters: (0..self.byte() % 5).map(|_| self.text()).collect(),
            }),
            11 => Packet::UnsubAck(UnsubAck {
                packet_id: self.packet_id(),
                properties,
                codes: self.bytes(),
            }),
            12 => Packet::PingReq,
            13 => Packet::PingResp,
            14 => Packet::Disconnect(Disconnect { reason: self.reason(), properties }),
            15 => Packet::Auth(Auth { reason: self.reason(), properties }),
            _ => Packet::Publish(Publish {
                dup: self.is(),
                qos: self.qos(),
                retain: self.is(),
                topic: self.text(),
                packet_id: self.is().then(|| self.packet_id()),
                properties,
                payload: self.bytes(),
            }),
        }
    }

    fn ack(&mut self, properties: PropertiesRef<'a>) -> Ack<'a> {
        Ack { properties, ..Ack::new(self.packet_id(), self.reason()) }
    }
}
