//! Any packet: its type, who may receive it, and the way to its own decoder.

use std::fmt;

use super::ack::Ack;
use super::auth::Auth;
use super::connack::ConnAck;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::error::{DecodeError, EncodeError, Rule};
use super::frame::{self, Frame};
use super::publish::Publish;
use super::subscribe::{SubAck, Subscribe};
use super::unsubscribe::{UnsubAck, Unsubscribe};
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink};

/// The kinds of packet (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// The client asks for a connection.
    Connect = 1,
    /// The server answers a CONNECT.
    ConnAck,
    /// A message.
    Publish,
    /// Answers a QoS 1 PUBLISH.
    PubAck,
    /// Answers a QoS 2 PUBLISH: received.
    PubRec,
    /// Answers a PUBREC: release.
    PubRel,
    /// Answers a PUBREL: complete.
    PubComp,
    /// The client asks for messages.
    Subscribe,
    /// The server answers a SUBSCRIBE.
    SubAck,
    /// The client asks for no more messages.
    Unsubscribe,
    /// The server answers an UNSUBSCRIBE.
    UnsubAck,
    /// The client asks for a sign of life.
    PingReq,
    /// The server answers a PINGREQ.
    PingResp,
    /// The end of the connection; from a server only in 5.0.
    Disconnect,
    /// One step of enhanced authentication; only in 5.0.
    Auth,
}

impl PacketType {
    /// Returns the type of the upper four bits of a first byte.
    #[inline]
    pub(super) const fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Returns the first byte of the type with the flags that are fixed for it [MQTT-2.1.3-1].
    #[inline]
    pub(super) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    fn reaches(self, receiver: Role, version: Version) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                receiver == Role::Server
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                receiver == Role::Client
            }
            Self::Disconnect => receiver == Role::Server || version == Version::V5,
            Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubRel
            | Self::PubComp
            | Self::Auth => true,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that sends CONNECT.
    Client,
    /// The end that answers with CONNACK.
    Server,
}

/// One packet, borrowed from the bytes it was decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT, client to server.
    Connect(Box<Connect<'a>>),
    /// CONNACK, server to client.
    ConnAck(ConnAck<'a>),
    /// PUBLISH, both ways.
    Publish(Publish<'a>),
    /// PUBACK, both ways.
    PubAck(Ack<'a>),
    /// PUBREC, both ways.
    PubRec(Ack<'a>),
    /// PUBREL, both ways.
    PubRel(Ack<'a>),
    /// PUBCOMP, both ways.
    PubComp(Ack<'a>),
    /// SUBSCRIBE, client to server.
    Subscribe(Subscribe<'a>),
    /// SUBACK, server to client.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE, client to server.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK, server to client.
    UnsubAck(UnsubAck<'a>),
    /// PINGREQ, client to server.
    PingReq,
    /// PINGRESP, server to client.
    PingResp,
    /// DISCONNECT, client to server, and in 5.0 both ways.
    Disconnect(Disconnect<'a>),
    /// AUTH of 5.0, both ways.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Returns the kind of packet.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`. A CONNECT is written in its own version.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the packet may not be sent as it stands; `out` is then unchanged.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode(self.packet_type(), version, out)
            }
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq => wire::encode(&Ping(PacketType::PingReq), version, out),
            Self::PingResp => wire::encode(&Ping(PacketType::PingResp), version, out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }

    /// Returns how many bytes [`encode`](Self::encode) appends: the size of the whole packet.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        match self {
            Self::Connect(packet) => packet.encoded_len(),
            Self::ConnAck(packet) => packet.encoded_len(version),
            Self::Publish(packet) => packet.encoded_len(version),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encoded_len(self.packet_type(), version)
            }
            Self::Subscribe(packet) => packet.encoded_len(version),
            Self::SubAck(packet) => packet.encoded_len(version),
            Self::Unsubscribe(packet) => packet.encoded_len(version),
            Self::UnsubAck(packet) => packet.encoded_len(version),
            Self::PingReq | Self::PingResp => wire::encoded_len(&Ping(self.packet_type()), version),
            Self::Disconnect(packet) => packet.encoded_len(version),
            Self::Auth(packet) => packet.encoded_len(version),
        }
    }
}

/// Understands one packet that `receiver` got.
///
/// A CONNECT is read in the version it names, whatever `version` says. What depends on earlier
/// packets (packet identifiers in use, topic aliases, receive maximum) is not looked at here.
///
/// # Errors
///
/// [`DecodeError`] for whatever the specification calls malformed or a protocol error.
///
/// # Examples
///
/// ```
/// use midge::codec::{Frame, Packet, Role, Version, decode};
///
/// let frame = Frame { first: 0x30, body: b"\x00\x03a/bhello" };
/// let Ok(Packet::Publish(publish)) = decode(Version::V311, Role::Client, frame) else {
///     unreachable!()
/// };
/// assert_eq!((publish.topic, publish.payload), ("a/b", &b"hello"[..]));
/// ```
pub fn decode<'a>(
    version: Version,
    receiver: Role,
    frame: Frame<'a>,
) -> Result<Packet<'a>, DecodeError> {
    let packet = frame::packet_type(version, frame.first)?;
    if !packet.reaches(receiver, version) {
        return Err(DecodeError::new(Rule::WrongDirection, "packet").in_packet(packet));
    }
    let body = Reader::new(frame.body);
    match packet {
        PacketType::Connect => Connect::read(body).map(|connect| Packet::Connect(connect.into())),
        PacketType::ConnAck => ConnAck::read(version, body).map(Packet::ConnAck),
        PacketType::Publish => Publish::read(version, frame).and_then(|publish| {
            if receiver == Role::Server {
                publish.check_from_client()?;
            }
            Ok(Packet::Publish(publish))
        }),
        PacketType::PubAck => Ack::read(packet, version, receiver, body).map(Packet::PubAck),
        PacketType::PubRec => Ack::read(packet, version, receiver, body).map(Packet::PubRec),
        PacketType::PubRel => Ack::read(packet, version, receiver, body).map(Packet::PubRel),
        PacketType::PubComp => Ack::read(packet, version, receiver, body).map(Packet::PubComp),
        PacketType::Subscribe => Subscribe::read(version, body).map(Packet::Subscribe),
        PacketType::SubAck => SubAck::read(version, body).map(Packet::SubAck),
        PacketType::Unsubscribe => Unsubscribe::read(version, body).map(Packet::Unsubscribe),
        PacketType::UnsubAck => UnsubAck::read(version, body).map(Packet::UnsubAck),
        PacketType::PingReq => body.finish().map(|()| Packet::PingReq),
        PacketType::PingResp => body.finish().map(|()| Packet::PingResp),
        PacketType::Disconnect => Disconnect::read(version, receiver, body).map(Packet::Disconnect),
        PacketType::Auth => Auth::read(receiver, body).map(Packet::Auth),
    }
    .map_err(|error| error.in_packet(packet))
}

/// PINGREQ or PINGRESP.
struct Ping(PacketType);

impl Encode for Ping {
    fn first_byte(&self) -> u8 {
        self.0.first_byte()
    }

    fn check(&self, _: Version) -> Result<(), EncodeError> {
        Ok(())
    }

    fn write<S: Sink>(&self, _: Version, _: &mut S) -> Result<(), EncodeError> {
        Ok(())
    }
}
