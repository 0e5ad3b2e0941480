//! What a client may say in the HTTP request that opens a WebSocket.

use std::fmt;

/// How `ws` and `wss` endpoints are opened.
///
/// ```
/// use midge::net::{SubProtocol, WebSocketOptions};
///
/// let mut options = WebSocketOptions::default();
/// options.set_path("/broker?tenant=7")?;
/// options.add_header("Authorization", "Bearer ...")?;
/// options.set_sub_protocol(SubProtocol::Mqtt);
/// # Ok::<(), midge::net::WebSocketOptionsError>(())
/// ```
#[derive(Clone, Default)]
pub struct WebSocketOptions {
    path: Option<String>,
    sub_protocol: SubProtocol,
    headers: Vec<(String, String)>,
}

/// The name that MQTT has among the WebSocket sub-protocols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubProtocol {
    /// `mqtt`, of MQTT 3.1.1 and 5.0.
    #[default]
    Mqtt,
    /// `mqttv3.1`, of MQTT 3.1.
    MqttV31,
}

impl SubProtocol {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SubProtocol::Mqtt => "mqtt",
            SubProtocol::MqttV31 => "mqttv3.1",
        }
    }
}

impl WebSocketOptions {
    /// Sets the path to ask for, with its query. Without one it is the endpoint's own, or else
    /// `/mqtt`. A missing first `/` is added.
    ///
    /// # Errors
    ///
    /// [`WebSocketOptionsError::InvalidPath`] for what cannot stand in an HTTP request: blanks, control
    /// characters, anything beyond ASCII (write it percent-encoded), and `#`.
    pub fn set_path(&mut self, path: &str) -> Result<(), WebSocketOptionsError> {
        self.path = Some(request_path(path)?);
        Ok(())
    }

    /// Sets the sub-protocol to offer, which the server has to accept [MQTT-6.0.0-3]. A `Client` sets
    /// it by its protocol version.
    pub fn set_sub_protocol(&mut self, sub_protocol: SubProtocol) {
        self.sub_protocol = sub_protocol;
    }

    /// Adds a header to the request, such as `Authorization`, `Cookie` or `Origin`.
    ///
    /// # Errors
    ///
    /// [`WebSocketOptionsError::InvalidHeader`] for a name or value that HTTP does not allow, and
    /// [`WebSocketOptionsError::ReservedHeader`] for those that belong to the handshake itself.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), WebSocketOptionsError> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        let name_shown = || name.escape_debug().to_string();
        if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_text) {
            return Err(WebSocketOptionsError::InvalidHeader { name: name_shown() });
        }
        if RESERVED_HEADERS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(WebSocketOptionsError::ReservedHeader { name: name_shown() });
        }
        self.headers.push((name.to_owned(), value.trim().to_owned()));
        Ok(())
    }

    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    pub(super) fn sub_protocol(&self) -> SubProtocol {
        self.sub_protocol
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

impl fmt::Debug for WebSocketOptions {
    /// Writes the names of the headers only: their values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WebSocketOptions")
            .field("path", &self.path)
            .field("sub_protocol", &self.sub_protocol)
            .field("headers", &names)
            .finish()
    }
}

/// Why a part of the HTTP request cannot be as asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketOptionsError {
    /// The path has characters that an HTTP request does not allow.
    #[error("\"{path}\" is not an HTTP path: it is printable ASCII without blanks and #")]
    InvalidPath {
        /// The path as given.
        path: String,
    },
    /// The header has characters that HTTP does not allow.
    #[error("the HTTP header \"{name}\" has characters that HTTP does not allow")]
    InvalidHeader {
        /// The name as given.
        name: String,
    },
    /// The header is part of the WebSocket handshake.
    #[error("the HTTP header \"{name}\" is set by the WebSocket handshake itself")]
    ReservedHeader {
        /// The name as given.
        name: String,
    },
}

/// Checks a path for the request line and gives it its first `/`.
pub(super) fn request_path(path: &str) -> Result<String, WebSocketOptionsError> {
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(WebSocketOptionsError::InvalidPath { path: path.escape_debug().to_string() });
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{slash}{path}"))
}

const RESERVED_HEADERS: [&str; 10] = [
    "Connection",
    "Content-Length",
    "Host",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "Transfer-Encoding",
    "Upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        for (path, expected) in
            [("", "/"), ("/", "/"), ("mqtt", "/mqtt"), ("/a/b?c=d%20e", "/a/b?c=d%20e")]
        {
            assert_eq!(request_path(path).as_deref(), Ok(expected));
        }
        for path in ["/a b", "/a\r\nX: y", "/a#b", "/ä", "/\u{7f}"] {
            let error = WebSocketOptions::default().set_path(path).unwrap_err().to_string();
            assert!(!error.contains(['\r', '\n']), "{error}");
        }
    }

    #[test]
    fn headers_are_checked() {
        let mut options = WebSocketOptions::default();
        options.add_header("Authorization", "Bearer s3cret").unwrap();
        assert!(!format!("{options:?}").contains("s3cret"));
        for (name, value) in [("", "x"), ("a b", "x"), ("a:", "x"), ("a", "x\r\nb: c"), ("a", "\0")]
        {
            let error = options.add_header(name, value).unwrap_err();
            assert!(matches!(error, WebSocketOptionsError::InvalidHeader { .. }), "{error}");
        }
        for name in ["host", "UPGRADE", "Sec-WebSocket-Protocol", "content-length"] {
            let error = options.add_header(name, "x").unwrap_err();
            assert!(matches!(error, WebSocketOptionsError::ReservedHeader { .. }), "{error}");
        }
    }
}
