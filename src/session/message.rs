//! What an application asks a session to send, and what a session hands it.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::{
    self, EncodeError, PacketId, PacketType, Properties, Property, PropertyValue, QoS, ReasonCode,
    SubscribeOptions, TopicFilter, TopicName, Version,
};

use super::RefusedReason;
use super::commands::check_properties;

/// Holds a message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: TopicName,
    /// What. Kept by reference until it is acknowledged.
    pub payload: Bytes,
    /// With which quality of service.
    pub qos: QoS,
    /// Whether the broker keeps it as the retained message of the topic.
    pub retain: bool,
    /// Properties, 5.0 only.
    pub properties: Properties,
}

impl Message {
    /// Makes a QoS 0 message, not retained, without properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Message {
        Message {
            topic,
            payload: payload.into(),
            qos: QoS::default(),
            retain: false,
            properties: Properties::default(),
        }
    }

    /// Checks what can be known without a broker: whether the properties may be sent.
    ///
    /// # Errors
    ///
    /// [`RefusedReason`], as [`Session::publish`](super::Session::publish) has it.
    #[inline]
    pub fn check(&self, version: Version) -> Result<(), RefusedReason> {
        if self.properties.as_ref().is_empty() { Ok(()) } else { self.check_properties(version) }
    }

    fn check_properties(&self, version: Version) -> Result<(), RefusedReason> {
        check_properties(version, &self.properties, PacketType::Publish)?;
        let properties = self.properties.as_ref();
        if properties.topic_alias().is_some() {
            return Err(RefusedReason::TopicAlias);
        }
        if properties.subscription_identifiers().next().is_some() {
            return Err(RefusedReason::SubscriptionIdentifier);
        }
        Ok(())
    }

    /// The size of the whole PUBLISH in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when it cannot be put on the wire.
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        let packet_id = (self.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        self.packet(packet_id, false).encoded_len(version)
    }

    /// Appends the whole PUBLISH, with the packet identifier 1 above QoS 0: a form in which the
    /// message can be kept.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when it cannot be put on the wire.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let packet_id = (self.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        self.packet(packet_id, false).encode(version, out)
    }

    /// The packet that it is sent in.
    pub(super) fn packet(&self, packet_id: Option<PacketId>, dup: bool) -> codec::Publish<'_> {
        codec::Publish {
            dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id,
            properties: self.properties.as_ref(),
            payload: &self.payload,
        }
    }

    /// The Message Expiry Interval, if there is one.
    #[inline]
    pub fn expiry(&self) -> Option<Duration> {
        let seconds = self.properties.as_ref().message_expiry_interval()?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Puts another Message Expiry Interval in the place of the one there is.
    pub(super) fn set_expiry(&mut self, seconds: u32) {
        if self.properties.as_ref().message_expiry_interval() == Some(seconds) {
            return;
        }
        let mut properties = Properties::default();
        for (property, mut value) in self.properties.as_ref().iter() {
            if property == Property::MessageExpiryInterval {
                value = PropertyValue::FourByte(seconds);
            }
            let pushed = properties.push(property, value);
            debug_assert!(pushed.is_ok(), "it was there before");
        }
        self.properties = properties;
    }

    /// What the message counts for in a queue bounded by bytes.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_ref().encoded_len()
    }
}

/// Asks for subscriptions; goes out as one SUBSCRIBE packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// The filters, each with its options. At least one.
    pub filters: Vec<(TopicFilter, SubscribeOptions)>,
    /// Subscription identifier and user properties, 5.0 only.
    pub properties: Properties,
}

/// Asks for the end of subscriptions; goes out as one UNSUBSCRIBE packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeRequest {
    /// The filters, letter for letter as they were subscribed. At least one.
    pub filters: Vec<TopicFilter>,
    /// User properties, 5.0 only.
    pub properties: Properties,
}

/// Lends a message from the broker, straight from the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The packet; a topic alias is already resolved into its topic.
    pub publish: codec::Publish<'a>,
    /// What to answer it with later, for QoS 1 and 2.
    pub ack: Option<AckHandle>,
}

/// Takes the messages that a session receives.
pub trait Inbox {
    /// Takes one message and says what the broker is to be told.
    fn message(&mut self, message: Received<'_>) -> Verdict;
}

impl<F: FnMut(Received<'_>) -> Verdict> Inbox for F {
    fn message(&mut self, message: Received<'_>) -> Verdict {
        self(message)
    }
}

/// Decides how a received message is acknowledged. Has no meaning for QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledge it.
    Ack,
    /// Acknowledge it with an error code (5.0; a plain acknowledgement in 3.x, which has no other).
    /// An error that PUBACK and PUBREC cannot name becomes `UNSPECIFIED_ERROR`, anything else that
    /// they cannot name a success.
    Reject(ReasonCode),
    /// Acknowledge it when [`Session::ack`](super::Session::ack) says so.
    Hold,
}

/// Names a received QoS 1 or 2 message that is still to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckHandle {
    pub(super) serial: u32,
    pub(super) link: u16,
    pub(super) packet_id: PacketId,
}
