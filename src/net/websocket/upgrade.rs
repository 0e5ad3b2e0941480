//! The HTTP request that opens a WebSocket, and the answer to it (RFC 6455 §4).

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1_smol::Sha1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::options::request_path;
use super::random::random_bytes;
use super::{WebSocket, WebSocketOptions, WebSocketProblem};
use crate::net::{ConnectError, Endpoint, Scheme, Stream};

/// Opens a WebSocket on a connected stream.
pub(in crate::net) async fn upgrade(
    endpoint: &Endpoint,
    options: &WebSocketOptions,
    stream: Stream,
) -> Result<WebSocket, ConnectError> {
    open(endpoint, options, stream).await.map_err(|failure| ConnectError::WebSocket {
        host: endpoint.address(),
        problem: failure.problem,
        source: failure.source,
    })
}

struct Failure {
    problem: WebSocketProblem,
    source: Option<io::Error>,
}

impl From<WebSocketProblem> for Failure {
    fn from(problem: WebSocketProblem) -> Failure {
        Failure { problem, source: None }
    }
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Failure {
        let problem = match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => WebSocketProblem::Closed,
            _ => WebSocketProblem::Connection,
        };
        Failure { problem, source: Some(source) }
    }
}

async fn open(
    endpoint: &Endpoint,
    options: &WebSocketOptions,
    mut stream: Stream,
) -> Result<WebSocket, Failure> {
    let path = match (options.path(), endpoint.path()) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) if !path.is_empty() => {
            request_path(path).map_err(|_| WebSocketProblem::InvalidPath)?
        }
        _ => DEFAULT_PATH.to_owned(),
    };
    let key = BASE64_STANDARD.encode(random_bytes::<16>()?);
    stream.write_all(request(endpoint, &path, options, &key).as_bytes()).await?;
    stream.flush().await?;

    let mut received = Vec::new();
    let mut begin = 0;
    loop {
        let response = received.get(begin..).unwrap_or_default();
        if let Some(length) = check_response(response, &key, options)? {
            begin += length.bytes;
            if length.is_final {
                let unread = received.split_off(begin);
                return Ok(WebSocket::new(stream, unread));
            }
        } else {
            read_more(&mut stream, &mut received).await?;
        }
    }
}

fn request(endpoint: &Endpoint, path: &str, options: &WebSocketOptions, key: &str) -> String {
    let host = endpoint.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = match (endpoint.scheme(), endpoint.port()) {
        (Scheme::Ws, 80) | (Scheme::Wss, 443) => String::new(),
        (_, port) => format!(":{port}"),
    };
    let sub_protocol = options.sub_protocol().as_str();
    let mut request = format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {host}{port}\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {sub_protocol}\r\n"
    );
    for (name, value) in options.headers() {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    request
}

async fn read_more(stream: &mut Stream, received: &mut Vec<u8>) -> Result<(), Failure> {
    if received.len() >= MAX_RESPONSE_BYTES {
        return Err(WebSocketProblem::TooLarge.into());
    }
    received.reserve(READ_BYTES);
    match stream.read_buf(received).await? {
        0 => Err(WebSocketProblem::Closed.into()),
        _ => Ok(()),
    }
}

/// A response that was found whole.
struct ResponseLength {
    bytes: usize,
    /// Whether it is the answer, and no interim response (RFC 9110 §15.2).
    is_final: bool,
}

/// Checks the response at the head of `received`; `None` when its end has not come yet.
fn check_response(
    received: &[u8],
    key: &str,
    options: &WebSocketOptions,
) -> Result<Option<ResponseLength>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(WebSocketProblem::TooLarge.into()),
        Err(_) => return Err(WebSocketProblem::NotHttp.into()),
    };
    if bytes > MAX_RESPONSE_BYTES {
        return Err(WebSocketProblem::TooLarge.into());
    }
    let code = response.code.unwrap_or_default();
    let headers = Headers(response.headers);
    match code {
        SWITCHING_PROTOCOLS => {}
        100..=199 => return Ok(Some(ResponseLength { bytes, is_final: false })),
        _ => {
            let location = headers.only("Location").filter(|_| (300..=399).contains(&code));
            let location = location.map(printable);
            return Err(WebSocketProblem::Status { code, location }.into());
        }
    }
    let wrong = |header| Failure::from(WebSocketProblem::Handshake { header });
    if !headers.has_token("Upgrade", "websocket") {
        return Err(wrong("Upgrade"));
    }
    if !headers.has_token("Connection", "upgrade") {
        return Err(wrong("Connection"));
    }
    if headers.only("Sec-WebSocket-Accept") != Some(accept_for(key).as_bytes()) {
        return Err(wrong("Sec-WebSocket-Accept"));
    }
    if headers.values("Sec-WebSocket-Extensions").any(|value| !value.is_empty()) {
        return Err(wrong("Sec-WebSocket-Extensions"));
    }
    let offered = options.sub_protocol().as_str();
    // [MQTT-6.0.0-4]
    if headers.only("Sec-WebSocket-Protocol") != Some(offered.as_bytes()) {
        return Err(WebSocketProblem::SubProtocol { offered }.into());
    }
    Ok(Some(ResponseLength { bytes, is_final: true }))
}

fn accept_for(key: &str) -> String {
    let digest = Sha1::from(format!("{key}{ACCEPT_GUID}")).digest();
    BASE64_STANDARD.encode(digest.bytes())
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// The value of a header that is there exactly once.
    fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().take(200).flat_map(char::escape_debug).collect()
}

const DEFAULT_PATH: &str = "/mqtt";

const SWITCHING_PROTOCOLS: u16 = 101;

/// RFC 6455 §1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const READ_BYTES: usize = 1024;

const MAX_RESPONSE_BYTES: usize = 16 * 1024;

const MAX_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in "(HTTP/1\\.1 [0-9]{3}[^\\n]{0,9}\r\n)?([A-Za-z-]{1,20}: ?\\PC{0,40}\r\n){0,9}(\r\n)?") {
            let options = WebSocketOptions::default();
            let _ = check_response(answer.as_bytes(), "dGhlIHNhbXBsZSBub25jZQ==", &options);
        }
    }
}
