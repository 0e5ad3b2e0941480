//! `midge_conn start`: carries a load out and prints its report.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Command};
use jiff::Timestamp;
use tokio::{runtime, sync::oneshot};

use super::{
    barrier::Barrier,
    calibrate, clock,
    control::Control,
    fanout, find,
    output::Outputs,
    plan::plan,
    progress::Display,
    prometheus::{self, Metrics},
    screen,
};
use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        opts::LoadOptions,
        secret_input::Prompt,
        signals::Signals,
        stdio::{self, Stdout, single_line},
    },
    load::{Plan, Report, Shard, StartError, State, Update},
    net::Endpoint,
};

/// The options of the verb.
pub(super) fn command() -> Command {
    // The groups of options bring their own descriptions, which these replace.
    with_names_of_nanomq(LoadOptions::augment_args(Command::new("start")))
        .about("Connect, hold the connections, and report how they fared")
        .long_about(
            "Connects COUNT clients to a broker, one every MS milliseconds, holds the connections, \
             and prints how long each phase took: the schedule lag, the TCP connection, the CONNACK, \
             the whole, and the answers to pings. The whole counts from the intended start of a \
             client, so that a broker that stalls cannot hide it. Ctrl-C ends the load and prints \
             the report; a second Ctrl-C ends the program at once.",
        )
        .after_help(
            "Examples:\n  \
             midge_conn start --embedded -C 1000 --hold 5s\n  \
             midge_conn start --url mqtt-tcp://broker:1883 -C 10000 -i 10 -k 60",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
}

/// Gives the options the names that NanoMQ has for them.
pub(super) fn with_names_of_nanomq(command: Command) -> Command {
    command
        .mut_arg("cafile", |arg| arg.visible_alias("cacert"))
        .mut_arg("cert", |arg| arg.short('E'))
}

/// Runs the load that the options ask for.
///
/// # Errors
/// Whatever keeps the load from starting, from being reported, or from succeeding.
pub(super) fn run(options: &LoadOptions) -> Result<Exit, Failure> {
    let usage = |error| Failure::new(Exit::Usage, error);
    if let Some(part) = &options.pace.part {
        Prompt::forbid();
        return serve(options, part);
    }
    let mut plan = plan(options).map_err(usage)?;
    plan.ceiling = calibrate::known();
    if plan.start_at.is_some() || options.machines.barrier.is_some() {
        plan.clock_synced = check_clock(options.machines.force)?;
    }
    let search = options.judging.find.map(|_| find::first_rate(options, &plan));
    let first_rate = search.transpose().map_err(usage)?;
    let mut outputs = Outputs::open(&options.report).map_err(usage)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| Failure::new(Exit::NotStarted, error))?;
    if let Some(first) = first_rate {
        let exit = runtime.block_on(async {
            let mut signals = Signals::new()
                .context("cannot take over the signals")
                .map_err(|error| Failure::new(Exit::NotStarted, error))?;
            find::run(&plan, first, options, outputs, signals.next()).await
        });
        runtime.shutdown_background();
        return exit;
    }
    // Whoever stops the load waits until it is gone: by then there is everything to look at.
    let (report, signal, _control) = runtime.block_on(attend(plan, options, &mut outputs))?;
    // A host name may still be looked up: that cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    let printed = Stdout::new().write(screen::render(&report).as_bytes());
    // A reader who has seen enough of the one report still gets the others.
    outputs.finish(&report).map_err(usage)?;
    printed?;
    verdict(&report, signal)
}

/// Runs one part of the load for the process that has started this one.
fn serve(options: &LoadOptions, part: &Shard) -> Result<Exit, Failure> {
    let plan = plan(options).map_err(|error| Failure::new(Exit::Usage, error));
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let exit = runtime.block_on(fanout::serve(plan, part));
    // Standard input is still being read.
    runtime.shutdown_background();
    exit
}

/// Runs the load until its end or a signal. The second signal ends the program without a report.
async fn attend(
    mut plan: Plan,
    options: &LoadOptions,
    outputs: &mut Outputs,
) -> Result<(Report, Option<Exit>, Option<Control>), Failure> {
    let not_started = |error| Failure::new(Exit::NotStarted, error);
    let mut signals =
        Signals::new().context("cannot take over the signals").map_err(not_started)?;
    let metrics = match options.report.prometheus {
        Some(address) => {
            let listener = prometheus::listen(address).await.map_err(not_started)?;
            let metrics = Metrics::new(&plan);
            tokio::spawn(prometheus::serve(listener, metrics.clone()));
            Some(metrics)
        }
        None => None,
    };
    let mut control = Control::open(format!("{} clients to {}", plan.clients, plan.target)).ok();
    if let Some(url) = &options.machines.barrier {
        let instant = tokio::select! {
            instant = meet(url, &plan, options.report.quiet) => instant.map_err(not_started)?,
            signal = asked_to_end(&mut signals, control.as_mut()) => {
                return Err(Failure::silent(signal));
            }
        };
        plan.start_at = Some(instant);
    }
    let (interrupt, interrupted) = oneshot::channel::<()>();
    let mut display = Display::new(Tool::Conn.name(), &plan, &options.report);
    let seconds = RefCell::new(Vec::new());
    let inputs = inputs(options);
    let running = fanout::run(
        plan,
        &inputs,
        options.client.password_from.pw_prompt,
        options.pace.processes,
        async move {
            // The sender lives as long as the load.
            let _ = interrupted.await;
        },
        |update| {
            outputs.observe(&update);
            if let Update::Second(interval) = &update {
                seconds.borrow_mut().push(interval.second);
            }
            if let Some(metrics) = &metrics {
                metrics.observe(&update);
            }
            display.show(update);
        },
    );
    tokio::pin!(running);
    let (outcome, signal) = tokio::select! {
        outcome = &mut running => (outcome, None),
        signal = asked_to_end(&mut signals, control.as_mut()) => {
            let _ = interrupt.send(());
            tokio::select! {
                outcome = &mut running => (outcome, Some(signal)),
                second = signals.next() => return Err(Failure::silent(second)),
            }
        }
    };
    match (outcome?, signal) {
        (Err(StartError::Interrupted), Some(signal)) => Err(Failure::silent(signal)),
        (outcome, signal) => {
            let mut report = outcome.map_err(start_failure)?;
            // The percentiles of a second do not follow from those of several processes.
            if !report.run.parts.is_empty() {
                report.series_1s = seconds.take();
                let together = report.series_1s.iter().map(|second| second.open).max();
                report.totals.peak_open = report.totals.peak_open.max(together.unwrap_or(0));
            }
            Ok((report, signal, control))
        }
    }
}

/// The files that the options name to be read, directories excepted.
fn inputs(options: &LoadOptions) -> Vec<&Path> {
    let LoadOptions { tls, roster, client, .. } = options;
    let one = [
        &roster.clients,
        &client.password_from.pw_file,
        &tls.cafile,
        &tls.cert,
        &tls.key,
        &tls.keypass_file,
    ];
    one.into_iter().flatten().chain(&tls.crlfile).map(PathBuf::as_path).collect()
}

/// Waits for a signal, or for `midge_conn stop`. Returns the exit code that this makes of a load
/// without failures.
async fn asked_to_end(signals: &mut Signals, control: Option<&mut Control>) -> Exit {
    let stopped = async {
        match control {
            Some(control) => control.stopped().await,
            // Without a directory for its socket, a load ends by signals only.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        signal = signals.next() => signal,
        () = stopped => Exit::Success,
    }
}

/// Meets the other shards, and returns the instant to start at.
async fn meet(url: &Endpoint, plan: &Plan, quiet: bool) -> Result<Timestamp> {
    let mut connect = plan.connect.clone();
    // Clients may come from another address than the one that reaches the barrier's broker.
    connect.bind = None;
    let tell = |text: &str| {
        if !quiet {
            stdio::report(Tool::Conn.name(), text);
        }
    };
    let barrier = Barrier::join(url, connect, plan.shard.clone(), plan.hash()).await?;
    barrier.wait(tell).await
}

/// Whether the clock is synchronised; machines that start at an instant need that.
fn check_clock(force: bool) -> Result<Option<bool>, Failure> {
    let synced = clock::is_synchronised();
    match synced {
        Some(false) if !force => {
            let error = anyhow!(
                "the clock of this machine is not synchronised, so it would not start together \
                 with others: start an NTP client, or use --force"
            );
            return Err(Failure::new(Exit::NotStarted, error));
        }
        None if !force => stdio::report(
            Tool::Conn.name(),
            "nothing on this machine tells whether its clock is synchronised",
        ),
        _ => {}
    }
    Ok(synced)
}

pub(super) fn start_failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Plan(_) => Exit::Usage,
        StartError::Resolve(_) | StartError::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::NotStarted,
    };
    Failure::new(exit, error)
}

/// The exit code that tells how the load went.
///
/// # Errors
/// When it has not passed.
pub(super) fn verdict(report: &Report, signal: Option<Exit>) -> Result<Exit, Failure> {
    let exit = match report.verdict.exit_code {
        0 => return Ok(Exit::Success),
        1 => Exit::SomeFailed,
        5 => Exit::Unreachable,
        // What was stopped by `midge_conn stop` ends as at the end of its hold.
        130 if signal == Some(Exit::Success) => match report.verdict.state {
            State::Pass => return Ok(Exit::Success),
            State::Fail => Exit::SomeFailed,
            _ => Exit::GeneratorLimited,
        },
        130 => return Ok(signal.unwrap_or(Exit::Signal(2))),
        _ => Exit::GeneratorLimited,
    };
    Err(Failure::new(exit, anyhow!(shortfall(report, exit))))
}

/// Why the load has not passed, in one line.
pub(super) fn shortfall(report: &Report, exit: Exit) -> String {
    let worst = report
        .errors
        .first()
        .map(|row| format!("{} ({}); {}", row.class, single_line(&row.sample_error), row.remedy));
    let missed: Vec<_> = report
        .slo
        .iter()
        .filter(|row| !row.ok)
        .map(|row| format!("{} is {}", row.expr, row.text))
        .collect();
    let totals = report.totals;
    match exit {
        Exit::Unreachable => {
            let why = worst.map_or(String::new(), |worst| format!(": {worst}"));
            format!("cannot reach {}{why}", report.target.url)
        }
        Exit::GeneratorLimited => {
            let limits: Vec<_> =
                report.verdict.limited_by.iter().map(|limit| limit.detail.as_str()).collect();
            format!("the generator was limited: {}", limits.join("; "))
        }
        _ if !missed.is_empty() => format!("missed: {}", missed.join(", ")),
        _ if (totals.failed, totals.dropped) == (0, 0) => {
            let away = totals.stayed_away();
            let what = match &worst {
                _ if totals.not_started > 0 => format!("{} never started", totals.not_started),
                _ if away > 0 => format!("{away} could not come back"),
                Some(_) => "all connected, and some were refused what they asked for".to_owned(),
                None => format!("{} connected", totals.connected),
            };
            let worst = worst.map_or(String::new(), |worst| format!(", most by {worst}"));
            format!("of {} clients {what}{worst}", totals.planned)
        }
        _ => format!(
            "of {} clients {} failed and {} lost their connections, most by {}",
            totals.attempted,
            totals.failed,
            totals.dropped,
            worst.unwrap_or_default()
        ),
    }
}
