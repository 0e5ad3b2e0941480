//! Bytes to MQTT packets and back, for 3.1, 3.1.1 and 5.0.
//!
//! One tree serves all versions: a packet of 3.x is one of 5.0 without properties and with fewer
//! reason codes. [`cut`] finds one whole packet in a stream of bytes, [`decode`] understands it
//! without copying, and each packet has `encode` and `encoded_len`. What one packet says wrong by
//! itself is refused here, in both directions; what is wrong only in the light of earlier packets
//! is the business of [`session`](crate::session).
//!
//! Nothing here panics on any input, reads past a length, or allocates by a length that a packet
//! merely declares.
//!
//! ```
//! use midge::codec::{Cut, MAX_PACKET_SIZE, Packet, Publish, QoS, Role, Version, cut, decode};
//!
//! let publish = Publish {
//!     dup: false,
//!     qos: QoS::AtMostOnce,
//!     retain: false,
//!     topic: "room/temperature",
//!     packet_id: None,
//!     properties: Default::default(),
//!     payload: b"21.5",
//! };
//! let mut bytes = Vec::new();
//! publish.encode(Version::V5, &mut bytes)?;
//!
//! let Cut::Frame { frame, len } = cut(&bytes, MAX_PACKET_SIZE)? else { unreachable!() };
//! assert_eq!(len, bytes.len());
//! assert_eq!(decode(Version::V5, Role::Client, frame)?, Packet::Publish(publish));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod packet;
mod packet_id;
mod properties;
mod property;
mod publish;
mod qos;
mod reason;
mod subscribe;
mod text;
mod topic;
mod unsubscribe;
mod version;
mod wire;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use error::{DecodeError, EncodeError};
pub use frame::{Cut, Frame, MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, cut};
pub use packet::{Packet, PacketType, Role, decode};
pub use packet_id::PacketId;
pub use properties::{Iter, Properties, PropertiesRef};
pub use property::{Property, PropertyError, PropertyOwner, PropertyType, PropertyValue};
pub use publish::Publish;
pub use qos::{InvalidQoS, QoS};
pub use reason::ReasonCode;
pub use subscribe::{FilterRequest, RetainHandling, SubAck, Subscribe, SubscribeOptions};
pub use topic::{
    FilterLevel, TopicError, TopicFilter, TopicName, check_topic_filter, check_topic_name,
    topic_matches,
};
pub use unsubscribe::{UnsubAck, Unsubscribe};
pub use version::Version;
