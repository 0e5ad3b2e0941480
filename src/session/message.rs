//! What an application asks a session to send, and what a session hands it.

use bytes::Bytes;

use crate::codec::{
    self, PacketId, Properties, QoS, ReasonCode, SubscribeOptions, TopicFilter, TopicName,
};

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

    /// What the message counts for in a queue bounded by bytes.
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
