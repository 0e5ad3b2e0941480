//! PUBLISH (§3.3): a message.

use super::error::{DecodeError, EncodeError, Rule};
use super::frame::{self, Frame};
use super::packet::PacketType;
use super::packet_id::PacketId;
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::qos::QoS;
use super::topic;
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink, encodable};

/// A PUBLISH packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether this may be the re-delivery of a packet sent before; false at QoS 0.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message is, or is to be, retained.
    pub retain: bool,
    /// The topic name; empty only in 5.0 and with a topic alias among the properties.
    pub topic: &'a str,
    /// The packet identifier: there above QoS 0 and only there.
    pub packet_id: Option<PacketId>,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

const TOPIC: &str = "topic name";
const OWNER: PropertyOwner = PropertyOwner::Packet(PacketType::Publish);

const RETAIN: u8 = 0x01;
const QOS_SHIFT: u8 = 1;
const DUP: u8 = 0x08;

impl<'a> Publish<'a> {
    /// Understands a PUBLISH that either end got; the rules that bind only one of them are left
    /// to [`decode`](super::decode).
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for whatever the specification calls malformed, and for another packet.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, DecodeError> {
        match frame::packet_type(version, frame.first)? {
            PacketType::Publish => {
                Self::read(version, frame).map_err(|error| error.in_packet(PacketType::Publish))
            }
            packet => Err(DecodeError::new(Rule::NotPublish, "packet").in_packet(packet)),
        }
    }

    #[inline]
    pub(super) fn read(version: Version, frame: Frame<'a>) -> Result<Self, DecodeError> {
        let mut body = Reader::new(frame.body);
        let dup = frame.first & DUP != 0;
        let qos = QoS::from_low_bits(frame.first >> QOS_SHIFT)
            .ok_or_else(|| DecodeError::new(Rule::PublishQos, "QoS"))?;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::new(Rule::PublishDup, "DUP"));
        }
        let topic = body.string(TOPIC)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(body.packet_id()?),
        };
        let properties = PropertiesRef::read(version, &mut body, OWNER)?;
        check_topic(version, topic, properties).map_err(|rule| DecodeError::new(rule, TOPIC))?;
        Ok(Self {
            dup,
            qos,
            retain: frame.first & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: body.rest(),
        })
    }

    /// Refuses what only a server may put into a PUBLISH.
    pub(super) fn check_from_client(&self) -> Result<(), DecodeError> {
        if self.properties.subscription_identifiers().next().is_some() {
            let field = "subscription-identifier";
            return Err(DecodeError::new(Rule::SubscriptionIdentifierSent, field));
        }
        Ok(())
    }

    /// Appends everything but the bytes of the payload to `out`: with them, the packet is whole.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    #[inline]
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.check(version)?;
        wire::encode_head(self, version, out)
    }

    /// Like [`encode_head`](Self::encode_head), for a packet that is known to be in order, apart from
    /// the lengths: its topic is that of a [`TopicName`](super::TopicName), or the empty one beside its
    /// alias.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when a field or the packet is too long; `out` is then unchanged.
    #[inline]
    pub(crate) fn encode_checked_head(
        &self,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        topic::check_length_for(version, self.topic)
            .map_err(|rule| EncodeError::breach(rule, TOPIC))?;
        debug_assert_eq!(self.check(version), Ok(()));
        wire::encode_head(self, version, out)
    }
}

encodable!(Publish);

impl Encode for Publish<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Publish.first_byte()
            | if self.dup { DUP } else { 0 }
            | u8::from(self.qos) << QOS_SHIFT
            | if self.retain { RETAIN } else { 0 }
    }

    #[inline]
    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let at_most_once = self.qos == QoS::AtMostOnce;
        if self.packet_id.is_some() == at_most_once {
            let rule = if at_most_once { Rule::PacketIdAtQos0 } else { Rule::PacketIdMissing };
            return Err(EncodeError::breach(rule, "packet identifier"));
        }
        if self.dup && at_most_once {
            return Err(EncodeError::breach(Rule::PublishDup, "DUP"));
        }
        self.properties.check_in(version, OWNER)?;
        check_topic(version, self.topic, self.properties)
            .map_err(|rule| EncodeError::breach(rule, TOPIC))
    }

    #[inline]
    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.string(TOPIC, self.topic)?;
        if let Some(id) = self.packet_id {
            sink.u16(id.get());
        }
        sink.properties(version, self.properties)
    }

    #[inline]
    fn payload(&self) -> &[u8] {
        self.payload
    }
}

/// Checks a topic name whose length fits its prefix.
#[inline]
pub(super) fn check_name(version: Version, name: &str) -> Result<(), Rule> {
    topic::check_name_characters(name)?;
    topic::check_length_for(version, name)
}

#[inline]
fn check_topic(version: Version, name: &str, properties: PropertiesRef<'_>) -> Result<(), Rule> {
    if name.is_empty() && properties.topic_alias().is_some() {
        return Ok(());
    }
    check_name(version, name)
}
