//! One thread's share of the clients.
//!
//! A worker is one task on a current-thread runtime. Its clients have no tasks: each is a slot of a
//! table, with a session and a link. The sockets of plain TCP are watched by the worker itself, the
//! others by Tokio through a waker per slot. One wheel holds all deadlines, and what only a client
//! that is connecting needs is kept apart until its CONNACK.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use super::{
    Plan,
    alarm::Alarm,
    client::{Attempt, Client, Ended},
    failure::FailureClass,
    life::Fate,
    pace::Pace,
    poller::{Poller, Queue, Readiness},
    ports::{Ports, UNCHOSEN},
    ready::{ReadyList, SlotWaker},
    route::{OpenError, Route},
    slab::Slab,
    stats::{Counters, Failures, Outbox, Phase, Stats},
    wheel::Wheel,
};
use crate::{
    driver::Scratch,
    session::{self, End},
};

/// How long the connections may take to close at the end of a load.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Attempts to start before the worker looks after the others.
const STARTS_PER_TURN: u32 = 64;

/// What the workers and their owner tell each other.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// To the workers: disconnect and end.
    pub(crate) stopping: AtomicBool,
    /// To the workers: since when the connections are held.
    pub(crate) hold: OnceLock<Instant>,
    /// A TCP connection came about.
    reached: AtomicBool,
    /// TCP connections to every target failed before any came about.
    pub(crate) unreachable: AtomicBool,
    /// The targets that a connection to failed, by bits.
    failed_targets: AtomicU64,
    /// To the owner: something changed that may end a stage of the load.
    pub(crate) changed: Notify,
    open: AtomicU32,
    peak_open: AtomicU32,
}

impl Control {
    /// The most clients connected at a time.
    pub(crate) fn peak_open(&self) -> u32 {
        self.peak_open.load(Ordering::Relaxed)
    }

    pub(super) fn set_reached(&self) {
        if !self.reached.load(Ordering::Relaxed) {
            self.reached.store(true, Ordering::Release);
        }
    }

    /// Notes that client `g` could not reach its target; true when each of them was tried in vain.
    fn no_target_is_left(&self, g: u32, route: &Route) -> bool {
        let count = route.target_count().clamp(1, 64) as u32;
        let bit = 1 << (g % count);
        let failed = self.failed_targets.fetch_or(bit, Ordering::AcqRel) | bit;
        failed.count_ones() >= count
    }

    fn count_opened(&self) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak_open.fetch_max(open, Ordering::Relaxed);
    }

    fn count_closed(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.changed.notify_one();
        }
    }
}

/// A client that failed to connect or lost its connection, or that met an error on a connection that
/// goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trouble {
    /// When, since the start of the load.
    pub at: Duration,
    /// The client's identifier.
    pub client: String,
    /// The class of the failure.
    pub class: FailureClass,
    /// The error in its own words.
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, client, class, text } = self;
        write!(f, "{:.1}s {client} {}: {text}", at.as_secs_f64(), class.name())
    }
}

/// What one worker is to do, and where it reports.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) session: Arc<session::Config>,
    /// The way to the targets.
    pub(crate) route: Arc<Route>,
    /// The local ports to connect from, unless the kernel chooses them.
    pub(crate) ports: Option<Ports>,
    pub(crate) start: Instant,
    pub(crate) pace: Pace,
    /// What befalls its clients while they are held.
    pub(crate) fate: Fate,
    /// This worker's share of the attempts that may be in progress.
    pub(crate) in_progress: u32,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) ready: Arc<ReadyList>,
    pub(crate) control: Arc<Control>,
    pub(crate) troubles: mpsc::UnboundedSender<Trouble>,
}

/// What a worker leaves behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failures: Failures,
    /// The longest time for which it did not look at its sockets.
    pub(crate) longest_turn: Duration,
    /// When its last client connected or failed, since the start of the load.
    pub(crate) last_outcome: Duration,
    /// When its last client connected.
    pub(crate) last_connack: Duration,
}

/// Carries a [`Job`] out.
pub(crate) struct Worker {
    slots: Slab<Client>,
    turn: Vec<u32>,
    events: Vec<Readiness>,
    /// The slots that were interrupted in the middle of their work.
    unfinished: Vec<u32>,
    /// Wakes a client that the worker watches the socket of: it notes that there is more to do.
    more: Arc<More>,
    more_waker: Waker,
    scratch: Scratch,
    alarm: Alarm,
    close_by: Option<Instant>,
    /// Clients that come back, and when.
    returns: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Where churn looks for its next client.
    churned: u32,
    desk: Desk,
}

/// The parts of a worker that its clients use.
pub(super) struct Desk {
    pub(super) job: Job,
    pub(super) stats: Stats,
    pub(super) attempts: Slab<Attempt>,
    pub(super) poller: Poller,
    /// Slots whose clients publish, and when.
    pub(super) publishers: BinaryHeap<Reverse<(Instant, u32)>>,
    wheel: Wheel,
    /// When there was last no room for another attempt.
    full_until: Instant,
    last_outcome: Instant,
    last_connack: Instant,
}

/// What becomes of a client whose connection has ended.
enum Then {
    Over,
    /// It connects again, this long after now where it has not chosen the time itself.
    Return(Option<Duration>),
}

/// Wakes by leaving a note.
#[derive(Debug, Default)]
struct More(AtomicBool);

impl Wake for More {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// A worker that has not started. To be polled in the Tokio runtime that `alarm` and `queue` are
    /// from.
    pub(crate) fn new(job: Job, alarm: Alarm, queue: Queue) -> Self {
        let start = job.start;
        let stats = Stats::new(Arc::clone(&job.outbox));
        let more = Arc::<More>::default();
        Self {
            slots: Slab::new(),
            turn: Vec::new(),
            events: Vec::new(),
            unfinished: Vec::new(),
            more_waker: Arc::clone(&more).into(),
            more,
            scratch: Scratch::new(),
            alarm,
            close_by: None,
            returns: BinaryHeap::new(),
            churned: 0,
            desk: Desk {
                job,
                wheel: Wheel::new(start),
                stats,
                attempts: Slab::new(),
                full_until: start,
                poller: Poller::new(queue),
                publishers: BinaryHeap::new(),
                last_outcome: start,
                last_connack: start,
            },
        }
    }

    /// Does what there is to do. Ready after [`Control::stopping`] was set, when all connections
    /// are closed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.desk.job.ready.register(cx.waker());
        let now = Instant::now();
        if self.close_by.is_none() && self.desk.job.control.stopping.load(Ordering::Acquire) {
            self.begin_close(now);
        }
        self.serve_events(cx);
        self.serve_ready();
        self.serve_expired(now);
        match self.close_by {
            None => {
                self.publish_due(now);
                self.meet_fate(now);
                self.start_due(cx);
            }
            Some(close_by) if now >= close_by || self.slots.len() == 0 => return Poll::Ready(()),
            Some(_) => {}
        }
        if !self.unfinished.is_empty() {
            cx.waker().wake_by_ref();
        }
        // Once the load is over, all connections are closed in one turn.
        let took = if self.close_by.is_none() { now.elapsed() } else { Duration::ZERO };
        self.desk.stats.end_turn(took);
        if let Some(wake) = self.next_wake()
            && self.alarm.poll(cx, wake).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// What was measured.
    pub(crate) fn outcome(self) -> Outcome {
        let desk = self.desk;
        let since_start = |at: Instant| at.saturating_duration_since(desk.job.start);
        let (failures, longest_turn) = desk.stats.finish();
        Outcome {
            failures,
            longest_turn,
            last_outcome: since_start(desk.last_outcome),
            last_connack: since_start(desk.last_connack),
        }
    }

    /// Serves the clients whose sockets the worker watches itself.
    fn serve_events(&mut self, cx: &mut Context<'_>) {
        for number in std::mem::take(&mut self.unfinished) {
            self.serve(number, Instant::now());
        }
        let mut events = std::mem::take(&mut self.events);
        self.desk.poller.poll(cx, &mut events);
        for &Readiness { slot, readable, at_end } in &events {
            if readable && let Some(client) = self.slots.get_mut(slot) {
                client.set_readable(at_end);
            }
            self.serve(slot, Instant::now());
        }
        self.events = events;
    }

    /// Serves the clients that Tokio woke.
    fn serve_ready(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        self.desk.job.ready.take(&mut turn);
        for &number in &turn {
            self.serve(number, Instant::now());
        }
        self.turn = turn;
    }

    fn serve_expired(&mut self, now: Instant) {
        while let Some(number) = self.desk.wheel.expired(now) {
            if let Some(client) = self.slots.get_mut(number) {
                client.expire(now);
                self.serve(number, now);
            }
        }
    }

    fn serve(&mut self, number: u32, now: Instant) {
        let Some(client) = self.slots.get_mut(number) else { return };
        let polled = match client.waker() {
            None => {
                let mut cx = Context::from_waker(&self.more_waker);
                client.poll(number, &mut cx, now, &mut self.desk, &mut self.scratch)
            }
            Some(waker) => {
                waker.taken();
                let waker = Waker::from(Arc::clone(waker));
                let mut cx = Context::from_waker(&waker);
                client.poll(number, &mut cx, now, &mut self.desk, &mut self.scratch)
            }
        };
        if self.more.0.swap(false, Ordering::Relaxed) {
            self.unfinished.push(number);
        }
        let ended = match polled {
            Poll::Ready(ended) => ended,
            Poll::Pending => match client.keep_watch(number, &self.desk) {
                Ok(()) => {
                    let deadline = client.deadline(&self.desk);
                    self.desk.wheel.arm(number, deadline);
                    return;
                }
                Err(error) => Ended {
                    class: Some(FailureClass::of_watch(&error)),
                    text: error.to_string(),
                    ..Ended::default()
                },
            },
        };
        let then = self.desk.close(client, ended, now, self.close_by.is_some());
        self.dismiss(number, now, then);
    }

    /// Closes what is left of a client's connection.
    fn dismiss(&mut self, number: u32, now: Instant, then: Then) {
        let desk = &mut self.desk;
        desk.wheel.disarm(number);
        let Some(client) = self.slots.get_mut(number) else { return };
        // Once: a return that fails has no port to give back.
        let port = std::mem::replace(&mut client.port, UNCHOSEN);
        match then {
            Then::Return(wait) => {
                let wait = client.stay_away(now, desk, wait);
                self.returns.push(Reverse((now + wait, number)));
            }
            Then::Over => drop(self.slots.remove(number)),
        }
        if let Some(ports) = &mut desk.job.ports {
            ports.give_back(port);
        }
    }

    /// Starts the clients whose time has come, as far as attempts may be in progress.
    fn start_due(&mut self, cx: &Context<'_>) {
        for started in 0.. {
            if self.desk.attempts.len() >= self.desk.job.in_progress {
                return;
            }
            // Attempts that fail at once never fill the room that there is.
            if started == STARTS_PER_TURN {
                return cx.waker().wake_by_ref();
            }
            let now = Instant::now();
            let first = self.desk.job.pace.peek().filter(|&(_, intended)| intended <= now);
            let back = self.returns.peek().map(|&Reverse(back)| back).filter(|&(at, _)| at <= now);
            match (first, back) {
                (Some((g, intended)), back) if back.is_none_or(|(at, _)| intended <= at) => {
                    self.desk.job.pace.next();
                    self.desk.job.counters.count_started();
                    self.begin(g, None, intended, now);
                }
                (_, Some((intended, number))) => {
                    self.returns.pop();
                    let Some(g) = self.slots.get(number).map(|client| client.g) else { continue };
                    self.begin(g, Some(number), intended, now);
                }
                _ => return,
            }
        }
    }

    /// Begins a connection of client `g`, whose slot is `back` if it had one before.
    fn begin(&mut self, g: u32, back: Option<u32>, intended: Instant, now: Instant) {
        let desk = &mut self.desk;
        desk.stats.record(Phase::ScheduleLag, now.saturating_duration_since(intended));
        let possible = intended.max(desk.full_until);
        desk.stats.record(Phase::GeneratorLag, now.saturating_duration_since(possible));
        match desk.job.route.open(g, &mut desk.job.ports) {
            Ok((opening, port)) => {
                let watched_by_tokio = opening.is_watched_by_tokio();
                let give_up = now + desk.job.plan.connect_timeout;
                let is_return = back.is_some();
                let established = None;
                let attempt = Attempt { intended, started: now, established, give_up, is_return };
                let attempt = desk.attempts.insert(|_| attempt);
                let number = match back {
                    None => self.slots.insert(|_| Client::new(g, opening, port, attempt)),
                    Some(number) => {
                        if let Some(client) = self.slots.get_mut(number) {
                            client.reopen(opening, port, attempt);
                        }
                        number
                    }
                };
                let Some(client) = self.slots.get_mut(number) else { return };
                if watched_by_tokio {
                    client.set_waker(SlotWaker::new(number, &desk.job.ready));
                } else if !desk.job.route.is_local() && client.keep_watch(number, desk).is_ok() {
                    // Asking right away would only cost a system call.
                    let deadline = client.deadline(desk);
                    desk.wheel.arm(number, deadline);
                    return;
                }
                // What the connect took is part of it.
                self.serve(number, Instant::now());
            }
            Err(OpenError { class, text, .. }) => {
                let then = desk.fail(g, intended, back.is_some(), class, now, text);
                match (back, then) {
                    (Some(number), then) => self.dismiss(number, now, then),
                    (None, Then::Over) => {}
                    (None, then) => {
                        let number = self.slots.insert(|_| Client::unopened(g));
                        self.dismiss(number, now, then);
                    }
                }
            }
        }
    }

    fn publish_due(&mut self, now: Instant) {
        while let Some(&Reverse((due, number))) = self.desk.publishers.peek()
            && due <= now
        {
            self.desk.publishers.pop();
            let Some(client) = self.slots.get_mut(number) else { continue };
            if let Some(next) = client.publish(due, now, &mut self.desk) {
                self.desk.publishers.push(Reverse((next, number)));
                self.serve(number, now);
            }
        }
    }

    /// Has churn and storms happen whose time has come.
    fn meet_fate(&mut self, now: Instant) {
        let hold = self.desk.job.control.hold.get().copied();
        while self.desk.job.fate.churn_due(hold).is_some_and(|due| due <= now) {
            self.desk.job.fate.churn();
            self.replace_one(now);
        }
        while let Some((index, share)) = self.desk.job.fate.storm(self.desk.job.start, now) {
            for number in 0..self.slots.end() {
                let Some(client) = self.slots.get_mut(number) else { continue };
                let seed = self.desk.job.plan.seed;
                if client.is_open() && share.hits(seed.session_seed(client.g), index) {
                    client.cut(now);
                    client.extra().lost_at = Some(now);
                    self.desk.job.counters.count_left();
                    self.desk.job.control.count_closed();
                    self.dismiss(number, now, Then::Return(None));
                }
            }
        }
    }

    /// Ends the connection of the next client in order; it comes back at once.
    fn replace_one(&mut self, now: Instant) {
        let end = self.slots.end();
        for _ in 0..end {
            let number = self.churned % end.max(1);
            self.churned = number + 1;
            if let Some(client) = self.slots.get_mut(number)
                && client.is_open()
                && !client.extra().leaving
                && client.disconnect(now)
            {
                client.extra().leaving = true;
                self.serve(number, now);
                return;
            }
        }
    }

    /// Gives up what has not connected and disconnects what has.
    fn begin_close(&mut self, now: Instant) {
        self.close_by = Some(now + CLOSE_TIMEOUT);
        self.desk.job.pace.stop();
        for number in 0..self.slots.end() {
            let Some(client) = self.slots.get_mut(number) else { continue };
            if client.disconnect(now) {
                self.serve(number, now);
            } else {
                self.desk.wheel.disarm(number);
                self.slots.remove(number);
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let desk = &self.desk;
        if self.close_by.is_some() {
            return [desk.wheel.next_expiry(), self.close_by].into_iter().flatten().min();
        }
        let may_start = desk.attempts.len() < desk.job.in_progress;
        let start = desk.job.pace.peek().map(|(_, intended)| intended);
        let back = self.returns.peek().map(|Reverse((at, _))| *at);
        let publish = desk.publishers.peek().map(|Reverse((at, _))| *at);
        let fate = desk.job.fate.next(desk.job.start, desk.job.control.hold.get().copied());
        let starts = [start, back].into_iter().flatten().filter(|_| may_start);
        starts.chain([desk.wheel.next_expiry(), publish, fate].into_iter().flatten()).min()
    }
}

impl Desk {
    /// Accounts for a client whose connection has ended.
    fn close(&mut self, client: &mut Client, ended: Ended, now: Instant, closing: bool) -> Then {
        let attempt = client.attempt.and_then(|number| self.end_attempt(number, now));
        let accepted = attempt.is_none();
        let orderly = matches!(ended.end.as_deref(), None | Some(End::Requested));
        if accepted && closing && orderly {
            self.job.control.count_closed();
            return Then::Over;
        }
        let leaving = client.known_extra().is_some_and(|extra| extra.leaving);
        if accepted && leaving {
            self.job.counters.count_left();
            self.job.control.count_closed();
            return Then::Return(Some(Duration::ZERO));
        }
        let class = ended.class.unwrap_or_else(|| {
            FailureClass::of_end(ended.end.as_deref(), ended.error.as_ref(), accepted)
        });
        let text = match (&ended.end, &ended.error) {
            _ if !ended.text.is_empty() => ended.text,
            (Some(end), _) => end.to_string(),
            (None, Some(error)) => error.to_string(),
            (None, None) if ended.class.is_some() => "no answer in time".to_owned(),
            (None, None) => "the server closed the connection".to_owned(),
        };
        match attempt {
            Some(attempt) => {
                let Attempt { intended, is_return, .. } = attempt;
                self.fail(client.g, intended, is_return, class, now, text)
            }
            None => {
                self.job.counters.count_dropped();
                self.job.control.count_closed();
                self.record_trouble(client.g, class, now, text);
                if closing || !self.job.plan.life.reconnect {
                    return Then::Over;
                }
                client.extra().lost_at = Some(now);
                Then::Return(None)
            }
        }
    }

    /// Accounts for an attempt that failed.
    fn fail(
        &mut self,
        g: u32,
        intended: Instant,
        is_return: bool,
        class: FailureClass,
        now: Instant,
        text: String,
    ) -> Then {
        let waited = now.saturating_duration_since(intended);
        self.stats.record(Phase::TotalAll, waited.max(self.job.plan.connect_timeout));
        if is_return {
            self.job.counters.count_return_failed();
        } else {
            self.job.counters.count_failed();
            self.last_outcome = now;
        }
        let control = &self.job.control;
        let reached = control.reached.load(Ordering::Acquire);
        if class.is_unreachable() && !reached && control.no_target_is_left(g, &self.job.route) {
            control.unreachable.store(true, Ordering::Release);
            control.changed.notify_one();
        }
        self.record_trouble(g, class, now, text);
        self.tell_if_settled();
        if is_return || self.job.plan.life.reconnect { Then::Return(None) } else { Then::Over }
    }

    fn record_trouble(&mut self, g: u32, class: FailureClass, now: Instant, text: String) {
        let at = now.saturating_duration_since(self.job.start);
        self.stats.record_failure(class, g, at, &text);
        let client = self.job.plan.identity.client_id(self.job.plan.seed, g);
        // Nobody listens once the load has been given up.
        let _ = self.job.troubles.send(Trouble { at, client, class, text });
    }

    fn end_attempt(&mut self, number: u32, now: Instant) -> Option<Attempt> {
        if self.attempts.len() >= self.job.in_progress {
            self.full_until = now;
        }
        self.attempts.remove(number)
    }

    /// Notes what went wrong on a connection that goes on.
    pub(super) fn note(&mut self, g: u32, class: FailureClass, now: Instant) {
        self.record_trouble(g, class, now, class.meaning().to_owned());
    }

    /// Accounts for a client that was accepted, and that had lost its connection before at `lost_at`.
    pub(super) fn connected(&mut self, number: u32, lost_at: Option<Instant>, now: Instant) {
        let Some(attempt) = self.end_attempt(number, now) else { return };
        let since = |from: Instant| now.saturating_duration_since(from);
        self.stats.record(Phase::ConnAck, since(attempt.established.unwrap_or(attempt.started)));
        self.stats.record(Phase::Total, since(attempt.intended));
        self.stats.record(Phase::TotalAll, since(attempt.intended));
        if let Some(lost_at) = lost_at {
            self.stats.record(Phase::Return, since(lost_at));
        }
        self.job.control.count_opened();
        if attempt.is_return {
            self.job.counters.count_returned();
            return;
        }
        self.job.counters.count_connected();
        self.last_outcome = now;
        self.last_connack = now;
        self.tell_if_settled();
    }

    fn tell_if_settled(&self) {
        if self.attempts.len() == 0 && self.job.pace.peek().is_none() {
            self.job.control.changed.notify_one();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        collections::HashSet,
        future::poll_fn,
        io::Write,
        net::{Ipv4Addr, TcpListener},
        num::NonZeroU32,
    };

    use super::*;
    use crate::{
        codec::Version,
        load::{Comeback, Profile, Target, locate::Located, ports::PortPlan},
        net::Endpoint,
        session::Config,
    };

    /// A worker with the one client of a plan, whose connections go to `listener`.
    fn worker(listener: &TcpListener) -> Worker {
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint::tcp("127.0.0.1".to_owned(), address.port());
        let mut plan = Plan::new(Target::broker(endpoint), Config::new(Version::V311));
        plan.life.reconnect = true;
        plan.life.comeback = Comeback::new(Duration::from_millis(1), Duration::from_millis(1));
        let (start, one) = (Instant::now(), NonZeroU32::MIN);
        let sources = "127.0.0.1".parse().unwrap();
        let ports = PortPlan::new(&sources, &[address], 1, 0).unwrap().unwrap();
        let job = Job {
            session: Arc::clone(&plan.session),
            route: Arc::new(Located::at(address).route),
            ports: Some(Ports::new(Arc::new(ports), 0, 1)),
            start,
            pace: Pace::new(start, Profile::interval(Duration::ZERO), 1, 0, one),
            fate: Fate::default(),
            in_progress: 1,
            counters: Arc::default(),
            outbox: Arc::default(),
            ready: Arc::default(),
            control: Arc::default(),
            troubles: mpsc::unbounded_channel().0,
            plan: Arc::new(plan),
        };
        Worker::new(job, Alarm::new().unwrap(), Queue::new().unwrap())
    }

    #[tokio::test]
    async fn a_port_is_given_back_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut worker = worker(&listener);
        let counters = Arc::clone(&worker.desk.job.counters);
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        });
        poll_fn(|cx| {
            let _ = worker.poll(cx);
            let counts = Counters::sum([&*counters]);
            if counts.connected > 0 {
                // Once it has connected, no way leads anywhere: a connect fails at once.
                let nowhere = (Ipv4Addr::BROADCAST, 1).into();
                worker.desk.job.route = Arc::new(Located::at(nowhere).route);
            }
            if counts.return_failed < 5 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        serving.join().unwrap();
        let ports = worker.desk.job.ports.as_mut().unwrap();
        let mut seen = HashSet::new();
        while let Some((number, _)) = ports.take() {
            assert!(seen.insert(number), "port {number} would be used twice at a time");
        }
    }
}
