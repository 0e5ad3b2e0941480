//! The verbs that work on reports: `merge` and `diff`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::ReportFiles;

/// Options of `midge_conn merge`.
#[derive(Args, Clone, Debug)]
pub struct MergeOptions {
    /// Reports of the shards of one plan (--json), and their HdrHistogram logs (--hlog).
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,

    /// Merge even though reports of some shards are missing; their clients count as not started.
    #[arg(long)]
    pub incomplete: bool,

    /// Evaluate this objective, in place of those in the reports. May be given several times.
    #[arg(long, value_name = "OBJECTIVE", value_parser = super::judging::slo)]
    pub slo: Vec<crate::load::Slo>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "the text would become the help of the group")]
    pub files: ReportFiles,

    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}

/// Options of `midge_conn diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffOptions {
    /// The report to compare with.
    #[arg(value_name = "BASELINE")]
    pub baseline: PathBuf,

    /// The report to judge.
    #[arg(value_name = "REPORT")]
    pub report: PathBuf,

    /// How much worse is a regression, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub threshold: f64,

    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}

/// Parses `5` or `5%` to 0.05.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|number| number.is_finite() && *number >= 0.0)
        .map(|number| number / 100.0)
        .ok_or_else(|| "must be a percentage such as 5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_percentages() {
        assert_eq!((percent("5"), percent("2.5%")), (Ok(0.05), Ok(0.025)));
        for wrong in ["", "%", "-1", "nan", "inf", "x"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
