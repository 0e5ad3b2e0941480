//! What is printed.

use clap::Args;

/// Options about what every networked tool prints.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct LogOptions {
    /// Print each packet sent and received, on standard output.
    #[arg(short, long)]
    pub debug: bool,

    /// Print no errors; the exit code still tells.
    #[arg(long)]
    pub quiet: bool,
}

/// Options about how messages are printed.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Print the topic before each payload.
    #[arg(short, long)]
    pub verbose: bool,

    /// Print no newline after each message.
    #[arg(short = 'N')]
    pub no_newline: bool,
}
