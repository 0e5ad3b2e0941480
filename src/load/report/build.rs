//! Puts the report of one run together.

use std::{net::SocketAddr, time::Duration};

use super::{
    ErrorRow, Host, Latencies, Outcome, PlanFacts, Rate, Report, Run, SCHEMA, Second, TargetFacts,
    Totals,
};
use crate::load::{
    Phase, Plan,
    identity::random_id,
    slo,
    stats::{Counts, Distributions, FailureCount, Failures},
    verdict,
};

/// What [`Report::new`] needs besides the plan.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) target: TargetFacts,
    pub(crate) started: jiff::Timestamp,
    pub(crate) counts: Counts,
    pub(crate) distributions: Distributions,
    pub(crate) failures: Failures,
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
    /// An objective was missed for too long.
    Objective,
    Interrupt,
}

impl Report {
    pub(crate) fn new(plan: &Plan, course: Course) -> Self {
        let Course { counts, distributions, .. } = course;
        let planned = plan.shard.share_of(plan.clients);
        let totals = Totals {
            planned,
            attempted: counts.attempted,
            connected: counts.connected,
            failed: counts.failed,
            pending: counts.pending(),
            not_started: planned.saturating_sub(counts.attempted),
            dropped: counts.dropped,
            left: counts.left,
            returned: counts.returned,
            return_failed: counts.return_failed,
            pongs: counts.pongs,
            published: counts.published,
            received: counts.received,
            open: counts.open(),
            peak_open: course.peak_open,
            late_starts: late_starts(plan, &distributions),
        };
        let outcome = match course.ended_by {
            EndedBy::Interrupt => Outcome::Interrupted,
            EndedBy::Unreachable => Outcome::Unreachable,
            EndedBy::Objective => Outcome::Aborted,
            EndedBy::Plan if totals.connected == planned && totals.dropped == 0 => {
                Outcome::Complete
            }
            EndedBy::Plan => Outcome::Failures,
        };
        let facts = PlanFacts::new(plan);
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            run: Run {
                id: random_id(),
                seed: plan.seed.0,
                plan_hash: facts.hash(&course.target, plan.seed.0),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: course.started.to_string(),
                ended: jiff::Timestamp::now().to_string(),
                start_at: plan.start_at.map(|at| at.to_string()),
                clock_synced: plan.clock_synced,
                shard: plan.shard.clone(),
                parts: Vec::new(),
            },
            target: course.target,
            plan: facts,
            totals,
            rate: Rate {
                intended: plan.intended_rate(),
                achieved: achieved(
                    &totals,
                    plan.intended_rate(),
                    course.last_connack.as_secs_f64(),
                ),
                ramp_s: course.ramp.as_secs_f64(),
                last_connack_s: course.last_connack.as_secs_f64(),
                held_s: course.held.as_secs_f64(),
            },
            phases: distributions.met().map(|(phase, d)| (phase, Latencies::new(d))).collect(),
            errors: course
                .failures
                .into_rows()
                .into_iter()
                .map(|row| ErrorRow::new(plan, row))
                .collect(),
            series_1s: course.series,
            host: course.host,
            ceiling: plan.ceiling.clone(),
            outcome,
            slo: Vec::new(),
            verdict: verdict::Judgement::default(),
        };
        report.judge(&plan.objectives);
        report
    }

    /// Evaluates `objectives`, and gives the verdict anew.
    pub fn judge(&mut self, objectives: &[slo::Slo]) {
        self.slo = objectives.iter().map(|objective| objective.evaluate(self)).collect();
        self.verdict = verdict::judge(self);
    }
}

/// How many clients this machine started later than a tenth of the time between two starts allows.
fn late_starts(plan: &Plan, distributions: &Distributions) -> u64 {
    let Some(rate) = plan.intended_rate() else { return 0 };
    let Some(lag) = distributions.phase(Phase::GeneratorLag) else { return 0 };
    let allowed = verdict::allowed_lag_micros(rate) as u64;
    if lag.max() <= allowed { 0 } else { lag.count_between(allowed + 1, lag.max()) }
}

impl PlanFacts {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            clients: plan.clients,
            interval_us: plan
                .profile
                .constant_interval()
                .map_or(0, |interval| u64::try_from(interval.as_micros()).unwrap_or(u64::MAX)),
            profile: plan.profile.to_string(),
            hold_s: plan.hold.map(|hold| hold.as_secs_f64()),
            keepalive_s: plan.session.keep_alive,
            in_progress_max: plan.in_progress.get(),
            connect_timeout_s: plan.connect_timeout.as_secs_f64(),
            workers: plan.workers.get(),
            clients_say: clients_say(plan),
            life: plan.life.to_string(),
            traffic: plan.traffic.to_string(),
        }
    }

    /// The same for runs that ask for the same, whatever machine and however many threads do it.
    pub(crate) fn hash(&self, target: &TargetFacts, seed: u32) -> String {
        let same = Self { workers: 0, in_progress_max: 0, ..self.clone() };
        let text = serde_json::to_string(&(same, &target.url, &target.mqtt_version, seed))
            .expect("these are numbers and texts");
        let mut digest = sha1_smol::Sha1::from(text).digest().to_string();
        digest.truncate(16);
        digest
    }
}

/// What tells the clients of one plan from those of another, passwords excepted.
fn clients_say(plan: &Plan) -> String {
    let (identity, session) = (&plan.identity, &plan.session);
    let mut words = Vec::new();
    if let Some(client_id) = &identity.client_id {
        words.push(format!("client identifier {client_id}"));
    }
    if let Some(username) = &identity.username {
        words.push(format!("user {username}"));
    } else if let Some(username) = &session.username {
        words.push(format!("user {username}"));
    }
    if let Some(accounts) = &identity.accounts {
        words.push(format!("{} rows of clients", accounts.len()));
    }
    if !session.clean_start {
        words.push("sessions are kept".to_owned());
    }
    if let Some(will) = &session.will {
        words.push(format!("will on {} at QoS {}", will.topic, u8::from(will.qos)));
    }
    words.join(", ")
}

impl TargetFacts {
    pub(crate) fn new(plan: &Plan, addresses: &[SocketAddr], lookup: Option<Duration>) -> Self {
        Self {
            url: plan.target.to_string(),
            resolved: addresses.iter().map(ToString::to_string).collect(),
            dns_us: lookup.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            mqtt_version: plan.session.version.to_string(),
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
            sample_client: plan.identity.client_id(plan.seed, row.sample),
            sample_error: row.text,
            remedy: row.class.remedy().into(),
        }
    }
}

/// Accepted clients per second. The time between two starts belongs to the last one as well: a load
/// that keeps its schedule is not faster than that for having few clients.
pub(crate) fn achieved(totals: &Totals, intended: Option<f64>, last_connack_s: f64) -> f64 {
    let schedule_s = intended.map_or(0.0, |rate| f64::from(totals.attempted) / rate);
    per_second(totals.connected, last_connack_s.max(schedule_s))
}

/// `count` per second over `seconds`; 0 for no time at all.
pub(crate) fn per_second(count: u32, seconds: f64) -> f64 {
    if seconds > 0.0 { f64::from(count) / seconds } else { 0.0 }
}
