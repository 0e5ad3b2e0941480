//! One client of a load: a slot of a worker.
//!
//! ```text
//! Opening --stream--> Open, attempt under way --CONNACK--> Open, idle
//!    ^ \                     |                                |
//!    |  \--------------------+--error, refusal, timeout-------+--loss, storm, churn--> (ended)
//!    +--back-off over-- Waiting <--if it is to come back--------------------------------/
//! ```

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    failure::FailureClass,
    poller::Watch,
    ports::UNCHOSEN,
    ready::SlotWaker,
    route::{OpenError, Opening},
    stats::Phase,
    worker::Desk,
};
use crate::{
    codec::{Properties, ReasonCode},
    driver::{Link, LinkEnd, LinkInbox, Scratch},
    net::Timings,
    session::{
        Backoff, End, Event, Inbox, Message, Received, Session, SubscribeRequest, Ticket, Verdict,
    },
};

/// An answer to a ping that took longer is late.
const LATE_PONG: Duration = Duration::from_secs(1);
/// The ticket of a client's one subscription; its publishes count from the next one on.
const SUBSCRIPTION: Ticket = Ticket::new(0);

pub(super) struct Client {
    pub(super) g: u32,
    /// The number of its local port.
    pub(super) port: u32,
    /// The number of its [`Attempt`], until the CONNACK.
    pub(super) attempt: Option<u32>,
    /// What its socket is watched for, if the worker watches it.
    watch: Watch,
    /// Wakes it, if Tokio watches its socket.
    waker: Option<Arc<SlotWaker>>,
    stage: Stage,
    /// What a client that does nothing but be connected has no need of.
    extra: Option<Box<Extra>>,
}

enum Stage {
    Opening(Opening),
    Open {
        session: Session,
        link: Link,
        end: Option<Box<End>>,
    },
    /// Until it comes back.
    Waiting,
}

#[derive(Default)]
pub(super) struct Extra {
    /// Between two connections.
    session: Option<Session>,
    backoff: Option<Backoff>,
    /// When it lost the connection that it is coming back from.
    pub(super) lost_at: Option<Instant>,
    /// It ends its connection because the plan says so.
    pub(super) leaving: bool,
    subscribed: bool,
    /// When it publishes next.
    next_publish: Option<Instant>,
    published: u64,
    /// The publishes under way, and when each was due.
    under_way: VecDeque<(Ticket, Instant)>,
    subscribe_sent: Option<Instant>,
}

/// What a client needs only while it is connecting.
pub(super) struct Attempt {
    pub(super) intended: Instant,
    pub(super) started: Instant,
    pub(super) established: Option<Instant>,
    pub(super) give_up: Instant,
    /// The client has been counted before, as accepted or failed.
    pub(super) is_return: bool,
}

/// How a connection ended: by what the session said, what the socket said, or what the worker saw.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) end: Option<Box<End>>,
    pub(super) error: Option<std::io::Error>,
    pub(super) class: Option<FailureClass>,
    /// What is to be said about it, where that is known already.
    pub(super) text: String,
}

impl Client {
    pub(super) fn new(g: u32, opening: Opening, port: u32, attempt: u32) -> Self {
        Self {
            g,
            port,
            attempt: Some(attempt),
            watch: Watch::Nothing,
            waker: None,
            stage: Stage::Opening(opening),
            extra: None,
        }
    }

    /// A client whose first connection did not begin.
    pub(super) fn unopened(g: u32) -> Self {
        Self {
            g,
            port: UNCHOSEN,
            attempt: None,
            watch: Watch::Nothing,
            waker: None,
            stage: Stage::Waiting,
            extra: None,
        }
    }

    /// Begins a further connection.
    pub(super) fn reopen(&mut self, opening: Opening, port: u32, attempt: u32) {
        self.port = port;
        self.attempt = Some(attempt);
        self.watch = Watch::Nothing;
        self.stage = Stage::Opening(opening);
    }

    /// Has Tokio's wakes put slot `number` on the list.
    pub(super) fn set_waker(&mut self, waker: Arc<SlotWaker>) {
        self.waker = Some(waker);
    }

    pub(super) fn waker(&self) -> Option<&Arc<SlotWaker>> {
        self.waker.as_ref()
    }

    /// Whether its connection is accepted.
    pub(super) fn is_open(&self) -> bool {
        self.attempt.is_none() && matches!(self.stage, Stage::Open { .. })
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn known_extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// Takes note that there is something to read, and whether the end is behind it.
    pub(super) fn set_readable(&mut self, at_end: bool) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.unwatched() {
            socket.set_readable(at_end);
        }
        let _ = at_end;
    }

    #[cfg(target_os = "linux")]
    fn unwatched(&mut self) -> Option<&mut crate::net::Unwatched> {
        match &mut self.stage {
            Stage::Opening(opening) => opening.unwatched(),
            Stage::Open { link, .. } => link.stream_mut().unwatched(),
            Stage::Waiting => None,
        }
    }

    /// Has its socket watched for what it waits for, unless Tokio does.
    pub(super) fn keep_watch(&mut self, number: u32, desk: &Desk) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let wanted = match &self.stage {
                Stage::Open { link, .. } if !link.is_blocked() => Watch::Input,
                Stage::Waiting => return Ok(()),
                _ => Watch::Both,
            };
            let watched = self.watch;
            if wanted > watched
                && let Some(socket) = self.unwatched()
            {
                desk.poller.watch(socket, number, watched, wanted)?;
                self.watch = wanted;
            }
        }
        let _ = (number, desk, self.watch);
        Ok(())
    }

    /// Goes on with it, in slot `number`.
    pub(super) fn poll(
        &mut self,
        number: u32,
        cx: &mut Context<'_>,
        now: Instant,
        desk: &mut Desk,
        scratch: &mut Scratch,
    ) -> Poll<Ended> {
        if let Stage::Opening(opening) = &mut self.stage {
            match opening.poll(cx) {
                Poll::Ready(Ok((stream, timings))) => {
                    self.open(Link::new(stream), timings, now, desk);
                }
                Poll::Ready(Err(OpenError { class, text, reached })) => {
                    if reached {
                        desk.job.control.set_reached();
                    }
                    return Poll::Ready(Ended { class: Some(class), text, ..Ended::default() });
                }
                Poll::Pending if opening.has_deadline() => return Poll::Pending,
                Poll::Pending => return self.check_give_up(now, desk, FailureClass::TcpTimeout),
            }
        }
        let Stage::Open { session, link, end } = &mut self.stage else { return Poll::Pending };
        let mut inbox = ClientInbox {
            number,
            g: self.g,
            attempt: &mut self.attempt,
            end,
            extra: &mut self.extra,
            now,
            desk,
        };
        match link.poll(cx, now, session, scratch, &mut inbox) {
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
            // The last step of a handshake takes its time, which is the handshake's.
            attempt.established = Some(if timings.is_some() { Instant::now() } else { now });
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
        desk.job.control.set_reached();
        let kept = self.extra.as_mut().and_then(|extra| extra.session.take());
        let mut session = kept.unwrap_or_else(|| {
            let (seed, identity) = (desk.job.plan.seed, &desk.job.plan.identity);
            let config = identity.config(seed, self.g, &desk.job.session);
            Session::new(config, identity.client_id(seed, self.g), seed.session_seed(self.g))
        });
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

    pub(super) fn expire(&mut self, now: Instant) {
        if let Stage::Open { session, .. } = &mut self.stage {
            session.handle_timeout(now);
        }
    }

    /// Begins an orderly end; false when the client is not connected.
    pub(super) fn disconnect(&mut self, now: Instant) -> bool {
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

    /// Ends its connection without a word, as a device does that loses its power.
    pub(super) fn cut(&mut self, now: Instant) {
        if let Stage::Open { session, .. } = &mut self.stage {
            session.handle_disconnected(now);
        }
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.unwatched() {
            // Without it the connection is closed in the usual way.
            let _ = socket.reset_on_drop();
        }
    }

    /// Closes its connection and keeps its session. `wait` says how long to stay away where the
    /// client has no reason of its own.
    pub(super) fn stay_away(
        &mut self,
        now: Instant,
        desk: &Desk,
        wait: Option<Duration>,
    ) -> Duration {
        let stage = std::mem::replace(&mut self.stage, Stage::Waiting);
        self.attempt = None;
        self.watch = Watch::Nothing;
        let seed = desk.job.plan.seed.session_seed(self.g);
        let comeback = desk.job.plan.life.comeback;
        let extra = self.extra();
        extra.leaving = false;
        extra.under_way.clear();
        extra.next_publish = None;
        if let Stage::Open { session, .. } = stage {
            extra.session = Some(session);
        }
        let backoff = extra.backoff.get_or_insert_with(|| {
            Backoff::new(comeback.first, comeback.max, comeback.stable_after, seed)
        });
        backoff.handle_disconnected(now);
        wait.unwrap_or_else(|| backoff.next_delay())
    }

    /// Publishes what was due at `due`, and returns when the next is. `None` when it was not due: the
    /// client is away, or another one has its slot.
    pub(super) fn publish(
        &mut self,
        due: Instant,
        now: Instant,
        desk: &mut Desk,
    ) -> Option<Instant> {
        let plan = Arc::clone(&desk.job.plan);
        let publishing = plan.traffic.publish.as_ref()?;
        let Stage::Open { session, .. } = &mut self.stage else { return None };
        let extra = self.extra.as_deref_mut().filter(|extra| extra.next_publish == Some(due))?;
        extra.published += 1;
        let ticket = Ticket::new(extra.published);
        let topic = plan.identity.fill_in(plan.seed, self.g, &publishing.topic);
        match topic.try_into() {
            Ok(topic) => {
                let mut message = Message::new(topic, publishing.payload.clone());
                message.qos = publishing.qos;
                message.retain = publishing.retain;
                match session.publish(now, ticket, message) {
                    Ok(()) => extra.under_way.push_back((ticket, due)),
                    Err(_) => desk.note(self.g, FailureClass::PublishRefused, now),
                }
            }
            Err(_) => desk.note(self.g, FailureClass::PublishRefused, now),
        }
        let next = due + publishing.every;
        extra.next_publish = Some(next);
        Some(next)
    }

    fn give_up(&self, desk: &Desk) -> Option<Instant> {
        Some(desk.attempts.get(self.attempt?)?.give_up)
    }

    pub(super) fn deadline(&self, desk: &Desk) -> Option<Instant> {
        let (session, link) = match &self.stage {
            Stage::Waiting => return None,
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
    number: u32,
    g: u32,
    attempt: &'a mut Option<u32>,
    end: &'a mut Option<Box<End>>,
    extra: &'a mut Option<Box<Extra>>,
    now: Instant,
    desk: &'a mut Desk,
}

impl Inbox for ClientInbox<'_> {
    fn message(&mut self, _: Received<'_>) -> Verdict {
        self.desk.job.counters.count_received();
        Verdict::Ack
    }
}

impl LinkInbox for ClientInbox<'_> {
    fn event(&mut self, session: &mut Session, event: Event) {
        let since = |then: Instant| self.now.saturating_duration_since(then);
        match event {
            Event::Connected(_) => self.connected(session),
            Event::Pong { rtt } => {
                self.desk.stats.record(Phase::PingResp, rtt);
                self.desk.job.counters.count_pong();
                if rtt > LATE_PONG {
                    self.desk.note(self.g, FailureClass::PingLate, self.now);
                }
            }
            Event::Published { ticket, result } => {
                let under_way = self.extra.as_mut().map(|extra| &mut extra.under_way);
                let due = under_way.and_then(|under_way| {
                    let place = under_way.iter().position(|(known, _)| *known == ticket)?;
                    Some(under_way.remove(place)?.1)
                });
                match (result, due) {
                    (Ok(_), due) => {
                        self.desk.job.counters.count_published();
                        if let Some(due) = due {
                            self.desk.stats.record(Phase::PubAck, since(due));
                        }
                    }
                    (Err(_), _) => self.desk.note(self.g, FailureClass::PublishRefused, self.now),
                }
            }
            Event::Subscribed { result, .. } => {
                let sent = self.extra.as_mut().and_then(|extra| extra.subscribe_sent.take());
                match result {
                    Ok(receipt) => match receipt.reasons.first() {
                        Some(reason) if reason.is_error() => {
                            let class = FailureClass::SubAckRefused(*reason);
                            self.desk.note(self.g, class, self.now);
                        }
                        _ => {
                            if let Some(sent) = sent {
                                self.desk.stats.record(Phase::SubAck, since(sent));
                            }
                        }
                    },
                    Err(_) => self.desk.note(self.g, FailureClass::SubAckTimeout, self.now),
                }
            }
            Event::Closing(end) => *self.end = Some(end),
            _ => {}
        }
    }
}

impl ClientInbox<'_> {
    fn connected(&mut self, session: &mut Session) {
        let Some(attempt) = self.attempt.take() else { return };
        let lost_at = self.extra.as_mut().and_then(|extra| {
            if let Some(backoff) = &mut extra.backoff {
                backoff.handle_connected(self.now);
            }
            extra.lost_at.take()
        });
        self.desk.connected(attempt, lost_at, self.now);
        let plan = Arc::clone(&self.desk.job.plan);
        if let Some(subscribing) = &plan.traffic.subscribe {
            let extra = self.extra.get_or_insert_default();
            if !std::mem::replace(&mut extra.subscribed, true) {
                let filter = plan.identity.fill_in(plan.seed, self.g, &subscribing.filter);
                let asked = filter.try_into().is_ok_and(|filter| {
                    let request = SubscribeRequest {
                        filters: vec![(filter, subscribing.options)],
                        properties: Properties::default(),
                    };
                    session.subscribe(self.now, SUBSCRIPTION, request).is_ok()
                });
                if asked {
                    extra.subscribe_sent = Some(self.now);
                } else {
                    self.desk.note(self.g, FailureClass::SubAckTimeout, self.now);
                }
            }
        }
        if let Some(publishing) = &plan.traffic.publish {
            // Clients that connect together do not publish together.
            let spread = plan.seed.session_seed(self.g) >> 32;
            let wait = publishing.every.mul_f64(spread as f64 / f64::from(u32::MAX));
            let first = self.now + wait;
            self.extra.get_or_insert_default().next_publish = Some(first);
            self.desk.publishers.push(Reverse((first, self.number)));
        }
    }
}
