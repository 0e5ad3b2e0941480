//! What a load has to reach.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::{cli::opts::value, load::Slo};

/// Options about what a load has to reach.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Judging")]
pub struct JudgingOptions {
    /// An objective, such as 'connack.p99<50ms', 'fail.rate<0.1%' or 'hold.drops==0': a phase with
    /// .pNN, .min, .max, .mean or .n; or fail.rate, fail.count, hold.drops, hold.drop_rate,
    /// rate.achieved, connected.count, open.peak, late.starts. May be given several times. With
    /// objectives, they alone decide whether the load has passed.
    #[arg(long, value_name = "OBJECTIVE", value_parser = slo)]
    pub slo: Vec<Slo>,

    /// Give the load up once an objective that only gets worse has been missed for this long.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub abort_on_slo: Option<Duration>,

    /// Search the highest rate at which the objectives are met, with a short load at each rate. It
    /// begins with the rate given (-i or --rate); -C is the most clients of one load.
    #[arg(long, value_name = "WHAT", conflicts_with = "abort_on_slo")]
    pub find: Option<Find>,
}

/// What can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Find {
    /// The highest rate of starts.
    MaxRate,
}

pub(super) fn slo(text: &str) -> Result<Slo, String> {
    text.parse().map_err(|error: crate::load::SloError| error.to_string())
}
