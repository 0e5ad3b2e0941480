//! Where a broker is: the one URL grammar of the library and of every tool.
//!
//! ```text
//! scheme://[user[:password]@]host[:port][/path]      unix://[user[:password]@]/absolute/path
//! ```
//!
//! User name, password and socket path are percent-decoded. The path of the other schemes is kept as
//! written: it is the topic of the tools' `-L` option, where `%`, `?` and `#` are ordinary characters.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::Secret;

/// The transport that an [`Endpoint`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `mqtt://` (or `mqtt-tcp://`): MQTT over plain TCP.
    Mqtt,
    /// `mqtts://` (or `tls+mqtt-tcp://`): MQTT over TLS.
    Mqtts,
    /// `ws://`: MQTT over WebSocket.
    Ws,
    /// `wss://`: MQTT over WebSocket over TLS.
    Wss,
    /// `unix://`: MQTT over a Unix domain socket.
    Unix,
}

impl Scheme {
    /// Returns the name written before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Unix => "unix",
        }
    }

    /// Returns the port used when an endpoint names none: 8883 under TLS, otherwise 1883. WebSocket
    /// schemes follow the same rule, as they do for the mosquitto tools. Unix sockets have port 0.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Mqtt | Scheme::Ws => 1883,
            Scheme::Mqtts | Scheme::Wss => 8883,
            Scheme::Unix => 0,
        }
    }

    /// Returns whether the transport is TLS, directly or under WebSocket.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    /// Returns whether MQTT is carried in WebSocket frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    fn parse(name: &str) -> Option<Scheme> {
        const NAMES: [(&str, Scheme); 7] = [
            ("mqtt", Scheme::Mqtt),
            ("mqtt-tcp", Scheme::Mqtt),
            ("mqtts", Scheme::Mqtts),
            ("tls+mqtt-tcp", Scheme::Mqtts),
            ("ws", Scheme::Ws),
            ("wss", Scheme::Wss),
            ("unix", Scheme::Unix),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, scheme)| *scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A broker's address: scheme, host and port (or socket path), and what its URL said besides.
///
/// ```
/// use midge::net::{Endpoint, Scheme};
///
/// let endpoint = Endpoint::parse("mqtts://ann:s%40fe@[2001:db8::1]/plant/#")?;
/// assert_eq!(endpoint.scheme(), Scheme::Mqtts);
/// assert_eq!((endpoint.host(), endpoint.port()), ("2001:db8::1", 8883));
/// assert_eq!(endpoint.path(), Some("plant/#"));
/// assert_eq!(endpoint.password(), Some(&b"s@fe"[..]));
/// assert_eq!(endpoint.to_string(), "mqtts://ann@[2001:db8::1]:8883/plant/#");
/// # Ok::<(), midge::net::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: Option<String>,
    socket_path: Option<PathBuf>,
    username: Option<String>,
    password: Option<Secret>,
}

impl Endpoint {
    /// Parses a URL.
    ///
    /// Schemes are `mqtt`, `mqtts`, `ws`, `wss`, `unix`, and `mqtt-tcp` and `tls+mqtt-tcp` as other
    /// names of the first two; case does not matter.
    ///
    /// # Errors
    ///
    /// Every [`EndpointError`] names the offending part and never contains the password.
    pub fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::NoScheme)?;
        let scheme = Scheme::parse(scheme)
            .ok_or_else(|| EndpointError::UnknownScheme { scheme: printable(scheme) })?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        // The last `@` ends the user part: a host cannot contain one, a password can.
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((credentials, host_port)) => (Some(credentials), host_port),
            None => (None, authority),
        };

        let mut endpoint = if scheme == Scheme::Unix {
            match path {
                Some(path) if host_port.is_empty() && !path.is_empty() => {
                    Endpoint::unix(socket_path(path)?)
                }
                _ => return Err(EndpointError::RelativeSocketPath),
            }
        } else {
            let (host, port) = parse_host_port(host_port)?;
            let mut endpoint = Endpoint::new(scheme, host, port.unwrap_or(scheme.default_port()));
            endpoint.path = path.map(str::to_owned);
            endpoint
        };

        if let Some(credentials) = credentials {
            let (username, password) = match credentials.split_once(':') {
                Some((username, password)) => (username, Some(password)),
                None => (credentials, None),
            };
            let username = percent_decode(username).ok_or(EndpointError::UsernameEscape)?;
            let username = String::from_utf8(username).map_err(|_| EndpointError::UsernameText)?;
            endpoint.username = (!username.is_empty()).then_some(username);
            endpoint.password = match password {
                Some(password) => {
                    let bytes = percent_decode(password).ok_or(EndpointError::PasswordEscape)?;
                    Some(Secret::from(bytes))
                }
                None => None,
            };
        }
        Ok(endpoint)
    }

    /// Creates an endpoint from its parts. A host in brackets (`[::1]`) loses them. For
    /// [`Scheme::Unix`] the host is the path of the socket, and the port does not count.
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Endpoint {
        let mut host = host.into();
        if scheme == Scheme::Unix {
            return Endpoint::unix(host);
        }
        if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            host = literal.to_owned();
        }
        Endpoint {
            scheme,
            host,
            port,
            path: None,
            socket_path: None,
            username: None,
            password: None,
        }
    }

    /// Returns the endpoint that a Server Reference (MQTT 5.0 §4.11) sends a client of this one to:
    /// `host`, `host:port` or a URL. The first two keep scheme and path, and without a port have the
    /// usual one. `None` for what is neither, for a way from TLS to a plain connection, and where
    /// this endpoint is a Unix socket or a URL names one.
    pub fn redirected(&self, reference: &str) -> Option<Endpoint> {
        if self.scheme == Scheme::Unix {
            return None;
        }
        if reference.contains("://") {
            let there = Endpoint::parse(reference).ok()?;
            let safe = there.scheme.is_tls() || !self.scheme.is_tls();
            return Some(there).filter(|there| safe && there.scheme != Scheme::Unix);
        }
        let (host, port) = parse_host_port(reference).ok()?;
        let there = Endpoint::new(self.scheme, host, port.unwrap_or(self.scheme.default_port()));
        Some(Endpoint { path: self.path.clone(), ..there })
    }

    /// Creates an endpoint for MQTT over plain TCP.
    pub fn tcp(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint::new(Scheme::Mqtt, host, port)
    }

    /// Creates an endpoint for a Unix domain socket, by absolute or relative path.
    pub fn unix(path: impl Into<PathBuf>) -> Endpoint {
        Endpoint {
            scheme: Scheme::Unix,
            host: String::new(),
            port: 0,
            path: None,
            socket_path: Some(path.into()),
            username: None,
            password: None,
        }
    }

    /// Returns the transport asked for.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host name or address, without brackets; empty for a Unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address for error messages and logs: `host:port`, or the socket path.
    pub(crate) fn address(&self) -> String {
        match &self.socket_path {
            Some(path) => path.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// Returns what follows the first `/` after the host, undecoded: `None` without that `/`, and for
    /// a Unix socket.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Returns the path of the Unix socket, if the endpoint is one.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket_path.as_deref()
    }

    /// Returns the user name.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Returns the password, which MQTT defines as bytes.
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_ref().map(Secret::expose)
    }
}

impl fmt::Display for Endpoint {
    /// Writes the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(username) = &self.username {
            write!(f, "{}@", PercentEncoded(username.as_bytes()))?;
        }
        if self.socket_path.is_some() {
            return f.write_str(&self.address().replace('%', "%25"));
        }
        f.write_str(&self.address())?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &format_args!("{self}"))
            .field("password", &self.password)
            .finish()
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url)
    }
}

/// Why a URL is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// There is no `://`.
    #[error("a URL begins with a scheme, such as mqtt://host:1883")]
    NoScheme,
    /// The scheme is none of ours.
    #[error(
        "unsupported URL scheme \"{scheme}\": use mqtt, mqtts, ws, wss, unix, mqtt-tcp or tls+mqtt-tcp"
    )]
    UnknownScheme {
        /// The scheme as written, shortened and without control characters.
        scheme: String,
    },
    /// Nothing stands where the host belongs.
    #[error("the URL names no host")]
    NoHost,
    /// The host is not a name and not an address.
    #[error("\"{host}\" is not a host name or address")]
    InvalidHost {
        /// The host as written, shortened and without control characters.
        host: String,
    },
    /// The host name is written in a script that DNS cannot carry.
    #[error("\"{host}\" is not ASCII: write an internationalised name in its xn-- form")]
    InternationalHost {
        /// The host as written, shortened and without control characters.
        host: String,
    },
    /// The bracketed host is not an IPv6 address.
    #[error("\"[{host}]\" is not an IPv6 address")]
    InvalidIpv6 {
        /// What stands between the brackets, shortened and without control characters.
        host: String,
    },
    /// The host holds several colons but no brackets.
    #[error("an IPv6 address in a URL is written in brackets, as in mqtt://[::1]:1883")]
    UnbracketedIpv6,
    /// The port is not a number from 1 to 65535.
    #[error("\"{port}\" is not a port number from 1 to 65535")]
    InvalidPort {
        /// The port as written, shortened and without control characters.
        port: String,
    },
    /// What stands where the port belongs is not a number.
    #[error(
        "after the host's colon stands a port number from 1 to 65535; in a password, write / as %2F and @ as %40"
    )]
    PortText,
    /// A `%` in the user name does not begin an escape.
    #[error("the URL's user name has a % without two hexadecimal digits after it: write % as %25")]
    UsernameEscape,
    /// The user name is not UTF-8 once decoded.
    #[error("the URL's user name is not UTF-8")]
    UsernameText,
    /// A `%` in the password does not begin an escape.
    #[error("the URL's password has a % without two hexadecimal digits after it: write % as %25")]
    PasswordEscape,
    /// A `unix://` URL has a host, or no path.
    #[error("a unix URL holds an absolute path after two slashes, as in unix:///run/mqtt.sock")]
    RelativeSocketPath,
    /// A `%` in the socket path does not begin an escape, or the path is not UTF-8 or holds a NUL.
    #[error("the socket path of the unix URL is not valid: write % as %25")]
    SocketPathText,
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn parse_host_port(text: &str) -> Result<(String, Option<u16>), EndpointError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest
            .split_once(']')
            .ok_or_else(|| EndpointError::InvalidIpv6 { host: printable(rest) })?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(EndpointError::InvalidHost { host: printable(text) }),
        };
        (ipv6_literal(literal)?, port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(EndpointError::UnbracketedIpv6),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        check_host(host)?;
        (host.to_owned(), port)
    };
    let port = match port {
        Some(text) => Some(parse_port(text)?),
        None => None,
    };
    Ok((host, port))
}

fn parse_port(text: &str) -> Result<u16, EndpointError> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port != 0 && digits_only => Ok(port),
        _ if digits_only => Err(EndpointError::InvalidPort { port: printable(text) }),
        // Not shown: it may be a part of a password.
        _ => Err(EndpointError::PortText),
    }
}

fn check_host(host: &str) -> Result<(), EndpointError> {
    if host.is_empty() {
        return Err(EndpointError::NoHost);
    }
    if !host.is_ascii() {
        return Err(EndpointError::InternationalHost { host: printable(host) });
    }
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let looks_numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if host.len() > MAX_HOST_BYTES
        || !host.bytes().all(in_name)
        || (looks_numeric && host.parse::<Ipv4Addr>().is_err())
    {
        return Err(EndpointError::InvalidHost { host: printable(host) });
    }
    Ok(())
}

/// Checks the text between brackets: an IPv6 address, with an optional zone (`fe80::1%25eth0`, or
/// with a bare `%`).
fn ipv6_literal(literal: &str) -> Result<String, EndpointError> {
    let (address, zone) = match literal.split_once('%') {
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        None => (literal, None),
    };
    let in_zone = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let zone_is_valid = zone.is_none_or(|zone| !zone.is_empty() && zone.bytes().all(in_zone));
    if address.parse::<Ipv6Addr>().is_err() || !zone_is_valid {
        return Err(EndpointError::InvalidIpv6 { host: printable(literal) });
    }
    Ok(match zone {
        Some(zone) => format!("{address}%{zone}"),
        None => address.to_owned(),
    })
}

fn socket_path(after_slash: &str) -> Result<PathBuf, EndpointError> {
    let bytes = percent_decode(after_slash).ok_or(EndpointError::SocketPathText)?;
    let path = String::from_utf8(bytes).map_err(|_| EndpointError::SocketPathText)?;
    if path.contains('\0') {
        return Err(EndpointError::SocketPathText);
    }
    Ok(PathBuf::from(format!("/{path}")))
}

/// Replaces each `%XX` by its byte; `None` where a `%` does not begin such an escape.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' { hex_byte(rest.next()?, rest.next()?)? } else { byte };
        decoded.push(byte);
    }
    Some(decoded)
}

/// Returns the byte that two hexadecimal digits stand for.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let (high, low) = (char::from(high).to_digit(16)?, char::from(low).to_digit(16)?);
    u8::try_from(high * 16 + low).ok()
}

struct PercentEncoded<'a>(&'a [u8]);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Makes a part of a URL fit for one line of an error message.
fn printable(text: &str) -> String {
    text.chars().take(MAX_PRINTED_CHARS).flat_map(char::escape_default).collect()
}

/// Longest host name in DNS, with a final dot.
const MAX_HOST_BYTES: usize = 254;

const MAX_PRINTED_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reference_keeps_the_kind_of_transport() {
        for (here, reference, there) in [
            ("mqtt://u:p@a", "b", Some("mqtt://b:1883")),
            ("mqtts://a:1", "b:2", Some("mqtts://b:2")),
            ("mqtts://a", "[::1]", Some("mqtts://[::1]:8883")),
            ("wss://a/x", "b:443", Some("wss://b:443/x")),
            ("mqtt://a", "mqtts://b", Some("mqtts://b:8883")),
            ("mqtts://a", "wss://b/y", Some("wss://b:8883/y")),
            ("mqtts://a", "mqtt://b", None),
            ("wss://a", "ws://b", None),
            ("unix:///a", "b", None),
            ("mqtt://a", "unix:///b", None),
            ("mqtt://a", "", None),
            ("mqtt://a", "b:0", None),
            ("mqtt://a", "b c", None),
        ] {
            let redirected = Endpoint::parse(here).unwrap().redirected(reference);
            let redirected = redirected.map(|endpoint| endpoint.to_string());
            assert_eq!(redirected.as_deref(), there, "{here} {reference}");
        }
    }

    fn parts(url: &str) -> (Scheme, String, u16, Option<String>) {
        let endpoint = Endpoint::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        (
            endpoint.scheme(),
            endpoint.host().to_owned(),
            endpoint.port(),
            endpoint.path().map(str::to_owned),
        )
    }

    #[test]
    fn schemes_and_default_ports() {
        for (url, scheme, port) in [
            ("mqtt://h", Scheme::Mqtt, 1883),
            ("mqtt-tcp://h", Scheme::Mqtt, 1883),
            ("MQTTS://h", Scheme::Mqtts, 8883),
            ("tls+mqtt-tcp://h", Scheme::Mqtts, 8883),
            ("ws://h", Scheme::Ws, 1883),
            ("wSs://h", Scheme::Wss, 8883),
        ] {
            assert_eq!(parts(url), (scheme, "h".to_owned(), port, None), "{url}");
        }
    }

    #[test]
    fn a_part_of_a_password_is_not_shown_as_a_port() {
        let error = Endpoint::parse("mqtt://user:topse/cret@h/t").unwrap_err();
        assert_eq!(error, EndpointError::PortText);
        assert!(!error.to_string().contains("topse"));
    }

    #[test]
    fn hosts_ports_and_paths() {
        let mqtt = |host: &str, port, path: Option<&str>| {
            (Scheme::Mqtt, host.to_owned(), port, path.map(str::to_owned))
        };
        for (url, expected) in [
            ("mqtt://10.0.0.1:2/", mqtt("10.0.0.1", 2, Some(""))),
            ("mqtt://a-b.c_d.example.:65535", mqtt("a-b.c_d.example.", 65535, None)),
            ("mqtt://[::1]", mqtt("::1", 1883, None)),
            ("mqtt://[::1]:7/t", mqtt("::1", 7, Some("t"))),
            ("mqtt://[fe80::1%25eth0]:7", mqtt("fe80::1%eth0", 7, None)),
            ("mqtt://[fe80::1%eth0]", mqtt("fe80::1%eth0", 1883, None)),
            ("mqtt://h/a/+/%20?x#/@", mqtt("h", 1883, Some("a/+/%20?x#/@"))),
            ("mqtt://h//lead", mqtt("h", 1883, Some("/lead"))),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let endpoint = Endpoint::parse("mqtt://us%65r:p@s:s%2Fw%ff@h/t").unwrap();
        assert_eq!(endpoint.username(), Some("user"));
        assert_eq!(endpoint.password(), Some(&b"p@s:s/w\xff"[..]));
        let endpoint = Endpoint::parse("mqtt://user@h").unwrap();
        assert_eq!((endpoint.username(), endpoint.password()), (Some("user"), None));
        let endpoint = Endpoint::parse("mqtt://user:@h").unwrap();
        assert_eq!((endpoint.username(), endpoint.password()), (Some("user"), Some(&b""[..])));
        let endpoint = Endpoint::parse("mqtt://:token@h").unwrap();
        assert_eq!((endpoint.username(), endpoint.password()), (None, Some(&b"token"[..])));
    }

    #[test]
    fn unix_urls_hold_an_absolute_path() {
        let endpoint = Endpoint::parse("unix://ann:pw@/run/my%20broker.sock").unwrap();
        assert_eq!(endpoint.socket_path(), Some(Path::new("/run/my broker.sock")));
        assert_eq!(endpoint.username(), Some("ann"));
        assert_eq!((endpoint.host(), endpoint.port(), endpoint.path()), ("", 0, None));
        for url in ["unix://", "unix:///", "unix://run/x.sock", "unix://h:1"] {
            assert_eq!(Endpoint::parse(url), Err(EndpointError::RelativeSocketPath), "{url}");
        }
        for url in ["unix:///a%00b", "unix:///a%zz", "unix:///a%ff"] {
            assert_eq!(Endpoint::parse(url), Err(EndpointError::SocketPathText), "{url}");
        }
    }

    #[test]
    fn refusals_name_the_part() {
        let long = "a".repeat(300);
        for (url, message) in [
            ("host:1883", "scheme"),
            ("", "scheme"),
            ("mqtt:/h", "scheme"),
            ("http://h/", "\"http\""),
            ("amqp\u{1b}[2J://h/", "\"amqp\\u{1b}[2J\""),
            ("://h", "\"\""),
            ("mqtt://", "no host"),
            ("mqtt:///topic", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://u:p@", "no host"),
            ("mqtt://a b", "not a host name"),
            ("mqtt://a?b", "not a host name"),
            ("mqtt://a%41", "not a host name"),
            ("mqtt://a\r\nb", "not a host name"),
            ("mqtt://1.2.3", "not a host name"),
            ("mqtt://256.1.1.1", "not a host name"),
            ("mqtt://bücher.example", "xn--"),
            ("mqtt://::1", "brackets"),
            ("mqtt://fe80::1:1883", "brackets"),
            ("mqtt://[::1", "IPv6"),
            ("mqtt://[::g]", "IPv6"),
            ("mqtt://[1.2.3.4]", "IPv6"),
            ("mqtt://[::1%]", "IPv6"),
            ("mqtt://[::1]x", "not a host name"),
            ("mqtt://h:", "port"),
            ("mqtt://h:0", "port"),
            ("mqtt://h:+1", "port"),
            ("mqtt://h:65536", "port"),
            ("mqtt://h:1a", "port"),
            ("mqtt://u%4:p@h", "user name"),
            ("mqtt://u%ff:p@h", "UTF-8"),
            ("mqtt://u:100%@h", "password"),
            (&format!("mqtt://{long}"), "not a host name"),
        ] {
            let error = Endpoint::parse(url).expect_err(url).to_string();
            assert!(error.contains(message), "{url}: {error}");
            assert!(!error.contains('\n') && !error.contains('\u{1b}'), "{url}: {error}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let endpoint = Endpoint::parse("mqtt://a%40b:topsecret@h/t").unwrap();
        assert_eq!(endpoint.to_string(), "mqtt://a%40b@h:1883/t");
        assert!(!format!("{endpoint:?}").contains("topsecret"));
        assert_eq!(Endpoint::unix("x.sock").to_string(), "unix://x.sock");
        for url in ["mqtt://u:topsecret%@h", "mqtt://u:topsecret@h:x", "mqtt://u:topsecret@[x"] {
            assert!(!format!("{:?}", Endpoint::parse(url)).contains("topsecret"));
        }
    }

    #[test]
    fn display_parses_back() {
        for url in [
            "mqtt://u@h:1/t",
            "wss://[::1]:8884/mqtt",
            "mqtts://h:8883",
            "unix:///x/y",
            "unix:///%25",
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.to_string(), url);
            assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
        }
        assert_eq!(Endpoint::tcp("[::1]", 1883).host(), "::1");
        assert_eq!(Endpoint::new(Scheme::Unix, "/x", 1), Endpoint::unix("/x"));
    }

    proptest::proptest! {
        #[test]
        fn what_parses_is_written_and_parsed_again(
            url in "(mqtts?|wss?|unix|x)://(\\PC{0,9}(:\\PC{0,9})?@)?(\\PC{0,9}|\\[[0-9a-f:]{2,9}\\])(:[0-9]{0,6})?(/\\PC{0,9})?",
        ) {
            if let Ok(endpoint) = Endpoint::parse(&url) {
                let mut without_password = endpoint.clone();
                without_password.password = None;
                let written = endpoint.to_string();
                proptest::prop_assert_eq!(Endpoint::parse(&written), Ok(without_password));
            }
        }
    }
}
