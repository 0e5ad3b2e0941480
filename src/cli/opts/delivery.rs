//! Where messages go if they are not printed.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum};

use super::value;

/// Options about what is done with messages beside printing them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Delivery")]
pub struct DeliveryOptions {
    /// Run a command for each message instead of printing it, with the payload as its standard input
    /// and the rest in its environment; the manual page tells how. This and all that follows on the
    /// command line is the command with its arguments: no shell looks at them. A message is
    /// acknowledged when its command has ended well.
    #[arg(long, value_name = "COMMAND", num_args = 1.., action = clap::ArgAction::Append)]
    #[arg(allow_hyphen_values = true, conflicts_with_all = ["output"])]
    pub exec: Vec<OsString>,

    /// Run as many commands of --exec at a time.
    #[arg(long, value_name = "COUNT", default_value = "1", requires = "exec")]
    pub jobs: NonZeroUsize,

    /// What follows when a command of --exec fails: 'end' exits with code 123 and leaves the message
    /// unacknowledged, 'reject' refuses the message (MQTT 5) and goes on, 'ack' acknowledges it all the
    /// same and goes on.
    #[arg(long, value_name = "WHAT", default_value = "end", requires = "exec")]
    pub on_failure: OnFailure,

    /// Append messages to files in this directory, one for each topic, instead of printing them. A
    /// message is acknowledged when it is written.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Begin a new file of --output before one becomes larger than this: bytes, or with a k, M or G
    /// behind the number. Older ones are numbered: .1 is the oldest, and none is deleted.
    #[arg(long, value_name = "SIZE", requires = "output", value_parser = value::size)]
    pub rotate: Option<u64>,
}

/// What follows when a command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// Exit with code 123; the message is not acknowledged, so that a session that is kept (-c) gets
    /// it again.
    End,
    /// Tell, refuse the message with reason code 131, and go on (MQTT 5). The broker forgets it.
    Reject,
    /// Tell, acknowledge the message all the same, and go on.
    Ack,
}
