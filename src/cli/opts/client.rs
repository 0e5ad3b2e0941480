//! The options of every tool that is an MQTT client.

use std::path::PathBuf;

use clap::Args;

use super::{
    ConnectionOptions, IdentityOptions, LogOptions, PropertyOptions, TlsOptions, TransportOptions,
    WillOptions,
};

/// Everything about the client but its job.
#[derive(Args, Clone, Debug)]
pub struct ClientOptions {
    /// Where the broker is.
    #[command(flatten)]
    pub connection: ConnectionOptions,
    /// What lies between.
    #[command(flatten)]
    pub transport: TransportOptions,
    /// How the connection is secured.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Who connects.
    #[command(flatten)]
    pub identity: IdentityOptions,
    /// The will.
    #[command(flatten)]
    pub will: WillOptions,
    /// What MQTT 5 has besides.
    #[command(flatten)]
    pub properties: PropertyOptions,
    /// What is said about it.
    #[command(flatten)]
    pub log: LogOptions,

    /// Read options from this file, one a line, before those of the command line. By default they
    /// are read from the file with the name of the program, or of mosquitto's, in $XDG_CONFIG_HOME
    /// or ~/.config, if there is one.
    #[arg(short = 'o', value_name = "FILE", help_heading = "Options from a file")]
    pub option_file: Option<PathBuf>,
}
