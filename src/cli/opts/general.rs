//! `--help` and `--version`. They have no short forms: `-h` is the host and `-V` the protocol
//! version, as in the mosquitto tools.

use clap::{ArgAction, Args};

/// Options of every tool.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Help")]
pub struct GeneralOptions {
    /// Print this help.
    #[arg(long, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}
