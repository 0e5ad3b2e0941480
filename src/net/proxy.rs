//! SOCKS5 proxies (RFC 1928, RFC 1929), which look up the broker's name themselves.

use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::endpoint::{parse_host_port, percent_decode};
use super::{ConnectError, Endpoint, EndpointError, Secret};

/// A SOCKS5 proxy to connect through.
///
/// ```
/// let proxy = midge::net::Proxy::parse("socks5h://ann:s%40fe@proxy.example")?;
/// assert_eq!(proxy.to_string(), "socks5h://proxy.example:1080");
/// # Ok::<(), midge::net::ProxyUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, PartialEq, Eq)]
struct Credentials {
    username: String,
    password: Secret,
}

impl Proxy {
    /// Parses `socks5h://[user:password@]host[:port]`. The port is 1080 unless given; user name and
    /// password are percent-decoded.
    ///
    /// # Errors
    ///
    /// Every [`ProxyUrlError`] names the part at fault, and none shows the password.
    pub fn parse(url: &str) -> Result<Proxy, ProxyUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(ProxyUrlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("socks5h") {
            return Err(ProxyUrlError::Scheme);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, host_port) = match rest.rsplit_once('@') {
            Some((credentials, host_port)) => (Some(parse_credentials(credentials)?), host_port),
            None => (None, rest),
        };
        let (host, port) = parse_host_port(host_port)?;
        Ok(Proxy { host, port: port.unwrap_or(DEFAULT_PORT), credentials })
    }

    /// Returns the host name or address of the proxy, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> String {
        Endpoint::tcp(self.host.as_str(), self.port).address()
    }

    /// Names the proxy in an error of connecting to it.
    pub(super) fn unreachable(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::Dial { source, .. } => ConnectError::Proxy {
                proxy: self.address(),
                problem: ProxyProblem::Unreachable,
                source,
            },
            error => error,
        }
    }

    /// Asks the proxy for a connection to the endpoint.
    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        tcp: TcpStream,
    ) -> Result<TcpStream, ConnectError> {
        let target = (endpoint.host(), endpoint.port());
        let connected = match &self.credentials {
            None => Socks5Stream::connect_with_socket(tcp, target).await,
            Some(Credentials { username, password }) => {
                let password = std::str::from_utf8(password.expose())
                    .expect("the password was a string when the URL was parsed");
                Socks5Stream::connect_with_password_and_socket(tcp, target, username, password)
                    .await
            }
        };
        match connected {
            Ok(socks) => Ok(socks.into_inner()),
            Err(error) => {
                let problem = ProxyProblem::of(&error, self.credentials.is_some());
                let source = match error {
                    tokio_socks::Error::Io(source) => source,
                    error => io::Error::new(problem.io_error_kind(), error),
                };
                Err(ConnectError::Proxy { proxy: self.address(), problem, source })
            }
        }
    }
}

fn parse_credentials(text: &str) -> Result<Credentials, ProxyUrlError> {
    let (username, password) = text.split_once(':').ok_or(ProxyUrlError::Credentials)?;
    let decode = |text| {
        let bytes = percent_decode(text)?;
        let has_length = (1..=usize::from(u8::MAX)).contains(&bytes.len());
        String::from_utf8(bytes).ok().filter(|_| has_length)
    };
    let username = decode(username).ok_or(ProxyUrlError::Credentials)?;
    let password = decode(password).ok_or(ProxyUrlError::Credentials)?;
    Ok(Credentials { username, password: Secret::from(password) })
}

impl fmt::Display for Proxy {
    /// Writes the URL without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socks5h://{}", self.address())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, redacted)", self.username)
    }
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(url: &str) -> Result<Proxy, ProxyUrlError> {
        Proxy::parse(url)
    }
}

/// Why a URL does not name a [`Proxy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// The scheme is not `socks5h`.
    #[error(
        "a proxy is given as socks5h://[user:password@]host[:port]; no other kind is supported"
    )]
    Scheme,
    /// The host or port is wrong.
    #[error("the proxy's address is not valid")]
    Address(#[from] EndpointError),
    /// User name or password are wrong.
    #[error(
        "a proxy's user name and password are both needed, each of 1 to 255 bytes of UTF-8; \
         write % as %25, : as %3A and @ as %40"
    )]
    Credentials,
}

/// What went wrong between this side and a proxy, or between the proxy and the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyProblem {
    /// The proxy does not accept connections.
    Unreachable,
    /// What answers is not a SOCKS5 proxy.
    NotSocks5,
    /// The proxy wants a user name and password.
    CredentialsWanted,
    /// The proxy does not accept the user name and password.
    CredentialsRefused,
    /// The proxy does not allow a connection to the broker.
    NotAllowed,
    /// The broker's host cannot be reached, or its name is not known, from the proxy.
    TargetUnreachable,
    /// The broker's host refused the connection.
    TargetRefused,
    /// The proxy failed and does not say why.
    Failed,
    /// The proxy cannot do what is needed.
    Unsupported,
    /// The broker's name cannot be sent to a proxy.
    InvalidTarget,
    /// The connection broke; the source of the error tells how.
    Connection,
}

impl ProxyProblem {
    fn of(error: &tokio_socks::Error, has_credentials: bool) -> ProxyProblem {
        use tokio_socks::Error;
        match error {
            Error::Io(_) => ProxyProblem::Connection,
            Error::InvalidResponseVersion
            | Error::InvalidReservedByte
            | Error::UnknownAddressType => ProxyProblem::NotSocks5,
            Error::AuthorizationRequired => ProxyProblem::CredentialsWanted,
            Error::NoAcceptableAuthMethods if !has_credentials => ProxyProblem::CredentialsWanted,
            Error::PasswordAuthFailure(_) => ProxyProblem::CredentialsRefused,
            Error::ConnectionNotAllowedByRuleset => ProxyProblem::NotAllowed,
            Error::NetworkUnreachable | Error::HostUnreachable | Error::TtlExpired => {
                ProxyProblem::TargetUnreachable
            }
            Error::ConnectionRefused => ProxyProblem::TargetRefused,
            Error::InvalidTargetAddress(_) => ProxyProblem::InvalidTarget,
            Error::NoAcceptableAuthMethods
            | Error::UnknownAuthMethod
            | Error::CommandNotSupported
            | Error::AddressTypeNotSupported => ProxyProblem::Unsupported,
            _ => ProxyProblem::Failed,
        }
    }

    fn io_error_kind(self) -> io::ErrorKind {
        match self {
            ProxyProblem::TargetRefused => io::ErrorKind::ConnectionRefused,
            ProxyProblem::TargetUnreachable => io::ErrorKind::HostUnreachable,
            ProxyProblem::CredentialsWanted
            | ProxyProblem::CredentialsRefused
            | ProxyProblem::NotAllowed => io::ErrorKind::PermissionDenied,
            ProxyProblem::NotSocks5 => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }

    pub(super) fn is_transient(self) -> bool {
        matches!(
            self,
            ProxyProblem::Unreachable
                | ProxyProblem::TargetUnreachable
                | ProxyProblem::TargetRefused
                | ProxyProblem::Failed
                | ProxyProblem::Connection
        )
    }
}

impl fmt::Display for ProxyProblem {
    /// Says what is wrong and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyProblem::Unreachable => "no connection to it; check that it listens there",
            ProxyProblem::NotSocks5 => "it does not speak SOCKS5; check the port",
            ProxyProblem::CredentialsWanted => "it wants a user name and password; give both",
            ProxyProblem::CredentialsRefused => "it does not accept the user name and password",
            ProxyProblem::NotAllowed => "it does not allow connections to the broker",
            ProxyProblem::TargetUnreachable => {
                "it cannot reach the broker's host; check its name and the proxy's network"
            }
            ProxyProblem::TargetRefused => {
                "the broker's host refused the connection; check that a broker listens there"
            }
            ProxyProblem::Failed => "it could not connect to the broker; see its log",
            ProxyProblem::Unsupported => {
                "it does not support what is needed; see its configuration"
            }
            ProxyProblem::InvalidTarget => "the broker's host name cannot be sent to a proxy",
            ProxyProblem::Connection => "the connection to it broke",
        })
    }
}

const DEFAULT_PORT: u16 = 1080;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let proxy = Proxy::parse("socks5h://proxy").unwrap();
        assert_eq!((proxy.host(), proxy.port(), &proxy.credentials), ("proxy", 1080, &None));
        let proxy = Proxy::parse("SOCKS5H://u%3a:p%40%25@[::1]:9/").unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("::1", 9));
        let credentials = proxy.credentials.as_ref().unwrap();
        assert_eq!(credentials.username, "u:");
        assert_eq!(credentials.password.expose(), b"p@%");
        assert!(!format!("{proxy:?} {proxy}").contains("p@%"));
    }

    #[test]
    fn refused_urls() {
        let long = format!("socks5h://{}:p@h", "u".repeat(256));
        for (url, expected) in [
            ("proxy:1080", ProxyUrlError::Scheme),
            ("socks5://proxy", ProxyUrlError::Scheme),
            ("http://proxy", ProxyUrlError::Scheme),
            ("socks5h://", EndpointError::NoHost.into()),
            ("socks5h://h:0", EndpointError::InvalidPort { port: "0".to_owned() }.into()),
            ("socks5h://h/x", EndpointError::InvalidHost { host: "h/x".to_owned() }.into()),
            ("socks5h://user@h", ProxyUrlError::Credentials),
            ("socks5h://user:@h", ProxyUrlError::Credentials),
            ("socks5h://:secret@h", ProxyUrlError::Credentials),
            ("socks5h://user:secret%@h", ProxyUrlError::Credentials),
            ("socks5h://user:%ff@h", ProxyUrlError::Credentials),
            (&long, ProxyUrlError::Credentials),
        ] {
            assert_eq!(Proxy::parse(url), Err(expected), "{url}");
        }
    }
}
