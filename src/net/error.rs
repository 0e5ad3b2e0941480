//! Why no stream came to be: one variant per stage, each saying what to look at.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "socks5")]
use super::ProxyProblem;
use super::Scheme;
#[cfg(feature = "websocket")]
use super::WebSocketProblem;
#[cfg(feature = "tls")]
use super::{TlsConfigError, TlsProblem};

/// A step on the way to a connected [`Stream`](super::Stream).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Turning a host name into addresses.
    Resolve,
    /// Opening the TCP connection or Unix socket.
    Dial,
    /// Asking a proxy to connect.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The HTTP upgrade to WebSocket.
    WebSocket,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Resolve => "name lookup",
            Stage::Dial => "connection",
            Stage::Proxy => "proxy handshake",
            Stage::Tls => "TLS handshake",
            Stage::WebSocket => "WebSocket upgrade",
        })
    }
}

/// Why [`connect`](super::connect) failed.
///
/// The causes of the operating system are reachable through
/// [`source`](std::error::Error::source), and directly by [`io_error_kind`](Self::io_error_kind).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A host name has no address.
    #[error("cannot look up the host name \"{host}\"; check its spelling and the DNS settings")]
    Resolve {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The local address asked for cannot be used.
    #[error("cannot use the local address \"{bind}\"; choose one of this machine's own addresses")]
    Bind {
        /// The local address or host name asked for.
        bind: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No address of the host accepted a TCP connection.
    #[error("no connection to {addr}{}; check that a broker listens there", others(.tried))]
    Dial {
        /// The address the error belongs to: the one tried first.
        addr: SocketAddr,
        /// How many addresses were tried.
        tried: usize,
        /// What the operating system said about `addr`.
        source: io::Error,
    },
    /// The Unix socket did not accept a connection.
    #[error("no connection to the Unix socket {path:?}; check that a broker listens there")]
    DialUnix {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The proxy did not connect to the broker.
    #[cfg(feature = "socks5")]
    #[error("no connection through the proxy {proxy}: {problem}")]
    Proxy {
        /// The proxy's host and port.
        proxy: String,
        /// What is wrong.
        problem: ProxyProblem,
        /// What the proxy or the operating system said.
        source: io::Error,
    },
    /// There is no TLS configuration, and none could be made from the system's certificates.
    #[cfg(feature = "tls")]
    #[error("TLS is not configured and cannot be by default")]
    TlsConfig(#[from] TlsConfigError),
    /// The TLS handshake failed.
    #[cfg(feature = "tls")]
    #[error("no TLS with {host}: {problem}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        problem: TlsProblem,
        /// What the TLS implementation or the operating system said.
        source: io::Error,
    },
    /// The server did not open a WebSocket.
    #[cfg(feature = "websocket")]
    #[error("no WebSocket with {host}: {problem}")]
    WebSocket {
        /// The host and port.
        host: String,
        /// What is wrong.
        problem: WebSocketProblem,
        /// What the operating system or the TLS implementation said, if it is a matter of those.
        source: Option<io::Error>,
    },
    /// The connection was not made within [`connect_timeout`](super::ConnectOptions::connect_timeout).
    #[error("{target} gave no answer within {after:?}: the {stage} was still under way")]
    Timeout {
        /// What was being connected to.
        target: String,
        /// The stage that was under way.
        stage: Stage,
        /// The time allowed for all stages together.
        after: Duration,
    },
    /// The endpoint needs a transport that is not part of this build.
    #[error("{scheme}:// needs {needs}")]
    Unsupported {
        /// The scheme of the endpoint.
        scheme: Scheme,
        /// What would have to be there.
        needs: &'static str,
    },
}

impl ConnectError {
    /// Returns the stage that failed.
    pub fn stage(&self) -> Stage {
        match self {
            ConnectError::Resolve { .. } => Stage::Resolve,
            ConnectError::Bind { .. }
            | ConnectError::Dial { .. }
            | ConnectError::DialUnix { .. }
            | ConnectError::Unsupported { .. } => Stage::Dial,
            #[cfg(feature = "socks5")]
            ConnectError::Proxy { .. } => Stage::Proxy,
            #[cfg(feature = "tls")]
            ConnectError::TlsConfig(_) | ConnectError::Tls { .. } => Stage::Tls,
            #[cfg(feature = "websocket")]
            ConnectError::WebSocket { .. } => Stage::WebSocket,
            ConnectError::Timeout { stage, .. } => *stage,
        }
    }

    /// Returns whether the same attempt may succeed later, with nothing changed on this side.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConnectError::Resolve { .. } | ConnectError::Timeout { .. } => true,
            ConnectError::Bind { source, .. } => {
                // All local ports in use: connections in TIME_WAIT give theirs back.
                matches!(source.kind(), io::ErrorKind::AddrInUse)
            }
            ConnectError::Dial { source, .. } | ConnectError::DialUnix { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ),
            #[cfg(feature = "socks5")]
            ConnectError::Proxy { problem, .. } => problem.is_transient(),
            #[cfg(feature = "tls")]
            ConnectError::Tls { problem, .. } => problem.is_transient(),
            #[cfg(feature = "tls")]
            ConnectError::TlsConfig(_) => false,
            #[cfg(feature = "websocket")]
            ConnectError::WebSocket { problem, .. } => problem.is_transient(),
            ConnectError::Unsupported { .. } => false,
        }
    }

    /// Returns the kind of the operating system's error at the root, if there is one.
    pub fn io_error_kind(&self) -> Option<io::ErrorKind> {
        let mut cause = std::error::Error::source(self);
        let mut kind = None;
        while let Some(error) = cause {
            if let Some(io_error) = error.downcast_ref::<io::Error>() {
                kind = Some(io_error.kind());
            }
            cause = error.source();
        }
        kind
    }
}

fn others(tried: &usize) -> String {
    match tried {
        0 | 1 => String::new(),
        2 => " nor to 1 other address".to_owned(),
        count => format!(" nor to {} other addresses", count - 1),
    }
}
