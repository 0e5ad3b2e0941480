//! `midge_conn merge`: one report of those of the shards of a plan.

use anyhow::{Result, bail};
use clap::{Args, Command};

use super::{
    hlog::Log,
    input::Input,
    output::{Files, Output},
    screen, start,
};
use crate::{
    cli::{
        exit::{Exit, Failure},
        opts::load::MergeOptions,
        stdio::Stdout,
    },
    load::Report,
};

/// The options of the verb.
pub(super) fn command() -> Command {
    MergeOptions::augment_args(Command::new("merge"))
        .about("Merge the reports of the shards of one plan")
        .long_about(
            "Merges the reports that the shards of one plan have written with --json, and their \
             HdrHistogram logs, if they are given too. Distributions are added up, so that the \
             percentiles of the whole are those of all clients. Reports of different plans, \
             missing shards and shards that were restarted are refused by name. The exit code is \
             that of the whole, as midge_conn start would give it.",
        )
        .after_help(
            "Example:\n  midge_conn merge shard-*.json shard-*.hlog --json all.json --hlog all.hlog",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
}

/// Merges what the options name.
///
/// # Errors
/// When it cannot be merged or written, or when the whole has not passed.
pub(super) fn run(options: &MergeOptions) -> Result<Exit, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let mut files = Files::open(&options.files).map_err(usage)?;
    let mut hlog = options.files.hlog.as_deref().map(Output::open).transpose().map_err(usage)?;
    files.check_apart_from([hlog.as_ref()]).map_err(usage)?;
    let (mut reports, mut logs) = (Vec::new(), Vec::new());
    for path in &options.inputs {
        match Input::read(path).map_err(usage)? {
            Input::Report(report) => reports.push(*report),
            Input::Log(log) => logs.push((path, log)),
        }
    }
    let given = reports.len();
    let merged =
        if options.incomplete { Report::merge_incomplete(reports) } else { Report::merge(reports) };
    let mut report = merged.map_err(|error| usage(error.into()))?;
    if !options.slo.is_empty() {
        report.judge(&options.slo);
    }
    for (path, log) in &logs {
        if !log.belongs_to(&report) {
            let error = anyhow::anyhow!("{} is of another run than the reports", path.display());
            return Err(usage(error));
        }
    }
    let logs: Vec<_> = logs.into_iter().map(|(_, log)| log).collect();
    check_logs(&logs, given, hlog.is_some()).map_err(usage)?;
    if let Some(output) = &mut hlog {
        output.replace(|out| Log::merge(&logs, &report, out)).map_err(usage)?;
    }
    files.write(&report).map_err(usage)?;
    Stdout::new().write(screen::render(&report).as_bytes())?;
    start::verdict(&report, None)
}

/// A merged log has to hold what the merged report holds.
fn check_logs(logs: &[Log], reports: usize, wanted: bool) -> Result<()> {
    if !wanted && logs.is_empty() {
        return Ok(());
    }
    if !wanted {
        bail!("there is no place for the logs: add --hlog FILE");
    }
    for (index, log) in logs.iter().enumerate() {
        if logs.iter().skip(index + 1).any(|other| other.run == log.run) {
            bail!("the log of {} is given twice", log.run);
        }
    }
    if logs.len() != reports {
        bail!("{} logs and {reports} reports: --hlog needs the log of each shard", logs.len());
    }
    Ok(())
}
