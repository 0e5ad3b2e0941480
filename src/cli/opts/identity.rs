//! Who connects: client identifier, session and credentials.

use clap::Args;

use super::value::{self, Secret};

/// Options about the identity of the client.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity")]
pub struct IdentityOptions {
    /// Client identifier. Without it (and without -I) the broker chooses one.
    #[arg(short, long, value_name = "ID", value_parser = value::not_empty)]
    #[arg(conflicts_with = "id_prefix")]
    pub id: Option<String>,

    /// Client identifier made of this prefix and the process id.
    #[arg(short = 'I', long, value_name = "PREFIX")]
    pub id_prefix: Option<String>,

    /// Keep the session on the broker: subscriptions and messages that arrive while the client is
    /// away. Needs -i.
    #[arg(short = 'c', long)]
    pub disable_clean_session: bool,

    /// User name.
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,

    /// Password. Other users of this machine can see it in the list of processes.
    #[arg(short = 'P', long, value_name = "PASSWORD", value_parser = Secret::parser())]
    pub pw: Option<Secret>,
}
