//! What a client tells about itself: its state, how connections came and went, and its counters.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::codec::{Properties, ReasonCode};
use crate::session::{Limits, ProtocolError};

use super::OutgoingMessage;
use super::error::{ConnectError, quoted};
use super::store_file::StoreError;

/// Describes an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectInfo {
    /// The client identifier in force, which is the broker's choice if none was given (5.0).
    pub client_id: Box<str>,
    /// The broker kept the session of an earlier connection.
    pub session_present: bool,
    /// The broker has lost the session that this client had; its subscriptions are being made
    /// again.
    pub session_lost: bool,
    /// The CONNACK's reason code, always a success.
    pub reason: ReasonCode,
    /// The CONNACK's properties, 5.0 only.
    pub properties: Properties,
    /// What the broker takes and has.
    pub limits: Limits,
    /// How many attempts it took since the last connection, from 1.
    pub attempts: u32,
    /// The broker's address; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
}

/// Says what a client is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// An attempt to connect is under way.
    Connecting {
        /// Which attempt since the last connection, from 1.
        attempt: u32,
    },
    /// The broker has accepted the connection.
    Connected(Arc<ConnectInfo>),
    /// The next attempt waits for its time.
    Waiting {
        /// How long it waits in all.
        delay: Duration,
        /// The number of the next attempt.
        attempt: u32,
    },
    /// The client has ended for good.
    Closed(CloseReason),
}

/// Says who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectedBy {
    /// The application, a hook that panicked, a consumer that was too slow, an authenticator, or a
    /// store that failed.
    User,
    /// The broker, with a DISCONNECT.
    Server,
    /// The network, or a broker that closed the connection without a word.
    Network,
    /// This library, because the broker broke the protocol.
    Protocol,
    /// This library, because the broker fell silent.
    KeepAlive,
}

/// Says why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The application asked for it.
    #[error("disconnected as asked")]
    User,
    /// A hook panicked.
    #[error("the hook {0} panicked")]
    HookPanicked(&'static str),
    /// A stream was full whose consumer wants the connection to be closed then
    /// ([`Slow::Disconnect`](super::Slow::Disconnect)).
    #[error("a consumer was too slow")]
    SlowConsumer,
    /// The [`Authenticator`](super::Authenticator) failed in a re-authentication.
    #[error("the enhanced authentication failed")]
    Authentication(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The disk that the [store](super::ClientBuilder::store) is on has failed, and the client ends.
    #[error("the store of the client failed")]
    Store(#[source] StoreError),
    /// The broker sent a DISCONNECT.
    #[error("the broker disconnected: {reason}{}", quoted(properties))]
    Server {
        /// Why.
        reason: ReasonCode,
        /// Reason string, server reference and user properties.
        properties: Properties,
    },
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection{}", in_packet(*partial_bytes))]
    Closed {
        /// How many bytes of a packet had arrived without its end.
        partial_bytes: usize,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] Arc<io::Error>),
    /// The broker broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The broker did not answer a ping in time.
    #[error("the broker did not answer a ping in time")]
    PingTimeout,
    /// The broker stopped in the middle of a packet.
    #[error("the broker stopped in the middle of a packet")]
    PacketTimeout,
}

impl DisconnectCause {
    /// Returns who ended the connection.
    pub fn by(&self) -> DisconnectedBy {
        match self {
            DisconnectCause::User
            | DisconnectCause::HookPanicked(_)
            | DisconnectCause::SlowConsumer
            | DisconnectCause::Authentication(_)
            | DisconnectCause::Store(_) => DisconnectedBy::User,
            DisconnectCause::Server { .. } => DisconnectedBy::Server,
            DisconnectCause::Closed { .. } | DisconnectCause::Io(_) => DisconnectedBy::Network,
            DisconnectCause::Protocol(_) => DisconnectedBy::Protocol,
            DisconnectCause::PingTimeout | DisconnectCause::PacketTimeout => {
                DisconnectedBy::KeepAlive
            }
        }
    }

    /// Returns the reason code that was sent or received, or that names the cause.
    pub fn reason(&self) -> ReasonCode {
        match self {
            DisconnectCause::User => ReasonCode::SUCCESS,
            DisconnectCause::HookPanicked(_) => ReasonCode::DISCONNECT_WITH_WILL,
            DisconnectCause::SlowConsumer => ReasonCode::QUOTA_EXCEEDED,
            DisconnectCause::Server { reason, .. } => *reason,
            DisconnectCause::Closed { .. }
            | DisconnectCause::Io(_)
            | DisconnectCause::Authentication(_)
            | DisconnectCause::Store(_)
            | DisconnectCause::PacketTimeout => ReasonCode::UNSPECIFIED_ERROR,
            DisconnectCause::Protocol(error) => error.reason,
            DisconnectCause::PingTimeout => ReasonCode::KEEP_ALIVE_TIMEOUT,
        }
    }

    /// Whether connecting again by itself would make things worse: two clients with one identifier
    /// would throw each other out for ever.
    pub(super) fn is_final(&self) -> bool {
        match self {
            DisconnectCause::User
            | DisconnectCause::HookPanicked(_)
            | DisconnectCause::Store(_) => true,
            DisconnectCause::Server { reason, .. } => *reason == ReasonCode::SESSION_TAKEN_OVER,
            _ => false,
        }
    }
}

/// Describes the end of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DisconnectInfo {
    /// Why; who, with which code, is told by its methods.
    pub cause: DisconnectCause,
    /// When the next attempt to connect begins; `None` when there will be none.
    pub will_reconnect_in: Option<Duration>,
}

/// Says why a client has ended for good.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application disconnected, drained, aborted, or dropped the last
    /// [`Client`](super::Client).
    #[error("the application disconnected")]
    User,
    /// No connection came to be, and no further attempt is made.
    #[error("the client could not connect")]
    ConnectFailed(#[source] ConnectError),
    /// The connection ended, and no further attempt is made.
    #[error("the client lost its connection")]
    Disconnected(#[source] DisconnectCause),
    /// A hook panicked.
    #[error("the hook {0} panicked")]
    HookPanicked(&'static str),
    /// The disk that the [store](super::ClientBuilder::store) is on has failed: going on could
    /// lose messages.
    #[error("the store of the client failed")]
    Store(#[source] StoreError),
    /// The client has not ended: the wait for it was in a hook, where it would never end
    /// ([`blocking`](super::blocking)).
    #[error("waiting here would never end")]
    WouldBlock,
    /// The runtime was shut down, and the driver task with it.
    #[error("the runtime of the client was shut down")]
    RuntimeStopped,
}

/// Says what became of the messages that were admitted when a [drain](super::Client::drain) began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// How many were confirmed.
    pub confirmed: u64,
    /// How many failed otherwise; each has told its [`Delivery`](super::Delivery) why.
    pub failed: u64,
    /// How many were sent and not confirmed in time: they may have arrived. With a
    /// [store](super::ClientBuilder::store), those of QoS 1 and 2 are in it.
    pub unconfirmed: u64,
    /// Those that were not sent, oldest first. With a store, those of QoS 1 and 2 are in it, and
    /// not here.
    pub unsent: Vec<OutgoingMessage>,
    /// How many were not sent and are in the store.
    pub stored: u64,
}

impl DrainReport {
    /// Returns whether every message was confirmed.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.unconfirmed == 0 && self.stored == 0 && self.unsent.is_empty()
    }
}

/// Holds the counters of a client since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted by the broker.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Messages confirmed: QoS 0 written, QoS 1 and 2 acknowledged.
    pub messages_published: u64,
    /// Messages that were admitted and not confirmed, the next three included.
    pub publish_failures: u64,
    /// Messages dropped unsent, by the rules of the [`OutgoingQueue`](super::OutgoingQueue).
    pub publishes_dropped: u64,
    /// Messages that were not confirmed, or not sent, in their time.
    pub publishes_expired: u64,
    /// Messages taken back.
    pub publishes_cancelled: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages dropped from streams that nobody took them from in time.
    pub messages_dropped: u64,
    /// Messages received that nobody wanted.
    pub messages_unclaimed: u64,
}

/// The counters as the driver task writes them: it is the only one to do so.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) connect_failures: Counter,
    pub(super) messages_published: Counter,
    pub(super) publish_failures: Counter,
    pub(super) publishes_dropped: Counter,
    pub(super) publishes_expired: Counter,
    pub(super) publishes_cancelled: Counter,
    pub(super) messages_received: Counter,
    pub(super) messages_dropped: Counter,
    pub(super) messages_unclaimed: Counter,
}

impl Counters {
    /// The counters as they are, but for the connections.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            connects: 0,
            connect_failures: self.connect_failures.value(),
            messages_published: self.messages_published.value(),
            publish_failures: self.publish_failures.value(),
            publishes_dropped: self.publishes_dropped.value(),
            publishes_expired: self.publishes_expired.value(),
            publishes_cancelled: self.publishes_cancelled.value(),
            messages_received: self.messages_received.value(),
            messages_dropped: self.messages_dropped.value(),
            messages_unclaimed: self.messages_unclaimed.value(),
        }
    }
}

/// A counter with one writer, which needs no locked instruction.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.value() + count, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn in_packet(partial_bytes: usize) -> String {
    match partial_bytes {
        0 => String::new(),
        bytes => format!(" {bytes} bytes into a packet"),
    }
}
