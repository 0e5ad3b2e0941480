//! The options of `midge_conn start`, in the grammar of NanoMQ's connection tool.

mod clients;
mod judging;
mod life;
mod machines;
mod output;
mod pace;
mod reports;
mod shape;
mod target;
mod verbs;

use clap::{ArgAction, Args};

pub use self::{
    clients::LoadClientOptions,
    judging::JudgingOptions,
    life::{LifeOptions, RosterOptions, TrafficOptions},
    machines::{MachineOptions, ShardOption},
    output::{ReportFiles, ReportOptions},
    pace::PaceOptions,
    reports::{DiffOptions, MergeOptions},
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
    /// What it has to reach.
    #[command(flatten)]
    pub judging: JudgingOptions,
    /// Who else takes part.
    #[command(flatten)]
    pub machines: MachineOptions,
    /// What is told.
    #[command(flatten)]
    pub report: ReportOptions,
    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}
