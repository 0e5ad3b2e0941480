//! What to subscribe to, and for how long.

use clap::{Args, value_parser};

use super::value;
use crate::codec::QoS;

/// Options about the subscriptions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Subscription")]
pub struct SubscribeOptions {
    /// Topic filter to subscribe to; may be given several times.
    #[arg(short, long = "topic", value_name = "FILTER")]
    pub topics: Vec<String>,

    /// Highest quality of service to receive messages with: 0, 1 or 2.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub qos: QoS,

    /// Disconnect and exit after this many messages.
    #[arg(short = 'C', value_name = "COUNT", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Exit with code 27 after this many seconds, however far things have come.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = value_parser!(u32).range(1..))]
    pub timeout: Option<u32>,
}
