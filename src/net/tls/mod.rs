//! TLS with rustls: options, the configuration they are built into, and the handshake.
//!
//! All that can be wrong with certificates and keys on this side is found by [`TlsOptions::build`],
//! before the first connection. A built [`TlsConfig`] never changes, so no later connection can be
//! verified less strictly than the first.

mod ciphers;
mod error;
mod keylog;
mod options;
mod verify;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

pub(super) use error::explain;
pub use error::{TlsConfigError, TlsProblem};
pub use options::{TlsOptions, TlsVersion, Verification};

use super::ConnectError;

/// How to secure connections and whom to trust: the checked and unchangeable form of [`TlsOptions`].
///
/// Clones share everything, the session tickets for quick reconnects included.
#[derive(Clone)]
pub struct TlsConfig {
    client: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConfig {
    /// Returns the configuration of [`TlsOptions::default`]: the system's certificate authorities and
    /// TLS 1.2 or later. It is built once; a failure is tried again at the next call.
    ///
    /// # Errors
    ///
    /// As [`TlsOptions::build`].
    pub fn system() -> Result<TlsConfig, TlsConfigError> {
        static SYSTEM: OnceLock<TlsConfig> = OnceLock::new();
        if let Some(config) = SYSTEM.get() {
            return Ok(config.clone());
        }
        let config = TlsOptions::default().build()?;
        Ok(SYSTEM.get_or_init(|| config).clone())
    }

    /// Performs the handshake. `host` is whom the certificate must name, unless the options named
    /// somebody else.
    pub(super) async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => options::server_name(host).ok_or_else(|| ConnectError::Tls {
                host: host.to_owned(),
                problem: TlsProblem::InvalidHost,
                source: io::Error::from(io::ErrorKind::InvalidInput),
            })?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.client));
        connector.connect(name, tcp).await.map_err(|source| ConnectError::Tls {
            host: host.to_owned(),
            problem: TlsProblem::of_handshake(&source),
            source,
        })
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("server_name", &self.server_name)
            .field("client_certificate", &self.client.client_auth_cert_resolver.has_certs())
            .finish_non_exhaustive()
    }
}
