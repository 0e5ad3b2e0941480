//! How a client is set up: [`ClientBuilder`] collects, checks once and starts.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime;

use crate::codec::{Properties, Property, PropertyValue, QoS, Version};
use crate::driver;
#[cfg(feature = "socks5")]
use crate::net::Proxy;
#[cfg(feature = "tls")]
use crate::net::TlsConfig;
#[cfg(feature = "websocket")]
use crate::net::WebSocketOptions;
use crate::net::{ConnectOptions, Endpoint, EndpointError};
use crate::session::{Config, ConfigError, Session, SessionLoss, Will};

use super::Client;
use super::acks::Acks;
use super::alike::Alike;
use super::callbacks::{HookCaller, HookSet};
use super::dialing::{Dialing, Plan};
use super::error::BuildError;
use super::handle::Handle;
use super::shared::Shared;
use super::store_file::FileStore;
use super::stream::{Bounds, Inbox, Slow};
use super::task::{Task, now};
use super::timers::{Alarm, Timers};

/// Sets up a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use midge::{Client, QoS, Version, Will};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = Client::builder("mqtt://localhost")?
///     .version(Version::V5)
///     .client_id("kitchen-lamp")
///     .will(Will::new("lamps/kitchen/state", "gone")?.qos(QoS::AtLeastOnce).retain(true))
///     .keep_alive(Duration::from_secs(30));
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `start` is called"]
pub struct ClientBuilder {
    endpoint: Endpoint,
    fallbacks: Vec<Endpoint>,
    follow_redirects: bool,
    /// `None` for the defaults.
    connect_options: Option<Box<ConnectOptions>>,
    config: Config,
    keep_alive: Duration,
    client_id: Option<Box<str>>,
    /// `None` where it was not said, and the store decides.
    clean_start: Option<bool>,
    session_expiry: Option<u32>,
    store: Option<Box<FileStore>>,
    reconnect: Reconnect,
    retry_first_connect: bool,
    outgoing: OutgoingQueue,
    stream_limits: StreamLimits,
    acks: Acks,
    slow: Slow,
    pub(super) hooks: HookSet,
}

/// Decides what follows when a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reconnect {
    /// The client ends.
    Never,
    /// The client connects again after a random time: uniform between 0 and a bound that begins at
    /// `first`, doubles from attempt to attempt up to `max`, and begins again once a connection
    /// has lasted for 30 seconds.
    Backoff {
        /// The first bound.
        first: Duration,
        /// The highest bound.
        max: Duration,
    },
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect::Backoff { first: Duration::from_secs(1), max: Duration::from_secs(120) }
    }
}

/// Bounds the messages that are admitted and not confirmed, those in flight included, and says
/// what happens at the bound and without a connection.
///
/// A single message larger than `bytes` is admitted while nothing else is. SUBSCRIBE and
/// UNSUBSCRIBE count too. Every message that is dropped ends its
/// [`Delivery`](super::Delivery) with an error that has it, and is counted in
/// [`Stats`](super::Stats).
///
/// ```
/// use midge::client::{Offline, OutgoingQueue, Overflow};
///
/// // The newest 500 readings, as old as they may be.
/// let readings = OutgoingQueue {
///     messages: 500,
///     overflow: Overflow::DropOldest,
///     ..OutgoingQueue::default()
/// };
/// // Nothing that is late.
/// let live = OutgoingQueue { offline: Offline::Refuse, ..OutgoingQueue::default() };
/// # let _ = (readings, live);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingQueue {
    /// How many messages. Default 1,000.
    pub messages: usize,
    /// How many bytes of topics, payloads and properties. Default 8 MiB.
    pub bytes: usize,
    /// What happens when there is no room. Default [`Overflow::Wait`].
    pub overflow: Overflow,
    /// What happens without a connection. Default [`Offline::Keep`].
    pub offline: Offline,
}

/// Says what happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// `enqueue` waits for room, and `try_enqueue` gives the message back.
    #[default]
    Wait,
    /// The oldest messages that were not sent are dropped, with
    /// [`PublishError::Dropped`](super::PublishError::Dropped). Those in flight stay: where they
    /// alone reach the bound, it is the new message that goes.
    ///
    /// Between two turns of the client's task as much again is admitted; beyond that it is as with
    /// `Wait`.
    DropOldest,
    /// `enqueue`, too, gives the message back, and a request fails with
    /// [`RequestError::Full`](super::RequestError::Full).
    Refuse,
}

/// Says what happens to messages while the broker has not accepted a connection: before the first
/// one, and after one is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offline {
    /// They are queued for the next connection.
    #[default]
    Keep,
    /// Those of QoS 0 are refused with [`EnqueueError::Offline`](super::EnqueueError::Offline), and
    /// end with [`PublishError::Offline`](super::PublishError::Offline) where the connection is
    /// lost before they were sent. Others are queued.
    RefuseQos0,
    /// All are refused, and end when the connection is lost before they were sent. What was sent
    /// with QoS 1 or 2 is sent again on the next connection all the same.
    Refuse,
}

impl Offline {
    /// Whether a message does not wait for a connection.
    pub(super) fn refuses(self, qos: QoS) -> bool {
        match self {
            Offline::Keep => false,
            Offline::RefuseQos0 => qos == QoS::AtMostOnce,
            Offline::Refuse => true,
        }
    }
}

impl Default for OutgoingQueue {
    fn default() -> OutgoingQueue {
        OutgoingQueue {
            messages: 1000,
            bytes: 8 << 20,
            overflow: Overflow::default(),
            offline: Offline::default(),
        }
    }
}

/// What the handles of a client go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) version: Version,
    pub(super) outgoing: OutgoingQueue,
    pub(super) streams: StreamLimits,
}

/// Bounds each stream of received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl ClientBuilder {
    /// Starts with the defaults for an endpoint of any scheme. User name and password are taken from
    /// it, and for `ws` and `wss` the path to open the WebSocket at, which is `/mqtt` without one.
    pub fn new(endpoint: Endpoint) -> ClientBuilder {
        let mut config = Config::new(Version::default());
        config.username = endpoint.username().map(Into::into);
        config.password = endpoint.password().map(Into::into);
        config.receive_maximum = DEFAULT_RECEIVE_MAXIMUM;
        ClientBuilder {
            endpoint,
            fallbacks: Vec::new(),
            follow_redirects: true,
            connect_options: None,
            keep_alive: Duration::from_secs(config.keep_alive.into()),
            config,
            client_id: None,
            clean_start: None,
            session_expiry: None,
            store: None,
            reconnect: Reconnect::default(),
            retry_first_connect: true,
            outgoing: OutgoingQueue::default(),
            stream_limits: StreamLimits { messages: 1000, bytes: 16 << 20 },
            acks: Acks::default(),
            slow: Slow::default(),
            hooks: HookSet::default(),
        }
    }

    pub(super) fn from_url(url: &str) -> Result<ClientBuilder, EndpointError> {
        Endpoint::parse(url).map(ClientBuilder::new)
    }

    /// Adds a broker to go to when those before it cannot be reached or have no time. They are tried
    /// in turn, one round at once and the next ones after the delay of
    /// [`reconnect`](Self::reconnect). A lost connection is made again at the same broker first.
    ///
    /// User name and password are those of the first URL or of the builder; in this one they have no
    /// effect. Sessions are each broker's own, unless they are a cluster.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] says what is wrong with the URL.
    pub fn fallback(mut self, url: &str) -> Result<Self, EndpointError> {
        self.fallbacks.push(Endpoint::parse(url)?);
        Ok(self)
    }

    /// Sets whether the client goes where the broker sends it with [`USE_ANOTHER_SERVER`] or
    /// [`SERVER_MOVED`] and a Server Reference (§4.11): to the host and port of it, with the same
    /// kind of transport, and never from TLS to a plain connection. After five in a row it waits as
    /// after a failure. A server that has moved is remembered until the client ends. Default `true`.
    /// 5.0 only.
    ///
    /// [`USE_ANOTHER_SERVER`]: crate::codec::ReasonCode::USE_ANOTHER_SERVER
    /// [`SERVER_MOVED`]: crate::codec::ReasonCode::SERVER_MOVED
    pub fn follow_redirects(mut self, follow_redirects: bool) -> Self {
        self.follow_redirects = follow_redirects;
        self
    }

    /// Sets the protocol version. Default 3.1.1.
    pub fn version(mut self, version: Version) -> Self {
        self.config.version = version;
        self
    }

    /// Sets the client identifier. By default a random one is made up, `midge-` and 16 digits.
    ///
    /// With an empty one the broker chooses; in 3.1.1 it does so anew at each connect.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into().into_boxed_str());
        self
    }

    /// Sets whether the first connection starts without an old session (Clean Start, Clean
    /// Session). Default `true`, and `false` with a [`store`](Self::store).
    pub fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = Some(clean_start);
        self
    }

    /// Sets the longest time without a packet from this client, rounded up to whole seconds; zero
    /// turns the keep alive off. Default 60 s.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets how long a ping may stay unanswered. Default: half the keep alive, at most 10 s.
    pub fn ping_timeout(mut self, ping_timeout: Duration) -> Self {
        self.config.ping_timeout = Some(ping_timeout);
        self
    }

    /// Sets the user name.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.config.username = Some(username.into().into_boxed_str());
        self
    }

    /// Sets the password; 3.x takes one only together with a user name. It is shown in no log and
    /// wiped from memory when it is dropped.
    pub fn password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.config.password = Some(password.into().into());
        self
    }

    /// Sets the message that the broker publishes when the connection ends without a DISCONNECT.
    pub fn will(mut self, will: Will) -> Self {
        self.config.will = Some(will);
        self
    }

    /// Sets how many seconds the session outlives the connection; `u32::MAX` is for ever. Default
    /// 0, and for ever with a [`store`](Self::store). 5.0 only.
    pub fn session_expiry(mut self, seconds: u32) -> Self {
        self.session_expiry = Some(seconds);
        self
    }

    /// Sets where the session outlives the process. By default it is in memory alone.
    ///
    /// The client takes the identifier of the session in the store, if there is one and none, or an
    /// empty one, is set. Another one is refused with
    /// [`StoreError::OtherClient`](super::StoreError::OtherClient), by [`start`](Self::start) and in
    /// attempts to connect that a hook has changed. Messages in it that have properties need 5.0
    /// ([`StoreError::OnlyV5`](super::StoreError::OnlyV5)).
    ///
    /// Unless they are set, clean start is off and, in 5.0, the session expiry for ever: the
    /// promises of [`FileStore`] need a broker that keeps its part of the session. With a clean
    /// start, or once the session has expired, messages in flight fare as
    /// [`on_session_loss`](Self::on_session_loss) says.
    pub fn store(mut self, store: FileStore) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Sets what becomes of QoS 1 and 2 messages in flight when the broker has lost the session.
    /// By default they are published again.
    pub fn on_session_loss(mut self, on_session_loss: SessionLoss) -> Self {
        self.config.on_session_loss = on_session_loss;
        self
    }

    /// Sets how many QoS 1 and 2 messages the broker may have under way to this client. Default
    /// 1,000. 3.x brokers are not told; one of 5.0 that sends more is disconnected with
    /// [`RECEIVE_MAXIMUM_EXCEEDED`] \[MQTT-3.3.4-9\], as happens to mosquitto 2.0.11 with small
    /// values at QoS 2.
    ///
    /// [`RECEIVE_MAXIMUM_EXCEEDED`]: crate::codec::ReasonCode::RECEIVE_MAXIMUM_EXCEEDED
    pub fn receive_maximum(mut self, receive_maximum: u16) -> Self {
        self.config.receive_maximum = receive_maximum;
        self
    }

    /// Sets the largest packet that is accepted, in bytes. Default 16 MiB. 3.x brokers are not
    /// told.
    pub fn maximum_packet_size(mut self, bytes: u32) -> Self {
        self.config.maximum_packet_size = bytes;
        self
    }

    /// Sets how many QoS 1 and 2 messages may be in flight to the broker, which may allow fewer.
    /// Default 100.
    pub fn max_inflight(mut self, max_inflight: u16) -> Self {
        self.config.max_inflight = max_inflight;
        self
    }

    /// Sets how many of them may be of QoS 2, for MQTT 3.x, where the broker cannot say how many it
    /// takes at a time. Default 20, which is what mosquitto takes unless it is told otherwise: it
    /// closes the connection at the next one. In 5.0 the broker says so itself.
    pub fn max_inflight_exactly_once(mut self, messages: u16) -> Self {
        self.config.max_inflight_exactly_once = messages;
        self
    }

    /// Sets how many topic aliases the broker may use. Default 0. 5.0 only.
    pub fn topic_alias_maximum(mut self, topic_alias_maximum: u16) -> Self {
        self.config.topic_alias_maximum = topic_alias_maximum;
        self
    }

    /// Sets whether topic aliases are sent, as far as the broker takes them. Default `false`. 5.0
    /// only.
    pub fn topic_aliases(mut self, topic_aliases: bool) -> Self {
        self.config.topic_aliases = topic_aliases;
        self
    }

    /// Sets further properties of CONNECT. 5.0 only.
    pub fn connect_properties(mut self, properties: Properties) -> Self {
        self.config.connect_properties = properties;
        self
    }

    /// Sets the time for an attempt to connect, from the name lookup to the CONNACK. Default 30 s.
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_options.get_or_insert_default().connect_timeout = connect_timeout;
        self
    }

    /// Sets how long SUBACK and UNSUBACK may take. Default 30 s.
    pub fn request_timeout(mut self, request_timeout: Duration) -> Self {
        self.config.request_timeout = request_timeout;
        self
    }

    /// Sets how `mqtts` and `wss` endpoints are secured. By default the system's certificate
    /// authorities are trusted.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.connect_options.get_or_insert_default().tls = Some(tls);
        self
    }

    /// Sets how `ws` and `wss` endpoints are opened. The sub-protocol follows the protocol version,
    /// whatever is set there.
    #[cfg(feature = "websocket")]
    pub fn websocket(mut self, websocket: WebSocketOptions) -> Self {
        self.connect_options.get_or_insert_default().websocket = websocket;
        self
    }

    /// Sets the proxy to connect through. It looks up the name of the broker.
    #[cfg(feature = "socks5")]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.connect_options.get_or_insert_default().proxy = Some(proxy);
        self
    }

    /// Sets everything about the network connection, in place of all that was set before: its
    /// `connect_timeout`, `tls`, `websocket` and `proxy` too.
    pub fn connect_options(mut self, connect_options: ConnectOptions) -> Self {
        self.connect_options = Some(Box::new(connect_options));
        self
    }

    /// Sets what follows when a connection is lost.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Sets whether the first attempt to connect is repeated if it fails for a reason that may
    /// pass. Default `true`.
    pub fn retry_first_connect(mut self, retry_first_connect: bool) -> Self {
        self.retry_first_connect = retry_first_connect;
        self
    }

    /// Sets the bound of the messages that are admitted and not confirmed.
    pub fn outgoing(mut self, outgoing: OutgoingQueue) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Sets how many messages the inbox and each subscription hold for their consumer. Default
    /// 1,000.
    pub fn inbox_capacity(mut self, messages: usize) -> Self {
        self.stream_limits.messages = messages;
        self
    }

    /// Sets how many bytes the inbox and each subscription hold for their consumer; a single
    /// larger message is held all the same. Default 16 MiB.
    pub fn inbox_bytes(mut self, bytes: usize) -> Self {
        self.stream_limits.bytes = bytes;
        self
    }

    /// Sets when the QoS 1 and 2 messages of the inbox are acknowledged. Default: when the inbox
    /// yields them.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Sets what happens when the inbox is full. Default: [`Slow::HoldAck`].
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    /// Starts the client: a task on the current Tokio runtime that connects and stays until the
    /// client ends. It does not wait for the network; [`Client::connected`] does.
    ///
    /// Keep the [`Client`]: when the last one is dropped the client ends, and neither the [`Inbox`]
    /// nor a [`Subscription`](super::Subscription) keeps it alive.
    ///
    /// # Errors
    ///
    /// [`BuildError`], before anything is sent.
    pub fn start(self) -> Result<(Client, Inbox), BuildError> {
        let connect_options = match self.connect_options {
            Some(options) => Arc::new(driver::connect_options(self.config.version, *options)),
            None => default_connect_options(self.config.version),
        };
        let runtime = runtime::Handle::try_current().map_err(BuildError::NoRuntime)?;
        let mut config = self.config;
        let fraction = u64::from(self.keep_alive.subsec_nanos() > 0);
        let whole = self.keep_alive.as_secs().saturating_add(fraction);
        config.keep_alive =
            u16::try_from(whole).map_err(|_| BuildError::KeepAliveTooLong(self.keep_alive))?;
        config.connack_timeout = connect_options.connect_timeout;
        // The mailbox bounds what is admitted, before the session sees it.
        config.max_queued_messages = usize::MAX;
        config.max_queued_bytes = usize::MAX;
        for (what, value) in [
            ("outgoing queue", self.outgoing.messages.min(self.outgoing.bytes)),
            ("inbox capacity", self.stream_limits.messages),
        ] {
            if value == 0 {
                return Err(BuildError::Zero(what));
            }
        }
        config.durable = self.store.is_some();
        config.clean_start = self.clean_start.unwrap_or(!config.durable);
        let lasting = if config.durable && config.version == Version::V5 { u32::MAX } else { 0 };
        config.session_expiry = self.session_expiry.unwrap_or(lasting);
        let random = RandomState::new();
        let default_id = || format!("midge-{:016x}", random.hash_one("id")).into();
        let stored_id = self.store.as_ref().and_then(|store| store.client_id());
        // An empty one asks for the broker's choice: that was made.
        let client_id = self.client_id.filter(|id| !id.is_empty() || stored_id.is_none());
        let client_id = client_id.or_else(|| stored_id.map(Into::into)).unwrap_or_else(default_id);
        config.check(&client_id)?;
        if let Some(method) = self.hooks.authentication_method() {
            if config.version != Version::V5 {
                return Err(ConfigError::OnlyV5("authentication methods").into());
            }
            let property = Property::AuthenticationMethod;
            if config.connect_properties.as_ref().find(property).is_some() {
                return Err(ConfigError::HasField { property, field: "authenticator" }.into());
            }
            Properties::new()
                .push(property, PropertyValue::Utf8(method))
                .map_err(ConfigError::from)?;
        }
        let (store, restored) = match self.store {
            Some(store) => {
                let (store, restored) = store.start(&client_id, config.version)?;
                (Some(store), Some(restored))
            }
            None => (None, None),
        };

        let settings = Settings {
            version: config.version,
            outgoing: self.outgoing,
            streams: self.stream_limits,
        };
        let inbox = Bounds { limits: self.stream_limits, acks: self.acks, slow: self.slow };
        let shared = Shared::new(SETTINGS.share(settings), INBOX.share(inbox), store);
        let shared = Arc::new(shared);
        let handle = Handle { shared: Arc::clone(&shared) };
        let delays = match self.reconnect {
            Reconnect::Never => None,
            Reconnect::Backoff { first, max } => Some((first, max)),
        };
        let config = CONFIG.share(config);
        let plan = Plan {
            config: Arc::clone(&config),
            brokers: std::iter::once(self.endpoint).chain(self.fallbacks).collect(),
            follow_redirects: self.follow_redirects,
            options: connect_options,
            delays,
            retry_first: self.retry_first_connect,
        };
        let seed = random.hash_one("session");
        let session = match &restored {
            Some(restored) => {
                Session::restore(config, client_id, seed, now(), restored.ledger.clone())
            }
            None => Session::new(config, client_id, seed),
        };
        let mut task = Task::new(
            Arc::clone(&shared),
            session,
            HookCaller::new(self.hooks, handle),
            Alarm::new(Timers::of(&runtime)),
            Dialing::new(PLAN.share(plan), random.hash_one("backoff")),
        );
        if let Some(restored) = restored {
            task.await_restored(&restored);
        }
        task.spawn(&runtime);
        Ok((Client::new(Arc::clone(&shared)), Inbox::new(shared)))
    }
}

/// What clients of the same settings share.
static CONFIG: Alike<Config> = Alike::new();
static PLAN: Alike<Plan> = Alike::new();
static SETTINGS: Alike<Settings> = Alike::new();
static INBOX: Alike<Bounds> = Alike::new();

/// The defaults, which all clients that have them share.
fn default_connect_options(version: Version) -> Arc<ConnectOptions> {
    static SHARED: [OnceLock<Arc<ConnectOptions>>; 2] = [const { OnceLock::new() }; 2];
    // 3.1 has another sub-protocol of WebSocket.
    let [of_31, of_others] = &SHARED;
    let shared = if version == Version::V31 { of_31 } else { of_others };
    let options = || Arc::new(driver::connect_options(version, ConnectOptions::default()));
    Arc::clone(shared.get_or_init(options))
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("client_id", &self.client_id)
            .field("config", &self.config)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

/// Bounds what a broker may have under way to a slow consumer.
const DEFAULT_RECEIVE_MAXIMUM: u16 = 1000;
