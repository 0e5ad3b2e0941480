//! The application's closures, and the calls into them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Packet, PacketType, Properties, ReasonCode, SubscribeOptions, TopicFilter};
use crate::driver::Direction;
use crate::session::{Receipt, SubscribeReceipt, SubscribeRequest, Ticket, UnsubscribeRequest};

use super::OutgoingMessage;
use super::error::{ConnectError, EnqueueError, PublishError, RequestError};
use super::info::{ConnectInfo, DisconnectInfo};
use super::mailbox::Command;
use super::message::MessageRef;
use super::publish::{Delivery, IntoTopic, Publish};
use super::shared::Shared;

/// What a hook gets of the client: everything that does not wait.
///
/// A handle does not keep the client alive; [`Client`](super::Client) does.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Prepares a message; in a hook, finish with
    /// [`try_enqueue`](super::Publish::try_enqueue).
    pub fn publish(&self, topic: impl IntoTopic, payload: impl Into<Bytes>) -> Publish<'_> {
        Publish::new(&self.shared, topic, payload)
    }

    /// Queues a message without waiting.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::Full`] and [`EnqueueError::Closed`], with the message.
    pub fn try_enqueue(&self, message: OutgoingMessage) -> Result<Delivery, EnqueueError> {
        Delivery::admit(&self.shared, message)
    }

    /// Asks for subscriptions with one SUBSCRIBE, without waiting for the answer, which
    /// [`on_subscribe`](super::ClientBuilder::on_subscribe) gets. The messages go to
    /// [`on_message`](super::ClientBuilder::on_message) and the [`Inbox`](super::Inbox).
    ///
    /// # Errors
    ///
    /// [`RequestError::Full`] and [`RequestError::Closed`].
    pub fn try_subscribe(
        &self,
        filters: Vec<(TopicFilter, SubscribeOptions)>,
        properties: Properties,
    ) -> Result<Ticket, RequestError> {
        let request = SubscribeRequest { filters, properties };
        let mut admission = self.shared.mailbox.try_admit(subscribe_bytes(&request))?;
        let ticket = admission.ticket();
        admission.send(Command::Subscribe { ticket, request, route: None, done: None });
        Ok(ticket)
    }

    /// Ends subscriptions with one UNSUBSCRIBE, without waiting for the answer, which
    /// [`on_unsubscribe`](super::ClientBuilder::on_unsubscribe) gets.
    ///
    /// # Errors
    ///
    /// [`RequestError::Full`] and [`RequestError::Closed`].
    pub fn try_unsubscribe(
        &self,
        filters: Vec<TopicFilter>,
        properties: Properties,
    ) -> Result<Ticket, RequestError> {
        let request = UnsubscribeRequest { filters, properties };
        let mut admission = self.shared.mailbox.try_admit(unsubscribe_bytes(&request))?;
        let ticket = admission.ticket();
        admission.send(Command::Unsubscribe { ticket, request, done: None });
        Ok(ticket)
    }

    /// Ends the client with a DISCONNECT; the publishes that are not finished fail.
    pub fn disconnect(&self, reason: ReasonCode, properties: Properties) {
        self.shared.mailbox.send(Command::Disconnect { reason, properties, done: None });
    }

    /// Stops reading the socket, see [`Client::pause_reading`](super::Client::pause_reading).
    pub fn pause_reading(&self) {
        self.shared.mailbox.set_reading_paused(true);
    }

    /// Reads the socket again.
    pub fn resume_reading(&self) {
        self.shared.mailbox.set_reading_paused(false);
    }
}

/// Says what is to become of a message after [`on_message`](super::ClientBuilder::on_message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// It goes on to the streams, or to the inbox if no stream claims it.
    Continue,
    /// The hook has dealt with it: it is acknowledged, and no copy is made.
    Taken,
}

/// Shows a packet to [`on_packet`](super::ClientBuilder::on_packet).
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    packet: &'a Packet<'a>,
    size: usize,
}

impl<'a> PacketView<'a> {
    /// Returns the type.
    pub fn packet_type(&self) -> PacketType {
        self.packet.packet_type()
    }

    /// Returns the decoded packet.
    pub fn packet(&self) -> &'a Packet<'a> {
        self.packet
    }

    /// Returns the size on the wire in bytes, the fixed header included.
    pub fn size(&self) -> usize {
        self.size
    }
}

type Hook<T> = Option<Box<dyn FnMut(&T, &Handle) + Send>>;
type ResultHook<T, E> = Option<Box<dyn FnMut(Ticket, &Result<T, E>, &Handle) + Send>>;
type MessageHook = Option<Box<dyn FnMut(&MessageRef<'_>, &Handle) -> Flow + Send>>;
type IdleHook = Option<Box<dyn FnMut(&Handle) + Send>>;
type PacketHook = Option<Box<dyn FnMut(Direction, PacketView<'_>) + Send>>;

/// The closures of one client.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) on_connect: Hook<ConnectInfo>,
    pub(super) on_connect_failure: Hook<ConnectError>,
    pub(super) on_disconnect: Hook<DisconnectInfo>,
    pub(super) on_message: MessageHook,
    pub(super) on_publish: ResultHook<Receipt, PublishError>,
    pub(super) on_subscribe: ResultHook<SubscribeReceipt, RequestError>,
    pub(super) on_unsubscribe: ResultHook<SubscribeReceipt, RequestError>,
    pub(super) on_idle: IdleHook,
    pub(super) on_packet: PacketHook,
}

/// Calls the closures, one at a time, on the driver task and with no lock held.
pub(super) struct HookCaller {
    hooks: Hooks,
    handle: Handle,
    /// The hook that panicked: no other is called after it.
    panicked: Option<&'static str>,
}

impl HookCaller {
    pub(super) fn new(hooks: Hooks, handle: Handle) -> HookCaller {
        HookCaller { hooks, handle, panicked: None }
    }

    /// The name of the hook that panicked, if one has.
    pub(super) fn panicked(&self) -> Option<&'static str> {
        self.panicked
    }

    pub(super) fn on_connect(&mut self, info: &ConnectInfo) {
        if let Some(hook) = &mut self.hooks.on_connect {
            contain("on_connect", &mut self.panicked, || hook(info, &self.handle));
        }
    }

    pub(super) fn on_connect_failure(&mut self, error: &ConnectError) {
        if let Some(hook) = &mut self.hooks.on_connect_failure {
            contain("on_connect_failure", &mut self.panicked, || hook(error, &self.handle));
        }
    }

    pub(super) fn on_disconnect(&mut self, info: &DisconnectInfo) {
        if let Some(hook) = &mut self.hooks.on_disconnect {
            contain("on_disconnect", &mut self.panicked, || hook(info, &self.handle));
        }
    }

    /// A message whose hook panics counts as dealt with: it would only bring the next one down.
    pub(super) fn on_message(&mut self, message: &MessageRef<'_>) -> Flow {
        let Some(hook) = &mut self.hooks.on_message else { return Flow::Continue };
        contain("on_message", &mut self.panicked, || hook(message, &self.handle))
            .unwrap_or(Flow::Taken)
    }

    pub(super) fn on_publish(&mut self, ticket: Ticket, result: &Result<Receipt, PublishError>) {
        if let Some(hook) = &mut self.hooks.on_publish {
            contain("on_publish", &mut self.panicked, || hook(ticket, result, &self.handle));
        }
    }

    pub(super) fn on_subscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
    ) {
        if let Some(hook) = &mut self.hooks.on_subscribe {
            contain("on_subscribe", &mut self.panicked, || hook(ticket, result, &self.handle));
        }
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
    ) {
        if let Some(hook) = &mut self.hooks.on_unsubscribe {
            contain("on_unsubscribe", &mut self.panicked, || hook(ticket, result, &self.handle));
        }
    }

    pub(super) fn on_idle(&mut self) {
        if let Some(hook) = &mut self.hooks.on_idle {
            contain("on_idle", &mut self.panicked, || hook(&self.handle));
        }
    }

    pub(super) fn observes_packets(&self) -> bool {
        self.hooks.on_packet.is_some()
    }

    pub(super) fn on_packet(&mut self, direction: Direction, packet: &Packet<'_>, size: usize) {
        if let Some(hook) = &mut self.hooks.on_packet {
            let view = PacketView { packet, size };
            contain("on_packet", &mut self.panicked, || hook(direction, view));
        }
    }
}

/// Calls `hook` unless one has panicked before; `None` when it or an earlier one panicked.
fn contain<T>(
    name: &'static str,
    panicked: &mut Option<&'static str>,
    hook: impl FnOnce() -> T,
) -> Option<T> {
    if panicked.is_some() {
        return None;
    }
    // What the closure has captured is dropped without being called again.
    match catch_unwind(AssertUnwindSafe(hook)) {
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

pub(super) fn subscribe_bytes(request: &SubscribeRequest) -> usize {
    request.filters.iter().map(|(filter, _)| filter.len()).sum()
}

pub(super) fn unsubscribe_bytes(request: &UnsubscribeRequest) -> usize {
    request.filters.iter().map(|filter| filter.len()).sum()
}
