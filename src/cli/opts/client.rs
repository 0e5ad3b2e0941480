//! The options of every tool that is an MQTT client.

use clap::Args;

use super::{
    ConnectionOptions, IdentityOptions, LogOptions, TlsOptions, TransportOptions, WillOptions,
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
    /// What is said about it.
    #[command(flatten)]
    pub log: LogOptions,
}
