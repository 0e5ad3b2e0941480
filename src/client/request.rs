//! Request and response (§4.10): a message that is published and one that comes back for it.
//!
//! In 5.0 all requests of a client share one subscription to a response topic of its own, and
//! correlation data tells which request a response is for.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::future::{Future, IntoFuture};
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::codec::{
    Properties, Property, PropertyValue, QoS, ReasonCode, SubscribeOptions, TopicFilter, TopicName,
    Version,
};
use crate::session::{RefusedReason, SubscribeReceipt};

use super::OutgoingMessage;
use super::error::{InvalidTopic, PublishError, RequestError, ResponseError};
use super::info::ConnectInfo;
use super::mailbox::Command;
use super::message::{Message, MessageRef};
use super::publish::{IntoTopic, Publish};
use super::shared::Shared;
use super::subscribe::{Subscribe, subscribe_many};

/// A request about to be made: awaiting it publishes the message and waits for the response.
///
/// In 5.0 the first request subscribes to a response topic that this client alone uses: under the
/// Response Information of the broker if it gave one, which the CONNECT property
/// `request-response-information` asks for, or else
/// `response/CLIENT/RANDOM`. Any number of requests may be under way; each has correlation data of
/// its own, and what comes without any that is known is dropped. Responses pass by
/// [`on_message`](super::ClientBuilder::on_message) and the streams.
///
/// MQTT 3.x has no response topics. There, [`response_topic`](Self::response_topic) has to say where
/// the response will be: the request subscribes to it for its own time, and takes the first message
/// that is not a retained one.
///
/// # Cancel safety
///
/// Dropping the future before the message is admitted means that it is not sent; after that the
/// request is on its way, and its response is dropped.
#[must_use = "a request is not made until it is awaited"]
#[derive(Debug)]
pub struct Request<'a> {
    shared: &'a Arc<Shared>,
    message: Result<OutgoingMessage, InvalidTopic>,
    response_topic: Option<Result<TopicName, InvalidTopic>>,
    timeout: Duration,
}

/// How long a request waits where nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

impl<'a> Request<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        topic: impl IntoTopic,
        payload: impl Into<Bytes>,
    ) -> Request<'a> {
        let message = topic.into_topic().map(|topic| OutgoingMessage::new(topic, payload));
        Request { shared, message, response_topic: None, timeout: DEFAULT_TIMEOUT }
    }

    /// Sets the quality of service of the request. Default 0. The response comes with what the
    /// responder chooses, at most 1.
    pub fn qos(mut self, qos: QoS) -> Self {
        if let Ok(message) = &mut self.message {
            message.qos = qos;
        }
        self
    }

    /// Sets how long all of it may take, from waiting for a connection to the response. Default
    /// 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets further properties of the request, beside response topic and correlation data. 5.0
    /// only.
    pub fn properties(mut self, properties: Properties) -> Self {
        if let Ok(message) = &mut self.message {
            message.properties = properties;
        }
        self
    }

    /// Sets where the response is expected, in place of a topic of the client's own. In 3.x, where
    /// nothing else tells them apart, requests with one response topic should follow one another.
    pub fn response_topic(mut self, topic: impl IntoTopic) -> Self {
        self.response_topic = Some(topic.into_topic());
        self
    }

    async fn make(self) -> Result<Message, ResponseError> {
        let after = self.timeout;
        match tokio::time::timeout(after, self.ask()).await {
            Ok(response) => response,
            Err(_) => Err(ResponseError::Timeout { after }),
        }
    }

    async fn ask(self) -> Result<Message, ResponseError> {
        let message = self.message?;
        let v5 = self.shared.settings().version == Version::V5;
        match self.response_topic.transpose()? {
            None if v5 => ask(self.shared, message, self.timeout).await,
            None => Err(ResponseError::NoResponseTopic),
            Some(topic) => ask_at(self.shared, message, topic, self.timeout).await,
        }
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Result<Message, ResponseError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

/// What the requests of one client share.
pub(super) struct Requests {
    random: RandomState,
    next_number: AtomicU64,
    /// Chosen at the first connection, and kept.
    topic: OnceLock<TopicName>,
    /// The broker has granted the subscription.
    subscribed: AtomicBool,
    subscribing: tokio::sync::Mutex<()>,
}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests {
            random: RandomState::new(),
            next_number: AtomicU64::new(0),
            topic: OnceLock::new(),
            subscribed: AtomicBool::new(false),
            subscribing: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes note of a subscription that has ended: the next request makes it again.
    pub(super) fn handle_gone(&self, filter: &str) {
        if self.topic.get().is_some_and(|topic| **topic == *filter) {
            self.subscribed.store(false, Ordering::Release);
        }
    }

    /// Numbers a request, in a way that others cannot guess.
    fn correlation(&self) -> Correlation {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let [number, random] = [number, self.random.hash_one(number)].map(u64::to_be_bytes);
        let mut correlation = Correlation::default();
        correlation.iter_mut().zip(number.into_iter().chain(random)).for_each(|(to, from)| {
            *to = from;
        });
        correlation
    }

    /// The response topic, with a subscription to it.
    async fn established(&self, shared: &Arc<Shared>) -> Result<&TopicName, ResponseError> {
        let info = shared.connected().await.map_err(|_| ResponseError::Closed)?;
        let _alone = self.subscribing.lock().await;
        let topic = match self.topic.get() {
            Some(topic) => topic,
            None => {
                let topic = response_topic(&info, self.random.hash_one("topic"));
                let topic = TopicName::try_from(topic.as_str());
                let topic = topic.map_err(|_| ResponseError::ResponseInformation)?;
                self.topic.get_or_init(|| topic)
            }
        };
        if !self.subscribed.load(Ordering::Acquire) {
            shared.mailbox.send(Command::Respond { topic: topic.clone() });
            let filter = TopicFilter::try_from(topic.as_str());
            let filter = filter.map_err(|_| ResponseError::ResponseInformation)?;
            let qos = QoS::AtLeastOnce;
            let filters = vec![(filter, SubscribeOptions { qos, ..Default::default() })];
            let receipt = subscribe_many(shared, filters, Properties::default());
            let SubscribeReceipt { reasons, properties } =
                receipt.await.map_err(ResponseError::Subscribe)?;
            let reason = reasons.first().copied().unwrap_or(ReasonCode::UNSPECIFIED_ERROR);
            if reason.is_error() {
                let filter = topic.as_str().into();
                let error = RequestError::Rejected { filter, reason, properties };
                return Err(ResponseError::Subscribe(error));
            }
            self.subscribed.store(true, Ordering::Release);
        }
        Ok(topic)
    }
}

/// Tells requests of one client apart.
type Correlation = [u8; 16];

/// A topic that no other client has.
fn response_topic(info: &ConnectInfo, random: u64) -> String {
    match info.properties.as_ref().response_information() {
        Some(prefix) => format!("{}/{random:016x}", prefix.trim_end_matches('/')),
        None => {
            let client_id = info.client_id.replace(['+', '#', '/'], "_");
            format!("response/{client_id}/{random:016x}")
        }
    }
}

async fn ask(
    shared: &Arc<Shared>,
    mut message: OutgoingMessage,
    timeout: Duration,
) -> Result<Message, ResponseError> {
    let requests = shared.requests();
    let topic = requests.established(shared).await?;
    let correlation = requests.correlation();
    describe(&mut message, topic, &correlation)?;
    let (done, response) = oneshot::channel();
    shared.mailbox.send(Command::AwaitResponse { correlation, done });
    let _waiting = Waiting { shared, correlation };
    publish(shared, message, timeout, async { response.await.ok() }).await
}

/// Asks with a subscription for this one response.
async fn ask_at(
    shared: &Arc<Shared>,
    mut message: OutgoingMessage,
    topic: TopicName,
    timeout: Duration,
) -> Result<Message, ResponseError> {
    let v5 = shared.settings().version == Version::V5;
    let requests = shared.requests();
    let correlation = requests.correlation();
    if v5 {
        describe(&mut message, &topic, &correlation)?;
    }
    let subscribe = Subscribe::new(shared, &topic).qos(QoS::AtLeastOnce);
    let mut responses = subscribe.await.map_err(ResponseError::Subscribe)?;
    let response = async {
        loop {
            let response = responses.next().await?;
            let for_this = match v5 {
                true => response.properties().correlation_data() == Some(&correlation),
                false => !response.retain(),
            };
            if for_this {
                return Some(response);
            }
        }
    };
    publish(shared, message, timeout, response).await
}

fn describe(
    message: &mut OutgoingMessage,
    topic: &str,
    correlation: &Correlation,
) -> Result<(), ResponseError> {
    let properties = &mut message.properties;
    properties
        .push(Property::ResponseTopic, PropertyValue::Utf8(topic))
        .and_then(|()| {
            properties.push(Property::CorrelationData, PropertyValue::Binary(correlation))
        })
        .map_err(|error| PublishError::from(RefusedReason::from(error)).into())
}

/// Publishes a request and waits for its response, which may be there before the acknowledgement.
async fn publish(
    shared: &Arc<Shared>,
    message: OutgoingMessage,
    timeout: Duration,
    response: impl Future<Output = Option<Message>>,
) -> Result<Message, ResponseError> {
    // What was not sent in time is not sent at all: nobody would wait for the response.
    let delivery = Publish::from_message(shared, message).deadline(timeout).enqueue().await;
    let delivery = delivery.map_err(PublishError::from)?;
    tokio::pin!(response);
    tokio::select! {
        biased;
        response = &mut response => return response.ok_or(ResponseError::Closed),
        delivered = delivery => {
            if delivered?.reason == ReasonCode::NO_MATCHING_SUBSCRIBERS {
                return Err(ResponseError::NoResponder);
            }
        }
    }
    response.await.ok_or(ResponseError::Closed)
}

/// Stops waiting for a response when dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    correlation: Correlation,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let correlation = self.correlation;
        self.shared.mailbox.send(Command::ForgetResponse { correlation });
    }
}

/// Gives responses to those who wait for them, on the driver task.
pub(super) struct Responses {
    topic: TopicName,
    waiting: HashMap<Correlation, oneshot::Sender<Message>>,
}

impl Responses {
    pub(super) fn new(topic: TopicName) -> Responses {
        Responses { topic, waiting: HashMap::new() }
    }

    pub(super) fn await_response(
        &mut self,
        correlation: Correlation,
        done: oneshot::Sender<Message>,
    ) {
        self.waiting.insert(correlation, done);
    }

    pub(super) fn forget(&mut self, correlation: Correlation) {
        self.waiting.remove(&correlation);
    }

    /// Whether the message is a response, and what became of it.
    pub(super) fn handle(&mut self, message: &MessageRef<'_>) -> Option<Claimed> {
        if *message.topic() != *self.topic {
            return None;
        }
        let correlation = message.properties().correlation_data();
        let correlation = correlation.and_then(|data| Correlation::try_from(data).ok());
        let done = correlation.and_then(|correlation| self.waiting.remove(&correlation));
        Some(match done.map(|done| done.send(message.to_message())) {
            Some(Ok(())) => Claimed::Taken,
            Some(Err(_)) | None => Claimed::Unwanted,
        })
    }
}

/// What became of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    Taken,
    /// Nobody waits for it, or any more.
    Unwanted,
}
