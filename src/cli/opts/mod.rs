//! The options of the tools: one group per topic, flattened into the tools that have it.

mod client;
mod connection;
mod delivery;
pub mod feature;
mod general;
mod identity;
pub mod load;
mod output;
mod passwd;
pub mod property;
mod publish;
mod request;
mod subscribe;
mod tls;
mod transport;
pub mod value;
mod watch;
mod will;

pub use client::ClientOptions;
pub use connection::ConnectionOptions;
pub use delivery::{DeliveryOptions, OnFailure};
pub use general::GeneralOptions;
pub use identity::{IdentityOptions, PasswordOptions};
pub use load::LoadOptions;
pub use output::{LogOptions, OutputOptions};
pub use passwd::{FileOperand, PasswdCommand, PasswdOptions, SecretOptions, VerifyOptions};
pub use property::{PropertyOption, PropertyOptions};
pub use publish::{LineOptions, PublishOptions, SourceOptions};
pub use request::RequestOptions;
pub use subscribe::{RetainHandlingOption, SelectionOptions, SubscribeOptions};
pub use tls::TlsOptions;
pub use transport::TransportOptions;
pub use value::{Secret, WordBytes};
pub use watch::WatchOptions;
pub use will::WillOptions;
