//! `midge_conn check`: what a load needs of this machine, and what this machine has.

use std::fmt::Write;

use anyhow::anyhow;
use clap::{Args, Command};

use super::plan::plan;
use crate::{
    cli::{
        exit::{Exit, Failure},
        opts::LoadOptions,
        stdio::Stdout,
    },
    load::Provision,
};

/// The options of the verb: those of `start`.
pub(super) fn command() -> Command {
    super::start::with_names_of_nanomq(LoadOptions::augment_args(Command::new("check")))
        .about("Check whether this machine has what a load needs, without starting it")
        .long_about(
            "Takes the options of start, and prints what the load needs of this machine beside \
             what there is: open files, local ports, memory, the tables of the kernel. For \
             each that does not suffice it prints the command that raises it.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
}

/// Prints what there is, and fails when something is lacking.
///
/// # Errors
/// When the options contradict each other, or the machine has too little of something.
pub(super) fn run(options: &LoadOptions) -> Result<Exit, Failure> {
    let plan = plan(options).map_err(|error| Failure::new(Exit::Usage, error))?;
    let rows = plan.provisions();
    Stdout::new().write(render(&rows).as_bytes())?;
    let lacking: Vec<_> = rows.iter().filter(|row| !row.is_enough).map(|row| row.what).collect();
    if lacking.is_empty() {
        return Ok(Exit::Success);
    }
    let error = anyhow!("this machine has too little for the load: {}", lacking.join(", "));
    Err(Failure::new(Exit::NotStarted, error))
}

fn render(rows: &[Provision]) -> String {
    let mut text = String::new();
    for row in rows {
        let word = if row.is_enough { "ok" } else { "TOO FEW" };
        let Provision { what, needed, available, .. } = row;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word:8} {what:31} needs {needed:>10}  has {available}");
        if let Some(remedy) = &row.remedy {
            let _ = writeln!(text, "{:8} raise it with: {remedy}", "");
        }
    }
    text
}
