//! `midge_conn start`: carries a load out and prints its report.

use anyhow::{Context, anyhow};
use clap::{Args, Command};
use tokio::{runtime, sync::oneshot};

use super::{
    calibrate, control::Control, fanout, output::Output, plan::plan, progress::Display, screen,
};
use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        opts::LoadOptions,
        signals::Signals,
        stdio::Stdout,
    },
    load::{Outcome, Plan, Report, Shard, StartError},
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
        return serve(options, part);
    }
    let mut plan = plan(options).map_err(usage)?;
    plan.ceiling = calibrate::known();
    let mut json = options.report.json.as_deref().map(Output::open).transpose().map_err(usage)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let (report, signal) = runtime.block_on(attend(plan, options))?;
    // A host name may still be looked up: that cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    let printed = Stdout::new().write(screen::render(&report).as_bytes());
    // A reader who has seen enough of the one report still gets the other.
    if let Some(json) = &mut json {
        json.write(&report).map_err(usage)?;
    }
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
    let exit = runtime.block_on(fanout::serve(plan, part, options.report.verbose));
    // Standard input is still being read.
    runtime.shutdown_background();
    exit
}

/// Runs the load until its end or a signal. The second signal ends the program without a report.
async fn attend(plan: Plan, options: &LoadOptions) -> Result<(Report, Option<Exit>), Failure> {
    let not_started = |error| Failure::new(Exit::NotStarted, error);
    let mut signals =
        Signals::new().context("cannot take over the signals").map_err(not_started)?;
    let (interrupt, interrupted) = oneshot::channel::<()>();
    let mut control = Control::open(format!("{} clients to {}", plan.clients, plan.target));
    let mut display = Display::new(Tool::Conn.name(), &plan, &options.report);
    let running = fanout::run(
        plan,
        options.pace.processes,
        async move {
            // The sender lives as long as the load.
            let _ = interrupted.await;
        },
        |update| display.show(update),
    );
    tokio::pin!(running);
    let (outcome, signal) = tokio::select! {
        outcome = &mut running => (outcome, None),
        signal = asked_to_end(&mut signals, control.as_mut().ok()) => {
            let _ = interrupt.send(());
            tokio::select! {
                outcome = &mut running => (outcome, Some(signal)),
                second = signals.next() => return Err(Failure::silent(second)),
            }
        }
    };
    match (outcome?, signal) {
        (Err(StartError::Interrupted), Some(signal)) => Err(Failure::silent(signal)),
        (outcome, signal) => Ok((outcome.map_err(start_failure)?, signal)),
    }
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

pub(super) fn start_failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Plan(_) => Exit::Usage,
        StartError::Resolve(_) | StartError::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::NotStarted,
    };
    Failure::new(exit, error)
}

/// The exit code that tells how the load went.
fn verdict(report: &Report, signal: Option<Exit>) -> Result<Exit, Failure> {
    let worst = report.errors.first();
    let why = worst.map_or(String::new(), |row| {
        format!(": {} ({}); {}", row.class, row.sample_error, row.remedy)
    });
    let totals = report.totals;
    match report.outcome {
        Outcome::Complete => Ok(Exit::Success),
        Outcome::Interrupted => Ok(signal.unwrap_or(Exit::Signal(2))),
        Outcome::Unreachable => {
            let error = anyhow!("cannot reach {}{why}", report.target.url);
            Err(Failure::new(Exit::Unreachable, error))
        }
        _ => {
            let (failed, dropped, attempted) = (totals.failed, totals.dropped, totals.attempted);
            let error = anyhow!(
                "of {attempted} clients {failed} failed and {dropped} lost their connections, most \
                 by {}",
                why.trim_start_matches(": ")
            );
            Err(Failure::new(Exit::SomeFailed, error))
        }
    }
}
