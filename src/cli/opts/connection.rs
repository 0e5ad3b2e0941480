//! Where the broker is, and how to speak to it.

use clap::{Args, value_parser};

use super::value;
use crate::{codec::Version, net::Endpoint};

/// Options about the connection.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionOptions {
    /// Name or address of the broker.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    #[arg(value_parser = value::not_empty)]
    pub host: String,

    /// Port of the broker.
    #[arg(short, long, value_name = "PORT", default_value_t = 1883)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    pub port: u16,

    /// Broker, credentials and topic in one, `mqtt://user:password@host:port/topic`; user, password
    /// and port may be left out. Of this and -h, -p, -u and -P, what is given later counts.
    #[arg(short = 'L', long, value_name = "URL", value_parser = value::mqtt_url)]
    pub url: Option<Endpoint>,

    /// Seconds between signs of life when nothing else is sent (5 to 65535). The connection is
    /// given up when the broker leaves one unanswered, or takes longer than this to accept it.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = value_parser!(u16).range(5..))]
    pub keepalive: u16,

    /// Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5).
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "311")]
    #[arg(value_parser = value::version)]
    pub protocol_version: Version,
}
