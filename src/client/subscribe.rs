//! Subscribing with a stream of its own, and many filters at once without.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::codec::{
    Properties, PropertiesRef, Property, PropertyValue, QoS, ReasonCode, RetainHandling,
    SubscribeOptions, TopicFilter,
};
use crate::session::{SubscribeReceipt, SubscribeRequest, Ticket, UnsubscribeRequest};

use super::acks::Acks;
use super::alike::Alike;
use super::error::{InvalidTopic, RequestError};
use super::handle::{subscribe_bytes, unsubscribe_bytes};
use super::mailbox::{Command, NotAdmitted};
use super::message::Message;
use super::options::StreamLimits;
use super::router::Route;
use super::shared::Shared;
use super::stream::{Bounds, Consumer, Queue, Slow};

/// A subscription about to be made.
///
/// Awaiting it sends a SUBSCRIBE and waits for the SUBACK. The stream takes messages from the
/// moment on when the SUBSCRIBE is sent, so that none is missed.
///
/// # Cancel safety
///
/// Dropping the future ends the subscription if it was asked for already.
#[must_use = "a subscription is not made until it is awaited"]
#[derive(Debug)]
pub struct Subscribe<'a> {
    shared: &'a Arc<Shared>,
    filter: Result<TopicFilter, InvalidTopic>,
    options: SubscribeOptions,
    identifier: Option<u32>,
    properties: Properties,
    keep: bool,
    acks: Acks,
    slow: Slow,
    limits: StreamLimits,
}

impl<'a> Subscribe<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, filter: &str) -> Subscribe<'a> {
        Subscribe {
            shared,
            filter: filter.try_into().map_err(|reason| InvalidTopic::filter(filter, reason)),
            options: SubscribeOptions::default(),
            identifier: None,
            properties: Properties::default(),
            keep: false,
            acks: Acks::default(),
            slow: Slow::default(),
            limits: shared.settings().streams,
        }
    }

    /// Sets the highest quality of service to be delivered with. Default 0.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.options.qos = qos;
        self
    }

    /// Sets all options at once: those besides the quality of service have an effect in 5.0 only.
    pub fn options(mut self, options: SubscribeOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets whether messages of this client itself are left out. Default `false`. 5.0 only; a
    /// shared subscription with it is refused \[MQTT-3.8.3-4\].
    pub fn no_local(mut self, no_local: bool) -> Self {
        self.options.no_local = no_local;
        self
    }

    /// Sets whether [`Message::retain`] tells how the message was published rather than whether it
    /// comes from the retained ones. Default `false`. 5.0 only.
    pub fn retain_as_published(mut self, retain_as_published: bool) -> Self {
        self.options.retain_as_published = retain_as_published;
        self
    }

    /// Sets whether retained messages are sent when the subscription is made. Default: always. 5.0
    /// only; 3.x always does.
    pub fn retain_handling(mut self, retain_handling: RetainHandling) -> Self {
        self.options.retain_handling = retain_handling;
        self
    }

    /// Sets the subscription identifier, 1..=268,435,455. The stream then gets the messages that
    /// carry it. 5.0 only.
    pub fn identifier(mut self, identifier: u32) -> Self {
        self.identifier = Some(identifier);
        self
    }

    /// Sets user properties. 5.0 only.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Sets whether the subscription stays at the broker when its stream is dropped. Its messages
    /// then go to the inbox. Default `false`.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Sets when its QoS 1 and 2 messages are acknowledged. Default: when the stream yields them.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Sets how many messages the stream holds for its consumer; 0 counts as 1. Default:
    /// [`ClientBuilder::inbox_capacity`](super::ClientBuilder::inbox_capacity).
    pub fn buffer(mut self, messages: usize) -> Self {
        self.limits.messages = messages.max(1);
        self
    }

    /// Sets how many bytes the stream holds for its consumer; a single larger message is held all
    /// the same. Default: [`ClientBuilder::inbox_bytes`](super::ClientBuilder::inbox_bytes).
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets what happens when the stream is full. Default: [`Slow::HoldAck`].
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    async fn make(self) -> Result<Subscription, RequestError> {
        let filter = self.filter?;
        let mut properties = self.properties;
        if let Some(identifier) = self.identifier {
            properties
                .push(Property::SubscriptionIdentifier, PropertyValue::VariableByte(identifier))
                .map_err(crate::session::RefusedReason::from)?;
        }
        let request =
            SubscribeRequest { filters: vec![(filter.clone(), self.options)], properties };
        static BOUNDS: Alike<Bounds> = Alike::new();
        let bounds = Bounds { limits: self.limits, acks: self.acks, slow: self.slow };
        let queue = Arc::new(Queue::new(BOUNDS.share(bounds)));
        let consumer = Consumer::new(Arc::clone(&queue));
        let (done, answer) = oneshot::channel();
        let ticket = send(self.shared, subscribe_bytes(&request), |ticket| {
            let number = ticket.get();
            let filter = filter.clone();
            let route = Route { number, filter, identifier: self.identifier, queue };
            Command::Subscribe { ticket, request, route: Some(route), done: Some(done) }
        })
        .await?;
        // From here on, dropping the future ends the subscription.
        let mut subscription = Subscription {
            shared: Arc::clone(self.shared),
            filter,
            route: ticket.get(),
            keep: false,
            unsubscribed: false,
            granted: ReasonCode::SUCCESS,
            properties: Properties::default(),
            consumer,
        };
        let receipt = answer.await.unwrap_or(Err(RequestError::Closed))?;
        let reason = receipt.reasons.first().copied().unwrap_or(ReasonCode::UNSPECIFIED_ERROR);
        if reason.is_error() {
            let filter = subscription.filter.as_ref().into();
            let properties = receipt.properties;
            return Err(RequestError::Rejected { filter, reason, properties });
        }
        subscription.keep = self.keep;
        subscription.granted = reason;
        subscription.properties = receipt.properties;
        Ok(subscription)
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Subscription, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

/// Yields the messages of one subscription.
///
/// A message goes to every subscription whose filter matches its topic; where a subscription has
/// an identifier and the message carries any, the identifier decides. What is said of
/// [`Inbox`](super::Inbox) about acknowledgements and dropped messages holds here too.
///
/// Dropping it sends an UNSUBSCRIBE, unless it was made with [`keep`](Subscribe::keep) or another
/// subscription has the same filter. Messages that it held are acknowledged, except that with
/// `keep` those which the application was to acknowledge ([`Acks`]) stay with the broker.
pub struct Subscription {
    shared: Arc<Shared>,
    filter: TopicFilter,
    route: u64,
    keep: bool,
    unsubscribed: bool,
    granted: ReasonCode,
    properties: Properties,
    consumer: Consumer,
}

impl Subscription {
    /// Waits for the next message; `None` when the client has ended, or the broker refused the
    /// subscription after it had lost the session, and all messages are taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    pub async fn next(&mut self) -> Option<Message> {
        self.consumer.next().await
    }

    /// Polls for the next message, for those who write a `Future` or `Stream` by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.consumer.poll_next(cx)
    }

    /// Takes the next message if there is one.
    pub fn try_next(&mut self) -> Option<Message> {
        self.consumer.try_next()
    }

    /// Returns the filter.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Returns the quality of service that the broker granted when the subscription was made.
    pub fn granted(&self) -> QoS {
        QoS::try_from(self.granted.code()).unwrap_or_default()
    }

    /// Returns the properties of the SUBACK: reason string and user properties, 5.0 only.
    pub fn properties(&self) -> PropertiesRef<'_> {
        self.properties.as_ref()
    }

    /// Ends the subscription and returns the broker's answer, which is a success in 3.x always.
    /// Another subscription with the same filter ends with it at the broker.
    ///
    /// # Errors
    ///
    /// [`RequestError`] tells why there was no answer.
    ///
    /// # Cancel safety
    ///
    /// The subscription ends even if the future is dropped, once it was polled; only the answer is
    /// lost. Before that, it is as if the subscription was dropped.
    pub async fn unsubscribe(self) -> Result<ReasonCode, RequestError> {
        let receipt = self.unsubscribe_with(Properties::default()).await?;
        Ok(receipt.reasons.first().copied().unwrap_or(ReasonCode::SUCCESS))
    }

    /// Like [`unsubscribe`](Self::unsubscribe), with user properties for the broker, and with what it
    /// says besides its answer. 5.0 only.
    ///
    /// # Errors
    ///
    /// [`RequestError`] tells why there was no answer.
    ///
    /// # Cancel safety
    ///
    /// The subscription ends even if the future is dropped, once it was polled; only the answer is
    /// lost. Before that, it is as if the subscription was dropped.
    pub async fn unsubscribe_with(
        mut self,
        properties: Properties,
    ) -> Result<SubscribeReceipt, RequestError> {
        self.keep = false;
        let filters = vec![self.filter.clone()];
        let receipt = unsubscribe_many(&self.shared, filters, properties).await?;
        self.unsubscribed = true;
        Ok(receipt)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let route = self.route;
        self.consumer.is_final = !self.keep || self.unsubscribed;
        let keep = self.keep || self.unsubscribed;
        self.shared.mailbox.send_numbered(|ticket| Command::Unroute { ticket, route, keep });
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter)
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

pub(super) async fn subscribe_many(
    shared: &Shared,
    filters: Vec<(TopicFilter, SubscribeOptions)>,
    properties: Properties,
) -> Result<SubscribeReceipt, RequestError> {
    let request = SubscribeRequest { filters, properties };
    let (done, answer) = oneshot::channel();
    send(shared, subscribe_bytes(&request), |ticket| Command::Subscribe {
        ticket,
        request,
        route: None,
        done: Some(done),
    })
    .await?;
    answer.await.unwrap_or(Err(RequestError::Closed))
}

pub(super) async fn unsubscribe_many(
    shared: &Shared,
    filters: Vec<TopicFilter>,
    properties: Properties,
) -> Result<SubscribeReceipt, RequestError> {
    let request = UnsubscribeRequest { filters, properties };
    let (done, answer) = oneshot::channel();
    send(shared, unsubscribe_bytes(&request), |ticket| Command::Unsubscribe {
        ticket,
        request,
        done: Some(done),
    })
    .await?;
    answer.await.unwrap_or(Err(RequestError::Closed))
}

/// Waits for room and sends a command.
async fn send(
    shared: &Shared,
    bytes: usize,
    command: impl FnOnce(Ticket) -> Command,
) -> Result<Ticket, NotAdmitted> {
    let mut line = Line { shared, place: None };
    let mut command = Some(command);
    poll_fn(|cx| {
        let mut admission = ready!(shared.mailbox.poll_admit(cx, bytes, &mut line.place))?;
        let ticket = admission.ticket();
        if let Some(command) = command.take() {
            admission.send(command(ticket));
        }
        Poll::Ready(Ok(ticket))
    })
    .await
}

/// A place in the line for room, given up when dropped.
struct Line<'a> {
    shared: &'a Shared,
    place: Option<u64>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.shared.mailbox.leave(place);
        }
    }
}
