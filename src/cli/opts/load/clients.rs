//! What each client of a load says in CONNECT.

use clap::{ArgAction, Args};

use crate::{
    cli::opts::{
        PasswordOptions,
        value::{self, Secret, WordBytes},
    },
    codec::{QoS, Version},
    load::Template,
};

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

    /// User name of every client, with the places of --publish.
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<Template>,

    /// Password of every client. Other users of this machine can see it in the list of processes:
    /// --pw-file, --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable
    /// counts where there is a user name and no other password.
    #[arg(short, long, value_name = "PASSWORD", value_parser = Secret::parser())]
    #[arg(conflicts_with_all = ["pw_file", "pw_prompt"])]
    pub password: Option<Secret>,

    /// Where else it may be.
    #[command(flatten)]
    pub password_from: PasswordOptions,

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

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3" => Ok(Version::V31),
        "4" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        _ => Err("must be 3 (for MQTT 3.1), 4 (for 3.1.1) or 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_numbers_of_nanomq() {
        assert_eq!(version("3"), Ok(Version::V31));
        assert_eq!(version("4"), Ok(Version::V311));
        assert_eq!(version("5"), Ok(Version::V5));
        assert!(version("311").is_err());
    }
}
