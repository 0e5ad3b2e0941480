//! Messages to the broker: the queue, the window of those in flight, and what becomes of them on
//! the next connection (§4.3, §4.4, §4.6, §4.9).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::{
    Ack, PacketId, PacketType, Properties, Property, PropertyValue, QoS, ReasonCode, Version,
};

use super::alias::{AliasSender, Aliased};
use super::event::Events;
use super::ids::PacketIds;
use super::incoming::encode_ack;
use super::send::Output;
use super::store::Stage;
use super::traffic::{IdUse, put_away};
use super::window::{InFlight, Phase, Window};
use super::{
    Change, Config, Event, Limits, Message, ProtocolError, PublishFailure, Receipt, SessionLoss,
    Ticket,
};

/// Holds the sending half of a session.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Admitted and not yet sent, in the order of their tickets.
    queue: VecDeque<Queued>,
    window: Window,
    /// How many places the window has on this link.
    quota: usize,
    /// How many of them for messages of QoS 2.
    exactly_once_quota: usize,
    /// PUBRELs to be sent again on this link, in the order of their PUBRECs \[MQTT-4.6.0-4\].
    release_again: VecDeque<PacketId>,
    /// Number of PUBRECs taken, for that order.
    released_count: u64,
    aliases: AliasSender,
    /// QoS 0 messages handed to the transport, each with the position of its last byte in the
    /// output of the link.
    unconfirmed: VecDeque<(u64, Ticket, u32)>,
    /// Bytes of topic, properties and payload in `queue` and `window`.
    bytes: usize,
    /// Whether changes are told that the next process must know.
    durable: bool,
}

/// A message that waits to be sent.
#[derive(Debug)]
pub(super) struct Queued {
    ticket: Ticket,
    /// How often it was sent before, in a session that was lost.
    attempts: u32,
    message: Message,
    /// When it is not worth sending any more, if it was never sent.
    expires_at: Option<Instant>,
}

impl Outgoing {
    pub(super) fn new(durable: bool) -> Outgoing {
        Outgoing {
            queue: VecDeque::new(),
            window: Window::new(),
            quota: 0,
            exactly_once_quota: 0,
            release_again: VecDeque::new(),
            released_count: 0,
            aliases: AliasSender::new(0),
            unconfirmed: VecDeque::new(),
            bytes: 0,
            durable,
        }
    }

    /// How many messages are queued, in flight or with the kernel's answer outstanding.
    pub(super) fn message_count(&self) -> usize {
        self.queue.len() + self.window.len() + self.unconfirmed.len()
    }

    pub(super) fn has_room(&self, message: &Message, config: &Config) -> bool {
        self.message_count() < config.max_queued_messages
            && (self.bytes.saturating_add(message.queued_bytes()) <= config.max_queued_bytes
                || self.bytes == 0)
    }

    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.bytes += queued.message.queued_bytes();
        self.queue.push_back(queued);
    }

    /// Takes over a message that an earlier process sent and did not finish.
    pub(super) fn restore(
        &mut self,
        ticket: Ticket,
        stage: Stage,
        message: Message,
        ids: &mut PacketIds<IdUse>,
    ) {
        let (packet_id, phase) = match stage {
            Stage::Queued => return,
            Stage::Sent(packet_id) => (packet_id, None),
            Stage::Released(packet_id, order) => (packet_id, Some(Phase::Comp(order))),
        };
        ids.take(packet_id, IdUse::Publish(self.window.next_sequence()));
        self.bytes += message.queued_bytes();
        self.window.push(ticket, packet_id, 1, message);
        if let Some(phase) = phase
            && let Some(entry) = self.window.get_mut(self.window.next_sequence() - 1)
        {
            entry.phase = phase;
            if let Phase::Comp(order) = phase {
                self.released_count = self.released_count.max(order + 1);
            }
        }
    }

    /// The ticket of the oldest message that was never sent.
    pub(super) fn oldest_unsent(&self) -> Option<Ticket> {
        self.queue.iter().find(|queued| queued.attempts == 0).map(|queued| queued.ticket)
    }

    /// Takes a message back that was never sent.
    pub(super) fn cancel(&mut self, ticket: Ticket, events: &mut Events) -> Option<Message> {
        let index = self.queue.binary_search_by_key(&ticket, |queued| queued.ticket).ok()?;
        if self.queue.get(index)?.attempts > 0 {
            return None;
        }
        let message = self.queue.remove(index)?.message;
        self.bytes -= message.queued_bytes();
        self.tell_finished(ticket, message.qos, events);
        Some(message)
    }

    /// Takes all messages back that were never sent and that `wanted` picks.
    pub(super) fn take_unsent(
        &mut self,
        mut wanted: impl FnMut(&Message) -> bool,
        events: &mut Events,
    ) -> Vec<(Ticket, Message)> {
        let queue = std::mem::take(&mut self.queue);
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            queue.into_iter().partition(|queued| queued.attempts == 0 && wanted(&queued.message));
        self.queue = kept;
        let taken = taken.into_iter().map(|queued| {
            self.bytes -= queued.message.queued_bytes();
            self.tell_finished(queued.ticket, queued.message.qos, events);
            (queued.ticket, queued.message)
        });
        taken.collect()
    }

    /// The link is up: everything in flight is to be sent again, within the new quota.
    pub(super) fn handle_connected(&mut self, limits: &Limits) {
        self.quota = limits.receive_maximum.into();
        self.exactly_once_quota = limits.exactly_once_maximum.into();
        self.aliases = AliasSender::new(limits.topic_alias_maximum);
        self.window.rewind();
        let released = self.window.iter().filter_map(|entry| match entry.phase {
            Phase::Comp(order) => Some((order, entry.packet_id)),
            Phase::Ack | Phase::Rec => None,
        });
        let mut released: Vec<(u64, PacketId)> = released.collect();
        released.sort_unstable_by_key(|&(order, _)| order);
        self.release_again = released.into_iter().map(|(_, packet_id)| packet_id).collect();
    }

    /// The link is gone: QoS 0 messages that it had not written whole are lost.
    pub(super) fn handle_disconnected(&mut self, events: &mut Events) {
        for (_, ticket, _) in self.unconfirmed.drain(..) {
            let result = Err(PublishFailure::Lost { maybe_delivered: true });
            events.push_back(Event::Published { ticket, result });
        }
        self.release_again.clear();
    }

    /// The broker has lost the session: its packet identifiers mean nothing any more.
    pub(super) fn forget_session(
        &mut self,
        on_loss: SessionLoss,
        ids: &mut PacketIds<IdUse>,
        events: &mut Events,
    ) {
        ids.clear();
        self.release_again.clear();
        match on_loss {
            SessionLoss::Republish => {
                for entry in self.window.take_all().rev() {
                    let (ticket, attempts, message) = (entry.ticket, entry.attempts, entry.message);
                    let queued = Queued { ticket, attempts, message, expires_at: None };
                    self.queue.push_front(queued);
                }
            }
            SessionLoss::Fail => {
                for entry in self.window.take_all() {
                    self.bytes -= entry.message.queued_bytes();
                    tell(self.durable, Change::Finished { ticket: entry.ticket }, events);
                    let result = Err(PublishFailure::Lost { maybe_delivered: true });
                    events.push_back(Event::Published { ticket: entry.ticket, result });
                }
            }
        }
    }

    /// Encodes what the window and the budget allow.
    pub(super) fn transmit(&mut self, output: &mut Output<'_>) {
        while !output.out.is_full()
            && let Some(packet_id) = self.release_again.pop_front()
        {
            let (version, success) = (output.version, ReasonCode::SUCCESS);
            output.append(|out| {
                encode_ack(PacketType::PubRel, packet_id, success, version, out.buffer());
            });
        }
        while !output.out.is_full()
            && let Some(sequence) = self.window.next_resend()
        {
            let exactly_once = self.window.get(sequence).is_some_and(InFlight::is_exactly_once);
            if !self.has_place(exactly_once) {
                return; // New messages must not overtake old ones.
            }
            self.send_again(sequence, output);
        }
        while !output.out.is_full()
            && let Some(next) = self.queue.front()
        {
            let sent = match next.message.qos {
                QoS::AtMostOnce => self.send_unacknowledged(output),
                qos => self.has_place(qos == QoS::ExactlyOnce) && self.send_acknowledged(output),
            };
            if !sent {
                return;
            }
        }
    }

    /// Whether the broker takes another message.
    fn has_place(&self, exactly_once: bool) -> bool {
        self.window.occupied() < self.quota
            && !(exactly_once && self.window.exactly_once() >= self.exactly_once_quota)
    }

    /// Sends an in-flight message of an earlier link again.
    fn send_again(&mut self, sequence: u64, output: &mut Output<'_>) {
        let Some(entry) = self.window.get_mut(sequence) else { return };
        let (packet_id, aliases) = (entry.packet_id, &mut self.aliases);
        // [MQTT-3.3.1-1]
        match append(&entry.message, Some(packet_id), true, aliases, output) {
            Ok(()) => {
                entry.attempts += 1;
                self.window.occupy(sequence);
            }
            // What the broker takes has changed. It may have the message from an earlier link:
            // the identifier stays taken until it is heard of, or the session is lost.
            Err(failure) => {
                tell(self.durable, Change::Taken { packet_id }, output.events);
                self.finish(sequence, Err(failure), output.ids, output.events);
            }
        }
    }

    /// Sends the first message of the queue, which is of QoS 0.
    fn send_unacknowledged(&mut self, output: &mut Output<'_>) -> bool {
        let Some(mut queued) = self.queue.pop_front() else { return false };
        self.bytes -= queued.message.queued_bytes();
        let alive = queued.age(output.now);
        let Queued { ticket, attempts, message, .. } = queued;
        match alive.and_then(|()| append(&message, None, false, &mut self.aliases, output)) {
            Ok(()) => self.unconfirmed.push_back((*output.produced, ticket, attempts + 1)),
            Err(failure) => {
                output.events.push_back(Event::Published { ticket, result: Err(failure) });
            }
        }
        true
    }

    /// Sends the first message of the queue, which is of QoS 1 or 2; `false` if there is no
    /// identifier for it.
    fn send_acknowledged(&mut self, output: &mut Output<'_>) -> bool {
        let id_use = IdUse::Publish(self.window.next_sequence());
        let Some(packet_id) = output.ids.allocate(id_use) else { return false };
        let Some(mut queued) = self.queue.pop_front() else { return false };
        let (size, alive) = (queued.message.queued_bytes(), queued.age(output.now));
        let Queued { ticket, attempts, message, .. } = queued;
        let aliases = &mut self.aliases;
        match alive.and_then(|()| append(&message, Some(packet_id), false, aliases, output)) {
            Ok(()) => {
                tell(self.durable, Change::Sent { ticket, packet_id }, output.events);
                self.window.push(ticket, packet_id, attempts + 1, message);
            }
            Err(failure) => {
                output.ids.release(packet_id);
                self.bytes -= size;
                tell(self.durable, Change::Finished { ticket }, output.events);
                output.events.push_back(Event::Published { ticket, result: Err(failure) });
            }
        }
        true
    }

    /// The kernel has taken the link's output up to this position: QoS 0 messages are done.
    pub(super) fn handle_written(&mut self, position: u64, events: &mut Events) {
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
        events: &mut Events,
        control: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let packet_id = ack.packet_id;
        let mut release = |reason| {
            encode_ack(PacketType::PubRel, packet_id, reason, version, control);
        };
        let Some(IdUse::Publish(sequence)) = ids.find(packet_id) else {
            if packet_type == PacketType::PubRec {
                // Without an answer the broker would repeat its PUBREC for ever.
                release(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
            }
            return Ok(());
        };
        let Some(entry) = self.window.get_mut(sequence) else {
            // A message that was given up while the broker might have it.
            if packet_type == PacketType::PubRec && !ack.reason.is_error() {
                release(ReasonCode::SUCCESS);
            } else {
                ids.release(packet_id);
                tell(self.durable, Change::Freed { packet_id }, events);
            }
            return Ok(());
        };
        let properties = || Properties::from(ack.properties);
        let result = match (packet_type, entry.phase) {
            // The broker took the message with its PUBREC. That PUBCOMP may not know it any more
            // is no failure (§3.7.2.1).
            (PacketType::PubComp, Phase::Comp(_)) => Ok((entry.reason, properties())),
            (PacketType::PubAck, Phase::Ack) if !ack.reason.is_error() => {
                Ok((ack.reason, properties()))
            }
            // [MQTT-4.4.0-2]: the exchange has ended.
            (PacketType::PubAck, Phase::Ack) | (PacketType::PubRec, Phase::Rec)
                if ack.reason.is_error() =>
            {
                Err(PublishFailure::Rejected { reason: ack.reason, properties: properties() })
            }
            (PacketType::PubRec, Phase::Rec) => {
                entry.phase = Phase::Comp(self.released_count);
                entry.reason = ack.reason;
                tell(self.durable, Change::Released { ticket: entry.ticket }, events);
                self.released_count += 1;
                self.window.occupy(sequence);
                release(ReasonCode::SUCCESS);
                return Ok(());
            }
            (PacketType::PubRec, Phase::Comp(_)) => {
                release(ReasonCode::SUCCESS);
                return Ok(());
            }
            _ => {
                return Err(ProtocolError::new(
                    packet_type,
                    ReasonCode::PROTOCOL_ERROR,
                    "§4.3",
                    "acknowledgement that does not belong to the message's quality of service",
                ));
            }
        };
        ids.release(packet_id);
        self.finish(sequence, result, ids, events);
        Ok(())
    }

    /// Whether nothing would be lost with this half.
    pub(super) fn is_idle(&self) -> bool {
        self.message_count() == 0
    }

    /// Frees the buffers of what is empty.
    pub(super) fn put_away(&mut self) {
        put_away(&mut self.queue);
        put_away(&mut self.release_again);
        put_away(&mut self.unconfirmed);
        self.window.put_away();
    }

    fn tell_finished(&self, ticket: Ticket, qos: QoS, events: &mut Events) {
        tell(self.durable && qos != QoS::AtMostOnce, Change::Finished { ticket }, events);
    }

    /// Ends every message that is not finished; what is stored stays there.
    pub(super) fn fail_all(&mut self, events: &mut Events) {
        let lost = |maybe_delivered| Err(PublishFailure::Lost { maybe_delivered });
        let unconfirmed = self.unconfirmed.drain(..).map(|(_, ticket, _)| (ticket, lost(true)));
        let in_flight = self.window.take_all().map(|entry| (entry.ticket, lost(true)));
        let queue = self.queue.drain(..);
        let queued = queue.map(|queued| (queued.ticket, lost(queued.attempts > 0)));
        let mut all: Vec<_> = unconfirmed.chain(in_flight).chain(queued).collect();
        all.sort_unstable_by_key(|&(ticket, _)| ticket);
        events.extend(all.into_iter().map(|(ticket, result)| Event::Published { ticket, result }));
        self.release_again.clear();
        self.bytes = 0;
    }

    fn finish(
        &mut self,
        sequence: u64,
        result: Result<(ReasonCode, Properties), PublishFailure>,
        ids: &mut PacketIds<IdUse>,
        events: &mut Events,
    ) {
        let Some(entry) = self.window.remove(sequence, ids) else { return };
        tell(self.durable, Change::Finished { ticket: entry.ticket }, events);
        self.bytes -= entry.message.queued_bytes();
        let attempts = entry.attempts;
        let result = result.map(|(reason, properties)| Receipt { reason, attempts, properties });
        events.push_back(Event::Published { ticket: entry.ticket, result });
    }
}

impl Queued {
    /// Makes an entry for a message that was never sent.
    pub(super) fn new(ticket: Ticket, message: Message, expires_at: Option<Instant>) -> Queued {
        Queued { ticket, attempts: 0, message, expires_at }
    }

    /// Marks it as sent once in a session that is lost.
    pub(super) fn sent_before(self) -> Queued {
        Queued { attempts: 1, ..self }
    }

    /// Takes the time that it has waited off its Message Expiry Interval, as a server does
    /// \[MQTT-3.3.2-6\]. Once it was sent it stays as it is \[MQTT-4.3.3-7\].
    #[inline]
    fn age(&mut self, now: Instant) -> Result<(), PublishFailure> {
        let Some(expires_at) = self.expires_at.filter(|_| self.attempts == 0) else {
            return Ok(());
        };
        let left = expires_at.saturating_duration_since(now);
        if left.is_zero() {
            return Err(PublishFailure::Expired);
        }
        let seconds = (left + Duration::from_nanos(999_999_999)).as_secs();
        self.message.set_expiry(u32::try_from(seconds).unwrap_or(u32::MAX));
        Ok(())
    }
}

/// Tells of a change, if anybody is to know.
fn tell(durable: bool, change: Change, events: &mut Events) {
    if durable {
        events.push_back(Event::Store(change));
    }
}

/// Appends a PUBLISH, with the topic's alias where the broker takes one.
fn append(
    message: &Message,
    packet_id: Option<PacketId>,
    dup: bool,
    aliases: &mut AliasSender,
    output: &mut Output<'_>,
) -> Result<(), PublishFailure> {
    let Output { version, limits, .. } = *output;
    if message.qos > limits.maximum_qos {
        return Err(PublishFailure::QosNotSupported { max: limits.maximum_qos }); // [MQTT-3.2.2-11]
    }
    if message.retain && !limits.retain_available {
        return Err(PublishFailure::RetainNotSupported); // [MQTT-3.2.2-14]
    }
    let mut publish = message.packet(packet_id, dup);
    let mut aliased = aliases.lookup(&message.topic);
    let with_alias;
    if let Aliased::Introduce(alias) | Aliased::Known(alias) = aliased {
        let value = PropertyValue::TwoByte(alias);
        with_alias =
            message.properties.clone().with(Property::TopicAlias, value).unwrap_or_default();
        let plain = publish;
        publish.properties = with_alias.as_ref();
        if let Aliased::Known(_) = aliased {
            publish.topic = "";
        } else if publish.encoded_len(version)? > limits.maximum_packet_size as usize {
            (publish, aliased) = (plain, Aliased::Full);
        }
    }
    if limits.maximum_packet_size < super::limits::LARGEST_PACKET {
        let size = publish.encoded_len(version)?;
        if size > limits.maximum_packet_size as usize {
            let max = limits.maximum_packet_size;
            return Err(PublishFailure::TooLarge { size, max }); // [MQTT-3.2.2-15]
        }
    }
    output.append(|out| {
        publish.encode_checked_head(version, out.buffer())?;
        out.payload(&message.payload);
        Ok::<_, PublishFailure>(())
    })?;
    if let Aliased::Introduce(alias) = aliased {
        aliases.introduce(message.topic.clone(), alias);
    }
    Ok(())
}
