//! The messages in flight to the broker, in the order of their first sending \[MQTT-4.6.0-1\].

use std::collections::VecDeque;

use crate::codec::{PacketId, QoS, ReasonCode};

use super::Ticket;
use super::ids::PacketIds;
use super::message::Message;
use super::traffic::{IdUse, put_away};

/// Finds the messages in flight by sequence number and knows which are still to be sent again.
///
/// A message that is done leaves a gap until it is the oldest one, so that a broker which never
/// acknowledges one message while it takes all others would make the gaps grow without bound:
/// they are closed when they are more than the messages.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Option<InFlight>>,
    /// Sequence number of the first entry. No number is ever used twice.
    first_sequence: u64,
    count: usize,
    /// Entries that take up a place of the quota on this link \[MQTT-4.9.0-1\].
    occupied: usize,
    /// Those of them that are of QoS 2.
    exactly_once: usize,
    /// Entries before this sequence number need not be sent again on this link.
    resend_from: u64,
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) ticket: Ticket,
    pub(super) packet_id: PacketId,
    pub(super) message: Message,
    pub(super) phase: Phase,
    pub(super) attempts: u32,
    /// What PUBREC said.
    pub(super) reason: ReasonCode,
    /// Whether it takes up a place of the quota: it was sent on this link, or the broker has it
    /// from an earlier one and counts it until PUBCOMP.
    pub(super) occupies: bool,
}

impl InFlight {
    pub(super) fn is_exactly_once(&self) -> bool {
        self.message.qos == QoS::ExactlyOnce
    }
}

/// What an in-flight message waits for.
///
/// ```text
/// QoS 1: PUBLISH ─► Ack ─PUBACK─► done
/// QoS 2: PUBLISH ─► Rec ─PUBREC─► PUBREL ─► Comp ─PUBCOMP─► done
///                    └─ PUBREC with an error code ─► done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Ack,
    Rec,
    /// With the number of its PUBREC.
    Comp(u64),
}

/// Fewer gaps than this are not worth closing.
const GAPS: usize = 64;

impl Window {
    pub(super) fn new() -> Window {
        Window {
            entries: VecDeque::new(),
            first_sequence: 0,
            count: 0,
            occupied: 0,
            exactly_once: 0,
            resend_from: 0,
        }
    }

    /// Number of messages in flight.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Number of messages that take up a place of the quota.
    pub(super) fn occupied(&self) -> usize {
        self.occupied
    }

    /// Number of messages of QoS 2 that take up a place of the quota.
    pub(super) fn exactly_once(&self) -> usize {
        self.exactly_once
    }

    /// The sequence number of the message that is sent next.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.entries.len() as u64
    }

    /// Takes note of a message that was just sent for the first time.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        packet_id: PacketId,
        attempts: u32,
        message: Message,
    ) {
        let phase = if message.qos == QoS::ExactlyOnce { Phase::Rec } else { Phase::Ack };
        self.entries.push_back(Some(InFlight {
            ticket,
            packet_id,
            message,
            phase,
            attempts,
            reason: ReasonCode::SUCCESS,
            occupies: true,
        }));
        self.count += 1;
        self.occupied += 1;
        self.exactly_once += usize::from(phase == Phase::Rec);
        self.resend_from = self.next_sequence();
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&InFlight> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        self.entries.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut InFlight> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        self.entries.get_mut(index)?.as_mut()
    }

    /// Makes a message take up a place of the quota, if it does not yet.
    pub(super) fn occupy(&mut self, sequence: u64) {
        if let Some(entry) = self.get_mut(sequence)
            && !std::mem::replace(&mut entry.occupies, true)
        {
            let exactly_once = entry.is_exactly_once();
            self.occupied += 1;
            self.exactly_once += usize::from(exactly_once);
        }
    }

    /// Takes a message out: it is done.
    pub(super) fn remove(&mut self, sequence: u64, ids: &mut PacketIds<IdUse>) -> Option<InFlight> {
        let index = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        let entry = self.entries.get_mut(index)?.take()?;
        self.count -= 1;
        self.occupied -= usize::from(entry.occupies);
        self.exactly_once -= usize::from(entry.occupies && entry.is_exactly_once());
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first_sequence += 1;
        }
        if self.entries.len() > 2 * self.count + GAPS {
            self.close_gaps(ids);
        }
        self.resend_from = self.resend_from.max(self.first_sequence);
        Some(entry)
    }

    /// The sequence number of the next message that has to be sent again, if there is one.
    pub(super) fn next_resend(&mut self) -> Option<u64> {
        while self.resend_from < self.next_sequence() {
            let sequence = self.resend_from;
            if self.get(sequence).is_some_and(|entry| !entry.occupies) {
                return Some(sequence);
            }
            self.resend_from += 1;
        }
        None
    }

    /// A new link: every message that waits for PUBACK or PUBREC is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.resend_from = self.first_sequence;
        self.occupied = 0;
        for entry in self.entries.iter_mut().flatten() {
            entry.occupies = matches!(entry.phase, Phase::Comp(_));
            self.occupied += usize::from(entry.occupies);
        }
        self.exactly_once = self.occupied;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.entries.iter().flatten()
    }

    /// Takes all messages out, oldest first.
    pub(super) fn take_all(&mut self) -> impl DoubleEndedIterator<Item = InFlight> {
        self.first_sequence = self.next_sequence();
        self.resend_from = self.first_sequence;
        self.count = 0;
        self.occupied = 0;
        self.exactly_once = 0;
        std::mem::take(&mut self.entries).into_iter().flatten()
    }

    /// Frees the buffer of an empty window.
    pub(super) fn put_away(&mut self) {
        put_away(&mut self.entries);
    }

    /// Gives the messages new sequence numbers, without gaps and above all that were used before.
    fn close_gaps(&mut self, ids: &mut PacketIds<IdUse>) {
        let resent = self.resend_from.saturating_sub(self.first_sequence) as usize;
        let resent = self.entries.iter().take(resent).flatten().count();
        self.first_sequence = self.next_sequence();
        self.resend_from = self.first_sequence + resent as u64;
        self.entries.retain(Option::is_some);
        self.entries.shrink_to(2 * self.count + GAPS);
        for (entry, sequence) in self.entries.iter().flatten().zip(self.first_sequence..) {
            ids.set(entry.packet_id, IdUse::Publish(sequence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::TopicName;

    fn push(window: &mut Window, ids: &mut PacketIds<IdUse>) -> PacketId {
        let id = ids.allocate(IdUse::Publish(window.next_sequence())).unwrap();
        let topic = TopicName::try_from("t").unwrap();
        window.push(Ticket::new(0), id, 1, Message::new(topic, Vec::new()));
        id
    }

    fn sequence(ids: &PacketIds<IdUse>, id: PacketId) -> u64 {
        match ids.find(id) {
            Some(IdUse::Publish(sequence)) => sequence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_that_are_never_acknowledged_do_not_make_the_window_grow() {
        let (mut window, mut ids) = (Window::new(), PacketIds::new());
        let stuck: Vec<PacketId> = (0..3).map(|_| push(&mut window, &mut ids)).collect();
        for n in 0..100_000 {
            if n == 50_000 {
                window.rewind();
                window.occupy(sequence(&ids, stuck[0]));
            }
            let id = push(&mut window, &mut ids);
            let done = window.remove(sequence(&ids, id), &mut ids).unwrap();
            assert_eq!(done.packet_id, id);
            ids.release(id);
        }
        assert!(window.entries.capacity() <= 4 * GAPS, "{}", window.entries.capacity());
        for id in &stuck {
            assert_eq!(window.get(sequence(&ids, *id)).unwrap().packet_id, *id);
        }
        assert_eq!((window.len(), window.occupied(), ids.used_count()), (3, 1, 3));
    }

    #[test]
    fn closing_gaps_keeps_the_place_of_the_resend() {
        let (mut window, mut ids) = (Window::new(), PacketIds::new());
        let all: Vec<PacketId> = (0..500).map(|_| push(&mut window, &mut ids)).collect();
        window.rewind();
        for _ in 0..250 {
            let next = window.next_resend().unwrap();
            window.occupy(next);
        }
        let kept = [3, 200, 249, 250, 251, 499];
        for (n, id) in all.iter().enumerate().filter(|(n, _)| !kept.contains(n)) {
            window.remove(sequence(&ids, *id), &mut ids).unwrap_or_else(|| panic!("{n}"));
            ids.release(*id);
        }
        assert!(window.entries.len() < 100);
        let left: Vec<PacketId> = window.iter().map(|entry| entry.packet_id).collect();
        assert_eq!(left, kept.map(|n| all[n]));
        for n in [250, 251, 499] {
            let next = window.next_resend().unwrap();
            assert_eq!(window.get(next).unwrap().packet_id, all[n]);
            window.occupy(next);
        }
        assert_eq!(window.next_resend(), None);
    }
}
