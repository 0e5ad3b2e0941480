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
use crate::session::{Backoff, Config};

use super::error::{ConnectError, server_reference};
use super::info::DisconnectCause;

/// How connections are to be made, and made again.
#[derive(Clone)]
pub(super) struct Plan {
    /// The settings of the session, of which hooks may have an attempt depart.
    pub(super) config: Arc<Config>,
    /// In the order in which they are tried; at least one.
    pub(super) brokers: Box<[Endpoint]>,
    pub(super) follow_redirects: bool,
    pub(super) options: Arc<ConnectOptions>,
    /// Delays grow from the first of them to the second; without them there is one attempt per
    /// broker.
    pub(super) delays: Option<(Duration, Duration)>,
    pub(super) retry_first: bool,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Plan) -> bool {
        let Plan { config, brokers, follow_redirects, options, delays, retry_first } = self;
        Arc::ptr_eq(config, &other.config)
            && *brokers == other.brokers
            && *follow_redirects == other.follow_redirects
            && Arc::ptr_eq(options, &other.options)
            && *delays == other.delays
            && *retry_first == other.retry_first
    }
}

/// Decides where and when the attempts to connect are made.
pub(super) struct Dialing {
    /// Shared with other clients, up to the first server that has moved.
    plan: Arc<Plan>,
    seed: u64,
    /// Absent while the first attempt has not failed, or its connection lasts.
    course: Option<Box<Course>>,
}

/// What has come of the attempts so far.
struct Course {
    /// The client identifier, once a hook has changed that of the session.
    client_id: Option<Box<str>>,
    ever_connected: bool,
    /// The broker whose turn it is.
    current: usize,
    /// How many have failed in this round.
    failed: usize,
    /// Where the current one has sent this client for the time being.
    redirect: Option<Endpoint>,
    /// How many redirections were followed in a row.
    hops: u8,
    /// `None` when there are no further attempts.
    backoff: Option<Backoff>,
}

impl Dialing {
    pub(super) fn new(plan: Arc<Plan>, seed: u64) -> Dialing {
        Dialing { plan, seed, course: None }
    }

    pub(super) fn options(&self) -> &Arc<ConnectOptions> {
        &self.plan.options
    }

    pub(super) fn config(&self) -> &Config {
        &self.plan.config
    }

    /// The client identifier, if a hook has changed that of the session.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.course.as_ref()?.client_id.as_deref()
    }

    pub(super) fn set_client_id(&mut self, client_id: Box<str>) {
        self.course().client_id = Some(client_id);
    }

    /// Where the next attempt goes.
    pub(super) fn endpoint(&self) -> &Endpoint {
        let brokers = &self.plan.brokers;
        let course = self.course.as_ref();
        let current = course.and_then(|course| brokers.get(course.current)).or(brokers.first());
        let redirect = course.and_then(|course| course.redirect.as_ref());
        redirect.or(current).expect("there is at least one broker")
    }

    fn course(&mut self) -> &mut Course {
        self.course.get_or_insert_with(|| {
            let new = |(first, max)| Backoff::new(first, max, STABLE_AFTER, self.seed);
            let backoff = self.plan.delays.map(new);
            Box::new(Course {
                client_id: None,
                ever_connected: false,
                current: 0,
                failed: 0,
                redirect: None,
                hops: 0,
                backoff,
            })
        })
    }

    /// The delay where only somebody's intervention can help.
    fn longest_delay(&self) -> Duration {
        self.plan.delays.map_or(Duration::ZERO, |(_, max)| max)
    }

    /// When the next attempt is made after one has failed; `None` if there is none.
    pub(super) fn handle_failure(&mut self, error: &ConnectError) -> Option<Duration> {
        if let Some((reference, moved)) = error.server_reference()
            && self.redirect(reference, moved)
        {
            return Some(Duration::ZERO);
        }
        // A broker that points elsewhere without saying where may mean the others.
        let elsewhere = error.is_retryable() || is_redirection(error.reason());
        if self.next(elsewhere) {
            return Some(Duration::ZERO);
        }
        let (ever_connected, retry_first) = (self.course().ever_connected, self.plan.retry_first);
        let longest_delay = self.longest_delay();
        let backoff = self.course().backoff.as_mut()?;
        let retryable = error.is_retryable();
        match (ever_connected, retryable) {
            (false, true) if !retry_first => None,
            (false, false) => None,
            (_, true) if error.reason().is_some_and(wants_rest) => Some(backoff.next_slow_delay()),
            (_, true) => Some(backoff.next_delay()),
            // What worked before may work again, once somebody has seen to it.
            (true, false) => Some(longest_delay),
        }
    }

    /// When the next attempt is made after the loss of a connection; `None` if there is none.
    pub(super) fn handle_loss(
        &mut self,
        cause: &DisconnectCause,
        accepted_at: Instant,
        now: Instant,
    ) -> Option<Duration> {
        self.course().ever_connected = true;
        if cause.is_final() {
            return None;
        }
        let longest_delay = self.longest_delay();
        let course = self.course();
        let backoff = course.backoff.as_mut()?;
        backoff.handle_connected(accepted_at);
        backoff.handle_disconnected(now);
        course.failed = 0;
        if now.saturating_duration_since(accepted_at) >= STABLE_AFTER {
            course.hops = 0;
        }
        if let Some((reference, moved)) = cause.server_reference()
            && self.redirect(reference, moved)
        {
            return Some(Duration::ZERO);
        }
        let course = self.course();
        course.go_back();
        let backoff = course.backoff.as_mut()?;
        Some(match cause {
            DisconnectCause::Authentication(_) => longest_delay,
            DisconnectCause::Server { reason, .. } if refuses_client(*reason) => longest_delay,
            DisconnectCause::Server { reason, .. } if wants_rest(*reason) => {
                backoff.next_slow_delay()
            }
            _ => backoff.next_delay(),
        })
    }

    /// Goes to another server, if it can be made out and this has not gone on for too long.
    fn redirect(&mut self, reference: &str, moved: bool) -> bool {
        if !self.plan.follow_redirects || self.course().hops >= MAX_HOPS {
            return false;
        }
        let here = self.endpoint();
        let Some(there) = reference.split(' ').find_map(|name| here.redirected(name)) else {
            tracing::warn!(reference, "the broker names a server that cannot be gone to");
            return false;
        };
        tracing::info!(server = %there, moved, "the broker names another server");
        let course = self.course();
        course.hops += 1;
        course.redirect = None;
        let current = course.current;
        if !moved {
            course.redirect = Some(there);
        } else if let Some(current) = Arc::make_mut(&mut self.plan).brokers.get_mut(current) {
            *current = there;
        }
        true
    }

    /// Goes to the next broker, if `elsewhere` may help and they have not all been tried in this
    /// round.
    fn next(&mut self, elsewhere: bool) -> bool {
        let count = self.plan.brokers.len();
        let course = self.course();
        if course.go_back() || !elsewhere {
            return false;
        }
        course.failed += 1;
        course.current = (course.current + 1) % count;
        let more = course.failed < count;
        if !more {
            course.failed = 0;
        }
        more
    }
}

impl Course {
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
    use crate::codec::{Properties, Property, PropertyValue, Version};

    const SECOND: Duration = Duration::from_secs(1);

    fn dialing(brokers: &[&str], retry: bool) -> Dialing {
        let plan = Plan {
            config: Arc::new(Config::new(Version::V5)),
            brokers: brokers.iter().map(|url| Endpoint::parse(url).unwrap()).collect(),
            follow_redirects: true,
            options: Arc::default(),
            delays: retry.then_some((SECOND, 120 * SECOND)),
            retry_first: true,
        };
        Dialing::new(Arc::new(plan), 7)
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
