//! What to publish, and how.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::value::{self, WordBytes};
use crate::{
    cli::publish::{Encoding, Speed, Template},
    codec::QoS,
};

/// Options about the published messages.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Message")]
pub struct PublishOptions {
    /// Topic to publish to. Given several times, every message is published to each of them.
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: Vec<String>,

    /// Topic made for each message, with words in braces, as in '{topic}/{pid}': n stands for the
    /// number of the message, from 1, topic for the topic it would have otherwise, time for the
    /// seconds since 1970, client for the client identifier, host for the name of this machine and
    /// pid for the process id; {{ and }} are braces.
    #[arg(long, value_name = "TEMPLATE")]
    pub topic_template: Option<Template>,

    /// What the payload is.
    #[command(flatten)]
    pub source: SourceOptions,

    /// What the payload is written in: hex or base64. Hexadecimal digits may have white space, ':'
    /// or '-' between bytes.
    #[arg(long, value_name = "ENCODING")]
    pub decode: Option<Encoding>,

    /// Quality of service: 0, 1 or 2 [default: 0; with --jsonl, as recorded].
    #[arg(short, long, value_name = "QOS", value_parser = value::qos)]
    pub qos: Option<QoS>,

    /// Have the broker retain the message. With --jsonl, every message.
    #[arg(short, long)]
    pub retain: bool,

    /// Publish the message this many times, one after the other. Not for -l and --jsonl.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value::number::<u64>(1..=u64::MAX))]
    pub repeat: u64,

    /// Seconds between the end of one publish and the next of --repeat; fractions are allowed.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = value::seconds)]
    pub repeat_delay: Duration,

    /// Options of -l and --jsonl.
    #[command(flatten)]
    pub lines: LineOptions,
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

/// Options about messages that come as lines.
#[derive(Args, Clone, Debug)]
pub struct LineOptions {
    /// Publish each line of standard input as the message it describes, in the form of
    /// 'midge_sub -F %j'. Speaks MQTT 5 unless -V says otherwise.
    #[arg(long, group = "SourceOptions")]
    pub jsonl: bool,

    /// Each line of -l is a topic, this text, and the payload. A line without this text is a payload
    /// for -t.
    #[arg(long, value_name = "TEXT", value_parser = value::not_empty)]
    pub topic_separator: Option<String>,

    /// How fast --jsonl publishes: as the messages were recorded (1), so many times as fast, or
    /// without a pause (max) [default: max].
    #[arg(long, value_name = "FACTOR")]
    pub speed: Option<Speed>,

    /// Keep the messages of -l and --jsonl in this directory until the broker has confirmed them: lines
    /// are read while the broker is away, and what is left when the program ends, or is killed, is
    /// published by the next run with this directory. Needs -q 1 or -q 2. The session with the broker is
    /// kept too; without -i its client identifier is made up once.
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,

    /// No more lines are read while messages of this size together, in bytes or with a k, M or G behind
    /// the number, are in --spool. They are in memory too.
    #[arg(long, value_name = "SIZE", default_value = "256M", requires = "spool")]
    #[arg(value_parser = value::size)]
    pub spool_limit: u64,

    /// Have the messages of --spool survive a power failure too: each waits for the disk.
    #[arg(long, requires = "spool")]
    pub spool_sync: bool,
}
