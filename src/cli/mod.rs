//! The command-line tools.
//!
//! A tool is a clap [`Command`] built from the groups of [`opts`], and a function that runs what
//! was parsed: a [`Program`]. [`main`] does what all tools share: it joins options and values as the
//! mosquitto tools do ([`argv`]), prints help and errors, and turns the outcome into an exit code
//! ([`exit`]). The man pages and completions are generated from [`Tool::command`].

use std::{ffi::OsString, process::ExitCode};

use anyhow::anyhow;
use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

pub mod argv;
pub mod bar;
pub mod config;
pub mod connect;
pub mod exit;
pub mod format;
pub mod lines;
mod load;
pub mod log;
pub mod opts;
pub mod order;
mod password;
pub mod plan;
pub mod printer;
mod program;
pub mod publish;
mod request;
pub mod secret_input;
pub mod signals;
pub mod stdio;
pub mod subscribe;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;

use config::OptionFile;
use exit::{Exit, Failure};
use program::Grammar;
pub use program::{CONN, PASSWD, PUB, Program, RR, SUB};
use stdio::Stdout;

/// The command-line tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `midge_pub`.
    Pub,
    /// `midge_sub`.
    Sub,
    /// `midge_rr`: publishes a request and prints the answer.
    Rr,
    /// `midge_passwd`.
    Passwd,
    /// `midge_conn`: opens very many connections and reports how they fare.
    Conn,
}

impl Tool {
    /// All tools.
    pub const ALL: [Self; 5] = [Self::Pub, Self::Sub, Self::Rr, Self::Passwd, Self::Conn];

    /// The name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pub => "midge_pub",
            Self::Sub => "midge_sub",
            Self::Rr => "midge_rr",
            Self::Passwd => "midge_passwd",
            Self::Conn => "midge_conn",
        }
    }

    /// The options as clap knows them: parses, prints the help, and makes man page and completions.
    pub fn command(self) -> Command {
        self.program().command()
    }

    fn program(self) -> &'static Program {
        match self {
            Self::Pub => &PUB,
            Self::Sub => &SUB,
            Self::Rr => &RR,
            Self::Passwd => &PASSWD,
            Self::Conn => &CONN,
        }
    }

    /// The exit codes this tool can end with, for its man page.
    pub fn exits(self) -> impl Iterator<Item = Exit> {
        let rows = exit::TABLE.iter().filter(move |(_, tools)| tools.contains(&self));
        rows.map(|(exit, _)| *exit)
    }

    /// How the tool ends when its command line is wrong.
    fn usage_exit(self) -> Exit {
        match self {
            Self::Pub | Self::Sub | Self::Rr | Self::Passwd => Exit::Failure,
            Self::Conn => Exit::Usage,
        }
    }
}

/// Runs `program` with `args`, the program name first, and says how it went.
pub fn main(program: &Program, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = parse_and_run(program, args.into_iter().collect());
    let exit = outcome.unwrap_or_else(|failure| {
        if let Some(text) = failure.text() {
            stdio::report(program.tool().name(), &text);
        }
        failure.exit()
    });
    exit.into()
}

fn parse_and_run(program: &Program, args: Vec<OsString>) -> Result<Exit, Failure> {
    let tool = program.tool();
    if let Grammar::Own(join) = program.grammar() {
        let words = join(args);
        return match program.command().try_get_matches_from(&words) {
            Ok(matches) => program.run(&matches),
            Err(error) => answer(tool, &error, &words),
        };
    }
    // Both the joiner and clap want it built.
    let command = argv::built(program.command());
    let mut words = argv::join_built(&command, args);
    let Some(file) = OptionFile::find(tool, &command, &words)? else {
        return match command.try_get_matches_from(&words) {
            Ok(matches) => program.run(&matches),
            Err(error) => answer(tool, &error, &words),
        };
    };
    file.put_before(&command, &mut words)?;
    match command.clone().try_get_matches_from(&words) {
        Ok(matches) => program.run(&matches),
        Err(error) => match file.blame(&command, &error) {
            Some(error) => Err(error.into()),
            None => answer(tool, &error, &words),
        },
    }
}

/// The option whose value is the first that is not UTF-8.
fn first_not_utf8(words: &[OsString]) -> String {
    let word = words.iter().find(|word| word.to_str().is_none());
    let text = word.map_or("every word".into(), |word| word.to_string_lossy());
    match text.split_once('=') {
        Some((option, _)) if option.starts_with('-') => format!("the value of {option}"),
        _ => format!("the word '{text}'"),
    }
}

/// Prints the help or version that clap calls an error, or says what was wrong with an option.
fn answer(tool: Tool, error: &clap::Error, words: &[OsString]) -> Result<Exit, Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render().to_string();
        Stdout::new().write(format!("{}\n", text.trim_end()).as_bytes())?;
        return Ok(Exit::Success);
    }
    // clap does not say which value is not UTF-8.
    let text = match error.kind() {
        ErrorKind::InvalidUtf8 => format!("{} must be UTF-8", first_not_utf8(words)),
        _ => option_error(error),
    };
    let error = anyhow!("{text}; '{} --help' shows all options", tool.name());
    Err(Failure::new(tool.usage_exit(), error))
}

/// clap's error in one line, without its label and the usage that follows it.
fn option_error(error: &clap::Error) -> String {
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let what = if word.starts_with('-') { "option" } else { "word" };
        return match error.get(ContextKind::SuggestedArg) {
            Some(suggestion) => format!("unknown {what} '{word}' (is it '{suggestion}'?)"),
            None => format!("unknown {what} '{word}'"),
        };
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
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
    fn no_help_has_what_clap_takes_for_a_newline() {
        for tool in Tool::ALL {
            let command = argv::built(tool.command());
            let commands = std::iter::once(&command).chain(command.get_subcommands());
            for arg in commands.flat_map(Command::get_arguments) {
                let helps = arg.get_help().into_iter().chain(arg.get_long_help());
                for help in helps {
                    assert!(!help.to_string().contains("{n}"), "{}: {arg}: {help}", tool.name());
                }
            }
        }
    }

    #[test]
    fn an_error_of_clap_becomes_one_line() {
        let command = Tool::Pub.command();
        let said = |words: &[&str]| {
            let words = [&["midge_pub"], words].concat();
            option_error(&command.clone().try_get_matches_from(words).unwrap_err())
        };
        assert_eq!(said(&["-Q"]), "unknown option '-Q'");
        assert_eq!(said(&["--quit"]), "unknown option '--quit' (is it '--quiet'?)");
        assert_eq!(said(&["word"]), "unknown word 'word'");
        assert_eq!(
            said(&["-m"]),
            "a value is required for '--message <TEXT>' but none was supplied"
        );
    }
}
