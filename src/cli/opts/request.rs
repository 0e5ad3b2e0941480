//! What to ask, and what counts as an answer.

use clap::Args;

use super::{RetainHandlingOption, SourceOptions, value};
use crate::codec::QoS;

/// Options about the request and its answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Request")]
pub struct RequestOptions {
    /// Topic to publish the request to.
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: Option<String>,

    /// Topic that the answer is published to. In MQTT 5 one is made if it is not given: of what the
    /// broker says, or else midge/response/ and a random number.
    #[arg(short = 'e', value_name = "TOPIC")]
    pub response_topic: Option<String>,

    /// What the request says.
    #[command(flatten)]
    pub source: SourceOptions,

    /// Quality of service of the request, and highest one of the answer: 0, 1 or 2.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub qos: QoS,

    /// Send no correlation data and take the first message on the response topic for the answer.
    /// Without it, an answer in MQTT 5 is what carries the correlation data of the request.
    #[arg(long)]
    pub no_correlation: bool,

    /// Wait for this many answers, as of several devices that hear the same request.
    #[arg(short = 'C', value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value::number::<u64>(1..=u64::MAX))]
    pub count: u64,

    /// Have the broker send nothing that it has retained for the response topic (MQTT 5). That is
    /// never taken for an answer: it is older than the request.
    #[arg(short = 'R')]
    pub no_retained: bool,

    /// Have the broker deliver answers with the retain flag they were published with (MQTT 5).
    #[arg(long)]
    pub retain_as_published: bool,

    /// When the broker sends what it has retained for the response topic (MQTT 5) [default: always,
    /// with -R never].
    #[arg(long, value_name = "WHEN")]
    pub retain_handling: Option<RetainHandlingOption>,

    /// Print the time from the request to each answer behind the answer.
    #[arg(long)]
    pub latency: bool,
}
