//! The way from the handles to the driver task: one list of commands behind one lock, swapped as a
//! batch, and the bound on what may be admitted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::codec::{Properties, ReasonCode};
use crate::session::{
    AckHandle, Receipt, SubscribeReceipt, SubscribeRequest, Ticket, UnsubscribeRequest,
};

use super::OutgoingMessage;
use super::error::{DisconnectError, PublishError, RequestError};
use super::options::OutgoingQueue;
use super::router::Route;

/// What handles ask of the driver task.
pub(super) enum Command {
    Publish {
        ticket: Ticket,
        message: OutgoingMessage,
        done: oneshot::Sender<Result<Receipt, PublishError>>,
    },
    Subscribe {
        ticket: Ticket,
        request: SubscribeRequest,
        route: Option<Route>,
        done: Option<oneshot::Sender<Result<SubscribeReceipt, RequestError>>>,
    },
    Unsubscribe {
        ticket: Ticket,
        request: UnsubscribeRequest,
        done: Option<oneshot::Sender<Result<SubscribeReceipt, RequestError>>>,
    },
    /// The stream behind a route is gone.
    Unroute {
        ticket: Ticket,
        route: u64,
        keep: bool,
    },
    Ack {
        handle: AckHandle,
        reason: ReasonCode,
        /// Reason string and user properties.
        properties: Option<Box<Properties>>,
    },
    Flush {
        ticket: Ticket,
        done: oneshot::Sender<()>,
    },
    Disconnect {
        reason: ReasonCode,
        properties: Properties,
        done: Option<oneshot::Sender<Result<(), DisconnectError>>>,
    },
    /// The last [`Client`](super::Client) was dropped.
    HandlesGone,
}

/// Collects commands until the driver task takes them.
pub(super) struct Mailbox {
    state: Mutex<State>,
}

struct State {
    commands: Vec<Command>,
    /// Wakes the driver; `None` while it is sure to look again by itself.
    driver: Option<Waker>,
    next_number: u64,
    reading_paused: bool,
    closed: bool,
    room: Room,
}

/// Bounds what is admitted and not finished.
struct Room {
    limit: OutgoingQueue,
    messages: usize,
    bytes: usize,
    /// Who waits for room, in the order of asking.
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    bytes: usize,
    waker: Waker,
}

/// Why a command was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    Full,
    Closed,
}

impl Mailbox {
    pub(super) fn new(limit: OutgoingQueue) -> Mailbox {
        let room = Room { limit, messages: 0, bytes: 0, waiters: VecDeque::new() };
        Mailbox {
            state: Mutex::new(State {
                commands: Vec::new(),
                driver: None,
                next_number: 1,
                reading_paused: false,
                closed: false,
                room,
            }),
        }
    }

    /// Sends a command that is bounded otherwise; says whether the driver is still there.
    pub(super) fn send(&self, command: Command) -> bool {
        self.send_numbered(|_| command)
    }

    /// Like [`send`](Self::send), for a command with a ticket.
    pub(super) fn send_numbered(&self, command: impl FnOnce(Ticket) -> Command) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let command = command(state.next_ticket());
        Admission { state, freed: None }.send(command);
        true
    }

    /// Makes room for a command of `bytes`, if there is room and nobody waits for it.
    pub(super) fn try_admit(&self, bytes: usize) -> Result<Admission<'_>, NotAdmitted> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotAdmitted::Closed);
        }
        if !state.room.waiters.is_empty() || !state.room.has(bytes) {
            return Err(NotAdmitted::Full);
        }
        state.room.take(bytes);
        Ok(Admission { state, freed: None })
    }

    /// Makes room for a command of `bytes`, or takes a place in the line for it. `place` must be
    /// given to [`leave`](Self::leave) when the caller loses interest.
    pub(super) fn poll_admit(
        &self,
        cx: &mut Context<'_>,
        bytes: usize,
        place: &mut Option<u64>,
    ) -> Poll<Result<Admission<'_>, NotAdmitted>> {
        let mut state = self.lock();
        if state.closed {
            *place = None;
            return Poll::Ready(Err(NotAdmitted::Closed));
        }
        let room = &mut state.room;
        let first = room.waiters.front().map(|waiter| waiter.number);
        if first == *place && room.has(bytes) {
            if place.take().is_some() {
                room.waiters.pop_front();
            }
            room.take(bytes);
            let freed = room.next_in_line();
            return Poll::Ready(Ok(Admission { state, freed }));
        }
        match place {
            Some(number) => {
                if let Some(waiter) = room.waiters.iter_mut().find(|w| w.number == *number) {
                    waiter.waker.clone_from(cx.waker());
                }
            }
            None => {
                let number = state.next_number();
                *place = Some(number);
                let waker = cx.waker().clone();
                state.room.waiters.push_back(Waiter { number, bytes, waker });
            }
        }
        Poll::Pending
    }

    /// Gives up a place in the line.
    pub(super) fn leave(&self, place: u64) {
        let mut state = self.lock();
        state.room.waiters.retain(|waiter| waiter.number != place);
        let next = state.room.next_in_line();
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }

    /// Gives room back: that of `messages` commands with `bytes` together.
    pub(super) fn release(&self, messages: usize, bytes: usize) {
        let mut state = self.lock();
        let room = &mut state.room;
        room.messages = room.messages.saturating_sub(messages);
        room.bytes = room.bytes.saturating_sub(bytes);
        let next = room.next_in_line();
        drop(state);
        next.inspect(Waker::wake_by_ref);
    }

    /// Asks the driver to stop reading the socket, or to resume.
    pub(super) fn set_reading_paused(&self, paused: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.reading_paused, paused) != paused {
            let driver = state.driver.take();
            drop(state);
            driver.inspect(Waker::wake_by_ref);
        }
    }

    /// Hands all commands to the driver, in exchange for its empty list, and remembers whom to
    /// wake for the next one. Returns whether reading is paused.
    pub(super) fn take(&self, cx: &mut Context<'_>, batch: &mut Vec<Command>) -> bool {
        debug_assert!(batch.is_empty(), "the driver deals with a batch before it takes another");
        let mut state = self.lock();
        std::mem::swap(&mut state.commands, batch);
        if state.driver.is_none() {
            state.driver = Some(cx.waker().clone());
        }
        state.reading_paused
    }

    /// Gives back the memory of a past burst.
    pub(super) fn shrink(&self, batch: &mut Vec<Command>) {
        batch.shrink_to_fit();
        self.lock().commands.shrink_to_fit();
    }

    /// Refuses everything from here on and returns what nobody will deal with.
    pub(super) fn close(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.closed = true;
        let waiters = std::mem::take(&mut state.room.waiters);
        let commands = std::mem::take(&mut state.commands);
        drop(state);
        for waiter in waiters {
            waiter.waker.wake();
        }
        commands
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that was made for one command; the lock is held until it is sent.
pub(super) struct Admission<'a> {
    state: MutexGuard<'a, State>,
    /// Who is next in line, with room left.
    freed: Option<Waker>,
}

impl Admission<'_> {
    /// Numbers the command. Tickets are in the order of the list.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.state.next_ticket()
    }

    pub(super) fn send(mut self, command: Command) {
        self.state.commands.push(command);
        let driver = self.state.driver.take();
        drop(self.state);
        driver.inspect(Waker::wake_by_ref);
        self.freed.inspect(Waker::wake_by_ref);
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn next_ticket(&mut self) -> Ticket {
        Ticket::new(self.next_number())
    }
}

impl Room {
    /// Whether `bytes` more are within the limit. What is larger than the limit is let in alone.
    fn has(&self, bytes: usize) -> bool {
        self.messages == 0
            || self.messages < self.limit.messages
                && self.bytes.saturating_add(bytes) <= self.limit.bytes
    }

    fn take(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn next_in_line(&self) -> Option<Waker> {
        let next = self.waiters.front()?;
        self.has(next.bytes).then(|| next.waker.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that counts how often it is woken.
    struct Task {
        count: Arc<Count>,
        place: Option<u64>,
    }

    impl Task {
        fn new() -> Task {
            Task { count: Arc::default(), place: None }
        }

        fn woken(&self) -> usize {
            self.count.0.load(Ordering::Relaxed)
        }

        fn admit(&mut self, mailbox: &Mailbox, bytes: usize) -> Option<Result<(), NotAdmitted>> {
            let waker = Arc::clone(&self.count).into();
            let mut cx = Context::from_waker(&waker);
            match mailbox.poll_admit(&mut cx, bytes, &mut self.place) {
                Poll::Ready(Ok(admission)) => {
                    admission.send(Command::HandlesGone);
                    Some(Ok(()))
                }
                Poll::Ready(Err(error)) => Some(Err(error)),
                Poll::Pending => None,
            }
        }
    }

    fn mailbox(messages: usize, bytes: usize) -> Mailbox {
        Mailbox::new(OutgoingQueue { messages, bytes })
    }

    fn try_admit(mailbox: &Mailbox, bytes: usize) -> Result<(), NotAdmitted> {
        mailbox.try_admit(bytes).map(|admission| admission.send(Command::HandlesGone))
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let mailbox = mailbox(2, 100);
        assert_eq!(try_admit(&mailbox, 10), Ok(()));
        assert_eq!(try_admit(&mailbox, 91), Err(NotAdmitted::Full));
        assert_eq!(try_admit(&mailbox, 90), Ok(()));
        assert_eq!(try_admit(&mailbox, 0), Err(NotAdmitted::Full));
        mailbox.release(1, 90);
        assert_eq!(try_admit(&mailbox, 90), Ok(()));
    }

    #[test]
    fn what_is_larger_than_the_bound_is_let_in_alone() {
        let mailbox = mailbox(2, 100);
        assert_eq!(try_admit(&mailbox, 1000), Ok(()));
        assert_eq!(try_admit(&mailbox, 0), Err(NotAdmitted::Full));
        mailbox.release(1, 1000);
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(try_admit(&mailbox, 1000), Err(NotAdmitted::Full));
    }

    #[test]
    fn waiters_are_served_in_order_and_wake_each_other() {
        let mailbox = mailbox(2, 100);
        let (mut a, mut b, mut c) = (Task::new(), Task::new(), Task::new());
        assert_eq!(try_admit(&mailbox, 50), Ok(()));
        assert_eq!(try_admit(&mailbox, 50), Ok(()));
        assert_eq!(a.admit(&mailbox, 1), None);
        assert_eq!(b.admit(&mailbox, 1), None);
        assert_eq!(c.admit(&mailbox, 1), None);
        mailbox.release(2, 100);
        assert_eq!((a.woken(), b.woken(), c.woken()), (1, 0, 0));
        assert_eq!(try_admit(&mailbox, 1), Err(NotAdmitted::Full), "nobody jumps the line");
        assert_eq!(b.admit(&mailbox, 1), None);
        assert_eq!(a.admit(&mailbox, 1), Some(Ok(())));
        assert_eq!(b.woken(), 1);
        assert_eq!(b.admit(&mailbox, 1), Some(Ok(())));
        assert_eq!(c.woken(), 0);
    }

    #[test]
    fn who_leaves_the_line_lets_the_next_one_through() {
        let mailbox = mailbox(1, 100);
        let (mut a, mut b) = (Task::new(), Task::new());
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(a.admit(&mailbox, 1), None);
        assert_eq!(b.admit(&mailbox, 1), None);
        mailbox.release(1, 1);
        mailbox.leave(a.place.unwrap());
        assert_eq!(b.woken(), 1);
        assert_eq!(b.admit(&mailbox, 1), Some(Ok(())));
    }

    #[test]
    fn closing_wakes_the_line_and_returns_what_is_left() {
        let mailbox = mailbox(1, 100);
        let mut a = Task::new();
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(a.admit(&mailbox, 1), None);
        assert_eq!(mailbox.close().len(), 1);
        assert_eq!(a.woken(), 1);
        assert_eq!(a.admit(&mailbox, 1), Some(Err(NotAdmitted::Closed)));
        assert_eq!(try_admit(&mailbox, 1), Err(NotAdmitted::Closed));
        assert!(!mailbox.send(Command::HandlesGone));
    }

    #[test]
    fn the_driver_is_woken_once_per_batch() {
        let mailbox = mailbox(10, 100);
        let driver = Arc::new(Count::default());
        let waker = Arc::clone(&driver).into();
        let mut batch = Vec::new();
        assert!(!mailbox.take(&mut Context::from_waker(&waker), &mut batch));
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(driver.0.load(Ordering::Relaxed), 1);
        mailbox.take(&mut Context::from_waker(&waker), &mut batch);
        assert_eq!(batch.len(), 2);
        mailbox.set_reading_paused(true);
        mailbox.set_reading_paused(true);
        assert_eq!(driver.0.load(Ordering::Relaxed), 2);
    }
}
