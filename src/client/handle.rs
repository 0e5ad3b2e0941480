//! What hooks get in their hands: everything of a client that does not wait.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{Properties, ReasonCode, SubscribeOptions, TopicFilter};
use crate::session::{SubscribeRequest, Ticket, UnsubscribeRequest};

use super::OutgoingMessage;
use super::error::{EnqueueError, RequestError};
use super::mailbox::Command;
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
    /// [`EnqueueError`], as [`Publish::try_enqueue`](super::Publish::try_enqueue) has it.
    pub fn try_enqueue(&self, message: OutgoingMessage) -> Result<Delivery, EnqueueError> {
        Delivery::admit(&self.shared, message, None)
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

    /// Ends the client with a DISCONNECT; the publishes that are not finished fail. A reason or
    /// properties that a DISCONNECT cannot have change nothing, as with
    /// [`Client::disconnect_with`](super::Client::disconnect_with), which tells.
    pub fn disconnect(&self, reason: ReasonCode, properties: Properties) {
        self.shared.mailbox.send(Command::Disconnect { reason, properties, done: None });
    }

    /// Makes the next attempt to connect at once, see
    /// [`Client::reconnect_now`](super::Client::reconnect_now).
    pub fn reconnect_now(&self) {
        self.shared.mailbox.send(Command::ReconnectNow);
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

pub(super) fn subscribe_bytes(request: &SubscribeRequest) -> usize {
    request.filters.iter().map(|(filter, _)| filter.len()).sum()
}

pub(super) fn unsubscribe_bytes(request: &UnsubscribeRequest) -> usize {
    request.filters.iter().map(|filter| filter.len()).sum()
}
