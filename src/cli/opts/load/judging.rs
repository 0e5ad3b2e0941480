//! What a load has to reach.

use std::time::Duration;

use clap::Args;

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
}

pub(super) fn slo(text: &str) -> Result<Slo, String> {
    text.parse().map_err(|error: crate::load::SloError| error.to_string())
}
