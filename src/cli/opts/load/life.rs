//! What happens to the clients of a load after they have connected.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::shape;
use crate::{
    cli::opts::value::{self, WordBytes},
    codec::QoS,
    load::{Comeback, Storm, Template},
};

/// Options about losing connections and making them again.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reconnecting")]
pub struct LifeOptions {
    /// Have clients connect again that failed to connect or lost their connections.
    #[arg(long)]
    pub reconnect: bool,

    /// How long clients wait before they connect again: a random time of at most FIRST, whose bound
    /// doubles from attempt to attempt up to MAX.
    #[arg(long, value_name = "FIRST..MAX", default_value = "1s..60s")]
    #[arg(value_parser = shape::backoff)]
    pub backoff: Comeback,

    /// Connections per second to end with a DISCONNECT and make again while they are held.
    #[arg(long, value_name = "RATE", value_parser = shape::positive_rate)]
    pub churn: Option<f64>,

    /// Cut a part of the connections at once, at that time after the start of the load, such as
    /// drop=50%@30s; the clients come back by --backoff. May be repeated.
    #[arg(long, value_name = "drop=PERCENT%@TIME", value_parser = shape::storm)]
    pub storm: Vec<Storm>,
}

/// Options about the messages that the connections carry.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Traffic")]
pub struct TrafficOptions {
    /// Topic that each client publishes to. Of the text, %i is replaced by the index of the client, %c
    /// by its client identifier, %u by its user name, %r by digits that look random, %s by the seed,
    /// and %% by a percent sign.
    #[arg(long, value_name = "TOPIC")]
    pub publish: Option<Template>,

    /// Payload of these messages; empty if neither this nor --size is given.
    #[arg(long, value_name = "TEXT", value_parser = WordBytes::parser())]
    #[arg(requires = "publish", conflicts_with = "size")]
    pub message: Option<WordBytes>,

    /// Length in bytes of a payload of filler, in place of --message.
    #[arg(long, value_name = "BYTES", requires = "publish")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=268_000_000))]
    pub size: Option<u32>,

    /// Time between two messages of one client.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = shape::period)]
    pub every: Duration,

    /// Filter that each client subscribes to, with the places of --publish.
    #[arg(long, value_name = "FILTER")]
    pub subscribe: Option<Template>,

    /// Quality of service of --publish and --subscribe: 0, 1 or 2.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub qos: QoS,

    /// Retain the messages of --publish.
    #[arg(short, long)]
    pub retain: bool,
}

/// Options about clients that differ from each other.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub struct RosterOptions {
    /// Client identifiers, with the places of --publish, such as device-%i [default:
    /// midge-SEED-INDEX in hexadecimal].
    #[arg(short = 'I', long = "id", value_name = "TEXT")]
    pub client_id: Option<Template>,

    /// File of comma-separated values with a row for each client. Its first line names the columns,
    /// of which there are client_id, user, password, cert and key; the last two are files in PEM
    /// form. What a row leaves empty comes from the other options.
    #[arg(long, value_name = "FILE")]
    pub clients: Option<PathBuf>,
}
