//! The options of the verbs beside `start`.

use std::num::NonZeroU32;

use clap::{ArgAction, Args, value_parser};

/// Options of `midge_conn stop`.
#[derive(Args, Clone, Debug)]
pub struct StopOptions {
    /// The load to end, by the number of its process.
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub id: Option<u32>,

    /// End all running loads of this user.
    #[arg(long)]
    pub all: bool,

    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}

/// Options of `midge_conn calibrate`.
#[derive(Args, Clone, Debug)]
pub struct CalibrateOptions {
    /// How many clients connect in each round.
    #[arg(short = 'C', long, value_name = "COUNT", default_value_t = 5_000)]
    #[arg(value_parser = value_parser!(u32).range(100..))]
    pub count: u32,

    /// How often to measure.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    #[arg(value_parser = value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Worker threads [default: one per processor].
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub parallel: Option<NonZeroU32>,

    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}
