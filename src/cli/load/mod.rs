//! `midge_conn`: opens very many connections to a broker, holds them, and reports how they fared.

mod barrier;
mod calibrate;
mod chart;
mod check;
mod clock;
mod control;
mod csv;
mod diff;
mod fanout;
mod find;
mod hlog;
mod html;
mod input;
mod merge;
mod output;
mod plan;
mod progress;
mod prometheus;
mod roster;
mod screen;
mod shard;
mod start;
mod stop;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{
    exit::{Exit, Failure},
    opts::{
        GeneralOptions, LoadOptions,
        load::{CalibrateOptions, DiffOptions, MergeOptions, StopOptions},
    },
};

/// The options of midge_conn.
pub(super) fn command() -> Command {
    // The groups of options bring their own descriptions, which these replace.
    GeneralOptions::augment_args(Command::new("midge_conn"))
        .about("Open very many connections to an MQTT broker and report how they fare")
        .long_about(None)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(start::command())
        .subcommand(stop::command())
        .subcommand(check::command())
        .subcommand(calibrate::command())
        .subcommand(merge::command())
        .subcommand(diff::command())
}

/// Runs what was asked for.
///
/// # Errors
/// Whatever keeps the load from starting, from being reported, or from succeeding.
pub(super) fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    match matches.subcommand() {
        Some(("start", matches)) => start::run(&LoadOptions::from_arg_matches(matches)?),
        Some(("stop", matches)) => stop::run(&StopOptions::from_arg_matches(matches)?),
        Some(("check", matches)) => check::run(&LoadOptions::from_arg_matches(matches)?),
        Some(("calibrate", matches)) => {
            calibrate::run(&CalibrateOptions::from_arg_matches(matches)?)
        }
        Some(("merge", matches)) => merge::run(&MergeOptions::from_arg_matches(matches)?),
        Some(("diff", matches)) => diff::run(&DiffOptions::from_arg_matches(matches)?),
        // clap has required one of the subcommands above.
        _ => Err(Failure::silent(Exit::Usage)),
    }
}
