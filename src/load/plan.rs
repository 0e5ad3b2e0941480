//! What to do: the target, the clients, and the pace at which they start.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Seed, Shard, Slo, descriptors::TooFewDescriptors};
use crate::{
    net::{self, ConnectOptions, Endpoint},
    session::{self, ConfigError},
};

/// Where the connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A broker, over any transport.
    Broker(Endpoint),
    /// A null broker on a thread of this process, which answers and keeps nothing: for trying the
    /// tool, and for measuring what this machine can do at most.
    Embedded,
}

/// A connection load: what [`run`](super::run()) does.
///
/// ```
/// use std::time::Duration;
///
/// use midge::{codec::Version, load::{Plan, Target}, net::Endpoint, session::Config};
///
/// let broker = Endpoint::parse("mqtt-tcp://127.0.0.1:1883")?;
/// let mut plan = Plan::new(Target::Broker(broker), Config::new(Version::V311));
/// plan.clients = 10_000;
/// plan.hold = Some(Duration::from_secs(60));
/// assert!(plan.check().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Where the connections go.
    pub target: Target,
    /// How its connections are made: TLS, WebSocket, proxy. The time that all of it may take is
    /// `connect_timeout`.
    pub connect: ConnectOptions,
    /// What each client says in CONNECT; the client identifier comes from the seed.
    pub session: Arc<session::Config>,
    /// How many clients. Default 1.
    pub clients: u32,
    /// Time between two intended starts; zero means as fast as possible. Default 10 ms.
    pub interval: Duration,
    /// How long to keep the connections once every client has connected or failed; `None` until
    /// interrupted. Default `None`.
    pub hold: Option<Duration>,
    /// How many attempts may be in progress at a time, over all workers. Default 64: more overflow
    /// a broker's accept queue, and what is measured then are SYN retransmissions of one second.
    pub in_progress: NonZeroU32,
    /// Time for a client to be accepted, from its actual start to its CONNACK. Default 10 s.
    pub connect_timeout: Duration,
    /// Worker threads. Default 1.
    pub workers: NonZeroU32,
    /// Makes the clients of this run. Default random.
    pub seed: Seed,
    /// Which of the clients this process starts. Default all of them.
    pub shard: Shard,
    /// When the first client of the plan is meant to start; `None` for at once. Default `None`.
    pub start_at: Option<Timestamp>,
    /// What the load has to reach. Default nothing but that no client fails or loses its connection.
    pub objectives: Vec<Slo>,
    /// Gives the load up when an objective was missed for this long. Default `None`: never.
    pub abort_after: Option<Duration>,
}

impl Plan {
    /// A plan with the defaults.
    pub fn new(target: Target, session: session::Config) -> Self {
        const IN_PROGRESS: NonZeroU32 = NonZeroU32::new(64).expect("64 is not 0");
        Self {
            target,
            connect: ConnectOptions::default(),
            session: Arc::new(session),
            clients: 1,
            interval: Duration::from_millis(10),
            hold: None,
            in_progress: IN_PROGRESS,
            connect_timeout: Duration::from_secs(10),
            workers: NonZeroU32::MIN,
            seed: Seed::random(),
            shard: Shard::default(),
            start_at: None,
            objectives: Vec::new(),
            abort_after: None,
        }
    }

    /// How many clients this process starts.
    pub(crate) fn share(&self) -> u32 {
        self.shard.share_of(self.clients)
    }

    /// How many of them are meant to start in a second; `None` for as fast as possible.
    pub(crate) fn intended_rate(&self) -> Option<f64> {
        let shards = f64::from(self.shard.count.max(1));
        (!self.interval.is_zero()).then(|| 1.0 / self.interval.as_secs_f64() / shards)
    }

    /// Looks for contradictions, before anything is started.
    ///
    /// # Errors
    /// The first setting that cannot be carried out.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.clients == 0 {
            return Err(PlanError::NoClients);
        }
        if self.connect_timeout.is_zero() {
            return Err(PlanError::NoConnectTimeout);
        }
        if self.abort_after.is_some() && self.objectives.is_empty() {
            return Err(PlanError::NoObjective);
        }
        self.session.check(&self.seed.client_id(self.clients - 1)).map_err(PlanError::Session)
    }
}

/// Why a [`Plan`] cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is nothing to do.
    #[error("at least one client is needed")]
    NoClients,
    /// Every client would fail at once.
    #[error("the connect timeout must not be 0")]
    NoConnectTimeout,
    /// There is nothing that could be missed.
    #[error("giving up on a missed objective needs an objective")]
    NoObjective,
    /// What the clients are to say in CONNECT cannot be said.
    #[error(transparent)]
    Session(ConfigError),
}

/// Why a load did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan needs more open files than this process can have.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The host name of the target has no address.
    #[error("cannot reach the target")]
    Resolve(#[source] net::ConnectError),
    /// None of the target's several addresses takes connections.
    #[error("none of the {count} addresses of {host} takes connections; the last one said")]
    Unreachable {
        /// The target's host name.
        host: String,
        /// How many addresses it has.
        count: usize,
        /// What connecting to the last one met.
        #[source]
        source: std::io::Error,
    },
    /// The instant at which the load was to start has passed.
    #[error("the start was to be at {at}, which is {late_ms} ms ago: choose a later instant")]
    TooLate {
        /// The instant.
        at: Timestamp,
        /// How long ago that is, in milliseconds.
        late_ms: i64,
    },
    /// The load was interrupted while the target was being looked for.
    #[error("interrupted before the first client started")]
    Interrupted,
    /// A worker or the embedded broker could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    fn plan(url: &str) -> Plan {
        let target = Target::Broker(Endpoint::parse(url).unwrap());
        Plan::new(target, session::Config::new(Version::V311))
    }

    #[test]
    fn the_defaults_are_a_plan() {
        assert_eq!(plan("mqtt://localhost").check(), Ok(()));
        assert_eq!(plan("mqtt-tcp://127.0.0.1:1883").check(), Ok(()));
    }

    #[test]
    fn contradictions_are_found() {
        let mut none = plan("mqtt://localhost");
        none.clients = 0;
        assert_eq!(none.check(), Err(PlanError::NoClients));
        let mut impatient = plan("mqtt://localhost");
        impatient.connect_timeout = Duration::ZERO;
        assert_eq!(impatient.check(), Err(PlanError::NoConnectTimeout));
        let mut password = plan("mqtt://localhost");
        let mut session = session::Config::new(Version::V311);
        session.password = Some(b"secret".as_slice().into());
        password.session = Arc::new(session);
        assert!(matches!(password.check(), Err(PlanError::Session(_))));
    }
}
