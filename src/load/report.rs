//! What came of it: numbers only, in the shape of the machine-readable report `conn-report/1`.
//!
//! The fields are described for users in `docs/load-testing.md`. Durations of phases are in
//! microseconds, times in seconds since the start of the load.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Serialize, Serializer as SerdeSerializer, ser::SerializeMap};

use super::{
    Phase, Plan, Target,
    stats::{Counts, Durations, FailureCount, Stats},
};

/// The outcome of a load.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// `conn-report/1`.
    pub schema: &'static str,
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
    #[serde(serialize_with = "phases_by_name")]
    pub phases: Vec<(Phase, Latencies)>,
    /// The failures by class, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// The state at the end of each second.
    pub series_1s: Vec<Second>,
    /// The generating process.
    pub host: Host,
    /// How it ended.
    pub outcome: Outcome,
}

/// Which run a report is about.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// The seed of the clients.
    pub seed: u32,
    /// The version of midge.
    pub version: &'static str,
    /// When it started, in UTC (RFC 3339).
    pub started: String,
    /// When it ended, in UTC (RFC 3339).
    pub ended: String,
}

/// Where the connections of a run went.
#[derive(Clone, Debug, Serialize)]
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

/// What a plan asked for.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PlanFacts {
    /// How many clients.
    pub clients: u32,
    /// Time between two intended starts.
    pub interval_us: u64,
    /// How long the connections were to be held; `None` until interrupted.
    pub hold_s: Option<f64>,
    /// The keep alive of each client; 0 for none.
    pub keepalive_s: u16,
    /// How many attempts could be in progress at a time.
    pub in_progress_max: u32,
    /// Time for a client to be accepted.
    pub connect_timeout_s: f64,
    /// Worker threads.
    pub workers: u32,
}

/// How many clients came how far. `attempted = connected + failed + pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
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
    /// Accepted clients that lost their connection before the load ended.
    pub dropped: u32,
    /// Accepted clients that were connected when the load ended.
    pub open: u32,
    /// The most clients connected at a time.
    pub peak_open: u32,
}

/// How fast the clients started.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Rate {
    /// Starts per second that the plan intended; `None` for as fast as possible.
    pub intended: Option<f64>,
    /// Accepted clients per second, from the start of the load to the last CONNACK.
    pub achieved: f64,
    /// From the start of the load to the last client that was accepted or failed.
    pub ramp_s: f64,
    /// From the end of the ramp to the end of the load.
    pub held_s: f64,
}

/// The distribution of the durations of one phase, in microseconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Latencies {
    /// How many were measured.
    pub n: u64,
    /// The shortest.
    pub min_us: u64,
    /// The longest.
    pub max_us: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50: u64,
    /// 90 % are not longer.
    pub p90: u64,
    /// 99 % are not longer.
    pub p99: u64,
    /// 99.9 % are not longer.
    pub p999: u64,
    /// 99.99 % are not longer.
    pub p9999: u64,
    /// The whole distribution: HdrHistogram V2, compressed, in base 64.
    pub hdr_v2_b64: String,
}

/// One class of failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub remedy: &'static str,
}

/// The counters at the end of one second of the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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
    /// Clients that were connected.
    pub open: u32,
}

/// The process that made the load.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Host {
    /// Processors available to the process.
    pub cpus: usize,
    /// The limit of open files in force; `None` when there is none.
    pub nofile: Option<u64>,
    /// Resident memory when every client had connected or failed; `None` where the system does not
    /// tell. With the embedded broker it includes the broker's.
    pub rss_bytes: Option<u64>,
    /// How much of it was added since before the first client, divided by the open connections.
    pub rss_bytes_per_client: Option<u64>,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every client of the plan was accepted, and none lost its connection.
    Complete,
    /// Some clients failed or lost their connections.
    Failures,
    /// The target took no TCP connection at all; the rest of the plan was given up.
    Unreachable,
    /// The load was interrupted before its end.
    Interrupted,
}

/// What [`Report::new`] needs besides the plan and the measurements.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) target: TargetFacts,
    pub(crate) started: jiff::Timestamp,
    pub(crate) counts: Counts,
    pub(crate) peak_open: u32,
    pub(crate) ramp: Duration,
    pub(crate) last_connack: Duration,
    pub(crate) held: Duration,
    pub(crate) series: Vec<Second>,
    pub(crate) host: Host,
    pub(crate) ended_by: EndedBy,
}

/// Why a load stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// The plan was carried out, or nothing was left of it to hold.
    Plan,
    Unreachable,
    Interrupt,
}

impl Report {
    pub(crate) fn new(plan: &Plan, stats: &Stats, course: Course) -> Self {
        let counts = course.counts;
        let totals = Totals {
            attempted: counts.attempted,
            connected: counts.connected,
            failed: counts.failed,
            pending: counts.pending(),
            not_started: plan.clients.saturating_sub(counts.attempted),
            dropped: counts.dropped,
            open: counts.open(),
            peak_open: course.peak_open,
        };
        let outcome = match course.ended_by {
            EndedBy::Interrupt => Outcome::Interrupted,
            EndedBy::Unreachable => Outcome::Unreachable,
            EndedBy::Plan if totals.connected == plan.clients && totals.dropped == 0 => {
                Outcome::Complete
            }
            EndedBy::Plan => Outcome::Failures,
        };
        let phases = Phase::ALL.into_iter().map(|phase| (phase, stats.phase(phase)));
        Self {
            schema: "conn-report/1",
            run: Run {
                seed: plan.seed.0,
                version: env!("CARGO_PKG_VERSION"),
                started: course.started.to_string(),
                ended: jiff::Timestamp::now().to_string(),
            },
            target: course.target,
            plan: PlanFacts::new(plan),
            totals,
            rate: Rate {
                intended: (!plan.interval.is_zero()).then(|| plan.interval.as_secs_f64().recip()),
                achieved: per_second(totals.connected, course.last_connack),
                ramp_s: course.ramp.as_secs_f64(),
                held_s: course.held.as_secs_f64(),
            },
            phases: phases
                .filter(|(_, durations)| !durations.is_empty())
                .map(|(phase, durations)| (phase, Latencies::new(durations)))
                .collect(),
            errors: stats.failures().into_iter().map(|row| ErrorRow::new(plan, row)).collect(),
            series_1s: course.series,
            host: course.host,
            outcome,
        }
    }

    /// The latencies of `phase`, if anything was measured in it.
    pub fn phase(&self, phase: Phase) -> Option<&Latencies> {
        self.phases.iter().find(|(known, _)| *known == phase).map(|(_, latencies)| latencies)
    }
}

impl PlanFacts {
    fn new(plan: &Plan) -> Self {
        Self {
            clients: plan.clients,
            interval_us: u64::try_from(plan.interval.as_micros()).unwrap_or(u64::MAX),
            hold_s: plan.hold.map(|hold| hold.as_secs_f64()),
            keepalive_s: plan.session.keep_alive,
            in_progress_max: plan.in_progress.get(),
            connect_timeout_s: plan.connect_timeout.as_secs_f64(),
            workers: plan.workers.get(),
        }
    }
}

impl TargetFacts {
    pub(crate) fn new(
        plan: &Plan,
        addresses: &[std::net::SocketAddr],
        lookup: Option<Duration>,
    ) -> Self {
        Self {
            url: match &plan.target {
                Target::Broker(endpoint) => endpoint.to_string(),
                Target::Embedded => "embedded".to_owned(),
            },
            resolved: addresses.iter().map(ToString::to_string).collect(),
            dns_us: lookup.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            mqtt_version: plan.session.version.to_string(),
        }
    }
}

impl Latencies {
    fn new(durations: &Durations) -> Self {
        let mut encoded = Vec::new();
        V2DeflateSerializer::new()
            .serialize(durations, &mut encoded)
            .expect("a histogram of 32-bit counts always fits into memory");
        // The bucket that holds the longest duration ends beyond it.
        let at = |quantile| durations.value_at_quantile(quantile).min(durations.max());
        Self {
            n: durations.len(),
            min_us: durations.min(),
            max_us: durations.max(),
            mean_us: durations.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            hdr_v2_b64: STANDARD.encode(encoded),
        }
    }
}

impl ErrorRow {
    fn new(plan: &Plan, row: FailureCount) -> Self {
        Self {
            class: row.class.name(),
            code: row.class.reason().map(u8::from),
            count: row.count,
            first_s: row.first.as_secs_f64(),
            last_s: row.last.as_secs_f64(),
            sample_client: plan.seed.client_id(row.sample),
            sample_error: row.text,
            remedy: row.class.remedy(),
        }
    }
}

fn per_second(count: u32, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { f64::from(count) / time.as_secs_f64() }
}

fn phases_by_name<S: SerdeSerializer>(
    phases: &[(Phase, Latencies)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(phases.len()))?;
    for (phase, latencies) in phases {
        map.serialize_entry(phase.name(), latencies)?;
    }
    map.end()
}
