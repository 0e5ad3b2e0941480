//! How operations and connections fail, with who started it.

use crate::codec::{
    DecodeError, EncodeError, PacketType, Properties, QoS, ReasonCode, TopicFilter,
};

/// Says who began the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// The application asked for it.
    User,
    /// This library gave up, because of the peer's silence or its breach of the protocol.
    Library,
    /// The broker.
    Remote,
}

/// Says why a session wants its link closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// [`Session::disconnect`](super::Session::disconnect) was called.
    #[error("disconnected")]
    Requested,
    /// The broker refused the connection in its CONNACK.
    #[error("the broker refused the connection: {reason}")]
    Refused {
        /// Why; the return codes of 3.x are translated.
        reason: ReasonCode,
        /// The CONNACK's properties: reason string, server reference, user properties.
        properties: Properties,
    },
    /// The broker sent a DISCONNECT.
    #[error("the broker disconnected: {reason}")]
    ServerDisconnect {
        /// Why.
        reason: ReasonCode,
        /// Reason string, server reference, user properties.
        properties: Properties,
    },
    /// The broker broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// No CONNACK came in time.
    #[error("the broker did not answer CONNECT in time")]
    ConnAckTimeout,
    /// No PINGRESP, nor anything else, came in time.
    #[error("the broker did not answer a ping in time")]
    PingTimeout,
    /// A packet began to arrive and did not become whole in time.
    #[error("the broker stopped in the middle of a packet")]
    PacketTimeout,
    /// CONNECT cannot be put on the wire; [`Config::check`](super::Config::check) would have told.
    #[error("CONNECT cannot be sent: {0}")]
    Unsendable(#[source] EncodeError),
}

impl End {
    /// Who began it.
    pub fn initiator(&self) -> Initiator {
        match self {
            End::Requested | End::Unsendable(_) => Initiator::User,
            End::Refused { .. } | End::ServerDisconnect { .. } => Initiator::Remote,
            End::Protocol(_) | End::ConnAckTimeout | End::PingTimeout | End::PacketTimeout => {
                Initiator::Library
            }
        }
    }

    /// The reason code that names it.
    pub fn reason(&self) -> ReasonCode {
        match self {
            End::Requested => ReasonCode::SUCCESS,
            End::Refused { reason, .. } | End::ServerDisconnect { reason, .. } => *reason,
            End::Protocol(error) => error.reason,
            End::PingTimeout => ReasonCode::KEEP_ALIVE_TIMEOUT,
            End::ConnAckTimeout | End::PacketTimeout | End::Unsendable(_) => {
                ReasonCode::UNSPECIFIED_ERROR
            }
        }
    }
}

/// Describes a breach of the protocol by the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker broke the protocol: {what}")]
pub struct ProtocolError {
    /// The packet it was in, where that is known.
    pub packet: Option<PacketType>,
    /// The code that a 5.0 DISCONNECT carries for it.
    pub reason: ReasonCode,
    /// The clause that was broken.
    pub clause: &'static str,
    what: What,
}

impl ProtocolError {
    pub(super) fn new(
        packet: PacketType,
        reason: ReasonCode,
        clause: &'static str,
        text: &'static str,
    ) -> ProtocolError {
        ProtocolError {
            packet: Some(packet),
            reason,
            clause,
            what: What::State { packet, clause, text },
        }
    }
}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> ProtocolError {
        ProtocolError {
            packet: error.packet(),
            reason: error.reason(),
            clause: error.clause(),
            what: What::Wire(error),
        }
    }
}

/// Where the description of a breach comes from: the bytes themselves, or the state they met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Wire(DecodeError),
    State { packet: PacketType, clause: &'static str, text: &'static str },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Wire(error) => write!(f, "{error}"),
            What::State { packet, clause, text } => write!(f, "{packet}: {text} [{clause}]"),
        }
    }
}

/// Says why a publish did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishFailure {
    /// The broker refused the message.
    #[error("the broker refused the message: {reason}")]
    Rejected {
        /// Why.
        reason: ReasonCode,
        /// Reason string and user properties.
        properties: Properties,
    },
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
    /// The connection, and with it what was known of the message, was lost.
    #[error("the connection was lost before the message was confirmed")]
    Lost {
        /// Whether a part of it had been sent, so that it may have arrived.
        maybe_delivered: bool,
    },
    /// The Message Expiry Interval had passed before the message could be sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The message cannot be put on the wire.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

/// Says why a SUBSCRIBE or UNSUBSCRIBE was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// No answer came in time.
    #[error("the broker did not answer in time")]
    Timeout,
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
    /// The session ended first.
    #[error("the session ended before the broker answered")]
    Lost,
    /// The request cannot be put on the wire.
    #[error(transparent)]
    Invalid(#[from] EncodeError),
}

impl RequestFailure {
    /// The reason code that comes closest; none where the session itself has ended.
    pub(super) fn reason(&self) -> Option<ReasonCode> {
        match self {
            RequestFailure::Timeout | RequestFailure::Invalid(_) => {
                Some(ReasonCode::UNSPECIFIED_ERROR)
            }
            RequestFailure::NotSupported(_) => Some(ReasonCode::TOPIC_FILTER_INVALID),
            RequestFailure::TooLarge { .. } => Some(ReasonCode::PACKET_TOO_LARGE),
            RequestFailure::Lost => None,
        }
    }
}

/// Gives a refused command back, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused<T> {
    /// What was refused.
    pub command: T,
    /// Why.
    pub reason: RefusedReason,
}

/// Says why the session did not take a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// The queue holds as many messages, bytes or requests as it may.
    #[error("the queue is full")]
    QueueFull,
    /// A disconnect was requested; nothing may follow it \[MQTT-3.14.4-1\].
    #[error("the session is disconnecting")]
    Disconnecting,
    /// A request without a filter \[MQTT-3.8.3-2\].
    #[error("at least one topic filter is needed")]
    NoFilter,
    /// No Local on a shared subscription \[MQTT-3.8.3-4\].
    #[error("no local cannot be combined with the shared subscription {0}")]
    NoLocalShared(TopicFilter),
    /// Properties, in MQTT 3.x.
    #[error("properties exist only in MQTT 5.0")]
    OnlyV5,
    /// A property that does not belong there.
    #[error(transparent)]
    Property(#[from] crate::codec::PropertyError),
    /// Topic aliases are given out by the session itself.
    #[error("topic aliases are assigned by the session: leave the property out")]
    TopicAlias,
    /// A subscription identifier in a message, which only a broker may send \[MQTT-3.3.4-6\].
    #[error("a message to the broker has no subscription identifier")]
    SubscriptionIdentifier,
    /// An AUTH that is not due.
    #[error("no authentication can go on: {0}")]
    Authentication(&'static str),
    /// A packet that is larger than the broker takes.
    #[error("the packet has {size} bytes and the broker takes at most {max}")]
    TooLarge {
        /// The packet's size in bytes.
        size: usize,
        /// The broker's Maximum Packet Size.
        max: u32,
    },
    /// A reason that a client's DISCONNECT may not have.
    #[error("a client does not disconnect with the reason {0}")]
    ReasonNotAllowed(ReasonCode),
    /// DISCONNECT may not set a session expiry where CONNECT had none (§3.14.2.2.2).
    #[error("a session that ends with its connection cannot be given an expiry at the end")]
    SessionExpiry,
}
