//! TLS with rustls: options, the configuration they are built into, and the handshake.
//!
//! All that can be wrong with certificates and keys on this side is found by [`TlsOptions::build`],
//! before the first connection. A built [`TlsConfig`] never changes, so no later connection can be
//! verified less strictly than the first.

mod ciphers;
mod error;
mod keylog;
mod options;
#[cfg(feature = "psk")]
mod psk;
mod verify;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

pub(super) use error::explain;
pub use error::{TlsConfigError, TlsProblem};
pub use options::{TlsOptions, TlsVersion, Verification};
#[cfg(feature = "psk")]
pub use psk::PskOptions;

use super::{ConnectError, Stream};

/// How to secure connections and whom to trust: the checked and unchangeable form of [`TlsOptions`].
///
/// Clones share everything, the session tickets for quick reconnects included.
#[derive(Clone)]
pub struct TlsConfig {
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Rustls {
        client: Arc<ClientConfig>,
        server_name: Option<ServerName<'static>>,
    },
    #[cfg(feature = "psk")]
    Psk(psk::PskContext),
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
    ) -> Result<Stream, ConnectError> {
        let failure = |problem, source| {
            let host = host.to_owned();
            ConnectError::Tls { host, problem, source }
        };
        match &self.backend {
            Backend::Rustls { client, server_name } => {
                let name = match server_name {
                    Some(name) => name.clone(),
                    None => options::server_name(host).ok_or_else(|| {
                        let source = io::Error::from(io::ErrorKind::InvalidInput);
                        failure(TlsProblem::InvalidHost, source)
                    })?,
                };
                let connector = TlsConnector::from(Arc::clone(client));
                match connector.connect(name, tcp).await {
                    Ok(tls) => Ok(Stream::from_tls(tls)),
                    Err(source) => Err(failure(TlsProblem::of_handshake(&source), source)),
                }
            }
            #[cfg(feature = "psk")]
            Backend::Psk(context) => match context.handshake(host, tcp).await {
                Ok(tls) => Ok(Stream::from_psk(tls)),
                Err((problem, source)) => Err(failure(problem, source)),
            },
        }
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Rustls { client, server_name } => f
                .debug_struct("TlsConfig")
                .field("server_name", server_name)
                .field("client_certificate", &client.client_auth_cert_resolver.has_certs())
                .finish_non_exhaustive(),
            #[cfg(feature = "psk")]
            Backend::Psk(context) => context.fmt(f),
        }
    }
}
