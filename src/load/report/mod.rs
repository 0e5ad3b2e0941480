//! What came of it: numbers only, in the shape of the machine-readable report `conn-report/1`.
//!
//! The fields are described for users in `docs/load-testing.md`, and for programs in
//! `docs/conn-report.schema.json`. Durations of phases are in microseconds, times in seconds since
//! the start of the load. Whatever is read back is what was written, the distributions included.

mod build;
mod latencies;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub(crate) use self::build::{Course, EndedBy};
pub use self::latencies::{Distribution, DistributionError, Latencies};
pub(crate) use self::{
    build::{achieved, per_second},
    latencies::quantile,
};
use super::{
    Phase,
    shard::Shard,
    slo::SloRow,
    verdict::{Judgement, Limit},
};

/// The schema of the reports that this version writes and reads.
pub const SCHEMA: &str = "conn-report/1";

/// The outcome of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// `conn-report/1`.
    pub schema: String,
    /// Which run it was.
    pub run: Run,
    /// Where the connections went.
    pub target: TargetFacts,
    /// What was asked for.
    pub plan: PlanFacts,
    /// How many clients came how far.
    pub totals: Totals,
    /// How fast they started.
    pub rate: Rate,
    /// The latencies of each phase that was met.
    #[serde(with = "latencies::by_name")]
    pub phases: Vec<(Phase, Latencies)>,
    /// The failures by class, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// The state at the end of each second.
    pub series_1s: Vec<Second>,
    /// The generating process.
    pub host: Host,
    /// What the generating machine can do at most, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// How it ended.
    pub outcome: Outcome,
    /// The objectives, and whether they were met.
    pub slo: Vec<SloRow>,
    /// What to think of it.
    pub verdict: Judgement,
}

/// How many connections a machine can make at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ceiling {
    /// Connections per second.
    pub connects_per_s: f64,
    /// Processor time that each of them takes, in microseconds, on both of its ends.
    pub cpu_us_per_connect: f64,
    /// How it was measured.
    pub method: String,
    /// When, in UTC (RFC 3339).
    pub when: String,
    /// The version of midge that measured it.
    pub version: String,
}

/// Which run a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// Tells this run from others, those of the same plan included: random, in hexadecimal.
    pub id: String,
    /// The seed of the clients.
    pub seed: u32,
    /// The same for runs of the same plan: reports can be merged where it is the same.
    pub plan_hash: String,
    /// The version of midge.
    pub version: String,
    /// When it started, in UTC (RFC 3339).
    pub started: String,
    /// When it ended, in UTC (RFC 3339).
    pub ended: String,
    /// The instant that all shards were to start at, in UTC (RFC 3339), if one was given.
    pub start_at: Option<String>,
    /// Whether the clock of the machine was synchronised; `None` for unknown.
    pub clock_synced: Option<bool>,
    /// Which part of the plan's clients it was.
    pub shard: Shard,
    /// The runs that were merged into this one; empty for one that was not.
    pub parts: Vec<Part>,
}

/// One of the runs that a report was merged from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// Its identifier.
    pub id: String,
    /// Which part of the clients it was.
    pub shard: Shard,
    /// When it started, in UTC (RFC 3339).
    pub started: String,
    /// The host it ran on.
    pub host: String,
}

/// Where the connections of a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TargetFacts {
    /// The URL, without the password; `embedded` for the null broker.
    pub url: String,
    /// The addresses that the clients connected to.
    pub resolved: Vec<String>,
    /// How long the one name lookup took; `None` for an address.
    pub dns_us: Option<u64>,
    /// The protocol version: `3.1`, `3.1.1` or `5.0`.
    pub mqtt_version: String,
}

/// What a plan asked for, of all shards together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanFacts {
    /// How many clients, over all shards.
    pub clients: u32,
    /// Time between two intended starts.
    pub interval_us: u64,
    /// When the clients start, in words.
    #[serde(default)]
    pub profile: String,
    /// How long the connections were to be held; `None` until interrupted.
    pub hold_s: Option<f64>,
    /// The keep alive of each client; 0 for none.
    pub keepalive_s: u16,
    /// How many attempts could be in progress at a time, in all parts of the report together.
    pub in_progress_max: u32,
    /// Time for a client to be accepted.
    pub connect_timeout_s: f64,
    /// Worker threads.
    pub workers: u32,
    /// What the clients say of themselves, in words; empty for the defaults.
    #[serde(default)]
    pub clients_say: String,
    /// What befalls the connections, in words; empty for nothing.
    #[serde(default)]
    pub life: String,
    /// What the connections carry, in words; empty for nothing.
    #[serde(default)]
    pub traffic: String,
}

/// How many clients came how far. `planned = attempted + not_started`, `attempted = connected + failed
/// + pending`, and `connected + returned = open + dropped + left`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Clients that this run was to start: all of the plan, or the share of its shard.
    pub planned: u32,
    /// Clients that started to connect.
    pub attempted: u32,
    /// Clients that were accepted.
    pub connected: u32,
    /// Clients that could not connect.
    pub failed: u32,
    /// Clients that were still connecting when the load ended.
    pub pending: u32,
    /// Clients of the plan that had not started when the load ended.
    pub not_started: u32,
    /// How often an accepted client lost its connection before the load ended.
    pub dropped: u32,
    /// Connections that the plan ended itself, by churn or a storm.
    #[serde(default)]
    pub left: u32,
    /// How often a client was accepted again.
    #[serde(default)]
    pub returned: u32,
    /// How often an attempt to come back failed.
    #[serde(default)]
    pub return_failed: u32,
    /// Answers to pings.
    #[serde(default)]
    pub pongs: u64,
    /// Messages that were published: for QoS 0 the kernel took them, else they were acknowledged.
    #[serde(default)]
    pub published: u64,
    /// Messages that were received.
    #[serde(default)]
    pub received: u64,
    /// Accepted clients that were connected when the load ended.
    pub open: u32,
    /// The most clients connected at a time.
    pub peak_open: u32,
    /// Clients that this machine started late, by more than a tenth of the time between two starts.
    pub late_starts: u64,
}

impl Totals {
    /// Clients that were away when the load ended, where attempts to come back have failed.
    pub fn stayed_away(&self) -> u32 {
        let away = self.connected.saturating_sub(self.open);
        if self.return_failed > 0 { away } else { 0 }
    }
}

/// How fast the clients started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rate {
    /// Starts per second that the plan intended; `None` for as fast as possible.
    pub intended: Option<f64>,
    /// Accepted clients per second, from the start of the load to the last CONNACK, or to the end of
    /// the schedule where that is later.
    pub achieved: f64,
    /// From the start of the load to the last client that was accepted or failed.
    pub ramp_s: f64,
    /// From the start of the load to the last CONNACK.
    pub last_connack_s: f64,
    /// From the end of the ramp to the end of the load.
    pub held_s: f64,
}

/// One class of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorRow {
    /// The class, `STAGE.KIND`.
    pub class: Cow<'static, str>,
    /// The reason code that the server gave, if it gave one.
    pub code: Option<u8>,
    /// How often it happened.
    pub count: u64,
    /// When it happened first.
    pub first_s: f64,
    /// When it happened last.
    pub last_s: f64,
    /// The identifier of the client that met it first.
    pub sample_client: String,
    /// The error text of that client.
    pub sample_error: String,
    /// What can be done about it.
    pub remedy: Cow<'static, str>,
}

/// The counters at the end of one second of the load, and what was measured in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Second {
    /// Seconds since the start of the load.
    pub t: f64,
    /// Clients that had started.
    pub attempted: u32,
    /// Clients that had been accepted.
    pub connected: u32,
    /// Clients that had failed.
    pub failed: u32,
    /// Clients that had been accepted and had lost their connections.
    pub dropped: u32,
    /// Clients that were connected.
    pub open: u32,
    /// The median of the total of the clients that were accepted in this second.
    pub p50_us: Option<u64>,
    /// Its 99th percentile.
    pub p99_us: Option<u64>,
    /// Processor time of the process in this second, in processors: 1 is one that is always busy.
    pub cpu: Option<f64>,
    /// Resident memory of the process.
    pub rss_bytes: Option<u64>,
    /// TCP segments that this machine has retransmitted in this second, for whomever.
    pub retransmits: Option<u64>,
}

/// The process that made the load, and its machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// The name of the machine.
    pub name: String,
    /// The kernel's name and release; empty where the system does not tell.
    pub kernel: String,
    /// Processors available to the process.
    pub cpus: usize,
    /// Threads that had to share the load's work, the null broker's included.
    pub threads: u32,
    /// The limit of open files in force; `None` when there is none.
    pub nofile: Option<u64>,
    /// The local ports that the system chooses from, lowest and highest.
    pub port_range: Option<(u16, u16)>,
    /// Resident memory when every client had connected or failed; `None` where the system does not
    /// tell. With the embedded broker it includes the broker's.
    pub rss_bytes: Option<u64>,
    /// Memory of the process itself, without what is mapped from files, that was added since before
    /// the first client, divided by the open connections. `None` below 1,000 connections. In a process
    /// that has carried out a load before, memory that it left behind is used first.
    pub rss_bytes_per_client: Option<u64>,
    /// Processor time over time, in processors.
    pub cpu_mean: Option<f64>,
    /// The same in the busiest second.
    pub cpu_peak: Option<f64>,
    /// The longest time for which a worker did not look at its sockets.
    pub loop_stall_max_us: u64,
    /// TCP segments that this machine retransmitted during the load, for whomever; those of closing
    /// all connections at its end do not count.
    pub retransmits: Option<u64>,
    /// Those of them that begin a connection; each costs its client a second or more.
    #[serde(default)]
    pub syn_retransmits: Option<u64>,
    /// In a merged report: what limited one of its parts and does not show in the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every client of the plan was accepted, and none lost its connection.
    Complete,
    /// Some clients failed or lost their connections.
    Failures,
    /// The target took no TCP connection at all; the rest of the plan was given up.
    Unreachable,
    /// The load was given up because an objective was missed for too long.
    Aborted,
    /// The load was interrupted before its end.
    Interrupted,
}

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadReportError {
    /// The text is not JSON, or a field of the schema is missing or wrong.
    #[error("not a report")]
    Json(#[source] serde_json::Error),
    /// Its schema is another one.
    #[error("the schema is {found:?} and not {SCHEMA:?}")]
    Schema {
        /// The schema it names.
        found: String,
    },
    /// It says what cannot be.
    #[error("the report contradicts itself: {what}")]
    Contradiction {
        /// The field.
        what: &'static str,
    },
    /// A distribution is damaged.
    #[error("the distribution of {phase} is damaged")]
    Distribution {
        /// The phase.
        phase: &'static str,
        /// What is wrong with it.
        #[source]
        source: DistributionError,
    },
}

impl Report {
    /// Reads a report that [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// [`ReadReportError`] when it is not a report, or one of its distributions is damaged.
    pub fn from_json(text: &[u8]) -> Result<Self, ReadReportError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_slice(text).map_err(ReadReportError::Json)?;
        if head.schema != SCHEMA {
            return Err(ReadReportError::Schema { found: head.schema });
        }
        let report: Self = serde_json::from_slice(text).map_err(ReadReportError::Json)?;
        if let Some(what) = report.contradiction() {
            return Err(ReadReportError::Contradiction { what });
        }
        for (phase, latencies) in &report.phases {
            latencies
                .distribution()
                .map_err(|source| ReadReportError::Distribution { phase: phase.name(), source })?;
        }
        Ok(report)
    }

    /// A field that a load cannot have left like this, and that others rely on.
    fn contradiction(&self) -> Option<&'static str> {
        /// Some three centuries, in seconds.
        const LONGEST_S: f64 = 1e10;
        let is_share = |shard: &Shard| shard.index < shard.count;
        let is_time = |seconds: f64| (0.0..=LONGEST_S).contains(&seconds);
        let sum = |counts: [u32; 3]| counts.map(u64::from).iter().sum::<u64>();
        let Totals { planned, attempted, connected, failed, pending, .. } = self.totals;
        let Totals { not_started, dropped, left, returned, open, .. } = self.totals;
        let mut parts = self.run.parts.iter();
        let rules = [
            ("run.shard", is_share(&self.run.shard)),
            ("run.parts", parts.all(|part| is_share(&part.shard))),
            ("totals.attempted", u64::from(attempted) == sum([connected, failed, pending])),
            ("totals.planned", u64::from(planned) == sum([attempted, not_started, 0])),
            ("totals.open", sum([connected, returned, 0]) == sum([open, dropped, left])),
            ("series_1s.t", self.series_1s.iter().all(|second| is_time(second.t))),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map(|(what, _)| what)
    }

    /// The report as JSON in the schema `conn-report/1`, with a line feed at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self)
            .expect("a report has no maps with other keys than strings");
        text.push(b'\n');
        text
    }

    /// The latencies of `phase`, if anything was measured in it.
    pub fn phase(&self, phase: Phase) -> Option<&Latencies> {
        self.phases.iter().find(|(known, _)| *known == phase).map(|(_, latencies)| latencies)
    }
}
