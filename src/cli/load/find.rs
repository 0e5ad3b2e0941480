//! `--find max-rate`: the highest rate of starts at which the objectives are met.
//!
//! Each trial is a load of its own at a constant rate, whose clients disconnect at its end. The rate
//! is doubled while the objectives are met, and halved while they are missed; between a rate that
//! meets them and one that misses them, the geometric middle is tried until the two are close. A
//! miss counts when it happens twice, for a broker is not to blame for one hiccup.

use std::{future::Future, time::Duration};

use anyhow::{Result, anyhow, bail};

use super::{
    output::Outputs,
    screen::{self, count},
    start::{shortfall, start_failure},
};
use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        opts::LoadOptions,
        stdio::{self, Stdout},
    },
    load::{self, Outcome, Plan, Profile, Report, State},
};

/// How long the starts of a trial take, as far as there are enough clients.
const TRIAL: Duration = Duration::from_secs(5);
/// A trial has at least so many clients.
const FEWEST: u32 = 100;
/// A trial is given up once an objective that only gets worse was missed for this long.
const PATIENCE: Duration = Duration::from_secs(1);
/// How close the two rates have to come: 5 %.
const CLOSE: f64 = 1.05;
/// Beyond these, no search goes.
const RATES: (f64, f64) = (10.0, 1e6);

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// The objectives were met.
    Met,
    /// They were not.
    Missed,
    /// The generator was limited.
    Limited,
}

impl Tried {
    /// A generator that is limited makes latencies longer and never shorter: objectives that are met
    /// in spite of it are met, as long as the clients did start at the rate.
    fn of(report: &Report) -> Self {
        const AT_THE_RATE: f64 = 0.95;
        let intended = report.rate.intended.unwrap_or_default();
        let is_at_the_rate = report.rate.achieved >= AT_THE_RATE * intended;
        let is_met = report.slo.iter().all(|row| row.ok);
        match report.verdict.state {
            State::Pass => Self::Met,
            State::Invalid if is_met && is_at_the_rate => Self::Met,
            State::Invalid => Self::Limited,
            _ => Self::Missed,
        }
    }
}

/// Where a search is: the highest rate known to be met, and the lowest known not to be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    next: f64,
    met: Option<f64>,
    not_met: Option<f64>,
    /// A rate that was not met once.
    doubted: Option<f64>,
}

impl Search {
    fn new(first: f64) -> Self {
        Self { next: first, met: None, not_met: None, doubted: None }
    }

    /// The rate to try next; `None` when the search is over.
    fn next(&self) -> Option<f64> {
        let (least, most) = RATES;
        let is_close =
            self.met.zip(self.not_met).is_some_and(|(met, not_met)| not_met / met <= CLOSE);
        (!is_close && (least..=most).contains(&self.next)).then_some(self.next)
    }

    fn record(&mut self, rate: f64, is_met: bool) {
        if !is_met && self.doubted != Some(rate) {
            self.doubted = Some(rate);
            return;
        }
        if is_met {
            self.met = Some(rate);
        } else {
            self.not_met = Some(rate);
        }
        self.next = match (self.met, self.not_met) {
            (Some(met), Some(not_met)) => (met * not_met).sqrt(),
            (Some(met), None) => met * 2.0,
            (None, _) => rate / 2.0,
        };
    }
}

/// What a search has found.
#[derive(Debug, Default)]
struct Found {
    met: Option<Report>,
    not_met: Option<Report>,
    interrupted: bool,
}

/// The rate to begin with.
///
/// # Errors
/// When the options do not go together with a search.
pub(super) fn first_rate(options: &LoadOptions, plan: &Plan) -> Result<f64> {
    let report = &options.report;
    for (is_given, option) in [
        (report.csv.is_some(), "--csv"),
        (report.files.hlog.is_some(), "--hlog"),
        (report.prometheus.is_some(), "--prometheus"),
        (plan.hold.is_some(), "--hold"),
        (plan.shard.count > 1, "--shard"),
        (plan.start_at.is_some(), "--start-at"),
        (options.machines.barrier.is_some(), "--barrier"),
        (options.pace.processes.is_some(), "--processes"),
    ] {
        if is_given {
            bail!("{option} has no effect with --find, which makes many short loads");
        }
    }
    if plan.objectives.is_empty() {
        bail!("--find needs an objective: add --slo, such as --slo 'connack.p99<50ms'");
    }
    if plan.clients < FEWEST {
        bail!("--find needs at least -C {FEWEST}: up to so many clients start in each trial");
    }
    match plan.profile.constant_interval() {
        Some(interval) if !interval.is_zero() => Ok(1.0 / interval.as_secs_f64()),
        _ => bail!("--find needs a rate to begin with: give -i or --rate, and no other shape"),
    }
}

/// Searches, and prints what was found.
///
/// # Errors
/// When nothing was found, or what was found is the limit of this machine.
pub(super) async fn run(
    plan: &Plan,
    first: f64,
    options: &LoadOptions,
    outputs: Outputs,
    interrupt: impl Future<Output = Exit>,
) -> Result<Exit, Failure> {
    let tell = |text: &str| {
        if !options.report.quiet {
            stdio::report(Tool::Conn.name(), text);
        }
    };
    let mut signal = None;
    let found = {
        tokio::pin!(interrupt);
        let mut search = Search::new(first);
        let mut found = Found::default();
        while let Some(rate) = search.next() {
            let trial = trial(plan, rate)?;
            let running = load::run(trial, std::future::pending(), |_| {});
            let report = tokio::select! {
                report = running => of_trial(report.map_err(start_failure)?),
                exit = &mut interrupt => {
                    // Dropping the load ends it.
                    (signal, found.interrupted) = (Some(exit), true);
                    break;
                }
            };
            let tried = Tried::of(&report);
            tell(&line(rate, tried, &report));
            search.record(rate, tried == Tried::Met);
            let is_unreachable = report.outcome == Outcome::Unreachable;
            match tried {
                Tried::Met => found.met = Some(report),
                _ if search.not_met == Some(rate) || is_unreachable => found.not_met = Some(report),
                _ => {}
            }
            if is_unreachable {
                break;
            }
        }
        found
    };
    finish(found, outputs, signal)
}

/// The load of one trial.
fn trial(plan: &Plan, rate: f64) -> Result<Plan, Failure> {
    let wanted = (rate * TRIAL.as_secs_f64()).ceil() as u32;
    let mut trial = plan.clone();
    trial.clients = wanted.clamp(FEWEST, plan.clients);
    trial.profile = Profile::rate(rate).map_err(|error| Failure::new(Exit::Usage, error))?;
    trial.hold = Some(Duration::ZERO);
    trial.abort_after = Some(PATIENCE);
    Ok(trial)
}

/// The report without what the trials before have a part in: memory is used again.
fn of_trial(mut report: Report) -> Report {
    report.host.rss_bytes_per_client = None;
    report
}

fn line(rate: f64, tried: Tried, report: &Report) -> String {
    let values: Vec<_> =
        report.slo.iter().map(|row| format!("{}: {}", row.expr, row.text)).collect();
    let tried = match tried {
        Tried::Met => "met",
        Tried::Missed => "missed",
        Tried::Limited => "limited by this machine",
    };
    format!("{} at {rate:.0}/s ({} clients)", tried, count(report.totals.attempted.into()))
        + &format!("; {}", values.join(", "))
}

fn finish(found: Found, outputs: Outputs, signal: Option<Exit>) -> Result<Exit, Failure> {
    let usage = |error| Failure::new(Exit::Usage, error);
    let rate = |report: &Report| report.rate.intended.unwrap_or_default();
    let Some(best) = &found.met else {
        let Some(report) = &found.not_met else {
            return Err(Failure::silent(signal.unwrap_or(Exit::Signal(2))));
        };
        outputs.finish(report).map_err(usage)?;
        Stdout::new().write(screen::render(report).as_bytes())?;
        let exit = match report.verdict.exit_code {
            5 => Exit::Unreachable,
            4 => Exit::GeneratorLimited,
            _ => Exit::SomeFailed,
        };
        let why = shortfall(report, exit);
        let text = anyhow!("no rate was found, not even {:.0}/s: {why}", rate(report));
        return Err(Failure::new(exit, text));
    };
    outputs.finish(best).map_err(usage)?;
    let mut text = format!("{}\nfound       {:.0}/s", screen::render(best), rate(best));
    match &found.not_met {
        Some(report) if report.verdict.state == State::Invalid => text.push_str(&format!(
            ", and no more on this machine: {}\n",
            shortfall(report, Exit::GeneratorLimited)
        )),
        Some(report) => {
            let why = shortfall(report, Exit::SomeFailed);
            text.push_str(&format!("; at {:.0}/s, {why}\n", rate(report)));
        }
        None => text.push_str(", and none above that was missed\n"),
    }
    Stdout::new().write(text.as_bytes())?;
    match (&found.not_met, signal) {
        (_, Some(signal)) if found.interrupted => Ok(signal),
        (Some(report), _) if report.verdict.state == State::Invalid => {
            let text = anyhow!("the search ended at the limit of this machine, not of the broker");
            Err(Failure::new(Exit::GeneratorLimited, text))
        }
        _ => Ok(Exit::Success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches for `limit`, from which on nothing is met; returns the two rates and the trials.
    fn search(first: f64, limit: f64) -> (Option<f64>, Option<f64>, usize) {
        let mut search = Search::new(first);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            search.record(rate, rate < limit);
            trials += 1;
            assert!(trials < 100);
        }
        (search.met, search.not_met, trials)
    }

    #[test]
    fn the_limit_is_between_two_close_rates() {
        for limit in [13.0, 99.0, 101.0, 1_234.0, 50_000.0] {
            let (met, not_met, trials) = search(100.0, limit);
            let (met, not_met) = (met.unwrap(), not_met.unwrap());
            assert!(met < limit && limit <= not_met, "{met} {limit} {not_met}");
            assert!(not_met / met <= CLOSE, "{met} {not_met}");
            assert!(trials < 30, "{trials}");
        }
    }

    #[test]
    fn a_search_ends_where_there_is_no_limit() {
        let (met, not_met, _) = search(100.0, f64::INFINITY);
        assert!(met.unwrap() > 500_000.0 && not_met.is_none());
        let (met, not_met, _) = search(100.0, 0.0);
        assert!(met.is_none() && not_met.unwrap() < 20.0);
    }

    #[test]
    fn one_miss_is_tried_again() {
        let mut search = Search::new(100.0);
        search.record(100.0, false);
        assert_eq!((search.next(), search.not_met), (Some(100.0), None));
        search.record(100.0, true);
        assert_eq!((search.next(), search.met), (Some(200.0), Some(100.0)));
        search.record(200.0, false);
        search.record(200.0, false);
        assert_eq!(search.not_met, Some(200.0));
    }
}
