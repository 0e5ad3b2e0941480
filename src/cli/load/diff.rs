//! `midge_conn diff`: what became better or worse from one report to another.

use std::fmt::{self, Write};

use anyhow::{Context, anyhow};
use clap::{Args, Command};

use super::{
    input,
    screen::{count, duration},
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        opts::load::DiffOptions,
        stdio::{Stdout, single_line},
    },
    load::{Change, Comparison, PhaseComparison, Report, Shift, State},
};

/// The options of the verb.
pub(super) fn command() -> Command {
    DiffOptions::augment_args(Command::new("diff"))
        .about("Compare two reports, and tell what became worse")
        .long_about(
            "Compares the whole distributions of two reports that midge_conn start or merge has \
             written with --json. A shift of a percentile is a regression when it is larger than \
             the threshold and when its 95 % confidence interval does not reach down to zero. The \
             exit code is 0 without a regression, 1 with one, and 4 when the generator was limited \
             in one of the two loads, so that its figures are not the broker's.",
        )
        .after_help("Example:\n  midge_conn diff baseline.json run.json --threshold 10")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
}

/// Compares the two reports that the options name.
///
/// # Errors
/// When they cannot be read, and when there is a regression.
pub(super) fn run(options: &DiffOptions) -> Result<Exit, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let a = input::report(&options.baseline).map_err(usage)?;
    let b = input::report(&options.report).map_err(usage)?;
    let comparison =
        Comparison::new(&a, &b, options.threshold).context("cannot compare").map_err(usage)?;
    Stdout::new().write(render(&a, &b, &comparison).as_bytes())?;
    let is_limited = [&a, &b].iter().any(|report| report.verdict.state == State::Invalid);
    if is_limited {
        let error = anyhow!(
            "the generator was limited in one of the two loads: what differs may be its doing"
        );
        return Err(Failure::new(Exit::GeneratorLimited, error));
    }
    let regressions = comparison.regressions().count();
    if regressions == 0 {
        return Ok(Exit::Success);
    }
    let plural = if regressions == 1 { "" } else { "s" };
    Err(Failure::new(Exit::SomeFailed, anyhow!("{regressions} regression{plural}")))
}

fn render(a: &Report, b: &Report, comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(a, b, comparison, &mut text);
    text
}

fn write_all(a: &Report, b: &Report, comparison: &Comparison, out: &mut String) -> fmt::Result {
    for (name, report) in [("A", a), ("B", b)] {
        writeln!(
            out,
            "{name}  {}  MQTT {}  {} clients  {}  {}",
            single_line(&report.target.url),
            report.target.mqtt_version,
            count(report.plan.clients.into()),
            report.run.started,
            report.verdict.state
        )?;
    }
    for difference in differences(a, b) {
        writeln!(out, "note: {difference}")?;
    }
    writeln!(
        out,
        "\n{:<14}{:<8}{:>10}{:>10}{:>10}  {:<20}",
        "phase", "", "A", "B", "shift", "95% interval"
    )?;
    for phase in &comparison.phases {
        write_phase(phase, out)?;
    }
    writeln!(out)?;
    for shift in &comparison.counts {
        write_count(shift, out)?;
    }
    let regressions: Vec<_> = comparison
        .regressions()
        .map(|(phase, shift)| {
            let phase = phase.map_or(String::new(), |phase| format!("{}.", phase.name()));
            format!("{phase}{} {}", shift.name, signed(shift.shift))
        })
        .collect();
    if regressions.is_empty() {
        writeln!(out, "\nno regression")
    } else {
        writeln!(out, "\nREGRESSION  {}", regressions.join(", "))
    }
}

fn write_phase(phase: &PhaseComparison, out: &mut String) -> fmt::Result {
    for (index, shift) in phase.quantiles.iter().enumerate() {
        let (a, b) = shift.values;
        let name = if index == 0 { phase.phase.name() } else { "" };
        let line = format!(
            "{name:<14}{:<8}{:>10}{:>10}{:>10}  {:<20}{}",
            shift.name,
            duration(a as u64),
            duration(b as u64),
            signed(shift.shift),
            interval(shift),
            change(shift.change)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    if !phase.quantiles.is_empty() {
        let verdict =
            if phase.is_different() { "the distributions differ" } else { "may be chance" };
        writeln!(out, "{:<14}KS {:.3}, p {:.3}: {verdict}", "", phase.ks, phase.ks_p)?;
    }
    Ok(())
}

fn write_count(shift: &Shift, out: &mut String) -> fmt::Result {
    let value = |value: f64| match shift.interval {
        Some(_) => format!("{:.3}%", value * 100.0),
        None => format!("{value:.1}/s"),
    };
    let (a, b) = shift.values;
    let line = format!(
        "{:<22}{:>10}{:>10}{:>10}  {:<20}{}",
        shift.name,
        value(a),
        value(b),
        signed(shift.shift),
        interval(shift),
        change(shift.change)
    );
    writeln!(out, "{}", line.trim_end())
}

/// What the two loads were asked for in different ways, where that may explain what differs.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: {a} in A, {b} in B"));
        }
    };
    compare("clients", a.plan.clients.to_string(), b.plan.clients.to_string());
    compare("starts", a.plan.profile.clone(), b.plan.profile.clone());
    let hold = |report: &Report| report.plan.hold_s.map_or("none".to_owned(), s);
    compare("hold", hold(a), hold(b));
    compare("keep alive", s(a.plan.keepalive_s.into()), s(b.plan.keepalive_s.into()));
    compare("in progress", a.plan.in_progress_max.to_string(), b.plan.in_progress_max.to_string());
    compare("connect timeout", s(a.plan.connect_timeout_s), s(b.plan.connect_timeout_s));
    let words =
        |text: &str| if text.is_empty() { "none".to_owned() } else { single_line(text).into() };
    compare("clients say", words(&a.plan.clients_say), words(&b.plan.clients_say));
    compare("life", words(&a.plan.life), words(&b.plan.life));
    compare("traffic", words(&a.plan.traffic), words(&b.plan.traffic));
    compare("MQTT", a.target.mqtt_version.clone(), b.target.mqtt_version.clone());
    compare("midge", a.run.version.clone(), b.run.version.clone());
    found
}

fn s(seconds: f64) -> String {
    format!("{seconds}s")
}

fn signed(fraction: f64) -> String {
    format!("{:+.1}%", fraction * 100.0)
}

fn interval(shift: &Shift) -> String {
    shift
        .interval
        .map_or(String::new(), |(low, high)| format!("[{}, {}]", signed(low), signed(high)))
}

fn change(change: Change) -> &'static str {
    match change {
        Change::Regression => "REGRESSION",
        Change::Improvement => "better",
        _ => "",
    }
}
