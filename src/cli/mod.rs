//! The command-line tools.
//!
//! A tool is a clap [`Command`] built from the groups of [`opts`], and a function that runs what
//! was parsed. [`main`] does what all tools share: it joins options and values as the mosquitto
//! tools do ([`argv`]), prints help and errors, and turns the outcome into an exit code ([`exit`]).
//! The man pages and completions are generated from [`Tool::command`].

use std::{ffi::OsString, process::ExitCode};

use clap::{ArgMatches, Command, error::ErrorKind};

pub mod argv;
pub mod exit;
pub mod lines;
pub mod opts;
mod password;
pub mod plan;
pub mod printer;
pub mod signals;
pub mod stdio;

use exit::{Exit, Failure};
use stdio::Stdout;

/// The command-line tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `midge_passwd`.
    Passwd,
}

impl Tool {
    /// All tools.
    pub const ALL: [Self; 1] = [Self::Passwd];

    /// The name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passwd => "midge_passwd",
        }
    }

    /// The options as clap knows them: parses, prints the help, and makes man page and completions.
    pub fn command(self) -> Command {
        self.options()
            .name(self.name())
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
    }

    fn options(self) -> Command {
        match self {
            Self::Passwd => password::command(),
        }
    }

    /// The exit codes this tool can end with, for its man page.
    pub fn exits(self) -> &'static [Exit] {
        match self {
            Self::Passwd => password::EXITS,
        }
    }

    /// Joins options and values by the grammar of the tool.
    fn join(self, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        match self {
            Self::Passwd => password::join(words),
        }
    }

    fn run(self, matches: &ArgMatches) -> Result<Exit, Failure> {
        match self {
            Self::Passwd => password::run(matches),
        }
    }
}

/// Runs `tool` with `args`, the program name first, and says how it went.
pub fn main(tool: Tool, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = tool.command();
    let words = tool.join(args);
    let outcome = match command.try_get_matches_from(words) {
        Ok(matches) => tool.run(&matches),
        Err(error) => answer(tool, &error),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        if let Some(text) = failure.text() {
            stdio::report(tool.name(), &text);
        }
        failure.exit()
    });
    exit.into()
}

/// Prints the help or version that clap calls an error, or says what was wrong with an option.
fn answer(tool: Tool, error: &clap::Error) -> Result<Exit, Failure> {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        Stdout::new().write(text.as_bytes())?;
        return Ok(Exit::Success);
    }
    stdio::report(tool.name(), &first_paragraph(&text));
    stdio::report(tool.name(), &format!("use '{} --help' to see all options", tool.name()));
    Ok(Exit::Failure)
}

/// clap's error without its label, and without the usage lines that follow it.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_well_formed() {
        for tool in Tool::ALL {
            tool.command().debug_assert();
        }
    }

    #[test]
    fn an_error_of_clap_becomes_one_line() {
        let text = "error: a value is required for\n  '-m <TEXT>'\n\nUsage: x\n\nFor more\n";
        assert_eq!(first_paragraph(text), "a value is required for '-m <TEXT>'");
    }
}
