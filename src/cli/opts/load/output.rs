//! What a load tells.

use std::path::PathBuf;

use clap::Args;

/// Options about what a load tells.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct ReportOptions {
    /// Print no progress. The report is printed in any case.
    #[arg(long)]
    pub quiet: bool,

    /// Print a line for each client that fails or loses its connection.
    #[arg(short, long)]
    pub verbose: bool,

    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
