//! Where messages and events go: to the hooks first, then to the streams and to those who wait.

mod connection;
mod messages;
mod pending;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::codec::{Packet, QoS, TopicFilter, TopicName};
use crate::driver::{Direction, LinkInbox};
use crate::session::{
    Event, PublishFailure, Receipt, RequestFailure, Session, SubscribeReceipt, Ticket,
};

use super::OutgoingMessage;
use super::callbacks::HookCaller;
use super::error::{PublishError, RequestError};
use super::hooks::LogLevel;
use super::info::DrainReport;
use super::request::Responses;
use super::router::{Route, Router};
use super::shared::Shared;
use super::store_file::Restored;
use super::stream::Queue;
use super::task::{chain, now};
pub(super) use connection::{Connection, ReauthenticationWaiter};
use pending::Outstanding;

/// Gives out what a session has to tell.
pub(super) struct Dispatch {
    pub(super) shared: Arc<Shared>,
    pub(super) hooks: HookCaller,
    /// What is admitted and not finished.
    pending: Outstanding<Pending>,
    /// Absent while there is no subscription with a stream.
    router: Option<Box<Router>>,
    /// Absent before the first request.
    pub(super) responses: Option<Box<Responses>>,
    /// What few clients need; absent while there is nothing in it.
    rare: Option<Box<Rare>>,
    /// The connection that is being made or is up.
    pub(super) connection: Connection,
    /// Attempts to connect since the last connection.
    pub(super) attempts: u32,
    /// Somebody does not want to wait for the next one.
    pub(super) hurried: bool,
    /// A handle wants the socket not to be read.
    pub(super) reading_paused: bool,
    /// The client is ending for good.
    pub(super) ending: bool,
}

/// Who waits for the end of a command.
enum Pending {
    Publish {
        bytes: usize,
        expiry: Option<Box<Expiry>>,
        done: Option<oneshot::Sender<Result<Receipt, PublishError>>>,
    },
    Subscribe {
        bytes: usize,
        done: RequestWaiter,
    },
    Unsubscribe {
        bytes: usize,
        filters: Vec<TopicFilter>,
        done: RequestWaiter,
    },
    /// Sent for a stream that was dropped; nobody waits, and it took no room.
    Farewell,
    /// A message whose waiter was told that it has expired, while it is on its way.
    Unheard {
        bytes: usize,
    },
}

/// When a message ends, whether it is confirmed or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// When it is looked at next.
    pub(super) next: Instant,
    /// When its waiter is told, even if it was sent.
    pub(super) deadline: Option<Instant>,
}

impl Expiry {
    /// When a message ends that is worth sending and worth waiting for so long; `None` if for ever.
    pub(super) fn new(
        now: Instant,
        unsent: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Option<Expiry> {
        let unsent = unsent.and_then(|unsent| now.checked_add(unsent));
        let next = unsent.into_iter().chain(deadline).min()?;
        Some(Expiry { next, deadline })
    }
}

type RequestWaiter = Option<oneshot::Sender<Result<SubscribeReceipt, RequestError>>>;

/// What most clients do without.
#[derive(Default)]
struct Rare {
    /// Queues with more in them than they are meant for.
    overfull: Vec<Arc<Queue>>,
    /// The inbox has more in it than it is meant for.
    inbox_overfull: bool,
    flushes: Vec<Flush>,
    /// The messages that end at a certain time, by that time.
    expiries: BTreeSet<(Instant, Ticket)>,
    /// How many of the pending are [`Pending::Unheard`].
    unheard_count: usize,
    /// How many of the pending are [`Pending::Farewell`].
    farewell_count: usize,
    /// When a store that failed is tried again.
    store_retry: Option<Instant>,
    /// What is to be reported of the messages before a certain one.
    drain: Option<Drain>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        !self.is_overfull()
            && self.flushes.is_empty()
            && self.expiries.is_empty()
            && self.unheard_count == 0
            && self.farewell_count == 0
            && self.store_retry.is_none()
            && self.drain.is_none()
    }

    /// Whether a queue has more in it than it is meant for.
    fn is_overfull(&self) -> bool {
        self.inbox_overfull || !self.overfull.is_empty()
    }

    /// Takes note of a stream with more in it than it is meant for, if that was not known.
    fn note_overfull(&mut self, queue: &Arc<Queue>) -> bool {
        let known = self.overfull.iter().any(|known| Arc::ptr_eq(known, queue));
        if !known {
            self.overfull.push(Arc::clone(queue));
        }
        !known
    }
}

/// Gathers what becomes of the messages that are pending when it comes.
struct Drain {
    /// Who gets the report.
    done: oneshot::Sender<DrainReport>,
    report: DrainReport,
    /// Whether the messages of QoS 1 and 2 that are left stay in a store.
    durable: bool,
}

impl Drain {
    fn new(done: oneshot::Sender<DrainReport>, durable: bool) -> Drain {
        Drain { done, report: DrainReport::default(), durable }
    }

    fn note(&mut self, result: &Result<Receipt, PublishError>) {
        match result {
            Ok(_) => self.report.confirmed += 1,
            Err(PublishError::Closed { maybe_delivered: true }) => self.report.unconfirmed += 1,
            Err(PublishError::Closed { maybe_delivered: false }) => self.report.stored += 1,
            Err(_) => self.report.failed += 1,
        }
    }

    /// Takes the messages that will not be sent, where no store has them.
    fn leave(&mut self, session: &mut Session) -> Vec<(Ticket, OutgoingMessage)> {
        let durable = self.durable;
        session.take_unsent(|message| !durable || message.qos == QoS::AtMostOnce)
    }
}

/// Waits for all that was pending when it came.
struct Flush {
    /// The first ticket that it does not wait for.
    until: Ticket,
    left: usize,
    done: oneshot::Sender<()>,
}

impl Dispatch {
    pub(super) fn new(shared: Arc<Shared>, hooks: HookCaller) -> Dispatch {
        Dispatch {
            shared,
            hooks,
            pending: Outstanding::default(),
            router: None,
            responses: None,
            rare: None,
            connection: Connection::default(),
            attempts: 0,
            hurried: false,
            reading_paused: false,
            ending: false,
        }
    }

    /// Whether nothing is admitted and unfinished.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn await_publish(
        &mut self,
        ticket: Ticket,
        bytes: usize,
        expiry: Option<Expiry>,
        done: Option<oneshot::Sender<Result<Receipt, PublishError>>>,
    ) {
        if let Some(expiry) = &expiry {
            self.rare.get_or_insert_default().expiries.insert((expiry.next, ticket));
        }
        self.pending.insert(
            ticket,
            bytes,
            Pending::Publish { bytes, expiry: expiry.map(Box::new), done },
        );
    }

    /// Waits for messages that an earlier process has left.
    pub(super) fn await_restored(&mut self, restored: &Restored) {
        let (now, ledger) = (now(), &restored.ledger);
        let mut deadlines = restored.deadlines.iter().peekable();
        for (&ticket, entry) in &ledger.messages {
            let deadline = deadlines.next_if(|&&(of, _)| of == ticket);
            let deadline = deadline.and_then(|&(_, left)| now.checked_add(left));
            let expiry = Expiry::new(now, entry.expires_in, deadline);
            self.await_publish(ticket, entry.message.queued_bytes(), expiry, None);
        }
        let next = ledger.messages.last_key_value().map_or(0, |(ticket, _)| ticket.get()) + 1;
        let (messages, bytes) = self.outstanding();
        self.shared.mailbox.occupy(messages, bytes, Ticket::new(next));
    }

    /// How many messages and requests are not finished, and the room they take.
    pub(super) fn outstanding(&self) -> (usize, usize) {
        let farewell_count = self.rare.as_ref().map_or(0, |rare| rare.farewell_count);
        (self.pending.len() - farewell_count, self.pending.bytes())
    }

    /// When the next message expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.rare.as_ref()?.expiries.first().map(|&(at, _)| at)
    }

    /// Ends the messages whose time is up, unless they are on their way and only their Message
    /// Expiry Interval has passed.
    pub(super) fn expire(&mut self, now: Instant, session: &mut Session) {
        while let Some(&(at, ticket)) = self.rare.as_ref().and_then(|rare| rare.expiries.first())
            && at <= now
        {
            let message = self.take_back(session, ticket).map(Box::new);
            let rare = self.rare.get_or_insert_default();
            rare.expiries.remove(&(at, ticket));
            let Some(Pending::Publish { expiry, .. }) = self.pending.get_mut(ticket) else {
                continue;
            };
            let deadline = expiry.take().and_then(|expiry| expiry.deadline);
            match deadline {
                Some(deadline) if message.is_none() && deadline > now => {
                    let next = Expiry { next: deadline, deadline: Some(deadline) };
                    rare.expiries.insert((deadline, ticket));
                    *expiry = Some(Box::new(next));
                }
                None if message.is_none() => {}
                _ => self.expired(ticket, message),
            }
        }
    }

    /// Takes a message back that was not sent. It is not in the store any more, if the disk lets
    /// that be written: another process would send it.
    pub(super) fn take_back(
        &mut self,
        session: &mut Session,
        ticket: Ticket,
    ) -> Option<OutgoingMessage> {
        let message = session.cancel(ticket)?;
        self.store_changes(session);
        Some(message)
    }

    /// Passes on all events, and writes the changes among them down.
    pub(super) fn store_changes(&mut self, session: &mut Session) {
        while let Some(event) = session.poll_event() {
            self.event(session, event);
        }
        if let Some(store) = &self.shared.store {
            store.write();
        }
    }

    /// Tells the waiter of a message; one that was sent goes on being delivered without it.
    fn expired(&mut self, ticket: Ticket, message: Option<Box<OutgoingMessage>>) {
        let sent = message.is_none();
        let bytes = self.told(ticket, Err(PublishError::Expired { message }));
        match bytes {
            // It takes its room for as long as it is on its way.
            Some(bytes) if sent => {
                self.rare.get_or_insert_default().unheard_count += 1;
                self.pending.replace(ticket, Pending::Unheard { bytes });
            }
            Some(bytes) => self.pending.free(bytes),
            None => {}
        }
    }

    pub(super) fn await_subscribe(
        &mut self,
        ticket: Ticket,
        bytes: usize,
        route: Option<Route>,
        done: RequestWaiter,
    ) {
        if let Some(route) = route {
            self.router.get_or_insert_default().insert(route);
        }
        self.pending.insert(ticket, bytes, Pending::Subscribe { bytes, done });
    }

    pub(super) fn await_unsubscribe(
        &mut self,
        ticket: Ticket,
        bytes: usize,
        filters: Vec<TopicFilter>,
        done: RequestWaiter,
    ) {
        self.pending.insert(ticket, bytes, Pending::Unsubscribe { bytes, filters, done });
    }

    pub(super) fn await_farewell(&mut self, ticket: Ticket) {
        self.rare.get_or_insert_default().farewell_count += 1;
        self.pending.insert(ticket, 0, Pending::Farewell);
    }

    /// Answers once everything that is pending has ended. `until` is the ticket of the flush.
    pub(super) fn await_flush(&mut self, until: Ticket, done: oneshot::Sender<()>) {
        let unheard_count = self.rare.as_ref().map_or(0, |rare| rare.unheard_count);
        match self.pending.len() - unheard_count {
            0 => drop(done.send(())),
            left => {
                let flush = Flush { until, left, done };
                self.rare.get_or_insert_default().flushes.push(flush);
            }
        }
    }

    /// Takes the messages of `topic` for responses from here on.
    pub(super) fn await_responses(&mut self, topic: TopicName) {
        self.responses.get_or_insert_with(|| Box::new(Responses::new(topic)));
    }

    /// Takes a route away; returns its filter if no other route has the same.
    pub(super) fn remove_route(&mut self, number: u64) -> Option<TopicFilter> {
        let router = self.router.as_mut()?;
        let filter = router.remove(number)?.filter;
        let last = !router.has_filter(&filter);
        if router.is_empty() {
            self.router = None;
        }
        last.then_some(filter)
    }

    /// Ends the streams of filters that are not subscribed any more.
    fn end_routes(&mut self, filters: &[TopicFilter]) {
        if let Some(requests) = self.shared.requests_so_far() {
            filters.iter().for_each(|filter| requests.handle_gone(filter));
        }
        let Some(router) = &mut self.router else { return };
        for route in filters.iter().flat_map(|filter| router.remove_filter(filter)) {
            route.queue.end();
        }
        if router.is_empty() {
            self.router = None;
        }
    }

    /// When a store that failed is tried again.
    pub(super) fn store_retry(&self) -> Option<Instant> {
        self.rare.as_ref()?.store_retry
    }

    /// Reports what becomes of what is pending, unless that is being done already.
    pub(super) fn begin_drain(&mut self, done: oneshot::Sender<DrainReport>) -> bool {
        let durable = self.shared.store.is_some();
        let drain = &mut self.rare.get_or_insert_default().drain;
        let begins = drain.is_none();
        drain.get_or_insert_with(|| Drain::new(done, durable));
        begins
    }

    /// Ends what will not be sent and what no store has, for the report of a drain.
    pub(super) fn leave_unsent(&mut self, session: &mut Session) {
        let Some(mut drain) = self.rare.as_mut().and_then(|rare| rare.drain.take()) else { return };
        for (ticket, message) in drain.leave(session) {
            drain.report.unsent.push(message);
            self.published(ticket, Err(PublishError::Closed { maybe_delivered: false }));
        }
        self.rare.get_or_insert_default().drain = Some(drain);
    }

    /// Gives the report of a drain, if there was one.
    pub(super) fn finish_drain(&mut self) {
        if let Some(drain) = self.rare.as_mut().and_then(|rare| rare.drain.take()) {
            let _ = drain.done.send(drain.report);
        }
    }

    /// Gives back the room of what has ended, and looks which streams have caught up.
    pub(super) fn settle(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.overfull.retain(|queue| queue.is_overfull());
            rare.inbox_overfull &= self.shared.inbox.is_overfull();
            if rare.is_empty() {
                self.rare = None;
            }
        }
        if let Some((messages, bytes)) = self.pending.take_freed() {
            self.shared.mailbox.release(messages, bytes);
        }
    }

    /// Gives back the memory of a past burst.
    pub(super) fn shrink(&mut self) {
        self.pending.shrink();
        self.shared.inbox.shrink();
    }

    /// Lets all streams run out.
    pub(super) fn end_streams(&mut self) {
        self.shared.inbox.end();
        self.responses = None;
        for route in self.router.take().into_iter().flat_map(|router| router.into_routes()) {
            route.queue.end();
        }
    }

    pub(super) fn published(&mut self, ticket: Ticket, result: Result<Receipt, PublishError>) {
        if let Some(rare) = self.rare.as_mut().filter(|rare| rare.unheard_count > 0)
            && let Some(&mut Pending::Unheard { bytes }) = self.pending.get_mut(ticket)
        {
            rare.unheard_count -= 1;
            self.pending.remove(ticket);
            self.pending.free(bytes);
        } else if let Some(bytes) = self.told(ticket, result) {
            self.pending.free(bytes);
        }
    }

    /// Tells of the end of a message. Returns the room that it has taken, if it was pending.
    fn told(&mut self, ticket: Ticket, result: Result<Receipt, PublishError>) -> Option<usize> {
        self.hooks.on_publish(ticket, &result);
        let counters = self.shared.counters();
        match &result {
            Ok(_) => counters.messages_published.add(1),
            Err(error) => {
                counters.publish_failures.add(1);
                match error {
                    PublishError::Dropped(_) | PublishError::Offline(_) => {
                        counters.publishes_dropped.add(1);
                    }
                    PublishError::Expired { .. } => counters.publishes_expired.add(1),
                    PublishError::Cancelled => counters.publishes_cancelled.add(1),
                    _ => {}
                }
                tracing::debug!(ticket = ticket.get(), %error, "publish failed");
                self.hooks.log(LogLevel::Debug, || {
                    format!("publish {} failed: {}", ticket.get(), chain(error))
                });
            }
        }
        if let Some(Rare { drain: Some(drain), .. }) = self.rare.as_deref_mut() {
            drain.note(&result);
        }
        let Some(Pending::Publish { bytes, expiry, done }) = self.take_pending(ticket) else {
            return None;
        };
        if let (Some(expiry), Some(rare)) = (expiry, &mut self.rare) {
            rare.expiries.remove(&(expiry.next, ticket));
        }
        // Nobody may be waiting any more.
        let _ = done.map(|done| done.send(result));
        Some(bytes)
    }

    pub(super) fn subscribed(
        &mut self,
        ticket: Ticket,
        result: Result<SubscribeReceipt, RequestError>,
    ) {
        self.hooks.on_subscribe(ticket, &result);
        let accepted = result
            .as_ref()
            .is_ok_and(|receipt| receipt.reasons.iter().any(|reason| !reason.is_error()));
        // After a time-out the broker may have it: the owner of the route ends it.
        if !accepted && !matches!(result, Err(RequestError::Timeout)) {
            self.remove_route(ticket.get());
        }
        if let Some(Pending::Subscribe { bytes, done }) = self.take_pending(ticket) {
            self.pending.free(bytes);
            let _ = done.map(|done| done.send(result));
        }
    }

    pub(super) fn unsubscribed(
        &mut self,
        ticket: Ticket,
        result: Result<SubscribeReceipt, RequestError>,
    ) {
        self.hooks.on_unsubscribe(ticket, &result);
        match self.take_pending(ticket) {
            Some(Pending::Unsubscribe { bytes, mut filters, done }) => {
                if let Ok(receipt) = &result {
                    let mut reasons = receipt.reasons.iter();
                    filters.retain(|_| !reasons.next().is_some_and(|reason| reason.is_error()));
                    self.end_routes(&filters);
                }
                self.pending.free(bytes);
                let _ = done.map(|done| done.send(result));
            }
            Some(Pending::Farewell) => {
                if let Some(rare) = &mut self.rare {
                    rare.farewell_count -= 1;
                }
            }
            _ => {}
        }
    }

    fn take_pending(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.pending.remove(ticket)?;
        if let Some(Rare { flushes, .. }) = self.rare.as_deref_mut()
            && !flushes.is_empty()
        {
            for flush in flushes.iter_mut().filter(|flush| ticket < flush.until) {
                flush.left -= 1;
            }
            for flush in flushes.extract_if(.., |flush| flush.left == 0) {
                let _ = flush.done.send(());
            }
        }
        Some(pending)
    }

    fn publish_error(&self, failure: PublishFailure) -> PublishError {
        match failure {
            PublishFailure::Lost { maybe_delivered } if self.ending => {
                PublishError::Closed { maybe_delivered }
            }
            failure => failure.into(),
        }
    }

    fn request_error(&self, failure: RequestFailure) -> RequestError {
        match failure {
            RequestFailure::Lost if self.ending => RequestError::Closed,
            failure => failure.into(),
        }
    }
}

impl LinkInbox for Dispatch {
    fn event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Connected(connected) => {
                if self.finish_authentication(session, &connected.properties) {
                    self.connected(session, *connected);
                }
            }
            Event::Authenticate { properties } => self.authenticate(session, &properties),
            Event::Reauthenticated { properties } => {
                if self.finish_authentication(session, &properties)
                    && let Some(done) = self.connection.take_reauthentication()
                {
                    let _ = done.send(Ok(()));
                }
            }
            Event::Published { ticket, result } => {
                self.published(ticket, result.map_err(|failure| self.publish_error(failure)));
            }
            Event::Subscribed { ticket, result } => {
                self.subscribed(ticket, result.map_err(|failure| self.request_error(failure)));
            }
            Event::Unsubscribed { ticket, result } => {
                self.unsubscribed(ticket, result.map_err(|failure| self.request_error(failure)));
            }
            Event::Resubscribed { reasons } => self.resubscribed(reasons),
            Event::Store(change) => {
                if let Some(store) = &self.shared.store {
                    store.append(change);
                }
            }
            Event::Pong { rtt } => tracing::trace!(?rtt, "ping answered"),
            Event::Closing(end) => {
                self.connection.incidents().end.get_or_insert(end);
            }
        }
    }

    fn idle(&mut self) {
        self.hooks.on_idle();
    }

    fn wants_input(&self) -> bool {
        // Without its CONNACK a connection would be given up.
        self.connection.accepted_at().is_none()
            || !self.reading_paused && self.rare.as_ref().is_none_or(|rare| !rare.is_overfull())
    }

    fn poll_stored(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(store) = &self.shared.store else { return true };
        match store.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                if let Some(rare) = &mut self.rare {
                    rare.store_retry = None;
                }
                true
            }
            Poll::Pending => false,
            Poll::Ready(Err(error)) => {
                let retry = &mut self.rare.get_or_insert_default().store_retry;
                if retry.is_none() {
                    tracing::warn!(%error, "nothing is sent until the store works again");
                }
                *retry = now().checked_add(STORE_RETRY);
                false
            }
        }
    }

    fn observes_packets(&self) -> bool {
        self.hooks.observes_packets()
    }

    fn packet(&mut self, direction: Direction, packet: &Packet<'_>, size: usize) {
        self.hooks.on_packet(direction, packet, size);
    }
}

/// How soon a store that failed is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);
