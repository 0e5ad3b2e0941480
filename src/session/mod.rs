//! The MQTT protocol engine, without I/O.
//!
//! A [`Session`] is one logical client (§4.1): it survives the loss of its network connection and
//! knows what is to be sent again on the next one. It holds no socket, no clock and no source of
//! randomness; the same calls with the same arguments always give the same results.
//!
//! # The contract
//!
//! * The world tells the session: [`handle_connected`](Session::handle_connected),
//!   [`handle_bytes`](Session::handle_bytes), [`handle_written`](Session::handle_written),
//!   [`handle_timeout`](Session::handle_timeout),
//!   [`handle_disconnected`](Session::handle_disconnected).
//! * The application commands: [`publish`](Session::publish), [`subscribe`](Session::subscribe),
//!   [`unsubscribe`](Session::unsubscribe), [`ack`](Session::ack),
//!   [`disconnect`](Session::disconnect), and for enhanced authentication
//!   [`authenticate`](Session::authenticate) and
//!   [`reauthenticate`](Session::reauthenticate). Commands are valid in any state and wait for a link.
//! * The session tells the world: after any `handle_*` or command, ask
//!   [`poll_transmit`](Session::poll_transmit), [`poll_event`](Session::poll_event) and
//!   [`poll_timeout`](Session::poll_timeout), in this order.
//! * Time comes as an argument and never goes back. A `handle_timeout` that is early does nothing.
//! * After [`Event::Closing`], write what `poll_transmit` still yields, close the link and call
//!   `handle_disconnected`, which is due exactly once for every `handle_connected`.
//!
//! Not here: bytes and packets ([`codec`]), sockets ([`net`](crate::net)), waiting
//! ([`driver`](crate::driver)).
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod alias;
mod authenticate;
mod backoff;
mod commands;
mod config;
mod error;
mod event;
mod ids;
mod incoming;
mod keepalive;
mod limits;
mod message;
mod outgoing;
mod receive;
mod requests;
mod send;
mod state;
mod store;
mod traffic;
mod transmit;
mod window;

use std::sync::Arc;
use std::time::Instant;

use crate::codec::{self, Cut, PacketType, Properties, Version};

pub use self::backoff::Backoff;
pub use self::config::{Config, ConfigError, Secret, SessionLoss, Will};
pub use self::error::{
    End, Initiator, ProtocolError, PublishFailure, Refused, RefusedReason, RequestFailure,
};
pub use self::event::{Connected, Event, Receipt, SubscribeReceipt, Ticket};
pub use self::limits::Limits;
pub use self::message::{
    AckHandle, Inbox, Message, Received, SubscribeRequest, UnsubscribeRequest, Verdict,
};
pub use self::store::{Change, Entry, Ledger, Stage};
pub use self::transmit::Transmit;

use self::authenticate::Authentication;
use self::event::Events;
use self::send::{append_auth, append_ping};
use self::state::{LastWord, Lifetime, State};
use self::traffic::{IdUse, Traffic};

/// Runs the client's side of MQTT 3.1, 3.1.1 and 5.0 for one logical client.
///
/// See the [module documentation](self) for the order of calls.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    client_id: Box<str>,
    /// Spreads the first ping of clients that connect together.
    spread: u8,
    /// The broker has accepted a connection of this session before.
    connected_before: bool,
    /// The broker has accepted the connection on the current link.
    accepted: bool,
    /// How many CONNECTs in a row have had no answer. Any of them may have made a new session,
    /// which a later CONNACK then calls present.
    unanswered: u8,
    /// What the broker has granted on this link, where that is not what holds without a word.
    granted: Option<Box<Limits>>,
    state: State,
    /// Since when the first bytes of an incomplete packet wait for the rest.
    partial_since: Option<Instant>,
    reading: bool,
    /// Number of the link, by which handles of an earlier one are recognised.
    link: u16,
    /// Bytes of output made on this link, and how many of them the kernel has taken.
    produced: u64,
    written: u64,
    events: Events,
    /// Only where a method is used.
    authentication: Option<Box<Authentication>>,
    /// Everything that an idle connection does not need.
    traffic: Option<Box<Traffic>>,
}

/// Says what a deadline of [`Session::poll_timeout`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The CONNACK is due.
    ConnAck,
    /// A PINGREQ is due.
    Ping,
    /// The PINGRESP is due.
    PingResp,
    /// A packet that has begun to arrive is due to be whole.
    Packet,
    /// The answer to a SUBSCRIBE or UNSUBSCRIBE is due.
    Request,
}

/// No CONNACK is larger: what comes before it is refused beyond this size, so that a stranger
/// cannot make a client hold much.
const LARGEST_CONNACK: u32 = 64 << 10;

impl Session {
    /// Makes a session without a link, for a configuration that passes [`Config::check`].
    ///
    /// The seed spreads the first ping over half of the keep alive interval; 0 does not spread it.
    pub fn new(config: Arc<Config>, client_id: impl Into<Box<str>>, seed: u64) -> Session {
        Session {
            granted: None,
            config,
            client_id: client_id.into(),
            spread: (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8,
            connected_before: false,
            accepted: false,
            unanswered: 0,
            state: State::Offline { lifetime: Lifetime::Ended },
            partial_since: None,
            reading: true,
            link: 0,
            produced: 0,
            written: 0,
            events: Events::default(),
            authentication: None,
            traffic: None,
        }
    }

    /// Changes the settings for the links to come, to ones that pass [`Config::check`] for this
    /// client identifier. The version must stay as it is, and there must be no link.
    ///
    /// Another identifier belongs to another session of the broker's: what is in flight is dealt with
    /// as if the broker had lost its session, and all subscriptions are made again.
    pub fn reconfigure(&mut self, config: Arc<Config>, client_id: &str) {
        debug_assert!(
            matches!(self.state, State::Offline { .. }),
            "the settings of a link are fixed"
        );
        debug_assert_eq!(config.version, self.config.version, "a session has one version");
        self.config = config;
        if *self.client_id != *client_id {
            self.client_id = client_id.into();
            self.state = State::Offline { lifetime: Lifetime::Ended };
            // A session that the broker then has is not known to have the subscriptions of this one.
            self.unanswered = self.unanswered.max(1);
        }
    }

    /// Makes a session that goes on where an earlier process with the same client identifier left
    /// off. The messages of the ledger are published, those in flight again with their packet
    /// identifiers; each ends with an [`Event::Published`] under its old ticket.
    ///
    /// The broker may have its part of the session still, or may not: that is told by its CONNACK,
    /// and decides as after a lost connection.
    pub fn restore(
        config: Arc<Config>,
        client_id: impl Into<Box<str>>,
        seed: u64,
        now: Instant,
        ledger: Ledger,
    ) -> Session {
        let mut session = Session::new(config, client_id, seed);
        if let Some(expiry) = ledger.session_expiry {
            session.state = State::Offline { lifetime: Lifetime::after(now, expiry) };
            session.connected_before = true;
            // The earlier process may have ended between a CONNECT and its CONNACK.
            session.unanswered = 1;
        }
        let version = session.config.version;
        session.traffic().restore(now, version, ledger);
        session
    }

    /// Takes note of a new link: CONNECT becomes pending output \[MQTT-3.1.0-1\].
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_disconnected(now);
        self.granted = None;
        self.accepted = false;
        self.produced = 0;
        self.written = 0;
        self.partial_since = None;
        self.reading = true;
        self.begin_authentication();
        let lifetime = self.state.lifetime();
        self.state = State::Connecting { since: now, lifetime };
    }

    /// Takes bytes from the broker and says how many it is done with.
    ///
    /// The caller keeps the others and passes them again with what follows them. The call returns
    /// with whole packets left where a message would overtake an event: poll the events and call
    /// again. When nothing was consumed and there is no event, more bytes are needed.
    pub fn handle_bytes<I: Inbox>(&mut self, now: Instant, input: &[u8], inbox: &mut I) -> usize {
        if let State::Online { keep_alive, .. } = &mut self.state
            && !input.is_empty()
        {
            keep_alive.handle_received(now);
        }
        let mut consumed = 0;
        loop {
            let largest = match self.state {
                State::Connecting { .. } => self.config.maximum_packet_size.min(LARGEST_CONNACK),
                State::Online { .. } => self.config.maximum_packet_size,
                State::Offline { .. } | State::Closing { .. } => {
                    self.partial_since = None;
                    return input.len();
                }
            };
            let rest = input.get(consumed..).unwrap_or_default();
            let outcome = match codec::cut(rest, largest) {
                Ok(Cut::Need(_)) if rest.is_empty() => {
                    self.partial_since = None;
                    return consumed;
                }
                Ok(Cut::Need(_)) => {
                    if consumed > 0 {
                        self.partial_since = None;
                    }
                    self.partial_since.get_or_insert(now);
                    return consumed;
                }
                Ok(Cut::Frame { frame, len }) => {
                    if frame.first >> 4 == PacketType::Publish as u8 && !self.events.is_empty() {
                        self.partial_since = None;
                        return consumed;
                    }
                    consumed += len;
                    self.handle_frame(now, frame, inbox)
                }
                Err(error) => Err(ProtocolError::from(error)),
            };
            if let Err(error) = outcome {
                self.fail(error);
            }
        }
    }

    /// Takes note that the kernel has taken `bytes` more of the output.
    pub fn handle_written(&mut self, now: Instant, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.written += bytes as u64;
        if let State::Online { keep_alive, .. } = &mut self.state {
            keep_alive.handle_written(now, self.written);
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.outgoing.handle_written(self.written, &mut self.events);
        }
    }

    /// Takes note that the link is gone, whoever has closed it.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if matches!(self.state, State::Offline { .. }) {
            return;
        }
        let lifetime = self.state.lifetime();
        self.state = State::Offline { lifetime };
        self.partial_since = None;
        self.end_authentication();
        self.link = self.link.wrapping_add(1);
        if std::mem::take(&mut self.accepted) {
            let expiry = self.session_expiry();
            self.state = State::Offline { lifetime: Lifetime::after(now, expiry) };
            if self.config.durable {
                self.events.push_back(Event::Store(Change::Disconnected { expiry }));
            }
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.outgoing.handle_disconnected(&mut self.events);
            traffic.incoming.handle_disconnected(self.link);
            traffic.requests.handle_disconnected();
            // Publishes keep their identifiers, requests get new ones on the next link.
            traffic.ids.retain(|id_use| matches!(id_use, IdUse::Publish(_)));
            traffic.control.clear();
        }
    }

    /// Acts on every deadline that has passed. An early call does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Connecting { since, .. } => {
                let due = since.checked_add(self.config.connack_timeout);
                if due.is_some_and(|due| due <= now) {
                    self.close(End::ConnAckTimeout, None);
                }
                return;
            }
            State::Online { keep_alive } => {
                if keep_alive.pong_due().is_some_and(|due| due <= now) {
                    self.close(End::PingTimeout, None);
                    return;
                }
                if keep_alive.ping_due().is_some_and(|due| due <= now) {
                    let limits = Limits::in_force(self.granted.as_deref(), &self.config);
                    let timeout = self.config.ping_timeout_for(limits.keep_alive);
                    keep_alive.handle_ping_due(now, timeout);
                    self.put_away();
                }
            }
            State::Offline { .. } | State::Closing { .. } => return,
        }
        if self.packet_due().is_some_and(|due| due <= now) {
            self.close(End::PacketTimeout, None);
            return;
        }
        if let Some(traffic) = &mut self.traffic
            && self.reading
        {
            let timeout = self.config.request_timeout;
            traffic.requests.handle_timeout(now, timeout, &mut self.events);
        }
    }

    /// Takes note that the socket is not read for a while, or is read again. What is not read
    /// cannot be late: the deadlines of the peer stand still meanwhile, pings still go out.
    pub fn set_reading(&mut self, now: Instant, reading: bool) {
        if std::mem::replace(&mut self.reading, reading) == reading {
            return;
        }
        if let State::Online { keep_alive, .. } = &mut self.state {
            keep_alive.set_reading(now, reading);
        }
        if let Some(since) = &mut self.partial_since {
            *since = now;
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.requests.handle_reading(now);
        }
    }

    /// Appends pending output, up to the budget of `out`, and says whether there was any.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Transmit) -> bool {
        let before = out.len();
        match &mut self.state {
            State::Offline { .. } => return false,
            State::Connecting { since, lifetime } => {
                if self.produced == 0 {
                    let clean_start = self.config.clean_start && !lifetime.lasts(*since);
                    match self.append_connect(clean_start, out) {
                        Ok(()) => self.unanswered = self.unanswered.saturating_add(1),
                        Err(error) => self.close(End::Unsendable(error), None),
                    }
                }
                append_auth(&mut self.authentication, out);
                self.produced += (out.len() - before) as u64;
            }
            State::Online { keep_alive } => {
                if keep_alive.take_ping_wanted() {
                    self.produced += append_ping(out);
                    keep_alive.handle_ping_encoded(self.produced);
                }
                self.produced += append_auth(&mut self.authentication, out);
                self.transmit_traffic(now, out);
            }
            State::Closing { last_word, .. } => {
                if let Some(last_word) = last_word.take() {
                    self.append_last_word(&last_word, out);
                }
                self.produced += (out.len() - before) as u64;
            }
        }
        out.len() > before
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.gather_changes();
        let event = self.events.pop_front();
        if self.traffic.is_none() {
            self.events.put_away(); // An idle connection holds no buffers.
        }
        event
    }

    /// When [`handle_timeout`](Session::handle_timeout) is to be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Why)> {
        match &self.state {
            State::Offline { .. } | State::Closing { .. } => None,
            State::Connecting { since, .. } => {
                Some((since.checked_add(self.config.connack_timeout)?, Why::ConnAck))
            }
            State::Online { keep_alive, .. } => {
                let read = self.traffic.as_ref().filter(|_| self.reading);
                let requests = read.map(|traffic| &traffic.requests);
                [
                    (keep_alive.pong_due(), Why::PingResp),
                    (keep_alive.ping_due(), Why::Ping),
                    (self.packet_due(), Why::Packet),
                    (requests.and_then(|r| r.due(self.config.request_timeout)), Why::Request),
                ]
                .into_iter()
                .filter_map(|(due, why)| Some((due?, why)))
                .min_by_key(|&(due, _)| due)
            }
        }
    }

    /// What is in force on the current connection, or was on the last one.
    pub fn limits(&self) -> Limits {
        Limits::in_force(self.granted.as_deref(), &self.config)
    }

    /// Whether the broker has accepted the current connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    /// The client identifier, also where the broker has assigned it.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// How many publishes and requests are not finished.
    pub fn unfinished_count(&self) -> usize {
        self.traffic.as_ref().map_or(0, |traffic| {
            traffic.outgoing.message_count() + traffic.requests.request_count()
        })
    }

    /// How many bytes of acknowledgements wait to be written. They grow with what arrives, and a
    /// driver that cannot write should stop reading before they become many.
    pub fn unsent_control_bytes(&self) -> usize {
        self.traffic.as_ref().map_or(0, |traffic| traffic.control.len())
    }

    /// How long in seconds the session outlives its connection.
    fn session_expiry(&self) -> u32 {
        match self.config.version {
            Version::V5 => self.limits().session_expiry,
            _ if self.config.clean_start => 0,
            _ => u32::MAX,
        }
    }

    fn gather_changes(&mut self) {
        if self.config.durable
            && let Some(traffic) = &mut self.traffic
        {
            self.events.extend(traffic.incoming.take_changes().map(Event::Store));
        }
    }

    /// Drops what only means something together with the broker's part of the session
    /// \[MQTT-3.2.2-5\].
    fn forget_messages(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            let on_loss = self.config.on_session_loss;
            traffic.outgoing.forget_session(on_loss, &mut traffic.ids, &mut self.events);
            traffic.incoming.forget_session();
        }
        if self.config.durable {
            self.gather_changes();
            self.events.push_back(Event::Store(Change::SessionLost));
        }
    }

    /// Ends the connection because the broker broke the protocol. In 5.0 it is told why, once it
    /// has accepted the connection; in 3.x a DISCONNECT would only suppress the will.
    fn fail(&mut self, error: ProtocolError) {
        let tell = self.config.version == Version::V5 && self.is_connected();
        let last_word =
            tell.then(|| LastWord { reason: error.reason, properties: Properties::default() });
        self.close(End::Protocol(error), last_word);
    }

    fn close(&mut self, end: End, last_word: Option<LastWord>) {
        if !matches!(self.state, State::Offline { .. }) {
            let requested = matches!(end, End::Requested);
            let lifetime = self.state.lifetime();
            let last_word = last_word.map(Box::new);
            self.state = State::Closing { lifetime, requested, last_word };
        }
        self.events.push_back(Event::Closing(Box::new(end)));
    }

    fn packet_due(&self) -> Option<Instant> {
        self.partial_since
            .filter(|_| self.reading)
            .and_then(|since| since.checked_add(self.config.packet_timeout))
    }
}
