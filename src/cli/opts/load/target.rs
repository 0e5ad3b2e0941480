//! Where the connections of a load go, and where they come from.

use clap::Args;

use crate::{cli::opts::value, load::Sources, net::Endpoint};

/// Options about the target of a load.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Target")]
pub struct TargetOptions {
    /// The broker, as mqtt-tcp://USER:PASSWORD@HOST:PORT; user, password and port may be left out.
    /// Other schemes: tls+mqtt-tcp (TLS), ws and wss (WebSocket, whose path follows the port), and
    /// unix:///PATH; mqtt and mqtts are other names of the first two. May be repeated: the clients
    /// are dealt to the brokers in turn.
    #[arg(long, value_name = "URL", default_value = "mqtt-tcp://127.0.0.1:1883")]
    #[arg(value_parser = value::hidden(value::url))]
    pub url: Vec<Endpoint>,

    /// Use TLS, as tls+mqtt-tcp:// and the options that name a CA do too.
    #[arg(short, long)]
    pub secure: bool,

    /// Addresses of this machine to connect from, and networks of them, such as
    /// 10.0.0.5,10.0.0.6 or 127.0.0.0/8. Each has about 60,000 ports. Without it, connections to the
    /// loopback interface come from as many of its addresses as they need.
    #[arg(short = 'A', long, value_name = "ADDRESS,NETWORK/PREFIX,...")]
    pub bind: Option<Sources>,

    /// Connect to a null broker inside this process instead, which needs nothing installed.
    #[arg(long, conflicts_with = "url")]
    pub embedded: bool,
}
