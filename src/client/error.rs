//! How the operations of a client fail: one small enum per operation.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{EncodeError, Properties, QoS, ReasonCode, TopicError};
use crate::net;
use crate::session::{ConfigError, ProtocolError, PublishFailure, RefusedReason, RequestFailure};

use super::OutgoingMessage;
use super::info::DisconnectCause;
use super::mailbox::NotAdmitted;
use super::store_file::StoreError;

/// Says why a client was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting cannot be sent, or contradicts another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A queue without room would take no message.
    #[error("the {0} must not be 0")]
    Zero(&'static str),
    /// The keep alive is longer than the protocol can say.
    #[error("a keep alive of {0:?} is longer than 65,535 seconds")]
    KeepAliveTooLong(Duration),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread for [blocking](super::blocking) clients could not be started.
    #[error("cannot start the thread of blocking clients")]
    NoThread(#[source] io::Error),
    /// There is no Tokio runtime to run on.
    #[error("a client must be started within a Tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
}

/// Says why an attempt to connect failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection to carry MQTT came to be.
    #[error(transparent)]
    Network(Arc<net::ConnectError>),
    /// The broker refused the connection in its CONNACK.
    #[error("the broker refused the connection: {reason}{}", quoted(properties))]
    Refused {
        /// Why; the return codes of 3.x are translated, see [`ReasonCode::to_v3_connack`].
        reason: ReasonCode,
        /// Reason string, server reference and user properties, 5.0 only.
        properties: Properties,
    },
    /// What answered breaks the protocol, or does not speak it at all.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The broker did not answer CONNECT.
    #[error("the broker did not answer CONNECT within {after:?}")]
    NoAnswer {
        /// The time allowed from the first step of the attempt.
        after: Duration,
    },
    /// The connection was closed before the broker answered.
    #[error("the connection was closed before the broker answered CONNECT")]
    Closed {
        /// How many bytes of an answer had arrived.
        partial_bytes: usize,
    },
    /// The connection broke before the broker answered.
    #[error("the connection broke before the broker answered CONNECT")]
    Io(#[source] Arc<io::Error>),
    /// The broker answered with a DISCONNECT.
    #[error("the broker disconnected: {reason}{}", quoted(properties))]
    ServerDisconnect {
        /// Why.
        reason: ReasonCode,
        /// Reason string, server reference and user properties.
        properties: Properties,
    },
    /// The CONNECT that the settings make does not fit into a packet.
    #[error(transparent)]
    Unsendable(#[from] EncodeError),
    /// The hook [`before_connect`](super::ClientBuilder::before_connect) failed.
    #[error("the hook before_connect failed")]
    Hook(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The hook [`before_connect`](super::ClientBuilder::before_connect) took too long.
    #[error("the hook before_connect was not done within {after:?}")]
    HookTimeout {
        /// The time allowed.
        after: Duration,
    },
    /// A hook changed the attempt to what cannot be sent, or contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A hook changed the client identifier, and the session in the
    /// [store](super::ClientBuilder::store) is that of another one.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The [`Authenticator`](super::Authenticator) could not begin or go on, or did not find the
    /// broker's proof right.
    #[error("the enhanced authentication failed")]
    Authentication(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The client has ended otherwise.
    #[error("the client has ended")]
    Ended(#[source] Option<DisconnectCause>),
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

impl ConnectError {
    /// Returns the reason that the broker gave, if it gave one.
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            ConnectError::Refused { reason, .. }
            | ConnectError::ServerDisconnect { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// The other server that the broker names, and whether it has moved there for good.
    pub(super) fn server_reference(&self) -> Option<(&str, bool)> {
        match self {
            ConnectError::Refused { reason, properties }
            | ConnectError::ServerDisconnect { reason, properties } => {
                server_reference(*reason, properties)
            }
            _ => None,
        }
    }

    /// Returns whether the same attempt may succeed later, with nothing changed on this side.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Network(error) => error.is_retryable(),
            ConnectError::Refused { reason, .. }
            | ConnectError::ServerDisconnect { reason, .. } => {
                matches!(
                    *reason,
                    ReasonCode::UNSPECIFIED_ERROR
                        | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
                        | ReasonCode::SERVER_UNAVAILABLE
                        | ReasonCode::SERVER_BUSY
                        | ReasonCode::SERVER_SHUTTING_DOWN
                        | ReasonCode::QUOTA_EXCEEDED
                        | ReasonCode::CONNECTION_RATE_EXCEEDED
                )
            }
            ConnectError::Protocol(_)
            | ConnectError::NoAnswer { .. }
            | ConnectError::Closed { .. }
            | ConnectError::Io(_)
            | ConnectError::Hook(_)
            | ConnectError::HookTimeout { .. } => true,
            ConnectError::Unsendable(_)
            | ConnectError::Config(_)
            | ConnectError::Store(_)
            | ConnectError::Authentication(_)
            | ConnectError::Ended(_)
            | ConnectError::WouldBlock => false,
        }
    }
}

/// Names a text that is no topic name or topic filter; its source says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not valid as a {kind}", shortened(topic))]
#[non_exhaustive]
pub struct InvalidTopic {
    /// The text.
    pub topic: Box<str>,
    /// What it should be.
    kind: &'static str,
    #[source]
    reason: TopicError,
}

impl InvalidTopic {
    pub(super) fn name(topic: &str, reason: TopicError) -> InvalidTopic {
        InvalidTopic { topic: topic.into(), kind: "topic name", reason }
    }

    pub(super) fn filter(filter: &str, reason: TopicError) -> InvalidTopic {
        InvalidTopic { topic: filter.into(), kind: "topic filter", reason }
    }

    /// Returns what is wrong with it.
    pub fn reason(&self) -> TopicError {
        self.reason
    }
}

/// Says why a message was not admitted. It comes back, where there was one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The topic is not a topic name.
    #[error(transparent)]
    InvalidTopic(#[from] InvalidTopic),
    /// The message cannot be sent as it is: a property that does not belong there, or properties
    /// in MQTT 3.x.
    #[error(transparent)]
    Invalid(#[from] RefusedReason),
    /// A field does not fit into a packet.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// As many messages or bytes are queued as may be.
    #[error("the queue of outgoing messages is full")]
    Full(Box<OutgoingMessage>),
    /// There is no connection, and [`Offline`](super::Offline) says not to queue for the next one.
    #[error("there is no connection to the broker")]
    Offline(Box<OutgoingMessage>),
    /// There was no room before the [deadline](super::Publish::deadline).
    #[error("there was no room in the queue before the deadline of the message")]
    Expired(Box<OutgoingMessage>),
    /// The [store](super::ClientBuilder::store) did not take the message. Where the disk failed
    /// after that, which is told by [`Durability::Power`](super::Durability::Power) alone, the
    /// message may be sent all the same.
    #[error("the message could not be stored")]
    Store {
        /// The message.
        message: Box<OutgoingMessage>,
        /// Why.
        #[source]
        error: StoreError,
    },
    /// The client has ended, or is [draining](super::Client::drain).
    #[error("the client has ended")]
    Closed(Box<OutgoingMessage>),
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

impl EnqueueError {
    /// Takes the message out; `None` where there was none to begin with, or it cannot be sent.
    pub fn into_message(self) -> Option<OutgoingMessage> {
        match self {
            EnqueueError::InvalidTopic(_)
            | EnqueueError::Invalid(_)
            | EnqueueError::Encode(_)
            | EnqueueError::WouldBlock => None,
            EnqueueError::Full(message)
            | EnqueueError::Offline(message)
            | EnqueueError::Expired(message)
            | EnqueueError::Store { message, .. }
            | EnqueueError::Closed(message) => Some(*message),
        }
    }

    pub(super) fn not_admitted(reason: NotAdmitted, message: OutgoingMessage) -> EnqueueError {
        let message = Box::new(message);
        match reason {
            NotAdmitted::Full => EnqueueError::Full(message),
            NotAdmitted::Offline => EnqueueError::Offline(message),
            NotAdmitted::Expired => EnqueueError::Expired(message),
            NotAdmitted::Closed => EnqueueError::Closed(message),
        }
    }
}

/// Says why a publish did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is not a topic name.
    #[error(transparent)]
    InvalidTopic(#[from] InvalidTopic),
    /// The message cannot be sent as it is: a property that does not belong there, or properties
    /// in MQTT 3.x.
    #[error(transparent)]
    Invalid(#[from] RefusedReason),
    /// A field does not fit into a packet.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The packet is larger than the broker takes.
    #[error("the packet has {size} bytes and the broker takes at most {max}")]
    TooLarge {
        /// The packet's size in bytes.
        size: usize,
        /// The broker's Maximum Packet Size.
        max: u32,
    },
    /// The broker does not take this quality of service.
    #[error("the broker takes at most QoS {}", u8::from(*max))]
    QosNotSupported {
        /// Its Maximum QoS.
        max: QoS,
    },
    /// The broker keeps no retained messages.
    #[error("the broker does not keep retained messages")]
    RetainNotSupported,
    /// The broker refused the message.
    #[error("the broker refused the message: {reason}{}", quoted(properties))]
    Rejected {
        /// Why.
        reason: ReasonCode,
        /// Reason string and user properties, 5.0 only.
        properties: Properties,
    },
    /// The queue was full, and [`Overflow`](super::Overflow) says not to wait for room.
    #[error("the queue of outgoing messages is full")]
    Full(Box<OutgoingMessage>),
    /// The message was dropped from the full queue, unsent, to make room for newer ones, as
    /// [`Overflow::DropOldest`](super::Overflow::DropOldest) says.
    #[error("the message was dropped from the full queue")]
    Dropped(Box<OutgoingMessage>),
    /// There was no connection, or it was lost before the message was sent, and
    /// [`Offline`](super::Offline) says not to queue for the next one.
    #[error("there is no connection to the broker")]
    Offline(Box<OutgoingMessage>),
    /// The message was not confirmed before its [deadline](super::Publish::deadline), or not sent
    /// before its Message Expiry Interval had passed.
    #[error("the message expired{}", if message.is_some() { " before it was sent" } else { "" })]
    Expired {
        /// The message, if no part of it was sent; without it, it may have arrived or may still.
        message: Option<Box<OutgoingMessage>>,
    },
    /// The message was taken back by [`Delivery::cancel`](super::Delivery::cancel).
    #[error("the message was taken back")]
    Cancelled,
    /// The [store](super::ClientBuilder::store) did not take the message.
    #[error("the message could not be stored")]
    Store {
        /// The message.
        message: Box<OutgoingMessage>,
        /// Why.
        #[source]
        error: StoreError,
    },
    /// The connection was lost, and with it what was known of the message.
    #[error("the connection was lost before the message was confirmed")]
    Lost {
        /// Whether a part of it had been sent, so that it may have arrived.
        maybe_delivered: bool,
    },
    /// The client ended first.
    #[error("the client ended before the message was confirmed")]
    Closed {
        /// Whether a part of it had been sent, so that it may have arrived.
        maybe_delivered: bool,
    },
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

impl From<PublishFailure> for PublishError {
    fn from(failure: PublishFailure) -> PublishError {
        match failure {
            PublishFailure::Rejected { reason, properties } => {
                PublishError::Rejected { reason, properties }
            }
            PublishFailure::TooLarge { size, max } => PublishError::TooLarge { size, max },
            PublishFailure::QosNotSupported { max } => PublishError::QosNotSupported { max },
            PublishFailure::RetainNotSupported => PublishError::RetainNotSupported,
            PublishFailure::Lost { maybe_delivered } => PublishError::Lost { maybe_delivered },
            PublishFailure::Invalid(error) => PublishError::Encode(error),
            PublishFailure::Expired => PublishError::Expired { message: None },
        }
    }
}

impl From<EnqueueError> for PublishError {
    fn from(error: EnqueueError) -> PublishError {
        match error {
            EnqueueError::InvalidTopic(error) => PublishError::InvalidTopic(error),
            EnqueueError::Invalid(reason) => PublishError::Invalid(reason),
            EnqueueError::Encode(error) => PublishError::Encode(error),
            EnqueueError::Full(message) => PublishError::Full(message),
            EnqueueError::Offline(message) => PublishError::Offline(message),
            EnqueueError::Expired(message) => PublishError::Expired { message: Some(message) },
            EnqueueError::Store { message, error } => PublishError::Store { message, error },
            EnqueueError::Closed(_) => PublishError::Closed { maybe_delivered: false },
            EnqueueError::WouldBlock => PublishError::WouldBlock,
        }
    }
}

/// Says why a SUBSCRIBE or UNSUBSCRIBE was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The filter is not a topic filter.
    #[error(transparent)]
    InvalidFilter(#[from] InvalidTopic),
    /// The request cannot be sent as it is.
    #[error(transparent)]
    Invalid(#[from] RefusedReason),
    /// A field does not fit into a packet.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker announced that it does not have the feature.
    #[error("the broker does not support {0}")]
    NotSupported(&'static str),
    /// The packet is larger than the broker takes.
    #[error("the packet has {size} bytes and the broker takes at most {max}")]
    TooLarge {
        /// The packet's size in bytes.
        size: usize,
        /// The broker's Maximum Packet Size.
        max: u32,
    },
    /// The broker refused the filter; only from calls with a single one.
    #[error("the broker refused \"{filter}\": {reason}{}", quoted(properties))]
    Rejected {
        /// The filter.
        filter: Box<str>,
        /// Why.
        reason: ReasonCode,
        /// Reason string and user properties, 5.0 only.
        properties: Properties,
    },
    /// No answer came in time; whether the broker acted on the request is unknown.
    #[error("the broker did not answer in time")]
    Timeout,
    /// The session ended first; whether the broker acted on the request is unknown.
    #[error("the session ended before the broker answered")]
    Lost,
    /// As much is queued as may be; only from calls that do not wait, or where
    /// [`Overflow`](super::Overflow) says that none does.
    #[error("the queue of outgoing messages is full")]
    Full,
    /// The client ended first.
    #[error("the client ended before the broker answered")]
    Closed,
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

/// Says why a subscribe did not succeed.
pub type SubscribeError = RequestError;

/// Says why an unsubscribe did not succeed.
pub type UnsubscribeError = RequestError;

impl From<RequestFailure> for RequestError {
    fn from(failure: RequestFailure) -> RequestError {
        match failure {
            RequestFailure::Timeout => RequestError::Timeout,
            RequestFailure::NotSupported(what) => RequestError::NotSupported(what),
            RequestFailure::TooLarge { size, max } => RequestError::TooLarge { size, max },
            RequestFailure::Lost => RequestError::Lost,
            RequestFailure::Invalid(error) => RequestError::Encode(error),
        }
    }
}

impl From<NotAdmitted> for RequestError {
    fn from(error: NotAdmitted) -> RequestError {
        match error {
            // Only messages have a deadline, and are refused without a connection.
            NotAdmitted::Full | NotAdmitted::Offline | NotAdmitted::Expired => RequestError::Full,
            NotAdmitted::Closed => RequestError::Closed,
        }
    }
}

/// Says why a request got no response.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The topic of the request or of the response is not a topic name.
    #[error(transparent)]
    InvalidTopic(#[from] InvalidTopic),
    /// MQTT 3.x does not know where responses go.
    #[error("MQTT 3.x has no response topics: a request needs one to be set")]
    NoResponseTopic,
    /// The Response Information of the broker makes no topic name.
    #[error("the response information of the broker makes no topic name")]
    ResponseInformation,
    /// There is no subscription to the response topic.
    #[error("could not subscribe to the response topic")]
    Subscribe(#[source] RequestError),
    /// The request was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker said that nobody is subscribed to the topic of the request, which it may do for
    /// QoS 1 and 2 in 5.0.
    #[error("nobody is subscribed to the topic of the request")]
    NoResponder,
    /// No response came in time.
    #[error("no response came within {after:?}")]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// The client ended first.
    #[error("the client ended before the response came")]
    Closed,
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

/// Says why a re-authentication did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// The client has no authenticator.
    #[error("the client has no authenticator")]
    NoAuthenticator,
    /// It cannot be begun: there is no connection, or another one is under way.
    #[error(transparent)]
    Refused(#[from] RefusedReason),
    /// The [`Authenticator`](super::Authenticator) could not begin or go on, or did not find the
    /// broker's proof right.
    #[error("the authenticator failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The broker refused, and closed the connection.
    #[error("the broker refused to authenticate: {reason}{}", quoted(properties))]
    Rejected {
        /// Why.
        reason: ReasonCode,
        /// Reason string and user properties.
        properties: Properties,
    },
    /// The connection was lost first.
    #[error("the connection was lost before the authentication was done")]
    Lost,
    /// The client ended first.
    #[error("the client ended before the authentication was done")]
    Closed,
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

/// Says why a disconnect was not sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The DISCONNECT cannot be sent as it is. The client goes on.
    #[error(transparent)]
    Invalid(#[from] RefusedReason),
    /// The client had ended before.
    #[error("the client had ended before")]
    Closed,
    /// The connection failed before the DISCONNECT was written: the broker publishes the will.
    #[error("the connection was lost before the DISCONNECT was written")]
    Lost(#[source] Option<Arc<io::Error>>),
    /// The wait was in a hook, where it would never end ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
}

/// The server that a broker names besides a reason, and whether it has moved there for good.
pub(super) fn server_reference(
    reason: ReasonCode,
    properties: &Properties,
) -> Option<(&str, bool)> {
    let reference = properties.as_ref().server_reference()?;
    match reason {
        ReasonCode::USE_ANOTHER_SERVER => Some((reference, false)),
        ReasonCode::SERVER_MOVED => Some((reference, true)),
        _ => None,
    }
}

/// The text in quotes, or its beginning where it is long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(100) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
    }
}

/// The broker's own words, where it sent any.
pub(super) fn quoted(properties: &Properties) -> String {
    match properties.as_ref().reason_string() {
        Some(text) => format!(" ({text:?})"),
        None => String::new(),
    }
}
