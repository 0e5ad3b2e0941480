//! The options and operands of midge_passwd.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::value::Secret;
use crate::passwd::{HashKind, MAX_ITERATIONS};

/// Adding, updating and deleting users, and hashing plain-text files.
#[derive(Args, Clone, Debug)]
pub struct PasswdOptions {
    /// Take PASSWORD from the command line, where other users of the machine can see it
    #[arg(short = 'b', conflicts_with = "delete")]
    pub batch: bool,

    /// Write a new file that holds only USER; the users of an existing password file are dropped
    #[arg(short = 'c', conflicts_with_all = ["delete", "hash_plain"])]
    pub create: bool,

    /// Delete USER
    #[arg(short = 'D', conflicts_with = "hash_plain")]
    pub delete: bool,

    /// Hash the plain-text passwords of FILE; lines that hold a hash are left alone
    #[arg(short = 'U')]
    pub hash_plain: bool,

    /// Kind of hash [default: the kind used in FILE; in a new file argon2id]
    #[arg(
        short = 'H',
        value_name = "HASH",
        value_parser = PossibleValuesParser::new(HashKind::ALL.map(HashKind::name))
            .try_map(|name| name.parse::<HashKind>()),
    )]
    pub kind: Option<HashKind>,

    /// PBKDF2 iterations [default: 1000]; alone it means -H sha512-pbkdf2
    #[arg(short = 'I', value_name = "N", value_parser = parse_iterations)]
    pub iterations: Option<NonZeroU32>,

    #[command(flatten)]
    pub secret: SecretOptions,

    /// Accept an empty password
    #[arg(long)]
    pub allow_empty: bool,

    /// After a change, send SIGHUP to the broker with this process id, or with the one in this
    /// file, so that it reads FILE again
    #[arg(long, value_name = "PID|PIDFILE")]
    pub reload: Option<OsString>,

    /// Password file; '-' writes the entry to standard output
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// User name
    #[arg(value_name = "USER")]
    pub user: Option<OsString>,

    /// Password, with -b
    #[arg(value_name = "PASSWORD", value_parser = Secret::parser())]
    pub password: Option<Secret>,

    /// Words behind PASSWORD. Taken here because clap would print them, and they may be the rest of
    /// a password that somebody forgot to quote
    #[arg(hide = true, value_parser = Secret::parser())]
    pub surplus: Vec<Secret>,
}

/// Where a password comes from when it is not typed at the prompt.
#[derive(Args, Clone, Debug)]
pub struct SecretOptions {
    /// Read the password from standard input, up to its end; one final newline is dropped
    #[arg(long, conflicts_with = "password_file")]
    pub stdin: bool,

    /// Read the password from this file; one final newline is dropped
    #[arg(long, value_name = "F")]
    pub password_file: Option<PathBuf>,
}

impl SecretOptions {
    /// Whether there is such a place.
    pub fn is_given(&self) -> bool {
        self.stdin || self.password_file.is_some()
    }
}

/// What is done to a file without changing it.
#[derive(Subcommand, Clone, Debug)]
pub enum PasswdCommand {
    /// Tell whether a password is the one of USER
    Verify(VerifyOptions),
    /// List the users and the kinds of their hashes
    List(FileOperand),
    /// Report every line that is corrupt or that some broker rejects
    Check(FileOperand),
}

/// Operands and options of `verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyOptions {
    /// Password file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// User name
    #[arg(value_name = "USER")]
    pub user: OsString,

    #[command(flatten)]
    pub secret: SecretOptions,

    #[command(flatten)]
    general: super::GeneralOptions,
}

/// The operand of `list` and `check`.
#[derive(Args, Clone, Debug)]
pub struct FileOperand {
    /// Password file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    general: super::GeneralOptions,
}

fn parse_iterations(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .ok()
        .filter(|count: &NonZeroU32| count.get() <= MAX_ITERATIONS)
        .ok_or_else(|| format!("it is not a number from 1 to {MAX_ITERATIONS}"))
}
