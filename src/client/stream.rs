//! The queues between the driver task and the consumers of messages.
//!
//! A queue is bounded by count and bytes, and [`Slow`] says what happens at the bound. By default,
//! QoS 0: when it is full, the oldest QoS 0 message in it
//! goes and the next one to be taken carries the count ([`Message::lagged`]). QoS 1 and 2: nothing
//! is dropped; each message is acknowledged when its consumer takes it or says so ([`Acks`]), so that
//! a broker stops at the Receive Maximum. Where a broker goes on beyond the bound of the queue (MQTT 3.x has no
//! Receive Maximum), the driver stops reading the socket until the consumer has caught up.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::codec::QoS;

use super::acks::{AckHandle, Acks, Held};
use super::message::Message;
use super::options::StreamLimits;
use super::shared::Shared;

/// Yields the messages that no [`Subscription`](super::Subscription) claimed.
///
/// It exists before CONNECT is sent, so that messages of a resumed session have somewhere to go.
/// Dropping it means that nobody wants them: they are counted in
/// [`Stats::messages_unclaimed`](super::Stats::messages_unclaimed) and forgotten, and acknowledged
/// unless the application was to do that.
///
/// A QoS 1 or 2 message is acknowledged when [`next`](Self::next) yields it, or as
/// [`ClientBuilder::acks`](super::ClientBuilder::acks) says. Of QoS 0 the oldest are dropped when
/// the inbox is full, and the next message tells how many ([`Message::lagged`]).
pub struct Inbox {
    /// The queue is in it.
    shared: Arc<Shared>,
}

impl Inbox {
    pub(super) fn new(shared: Arc<Shared>) -> Inbox {
        Inbox { shared }
    }

    /// Waits for the next message; `None` when the client has ended and all messages are taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next message, for those who write a `Future` or `Stream` by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.shared.inbox.poll_next(cx)
    }

    /// Takes the next message if there is one.
    pub fn try_next(&mut self) -> Option<Message> {
        self.shared.inbox.try_next()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.inbox.abandon(false);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("queue", &self.shared.inbox).finish()
    }
}

/// The taking end of a [`Queue`]; dropping it closes the queue.
#[derive(Debug)]
pub(super) struct Consumer {
    queue: Arc<Queue>,
    /// Whether nobody will ever want what is left in the queue, so that it is acknowledged.
    pub(super) is_final: bool,
}

impl Consumer {
    pub(super) fn new(queue: Arc<Queue>) -> Consumer {
        Consumer { queue, is_final: false }
    }

    pub(super) async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.queue.poll_next(cx)
    }

    pub(super) fn try_next(&mut self) -> Option<Message> {
        self.queue.try_next()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.queue.abandon(self.is_final);
    }
}

/// Says what happens when a stream is full because its consumer is slow, set with
/// [`ClientBuilder::slow`](super::ClientBuilder::slow) for the [`Inbox`] and with
/// [`Subscribe::slow`](super::Subscribe::slow) for one subscription.
///
/// Whatever is dropped is counted in
/// [`Stats::messages_dropped`](super::Stats::messages_dropped) and told by the next message that the
/// stream yields ([`Message::lagged`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Slow {
    /// QoS 1 and 2 messages are kept, unacknowledged, so that the broker waits; where it does not,
    /// the socket is not read until the consumer has caught up. Of QoS 0 the oldest are dropped.
    #[default]
    HoldAck,
    /// The oldest are dropped, whatever their quality of service; QoS 1 and 2 messages are
    /// acknowledged with that. For consumers to whom only the latest messages matter.
    DropOldest,
    /// The connection is closed, with the reason [`QUOTA_EXCEEDED`] in 5.0 and without a
    /// DISCONNECT in 3.x, and made again as after any loss. QoS 1 and 2 messages without room stay
    /// with the broker; a QoS 0 message without room is dropped.
    ///
    /// [`QUOTA_EXCEEDED`]: crate::codec::ReasonCode::QUOTA_EXCEEDED
    Disconnect,
}

/// Waits, bounded, for its consumer.
pub(super) struct Queue {
    bounds: Arc<Bounds>,
    state: Mutex<State>,
}

/// What a queue is meant for, and what happens beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) limits: StreamLimits,
    pub(super) acks: Acks,
    pub(super) slow: Slow,
}

#[derive(Default)]
struct State {
    /// Absent until a message comes, and again after the next ping.
    lanes: Option<Box<Lanes>>,
    /// No more will come.
    ended: bool,
    /// The consumer is gone.
    abandoned: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Lanes {
    /// What may be dropped: QoS 0, or everything.
    droppable: VecDeque<Entry>,
    /// What may not.
    held: VecDeque<Entry>,
    next_serial: u64,
    bytes: usize,
    /// How many messages were dropped that nobody was told of; none once all are taken.
    lagged: u64,
}

struct Entry {
    serial: u64,
    message: Message,
}

/// What became of a message that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Kept {
        /// How many older messages had to go.
        dropped: u64,
        /// More is held than the queue is meant for.
        overfull: bool,
    },
    /// There is no room for it, and the connection is to be closed for that.
    Overrun {
        /// How many messages had to go: this one, or none where the broker still has it.
        dropped: u64,
    },
    /// The consumer is gone.
    Abandoned,
}

impl Queue {
    pub(super) fn new(bounds: Arc<Bounds>) -> Queue {
        Queue { bounds, state: Mutex::default() }
    }

    /// When its messages are acknowledged.
    pub(super) fn acks(&self) -> Acks {
        self.bounds.acks
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.lock();
        if let Some(message) = self.take(&mut state) {
            drop(state);
            return Poll::Ready(Some(self.hand_out(message)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn try_next(&self) -> Option<Message> {
        let message = self.take(&mut self.lock());
        message.map(|message| self.hand_out(message))
    }

    /// The consumer is gone. If that `is_final`, nobody will ever want what is left, so that it is
    /// acknowledged.
    fn abandon(&self, is_final: bool) {
        let mut state = self.lock();
        state.abandoned = true;
        let was_over = self.is_over(&state);
        let lanes = state.lanes.take().unwrap_or_default();
        drop(state);
        // Their acknowledgements go to the mailbox, which has a lock of its own.
        for entry in lanes.droppable.into_iter().chain(lanes.held) {
            if was_over && let Some(handle) = &entry.message.ack {
                handle.made_room();
            }
            match entry.message.ack {
                Some(handle) if is_final || self.acks() == Acks::OnTake => handle.ack(),
                Some(handle) => handle.forget(),
                None => {}
            }
        }
    }

    pub(super) fn push(&self, mut message: Message, held: Option<&Arc<Held>>) -> Pushed {
        let mut state = self.lock();
        if state.abandoned {
            return Pushed::Abandoned;
        }
        let Bounds { limits, acks, slow } = *self.bounds;
        let bytes = message.queued_bytes();
        let lanes = state.lanes.get_or_insert_default();
        let full = lanes.len() >= limits.messages || lanes.bytes + bytes > limits.bytes;
        if slow == Slow::Disconnect && full && lanes.len() > 0 {
            // Nobody holds it, so that it is not acknowledged.
            let dropped = u64::from(held.is_none());
            lanes.lagged += dropped;
            return Pushed::Overrun { dropped };
        }
        message.ack = held.map(|held| AckHandle::new(held.share(), acks));
        let serial = lanes.next_serial;
        lanes.next_serial += 1;
        lanes.bytes += bytes;
        let may_drop = message.qos() == QoS::AtMostOnce || slow == Slow::DropOldest;
        let lane = if may_drop { &mut lanes.droppable } else { &mut lanes.held };
        lane.push_back(Entry { serial, message });
        let mut dropped = Vec::new();
        while lanes.is_over(limits)
            && lanes.len() > 1
            && let Some(Entry { message, .. }) = lanes.droppable.pop_front()
        {
            lanes.bytes -= message.queued_bytes();
            lanes.lagged += 1;
            dropped.push(message);
        }
        let overfull = lanes.is_over(limits);
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
        dropped.iter().for_each(Message::ack);
        Pushed::Kept { dropped: dropped.len() as u64, overfull }
    }

    /// Gives back the memory of a past burst.
    pub(super) fn shrink(&self) {
        self.lock().lanes.take_if(|lanes| lanes.len() == 0);
    }

    /// Whether more is held than the queue is meant for.
    pub(super) fn is_overfull(&self) -> bool {
        let state = self.lock();
        self.is_over(&state)
    }

    /// Takes the next message, and says whether the queue is back within its bound with that.
    fn take(&self, state: &mut State) -> Option<(Message, bool)> {
        let was_over = self.is_over(state);
        let message = state.lanes.as_mut()?.pop()?;
        Some((message, was_over && !self.is_over(state)))
    }

    /// Lets go of a message, with its acknowledgement where that is not left to the consumer.
    fn hand_out(&self, (mut message, caught_up): (Message, bool)) -> Message {
        // Where more is held than the bound, nothing is that could be dropped.
        if caught_up && let Some(handle) = &message.ack {
            handle.made_room();
        }
        if self.acks() == Acks::OnTake
            && let Some(handle) = message.ack.take()
        {
            handle.ack();
        }
        message
    }

    /// Lets the consumer have what is left, then nothing.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
    }

    fn is_over(&self, state: &State) -> bool {
        state.lanes.as_ref().is_some_and(|lanes| lanes.is_over(self.bounds.limits))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue")
            .field("messages", &state.lanes.as_ref().map_or(0, |lanes| lanes.len()))
            .field("bytes", &state.lanes.as_ref().map_or(0, |lanes| lanes.bytes))
            .finish_non_exhaustive()
    }
}

impl Lanes {
    fn len(&self) -> usize {
        self.droppable.len() + self.held.len()
    }

    /// Whether more is held than the queue is meant for.
    fn is_over(&self, limits: StreamLimits) -> bool {
        self.len() > limits.messages || (self.bytes > limits.bytes && self.len() > 1)
    }

    /// Takes the older of the two lanes' first.
    fn pop(&mut self) -> Option<Message> {
        let Lanes { droppable, held, .. } = self;
        let lane = match (droppable.front(), held.front()) {
            (Some(first), Some(other)) if other.serial < first.serial => held,
            (Some(_), _) => droppable,
            (None, _) => held,
        };
        let Entry { mut message, .. } = lane.pop_front()?;
        if lane.is_empty() {
            *lane = VecDeque::new();
        }
        self.bytes -= message.queued_bytes();
        message.lagged = std::mem::take(&mut self.lagged);
        Some(message)
    }
}
