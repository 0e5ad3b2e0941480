//! Where the broker is, and how to speak to it.

use std::path::PathBuf;

use clap::Args;

use super::value;
use crate::{
    codec::Version,
    net::{BindAddress, Endpoint},
};

/// Options about the connection.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionOptions {
    /// Name or address of the broker. With -p 0, the path of its Unix socket.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    #[arg(value_parser = value::not_empty)]
    pub host: String,

    /// Port of the broker [default: 1883, or 8883 with --cafile, --capath or --psk]. Port 8883 turns TLS
    /// on; 0 means a Unix socket.
    #[arg(short, long, value_name = "PORT", value_parser = value::number::<u16>(0..=65_535))]
    pub port: Option<u16>,

    /// Connect to the Unix socket at this path.
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,

    /// Broker, credentials and topic in one, SCHEME://USER:PASSWORD@HOST:PORT/TOPIC; user, password and
    /// port may be left out. Schemes: mqtt, mqtts (TLS), ws and wss (WebSocket); unix:///PATH has no
    /// topic. Of this and -h, -p, --unix, -u and -P, what is given later counts.
    #[arg(short = 'L', long, value_name = "URL", value_parser = value::hidden(value::tool_url))]
    pub url: Option<Endpoint>,

    /// Speak MQTT over WebSocket.
    #[arg(long)]
    pub ws: bool,

    /// Local address, or a name for one, to connect from.
    #[arg(short = 'A', value_name = "ADDRESS", value_parser = value::bind_address)]
    pub bind: Option<BindAddress>,

    /// Look up the brokers of the domain -h in its DNS SRV records. Needs a build with the feature srv.
    #[arg(short = 'S')]
    pub srv: bool,

    /// Send small packets at once (TCP_NODELAY). They always are; the option is there for scripts.
    #[arg(long)]
    pub nodelay: bool,

    /// Seconds between signs of life when nothing else is sent (5 to 65535). The connection is
    /// given up when the broker leaves one unanswered, or takes longer than this to accept it.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = value::number::<u16>(5..=65_535))]
    pub keepalive: u16,

    /// Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5). -D and -x mean 5 where they
    /// stand behind it.
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "311")]
    #[arg(value_parser = value::version)]
    pub protocol_version: Version,

    /// Exit with code 27 after this many seconds, however far things have come: looking up the
    /// broker and connecting count too.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = value::number::<u32>(1..=u32::MAX.into()))]
    pub time_limit: Option<u32>,

    /// Go on trying when the first attempt to connect fails for a reason that may pass. Between two
    /// attempts passes a random time, which grows from one second to thirty.
    #[arg(long)]
    pub retry: bool,

    /// Most messages of quality of service 1 and 2 on their way to the broker at a time
    /// [default: 20; for midge_pub -l and --jsonl 100, but 20 with quality of service 2 before MQTT
    /// 5]. A broker of MQTT 5 can lower it; before, there are never more than 20 of quality of
    /// service 2.
    #[arg(short = 'M', value_name = "COUNT", value_parser = value::max_inflight())]
    pub max_inflight: Option<u16>,
}
