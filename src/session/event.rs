//! What a session tells its owner, and the names by which the two speak of an operation.

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::{Properties, ReasonCode, TopicFilter};

use super::{Change, End, PublishFailure, RequestFailure};

/// Names one publish, subscribe or unsubscribe. The caller chooses it: unique within a session, and
/// larger than that of the publish before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Makes the ticket with this number.
    pub const fn new(number: u64) -> Ticket {
        Ticket(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Tells what happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The broker accepted the connection.
    Connected(Box<Connected>),
    /// A publish has ended. QoS 0: the kernel took its bytes; QoS 1: PUBACK; QoS 2: PUBCOMP.
    Published {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Receipt, PublishFailure>,
    },
    /// A subscribe was answered or failed.
    Subscribed {
        /// Which.
        ticket: Ticket,
        /// The broker's answer per filter; refusals of single filters are in it.
        result: Result<SubscribeReceipt, RequestFailure>,
    },
    /// An unsubscribe was answered or failed.
    Unsubscribed {
        /// Which.
        ticket: Ticket,
        /// The broker's answer per filter; empty in 3.x.
        result: Result<SubscribeReceipt, RequestFailure>,
    },
    /// Live subscriptions were made again: the broker had lost the session, or may have.
    Resubscribed {
        /// The broker's answer for each filter.
        reasons: Vec<(TopicFilter, ReasonCode)>,
    },
    /// The broker wants another step of the authentication: answer it with
    /// [`Session::authenticate`](super::Session::authenticate), or end the connection.
    Authenticate {
        /// The properties of its AUTH, with the authentication data.
        properties: Properties,
    },
    /// A re-authentication has succeeded.
    Reauthenticated {
        /// The properties of the broker's AUTH, with the authentication data if it has any.
        properties: Properties,
    },
    /// A ping was answered.
    Pong {
        /// Time from PINGREQ to PINGRESP.
        rtt: Duration,
    },
    /// Something has changed that the session's next process must know; only with
    /// [`Config::durable`](super::Config::durable). It must be stored before output is written.
    Store(Change),
    /// The link is to be closed once all pending output is written; then call
    /// [`Session::handle_disconnected`](super::Session::handle_disconnected).
    Closing(Box<End>),
}

/// Describes an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The broker kept the session of an earlier connection.
    pub session_present: bool,
    /// An earlier connection's state on this side goes on.
    pub resumed: bool,
    /// This side had state and the broker has lost its part.
    pub session_lost: bool,
    /// The CONNACK's reason code, always a success.
    pub reason: ReasonCode,
    /// The CONNACK's properties, 5.0 only.
    pub properties: Properties,
}

/// Confirms a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// `SUCCESS`, or `NO_MATCHING_SUBSCRIBERS` where the broker said so.
    pub reason: ReasonCode,
    /// How often the PUBLISH was sent.
    pub attempts: u32,
    /// Reason string and user properties of the acknowledgement, 5.0 only.
    pub properties: Properties,
}

/// Holds the answer to a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeReceipt {
    /// One reason per filter, in the order of the request. Empty for UNSUBACK in 3.x.
    pub reasons: Vec<ReasonCode>,
    /// Reason string and user properties, 5.0 only.
    pub properties: Properties,
}

/// The events that the owner has not polled yet. Without any there is nothing but a pointer, which
/// is what an idle connection can afford.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a deque without events has 32 bytes, and a pointer 8")]
pub(super) struct Events(Option<Box<VecDeque<Event>>>);

impl Events {
    pub(super) fn push_back(&mut self, event: Event) {
        self.0.get_or_insert_default().push_back(event);
    }

    pub(super) fn extend(&mut self, events: impl Iterator<Item = Event>) {
        events.for_each(|event| self.push_back(event));
    }

    pub(super) fn pop_front(&mut self) -> Option<Event> {
        self.0.as_mut()?.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|events| events.is_empty())
    }

    /// Frees the buffer if there is nothing in it.
    pub(super) fn put_away(&mut self) {
        self.0.take_if(|events| events.is_empty());
    }
}
