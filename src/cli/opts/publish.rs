//! What to publish, and how.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use super::value::{self, WordBytes};
use crate::codec::QoS;

/// Options about the published messages.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Message")]
pub struct PublishOptions {
    /// Topic to publish to.
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: Option<String>,

    /// What the payload is.
    #[command(flatten)]
    pub source: SourceOptions,

    /// Quality of service: 0, 1 or 2.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub qos: QoS,

    /// Have the broker retain the message.
    #[arg(short, long)]
    pub retain: bool,

    /// Publish the message this many times, one after the other. Not for -l.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub repeat: u64,

    /// Seconds between the end of one publish and the next of --repeat; fractions are allowed.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = value::seconds)]
    pub repeat_delay: Duration,
}

/// Where the payload comes from: exactly one of these.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct SourceOptions {
    /// Publish this text.
    #[arg(short, long, value_name = "TEXT", value_parser = WordBytes::parser())]
    pub message: Option<WordBytes>,

    /// Publish the contents of a file.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Publish everything on standard input as one message.
    #[arg(short, long)]
    pub stdin_file: bool,

    /// Publish each line of standard input as a message. Lines wait while the connection is down.
    #[arg(short = 'l', long)]
    pub stdin_line: bool,

    /// Publish an empty message.
    #[arg(short, long)]
    pub null_message: bool,
}
