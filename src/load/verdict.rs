//! What to think of a report: whether its figures are the target's at all, and whether they are good
//! enough.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Phase,
    report::{ErrorRow, Outcome, Report},
};

/// How late this machine may start clients, as a part of the time between two starts.
pub(crate) const LAG_OF_PERIOD: f64 = 0.1;
/// It is never asked to be more punctual than this: timers and turns are not.
const LEAST_LAG_MICROS: f64 = 1_000.0;
/// How busy the processors of the load may be.
const BUSY: f64 = 0.85;
/// How long a worker may not look at its sockets.
const STALL_MICROS: u64 = 10_000;
/// The class of the clients whose process ended without a report.
pub(crate) const LOST: &str = "local.process_lost";
/// With fewer clients, one hiccup of the machine is no limit.
const FEWEST: u32 = 100;

/// The verdict on a load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Judgement {
    /// The verdict.
    pub state: State,
    /// What limited the generator.
    pub limited_by: Vec<Limit>,
    /// The exit code of the tool.
    pub exit_code: u8,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// The objectives were met; without objectives, no client failed or lost its connection, none was
    /// refused what it asked for, and those that the plan disconnected came back.
    #[default]
    Pass,
    /// They were not.
    Fail,
    /// The generator was limited: the figures are its own, not the target's.
    Invalid,
}

/// Something that kept the generator from doing what the plan asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limit {
    /// What it was: `schedule_lag`, `cpu`, `loop_stall`, `descriptors`, `ports`, `memory`, `watches`
    /// or `processes`.
    pub what: String,
    /// The figures.
    pub detail: String,
}

impl Limit {
    fn new(what: &str, detail: String) -> Self {
        Self { what: what.to_owned(), detail }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID (generator-limited)",
        })
    }
}

/// How late this machine may start a client when `rate` clients are to start in a second, in
/// microseconds.
pub(crate) fn allowed_lag_micros(rate: f64) -> f64 {
    (LAG_OF_PERIOD * 1e6 / rate).max(LEAST_LAG_MICROS)
}

/// The verdict on `report`, whose objectives have been evaluated.
pub(crate) fn judge(report: &Report) -> Judgement {
    let limited_by = limits(report);
    let is_met = if report.slo.is_empty() {
        is_faultless(report)
    } else {
        report.slo.iter().all(|row| row.ok)
    };
    // A load that goes as fast as it can is limited by something of this machine as a rule. That
    // only matters where the figures are compared with something.
    let must_keep_up = report.rate.intended.is_some() || !report.slo.is_empty();
    let is_short = limited_by.iter().any(Limit::is_shortage);
    let state = match report.outcome {
        Outcome::Unreachable => State::Fail,
        _ if is_short || (must_keep_up && !limited_by.is_empty()) => State::Invalid,
        _ if is_met => State::Pass,
        _ => State::Fail,
    };
    let exit_code = match (report.outcome, state) {
        (Outcome::Interrupted, _) => 130,
        (Outcome::Unreachable, _) => 5,
        (_, State::Pass) => 0,
        (_, State::Fail) => 1,
        (_, State::Invalid) => 4,
    };
    Judgement { state, limited_by, exit_code }
}

/// Whether every client did what the plan asked of it, as far as the load went.
fn is_faultless(report: &Report) -> bool {
    let totals = &report.totals;
    let are_connected = match report.outcome {
        Outcome::Complete => true,
        // Those that had not started yet are not to blame, but somebody has to have come through.
        Outcome::Interrupted => (totals.failed, totals.dropped) == (0, 0) && totals.connected > 0,
        _ => false,
    };
    let is_refused =
        |row: &ErrorRow| row.class.starts_with("suback.") || row.class.starts_with("publish.");
    are_connected && !report.errors.iter().any(is_refused) && totals.stayed_away() == 0
}

impl Limit {
    /// Whether this machine was short of something, so that clients failed for it.
    fn is_shortage(&self) -> bool {
        matches!(self.what.as_str(), "descriptors" | "ports" | "memory" | "watches" | "processes")
    }
}

fn limits(report: &Report) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (class, what, short_of) in [
        ("local.emfile", "descriptors", "open files"),
        ("local.eaddrnotavail", "ports", "local ports"),
        ("local.enobufs", "memory", "memory for sockets"),
        ("local.enospc", "watches", "room among the watched sockets"),
    ] {
        if let Some(row) = report.errors.iter().find(|row| row.class == class) {
            limits.push(Limit::new(what, format!("{} clients had no {short_of}", row.count)));
        }
    }
    if let Some(row) = report.errors.iter().find(|row| row.class == LOST) {
        let detail = format!("{} clients were lost with a process of the generator", row.count);
        limits.push(Limit::new("processes", detail));
    }
    limits.extend(report.host.limits.iter().cloned());
    if report.totals.attempted < FEWEST {
        return limits;
    }
    if let Some(rate) = report.rate.intended.filter(|rate| *rate > 0.0)
        && let Some(lag) = report.phase(Phase::GeneratorLag).filter(|lag| lag.is_enough_for(0.99))
        && lag.p99 as f64 > allowed_lag_micros(rate)
    {
        let detail = format!(
            "1 % of the clients started more than {:.1} ms late, {:.1} ms are allowed",
            lag.p99 as f64 / 1e3,
            allowed_lag_micros(rate) / 1e3
        );
        limits.push(Limit::new("schedule_lag", detail));
    }
    let host = &report.host;
    if let Some(peak) = host.cpu_peak
        && let busy = peak / f64::from(host.threads.max(1)).min(host.cpus.max(1) as f64)
        && busy > BUSY
    {
        let detail = format!(
            "{:.0} % of its {} threads in the busiest second, 85 % are allowed",
            busy * 100.0,
            host.threads.max(1)
        );
        limits.push(Limit::new("cpu", detail));
    }
    if host.loop_stall_max_us > STALL_MICROS {
        let detail = format!(
            "for {:.1} ms no socket was looked at, 10 ms are allowed",
            host.loop_stall_max_us as f64 / 1e3
        );
        limits.push(Limit::new("loop_stall", detail));
    }
    limits
}
