//! The hooks of a client: closures and one object, and the calls into them.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::codec::Packet;
use crate::driver::Direction;
use crate::session::{Receipt, SubscribeReceipt, Ticket};

use super::attempt::Attempt;
use super::authenticate::Authenticator;
use super::blocking;
use super::error::{ConnectError, PublishError, RequestError};
use super::handle::Handle;
use super::hooks::{BeforeConnect, Failure, Flow, Hooks, LogLevel, PacketView};
use super::info::{ConnectInfo, DisconnectInfo};
use super::message::MessageRef;
use super::options::ClientBuilder;

type Hook<T> = Option<Box<dyn FnMut(&T, &Handle) + Send>>;
type ResultHook<T, E> = Option<Box<dyn FnMut(Ticket, &Result<T, E>, &Handle) + Send>>;
type MessageHook = Option<Box<dyn FnMut(&MessageRef<'_>, &Handle) -> Flow + Send>>;
type IdleHook = Option<Box<dyn FnMut(&Handle) + Send>>;
type PacketHook = Option<Box<dyn FnMut(Direction, PacketView<'_>) + Send>>;
type PreConnectHook = Option<Box<dyn FnMut(&mut Attempt) + Send>>;
type BeforeConnectHook = Option<Box<dyn FnMut(Attempt) -> BeforeConnect + Send>>;
type RetryHook = Option<Box<dyn FnMut(Failure<'_>, Option<Duration>) -> Option<Duration> + Send>>;
type LogHook = Option<(LogLevel, Box<dyn FnMut(LogLevel, &str) + Send>)>;

/// The closures of one client.
#[derive(Default)]
pub(super) struct Callbacks {
    on_pre_connect: PreConnectHook,
    before_connect: BeforeConnectHook,
    on_connect: Hook<ConnectInfo>,
    on_connect_failure: Hook<ConnectError>,
    on_disconnect: Hook<DisconnectInfo>,
    on_retry: RetryHook,
    on_message: MessageHook,
    on_publish: ResultHook<Receipt, PublishError>,
    on_subscribe: ResultHook<SubscribeReceipt, RequestError>,
    on_unsubscribe: ResultHook<SubscribeReceipt, RequestError>,
    on_idle: IdleHook,
    on_packet: PacketHook,
    on_log: LogHook,
}

/// The hooks as they are set.
#[derive(Default)]
pub(super) struct HookSet {
    callbacks: Option<Box<Callbacks>>,
    object: Option<Box<dyn Hooks>>,
    authenticator: Option<Box<dyn Authenticator>>,
}

impl HookSet {
    pub(super) fn authentication_method(&self) -> Option<&str> {
        self.authenticator.as_ref().map(|authenticator| authenticator.method())
    }
}

/// # Hooks
///
/// What is said of [`Hooks`] holds for the closures too.
impl ClientBuilder {
    fn callbacks(&mut self) -> &mut Callbacks {
        self.hooks.callbacks.get_or_insert_default()
    }

    /// Sets the object that takes the calls of the client, after the closures.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.object = Some(Box::new(hooks));
        self
    }

    /// Sets what plays the client's part of an enhanced authentication (§4.12). 5.0 only.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.hooks.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Sets the hook for the time before each attempt to connect, which it may change.
    pub fn on_pre_connect(mut self, hook: impl FnMut(&mut Attempt) + Send + 'static) -> Self {
        self.callbacks().on_pre_connect = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the time before each attempt to connect, which it may change after some
    /// waiting. An error fails the attempt: see [`Hooks::before_connect`].
    ///
    /// ```
    /// use midge::Client;
    ///
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok("token".into()) }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Client::builder("mqtts://localhost")?.before_connect(|mut attempt| async move {
    ///     let token = fetch_token().await?;
    ///     attempt.username = Some("token".into());
    ///     attempt.password = Some(token.into_bytes().into());
    ///     Ok::<_, std::io::Error>(attempt)
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn before_connect<F, E>(
        mut self,
        mut hook: impl FnMut(Attempt) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Attempt, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.callbacks().before_connect = Some(Box::new(move |attempt| {
            let changed = hook(attempt);
            Box::pin(async move { changed.await.map_err(Into::into) })
        }));
        self
    }

    /// Sets the hook that decides about the next attempt to connect, when one has failed or a
    /// connection was lost. It gets the delay that is planned, `None` where the client would end,
    /// and returns the one to have.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use midge::client::Failure;
    /// use midge::{Client, ReasonCode};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A session that was taken over is taken back, in a minute.
    /// let builder = Client::builder("mqtt://localhost")?.on_retry(|failure, planned| match failure {
    ///     Failure::Disconnect(cause) if cause.reason() == ReasonCode::SESSION_TAKEN_OVER => {
    ///         Some(Duration::from_secs(60))
    ///     }
    ///     _ => planned,
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_retry(
        mut self,
        hook: impl FnMut(Failure<'_>, Option<Duration>) -> Option<Duration> + Send + 'static,
    ) -> Self {
        self.callbacks().on_retry = Some(Box::new(hook));
        self
    }

    /// Sets the hook for what the client has to say of its work, up to `level`. The same goes to
    /// `tracing`, with more about it.
    pub fn on_log(
        mut self,
        level: LogLevel,
        hook: impl FnMut(LogLevel, &str) + Send + 'static,
    ) -> Self {
        self.callbacks().on_log = Some((level, Box::new(hook)));
        self
    }

    /// Sets the hook for each connection that the broker accepts.
    pub fn on_connect(mut self, hook: impl FnMut(&ConnectInfo, &Handle) + Send + 'static) -> Self {
        self.callbacks().on_connect = Some(Box::new(hook));
        self
    }

    /// Sets the hook for each attempt to connect that fails.
    pub fn on_connect_failure(
        mut self,
        hook: impl FnMut(&ConnectError, &Handle) + Send + 'static,
    ) -> Self {
        self.callbacks().on_connect_failure = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the end of each accepted connection.
    pub fn on_disconnect(
        mut self,
        hook: impl FnMut(&DisconnectInfo, &Handle) + Send + 'static,
    ) -> Self {
        self.callbacks().on_disconnect = Some(Box::new(hook));
        self
    }

    /// Sets the hook for each message received, before the streams get it.
    ///
    /// This is the fast path: the message is lent from the bytes that arrived, and when the hook
    /// answers [`Flow::Taken`] nothing is copied or allocated for it.
    pub fn on_message(
        mut self,
        hook: impl FnMut(&MessageRef<'_>, &Handle) -> Flow + Send + 'static,
    ) -> Self {
        self.callbacks().on_message = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the end of each publish, before its [`Delivery`](super::Delivery) knows.
    pub fn on_publish(
        mut self,
        hook: impl FnMut(Ticket, &Result<Receipt, PublishError>, &Handle) + Send + 'static,
    ) -> Self {
        self.callbacks().on_publish = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the end of each subscribe, with one reason per filter.
    pub fn on_subscribe(
        mut self,
        hook: impl FnMut(Ticket, &Result<SubscribeReceipt, RequestError>, &Handle) + Send + 'static,
    ) -> Self {
        self.callbacks().on_subscribe = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the end of each unsubscribe.
    pub fn on_unsubscribe(
        mut self,
        hook: impl FnMut(Ticket, &Result<SubscribeReceipt, RequestError>, &Handle) + Send + 'static,
    ) -> Self {
        self.callbacks().on_unsubscribe = Some(Box::new(hook));
        self
    }

    /// Sets the hook for the moment when all bytes received so far are handled and no more are
    /// waiting: the time to write out what `on_message` gathered.
    pub fn on_idle(mut self, hook: impl FnMut(&Handle) + Send + 'static) -> Self {
        self.callbacks().on_idle = Some(Box::new(hook));
        self
    }

    /// Sets the hook for each packet, sent or received. Every packet is decoded once more for it.
    pub fn on_packet(
        mut self,
        hook: impl FnMut(Direction, PacketView<'_>) + Send + 'static,
    ) -> Self {
        self.callbacks().on_packet = Some(Box::new(hook));
        self
    }
}

/// Calls the hooks, one at a time, on the driver task and with no lock held.
pub(super) struct HookCaller {
    /// Absent where there are none.
    called: Option<Box<Called>>,
}

struct Called {
    hooks: HookSet,
    handle: Handle,
    observes_packets: bool,
    log_level: Option<LogLevel>,
    /// The hook that panicked: no other is called after it.
    panicked: Option<&'static str>,
}

/// Calls the closure and the method of a name.
macro_rules! call {
    ($caller:ident.$name:ident($($argument:expr),*)) => {{
        let Some(called) = $caller.called.as_deref_mut() else { return };
        let Called { hooks, handle, panicked, .. } = called;
        let HookSet { callbacks, object, .. } = hooks;
        if let Some(hook) = callbacks.as_mut().and_then(|callbacks| callbacks.$name.as_mut()) {
            contain(stringify!($name), panicked, || hook($($argument,)* handle));
        }
        if let Some(object) = object {
            contain(stringify!($name), panicked, || object.$name($($argument,)* handle));
        }
    }};
}

impl HookCaller {
    pub(super) fn new(hooks: HookSet, handle: Handle) -> HookCaller {
        let HookSet { callbacks, object, .. } = &hooks;
        let callbacks = callbacks.as_ref();
        let log_level = callbacks.and_then(|callbacks| Some(callbacks.on_log.as_ref()?.0));
        let log_level = log_level.max(object.as_ref().and_then(|object| object.log_level()));
        let observes_packets = callbacks.is_some_and(|callbacks| callbacks.on_packet.is_some())
            || object.as_ref().is_some_and(|object| object.observes_packets())
            || log_level == Some(LogLevel::Trace);
        let any = callbacks.is_some() || object.is_some() || hooks.authenticator.is_some();
        let called =
            || Box::new(Called { hooks, handle, observes_packets, log_level, panicked: None });
        HookCaller { called: any.then(called) }
    }

    /// The name of the hook that panicked, if one has.
    pub(super) fn panicked(&self) -> Option<&'static str> {
        self.called.as_ref()?.panicked
    }

    /// Whether an attempt to connect may be changed.
    pub(super) fn change_attempts(&self) -> bool {
        let Some(called) = &self.called else { return false };
        let HookSet { callbacks, object, .. } = &called.hooks;
        object.is_some()
            || callbacks.as_ref().is_some_and(|callbacks| {
                callbacks.on_pre_connect.is_some() || callbacks.before_connect.is_some()
            })
    }

    pub(super) fn on_pre_connect(&mut self, attempt: &mut Attempt) {
        let Some(Called { hooks, panicked, .. }) = self.called.as_deref_mut() else { return };
        let HookSet { callbacks, object, .. } = hooks;
        let callback = callbacks.as_mut().and_then(|hooks| hooks.on_pre_connect.as_mut());
        if let Some(hook) = callback {
            contain("on_pre_connect", panicked, || hook(attempt));
        }
        if let Some(object) = object {
            contain("on_pre_connect", panicked, || object.on_pre_connect(attempt));
        }
    }

    /// Begins with the closure, or after it with the method.
    pub(super) fn before_connect(
        &mut self,
        by: BeforeConnectBy,
        attempt: Attempt,
    ) -> Option<BeforeConnect> {
        let Called { hooks, panicked, .. } = self.called.as_deref_mut()?;
        let HookSet { callbacks, object, .. } = hooks;
        let callback = callbacks.as_mut().and_then(|hooks| hooks.before_connect.as_mut());
        contain(BEFORE_CONNECT, panicked, || match (by, callback, object) {
            (BeforeConnectBy::Closure, Some(hook), _) => hook(attempt),
            (BeforeConnectBy::Object, _, Some(object)) => object.before_connect(attempt),
            _ => Box::pin(std::future::ready(Ok(attempt))),
        })
    }

    /// Has the authenticator do something; `None` without one, or when it panics.
    pub(super) fn authenticator<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Authenticator) -> T,
    ) -> Option<T> {
        let Called { hooks, panicked, .. } = self.called.as_deref_mut()?;
        let authenticator = hooks.authenticator.as_mut()?;
        contain("authenticator", panicked, || call(&mut **authenticator))
    }

    /// Goes on with it; `None` when it panics.
    pub(super) fn poll_before_connect(
        &mut self,
        future: &mut BeforeConnect,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Result<Attempt, Box<dyn Error + Send + Sync>>>> {
        let panicked = &mut self.called.as_deref_mut()?.panicked;
        contain(BEFORE_CONNECT, panicked, || future.as_mut().poll(cx))
    }

    pub(super) fn on_connect(&mut self, info: &ConnectInfo) {
        call!(self.on_connect(info));
    }

    pub(super) fn on_connect_failure(&mut self, error: &ConnectError) {
        call!(self.on_connect_failure(error));
    }

    pub(super) fn on_disconnect(&mut self, info: &DisconnectInfo) {
        call!(self.on_disconnect(info));
    }

    pub(super) fn on_retry(
        &mut self,
        failure: Failure<'_>,
        mut planned: Option<Duration>,
    ) -> Option<Duration> {
        let Some(Called { hooks, panicked, .. }) = self.called.as_deref_mut() else {
            return planned;
        };
        let HookSet { callbacks, object, .. } = hooks;
        if let Some(hook) = callbacks.as_mut().and_then(|hooks| hooks.on_retry.as_mut()) {
            let decided = contain("on_retry", panicked, || hook(failure, planned));
            planned = decided.unwrap_or(planned);
        }
        if let Some(object) = object {
            let decided = contain("on_retry", panicked, || object.on_retry(failure, planned));
            planned = decided.unwrap_or(planned);
        }
        planned
    }

    /// A message whose hook panics counts as dealt with: it would only bring the next one down.
    pub(super) fn on_message(&mut self, message: &MessageRef<'_>) -> Flow {
        let mut flow = Flow::Continue;
        let Some(called) = self.called.as_deref_mut() else { return flow };
        let Called { hooks, handle, panicked, .. } = called;
        let HookSet { callbacks, object, .. } = hooks;
        if let Some(hook) = callbacks.as_mut().and_then(|hooks| hooks.on_message.as_mut()) {
            flow = contain("on_message", panicked, || hook(message, handle)).unwrap_or(Flow::Taken);
        }
        if let Some(object) = object
            && flow == Flow::Continue
        {
            let called = contain("on_message", panicked, || object.on_message(message, handle));
            flow = called.unwrap_or(Flow::Taken);
        }
        flow
    }

    pub(super) fn on_publish(&mut self, ticket: Ticket, result: &Result<Receipt, PublishError>) {
        call!(self.on_publish(ticket, result));
    }

    pub(super) fn on_subscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
    ) {
        call!(self.on_subscribe(ticket, result));
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
    ) {
        call!(self.on_unsubscribe(ticket, result));
    }

    pub(super) fn on_idle(&mut self) {
        call!(self.on_idle());
    }

    pub(super) fn observes_packets(&self) -> bool {
        self.called.as_ref().is_some_and(|called| called.observes_packets)
    }

    pub(super) fn on_packet(&mut self, direction: Direction, packet: &Packet<'_>, size: usize) {
        let view = PacketView { packet, size };
        let Some(Called { hooks, panicked, .. }) = self.called.as_deref_mut() else { return };
        let HookSet { callbacks, object, .. } = hooks;
        if let Some(hook) = callbacks.as_mut().and_then(|hooks| hooks.on_packet.as_mut()) {
            contain("on_packet", panicked, || hook(direction, view));
        }
        if let Some(object) = object
            && object.observes_packets()
        {
            contain("on_packet", panicked, || object.on_packet(direction, view));
        }
        self.log(LogLevel::Trace, || {
            let verb = match direction {
                Direction::Sent => "sending",
                Direction::Received => "received",
            };
            format!("{verb} {}, {size} bytes", packet.packet_type())
        });
    }

    /// Tells the log hooks, if one wants to know.
    pub(super) fn log(&mut self, level: LogLevel, text: impl FnOnce() -> String) {
        let Some(Called { hooks, log_level, panicked, .. }) = self.called.as_deref_mut() else {
            return;
        };
        if log_level.is_none_or(|most| level > most) {
            return;
        }
        let HookSet { callbacks, object, .. } = hooks;
        let text = text();
        if let Some((most, hook)) = callbacks.as_mut().and_then(|hooks| hooks.on_log.as_mut())
            && level <= *most
        {
            contain("on_log", panicked, || hook(level, &text));
        }
        if let Some(object) = object
            && object.log_level().is_some_and(|most| level <= most)
        {
            contain("on_log", panicked, || object.on_log(level, &text));
        }
    }
}

/// Whose `before_connect` is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum BeforeConnectBy {
    Closure,
    Object,
}

const BEFORE_CONNECT: &str = "before_connect";

/// Calls `hook` unless one has panicked before; `None` when it or an earlier one panicked.
fn contain<T>(
    name: &'static str,
    panicked: &mut Option<&'static str>,
    hook: impl FnOnce() -> T,
) -> Option<T> {
    if panicked.is_some() {
        return None;
    }
    let busy = blocking::set_busy(true);
    // What the closure has captured is dropped without being called again.
    let result = catch_unwind(AssertUnwindSafe(hook));
    blocking::set_busy(busy);
    match result {
        Ok(value) => Some(value),
        Err(payload) => {
            tracing::error!(hook = name, panic = panic_text(&*payload), "a hook panicked");
            *panicked = Some(name);
            None
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}
