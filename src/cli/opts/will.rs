//! The will: the message that the broker publishes when the client is lost.

use clap::Args;

use super::value::{self, WordBytes};
use crate::codec::QoS;

/// Options about the will.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Will")]
pub struct WillOptions {
    /// Topic of the message that the broker publishes when this client is lost.
    #[arg(long, value_name = "TOPIC")]
    pub will_topic: Option<String>,

    /// Payload of the will; empty if not given.
    #[arg(long, value_name = "TEXT", value_parser = WordBytes::parser())]
    pub will_payload: Option<WordBytes>,

    /// Quality of service of the will: 0, 1 or 2.
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub will_qos: QoS,

    /// Retain the will.
    #[arg(long)]
    pub will_retain: bool,
}
