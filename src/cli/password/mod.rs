//! midge_passwd: manages password files.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, anyhow, bail};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use crate::cli::exit::{Exit, Failure};
use crate::cli::opts::{GeneralOptions, PasswdCommand, PasswdOptions};
use crate::cli::secret_input::Signals;
use crate::cli::{Tool, stdio};
use crate::passwd::{Username, UsernameError};

mod change;
mod grammar;
mod inspect;
mod reload;
mod secret;
mod texts;

pub(super) use grammar::join;

/// The options and operands of the tool, and its words `verify`, `list` and `check`.
pub(super) fn command() -> Command {
    let command = PasswdOptions::augment_args(Command::new("midge_passwd"));
    // After the groups, which bring descriptions of their own.
    PasswdCommand::augment_subcommands(GeneralOptions::augment_args(command))
        .about("Manage the password files of MQTT brokers")
        .long_about(texts::ABOUT)
        .override_usage(texts::USAGE)
        .after_long_help(texts::NOTES)
        .subcommand_required(false)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .mut_subcommands(|word| {
            let usage = texts::word_usage(word.get_name());
            word.override_usage(usage)
                .version(env!("CARGO_PKG_VERSION"))
                .disable_version_flag(true)
                .disable_help_flag(true)
        })
}

pub(super) fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    forbid_core_dumps();
    let signals = Rc::new(Signals::install().context("cannot handle signals")?);
    if matches.subcommand_name().is_some() {
        return match PasswdCommand::from_arg_matches(matches)? {
            PasswdCommand::Verify(options) => inspect::verify(&options, &signals),
            PasswdCommand::List(operand) => inspect::list(&operand.file),
            PasswdCommand::Check(operand) => inspect::check(&operand.file),
        };
    }
    let options = PasswdOptions::from_arg_matches(matches)?;
    match (Operands::of(&options)?, &options) {
        (Operands::File(file), _) => change::hash_plain(file, &options, &signals),
        (Operands::User(file, user), PasswdOptions { delete: true, .. }) => {
            change::delete(file, &user, &options, &signals)
        }
        (Operands::User(file, user), _) if file == Path::new("-") => {
            change::print(&user, &options, &signals)
        }
        (Operands::User(file, user), _) => change::set(file, &user, &options, &signals),
    }
}

/// The operands that the form chosen by the options asks for. PASSWORD is the one of `-b`.
enum Operands<'a> {
    File(&'a Path),
    User(&'a Path, OsString),
}

impl<'a> Operands<'a> {
    fn of(options: &'a PasswdOptions) -> anyhow::Result<Self> {
        let lacks = |name| anyhow!("{name} is missing; 'midge_passwd --help' shows all forms");
        let file = options.file.as_deref().ok_or_else(|| lacks("FILE"))?;
        let needs_no_password = options.delete || options.hash_plain;
        if needs_no_password && file == Path::new("-") {
            bail!("'-' is standard output, where there is nobody to change");
        }
        if needs_no_password && options.secret.is_given() {
            bail!("-D and -U take no password");
        }
        if options.hash_plain {
            if options.user.is_some() {
                bail!("-U takes only FILE");
            }
            return Ok(Self::File(file));
        }
        let user = options.user.clone().ok_or_else(|| lacks("USER"))?;
        if options.batch && options.secret.is_given() {
            bail!("-b takes PASSWORD from the command line, not from elsewhere");
        }
        if !options.surplus.is_empty() {
            bail!("words follow PASSWORD; quote a password with blanks in it");
        }
        match (options.batch, options.password.is_some()) {
            (true, false) => Err(lacks("PASSWORD")),
            (false, true) => Err(anyhow!("a word follows USER; with -b it is the password")),
            _ => Ok(Self::User(file, user)),
        }
    }
}

fn username(word: &OsStr) -> Result<Username, UsernameError> {
    Username::new(word.to_str().ok_or(UsernameError::NotUtf8)?)
}

/// Tells something on standard error that is no failure.
fn note(text: &str) {
    stdio::report(Tool::Passwd.name(), text);
}

/// A core dump would hold passwords. Where the system does not allow this it dumps as before.
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
