//! Who connects: client identifier, session and credentials.

use std::path::PathBuf;

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
    /// away. In MQTT 5 it never expires unless -x says when. Needs -i.
    #[arg(short = 'c', long)]
    pub disable_clean_session: bool,

    /// Seconds that the session outlives the connection; -1 or ∞ is for ever and needs -i. It
    /// means MQTT 5.
    #[arg(short = 'x', value_name = "SECONDS", value_parser = value::session_expiry)]
    pub session_expiry: Option<u32>,

    /// User name.
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,

    /// Password. Other users of this machine can see it in the list of processes: --pw-file,
    /// --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable counts
    /// where there is a user name and no other password.
    #[arg(short = 'P', long, value_name = "PASSWORD", value_parser = Secret::parser())]
    #[arg(conflicts_with_all = ["pw_file", "pw_prompt"])]
    pub pw: Option<Secret>,

    /// Where else it may be.
    #[command(flatten)]
    pub password: PasswordOptions,
}

/// Places of the password where nobody sees it.
#[derive(Args, Clone, Debug)]
pub struct PasswordOptions {
    /// File with the password; one final newline is dropped.
    #[arg(long, value_name = "FILE", conflicts_with = "pw_prompt")]
    pub pw_file: Option<PathBuf>,

    /// Ask for the password on the terminal.
    #[arg(long)]
    pub pw_prompt: bool,
}
