//! Messages to the broker: the queue, the window of those in flight, and what becomes of them on
//! the next connection (§4.3, §4.4, §4.6, §4.9).

use std::collections::VecDeque;

use crate::codec::{
    Ack, PacketId, PacketType, Properties, Property, PropertyValue, Publish, QoS, ReasonCode,
    Version,
};

use super::alias::{AliasSender, Aliased};
use super::ids::PacketIds;
use super::incoming::encode_ack;
use super::{
    Config, Event, IdUse, Limits, Message, ProtocolError, PublishFailure, Receipt, SessionLoss,
    Ticket, Transmit,
};

/// Holds the sending half of a session.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Admitted and not yet sent.
    queue: VecDeque<Queued>,
    /// In flight in the order of their first sending \[MQTT-4.6.0-1\]; a gap is one that is done.
    inflight: VecDeque<Option<InFlight>>,
    /// Sequence number of the first entry of `inflight`.
    first_sequence: u64,
    inflight_count: usize,
    /// Entries before this sequence number need not be sent again on this link.
    resend_from: u64,
    /// PUBRELs to be sent again on this link, in the order of their PUBRECs \[MQTT-4.6.0-4\].
    release_again: VecDeque<PacketId>,
    /// Number of PUBRECs taken, for that order.
    released_count: u64,
    /// Messages that may still be sent before an acknowledgement comes \[MQTT-4.9.0-1\].
    quota: u16,
    quota_maximum: u16,
    aliases: AliasSender,
    /// QoS 0 messages handed to the transport, each with the position of its last byte in the
    /// output of the link.
    unconfirmed: VecDeque<(u64, Ticket, u32)>,
    /// Bytes of topic and payload in `queue` and `inflight`.
    bytes: usize,
}

#[derive(Debug)]
struct Queued {
    ticket: Ticket,
    /// How often it was sent before, in a session that was lost.
    attempts: u32,
    message: Message,
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    packet_id: PacketId,
    message: Message,
    phase: Phase,
    attempts: u32,
    /// Whether it was sent on this link and so counts against the quota.
    sent: bool,
}

/// What an in-flight message waits for.
///
/// ```text
/// QoS 1: PUBLISH ─► Ack ─PUBACK─► done
/// QoS 2: PUBLISH ─► Rec ─PUBREC─► PUBREL ─► Comp ─PUBCOMP─► done
///                    └─ PUBREC with an error code ─► done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ack,
    Rec,
    /// With the number of its PUBREC.
    Comp(u64),
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing {
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            first_sequence: 0,
            inflight_count: 0,
            resend_from: 0,
            release_again: VecDeque::new(),
            released_count: 0,
            quota: 0,
            quota_maximum: 0,
            aliases: AliasSender::new(0),
            unconfirmed: VecDeque::new(),
            bytes: 0,
        }
    }

    /// How many messages are queued, in flight or with the kernel's answer outstanding.
    pub(super) fn message_count(&self) -> usize {
        self.queue.len() + self.inflight_count + self.unconfirmed.len()
    }

    pub(super) fn has_room(&self, message: &Message, config: &Config) -> bool {
        self.message_count() < config.max_queued_messages
            && (self.bytes.saturating_add(message.queued_bytes()) <= config.max_queued_bytes
                || self.bytes == 0)
    }

    pub(super) fn enqueue(&mut self, ticket: Ticket, message: Message) {
        self.bytes += message.queued_bytes();
        self.queue.push_back(Queued { ticket, attempts: 0, message });
    }

    /// Takes a message back that was not written yet.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<Message> {
        let index = self.queue.iter().position(|queued| queued.ticket == ticket)?;
        let message = self.queue.remove(index)?.message;
        self.bytes -= message.queued_bytes();
        Some(message)
    }

    /// The link is up: everything in flight is to be sent again, within the new quota.
    pub(super) fn handle_connected(&mut self, limits: &Limits) {
        self.quota = limits.receive_maximum;
        self.quota_maximum = limits.receive_maximum;
        self.aliases = AliasSender::new(limits.topic_alias_maximum);
        self.resend_from = self.first_sequence;
        let mut released: Vec<(u64, PacketId)> = self
            .inflight
            .iter()
            .flatten()
            .filter_map(|entry| match entry.phase {
                Phase::Comp(order) => Some((order, entry.packet_id)),
                Phase::Ack | Phase::Rec => None,
            })
            .collect();
        released.sort_unstable_by_key(|&(order, _)| order);
        self.release_again = released.into_iter().map(|(_, packet_id)| packet_id).collect();
    }

    /// The link is gone: QoS 0 messages that it had not written whole are lost.
    pub(super) fn handle_disconnected(&mut self, events: &mut VecDeque<Event>) {
        for (_, ticket, _) in self.unconfirmed.drain(..) {
            let result = Err(PublishFailure::Lost { maybe_delivered: true });
            events.push_back(Event::Published { ticket, result });
        }
        self.release_again.clear();
        for entry in self.inflight.iter_mut().flatten() {
            entry.sent = false;
        }
    }

    /// The broker has lost the session: its packet identifiers mean nothing any more.
    pub(super) fn forget_session(
        &mut self,
        on_loss: SessionLoss,
        ids: &mut PacketIds<IdUse>,
        events: &mut VecDeque<Event>,
    ) {
        while let Some(entry) = self.inflight.pop_back() {
            let Some(InFlight { ticket, packet_id, message, attempts, .. }) = entry else {
                continue;
            };
            ids.release(packet_id);
            match on_loss {
                SessionLoss::Republish => {
                    self.queue.push_front(Queued { ticket, attempts, message });
                }
                SessionLoss::Fail => {
                    self.bytes -= message.queued_bytes();
                    let result = Err(PublishFailure::Lost { maybe_delivered: attempts > 0 });
                    events.push_back(Event::Published { ticket, result });
                }
            }
        }
        self.inflight_count = 0;
        self.first_sequence = 0;
        self.resend_from = 0;
        self.release_again.clear();
    }

    /// Encodes what the window and the budget allow. `produced` counts the link's output bytes.
    pub(super) fn transmit(
        &mut self,
        version: Version,
        limits: &Limits,
        ids: &mut PacketIds<IdUse>,
        events: &mut VecDeque<Event>,
        produced: &mut u64,
        out: &mut Transmit,
    ) {
        while !out.is_full()
            && let Some(packet_id) = self.release_again.pop_front()
        {
            let before = out.len();
            encode_ack(PacketType::PubRel, packet_id, ReasonCode::SUCCESS, version, out.buffer());
            *produced += (out.len() - before) as u64;
        }
        while !out.is_full() && self.resend_from < self.next_sequence() {
            if !self.resend_next(version, limits, ids, events, produced, out) {
                return; // New messages must not overtake old ones.
            }
        }
        while !out.is_full()
            && let Some(next) = self.queue.front()
        {
            if next.message.qos != QoS::AtMostOnce && self.quota == 0 {
                return;
            }
            if !self.send_next(version, limits, ids, events, produced, out) {
                return;
            }
        }
    }

    /// Sends the next in-flight message of an earlier link again; `false` if it has to wait.
    fn resend_next(
        &mut self,
        version: Version,
        limits: &Limits,
        ids: &mut PacketIds<IdUse>,
        events: &mut VecDeque<Event>,
        produced: &mut u64,
        out: &mut Transmit,
    ) -> bool {
        let index = (self.resend_from - self.first_sequence) as usize;
        let Some(entry) = self.inflight.get_mut(index).and_then(Option::as_mut) else {
            self.resend_from += 1;
            return true;
        };
        if entry.sent || matches!(entry.phase, Phase::Comp(_)) {
            self.resend_from += 1;
            return true;
        }
        if self.quota == 0 {
            return false;
        }
        let sequence = self.resend_from;
        self.resend_from += 1;
        let before = out.len();
        let dup = entry.attempts > 0; // [MQTT-3.3.1-1]
        let id = entry.packet_id;
        match append(&entry.message, Some(id), dup, version, limits, &mut self.aliases, out) {
            Ok(()) => {
                entry.attempts += 1;
                entry.sent = true;
                self.quota -= 1;
                *produced += (out.len() - before) as u64;
            }
            Err(failure) => {
                ids.release(id);
                self.finish(sequence, Err(failure), events);
            }
        }
        true
    }

    /// Sends the first message of the queue; `false` if there is no identifier for it.
    fn send_next(
        &mut self,
        version: Version,
        limits: &Limits,
        ids: &mut PacketIds<IdUse>,
        events: &mut VecDeque<Event>,
        produced: &mut u64,
        out: &mut Transmit,
    ) -> bool {
        let Some(next) = self.queue.front() else { return false };
        let qos = next.message.qos;
        let packet_id = if qos == QoS::AtMostOnce {
            None
        } else {
            let Some(id) = ids.allocate(IdUse::Publish(self.next_sequence())) else {
                return false;
            };
            Some(id)
        };
        let before = out.len();
        let sent = append(&next.message, packet_id, false, version, limits, &mut self.aliases, out);
        let Some(Queued { ticket, attempts, message }) = self.queue.pop_front() else {
            return false;
        };
        if let Err(failure) = sent {
            if let Some(id) = packet_id {
                ids.release(id);
            }
            self.bytes -= message.queued_bytes();
            events.push_back(Event::Published { ticket, result: Err(failure) });
            return true;
        }
        *produced += (out.len() - before) as u64;
        let attempts = attempts + 1;
        match packet_id {
            None => {
                self.bytes -= message.queued_bytes();
                self.unconfirmed.push_back((*produced, ticket, attempts));
            }
            Some(packet_id) => {
                self.quota -= 1;
                self.inflight_count += 1;
                let phase = if qos == QoS::AtLeastOnce { Phase::Ack } else { Phase::Rec };
                self.inflight.push_back(Some(InFlight {
                    ticket,
                    packet_id,
                    message,
                    phase,
                    attempts,
                    sent: true,
                }));
                self.resend_from = self.next_sequence();
            }
        }
        true
    }

    /// The kernel has taken the link's output up to this position: QoS 0 messages are done.
    pub(super) fn handle_written(&mut self, position: u64, events: &mut VecDeque<Event>) {
        while let Some(&(end, ticket, attempts)) = self.unconfirmed.front()
            && end <= position
        {
            self.unconfirmed.pop_front();
            let receipt = Receipt {
                reason: ReasonCode::SUCCESS,
                attempts,
                properties: Properties::default(),
            };
            events.push_back(Event::Published { ticket, result: Ok(receipt) });
        }
    }

    /// Takes PUBACK, PUBREC or PUBCOMP.
    pub(super) fn handle_ack(
        &mut self,
        packet_type: PacketType,
        ack: Ack<'_>,
        version: Version,
        ids: &mut PacketIds<IdUse>,
        events: &mut VecDeque<Event>,
        control: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let Some(IdUse::Publish(sequence)) = ids.find(ack.packet_id) else {
            if packet_type == PacketType::PubRec {
                // Without an answer the broker would repeat its PUBREC for ever.
                encode_ack(
                    PacketType::PubRel,
                    ack.packet_id,
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                    version,
                    control,
                );
            }
            return Ok(());
        };
        let Some(entry) = self.entry(sequence) else { return Ok(()) };
        match (packet_type, entry.phase) {
            (PacketType::PubAck, Phase::Ack) | (PacketType::PubComp, Phase::Comp(_)) => {
                ids.release(ack.packet_id);
                self.finish(sequence, outcome(&ack), events);
                Ok(())
            }
            // [MQTT-4.4.0-2]: the exchange has ended.
            (PacketType::PubRec, Phase::Rec) if ack.reason.is_error() => {
                ids.release(ack.packet_id);
                self.finish(sequence, outcome(&ack), events);
                Ok(())
            }
            (PacketType::PubRec, Phase::Rec | Phase::Comp(_)) => {
                if entry.phase == Phase::Rec {
                    let order = self.released_count;
                    self.released_count += 1;
                    if let Some(entry) = self.entry(sequence) {
                        entry.phase = Phase::Comp(order);
                    }
                }
                encode_ack(
                    PacketType::PubRel,
                    ack.packet_id,
                    ReasonCode::SUCCESS,
                    version,
                    control,
                );
                Ok(())
            }
            _ => Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "§4.3",
                "acknowledgement that does not belong to the message's quality of service",
            )),
        }
    }

    /// Whether nothing would be lost with this half.
    pub(super) fn is_idle(&self) -> bool {
        self.message_count() == 0
    }

    /// Ends every message that is still queued or in flight.
    pub(super) fn fail_all(&mut self, events: &mut VecDeque<Event>) {
        for entry in self.inflight.drain(..).flatten() {
            let result = Err(PublishFailure::Lost { maybe_delivered: entry.attempts > 0 });
            events.push_back(Event::Published { ticket: entry.ticket, result });
        }
        for queued in self.queue.drain(..) {
            let result = Err(PublishFailure::Lost { maybe_delivered: queued.attempts > 0 });
            events.push_back(Event::Published { ticket: queued.ticket, result });
        }
        self.inflight_count = 0;
        self.bytes = 0;
    }

    fn next_sequence(&self) -> u64 {
        self.first_sequence + self.inflight.len() as u64
    }

    fn entry(&mut self, sequence: u64) -> Option<&mut InFlight> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        self.inflight.get_mut(index)?.as_mut()
    }

    fn finish(
        &mut self,
        sequence: u64,
        result: Result<(ReasonCode, Properties), PublishFailure>,
        events: &mut VecDeque<Event>,
    ) {
        let Some(index) = sequence.checked_sub(self.first_sequence) else { return };
        let Some(entry) = self.inflight.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        self.inflight_count -= 1;
        self.bytes -= entry.message.queued_bytes();
        // Capped at what the broker granted [MQTT-4.9.0-2]; a message of an earlier link that was
        // not sent again never used the quota.
        if entry.sent || matches!(entry.phase, Phase::Comp(_)) {
            self.quota = self.quota.saturating_add(1).min(self.quota_maximum);
        }
        while let Some(None) = self.inflight.front() {
            self.inflight.pop_front();
            self.first_sequence += 1;
        }
        self.resend_from = self.resend_from.max(self.first_sequence);
        let result = result.map(|(reason, properties)| Receipt {
            reason,
            attempts: entry.attempts,
            properties,
        });
        events.push_back(Event::Published { ticket: entry.ticket, result });
    }
}

fn outcome(ack: &Ack<'_>) -> Result<(ReasonCode, Properties), PublishFailure> {
    let properties = Properties::from(ack.properties);
    if ack.reason.is_error() {
        Err(PublishFailure::Rejected { reason: ack.reason, properties })
    } else {
        Ok((ack.reason, properties))
    }
}

/// Appends a PUBLISH, with the topic's alias where the broker takes one.
fn append(
    message: &Message,
    packet_id: Option<PacketId>,
    dup: bool,
    version: Version,
    limits: &Limits,
    aliases: &mut AliasSender,
    out: &mut Transmit,
) -> Result<(), PublishFailure> {
    if message.qos > limits.maximum_qos {
        return Err(PublishFailure::QosNotSupported { max: limits.maximum_qos }); // [MQTT-3.2.2-11]
    }
    if message.retain && !limits.retain_available {
        return Err(PublishFailure::RetainNotSupported); // [MQTT-3.2.2-14]
    }
    let aliased = aliases.lookup(&message.topic);
    let with_alias;
    let (topic, properties) = match aliased {
        Aliased::Full => (&*message.topic, message.properties.as_ref()),
        Aliased::Introduce(alias) | Aliased::Known(alias) => {
            with_alias = message
                .properties
                .clone()
                .with(Property::TopicAlias, PropertyValue::TwoByte(alias))
                .unwrap_or_default();
            let known = matches!(aliased, Aliased::Known(_));
            (if known { "" } else { &*message.topic }, with_alias.as_ref())
        }
    };
    let publish = Publish {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic,
        packet_id,
        properties,
        payload: &message.payload,
    };
    if limits.maximum_packet_size < super::limits::LARGEST_PACKET {
        let size = publish.encoded_len(version)?;
        if size > limits.maximum_packet_size as usize {
            let max = limits.maximum_packet_size;
            return Err(PublishFailure::TooLarge { size, max }); // [MQTT-3.2.2-15]
        }
    }
    publish.encode_head(version, out.buffer())?;
    out.payload(&message.payload);
    if let Aliased::Introduce(alias) = aliased {
        aliases.introduce(message.topic.clone(), alias);
    }
    Ok(())
}
