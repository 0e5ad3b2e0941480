//! What can go wrong with a WebSocket: before it is open, and after.

use std::fmt;
use std::io;

/// Why a server did not open a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketProblem {
    /// The server answered with another HTTP status than 101.
    Status {
        /// The status.
        code: u16,
        /// Where the server redirects to, shortened and without control characters.
        location: Option<String>,
    },
    /// The server did not answer in HTTP.
    NotHttp,
    /// The headers of the answer are more than 16 KiB or more than 100.
    TooLarge,
    /// A header that makes the answer an agreement to this very request is missing or wrong.
    Handshake {
        /// The header.
        header: &'static str,
    },
    /// The server did not agree to the sub-protocol offered.
    SubProtocol {
        /// What was offered.
        offered: &'static str,
    },
    /// The server closed the connection before it answered.
    Closed,
    /// The path of the endpoint cannot stand in an HTTP request.
    InvalidPath,
    /// The connection broke; the source of the error tells how.
    Connection,
}

impl WebSocketProblem {
    pub(in crate::net) fn is_transient(&self) -> bool {
        match self {
            WebSocketProblem::Status { code, .. } => *code == 429 || *code >= 500,
            WebSocketProblem::Closed | WebSocketProblem::Connection => true,
            _ => false,
        }
    }
}

impl fmt::Display for WebSocketProblem {
    /// Says what is wrong and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebSocketProblem::Status { code, location: Some(location) } => {
                write!(f, "HTTP status {code} points to \"{location}\"; connect there instead")
            }
            WebSocketProblem::Status { code, location: None } => {
                let advice = match code {
                    401 | 407 => "it wants credentials; give an Authorization header",
                    403 => "it refuses access; check the path, the Origin header and credentials",
                    404 | 405 | 410 => "there is no WebSocket at this path; check the path",
                    200..=299 => "an ordinary web page is at this path; check port and path",
                    429 | 500..=599 => "it cannot serve now; try later",
                    _ => "it did not accept the upgrade; check port and path",
                };
                write!(f, "HTTP status {code}: {advice}")
            }
            WebSocketProblem::NotHttp => f.write_str("it does not answer in HTTP; check the port"),
            WebSocketProblem::TooLarge => {
                f.write_str("its answer has too many or too long headers")
            }
            WebSocketProblem::Handshake { header } => {
                write!(f, "its answer lacks the right {header} header; check for a proxy between")
            }
            WebSocketProblem::SubProtocol { offered } => {
                write!(f, "it does not speak the sub-protocol \"{offered}\"; check port and path")
            }
            WebSocketProblem::Closed => {
                f.write_str("it closed the connection; check that the port is for WebSocket")
            }
            WebSocketProblem::InvalidPath => {
                f.write_str("the URL's path cannot stand in an HTTP request; percent-encode it")
            }
            WebSocketProblem::Connection => f.write_str("the connection broke"),
        }
    }
}

/// Why an open WebSocket cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WebSocketError {
    #[error("the server sent a WebSocket text frame where MQTT has binary frames")]
    Text,
    #[error("the server broke the WebSocket protocol: {0}")]
    Protocol(&'static str),
    #[error("the server sent a WebSocket frame of {bytes} bytes, which no MQTT packet needs")]
    TooLarge { bytes: u64 },
    #[error("the server closed the WebSocket with code {code}{reason}")]
    Closed { code: u16, reason: CloseReason },
}

impl WebSocketError {
    /// The status code for the close frame that answers this (RFC 6455 §7.4.1).
    pub(super) fn close_code(&self) -> u16 {
        match self {
            WebSocketError::Text => UNACCEPTABLE_DATA,
            WebSocketError::Protocol(_) => PROTOCOL_ERROR,
            WebSocketError::TooLarge { .. } => MESSAGE_TOO_BIG,
            WebSocketError::Closed { code, .. } => *code,
        }
    }
}

impl From<WebSocketError> for io::Error {
    fn from(error: WebSocketError) -> io::Error {
        let kind = match error {
            WebSocketError::Closed { .. } => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// The reason in a close frame, fit for one line of an error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloseReason(pub(super) String);

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0.escape_debug()) }
    }
}

pub(super) const NORMAL_CLOSURE: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const PROTOCOL_ERROR: u16 = 1002;
pub(super) const UNACCEPTABLE_DATA: u16 = 1003;
pub(super) const MESSAGE_TOO_BIG: u16 = 1009;
