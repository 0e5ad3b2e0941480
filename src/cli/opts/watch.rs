//! What is shown instead of the messages one behind the other.

use clap::Args;

/// Options about views on the messages.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct WatchOptions {
    /// Show the last message of each topic in a line of its own. On a terminal the topics are a tree,
    /// with the rate of each and retained payloads in another colour; with -F, --json or --csv, and
    /// into a file or pipe, there is one line for each, which is written again where it is.
    #[arg(short, long, conflicts_with_all = ["exec", "output"])]
    pub watch: bool,

    /// Print how many messages there were, each second, instead of the messages.
    #[arg(long, conflicts_with_all = ["exec", "output"])]
    pub message_rate: bool,
}
