//! The driver task of a client: it connects, moves bytes, acts on commands, and connects again.
//!
//! ```text
//! dial --stream--> serve --ended--> wait --time up--> dial
//!   \--failed------------------------^      commands are taken in all three
//! ```

mod connecting;

use std::cell::Cell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::codec::{Properties, ReasonCode};
use crate::driver::{Link, LinkInbox, Scratch};
use crate::net;
use crate::session::{RefusedReason, Session, SubscribeRequest, Ticket, UnsubscribeRequest, Why};

use super::OutgoingMessage;
use super::callbacks::HookCaller;
use super::dialing::Dialing;
use super::dispatch::{Connection, Dispatch, Expiry};
use super::error::{DisconnectError, PublishError, RequestError};
use super::handle::{subscribe_bytes, unsubscribe_bytes};
use super::hooks::LogLevel;
use super::info::{CloseReason, State};
use super::mailbox::Command;
use super::options::{Offline, OutgoingQueue, Overflow};
use super::shared::Shared;
use super::store_file::{Restored, Store, StoreError};
use super::timers::Alarm;
use connecting::{Outcome, Served};

/// Runs one client.
pub(super) struct Task {
    session: Session,
    dispatch: Dispatch,
    dialing: Dialing,
    alarm: Alarm,
    farewell: Option<Box<Farewell>>,
}

/// How the client is to end.
enum Farewell {
    /// Somebody asked for it.
    Asked(Asked),
    /// What was admitted has until then to be finished: nobody can ask for anything any more, or
    /// somebody asked for that.
    HandlesGone { by: Instant },
    /// The broker is to notice that nobody took leave.
    Aborted,
}

/// What the broker is to be told, and who waits for that.
struct Asked {
    reason: ReasonCode,
    properties: Properties,
    done: Option<oneshot::Sender<Result<(), DisconnectError>>>,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: Session,
        hooks: HookCaller,
        alarm: Alarm,
        dialing: Dialing,
    ) -> Task {
        Task { session, dispatch: Dispatch::new(shared, hooks), dialing, alarm, farewell: None }
    }

    /// Waits for messages that an earlier process has left.
    pub(super) fn await_restored(&mut self, restored: &Restored) {
        self.dispatch.await_restored(restored);
    }

    /// Lives on `runtime` until the client ends.
    ///
    /// Not an `async fn`, whose future would have room for the task twice: as its argument and as
    /// what it works on.
    pub(super) fn spawn(mut self, runtime: &runtime::Handle) {
        let span = tracing::info_span!("mqtt", client_id = self.session.client_id());
        let life = async move {
            // Nothing of this future is as large as what it awaits, which is boxed: a client that is
            // connected carries neither the ways to connect nor what came of them.
            let reason = loop {
                let attempt = self.dispatch.attempts.saturating_add(1);
                self.dispatch.attempts = attempt;
                self.dispatch.shared.state.set(State::Connecting { attempt });
                let outcome = 'attempt: {
                    let mut link = match Box::pin(self.dial()).await {
                        Ok(link) => link,
                        Err(outcome) => break 'attempt *outcome,
                    };
                    let served = poll_fn(|cx| self.poll_online(cx, &mut link)).await;
                    drop(link);
                    self.detach(served)
                };
                let delay = match self.consider(outcome) {
                    ControlFlow::Continue(delay) => delay,
                    ControlFlow::Break(reason) => break reason,
                };
                if let Err(reason) = Box::pin(self.wait(delay)).await {
                    break reason;
                }
            };
            tracing::info!(%reason, "client ended");
            self.dispatch.hooks.log(LogLevel::Info, || format!("ended: {}", chain(&reason)));
            self.finish(reason);
        };
        // Boxed, since Tokio rounds up what it allocates to a multiple of 128 bytes. Where nobody
        // traces, there is no room for a span.
        if span.is_none() {
            runtime.spawn(Box::pin(life));
        } else {
            runtime.spawn(Box::pin(life.instrument(span)));
        }
    }

    /// Waits for the next attempt; fails when the client is to end.
    async fn wait(&mut self, delay: Duration) -> Result<(), CloseReason> {
        tracing::debug!(?delay, "connecting again later");
        let attempt = self.dispatch.attempts.saturating_add(1);
        self.dispatch.shared.state.set(State::Waiting { delay, attempt });
        let until = now().checked_add(delay);
        self.dispatch.hurried = false;
        poll_fn(|cx| match self.poll_offline(cx, until) {
            Poll::Pending if self.dispatch.hurried => Poll::Ready(Ok(())),
            polled => polled,
        })
        .await
    }

    /// Why the client ends when nothing went wrong with a connection.
    fn stopped(&self) -> CloseReason {
        match (self.dispatch.hooks.panicked(), self.store_failure()) {
            (Some(hook), _) => CloseReason::HookPanicked(hook),
            (None, Some(error)) => CloseReason::Store(error),
            (None, None) => CloseReason::User,
        }
    }

    /// Takes commands while there is no connection. Ready with `Ok` at `until`, with `Err` when
    /// the client is to end.
    fn poll_offline(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<Result<(), CloseReason>> {
        loop {
            let (now, next_expiry) = self.take_commands(cx);
            self.pass_events();
            if self.dispatch.shared.store.is_some() {
                self.dispatch.poll_stored(cx);
            }
            self.dispatch.settle();
            let grace = match self.farewell.as_deref() {
                Some(Farewell::Asked(_) | Farewell::Aborted) => {
                    return Poll::Ready(Err(self.stopped()));
                }
                Some(Farewell::HandlesGone { by }) if now >= *by || self.dispatch.is_idle() => {
                    return Poll::Ready(Err(self.stopped()));
                }
                Some(Farewell::HandlesGone { by }) => Some(*by),
                None => None,
            };
            if self.dispatch.hooks.panicked().is_some() || self.store_failure().is_some() {
                return Poll::Ready(Err(self.stopped()));
            }
            if until.is_some_and(|until| now >= until) {
                return Poll::Ready(Ok(()));
            }
            let retry = self.dispatch.store_retry();
            if self.poll_timer(now, [until, grace, next_expiry, retry]).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Begins with a connection, to be polled with [`poll_online`](Self::poll_online).
    fn attach(&mut self, connected: net::Connected, deadline: Option<Instant>) -> Link {
        self.session.handle_connected(now());
        self.dispatch.connection = Connection::new(connected.peer, deadline);
        Link::new(connected.stream)
    }

    /// Takes note that the connection is gone.
    fn detach(&mut self, served: Served) -> Outcome {
        self.session.handle_disconnected(now());
        self.dispatch.shared.mailbox.set_online(false);
        self.pass_events();
        self.refuse_unsent();
        self.dispatch.settle();
        self.outcome(served)
    }

    fn poll_online(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Served> {
        // The session refuses commands while it closes its link: they wait for the next one.
        let mut closing = false;
        let mut next_expiry = None;
        loop {
            let now = if closing || self.dispatch.connection.has_ended() {
                self.dispatch.shared.mailbox.watch(cx);
                now()
            } else {
                let (now, expiry) = self.take_commands(cx);
                next_expiry = expiry;
                if let Some(Farewell::Aborted) = self.farewell.as_deref() {
                    return Poll::Ready(Served::Aborted);
                }
                now
            };
            let end = with_scratch(|scratch| {
                link.poll(cx, now, &mut self.session, scratch, &mut self.dispatch)
            });
            let was_full = !self.dispatch.wants_input();
            self.dispatch.settle();
            if let Poll::Ready(end) = end {
                return Poll::Ready(Served::Link(end));
            }
            // What has arrived is read before anything counts as late: this task may be.
            if !closing && !self.dispatch.connection.has_ended() && self.handle_timeout(now) {
                closing = true; // It may be: the link is to hear of it first.
                continue;
            }
            let session_timeout = self.session.poll_timeout().map(|(at, _)| at);
            let retry = self.dispatch.store_retry();
            let mut deadlines = [session_timeout, None, None, next_expiry, retry];
            if self.store_failure().is_some() {
                return Poll::Ready(Served::Aborted);
            }
            if !self.dispatch.connection.has_ended() {
                closing = self.poll_farewell(now);
                if closing || was_full && self.dispatch.wants_input() {
                    continue;
                }
                if self.dispatch.connection.accepted_at().is_none() {
                    let deadline = self.dispatch.connection.deadline();
                    if deadline.is_some_and(|deadline| now >= deadline) {
                        return Poll::Ready(Served::NoAnswer);
                    }
                    deadlines[1] = deadline;
                }
                if let Some(Farewell::HandlesGone { by }) = self.farewell.as_deref() {
                    deadlines[2] = Some(*by);
                }
            } else {
                deadlines = [link.poll_timeout(), None, None, None, retry];
            }
            if self.poll_timer(now, deadlines).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Acts on the deadlines of the session that have passed, and says whether there were any.
    fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some((at, why)) = self.session.poll_timeout() else { return false };
        if at > now {
            return false;
        }
        self.session.handle_timeout(now);
        if why == Why::Ping {
            // A ping is due when nothing else was sent for long.
            self.dispatch.shared.mailbox.shrink();
            self.dispatch.shrink();
        }
        true
    }

    /// Begins the end if its time has come. What was admitted before and could be written at once
    /// has been.
    fn poll_farewell(&mut self, now: Instant) -> bool {
        if self.dispatch.hooks.panicked().is_some() {
            // The application did not want this end: the will is published. In 3.x the session
            // closes the link without a DISCONNECT for that.
            let reason = ReasonCode::DISCONNECT_WITH_WILL;
            return self.session.disconnect(now, reason, Properties::default()).is_ok();
        }
        if self.dispatch.connection.is_overrun() && self.farewell.is_none() {
            let reason = ReasonCode::QUOTA_EXCEEDED;
            return self.session.disconnect(now, reason, Properties::default()).is_ok();
        }
        match self.farewell.as_deref_mut() {
            Some(Farewell::Asked(asked)) => {
                let properties = std::mem::take(&mut asked.properties);
                match self.session.disconnect(now, asked.reason, properties) {
                    Ok(()) => true,
                    Err(refused) => {
                        tracing::debug!(reason = %refused.reason, "disconnect refused");
                        if let Some(done) = asked.done.take() {
                            let _ = done.send(Err(refused.reason.into()));
                        }
                        self.farewell = None;
                        false
                    }
                }
            }
            Some(Farewell::HandlesGone { by }) if now >= *by || self.dispatch.is_idle() => {
                self.session.disconnect(now, ReasonCode::SUCCESS, Properties::default()).is_ok()
            }
            _ => false,
        }
    }

    fn pass_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.dispatch.event(&mut self.session, event);
        }
    }

    /// Deals with what the handles ask, and with what has taken too long. Returns the time, and when
    /// something will have.
    fn take_commands(&mut self, cx: &mut Context<'_>) -> (Instant, Option<Instant>) {
        let mut batch = BATCH.take();
        let mailbox = &self.dispatch.shared.mailbox;
        let taken = mailbox.take(cx, &mut batch);
        // Not before the mailbox knows whom to wake: see `Alarm::poll`.
        let now = now();
        self.dispatch.reading_paused = taken.reading_paused;
        let waiter_expiry = taken.deadlines.then(|| mailbox.expire(now)).flatten();
        for command in batch.drain(..) {
            self.command(now, command);
        }
        if batch.capacity() <= LARGEST_SPARE {
            BATCH.set(batch);
        }
        self.dispatch.expire(now, &mut self.session);
        (now, self.dispatch.next_expiry().into_iter().chain(waiter_expiry).min())
    }

    /// Drops the oldest messages that are not sent, if there are more than may be.
    fn make_room(&mut self, limit: OutgoingQueue) {
        loop {
            let (messages, bytes) = self.dispatch.outstanding();
            if messages <= limit.messages && (bytes <= limit.bytes || messages <= 1) {
                return;
            }
            let Some(ticket) = self.session.oldest_unsent() else { return };
            let Some(message) = self.dispatch.take_back(&mut self.session, ticket) else { return };
            self.dispatch.published(ticket, Err(PublishError::Dropped(Box::new(message))));
        }
    }

    /// Ends the messages that are not to wait for another connection.
    fn refuse_unsent(&mut self) {
        let offline = self.dispatch.shared.mailbox.limit().offline;
        if offline == Offline::Keep {
            return;
        }
        let refused = self.session.take_unsent(|message| offline.refuses(message.qos));
        self.dispatch.store_changes(&mut self.session);
        for (ticket, message) in refused {
            self.dispatch.published(ticket, Err(PublishError::Offline(Box::new(message))));
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Publish { ticket, message, deadline, done } => {
                let expiry = Expiry::new(now, message.expiry(), deadline);
                let refused_offline = !self.session.is_connected()
                    && !self.dispatch.ending
                    && self.dispatch.shared.mailbox.limit().offline.refuses(message.qos);
                self.dispatch.await_publish(ticket, message.queued_bytes(), expiry, done);
                self.publish(now, ticket, message);
                let limit = *self.dispatch.shared.mailbox.limit();
                // It was admitted while there was a connection.
                if refused_offline
                    && let Some(message) = self.dispatch.take_back(&mut self.session, ticket)
                {
                    let error = PublishError::Offline(Box::new(message));
                    self.dispatch.published(ticket, Err(error));
                }
                if limit.overflow == Overflow::DropOldest {
                    self.make_room(limit);
                }
            }
            Command::Cancel { ticket, done } => {
                if let Some(message) = self.dispatch.take_back(&mut self.session, ticket) {
                    self.dispatch.published(ticket, Err(PublishError::Cancelled));
                    let _ = done.send(message);
                }
            }
            Command::Subscribe { ticket, request, route, done } => {
                let bytes = subscribe_bytes(&request);
                self.dispatch.await_subscribe(ticket, bytes, route, done);
                self.subscribe(now, ticket, request);
            }
            Command::Unsubscribe { ticket, request, done } => {
                let filters = request.filters.clone();
                let bytes = unsubscribe_bytes(&request);
                self.dispatch.await_unsubscribe(ticket, bytes, filters, done);
                self.unsubscribe(now, ticket, request);
            }
            Command::Unroute { ticket, route, keep } => {
                if let Some(filter) = self.dispatch.remove_route(route)
                    && !keep
                {
                    self.dispatch.await_farewell(ticket);
                    let properties = Properties::default();
                    let request = UnsubscribeRequest { filters: vec![filter], properties };
                    self.unsubscribe(now, ticket, request);
                }
            }
            Command::Ack { handle, reason, properties } => {
                let properties = properties.map_or_else(Properties::default, |boxed| *boxed);
                let acknowledged = self.session.ack_with(now, handle, reason, properties);
                debug_assert!(acknowledged.is_ok(), "checked by AckHandle");
            }
            Command::Forsake { handle } => self.session.forsake(handle),
            Command::Respond { topic } => self.dispatch.await_responses(topic),
            Command::AwaitResponse { correlation, done } => {
                if let Some(responses) = &mut self.dispatch.responses {
                    responses.await_response(correlation, done);
                }
            }
            Command::ForgetResponse { correlation } => {
                if let Some(responses) = &mut self.dispatch.responses {
                    responses.forget(correlation);
                }
            }
            Command::Flush { ticket, done } => self.dispatch.await_flush(ticket, done),
            Command::Disconnect { reason, properties, done } => match self.farewell.as_deref() {
                Some(Farewell::Asked(_)) => {
                    if let Some(done) = done {
                        let _ = done.send(Err(DisconnectError::Closed));
                    }
                }
                // With or without a connection: it is refused while the client can go on.
                _ => match self.session.check_disconnect(reason, &properties) {
                    Ok(()) => {
                        let asked = Asked { reason, properties, done };
                        self.farewell = Some(Box::new(Farewell::Asked(asked)));
                    }
                    Err(reason) => {
                        tracing::debug!(%reason, "disconnect refused");
                        let _ = done.map(|done| done.send(Err(reason.into())));
                    }
                },
            },
            Command::Drain { by, done } => {
                // Who comes second is told that the client has ended.
                if self.farewell.is_none() && self.dispatch.begin_drain(done) {
                    self.farewell = Some(Box::new(Farewell::HandlesGone { by }));
                }
            }
            Command::Abort => {
                let before = self.farewell.replace(Box::new(Farewell::Aborted));
                if let Some(Farewell::Asked(asked)) = before.map(|farewell| *farewell)
                    && let Some(done) = asked.done
                {
                    let _ = done.send(Err(DisconnectError::Closed));
                }
            }
            Command::Reauthenticate { done } => self.reauthenticate(now, done),
            Command::ReconnectNow => self.dispatch.hurried = true,
            Command::HandlesGone => {
                let by = now + DROP_GRACE;
                self.farewell.get_or_insert_with(|| Box::new(Farewell::HandlesGone { by }));
            }
        }
    }

    fn publish(&mut self, now: Instant, ticket: Ticket, message: OutgoingMessage) {
        if let Err(refused) = self.session.publish(now, ticket, message) {
            let error = match refused.reason {
                RefusedReason::Disconnecting => PublishError::Closed { maybe_delivered: false },
                reason => PublishError::Invalid(reason),
            };
            self.dispatch.published(ticket, Err(error));
        }
    }

    fn subscribe(&mut self, now: Instant, ticket: Ticket, request: SubscribeRequest) {
        if let Err(refused) = self.session.subscribe(now, ticket, request) {
            self.dispatch.subscribed(ticket, Err(request_error(refused.reason)));
        }
    }

    fn unsubscribe(&mut self, now: Instant, ticket: Ticket, request: UnsubscribeRequest) {
        if let Err(refused) = self.session.unsubscribe(now, ticket, request) {
            self.dispatch.unsubscribed(ticket, Err(request_error(refused.reason)));
        }
    }

    /// Waits for the earliest of the deadlines.
    fn poll_timer<const N: usize>(
        &mut self,
        now: Instant,
        deadlines: [Option<Instant>; N],
    ) -> Poll<()> {
        let Some(at) = deadlines.into_iter().flatten().min() else { return Poll::Pending };
        self.alarm.poll(&self.dispatch.shared, now, at)
    }

    /// Ends everything that is not finished, and tells everybody.
    fn finish(&mut self, reason: CloseReason) {
        self.dispatch.ending = true;
        let leftover = self.dispatch.shared.mailbox.close();
        let now = now();
        for command in leftover {
            self.command(now, command);
        }
        self.dispatch.leave_unsent(&mut self.session);
        if let Some(Farewell::Asked(asked)) = self.farewell.as_deref_mut()
            && let Some(done) = asked.done.take()
        {
            // There was no connection to say anything on.
            let _ = done.send(Ok(()));
        }
        self.session.abandon();
        self.pass_events();
        self.close(reason);
    }

    /// Why the store cannot be relied on any more, if so.
    fn store_failure(&self) -> Option<StoreError> {
        self.dispatch.shared.store.as_ref().and_then(Store::broken)
    }

    fn close(&mut self, reason: CloseReason) {
        if let Some(store) = &self.dispatch.shared.store {
            store.close();
        }
        self.dispatch.finish_drain();
        self.dispatch.end_streams();
        self.dispatch.shared.state.set(State::Closed(reason));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.alarm.stop(&self.dispatch.shared);
        if !matches!(self.dispatch.shared.state.get(), State::Closed(_)) {
            drop(self.dispatch.shared.mailbox.close());
            self.close(CloseReason::RuntimeStopped);
        }
    }
}

fn request_error(reason: RefusedReason) -> RequestError {
    match reason {
        RefusedReason::Disconnecting => RequestError::Closed,
        reason => RequestError::Invalid(reason),
    }
}

/// The error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The time, which a test of the application may have paused.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Lends the buffers of this thread. Each poll of a driver task is over before the next begins, so
/// one set per thread is enough; a task polled within another makes one for itself.
fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    }
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

thread_local! {
    /// The list that is exchanged with those of the mailboxes. One per thread is enough: it is empty
    /// but while a driver task deals with its commands.
    static BATCH: Cell<Vec<Command>> = const { Cell::new(Vec::new()) };
}

/// A list with room for more commands than that is not kept for the next burst.
const LARGEST_SPARE: usize = 4096;

/// How long a client goes on after its last handle was dropped, for the sake of what it was given
/// before.
const DROP_GRACE: Duration = Duration::from_secs(1);
