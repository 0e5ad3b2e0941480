//! One thread's share of the clients.
//!
//! A worker is one task on a current-thread runtime. Its clients have no tasks: each is a slot with a
//! session, a link and a waker that puts the slot's number on the ready list. One wheel holds all
//! deadlines, and what only a client that is connecting needs is kept apart until its CONNACK.
//!
//! ```text
//! Opening --stream--> Open, attempt under way --CONNACK--> Open, idle --lost--> dropped
//!    \---------------------\--error, refusal, timeout--> failed
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};

use super::{
    Plan,
    alarm::Alarm,
    failure::FailureClass,
    pace::Pace,
    ready::{ReadyList, SlotWaker},
    route::{OpenError, Opening, Route},
    slab::Slab,
    stats::{Counters, Failures, Outbox, Phase, Stats},
    wheel::Wheel,
};
use crate::{
    codec::{Properties, ReasonCode},
    driver::{Link, LinkEnd, LinkInbox, Scratch},
    net::Timings,
    session::{self, End, Event, Inbox, Received, Session, Verdict},
};

/// How long the connections may take to close at the end of a load.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the workers and their owner tell each other.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// To the workers: disconnect and end.
    pub(crate) stopping: AtomicBool,
    /// A TCP connection came about.
    pub(crate) reached: AtomicBool,
    /// A TCP connection failed before any came about.
    pub(crate) unreachable: AtomicBool,
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

/// A client that failed to connect or lost its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What one worker is to do, and where it reports.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) session: Arc<session::Config>,
    /// The way to the target.
    pub(crate) route: Arc<Route>,
    pub(crate) start: Instant,
    pub(crate) pace: Pace,
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
    scratch: Scratch,
    alarm: Alarm,
    close_by: Option<Instant>,
    desk: Desk,
}

/// The parts of a worker that its clients use.
struct Desk {
    job: Job,
    wheel: Wheel,
    stats: Stats,
    attempts: Slab<Attempt>,
    /// When there was last no room for another attempt.
    full_until: Instant,
    last_outcome: Instant,
    last_connack: Instant,
}

impl Worker {
    /// A worker that has not started. To be polled in the Tokio runtime that `alarm` is from.
    pub(crate) fn new(job: Job, alarm: Alarm) -> Self {
        let start = job.start;
        let stats = Stats::new(Arc::clone(&job.outbox));
        Self {
            slots: Slab::new(),
            turn: Vec::new(),
            scratch: Scratch::new(),
            alarm,
            close_by: None,
            desk: Desk {
                job,
                wheel: Wheel::new(start),
                stats,
                attempts: Slab::new(),
                full_until: start,
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
        self.serve_ready();
        self.serve_expired(now);
        match self.close_by {
            None => self.start_due(),
            Some(close_by) if now >= close_by || self.slots.len() == 0 => return Poll::Ready(()),
            Some(_) => {}
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
        match client.poll(now, &mut self.desk, &mut self.scratch) {
            Poll::Pending => {
                let deadline = client.deadline(&self.desk);
                self.desk.wheel.arm(number, deadline);
            }
            Poll::Ready(ended) => {
                self.desk.wheel.disarm(number);
                if let Some(client) = self.slots.remove(number) {
                    self.desk.close(&client, ended, now, self.close_by.is_some());
                }
            }
        }
    }

    /// Starts the clients whose time has come, as far as attempts may be in progress.
    fn start_due(&mut self) {
        while self.desk.attempts.len() < self.desk.job.in_progress {
            let now = Instant::now();
            let Some((g, intended)) = self.desk.job.pace.peek() else { return };
            if intended > now {
                return;
            }
            self.desk.job.pace.next();
            self.desk.job.counters.count_started();
            self.desk.stats.record(Phase::ScheduleLag, now.saturating_duration_since(intended));
            let possible = intended.max(self.desk.full_until);
            self.desk.stats.record(Phase::GeneratorLag, now.saturating_duration_since(possible));
            match self.desk.job.route.open(g) {
                Ok(opening) => {
                    let give_up = now + self.desk.job.plan.connect_timeout;
                    let attempt = Attempt { intended, started: now, established: None, give_up };
                    let attempt = self.desk.attempts.insert(|_| attempt);
                    let ready = &self.desk.job.ready;
                    let number = self.slots.insert(|number| {
                        Client::new(g, opening, attempt, SlotWaker::new(number, ready))
                    });
                    self.serve(number, now);
                }
                Err(error) => {
                    let class = FailureClass::of_dial(&error);
                    self.desk.fail(g, intended, class, now, error.to_string());
                }
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
        let may_start = desk.attempts.len() < desk.job.in_progress;
        let start = desk.job.pace.peek().filter(|_| may_start).map(|(_, intended)| intended);
        [start, desk.wheel.next_expiry(), self.close_by].into_iter().flatten().min()
    }
}

impl Desk {
    /// Accounts for a client whose connection has ended.
    fn close(&mut self, client: &Client, ended: Ended, now: Instant, closing: bool) {
        let accepted = client.attempt.is_none();
        let attempt = client.attempt.and_then(|number| self.end_attempt(number, now));
        if accepted && closing && matches!(ended.end.as_deref(), None | Some(End::Requested)) {
            self.job.control.count_closed();
            return;
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
            None => {
                self.job.counters.count_dropped();
                self.job.control.count_closed();
                self.record_trouble(client.g, class, now, text);
            }
            Some(attempt) => self.fail(client.g, attempt.intended, class, now, text),
        }
    }

    /// Accounts for an attempt that failed.
    fn fail(&mut self, g: u32, intended: Instant, class: FailureClass, now: Instant, text: String) {
        let waited = now.saturating_duration_since(intended);
        self.stats.record(Phase::TotalAll, waited.max(self.job.plan.connect_timeout));
        self.job.counters.count_failed();
        self.last_outcome = now;
        let control = &self.job.control;
        if class.is_unreachable() && !control.reached.load(Ordering::Acquire) {
            control.unreachable.store(true, Ordering::Release);
            control.changed.notify_one();
        }
        self.record_trouble(g, class, now, text);
        self.tell_if_settled();
    }

    fn record_trouble(&mut self, g: u32, class: FailureClass, now: Instant, text: String) {
        let at = now.saturating_duration_since(self.job.start);
        self.stats.record_failure(class, g, at, &text);
        let client = self.job.plan.seed.client_id(g);
        // Nobody listens once the load has been given up.
        let _ = self.job.troubles.send(Trouble { at, client, class, text });
    }

    fn end_attempt(&mut self, number: u32, now: Instant) -> Option<Attempt> {
        if self.attempts.len() >= self.job.in_progress {
            self.full_until = now;
        }
        self.attempts.remove(number)
    }

    fn connected(&mut self, number: u32, now: Instant) {
        let Some(attempt) = self.end_attempt(number, now) else { return };
        let since = |from: Instant| now.saturating_duration_since(from);
        self.stats.record(Phase::ConnAck, since(attempt.established.unwrap_or(attempt.started)));
        self.stats.record(Phase::Total, since(attempt.intended));
        self.stats.record(Phase::TotalAll, since(attempt.intended));
        self.job.counters.count_connected();
        self.job.control.count_opened();
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

/// One client: a slot of a worker.
struct Client {
    g: u32,
    waker: Arc<SlotWaker>,
    stage: Stage,
    /// The number of its [`Attempt`], until the CONNACK.
    attempt: Option<u32>,
}

#[expect(clippy::large_enum_variant, reason = "most slots are open most of the time")]
enum Stage {
    Opening(Opening),
    Open { session: Session, link: Link, end: Option<Box<End>> },
}

/// What a client needs only while it is connecting.
struct Attempt {
    intended: Instant,
    started: Instant,
    established: Option<Instant>,
    give_up: Instant,
}

/// How a connection ended: by what the session said, what the socket said, or what the worker saw.
#[derive(Default)]
struct Ended {
    end: Option<Box<End>>,
    error: Option<std::io::Error>,
    class: Option<FailureClass>,
    /// What is to be said about it, where that is known already.
    text: String,
}

impl Client {
    fn new(g: u32, opening: Opening, attempt: u32, waker: Arc<SlotWaker>) -> Self {
        Self { g, waker, stage: Stage::Opening(opening), attempt: Some(attempt) }
    }

    fn poll(&mut self, now: Instant, desk: &mut Desk, scratch: &mut Scratch) -> Poll<Ended> {
        self.waker.taken();
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut cx = Context::from_waker(&waker);
        if let Stage::Opening(opening) = &mut self.stage {
            match opening.poll(&mut cx) {
                Poll::Ready(Ok((stream, timings))) => {
                    self.open(Link::new(stream), timings, now, desk);
                }
                Poll::Ready(Err(OpenError { class, text, reached })) => {
                    if reached {
                        desk.job.control.reached.store(true, Ordering::Release);
                    }
                    return Poll::Ready(Ended { class: Some(class), text, ..Ended::default() });
                }
                Poll::Pending if opening.has_deadline() => return Poll::Pending,
                Poll::Pending => return self.check_give_up(now, desk, FailureClass::TcpTimeout),
            }
        }
        let Stage::Open { session, link, end } = &mut self.stage else { return Poll::Pending };
        let mut inbox = ClientInbox { attempt: &mut self.attempt, end, now, desk };
        match link.poll(&mut cx, now, session, scratch, &mut inbox) {
            Poll::Pending => self.check_give_up(now, desk, FailureClass::ConnAckTimeout),
            Poll::Ready(ended) => {
                session.handle_disconnected(now);
                let error = match ended {
                    LinkEnd::Failed(error) => Some(error),
                    _ => None,
                };
                Poll::Ready(Ended { end: end.take(), error, ..Ended::default() })
            }
        }
    }

    fn open(&mut self, link: Link, timings: Option<Timings>, now: Instant, desk: &mut Desk) {
        if let Some(attempt) = self.attempt.and_then(|number| desk.attempts.get_mut(number)) {
            attempt.established = Some(now);
            let tcp = now.saturating_duration_since(attempt.started);
            let stages = timings.map_or([Some(tcp), None, None, None], |timings| {
                [timings.tcp, timings.proxy, timings.tls, timings.websocket]
            });
            let phases = [Phase::Tcp, Phase::Proxy, Phase::Tls, Phase::WebSocket];
            for (phase, took) in phases.into_iter().zip(stages) {
                if let Some(took) = took {
                    desk.stats.record(phase, took);
                }
            }
        }
        if !desk.job.control.reached.load(Ordering::Relaxed) {
            desk.job.control.reached.store(true, Ordering::Release);
        }
        let seed = desk.job.plan.seed;
        let config = Arc::clone(&desk.job.session);
        let mut session = Session::new(config, seed.client_id(self.g), seed.session_seed(self.g));
        session.handle_connected(now);
        self.stage = Stage::Open { session, link, end: None };
    }

    /// Ends an attempt that has taken too long.
    fn check_give_up(&self, now: Instant, desk: &Desk, class: FailureClass) -> Poll<Ended> {
        match self.give_up(desk) {
            Some(give_up) if now >= give_up => {
                Poll::Ready(Ended { class: Some(class), ..Ended::default() })
            }
            _ => Poll::Pending,
        }
    }

    fn expire(&mut self, now: Instant) {
        if let Stage::Open { session, .. } = &mut self.stage {
            session.handle_timeout(now);
        }
    }

    /// Begins an orderly end; false when the client is not connected.
    fn disconnect(&mut self, now: Instant) -> bool {
        match &mut self.stage {
            Stage::Open { session, .. } if self.attempt.is_none() => {
                let reason = ReasonCode::NORMAL_DISCONNECTION;
                // A session that is disconnecting already refuses to be told again.
                let _ = session.disconnect(now, reason, Properties::default());
                true
            }
            _ => false,
        }
    }

    fn give_up(&self, desk: &Desk) -> Option<Instant> {
        Some(desk.attempts.get(self.attempt?)?.give_up)
    }

    fn deadline(&self, desk: &Desk) -> Option<Instant> {
        let (session, link) = match &self.stage {
            Stage::Opening(opening) if opening.has_deadline() => return None,
            Stage::Opening(_) => (None, None),
            Stage::Open { session, link, .. } => {
                (session.poll_timeout().map(|(at, _)| at), link.poll_timeout())
            }
        };
        [self.give_up(desk), session, link].into_iter().flatten().min()
    }
}

/// Takes what a client's link has to tell.
struct ClientInbox<'a> {
    attempt: &'a mut Option<u32>,
    end: &'a mut Option<Box<End>>,
    now: Instant,
    desk: &'a mut Desk,
}

impl Inbox for ClientInbox<'_> {
    fn message(&mut self, _: Received<'_>) -> Verdict {
        Verdict::Ack
    }
}

impl LinkInbox for ClientInbox<'_> {
    fn event(&mut self, _: &mut Session, event: Event) {
        match event {
            Event::Connected(_) => {
                if let Some(number) = self.attempt.take() {
                    self.desk.connected(number, self.now);
                }
            }
            Event::Pong { rtt } => {
                self.desk.stats.record(Phase::PingResp, rtt);
                self.desk.job.counters.count_pong();
            }
            Event::Closing(end) => *self.end = Some(end),
            _ => {}
        }
    }
}
