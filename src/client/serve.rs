//! Answering requests: a handler for each, its answer published where the request says, and the
//! request acknowledged when that is done.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{Id, JoinSet};

use crate::codec::{Properties, Property, PropertyValue, QoS, ReasonCode, TopicName};

use super::OutgoingMessage;
use super::acks::{AckHandle, Acks};
use super::error::{PublishError, RequestError};
use super::message::Message;
use super::publish::Publish;
use super::shared::Shared;
use super::subscribe::{Subscribe, Subscription};

/// A service about to be begun: awaiting it subscribes and answers requests until the client ends.
///
/// A request is acknowledged when its response is confirmed, so that a QoS 1 request that was not
/// answered comes again after a restart. A panic in the future that a handler returns does not bring
/// the others down: its request is refused. A panic in the handler itself, before there is a future,
/// or in [`response_topic`](Self::response_topic), goes to whoever awaits the service.
///
/// # Cancel safety
///
/// Dropping the future ends the subscription, stops the handlers that are running and refuses their
/// requests.
#[must_use = "nothing is served until it is awaited"]
pub struct Serve<'a, H> {
    shared: &'a Arc<Shared>,
    subscribe: Subscribe<'a>,
    concurrency: usize,
    response_topic: Option<ResponseTopic>,
    handler: H,
}

type ResponseTopic = Box<dyn FnMut(&Message) -> Option<TopicName> + Send>;

impl<'a, H, F> Serve<'a, H>
where
    H: FnMut(Message) -> F + Send + 'a,
    F: Future<Output: Into<Response>> + Send + 'static,
{
    pub(super) fn new(shared: &'a Arc<Shared>, filter: &str, handler: H) -> Serve<'a, H> {
        let subscribe = Subscribe::new(shared, filter);
        Serve { shared, subscribe, concurrency: 1, response_topic: None, handler }
    }

    /// Sets the highest quality of service to get requests with, which is that of the responses too.
    /// Default 0.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.subscribe = self.subscribe.qos(qos);
        self
    }

    /// Sets how many requests are handled at once; 0 counts as 1. Default 1: one after the other,
    /// in the order in which they arrive.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.max(1);
        self
    }

    /// Sets where the response to a request goes, `None` for nowhere. Default: to the response topic
    /// that the request names, which exists in 5.0 only.
    pub fn response_topic(
        mut self,
        topic: impl FnMut(&Message) -> Option<TopicName> + Send + 'static,
    ) -> Self {
        self.response_topic = Some(Box::new(topic));
        self
    }

    async fn run(self) -> Result<(), RequestError> {
        let Serve { shared, subscribe, concurrency, mut response_topic, mut handler } = self;
        let mut requests = subscribe.acks(Acks::Manual).await?;
        let mut jobs = Jobs::default();
        let mut ended = false;
        while !(ended && jobs.running.is_empty()) {
            let next = next(&mut requests, !ended && jobs.running.len() < concurrency);
            tokio::select! {
                Some(done) = jobs.running.join_next_with_id(), if !jobs.running.is_empty() => {
                    jobs.handle_done(done);
                }
                request = next => match request {
                    None => ended = true,
                    Some(request) => {
                        let (request, ack) = request.into_parts();
                        let topic = match &mut response_topic {
                            Some(topic) => topic(&request),
                            None => {
                                let topic = request.properties().response_topic();
                                topic.and_then(|topic| TopicName::try_from(topic).ok())
                            }
                        };
                        let to = topic.map(|topic| ReplyTo::new(topic, &request));
                        let job = answer(Arc::clone(shared), to, handler(request));
                        let id = jobs.running.spawn(job).id();
                        jobs.unacknowledged.extend(ack.map(|ack| (id, ack)));
                    }
                },
            }
        }
        Ok(())
    }
}

impl<'a, H, F> IntoFuture for Serve<'a, H>
where
    H: FnMut(Message) -> F + Send + 'a,
    F: Future<Output: Into<Response>> + Send + 'static,
{
    type Output = Result<(), RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<H> fmt::Debug for Serve<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("subscribe", &self.subscribe)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// The next request, once another may be handled.
async fn next(requests: &mut Subscription, wanted: bool) -> Option<Message> {
    match wanted {
        true => requests.next().await,
        false => std::future::pending().await,
    }
}

/// What a handler answers. A text or bytes become one with this payload.
#[derive(Clone, Debug)]
#[must_use]
pub struct Response {
    payload: Bytes,
    properties: Properties,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Publish,
    Nothing,
    Refuse(ReasonCode),
}

impl Response {
    /// Makes a response with a payload.
    pub fn new(payload: impl Into<Bytes>) -> Response {
        let payload = payload.into();
        Response { payload, properties: Properties::default(), kind: Kind::Publish }
    }

    /// Acknowledges the request and publishes nothing.
    pub fn nothing() -> Response {
        Response { kind: Kind::Nothing, ..Response::new(Bytes::new()) }
    }

    /// Refuses the request with a reason ([`AckHandle::reject`]) and publishes nothing.
    pub fn refuse(reason: ReasonCode) -> Response {
        Response { kind: Kind::Refuse(reason), ..Response::new(Bytes::new()) }
    }

    /// Sets properties of the response, beside the correlation data. 5.0 only.
    pub fn properties(mut self, properties: Properties) -> Response {
        self.properties = properties;
        self
    }
}

macro_rules! impl_from_payload {
    ($($type:ty),*) => {$(
        impl From<$type> for Response {
            fn from(payload: $type) -> Response {
                Response::new(payload)
            }
        }
    )*};
}

impl_from_payload!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

/// Where a response goes, and for which request it is.
struct ReplyTo {
    topic: TopicName,
    correlation: Option<Vec<u8>>,
    qos: QoS,
}

impl ReplyTo {
    fn new(topic: TopicName, request: &Message) -> ReplyTo {
        let correlation = request.properties().correlation_data().map(<[u8]>::to_vec);
        ReplyTo { topic, correlation, qos: request.qos() }
    }
}

/// Handles one request. `Err` has what the broker is to be told of it.
async fn answer(
    shared: Arc<Shared>,
    to: Option<ReplyTo>,
    response: impl Future<Output: Into<Response>>,
) -> Result<(), Option<ReasonCode>> {
    let Response { payload, mut properties, kind } = response.await.into();
    match kind {
        Kind::Publish => {}
        Kind::Nothing => return Ok(()),
        Kind::Refuse(reason) => return Err(Some(reason)),
    }
    let Some(ReplyTo { topic, correlation, qos }) = to else { return Ok(()) };
    if let Some(correlation) = correlation
        && properties.push(Property::CorrelationData, PropertyValue::Binary(&correlation)).is_err()
    {
        return Err(Some(ReasonCode::UNSPECIFIED_ERROR));
    }
    let message = OutgoingMessage { qos, properties, ..OutgoingMessage::new(topic, payload) };
    match Publish::from_message(&shared, message).await {
        Ok(_) => Ok(()),
        // The request stays with the broker.
        Err(PublishError::Closed { .. } | PublishError::Lost { .. }) => Err(None),
        Err(error) => {
            tracing::warn!(%error, "a response was not published");
            Err(Some(ReasonCode::UNSPECIFIED_ERROR))
        }
    }
}

/// The handlers that are running, and the requests they are for.
#[derive(Default)]
struct Jobs {
    running: JoinSet<Result<(), Option<ReasonCode>>>,
    unacknowledged: HashMap<Id, AckHandle>,
}

impl Jobs {
    fn handle_done(
        &mut self,
        done: Result<(Id, Result<(), Option<ReasonCode>>), tokio::task::JoinError>,
    ) {
        let (id, answered) = done.unwrap_or_else(|error| {
            tracing::error!(%error, "a request handler panicked");
            (error.id(), Err(Some(ReasonCode::UNSPECIFIED_ERROR)))
        });
        if let Some(ack) = self.unacknowledged.remove(&id) {
            match answered {
                Ok(()) => ack.ack(),
                Err(Some(reason)) => ack.reject(reason),
                Err(None) => ack.forget(),
            }
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // The subscription ends with it: left alone, they would hold back all other
        // acknowledgements.
        for (_, ack) in self.unacknowledged.drain() {
            ack.reject(ReasonCode::UNSPECIFIED_ERROR);
        }
    }
}
