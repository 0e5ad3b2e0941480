//! How to connect: everything about a connection that is not its address.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "socks5")]
use super::Proxy;
use super::Resolver;
#[cfg(feature = "srv")]
use super::SrvLookup;
#[cfg(feature = "tls")]
use super::TlsConfig;
#[cfg(feature = "websocket")]
use super::WebSocketOptions;

/// How [`connect`](super::connect) and [`dial`](super::dial) make connections.
///
/// ```
/// use std::time::Duration;
///
/// let mut options = midge::net::ConnectOptions::default();
/// options.connect_timeout = Duration::from_secs(5);
/// options.user_timeout = Some(Duration::from_secs(20));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Time allowed for all stages together, from name lookup to WebSocket upgrade. Default: 30 s.
    pub connect_timeout: Duration,
    /// Local address that TCP connections come from. Default: the system's choice.
    pub bind: Option<BindAddress>,
    /// Whether TCP sends small writes at once (`TCP_NODELAY`), at one system call per connection.
    /// Default: true.
    pub nodelay: bool,
    /// Idle time after which TCP itself probes the peer, and the interval between probes. It finds a
    /// dead peer where MQTT's own keep alive is off. Default: no probes.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged by the peer's kernel before the connection is given
    /// up (`TCP_USER_TIMEOUT`, RFC 5482). Without effect except on Linux, Android and Fuchsia.
    /// Default: the system's choice, which is about 15 minutes on Linux.
    pub user_timeout: Option<Duration>,
    /// The proxy to connect through; it looks up the broker's name. Unix sockets are connected to
    /// directly. Default: none.
    #[cfg(feature = "socks5")]
    pub proxy: Option<Proxy>,
    /// Whether and where to look up the brokers of a domain (DNS SRV) in place of the address of a
    /// host. It cannot be had together with a proxy. Default: no.
    #[cfg(feature = "srv")]
    pub srv: Option<SrvLookup>,
    /// How `mqtts` and `wss` endpoints are secured. Default: [`TlsConfig::system`].
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
    /// How `ws` and `wss` endpoints are opened.
    #[cfg(feature = "websocket")]
    pub websocket: WebSocketOptions,
    /// How host names become addresses. Default: the operating system's resolver.
    pub resolver: Resolver,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            connect_timeout: Duration::from_secs(30),
            bind: None,
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            #[cfg(feature = "socks5")]
            proxy: None,
            #[cfg(feature = "srv")]
            srv: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "websocket")]
            websocket: WebSocketOptions::default(),
            resolver: Resolver::default(),
        }
    }
}

/// A local address to connect from: an IP address, or a host name that is looked up at every connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BindAddress {
    /// An address of this machine.
    Ip(IpAddr),
    /// A name for an address of this machine.
    Host(String),
}

impl From<IpAddr> for BindAddress {
    fn from(ip: IpAddr) -> BindAddress {
        BindAddress::Ip(ip)
    }
}

impl FromStr for BindAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<BindAddress, Infallible> {
        Ok(match text.parse() {
            Ok(ip) => BindAddress::Ip(ip),
            Err(_) => BindAddress::Host(text.to_owned()),
        })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Ip(ip) => ip.fmt(f),
            BindAddress::Host(host) => f.write_str(host),
        }
    }
}
