//! How many clients, how fast, and for how long.

use std::{num::NonZeroU32, time::Duration};

use clap::{Args, value_parser};

use crate::cli::opts::value;

/// Options about the shape of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct PaceOptions {
    /// How many clients connect.
    #[arg(short = 'C', long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    pub count: u32,

    /// Milliseconds between the starts of two clients; 0 starts them as fast as possible.
    #[arg(short, long, value_name = "MS", default_value_t = 10)]
    pub interval: u32,

    /// How long to keep the connections once every client has connected or failed, such as 30s,
    /// 5m or 1h30m. Without it they are kept until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub hold: Option<Duration>,

    /// How many attempts may be in progress at a time. Too many overflow the accept queue of the
    /// broker, and then measure retransmissions of one second.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    pub in_progress: NonZeroU32,

    /// How long a client may take from its start to its CONNACK.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration)]
    pub connect_timeout: Duration,

    /// The number that the client identifiers are made from. Runs with the same seed have the same
    /// clients; two runs at the same time need different ones. Default: random.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u32>,
}
