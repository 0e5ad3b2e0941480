//! Bytes in, bytes out: addresses, transports and streams.
//!
//! [`connect`] goes from an [`Endpoint`] to a [`Stream`] through the stages the endpoint and the
//! [`ConnectOptions`] ask for, all under one deadline. [`dial`] is the bare TCP connection, for callers
//! that open very many.

mod endpoint;
mod error;
mod options;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "socks5")]
mod proxy;
mod resolve;
mod secret;
#[cfg(feature = "srv")]
mod srv;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(all(feature = "load", target_os = "linux"))]
mod unwatched;
#[cfg(feature = "websocket")]
mod websocket;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use error::{ConnectError, Stage};
pub use options::{BindAddress, ConnectOptions};
#[cfg(feature = "tls")]
pub use pem::{PemError, PemSource};
#[cfg(feature = "socks5")]
pub use proxy::{Proxy, ProxyProblem, ProxyUrlError};
pub use resolve::Resolver;
pub use secret::Secret;
#[cfg(feature = "srv")]
pub use srv::SrvLookup;
pub use stream::{Stream, Transport};
pub use tcp::{Dialing, dial};
#[cfg(feature = "psk")]
pub use tls::PskOptions;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsConfigError, TlsOptions, TlsProblem, TlsVersion, Verification};
#[cfg(all(feature = "load", target_os = "linux"))]
pub(crate) use unwatched::Unwatched;
#[cfg(feature = "websocket")]
pub use websocket::{SubProtocol, WebSocketOptions, WebSocketOptionsError, WebSocketProblem};

/// What [`connect`] returns: the stream, and how it came to be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connected {
    /// The stream, ready for the first MQTT byte.
    pub stream: Stream,
    /// The address that accepted the TCP connection; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// How long each stage took.
    pub timings: Timings,
}

/// How long each stage of a [`connect`] took; `None` for stages it had no need of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The name lookup.
    pub dns: Option<Duration>,
    /// The TCP handshake (or the Unix socket's connect), with all addresses tried.
    pub tcp: Option<Duration>,
    /// The proxy's handshake.
    pub proxy: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// The WebSocket upgrade.
    pub websocket: Option<Duration>,
}

/// Connects to a broker over whatever transport the endpoint names.
///
/// # Errors
///
/// [`ConnectError`] tells the stage and what to look at; [`ConnectError::is_retryable`] tells whether
/// trying again can help.
///
/// # Cancel safety
///
/// Dropping the future gives up the attempt and closes its sockets.
///
/// # Panics
///
/// Outside a Tokio runtime with I/O and time enabled.
pub async fn connect(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Connected, ConnectError> {
    let clock = StageClock::start(endpoint, options);
    check_support(endpoint.scheme())?;
    let mut timings = Timings::default();
    if let Some(path) = endpoint.socket_path() {
        let stream = clock.run(Stage::Dial, &mut timings.tcp, connect_unix(path)).await?;
        return Ok(Connected { stream, peer: None, timings });
    }
    let (peer, stream) = connect_tcp(endpoint, options, &clock, &mut timings).await?;
    let stream = climb(stream, endpoint, options, &clock, &mut timings).await?;
    Ok(Connected { stream, peer: Some(peer), timings })
}

/// Does on a TCP connection what the endpoint asks for above it: the TLS handshake and the WebSocket
/// upgrade, as far as its scheme has them. For callers who made the connection by [`dial`].
///
/// The stages together are given the [`connect_timeout`](ConnectOptions::connect_timeout).
///
/// # Errors
///
/// As [`connect`], and [`ConnectError::Unsupported`] for TLS on a stream that is not bare TCP.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub async fn negotiate(
    stream: Stream,
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Connected, ConnectError> {
    let clock = StageClock::start(endpoint, options);
    check_support(endpoint.scheme())?;
    let mut timings = Timings::default();
    let peer = stream.peer_addr();
    let stream = climb(stream, endpoint, options, &clock, &mut timings).await?;
    Ok(Connected { stream, peer, timings })
}

fn check_support(scheme: Scheme) -> Result<(), ConnectError> {
    let needs = if scheme.is_tls() && !cfg!(feature = "tls") {
        "a build with the feature \"tls\""
    } else if scheme.is_websocket() && !cfg!(feature = "websocket") {
        "a build with the feature \"websocket\""
    } else if scheme == Scheme::Unix && !cfg!(unix) {
        "an operating system with Unix sockets"
    } else {
        return Ok(());
    };
    Err(ConnectError::Unsupported { scheme, needs })
}

/// Puts TLS and WebSocket on a connection.
#[cfg_attr(
    not(any(feature = "tls", feature = "websocket")),
    expect(unused_variables, reason = "there is nothing to put on a connection")
)]
async fn climb(
    stream: Stream,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    clock: &StageClock<'_>,
    timings: &mut Timings,
) -> Result<Stream, ConnectError> {
    #[cfg(feature = "tls")]
    let stream = if endpoint.scheme().is_tls() {
        let secure = secure(endpoint, options, stream);
        clock.run(Stage::Tls, &mut timings.tls, secure).await?
    } else {
        stream
    };
    #[cfg(feature = "websocket")]
    let stream = if endpoint.scheme().is_websocket() {
        let upgrade = websocket::upgrade(endpoint, &options.websocket, stream);
        let opened = clock.run(Stage::WebSocket, &mut timings.websocket, upgrade).await?;
        Stream::from_websocket(opened)
    } else {
        stream
    };
    Ok(stream)
}

#[cfg(feature = "tls")]
async fn secure(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    stream: Stream,
) -> Result<Stream, ConnectError> {
    let config = match &options.tls {
        Some(config) => config.clone(),
        None => TlsConfig::system()?,
    };
    match stream.into_tcp() {
        Ok(tcp) => config.handshake(endpoint.host(), tcp).await,
        Err(_) => {
            let needs = "a bare TCP connection underneath";
            Err(ConnectError::Unsupported { scheme: endpoint.scheme(), needs })
        }
    }
}

/// Looks up the addresses of an endpoint, in the order in which [`connect`] tries them.
///
/// The lookup is given the [`connect_timeout`](ConnectOptions::connect_timeout).
///
/// # Errors
///
/// [`ConnectError::Resolve`] and [`ConnectError::Timeout`], and [`ConnectError::Unsupported`] for a
/// Unix socket.
///
/// # Cancel safety
///
/// Dropping the future abandons the lookup.
pub async fn resolve(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if endpoint.scheme() == Scheme::Unix {
        let scheme = endpoint.scheme();
        return Err(ConnectError::Unsupported { scheme, needs: "no address" });
    }
    let clock = StageClock::start(endpoint, options);
    clock.run(Stage::Resolve, &mut None, lookup(endpoint, options)).await
}

/// Connects to the endpoint's host, through the proxy if there is one.
async fn connect_tcp(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    clock: &StageClock<'_>,
    timings: &mut Timings,
) -> Result<(SocketAddr, Stream), ConnectError> {
    #[cfg(feature = "socks5")]
    if let Some(proxy) = &options.proxy {
        #[cfg(feature = "srv")]
        if options.srv.is_some() {
            let needs = "either a proxy or an SRV lookup: a proxy looks names up itself";
            return Err(ConnectError::Unsupported { scheme: endpoint.scheme(), needs });
        }
        let server = Endpoint::tcp(proxy.host(), proxy.port());
        let dialled = dial_endpoint(&server, options, clock, timings).await;
        let (peer, stream) = dialled.map_err(|error| proxy.unreachable(error))?;
        let tcp = stream.into_tcp().expect("dialling makes TCP connections");
        let handshake = proxy.handshake(endpoint, tcp);
        let tcp = clock.run(Stage::Proxy, &mut timings.proxy, handshake).await?;
        return Ok((peer, Stream::from_tcp(tcp)));
    }
    dial_endpoint(endpoint, options, clock, timings).await
}

async fn dial_endpoint(
    endpoint: &Endpoint,
    options: &ConnectOptions,
    clock: &StageClock<'_>,
    timings: &mut Timings,
) -> Result<(SocketAddr, Stream), ConnectError> {
    let addrs = match endpoint.host().parse() {
        Ok(ip) => vec![SocketAddr::new(ip, endpoint.port())],
        Err(_) => clock.run(Stage::Resolve, &mut timings.dns, lookup(endpoint, options)).await?,
    };
    clock.run(Stage::Dial, &mut timings.tcp, tcp::race(&addrs, options)).await
}

async fn lookup(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Vec<SocketAddr>, ConnectError> {
    #[cfg(feature = "srv")]
    if let Some(srv) = &options.srv {
        return srv.lookup(endpoint, options).await;
    }
    let host = endpoint.host();
    let addrs = options.resolver.lookup(host, endpoint.port()).await;
    addrs.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })
}

#[cfg(unix)]
async fn connect_unix(path: &Path) -> Result<Stream, ConnectError> {
    match tokio::net::UnixStream::connect(path).await {
        Ok(unix) => Ok(Stream::from_unix(unix)),
        Err(source) => Err(ConnectError::DialUnix { path: path.to_owned(), source }),
    }
}

#[cfg(not(unix))]
async fn connect_unix(_path: &Path) -> Result<Stream, ConnectError> {
    unreachable!("refused by check_support")
}

/// Holds every stage to the one deadline and measures it.
struct StageClock<'a> {
    endpoint: &'a Endpoint,
    timeout: Duration,
    began: Instant,
}

impl<'a> StageClock<'a> {
    fn start(endpoint: &'a Endpoint, options: &ConnectOptions) -> StageClock<'a> {
        StageClock { endpoint, timeout: options.connect_timeout, began: Instant::now() }
    }

    async fn run<T>(
        &self,
        stage: Stage,
        took: &mut Option<Duration>,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let began = Instant::now();
        let left = self.timeout.saturating_sub(began - self.began);
        let result = match tokio::time::timeout(left, work).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout {
                target: self.endpoint.address(),
                stage,
                after: self.timeout,
            }),
        };
        let elapsed = began.elapsed();
        *took = Some(elapsed);
        tracing::debug!(%stage, ?elapsed, ok = result.is_ok(), "connecting to {}", self.endpoint.address());
        result
    }
}
