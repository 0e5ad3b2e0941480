//! What a load tells, and where to.

use std::{net::SocketAddr, path::PathBuf};

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

    #[command(flatten)]
    #[allow(missing_docs, reason = "the text would become the help of the group")]
    pub files: ReportFiles,

    /// Write the counters and latencies of each second to this file, as comma-separated values.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Serve metrics to Prometheus at http://ADDRESS/metrics while the load runs; a port alone
    /// means 127.0.0.1.
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = listen_address)]
    pub prometheus: Option<SocketAddr>,
}

/// The files that a report can go to.
#[derive(Args, Clone, Debug, Default)]
pub struct ReportFiles {
    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the distribution of each phase in each second to this file, as an HdrHistogram log.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,

    /// Write the report to this file as a page with charts, which needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(([127, 0, 0, 1], port).into());
    }
    text.parse().map_err(|_| "must be a port, or an address and a port such as 0.0.0.0:9090".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_served_on_the_loopback_interface_unless_told_otherwise() {
        assert_eq!(listen_address("9090"), Ok("127.0.0.1:9090".parse().unwrap()));
        assert_eq!(listen_address("0.0.0.0:1"), Ok("0.0.0.0:1".parse().unwrap()));
        assert_eq!(listen_address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        for wrong in ["", "x", "70000", "1.2.3.4", "localhost:9090"] {
            assert!(listen_address(wrong).is_err(), "{wrong}");
        }
    }
}
