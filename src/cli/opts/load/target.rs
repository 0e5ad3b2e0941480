//! Where the connections of a load go.

use clap::Args;

use crate::{
    cli::opts::value,
    net::{BindAddress, Endpoint},
};

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
