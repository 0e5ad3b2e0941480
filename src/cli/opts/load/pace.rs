//! How many clients, how fast, and for how long.

use std::{num::NonZeroU32, time::Duration};

use clap::{ArgGroup, Args, value_parser};

use super::shape;
use crate::{
    cli::opts::value,
    load::{Profile, Shard},
};

/// Options about the shape of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
#[command(group = ArgGroup::new("profile"))]
pub struct PaceOptions {
    /// How many clients connect.
    #[arg(short = 'C', long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    pub count: u32,

    /// Milliseconds between the starts of two clients; 0 starts them as fast as possible.
    #[arg(short, long, value_name = "MS", default_value_t = 10, group = "profile")]
    pub interval: u32,

    /// Clients that start per second, such as 500 or 500/s, per minute (30/m) or per hour (100/h), in
    /// place of --interval.
    #[arg(long, value_name = "RATE", value_parser = shape::profile_of_rate, group = "profile")]
    pub rate: Option<Profile>,

    /// A rate that rises or falls steadily from the one to the other within the duration, and then
    /// stays, such as 10..1000/60s.
    #[arg(long, value_name = "FROM..TO/DURATION", value_parser = shape::ramp, group = "profile")]
    pub ramp: Option<Profile>,

    /// Rates that follow each other, each for its duration, such as 100:30s,500:30s,1000. The last
    /// one stays until every client has started; 0 pauses.
    #[arg(long, value_name = "RATE:DURATION,...", value_parser = shape::steps, group = "profile")]
    pub steps: Option<Profile>,

    /// That many clients at once, and again after each duration, such as 500/10s.
    #[arg(long, value_name = "COUNT/DURATION", value_parser = shape::burst, group = "profile")]
    pub burst: Option<Profile>,

    /// How long to keep the connections once every client has connected or failed, such as 30s,
    /// 5m or 1h30m. Without it they are kept until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub hold: Option<Duration>,

    /// How many attempts may be in progress at a time. Too many overflow the accept queue of the
    /// broker, and then measure retransmissions of one second.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    pub in_progress: NonZeroU32,

    /// Worker threads [default: one per processor].
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub parallel: Option<NonZeroU32>,

    /// Processes to deal the clients to, of the same program [default: as many as the limit of open
    /// files makes necessary].
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..=64))]
    pub processes: Option<u32>,

    /// Which of these processes this one is; given by the one that starts them.
    #[arg(long, hide = true, value_name = "INDEX/COUNT", value_parser = shape::part)]
    pub part: Option<Shard>,

    /// How long a client may take from its start to its CONNACK.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration)]
    pub connect_timeout: Duration,

    /// The number that the client identifiers are made from. Runs with the same seed have the same
    /// clients; two runs at the same time need different ones. Default: random.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u32>,
}
