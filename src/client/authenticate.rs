//! Enhanced authentication (§4.12): what an application has to bring for it.

use std::error::Error;

use crate::codec::{Properties, PropertiesRef};

/// Plays the client's part of an authentication method such as SCRAM or Kerberos, set with
/// [`ClientBuilder::authenticator`](super::ClientBuilder::authenticator). 5.0 only.
///
/// For each connection, [`start`](Self::start) makes the data of CONNECT, [`step`](Self::step)
/// answers each AUTH of the broker, and [`finish`](Self::finish) sees what came with its success.
/// [`Client::reauthenticate`](super::Client::reauthenticate) does the same over a connection that is
/// up. An attempt that ends early is followed by `start` of the next one.
///
/// An error ends the connection; while connecting, the attempt fails with
/// [`ConnectError::Authentication`](super::ConnectError::Authentication), which is not tried again
/// before the first connection and after the longest delay later. The methods are called by the task
/// of the client, which does nothing else meanwhile; a panic in them ends the client as one in a hook
/// does.
///
/// `examples/scram.rs` has SCRAM-SHA-256.
pub trait Authenticator: Send + 'static {
    /// Names the method; it must not change.
    fn method(&self) -> &str;

    /// Begins an authentication or a re-authentication and returns what CONNECT or AUTH is to carry.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from beginning.
    fn start(&mut self) -> Result<AuthData, AuthError>;

    /// Answers a challenge of the broker, whose
    /// [`authentication_data`](PropertiesRef::authentication_data) it finds among the properties of
    /// its AUTH.
    ///
    /// # Errors
    ///
    /// What is wrong with the challenge.
    fn step(&mut self, challenge: PropertiesRef<'_>) -> Result<AuthData, AuthError>;

    /// Looks at the properties with which the broker has accepted: of CONNACK, or of AUTH after a
    /// re-authentication. A method that authenticates the broker too finds the proof here, and the
    /// connection is of no use before this has returned.
    ///
    /// # Errors
    ///
    /// What is wrong with the proof.
    fn finish(&mut self, accepted: PropertiesRef<'_>) -> Result<(), AuthError> {
        let _ = accepted;
        Ok(())
    }
}

/// What goes wrong in an [`Authenticator`].
pub type AuthError = Box<dyn Error + Send + Sync>;

/// What a client says in one step of an authentication. Bytes become one with this data.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AuthData {
    /// The authentication data, if any.
    pub data: Option<Vec<u8>>,
    /// User properties, and a reason string in AUTH.
    pub properties: Properties,
}

impl AuthData {
    /// Makes a step without data.
    pub fn none() -> AuthData {
        AuthData::default()
    }
}

impl From<Vec<u8>> for AuthData {
    fn from(data: Vec<u8>) -> AuthData {
        AuthData { data: Some(data), properties: Properties::default() }
    }
}

impl From<String> for AuthData {
    fn from(data: String) -> AuthData {
        AuthData::from(data.into_bytes())
    }
}
