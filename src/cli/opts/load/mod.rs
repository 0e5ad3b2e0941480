//! The options of `midge_conn start`, in the grammar of NanoMQ's connection tool.

mod clients;
mod life;
mod output;
mod pace;
mod shape;
mod target;
mod verbs;

use clap::{ArgAction, Args};

pub use self::{
    clients::LoadClientOptions,
    life::{LifeOptions, RosterOptions, TrafficOptions},
    output::ReportOptions,
    pace::PaceOptions,
    target::TargetOptions,
    verbs::{CalibrateOptions, StopOptions},
};
use super::{TlsOptions, TransportOptions};

/// Everything about a connection load.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// Where the connections go.
    #[command(flatten)]
    pub target: TargetOptions,
    /// What lies between.
    #[command(flatten)]
    pub transport: TransportOptions,
    /// How the connections are secured.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// How many, how fast, how long.
    #[command(flatten)]
    pub pace: PaceOptions,
    /// What each client says in CONNECT.
    #[command(flatten)]
    pub client: LoadClientOptions,
    /// How the clients differ.
    #[command(flatten)]
    pub roster: RosterOptions,
    /// What happens to the connections.
    #[command(flatten)]
    pub life: LifeOptions,
    /// What they carry.
    #[command(flatten)]
    pub traffic: TrafficOptions,
    /// What is told.
    #[command(flatten)]
    pub report: ReportOptions,
    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}
