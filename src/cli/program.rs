//! What is each tool's own: its options, its grammar, and what it does with what was parsed.
//!
//! These are values and not branches on a [`Tool`], so that the linker leaves out of a program the
//! code of the other four. A program is loaded by the page: with less between them, the functions it
//! runs take fewer.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory};

use super::{
    Tool, argv, config,
    exit::{Exit, Failure},
    load, opts, password,
    publish::{self, PublishCommand},
    request,
    subscribe::{self, SubscribeCommand},
};

/// A tool with its code, for [`main`](super::main).
#[derive(Debug)]
pub struct Program {
    tool: Tool,
    options: fn() -> Command,
    grammar: Grammar,
    run: fn(&ArgMatches) -> Result<Exit, Failure>,
}

/// How options and their values are joined.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grammar {
    /// As by the mosquitto tools. Options can also stand in a file.
    Mosquitto,
    Own(fn(Vec<OsString>) -> Vec<OsString>),
}

/// `midge_pub`.
pub const PUB: Program = Program {
    tool: Tool::Pub,
    options: PublishCommand::command,
    grammar: Grammar::Mosquitto,
    run: publish::run,
};

/// `midge_sub`.
pub const SUB: Program = Program {
    tool: Tool::Sub,
    options: SubscribeCommand::command,
    grammar: Grammar::Mosquitto,
    run: subscribe::run,
};

/// `midge_rr`.
pub const RR: Program = Program {
    tool: Tool::Rr,
    options: request::command,
    grammar: Grammar::Mosquitto,
    run: request::run,
};

/// `midge_passwd`.
pub const PASSWD: Program = Program {
    tool: Tool::Passwd,
    options: password::command,
    grammar: Grammar::Own(password::join),
    run: password::run,
};

/// `midge_conn`.
pub const CONN: Program = Program {
    tool: Tool::Conn,
    options: load::command,
    grammar: Grammar::Own(|words| argv::join_throughout(&CONN.command(), words)),
    run: load::run,
};

impl Program {
    pub(super) fn tool(&self) -> Tool {
        self.tool
    }

    pub(super) fn grammar(&self) -> Grammar {
        self.grammar
    }

    pub(super) fn run(&self, matches: &ArgMatches) -> Result<Exit, Failure> {
        (self.run)(matches)
    }

    pub(super) fn command(&self) -> Command {
        let mut command = (self.options)();
        if matches!(self.grammar, Grammar::Mosquitto) {
            let manual = command.get_after_long_help().map(|text| format!("{text}\n\n"));
            let manual = manual.unwrap_or_default();
            let (properties, files) = (opts::property::MANUAL, config::MANUAL);
            command = command.after_long_help(format!("{manual}{properties}\n\n{files}"));
        }
        command
            .name(self.tool.name())
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
    }
}
