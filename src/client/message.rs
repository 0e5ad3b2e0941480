//! Received messages: lent to the hook, owned in the streams.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{PacketId, Properties, PropertiesRef, Publish, QoS, ReasonCode};

use super::acks::AckHandle;

/// Lends a received message to [`on_message`](super::ClientBuilder::on_message), straight from the
/// bytes that arrived.
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    publish: &'a Publish<'a>,
}

impl<'a> MessageRef<'a> {
    pub(super) fn new(publish: &'a Publish<'a>) -> MessageRef<'a> {
        MessageRef { publish }
    }

    /// Returns the topic; a topic alias is resolved.
    pub fn topic(&self) -> &'a str {
        self.publish.topic
    }

    /// Returns the payload.
    pub fn payload(&self) -> &'a [u8] {
        self.publish.payload
    }

    /// Returns the quality of service it was delivered with.
    pub fn qos(&self) -> QoS {
        self.publish.qos
    }

    /// Returns whether it was delivered as a retained message.
    pub fn retain(&self) -> bool {
        self.publish.retain
    }

    /// Returns whether the broker may have delivered it before (§3.3.1.1).
    pub fn dup(&self) -> bool {
        self.publish.dup
    }

    /// Returns the packet identifier; `None` for QoS 0.
    pub fn packet_id(&self) -> Option<PacketId> {
        self.publish.packet_id
    }

    /// Returns the properties; empty in MQTT 3.x.
    pub fn properties(&self) -> PropertiesRef<'a> {
        self.publish.properties
    }

    /// The packet.
    #[cfg(feature = "cli")]
    pub(crate) fn publish(&self) -> &'a Publish<'a> {
        self.publish
    }

    /// Makes a copy that can be kept.
    pub fn to_message(&self) -> Message {
        Message {
            topic: self.topic().into(),
            payload: Bytes::copy_from_slice(self.payload()),
            properties: self.properties().into(),
            qos: self.qos(),
            retain: self.retain(),
            dup: self.dup(),
            packet_id: self.packet_id(),
            lagged: 0,
            ack: None,
        }
    }
}

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.publish.fmt(f)
    }
}

/// A received message, as [`Inbox`](super::Inbox) and [`Subscription`](super::Subscription) yield
/// it. Cloning copies no payload; the acknowledgement stays with the original.
#[derive(Debug)]
pub struct Message {
    topic: Arc<str>,
    payload: Bytes,
    properties: Properties,
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: Option<PacketId>,
    pub(super) lagged: u64,
    /// Unless there is nothing to acknowledge, or that is done.
    pub(super) ack: Option<AckHandle>,
}

impl Clone for Message {
    fn clone(&self) -> Message {
        Message {
            topic: Arc::clone(&self.topic),
            payload: self.payload.clone(),
            properties: self.properties.clone(),
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            packet_id: self.packet_id,
            lagged: self.lagged,
            ack: None,
        }
    }
}

impl Message {
    /// Returns the topic; a topic alias is resolved.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Takes the payload out.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Returns the quality of service it was delivered with.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Returns whether it was delivered as a retained message.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Returns whether the broker may have delivered it before (§3.3.1.1).
    pub fn dup(&self) -> bool {
        self.dup
    }

    /// Returns the packet identifier; `None` for QoS 0.
    pub fn packet_id(&self) -> Option<PacketId> {
        self.packet_id
    }

    /// Returns the properties; empty in MQTT 3.x.
    pub fn properties(&self) -> PropertiesRef<'_> {
        self.properties.as_ref()
    }

    /// Acknowledges the message, where its stream does not ([`Acks`](super::Acks)). Does nothing
    /// for QoS 0, for a clone, or when it was acknowledged or refused before.
    pub fn ack(&self) {
        if let Some(handle) = &self.ack {
            handle.decide(None);
        }
    }

    /// Refuses the message with a reason, as [`AckHandle::reject`], where its stream does not
    /// acknowledge it ([`Acks`](super::Acks)). Does nothing for QoS 0, for a clone, or when it was
    /// acknowledged or refused before.
    pub fn reject(&self, reason: ReasonCode) {
        if let Some(handle) = &self.ack {
            handle.decide(Some((reason, None)));
        }
    }

    /// Takes out what acknowledges the message: `None` for QoS 0, for a clone, and where its stream
    /// acknowledges it ([`Acks`](super::Acks)).
    pub fn into_parts(mut self) -> (Message, Option<AckHandle>) {
        let handle = self.ack.take();
        (self, handle)
    }

    /// Returns how many messages the stream dropped since the message before this one, because
    /// nobody took them in time ([`Slow`](super::Slow)).
    pub fn lagged(&self) -> u64 {
        self.lagged
    }

    /// The message as it stood in its packet.
    #[cfg(feature = "cli")]
    pub(crate) fn publish(&self) -> Publish<'_> {
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: self.packet_id,
            properties: self.properties(),
            payload: &self.payload,
        }
    }

    /// What the message counts for in a queue bounded by bytes.
    pub(super) fn queued_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_ref().encoded_len()
    }
}
