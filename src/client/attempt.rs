//! One attempt to connect, as hooks may change it.

use std::sync::Arc;

use crate::codec::Properties;
use crate::driver;
use crate::net::{ConnectOptions, Endpoint};
use crate::session::{Config, Secret, Session, Will};

use super::error::ConnectError;

/// Describes the attempt to connect that is about to be made.
///
/// [`on_pre_connect`](super::ClientBuilder::on_pre_connect) and
/// [`before_connect`](super::ClientBuilder::before_connect) may change everything in it; the change
/// is for this attempt, and the next one begins with what the builder was given again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Which attempt since the last connection, from 1.
    pub number: u32,
    /// The broker. A user name or password in its URL has no effect here: there are fields for them.
    pub endpoint: Endpoint,
    /// The client identifier. Another one than at the attempt before belongs to another session:
    /// subscriptions are made again there, and messages in flight are what
    /// [`on_session_loss`](super::ClientBuilder::on_session_loss) makes of them. A
    /// [store](super::ClientBuilder::store) has one session: with another identifier than its own the
    /// attempt fails with [`ConnectError::Store`].
    pub client_id: String,
    /// The user name, if any.
    pub username: Option<String>,
    /// The password, if any.
    pub password: Option<Secret>,
    /// The will, if any.
    pub will: Option<Will>,
    /// Further properties of CONNECT. 5.0 only.
    pub connect_properties: Properties,
    /// Everything about the network connection: TLS, headers of the WebSocket upgrade, and more.
    pub connect_options: ConnectOptions,
}

impl Attempt {
    /// Describes an attempt as the settings make it.
    pub(super) fn new(
        number: u32,
        endpoint: Endpoint,
        client_id: &str,
        config: &Config,
        connect_options: ConnectOptions,
    ) -> Attempt {
        Attempt {
            number,
            endpoint,
            client_id: client_id.to_owned(),
            username: config.username.as_deref().map(str::to_owned),
            password: config.password.clone(),
            will: config.will.clone(),
            connect_properties: config.connect_properties.clone(),
            connect_options,
        }
    }

    /// Has the session connect like this, and returns where to and how.
    pub(super) fn apply(
        self,
        base: &Config,
        session: &mut Session,
    ) -> Result<(Endpoint, ConnectOptions), ConnectError> {
        let options = driver::connect_options(base.version, self.connect_options);
        let config = Config {
            username: self.username.map(String::into_boxed_str),
            password: self.password,
            will: self.will,
            connect_properties: self.connect_properties,
            connack_timeout: options.connect_timeout,
            ..base.clone()
        };
        config.check(&self.client_id)?;
        session.reconfigure(Arc::new(config), &self.client_id);
        Ok((self.endpoint, options))
    }
}
