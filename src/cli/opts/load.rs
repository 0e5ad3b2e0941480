//! The options of `midge_conn start`, in the grammar of NanoMQ's connection tool.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, value_parser};

use super::{
    TlsOptions, TransportOptions,
    value::{self, Secret, WordBytes},
};
use crate::{
    codec::{QoS, Version},
    net::{BindAddress, Endpoint},
};

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
    /// What is told.
    #[command(flatten)]
    pub report: ReportOptions,
    /// Print this help.
    #[arg(long, action = ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}

/// Options about the target of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Target")]
pub struct TargetOptions {
    /// The broker, as mqtt-tcp://USER:PASSWORD@HOST:PORT; user, password and port may be left out.
    /// Other schemes: tls+mqtt-tcp (TLS), ws and wss (WebSocket, whose path follows the port), and
    /// unix:///PATH; mqtt and mqtts are other names of the first two.
    #[arg(long, value_name = "URL", default_value = "mqtt-tcp://127.0.0.1:1883")]
    #[arg(value_parser = value::hidden(value::url))]
    pub url: Endpoint,

    /// Use TLS, as tls+mqtt-tcp:// and the options that name a CA do too.
    #[arg(short, long)]
    pub secure: bool,

    /// Local address, or a name for one, to connect from.
    #[arg(short = 'A', value_name = "ADDRESS", value_parser = value::bind_address)]
    #[arg(conflicts_with = "embedded")]
    pub bind: Option<BindAddress>,

    /// Connect to a null broker inside this process instead, which needs nothing installed.
    #[arg(long, conflicts_with = "url")]
    pub embedded: bool,
}

/// Options about the shape of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct PaceOptions {
    /// How many clients connect.
    #[arg(short = 'C', long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    pub count: u32,

    /// Milliseconds between the starts of two clients; 0 starts them as fast as possible.
    #[arg(short, long, value_name = "MS", default_value_t = 10)]
    pub interval: u32,

    /// How long to keep the connections once every client has connected or failed, such as 30s,
    /// 5m or 1h30m. Without it they are kept until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub hold: Option<Duration>,

    /// How many attempts may be in progress at a time. Too many overflow the accept queue of the
    /// broker, and then measure retransmissions of one second.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    pub in_progress: NonZeroU32,

    /// How long a client may take from its start to its CONNACK.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// The number that the client identifiers are made from. Runs with the same seed have the same
    /// clients; two runs at the same time need different ones. Default: random.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u32>,
}

/// Options about the clients of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub struct LoadClientOptions {
    /// Version of MQTT: 3 (for 3.1), 4 (for 3.1.1) or 5.
    #[arg(short = 'V', long = "version", value_name = "VERSION", default_value = "4")]
    #[arg(value_parser = version)]
    pub protocol_version: Version,

    /// Keep-alive interval in seconds; 0 turns it off.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub keepalive: u16,

    /// User name of every client.
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,

    /// Password of every client. Other users of this machine can see it in the list of processes.
    #[arg(short, long, value_name = "PASSWORD", value_parser = Secret::parser())]
    pub password: Option<Secret>,

    /// Whether the clients start clean sessions; with false, the broker keeps their sessions.
    #[arg(short, long = "clean_session", value_name = "true|false", default_value_t = true)]
    #[arg(action = ArgAction::Set)]
    pub clean_session: bool,

    /// Topic of the message that the broker publishes for each client that it loses.
    #[arg(long, value_name = "TOPIC")]
    pub will_topic: Option<String>,

    /// Payload of that message; empty if not given.
    #[arg(long, value_name = "TEXT", value_parser = WordBytes::parser())]
    pub will_msg: Option<WordBytes>,

    /// Quality of service of that message: 0, 1 or 2.
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = value::qos)]
    pub will_qos: QoS,

    /// Retain that message.
    #[arg(long)]
    pub will_retain: bool,
}

/// Options about what a load tells.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct ReportOptions {
    /// Print no progress. The report is printed in any case.
    #[arg(long)]
    pub quiet: bool,

    /// Print a line for each client that fails or loses its connection.
    #[arg(short, long)]
    pub verbose: bool,

    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3" => Ok(Version::V31),
        "4" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        _ => Err("must be 3 (for MQTT 3.1), 4 (for 3.1.1) or 5".to_owned()),
    }
}

/// Parses a duration such as `1h30m`, `5s`, `250ms` or `1.5s`; a number alone is in seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 250ms, 5s, 2m or 1h30m".to_owned();
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if rest.len() == text.len() && after.is_empty() => 1.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("0", 0),
            ("0.25", 250),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "s", "5x", "-1s", "1e9", "5 s", "1m5", "..s", "nan", "99999999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_have_the_numbers_of_nanomq() {
        assert_eq!(version("3"), Ok(Version::V31));
        assert_eq!(version("4"), Ok(Version::V311));
        assert_eq!(version("5"), Ok(Version::V5));
        assert!(version("311").is_err());
    }
}
