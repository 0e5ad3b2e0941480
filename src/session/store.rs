//! What of a session outlives the process (§4.1): the changes a session tells, and the ledger that
//! they add up to.
//!
//! A session with [`Config::durable`](super::Config::durable) tells each change with
//! [`Event::Store`](super::Event::Store). Two rules make a process that is killed at any moment
//! harmless, and both are the owner's to keep:
//!
//! * a message is in the store before [`Session::publish`](super::Session::publish) gets it, by
//!   [`Ledger::admit`];
//! * after [`poll_transmit`](super::Session::poll_transmit), all events are polled and the changes
//!   among them stored before a byte of that output is written.
//!
//! Not here: files and their durability, which are the client's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::{PacketId, ReasonCode};

use super::{Message, Ticket};

/// Tells a change of what a session must remember across processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A message is about to be sent for the first time with this identifier.
    Sent {
        /// Which message.
        ticket: Ticket,
        /// Its identifier until it is finished.
        packet_id: PacketId,
    },
    /// PUBREC has come for a message: from here on PUBREL is repeated, and not the message.
    Released {
        /// Which message.
        ticket: Ticket,
    },
    /// A message needs nothing any more: it was confirmed, refused, taken back or given up.
    Finished {
        /// Which message.
        ticket: Ticket,
    },
    /// The message with this identifier is given up although the broker may have it: it stays taken.
    Taken {
        /// Which identifier.
        packet_id: PacketId,
    },
    /// The identifier of a message that was given up is free again.
    Freed {
        /// Which identifier.
        packet_id: PacketId,
    },
    /// The application has taken a QoS 2 message, and the answer to it is settled.
    Received {
        /// Its identifier.
        packet_id: PacketId,
        /// What PUBREC says.
        reason: ReasonCode,
    },
    /// The identifier of a QoS 2 message that was received stands for nothing any more.
    Completed {
        /// Which identifier.
        packet_id: PacketId,
    },
    /// The broker has lost the session: its identifiers mean nothing any more, and the messages in
    /// flight wait to be sent as new ones.
    SessionLost,
    /// The broker has accepted a connection.
    Connected {
        /// How long in seconds the session outlives it; `u32::MAX` is for ever.
        expiry: u32,
    },
    /// The connection has ended.
    Disconnected {
        /// How long in seconds the session outlives it; `u32::MAX` is for ever.
        expiry: u32,
    },
}

/// Adds up the changes of a session to what its next process must know.
///
/// `M` is what is kept of each message: the [`Message`] itself, or the place where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger<M = Message> {
    /// Messages of QoS 1 and 2 that are not finished, in the order of their tickets.
    pub messages: BTreeMap<Ticket, Entry<M>>,
    /// Identifiers of messages that were given up while the broker may have them.
    pub taken: BTreeSet<PacketId>,
    /// QoS 2 messages that were received, with what PUBREC says of them.
    pub received: BTreeMap<PacketId, ReasonCode>,
    /// The identifier that was given out last.
    pub last_packet_id: Option<PacketId>,
    /// How long in seconds the broker's part of the session lasts from the end of the connection;
    /// `u32::MAX` is for ever, `None` means that there is none.
    pub session_expiry: Option<u32>,
    /// How many PUBRECs were noted.
    released_count: u64,
}

/// Describes a message that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<M = Message> {
    /// The message, or where it is.
    pub message: M,
    /// How far its delivery has come.
    pub stage: Stage,
    /// Whether it was sent in a session that is lost.
    pub sent_before: bool,
    /// How long the message is worth sending, by its Message Expiry Interval or its deadline.
    pub expires_in: Option<Duration>,
}

/// Says how far the delivery of a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent in this session.
    Queued,
    /// Sent; PUBACK or PUBREC has not come.
    Sent(PacketId),
    /// PUBREC has come, as this one in the order of all of them; PUBCOMP has not.
    Released(PacketId, u64),
}

impl<M> Ledger<M> {
    /// Makes the ledger of a session that knows nothing.
    pub fn new() -> Ledger<M> {
        Ledger {
            messages: BTreeMap::new(),
            taken: BTreeSet::new(),
            received: BTreeMap::new(),
            last_packet_id: None,
            session_expiry: None,
            released_count: 0,
        }
    }

    /// Notes a message of QoS 1 or 2 that a session is about to be given.
    pub fn admit(&mut self, ticket: Ticket, message: M, expires_in: Option<Duration>) {
        let entry = Entry { message, stage: Stage::Queued, sent_before: false, expires_in };
        self.messages.insert(ticket, entry);
    }

    /// Notes a change. Returns the message that is finished with it, if one is.
    pub fn apply(&mut self, change: Change) -> Option<M> {
        match change {
            Change::Sent { ticket, packet_id } => {
                self.last_packet_id = Some(packet_id);
                if let Some(entry) = self.messages.get_mut(&ticket) {
                    entry.stage = Stage::Sent(packet_id);
                }
            }
            Change::Released { ticket } => {
                if let Some(entry) = self.messages.get_mut(&ticket)
                    && let Stage::Sent(packet_id) = entry.stage
                {
                    entry.stage = Stage::Released(packet_id, self.released_count);
                    self.released_count += 1;
                }
            }
            Change::Finished { ticket } => {
                return self.messages.remove(&ticket).map(|entry| entry.message);
            }
            Change::Taken { packet_id } => {
                self.last_packet_id = Some(packet_id);
                self.taken.insert(packet_id);
            }
            Change::Freed { packet_id } => {
                self.taken.remove(&packet_id);
            }
            Change::Received { packet_id, reason } => {
                self.received.insert(packet_id, reason);
            }
            Change::Completed { packet_id } => {
                self.received.remove(&packet_id);
            }
            Change::SessionLost => {
                self.taken.clear();
                self.received.clear();
                for entry in self.messages.values_mut() {
                    entry.sent_before |= entry.stage != Stage::Queued;
                    entry.stage = Stage::Queued;
                }
            }
            Change::Connected { expiry } | Change::Disconnected { expiry } => {
                self.session_expiry = (expiry > 0).then_some(expiry);
            }
        }
        None
    }

    /// The changes that make this ledger of one that has the same messages, all of them queued, and
    /// nothing else.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let lost = self.messages.iter().filter(|(_, entry)| entry.sent_before);
        changes.extend(lost.map(|(&ticket, _)| Change::Sent { ticket, packet_id: PacketId::MIN }));
        if !changes.is_empty() {
            changes.push(Change::SessionLost);
        }
        changes.extend(self.session_expiry.map(|expiry| Change::Connected { expiry }));
        let mut released = BTreeMap::new();
        for (&ticket, entry) in &self.messages {
            if let Some(packet_id) = entry.stage.packet_id() {
                changes.push(Change::Sent { ticket, packet_id });
            }
            if let Stage::Released(_, order) = entry.stage {
                released.insert(order, ticket);
            }
        }
        changes.extend(released.into_values().map(|ticket| Change::Released { ticket }));
        let received = self.received.iter();
        changes
            .extend(received.map(|(&packet_id, &reason)| Change::Received { packet_id, reason }));
        changes.extend(self.taken.iter().map(|&packet_id| Change::Taken { packet_id }));
        // The identifiers go on from where they were.
        if let Some(packet_id) = self.last_packet_id {
            changes.push(Change::Taken { packet_id });
            if !self.taken.contains(&packet_id) {
                changes.push(Change::Freed { packet_id });
            }
        }
        changes
    }
}

impl<M> Default for Ledger<M> {
    fn default() -> Ledger<M> {
        Ledger::new()
    }
}

impl Stage {
    /// Returns the packet identifier that the message has.
    pub fn packet_id(self) -> Option<PacketId> {
        match self {
            Stage::Queued => None,
            Stage::Sent(packet_id) | Stage::Released(packet_id, _) => Some(packet_id),
        }
    }
}
