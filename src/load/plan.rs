//! What to do: the target, the clients, and the pace at which they start.

use std::{collections::HashSet, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Ceiling, Identity, Life, PlanFacts, Profile, Seed, Shard, Slo, Sources, TargetFacts, Template,
    TooFewPorts, Traffic,
    descriptors::{self, TooFewDescriptors},
};
#[cfg(feature = "tls")]
use crate::net::TlsConfig;
use crate::{
    codec::{TopicError, check_topic_filter, check_topic_name},
    net::{self, ConnectOptions, Endpoint},
    session::{self, ConfigError},
};

/// Where the connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Brokers, over any transport. The clients are dealt to them in turn.
    Brokers(Vec<Endpoint>),
    /// A null broker on a thread of this process, which answers and keeps nothing: for trying the
    /// tool, and for measuring what this machine can do at most.
    Embedded,
}

impl Target {
    /// One broker.
    pub fn broker(endpoint: Endpoint) -> Self {
        Self::Brokers(vec![endpoint])
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Brokers(endpoints) => {
                for (index, endpoint) in endpoints.iter().enumerate() {
                    write!(f, "{}{endpoint}", if index > 0 { " " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// The TLS settings of each client, where they have certificates of their own.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub struct ClientTls(Arc<MakeTls>);

/// Makes the settings of client `g`, or says why that cannot be done.
#[cfg(feature = "tls")]
type MakeTls = dyn Fn(u32) -> Result<TlsConfig, String> + Send + Sync;

#[cfg(feature = "tls")]
impl ClientTls {
    /// Has `make` make the settings of client `g` each time that it connects.
    pub fn new(make: impl Fn(u32) -> Result<TlsConfig, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(super) fn of_client(&self, g: u32) -> Result<TlsConfig, String> {
        (self.0)(g)
    }
}

#[cfg(feature = "tls")]
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// A connection load: what [`run`](super::run()) does.
///
/// ```
/// use std::time::Duration;
///
/// use midge::{codec::Version, load::{Plan, Target}, net::Endpoint, session::Config};
///
/// let broker = Endpoint::parse("mqtt-tcp://127.0.0.1:1883")?;
/// let mut plan = Plan::new(Target::broker(broker), Config::new(Version::V311));
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
    /// Where they come from. Default: one client in each port of whatever address the way to the
    /// target has; on the loopback interface, from as many of its addresses as it takes.
    pub sources: Sources,
    /// The TLS settings of clients with certificates of their own, in place of those of `connect`.
    #[cfg(feature = "tls")]
    pub tls: Option<ClientTls>,
    /// What each client says in CONNECT, as far as `identity` does not say it.
    pub session: Arc<session::Config>,
    /// What the clients are called.
    pub identity: Identity,
    /// How many clients. Default 1.
    pub clients: u32,
    /// When they start. Default one every 10 ms.
    pub profile: Profile,
    /// What befalls them while they are connected. Default nothing.
    pub life: Life,
    /// What they publish and subscribe to. Default nothing.
    pub traffic: Traffic,
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
    /// Which of the processes of this machine it is that share the local ports. Default the only one.
    pub process: Shard,
    /// When the first client of the plan is meant to start; `None` for at once. Default `None`.
    pub start_at: Option<Timestamp>,
    /// What this machine can do at most, for the report. Default unknown.
    pub ceiling: Option<Ceiling>,
    /// Whether the clock of this machine is synchronised, for the report; `None` for unknown. Default
    /// `None`.
    pub clock_synced: Option<bool>,
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
            sources: Sources::default(),
            #[cfg(feature = "tls")]
            tls: None,
            session: Arc::new(session),
            identity: Identity::default(),
            clients: 1,
            profile: Profile::default(),
            life: Life::default(),
            traffic: Traffic::default(),
            hold: None,
            in_progress: IN_PROGRESS,
            connect_timeout: Duration::from_secs(10),
            workers: NonZeroU32::MIN,
            seed: Seed::random(),
            shard: Shard::default(),
            process: Shard::default(),
            ceiling: None,
            start_at: None,
            clock_synced: None,
            objectives: Vec::new(),
            abort_after: None,
        }
    }

    /// How many processes it takes to have as many open files as the plan needs.
    ///
    /// # Errors
    /// When the hard limit is too low for any reasonable number of them.
    pub fn processes(&self) -> Result<u32, TooFewDescriptors> {
        descriptors::processes(self.share(), self.descriptors_per_client())
    }

    /// How many open files a client takes in this process.
    pub(crate) fn descriptors_per_client(&self) -> u64 {
        if self.target == Target::Embedded { 2 } else { 1 }
    }

    /// Where in the range of local ports to begin: the same for all processes that share them, and
    /// another one for other shards, which may be on the same machine.
    pub(crate) fn port_seed(&self) -> u32 {
        let shards = (self.shard.count / self.process.count.max(1)).max(1);
        self.seed.0.wrapping_add((self.shard.index % shards).wrapping_mul(4_099))
    }

    /// The same for plans that ask for the same of the same target: what the shards of one plan
    /// have in common.
    pub fn hash(&self) -> String {
        PlanFacts::new(self).hash(&TargetFacts::new(self, &[], None), self.seed.0)
    }

    /// How many clients this process starts.
    pub(crate) fn share(&self) -> u32 {
        self.shard.share_of(self.clients)
    }

    /// How many of them are meant to start in a second; `None` for as fast as possible.
    pub(crate) fn intended_rate(&self) -> Option<f64> {
        let shards = f64::from(self.shard.count.max(1));
        self.profile.mean_rate(self.clients).map(|rate| rate / shards)
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
        if matches!(&self.target, Target::Brokers(endpoints) if endpoints.is_empty()) {
            return Err(PlanError::NoTarget);
        }
        self.check_identity()?;
        self.check_life()?;
        self.check_traffic()
    }

    fn check_identity(&self) -> Result<(), PlanError> {
        let identity = &self.identity;
        if let Some(accounts) = &identity.accounts {
            let rows = accounts.len();
            if rows < self.clients as usize {
                return Err(PlanError::TooFewRows { rows, clients: self.clients });
            }
            let mut seen = HashSet::new();
            for g in 0..self.clients {
                let client_id = identity.client_id(self.seed, g);
                identity.config(self.seed, g, &self.session).check(&client_id)?;
                if let Some(client_id) = seen.replace(client_id) {
                    return Err(PlanError::SameClientId(client_id));
                }
            }
            return Ok(());
        }
        if let Some(template) = &identity.client_id
            && self.clients > 1
            && !template.is_unique()
        {
            return Err(PlanError::SameClientId(identity.client_id(self.seed, 0)));
        }
        for g in [0, self.clients - 1] {
            let config = identity.config(self.seed, g, &self.session);
            config.check(&identity.client_id(self.seed, g))?;
        }
        Ok(())
    }

    fn check_life(&self) -> Result<(), PlanError> {
        let life = &self.life;
        if life.churn.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(PlanError::Churn);
        }
        if life.storms.iter().any(|storm| !(0.0..=1.0).contains(&storm.share)) {
            return Err(PlanError::StormShare);
        }
        Ok(())
    }

    fn check_traffic(&self) -> Result<(), PlanError> {
        let of_last =
            |template: &Template| self.identity.fill_in(self.seed, self.clients - 1, template);
        if let Some(publishing) = &self.traffic.publish {
            let topic = of_last(&publishing.topic);
            check_topic_name(&topic).map_err(|source| PlanError::Topic { topic, source })?;
            if publishing.every.is_zero() {
                return Err(PlanError::PublishWithoutPause);
            }
        }
        if let Some(subscribing) = &self.traffic.subscribe {
            let topic = of_last(&subscribing.filter);
            check_topic_filter(&topic).map_err(|source| PlanError::Topic { topic, source })?;
        }
        Ok(())
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
    /// There is no broker to connect to.
    #[error("at least one broker is needed")]
    NoTarget,
    /// What the clients are to say in CONNECT cannot be said.
    #[error(transparent)]
    Session(#[from] ConfigError),
    /// Each client needs a row of its own.
    #[error("there are {rows} rows of clients for {clients} clients: use at most -C {rows}")]
    TooFewRows {
        /// How many rows there are.
        rows: usize,
        /// How many clients the plan has.
        clients: u32,
    },
    /// The broker would end the connection of the one when the other connects.
    #[error(
        "two clients would have the client identifier {0:?}, and a broker keeps one of them at a \
         time: add %i, the index of the client"
    )]
    SameClientId(String),
    /// A rate of churn is not a positive number.
    #[error("churn needs a positive number of connections per second")]
    Churn,
    /// The share of a storm is not a part of the whole.
    #[error("a storm drops between 0 % and 100 % of the clients")]
    StormShare,
    /// What is to be published or subscribed to is no topic.
    #[error("{topic:?} cannot be used as a topic")]
    Topic {
        /// The topic of the last client.
        topic: String,
        /// Why not.
        #[source]
        source: TopicError,
    },
    /// The clients would do nothing but publish.
    #[error("the time between two messages must not be 0")]
    PublishWithoutPause,
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
    /// The plan needs more local ports than there are.
    #[error(transparent)]
    Ports(#[from] TooFewPorts),
    /// None of the addresses to connect from is of the family, IPv4 or IPv6, of the target.
    #[error("none of the addresses to connect from can reach {target}, which is of another family")]
    NoSource {
        /// An address of the target.
        target: std::net::SocketAddr,
    },
    /// An address to connect from is not one of this machine.
    #[error("cannot connect from {address}")]
    Source {
        /// The address.
        address: std::net::IpAddr,
        /// What binding a socket to it met.
        #[source]
        source: std::io::Error,
    },
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
    use bytes::Bytes;

    use super::*;
    use crate::{
        codec::{QoS, Version},
        load::{Account, Publishing, Subscribing},
    };

    fn plan(url: &str) -> Plan {
        let target = Target::broker(Endpoint::parse(url).unwrap());
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
        let mut nowhere = plan("mqtt://localhost");
        nowhere.target = Target::Brokers(Vec::new());
        assert_eq!(nowhere.check(), Err(PlanError::NoTarget));
    }

    #[test]
    fn clients_that_would_take_over_each_other_are_found() {
        let mut alike = plan("mqtt://localhost");
        alike.identity.client_id = Some("device".parse().unwrap());
        assert_eq!(alike.check(), Ok(()), "one client may be called anything");
        alike.clients = 2;
        assert_eq!(alike.check(), Err(PlanError::SameClientId("device".into())));
        alike.identity.client_id = Some("device-%i".parse().unwrap());
        assert_eq!(alike.check(), Ok(()));

        let row =
            |client_id: &str| Account { client_id: Some(client_id.into()), ..Account::default() };
        alike.identity.accounts = Some([row("a")].into());
        assert_eq!(alike.check(), Err(PlanError::TooFewRows { rows: 1, clients: 2 }));
        alike.identity.accounts = Some([row("a"), row("a")].into());
        assert_eq!(alike.check(), Err(PlanError::SameClientId("a".into())));
        alike.identity.accounts = Some([row("a"), row("b")].into());
        assert_eq!(alike.check(), Ok(()));
    }

    #[test]
    fn topics_are_checked_as_they_will_be() {
        let mut plan = plan("mqtt://localhost");
        let publishing = |topic: &str, every| Publishing {
            topic: topic.parse().unwrap(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: false,
            every,
        };
        plan.traffic.publish = Some(publishing("a/+", Duration::from_secs(1)));
        assert!(matches!(plan.check(), Err(PlanError::Topic { .. })));
        plan.traffic.publish = Some(publishing("a/%i", Duration::ZERO));
        assert_eq!(plan.check(), Err(PlanError::PublishWithoutPause));
        plan.traffic.publish = Some(publishing("a/%c", Duration::from_secs(1)));
        assert_eq!(plan.check(), Ok(()));
        plan.traffic.subscribe =
            Some(Subscribing { filter: "a/#/%i".parse().unwrap(), options: Default::default() });
        assert!(matches!(plan.check(), Err(PlanError::Topic { .. })));
    }
}
