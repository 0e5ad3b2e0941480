//! What to subscribe to, for how long, and which messages count.

use clap::{Args, ValueEnum};

use super::value;
use crate::codec::{QoS, RetainHandling};

/// Options about the subscriptions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Subscription")]
pub struct SubscribeOptions {
    /// Topic filter to subscribe to; may be given several times.
    #[arg(short, long = "topic", value_name = "FILTER")]
    pub topics: Vec<String>,

    /// Topic filter to unsubscribe from, as of a session that was kept; may be given several times.
    #[arg(short = 'U', long = "unsubscribe", value_name = "FILTER")]
    pub unsubscribe: Vec<String>,

    /// Highest quality of service to receive messages with: 0, 1 or 2.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub qos: QoS,

    /// Have the broker deliver messages with the retain flag they were published with (MQTT 5).
    #[arg(long)]
    pub retain_as_published: bool,

    /// When the broker sends the messages it has retained (MQTT 5) [default: always, with -R never].
    #[arg(long, value_name = "WHEN")]
    pub retain_handling: Option<RetainHandlingOption>,

    /// Disconnect and exit after this many messages.
    #[arg(short = 'C', value_name = "COUNT", value_parser = value::number::<u64>(1..=u64::MAX))]
    pub count: Option<u64>,

    /// Exit once the broker has answered to the subscriptions.
    #[arg(short = 'E')]
    pub exit_when_subscribed: bool,

    /// Which messages count.
    #[command(flatten)]
    pub selection: SelectionOptions,
}

/// Options about which of the received messages count.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection")]
pub struct SelectionOptions {
    /// Leave messages out whose topic this filter matches; may be given several times.
    #[arg(short = 'T', long = "filter-out", value_name = "FILTER")]
    pub filter_out: Vec<String>,

    /// Leave out what the broker has retained.
    #[arg(short = 'R')]
    pub no_retained: bool,

    /// Take only what the broker has retained, and exit when that is all there, or a message that is
    /// not retained arrives.
    #[arg(long)]
    pub retained_only: bool,

    /// Have the broker forget each retained message that arrives, by publishing an empty one.
    #[arg(long)]
    pub remove_retained: bool,

    /// Print this percentage of the messages, chosen at random (0.1 to 100). The others count for -C
    /// all the same.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub random_filter: Option<f64>,
}

/// When a subscription receives the messages that are retained already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RetainHandlingOption {
    /// At each subscribe.
    Always,
    /// When the session does not have the subscription yet.
    New,
    /// Never.
    Never,
}

impl From<RetainHandlingOption> for RetainHandling {
    fn from(option: RetainHandlingOption) -> Self {
        match option {
            RetainHandlingOption::Always => Self::SendAtSubscribe,
            RetainHandlingOption::New => Self::SendIfNew,
            RetainHandlingOption::Never => Self::DoNotSend,
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_ascii().parse() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("must be a number from 0.1 to 100".to_owned()),
    }
}
