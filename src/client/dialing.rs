//! Where the next attempt to connect goes, and when it is made.
//!
//! | what happened | what follows |
//! |---|---|
//! | a transport error, silence, a breach of the protocol | the next broker at once, a round of them with back-off |
//! | the broker is busy, unavailable or has had enough | the same, with a longer delay |
//! | the broker refuses this client (credentials, identifier, version) | the end at the first connection, the longest delay later |
//! | the broker names another server (§4.11) | that one at once, a few times in a row |
//! | another client has taken the session over | the end |

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::ReasonCode;
use crate::net::{ConnectOptions, Endpoint};
use crate::session::Backoff;

use super::error::{ConnectError, server_reference};
use super::info::DisconnectCause;

/// How connections are made, and made again.
pub(super) struct Dialing {
    brokers: Brokers,
    pub(super) options: Arc<ConnectOptions>,
    /// The client identifier, once a hook has changed that of the session.
    pub(super) client_id: Option<Box<str>>,
    /// `None` when there are no further attempts.
    backoff: Option<Backoff>,
    /// The delay where only somebody's intervention can help.
    longest_delay: Duration,
    retry_first: bool,
    ever_connected: bool,
}

impl Dialing {
    /// Plans with delays that grow from `first` to `max`; without them there is one attempt per
    /// broker.
    pub(super) fn new(
        brokers: Brokers,
        options: Arc<ConnectOptions>,
        delays: Option<(Duration, Duration)>,
        retry_first: bool,
        seed: u64,
    ) -> Dialing {
        Dialing {
            brokers,
            options,
            client_id: None,
            backoff: delays.map(|(first, max)| Backoff::new(first, max, STABLE_AFTER, seed)),
            longest_delay: delays.map_or(Duration::ZERO, |(_, max)| max),
            retry_first,
            ever_connected: false,
        }
    }

    /// Where the next attempt goes.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.brokers.endpoint()
    }

    /// When the next attempt is made after one has failed; `None` if there is none.
    pub(super) fn handle_failure(&mut self, error: &ConnectError) -> Option<Duration> {
        if let Some((reference, moved)) = error.server_reference()
            && self.brokers.redirect(reference, moved)
        {
            return Some(Duration::ZERO);
        }
        // A broker that points elsewhere without saying where may mean the others.
        let elsewhere = error.is_retryable() || is_redirection(error.reason());
        if self.brokers.next(elsewhere) {
            return Some(Duration::ZERO);
        }
        let backoff = self.backoff.as_mut()?;
        let retryable = error.is_retryable();
        match (self.ever_connected, retryable) {
            (false, true) if !self.retry_first => None,
            (false, false) => None,
            (_, true) if error.reason().is_some_and(wants_rest) => Some(backoff.next_slow_delay()),
            (_, true) => Some(backoff.next_delay()),
            // What worked before may work again, once somebody has seen to it.
            (true, false) => Some(self.longest_delay),
        }
    }

    /// When the next attempt is made after the loss of a connection; `None` if there is none.
    pub(super) fn handle_loss(
        &mut self,
        cause: &DisconnectCause,
        accepted_at: Instant,
        now: Instant,
    ) -> Option<Duration> {
        self.ever_connected = true;
        if cause.is_final() {
            return None;
        }
        let backoff = self.backoff.as_mut()?;
        backoff.handle_connected(accepted_at);
        backoff.handle_disconnected(now);
        let stable = now.saturating_duration_since(accepted_at) >= STABLE_AFTER;
        self.brokers.handle_accepted(stable);
        if let Some((reference, moved)) = cause.server_reference()
            && self.brokers.redirect(reference, moved)
        {
            return Some(Duration::ZERO);
        }
        self.brokers.go_back();
        Some(match cause {
            DisconnectCause::Authentication(_) => self.longest_delay,
            DisconnectCause::Server { reason, .. } if refuses_client(*reason) => self.longest_delay,
            DisconnectCause::Server { reason, .. } if wants_rest(*reason) => {
                backoff.next_slow_delay()
            }
            _ => backoff.next_delay(),
        })
    }
}

/// The brokers that a client may go to.
pub(super) struct Brokers {
    /// In the order in which they are tried; at least one.
    configured: Box<[Endpoint]>,
    current: usize,
    /// How many have failed in this round.
    failed: usize,
    /// Where the current one has sent this client for the time being.
    redirect: Option<Box<Endpoint>>,
    follow_redirects: bool,
    /// How many redirections were followed in a row.
    hops: u8,
}

impl Brokers {
    pub(super) fn new(first: Endpoint, others: Vec<Endpoint>, follow_redirects: bool) -> Brokers {
        let configured = std::iter::once(first).chain(others).collect();
        Brokers { configured, current: 0, failed: 0, redirect: None, follow_redirects, hops: 0 }
    }

    fn endpoint(&self) -> &Endpoint {
        let configured = self.configured.get(self.current).or(self.configured.first());
        self.redirect.as_deref().or(configured).expect("there is at least one broker")
    }

    /// Goes to another server, if it can be made out and this has not gone on for too long.
    fn redirect(&mut self, reference: &str, moved: bool) -> bool {
        if !self.follow_redirects || self.hops >= MAX_HOPS {
            return false;
        }
        let here = self.endpoint();
        let Some(there) = reference.split(' ').find_map(|name| here.redirected(name)) else {
            tracing::warn!(reference, "the broker names a server that cannot be gone to");
            return false;
        };
        tracing::info!(server = %there, moved, "the broker names another server");
        self.hops += 1;
        if moved && let Some(current) = self.configured.get_mut(self.current) {
            *current = there;
            self.redirect = None;
        } else {
            self.redirect = Some(Box::new(there));
        }
        true
    }

    /// Goes to the next broker, if `elsewhere` may help and they have not all been tried in this
    /// round.
    fn next(&mut self, elsewhere: bool) -> bool {
        if self.go_back() || !elsewhere {
            return false;
        }
        self.failed += 1;
        self.current = (self.current + 1) % self.configured.len();
        let more = self.failed < self.configured.len();
        if !more {
            self.failed = 0;
        }
        more
    }

    fn handle_accepted(&mut self, stable: bool) {
        self.failed = 0;
        if stable {
            self.hops = 0;
        }
    }

    /// Ends a temporary redirection; says whether there was one.
    fn go_back(&mut self) -> bool {
        self.hops = 0;
        self.redirect.take().is_some()
    }
}

/// Whether the broker wants to be left alone for a while.
fn wants_rest(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::SERVER_UNAVAILABLE
            | ReasonCode::SERVER_BUSY
            | ReasonCode::QUOTA_EXCEEDED
            | ReasonCode::MESSAGE_RATE_TOO_HIGH
            | ReasonCode::CONNECTION_RATE_EXCEEDED
            | ReasonCode::ADMINISTRATIVE_ACTION
    )
}

/// Whether the broker does not want this client, as it is.
fn refuses_client(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::NOT_AUTHORIZED
            | ReasonCode::BAD_AUTHENTICATION_METHOD
            | ReasonCode::BAD_USER_NAME_OR_PASSWORD
            | ReasonCode::BANNED
    )
}

fn is_redirection(reason: Option<ReasonCode>) -> bool {
    matches!(reason, Some(ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED))
}

impl DisconnectCause {
    fn server_reference(&self) -> Option<(&str, bool)> {
        match self {
            DisconnectCause::Server { reason, properties } => server_reference(*reason, properties),
            _ => None,
        }
    }
}

/// How long a connection must last for the back-off to begin again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How many redirections are followed in a row.
const MAX_HOPS: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Properties, Property, PropertyValue};

    const SECOND: Duration = Duration::from_secs(1);

    fn dialing(brokers: &[&str], retry: bool) -> Dialing {
        let mut endpoints = brokers.iter().map(|url| Endpoint::parse(url).unwrap());
        let first = endpoints.next().unwrap();
        let brokers = Brokers::new(first, endpoints.collect(), true);
        let delays = retry.then_some((SECOND, 120 * SECOND));
        Dialing::new(brokers, Arc::default(), delays, true, 7)
    }

    fn refused(reason: ReasonCode, reference: Option<&str>) -> ConnectError {
        let mut properties = Properties::new();
        if let Some(reference) = reference {
            properties.push(Property::ServerReference, PropertyValue::Utf8(reference)).unwrap();
        }
        ConnectError::Refused { reason, properties }
    }

    fn closed() -> ConnectError {
        ConnectError::Closed { partial_bytes: 0 }
    }

    fn lost(reason: ReasonCode, reference: Option<&str>) -> DisconnectCause {
        match refused(reason, reference) {
            ConnectError::Refused { reason, properties } => {
                DisconnectCause::Server { reason, properties }
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn brokers_are_tried_in_turn_and_a_round_with_delay() {
        let mut dialing = dialing(&["mqtt://a", "mqtt://b", "mqtt://c"], true);
        for round in 0..3 {
            for host in ["a", "b"] {
                assert_eq!(dialing.endpoint().host(), host, "round {round}");
                assert_eq!(dialing.handle_failure(&closed()), Some(Duration::ZERO));
            }
            assert_eq!(dialing.endpoint().host(), "c");
            assert!(dialing.handle_failure(&closed()).unwrap() > Duration::ZERO);
        }
    }

    #[test]
    fn without_retries_each_broker_is_tried_once() {
        let mut dialing = dialing(&["mqtt://a", "mqtt://b"], false);
        assert_eq!(dialing.handle_failure(&closed()), Some(Duration::ZERO));
        assert_eq!(dialing.handle_failure(&closed()), None);
    }

    #[test]
    fn a_lost_connection_is_made_again_at_the_same_broker() {
        let mut dialing = dialing(&["mqtt://a", "mqtt://b"], true);
        let now = Instant::now();
        dialing.handle_failure(&closed());
        let cause = DisconnectCause::Closed { partial_bytes: 0 };
        assert!(dialing.handle_loss(&cause, now, now).is_some());
        assert_eq!(dialing.endpoint().host(), "b");
    }

    #[test]
    fn who_refuses_this_client_is_not_asked_again_at_first_and_slowly_later() {
        for reason in [
            ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            ReasonCode::NOT_AUTHORIZED,
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ] {
            let mut dialing = dialing(&["mqtt://a", "mqtt://b"], true);
            assert_eq!(dialing.handle_failure(&refused(reason, None)), None);
            let now = Instant::now();
            let cause = lost(ReasonCode::NOT_AUTHORIZED, None);
            assert_eq!(dialing.handle_loss(&cause, now, now), Some(120 * SECOND));
            let error = refused(reason, None);
            assert_eq!(dialing.handle_failure(&error), Some(120 * SECOND));
        }
    }

    #[test]
    fn who_is_busy_is_left_alone_for_longer() {
        let mut dialing = dialing(&["mqtt://a"], true);
        assert!(dialing.handle_failure(&closed()).unwrap() <= SECOND);
        let delay = dialing.handle_failure(&refused(ReasonCode::SERVER_BUSY, None)).unwrap();
        assert!((8 * SECOND..=16 * SECOND).contains(&delay), "{delay:?}");
        let now = Instant::now();
        let cause = lost(ReasonCode::QUOTA_EXCEEDED, None);
        let delay = dialing.handle_loss(&cause, now, now).unwrap();
        assert!((16 * SECOND..=32 * SECOND).contains(&delay), "{delay:?}");
    }

    #[test]
    fn a_temporary_redirection_ends_with_its_connection() {
        let mut dialing = dialing(&["mqtts://a"], true);
        let there = refused(ReasonCode::USE_ANOTHER_SERVER, Some("b:1234"));
        assert_eq!(dialing.handle_failure(&there), Some(Duration::ZERO));
        assert_eq!(dialing.endpoint().to_string(), "mqtts://b:1234");
        let now = Instant::now();
        let cause = DisconnectCause::Closed { partial_bytes: 0 };
        dialing.handle_loss(&cause, now, now).unwrap();
        assert_eq!(dialing.endpoint().host(), "a");
        // So does one to a server that does not answer.
        dialing.handle_failure(&there);
        assert!(dialing.handle_failure(&closed()).unwrap() > Duration::ZERO);
        assert_eq!(dialing.endpoint().host(), "a");
    }

    #[test]
    fn a_server_that_has_moved_is_remembered() {
        let mut dialing = dialing(&["mqtt://a", "mqtt://z"], true);
        let now = Instant::now();
        let moved = lost(ReasonCode::SERVER_MOVED, Some("b"));
        assert_eq!(dialing.handle_loss(&moved, now, now), Some(Duration::ZERO));
        let cause = DisconnectCause::Closed { partial_bytes: 0 };
        dialing.handle_loss(&cause, now, now).unwrap();
        assert_eq!(dialing.endpoint().to_string(), "mqtt://b:1883");
        dialing.handle_failure(&closed());
        dialing.handle_failure(&closed());
        assert_eq!(dialing.endpoint().host(), "b");
    }

    #[test]
    fn servers_that_send_clients_around_are_left_after_a_few_hops() {
        let mut dialing = dialing(&["mqtt://a"], true);
        let around = refused(ReasonCode::USE_ANOTHER_SERVER, Some("a"));
        for _ in 0..MAX_HOPS {
            assert_eq!(dialing.handle_failure(&around), Some(Duration::ZERO));
        }
        assert_eq!(dialing.handle_failure(&around), None);

        let now = Instant::now();
        let around = lost(ReasonCode::USE_ANOTHER_SERVER, Some("a"));
        let mut delays = Vec::new();
        for _ in 0..12 {
            delays.push(dialing.handle_loss(&around, now, now).unwrap() > Duration::ZERO);
        }
        let pauses = delays.iter().filter(|pause| **pause).count();
        assert_eq!(pauses, 2, "{delays:?}");
    }

    #[test]
    fn a_reference_that_is_no_use_leaves_the_other_brokers() {
        for reference in [None, Some(""), Some("::: /"), Some("a:99999"), Some("mqtt://b")] {
            let mut dialing = dialing(&["mqtts://a", "mqtts://z"], true);
            let error = refused(ReasonCode::SERVER_MOVED, reference);
            assert_eq!(dialing.handle_failure(&error), Some(Duration::ZERO), "{reference:?}");
            assert_eq!(dialing.endpoint().host(), "z");
            assert_eq!(dialing.handle_failure(&error), None);
        }
    }

    #[test]
    fn the_first_reference_that_can_be_gone_to_counts() {
        let mut dialing = dialing(&["mqtts://a"], true);
        let list = Some("mqtt://plain [::1]:77 b");
        dialing.handle_failure(&refused(ReasonCode::USE_ANOTHER_SERVER, list));
        assert_eq!(dialing.endpoint().to_string(), "mqtts://[::1]:77");
    }
}
