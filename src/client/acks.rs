//! When received messages are acknowledged, and by whom.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::codec::{PacketType, Properties, PropertyOwner, ReasonCode};
use crate::session::{self, RefusedReason};

use super::mailbox::Command;
use super::shared::Shared;

/// Says when the QoS 1 and 2 messages of a stream are acknowledged, set with
/// [`ClientBuilder::acks`](super::ClientBuilder::acks) for the [`Inbox`](super::Inbox) and with
/// [`Subscribe::acks`](super::Subscribe::acks) for one subscription.
///
/// A message that several subscriptions match is acknowledged when all of them are done with it.
/// Acknowledgements leave in the order in which the messages arrived, whatever the order in which
/// the application finishes \[MQTT-4.6.0-2\]: one message that is never acknowledged holds back
/// those after it, and with them, at the [`receive_maximum`], the broker. Then nothing arrives until
/// the connection is made again, on which the broker delivers what was not acknowledged once more.
///
/// [`receive_maximum`]: super::ClientBuilder::receive_maximum
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acks {
    /// When the stream yields it. A message that is being worked on when the process dies is lost.
    #[default]
    OnTake,
    /// When it is dropped, or [`ack`](super::Message::ack) or [`reject`](super::Message::reject) is
    /// called before that. Clones and [`into_payload`](super::Message::into_payload) do not count:
    /// the acknowledgement stays with the message that the stream yielded.
    OnDrop,
    /// When [`ack`](super::Message::ack) or [`reject`](super::Message::reject) is called, on the
    /// message or on the [`AckHandle`] out of it. A message that is dropped without stays
    /// unacknowledged.
    Manual,
}

/// Acknowledges one message: what [`Message::into_parts`](super::Message::into_parts) takes out of
/// it, to outlive it.
///
/// Dropped without [`ack`](Self::ack) or [`reject`](Self::reject), it acknowledges the message with
/// [`Acks::OnDrop`] and leaves it unacknowledged with [`Acks::Manual`]. Once the connection is lost
/// it does nothing: the broker delivers a QoS 1 message again, and of a QoS 2 message the client
/// remembers what was decided.
#[must_use = "a message that is not acknowledged holds back all later ones"]
pub struct AckHandle {
    held: Arc<Held>,
    decided: AtomicBool,
    on_drop: bool,
}

impl AckHandle {
    pub(super) fn new(held: Arc<Held>, acks: Acks) -> AckHandle {
        AckHandle { held, decided: AtomicBool::new(false), on_drop: acks != Acks::Manual }
    }

    /// Acknowledges the message.
    pub fn ack(self) {
        self.decide(None);
    }

    /// Refuses the message with a reason: PUBACK or PUBREC carries it in 5.0, and the broker does
    /// not deliver the message again. MQTT 3.x can only acknowledge.
    ///
    /// A failure that PUBACK and PUBREC cannot name becomes [`ReasonCode::UNSPECIFIED_ERROR`],
    /// anything else that they cannot name a success. Of a message that several subscriptions got,
    /// the first refusal counts.
    pub fn reject(self, reason: ReasonCode) {
        self.decide(Some((reason, None)));
    }

    /// Refuses the message as [`reject`](Self::reject), with a reason string or user properties
    /// in 5.0. They are left out in 3.x, and where they make the packet larger than the broker
    /// takes.
    ///
    /// # Errors
    ///
    /// [`RefusedReason::Property`] for properties that PUBACK and PUBREC cannot have, together with
    /// the handle.
    pub fn reject_with(
        self,
        reason: ReasonCode,
        properties: Properties,
    ) -> Result<(), (AckHandle, RefusedReason)> {
        match check(&properties) {
            Ok(()) => {
                self.decide(Some((reason, Some(Box::new(properties)))));
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }

    /// Acknowledges or refuses the message, unless that was done before.
    pub(super) fn decide(&self, refusal: Option<Refusal>) {
        if !self.decided.swap(true, Ordering::AcqRel) {
            self.held.done(refusal);
        }
    }

    /// Tells the client that there is room for more messages.
    pub(super) fn made_room(&self) {
        self.held.shared.mailbox.wake();
    }

    /// Leaves the message unacknowledged.
    pub(super) fn forget(self) {
        self.decided.store(true, Ordering::Release);
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if self.on_drop {
            self.decide(None);
        }
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckHandle")
            .field("decided", &self.decided.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

pub(super) type Refusal = (ReasonCode, Option<Box<Properties>>);

/// A message that is to be acknowledged once all who got it are done.
pub(super) struct Held {
    handle: session::AckHandle,
    shared: Arc<Shared>,
    /// How many are not done.
    left: AtomicUsize,
    refusal: OnceLock<Refusal>,
}

impl Held {
    /// Holds a message for whoever gives it out.
    pub(super) fn new(handle: session::AckHandle, shared: Arc<Shared>) -> Arc<Held> {
        let (left, refusal) = (AtomicUsize::new(1), OnceLock::new());
        Arc::new(Held { handle, shared, left, refusal })
    }

    /// Holds it for one more.
    pub(super) fn share(self: &Arc<Held>) -> Arc<Held> {
        self.left.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self)
    }

    /// One is done. Who never is keeps the message from being acknowledged.
    pub(super) fn done(&self, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            let _ = self.refusal.set(refusal);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let refusal = self.refusal.get().cloned();
            let (reason, properties) = refusal.unwrap_or((ReasonCode::SUCCESS, None));
            let handle = self.handle;
            self.shared.mailbox.send(Command::Ack { handle, reason, properties });
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if *self.left.get_mut() > 0 {
            self.shared.mailbox.send(Command::Forsake { handle: self.handle });
        }
    }
}

fn check(properties: &Properties) -> Result<(), RefusedReason> {
    Ok(properties.check(PropertyOwner::Packet(PacketType::PubAck))?)
}
