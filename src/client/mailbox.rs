//! The way from the handles to the driver task: one list of commands behind one lock, swapped as a
//! batch, and the bound on what may be admitted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::codec::{Properties, QoS, ReasonCode, TopicName};
use crate::session::{
    AckHandle, Receipt, SubscribeReceipt, SubscribeRequest, Ticket, UnsubscribeRequest,
};

use super::OutgoingMessage;
use super::error::{AuthenticateError, DisconnectError, PublishError, RequestError};
use super::info::DrainReport;
use super::message::Message;
use super::options::{Offline, OutgoingQueue, Overflow, Settings};
use super::router::Route;
use super::task::now;

/// What handles ask of the driver task.
pub(super) enum Command {
    Publish {
        ticket: Ticket,
        message: OutgoingMessage,
        /// When the message is given up, if it is not confirmed before.
        deadline: Option<Instant>,
        /// `None` if only the hook is told.
        done: Option<oneshot::Sender<Result<Receipt, PublishError>>>,
    },
    /// Takes a message back, if it was not sent.
    Cancel {
        ticket: Ticket,
        done: oneshot::Sender<OutgoingMessage>,
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
    /// Nobody will acknowledge a message any more.
    Forsake {
        handle: AckHandle,
    },
    /// Responses will come at this topic.
    Respond {
        topic: TopicName,
    },
    AwaitResponse {
        correlation: [u8; 16],
        done: oneshot::Sender<Message>,
    },
    /// Nobody waits for this response any more.
    ForgetResponse {
        correlation: [u8; 16],
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
    /// Ends the client once what was admitted has ended, or at a certain time.
    Drain {
        by: Instant,
        done: oneshot::Sender<DrainReport>,
    },
    /// Ends the client without a word to the broker.
    Abort,
    Reauthenticate {
        done: oneshot::Sender<Result<(), AuthenticateError>>,
    },
    /// Connect at once instead of after the delay.
    ReconnectNow,
    /// The last [`Client`](super::Client) was dropped.
    HandlesGone,
}

/// Collects commands until the driver task takes them.
pub(super) struct Mailbox {
    state: Mutex<State>,
    settings: Arc<Settings>,
}

/// What there is beside the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) reading_paused: bool,
    /// Somebody does not wait for room for ever.
    pub(super) deadlines: bool,
}

struct State {
    /// Wakes the driver; `None` while it is sure to look again by itself.
    driver: Option<Waker>,
    next_number: u64,
    /// Absent while nobody has asked for anything since the last ping.
    load: Option<Box<Load>>,
    /// Whether the broker has accepted the connection.
    online: bool,
    reading_paused: bool,
    closed: bool,
    /// No more messages are admitted.
    draining: bool,
}

/// What is asked of the driver, and what is admitted and not finished.
#[derive(Default)]
struct Load {
    commands: Vec<Command>,
    messages: usize,
    bytes: usize,
    /// Who waits for room, in the order of asking.
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    ask: Ask,
    waker: Waker,
}

/// What room is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask {
    pub(super) bytes: usize,
    /// The quality of service of a message; `None` for requests.
    pub(super) qos: Option<QoS>,
    /// When it is no use any more.
    pub(super) deadline: Option<Instant>,
}

impl From<usize> for Ask {
    fn from(bytes: usize) -> Ask {
        Ask { bytes, ..Ask::default() }
    }
}

/// Why a command was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    Full,
    Offline,
    Expired,
    Closed,
}

impl Mailbox {
    pub(super) fn new(settings: Arc<Settings>) -> Mailbox {
        let state = Mutex::new(State {
            driver: None,
            next_number: 1,
            load: None,
            online: false,
            reading_paused: false,
            closed: false,
            draining: false,
        });
        Mailbox { state, settings }
    }

    /// What the client was set up with.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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
        self.admission(state, None).send(command);
        true
    }

    /// Makes room for a command, if there is room and nobody waits for it.
    pub(super) fn try_admit(&self, ask: impl Into<Ask>) -> Result<Admission<'_>, NotAdmitted> {
        let ask = ask.into();
        let mut state = self.lock();
        let limit = self.limit();
        state.check(limit, ask)?;
        let load = state.load();
        if !load.waiters.is_empty() || !load.has_room(limit, ask.bytes) {
            return Err(NotAdmitted::Full);
        }
        load.take_room(ask.bytes);
        Ok(self.admission(state, None))
    }

    /// Makes room for a command, or takes a place in the line for it. `place` must be given to
    /// [`leave`](Self::leave) when the caller loses interest.
    pub(super) fn poll_admit(
        &self,
        cx: &mut Context<'_>,
        ask: impl Into<Ask>,
        place: &mut Option<u64>,
    ) -> Poll<Result<Admission<'_>, NotAdmitted>> {
        let ask = ask.into();
        let mut state = self.lock();
        let limit = self.limit();
        let load = state.load();
        let first = load.waiters.front().map(|waiter| waiter.number);
        let has_room = first == *place && load.has_room(limit, ask.bytes);
        let refused = state.check(limit, ask).err().or_else(|| {
            let refuses = limit.overflow == Overflow::Refuse;
            (refuses && !has_room).then_some(NotAdmitted::Full)
        });
        if let Some(refused) = refused {
            let freed = place.take().and_then(|place| state.load().leave(limit, place));
            drop(state);
            freed.inspect(Waker::wake_by_ref);
            return Poll::Ready(Err(refused));
        }
        let load = state.load();
        if has_room {
            if place.take().is_some() {
                load.waiters.pop_front();
            }
            load.take_room(ask.bytes);
            let freed = load.next_in_line(limit);
            return Poll::Ready(Ok(self.admission(state, freed)));
        }
        match place {
            Some(number) => {
                if let Some(waiter) = load.waiters.iter_mut().find(|w| w.number == *number) {
                    waiter.waker.clone_from(cx.waker());
                }
            }
            None => {
                let number = state.next_number();
                *place = Some(number);
                let waker = cx.waker().clone();
                state.load().waiters.push_back(Waiter { number, ask, waker });
                if ask.deadline.is_some() {
                    // The driver watches the time.
                    let driver = state.driver.take();
                    drop(state);
                    driver.inspect(Waker::wake_by_ref);
                }
            }
        }
        Poll::Pending
    }

    /// Gives up a place in the line.
    pub(super) fn leave(&self, place: u64) {
        let next = self.lock().load().leave(self.limit(), place);
        next.inspect(Waker::wake_by_ref);
    }

    /// Takes room that nobody has asked for: that of messages from before.
    pub(super) fn occupy(&self, messages: usize, bytes: usize, next_ticket: Ticket) {
        let mut state = self.lock();
        let load = state.load();
        load.messages += messages;
        load.bytes += bytes;
        state.next_number = state.next_number.max(next_ticket.get());
    }

    /// Takes note whether the broker has accepted the connection.
    pub(super) fn set_online(&self, online: bool) {
        let mut state = self.lock();
        state.online = online;
        if self.limit().offline != Offline::Keep && !online {
            let all = state.wakers(|_| true);
            drop(state);
            all.into_iter().for_each(Waker::wake);
        }
    }

    /// Admits no more messages.
    pub(super) fn stop_publishing(&self) {
        let mut state = self.lock();
        state.draining = true;
        let all = state.wakers(|_| true);
        drop(state);
        all.into_iter().for_each(Waker::wake);
    }

    /// Wakes those whose time to wait for room is up, and says when the next one's is.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let deadlines = state.waiters().filter_map(|waiter| waiter.ask.deadline);
        let next = deadlines.filter(|deadline| *deadline > now).min();
        let late = state.wakers(|ask| ask.deadline.is_some_and(|deadline| deadline <= now));
        drop(state);
        late.into_iter().for_each(Waker::wake);
        next
    }

    /// Gives room back: that of `messages` commands with `bytes` together.
    pub(super) fn release(&self, messages: usize, bytes: usize) {
        let next = self.lock().load().release(self.limit(), messages, bytes);
        next.inspect(Waker::wake_by_ref);
    }

    /// Has the driver look again at what holds it up.
    pub(super) fn wake(&self) {
        let driver = self.lock().driver.take();
        driver.inspect(Waker::wake_by_ref);
    }

    /// Remembers whom to wake, where the driver takes no commands.
    pub(super) fn watch(&self, cx: &mut Context<'_>) {
        self.lock().driver.get_or_insert_with(|| cx.waker().clone());
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
    /// wake for the next one.
    pub(super) fn take(&self, cx: &mut Context<'_>, batch: &mut Vec<Command>) -> Taken {
        debug_assert!(batch.is_empty(), "the driver deals with a batch before it takes another");
        let mut state = self.lock();
        if let Some(load) = state.load.as_mut().filter(|load| !load.commands.is_empty()) {
            std::mem::swap(&mut load.commands, batch);
        }
        state.driver.get_or_insert_with(|| cx.waker().clone());
        let deadlines = state.waiters().any(|waiter| waiter.ask.deadline.is_some());
        Taken { reading_paused: state.reading_paused, deadlines }
    }

    /// What was asked of the queue.
    pub(super) fn limit(&self) -> &OutgoingQueue {
        &self.settings.outgoing
    }

    /// Gives back the memory of a past burst.
    pub(super) fn shrink(&self) {
        let mut state = self.lock();
        if state.load.take_if(|load| load.is_empty()).is_none() {
            state.load.iter_mut().for_each(|load| load.commands.shrink_to_fit());
        }
    }

    /// Refuses everything from here on and returns what nobody will deal with.
    pub(super) fn close(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.closed = true;
        let load = state.load();
        let waiters = std::mem::take(&mut load.waiters);
        let commands = std::mem::take(&mut load.commands);
        drop(state);
        for waiter in waiters {
            waiter.waker.wake();
        }
        commands
    }

    fn admission<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        freed: Option<Waker>,
    ) -> Admission<'a> {
        Admission { state, limit: self.limit(), freed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that was made for one command; the lock is held until it is sent.
pub(super) struct Admission<'a> {
    state: MutexGuard<'a, State>,
    limit: &'a OutgoingQueue,
    /// Who is next in line, with room left.
    freed: Option<Waker>,
}

impl Admission<'_> {
    /// Numbers the command. Tickets are in the order of the list.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.state.next_ticket()
    }

    /// Gives the room back again.
    pub(super) fn give_back(mut self, bytes: usize) {
        let next = self.state.load().release(self.limit, 1, bytes);
        drop(self.state);
        next.or(self.freed).inspect(Waker::wake_by_ref);
    }

    #[inline]
    pub(super) fn send(mut self, command: Command) {
        self.state.load().commands.push(command);
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

    fn load(&mut self) -> &mut Load {
        self.load.get_or_insert_default()
    }

    /// Who waits for room, in the order of asking.
    fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.load.iter().flat_map(|load| &load.waiters)
    }

    /// Those whose turn it is to look again, to be woken once the lock is no longer held.
    fn wakers(&self, wanted: impl Fn(&Ask) -> bool) -> Vec<Waker> {
        let waiters = self.waiters().filter(|waiter| wanted(&waiter.ask));
        waiters.map(|waiter| waiter.waker.clone()).collect()
    }

    /// Whether a command may be admitted if there is room.
    fn check(&self, limit: &OutgoingQueue, ask: Ask) -> Result<(), NotAdmitted> {
        let refused_offline = ask.qos.is_some_and(|qos| limit.offline.refuses(qos));
        if self.closed || self.draining && ask.qos.is_some() {
            Err(NotAdmitted::Closed)
        } else if ask.deadline.is_some_and(|deadline| deadline <= now()) {
            Err(NotAdmitted::Expired)
        } else if refused_offline && !self.online {
            Err(NotAdmitted::Offline)
        } else {
            Ok(())
        }
    }
}

impl Load {
    /// Whether nothing would be lost with it.
    fn is_empty(&self) -> bool {
        self.messages == 0 && self.commands.is_empty() && self.waiters.is_empty()
    }

    /// Whether `bytes` more are within the limit. What is larger than the limit is let in alone.
    ///
    /// Where the oldest message makes room, it is the driver that finds it: until its turn comes,
    /// as much again is let in.
    fn has_room(&self, limit: &OutgoingQueue, bytes: usize) -> bool {
        let times = if limit.overflow == Overflow::DropOldest { 2 } else { 1 };
        self.messages == 0
            || self.messages < limit.messages.saturating_mul(times)
                && self.bytes.saturating_add(bytes) <= limit.bytes.saturating_mul(times)
    }

    fn release(&mut self, limit: &OutgoingQueue, messages: usize, bytes: usize) -> Option<Waker> {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.next_in_line(limit)
    }

    fn leave(&mut self, limit: &OutgoingQueue, place: u64) -> Option<Waker> {
        self.waiters.retain(|waiter| waiter.number != place);
        self.next_in_line(limit)
    }

    fn take_room(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn next_in_line(&self, limit: &OutgoingQueue) -> Option<Waker> {
        let next = self.waiters.front()?;
        self.has_room(limit, next.ask.bytes).then(|| next.waker.clone())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::options::StreamLimits;
    use super::*;
    use crate::codec::Version;

    /// A waker that counts.
    #[derive(Default)]
    pub(in crate::client) struct Count(pub(in crate::client) AtomicUsize);

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

    fn with_limit(outgoing: OutgoingQueue) -> Mailbox {
        let streams = StreamLimits { messages: 1, bytes: 1 };
        Mailbox::new(Arc::new(Settings { version: Version::V311, outgoing, streams }))
    }

    fn mailbox(messages: usize, bytes: usize) -> Mailbox {
        with_limit(OutgoingQueue { messages, bytes, ..OutgoingQueue::default() })
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
        assert!(!mailbox.take(&mut Context::from_waker(&waker), &mut batch).reading_paused);
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        assert_eq!(driver.0.load(Ordering::Relaxed), 1);
        mailbox.take(&mut Context::from_waker(&waker), &mut batch);
        assert_eq!(batch.len(), 2);
        mailbox.set_reading_paused(true);
        mailbox.set_reading_paused(true);
        assert_eq!(driver.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_idle_mailbox_holds_nothing_once_it_has_shrunk() {
        let mailbox = mailbox(1, 100);
        let take = || {
            let mut batch = Vec::new();
            mailbox.take(&mut Context::from_waker(Waker::noop()), &mut batch);
            batch.len()
        };
        let is_idle = || {
            mailbox.shrink();
            mailbox.lock().load.is_none()
        };
        assert!(is_idle());
        assert_eq!(try_admit(&mailbox, 10), Ok(()));
        assert!(!is_idle(), "a command waits");
        assert_eq!(take(), 1);
        assert!(!is_idle(), "it is not finished");
        let mut waiting = Task::new();
        assert_eq!(waiting.admit(&mailbox, 10), None);
        mailbox.release(1, 10);
        assert!(!is_idle(), "somebody waits for room");
        mailbox.leave(waiting.place.unwrap());
        assert!(is_idle());
        assert_eq!(try_admit(&mailbox, 10), Ok(()));
    }

    /// A task that is polled as it is woken.
    struct Eager(Arc<Mailbox>);

    impl Wake for Eager {
        fn wake(self: Arc<Self>) {
            assert!(self.0.state.try_lock().is_ok(), "woken with the lock held");
        }
    }

    #[test]
    fn nobody_is_woken_with_the_lock_held() {
        let limit = OutgoingQueue { messages: 1, offline: Offline::Refuse, ..Default::default() };
        let mailbox = Arc::new(with_limit(limit));
        mailbox.set_online(true);
        assert_eq!(try_admit(&mailbox, 1), Ok(()));
        let waker = Arc::new(Eager(Arc::clone(&mailbox))).into();
        let deadline = Some(now() + std::time::Duration::from_secs(60));
        let ask = Ask { bytes: 1, qos: Some(QoS::AtLeastOnce), deadline };
        let polled = mailbox.poll_admit(&mut Context::from_waker(&waker), ask, &mut None);
        assert!(polled.is_pending());
        mailbox.expire(now() + std::time::Duration::from_secs(120));
        mailbox.set_online(false);
        mailbox.stop_publishing();
        mailbox.close();
    }
}
