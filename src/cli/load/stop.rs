//! `midge_conn stop`: ends running loads of the same user in an orderly way.

use anyhow::{Context, anyhow};
use clap::{Args, Command};
use tokio::runtime;

use super::control::Running;
use crate::cli::{
    exit::{Exit, Failure},
    opts::load::StopOptions,
    stdio::Stdout,
};

/// The options of the verb.
pub(super) fn command() -> Command {
    StopOptions::augment_args(Command::new("stop"))
        .about("End a running load: disconnect its clients and have it print its report")
        .long_about(
            "Asks a load of the same user to end, and waits until it has. The load disconnects its \
             clients and prints its report where it was started. Without an ID, the only load that \
             is running is ended; of several, a list is printed.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
}

/// Ends the loads that the options name.
///
/// # Errors
/// When there is no such load, or when it is not clear which one is meant.
pub(super) fn run(options: &StopOptions) -> Result<Exit, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(not_started)?;
    runtime.block_on(stop(options))
}

async fn stop(options: &StopOptions) -> Result<Exit, Failure> {
    let running = Running::all().await.context("cannot look for running loads");
    let running = running.map_err(not_started)?;
    let all = running.len();
    let chosen: Vec<_> = match options.id {
        Some(id) => running.into_iter().filter(|running| running.id == id).collect(),
        None if options.all || all == 1 => running,
        None if all == 0 => Vec::new(),
        None => {
            let list: String =
                running.iter().map(|it| format!("{:>8}  {}\n", it.id, it.about)).collect();
            Stdout::new().write(list.as_bytes())?;
            let error = anyhow!("{all} loads are running: name one of them, or use --all");
            return Err(Failure::new(Exit::Usage, error));
        }
    };
    if chosen.is_empty() {
        let error = match options.id {
            Some(id) => anyhow!("no load of this user has the ID {id}"),
            None => anyhow!("no load of this user is running"),
        };
        return Err(not_started(error));
    }
    for running in chosen {
        let id = running.id;
        running.stop().await.with_context(|| format!("cannot end {id}")).map_err(not_started)?;
    }
    Ok(Exit::Success)
}

fn not_started(error: anyhow::Error) -> Failure {
    Failure::new(Exit::NotStarted, error)
}
