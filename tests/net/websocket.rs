//! WebSocket: the upgrade, and frames as a byte stream, against scripted servers and against an
//! independent implementation.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use midge::net::{
    ConnectError, ConnectOptions, Endpoint, Stage, Stream, SubProtocol, Transport,
    WebSocketOptions, WebSocketProblem, connect, dial, negotiate,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_websockets::{Message, ServerBuilder};

use crate::{serve_once, with_timeout};

fn options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(10);
    options
}

/// Reads an HTTP request to its empty line.
async fn read_request(tcp: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

fn accept_for(request: &str) -> String {
    use base64::Engine;
    let key = header(request, "Sec-WebSocket-Key").unwrap();
    let digest =
        sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    base64::prelude::BASE64_STANDARD.encode(digest.bytes())
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn agreement(request: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        accept_for(request)
    )
}

/// Connects to a server that agrees to the upgrade and then runs a script.
async fn connected_to<T, Fut>(
    script: impl FnOnce(TcpStream) -> Fut + Send + 'static,
) -> (Stream, JoinHandle<T>)
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let (addr, server) = serve_once(|mut tcp| async move {
        let request = read_request(&mut tcp).await;
        tcp.write_all(agreement(&request).as_bytes()).await.unwrap();
        script(tcp).await
    })
    .await;
    let endpoint = Endpoint::parse(&format!("ws://{addr}")).unwrap();
    let connected = connect(&endpoint, &options()).await.unwrap();
    assert_eq!(connected.stream.transport(), Transport::WebSocket);
    assert_eq!(connected.stream.peer_addr(), Some(addr));
    assert!(connected.timings.websocket.is_some() && connected.timings.tls.is_none());
    (connected.stream, server)
}

/// Why the upgrade fails when the server answers the request with this.
async fn refusal(answer: impl FnOnce(&str) -> String + Send + 'static) -> ConnectError {
    let (addr, server) = serve_once(|mut tcp| async move {
        let request = read_request(&mut tcp).await;
        tcp.write_all(answer(&request).as_bytes()).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
        rest
    })
    .await;
    let endpoint = Endpoint::parse(&format!("ws://user:secret@{addr}")).unwrap();
    let error = with_timeout(connect(&endpoint, &options())).await.unwrap_err();
    assert_eq!(error.stage(), Stage::WebSocket);
    let text = error.to_string();
    assert!(!text.contains(['\n', '\r', '\u{1b}']) && !text.contains("secret"), "{text}");
    assert!(server.await.unwrap().is_empty(), "nothing is sent where the upgrade failed");
    error
}

fn problem(error: ConnectError) -> WebSocketProblem {
    match error {
        ConnectError::WebSocket { problem, .. } => problem,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_request_says_what_was_asked_for() {
    for (url, path, sub_protocol) in [
        ("ws://u:p@ADDR", None, SubProtocol::Mqtt),
        ("ws://ADDR/", None, SubProtocol::MqttV31),
        ("ws://ADDR/broker?x=1", None, SubProtocol::Mqtt),
        ("ws://ADDR/a/topic/#", Some("mqtt"), SubProtocol::Mqtt),
    ] {
        let (addr, server) = serve_once(|mut tcp| async move {
            let request = read_request(&mut tcp).await;
            let agreed = header(&request, "Sec-WebSocket-Protocol").unwrap();
            let answer =
                agreement(&request).replace("Protocol: mqtt", &format!("Protocol: {agreed}"));
            tcp.write_all(answer.as_bytes()).await.unwrap();
            request
        })
        .await;
        let mut options = options();
        if let Some(path) = path {
            options.websocket.set_path(path).unwrap();
        }
        options.websocket.set_sub_protocol(sub_protocol);
        options.websocket.add_header("Authorization", "Bearer t0ken").unwrap();
        options.websocket.add_header("X-Two", "2").unwrap();
        let endpoint = Endpoint::parse(&url.replace("ADDR", &addr.to_string())).unwrap();
        connect(&endpoint, &options).await.unwrap();
        let request = server.await.unwrap();
        let expected = if url.contains("broker") { "/broker?x=1" } else { "/mqtt" };
        assert!(request.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{request}");
        assert_eq!(header(&request, "Host"), Some(&*addr.to_string()));
        assert_eq!(header(&request, "Upgrade"), Some("websocket"));
        assert_eq!(header(&request, "Connection"), Some("Upgrade"));
        assert_eq!(header(&request, "Sec-WebSocket-Version"), Some("13"));
        assert_eq!(header(&request, "Sec-WebSocket-Protocol"), Some(sub_protocol.as_str()));
        assert_eq!(header(&request, "Sec-WebSocket-Extensions"), None);
        assert_eq!(header(&request, "Authorization"), Some("Bearer t0ken"));
        assert_eq!(header(&request, "X-Two"), Some("2"));
    }
}

#[tokio::test]
async fn keys_differ_from_connection_to_connection() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (addr, server) =
            serve_once(|mut tcp| async move { read_request(&mut tcp).await }).await;
        let endpoint = Endpoint::parse(&format!("ws://{addr}")).unwrap();
        let _ = connect(&endpoint, &options()).await;
        keys.push(header(&server.await.unwrap(), "Sec-WebSocket-Key").unwrap().to_owned());
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_path_that_http_does_not_allow_is_not_sent() {
    for path in ["a b", "a#b", "ä"] {
        let (addr, _server) = serve_once(|_| async {}).await;
        let endpoint = Endpoint::parse(&format!("ws://{addr}/{path}")).unwrap();
        let error = connect(&endpoint, &options()).await.unwrap_err();
        assert_eq!(problem(error), WebSocketProblem::InvalidPath);
    }
}

#[tokio::test]
async fn http_answers_that_are_no_agreement() {
    for (status, text, retryable) in [
        ("200 OK", "ordinary web page", false),
        ("400 Bad Request", "HTTP status 400", false),
        ("401 Unauthorized", "Authorization", false),
        ("403 Forbidden", "Origin", false),
        ("404 Not Found", "check the path", false),
        ("426 Upgrade Required", "HTTP status 426", false),
        ("429 Too Many Requests", "try later", true),
        ("503 Service Unavailable", "try later", true),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let error = refusal(|_| answer).await;
        assert!(error.to_string().contains(text), "{status}: {error}");
        assert_eq!(error.is_retryable(), retryable, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let error = refusal(|_| {
        "HTTP/1.1 301 Moved\r\nLocation: wss://other.example/\u{1b}[2J\r\n\r\n".to_owned()
    })
    .await;
    // A control character makes the header invalid for the HTTP parser.
    assert_eq!(problem(error), WebSocketProblem::NotHttp);
    let error =
        refusal(|_| "HTTP/1.1 307 Moved\r\nLocation: wss://other.example/m\r\n\r\n".to_owned());
    let error = error.await;
    assert!(error.to_string().contains("wss://other.example/m"), "{error}");
    let location = Some("wss://other.example/m".to_owned());
    assert_eq!(problem(error), WebSocketProblem::Status { code: 307, location });
}

#[tokio::test]
async fn an_agreement_must_be_whole() {
    type Change = fn(&str) -> String;
    let changes: [(&str, Change); 10] = [
        ("Upgrade", |answer| answer.replace("Upgrade: websocket\r\n", "")),
        ("Upgrade", |answer| answer.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("Connection", |answer| answer.replace("Connection: Upgrade", "Connection: close")),
        ("Sec-WebSocket-Accept", |answer| answer.replace("Accept: ", "Accept: A")),
        ("Sec-WebSocket-Accept", |answer| answer.replace("Sec-WebSocket-Accept", "X")),
        ("Sec-WebSocket-Accept", |answer| {
            // Too long by far.
            answer.replace("Accept: ", &format!("Accept: {}", "A".repeat(100)))
        }),
        ("Sec-WebSocket-Accept", |answer| {
            answer.replace("\r\n\r\n", "\r\nSec-WebSocket-Accept: x\r\n\r\n")
        }),
        ("Sec-WebSocket-Extensions", |answer| {
            answer.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        }),
        ("mqtt", |answer| answer.replace("Protocol: mqtt", "Protocol: chat")),
        ("mqtt", |answer| answer.replace("Sec-WebSocket-Protocol: mqtt\r\n", "")),
    ];
    for (text, change) in changes {
        let error = refusal(move |request| change(&agreement(request))).await;
        assert!(error.to_string().contains(text), "{error}");
        assert!(matches!(
            problem(error),
            WebSocketProblem::Handshake { .. } | WebSocketProblem::SubProtocol { .. }
        ));
    }
}

#[tokio::test]
async fn an_agreement_may_be_written_in_other_ways() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let request = read_request(&mut tcp).await;
        let answer = agreement(&request)
            .replace("Upgrade: websocket", "uPGRADE:   WebSocket")
            .replace("Connection: Upgrade", "connection: keep-alive, Upgrade")
            .replace("HTTP/1.1 101 Switching Protocols", "HTTP/1.1 101");
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        for byte in format!("{interim}{answer}").bytes() {
            tcp.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = tcp.read_u8().await;
    })
    .await;
    connect(&Endpoint::parse(&format!("ws://{addr}")).unwrap(), &options()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_http_is_told() {
    for answer in ["\u{20}\u{2}\0\0", "SSH-2.0-OpenSSH_9\r\n", "HTTP/9 101\r\n\r\n"] {
        let error = refusal(|_| answer.to_owned()).await;
        assert_eq!(problem(error), WebSocketProblem::NotHttp, "{answer:?}");
    }
    let error = refusal(|_| String::new()).await;
    assert!(error.is_retryable());
    assert_eq!(problem(error), WebSocketProblem::Closed);
    assert_eq!(problem(refusal(|_| "HTTP/1.1 1".to_owned()).await), WebSocketProblem::Closed);
}

#[tokio::test]
async fn endless_headers_are_refused() {
    for answer in [
        format!("HTTP/1.1 101 x\r\nX: {}", "a".repeat(20_000)),
        format!("HTTP/1.1 101 x\r\n{}\r\n", "X: y\r\n".repeat(101)),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000),
    ] {
        assert_eq!(problem(refusal(|_| answer).await), WebSocketProblem::TooLarge);
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_the_websocket_stage() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut options = options();
    options.connect_timeout = Duration::from_millis(100);
    let endpoint = Endpoint::parse(&format!("ws://{addr}")).unwrap();
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::WebSocket, .. }), "{error:?}");
}

#[tokio::test]
async fn frames_behind_the_agreement_in_one_segment_are_not_lost() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let request = read_request(&mut tcp).await;
        let mut answer = agreement(&request).into_bytes();
        answer.extend([0x82, 3, b'a', b'b', b'c', 0x82, 1, b'd', 0x88, 0]);
        tcp.write_all(&answer).await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let endpoint = Endpoint::parse(&format!("ws://{addr}")).unwrap();
    let mut stream = connect(&endpoint, &options()).await.unwrap().stream;
    let mut byte = [0];
    with_timeout(stream.read_exact(&mut byte)).await.unwrap();
    let mut bytes = byte.to_vec();
    with_timeout(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"abcd");
}

/// Connects to a server of another implementation, which echoes each message.
async fn connected_to_oracle() -> (Stream, JoinHandle<Vec<Message>>) {
    let (addr, server) = serve_once(|tcp| async move {
        let name = http::HeaderName::from_static("sec-websocket-protocol");
        let builder = ServerBuilder::new()
            .add_header(name, http::HeaderValue::from_static("mqtt"))
            .unwrap()
            .limits(tokio_websockets::Limits::unlimited());
        let (_request, mut websocket) = builder.accept(tcp).await.unwrap();
        let mut messages = Vec::new();
        while let Some(Ok(message)) = websocket.next().await {
            if message.is_binary() {
                websocket.send(message.clone()).await.unwrap();
            }
            messages.push(message);
        }
        messages
    })
    .await;
    let endpoint = Endpoint::parse(&format!("ws://{addr}/")).unwrap();
    (connect(&endpoint, &options()).await.unwrap().stream, server)
}

#[tokio::test]
async fn bytes_go_both_ways_in_any_size() {
    let (mut stream, server) = connected_to_oracle().await;
    let mut total = 0;
    for length in [1, 2, 125, 126, 127, 65_535, 65_536, 65_537, 300_000] {
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        total += length;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent = bytes.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.flush().await.unwrap();
            writer
        });
        let mut echoed = vec![0; length];
        with_timeout(reader.read_exact(&mut echoed)).await.unwrap();
        assert!(echoed == bytes, "{length}");
        stream = reader.unsplit(writing.await.unwrap());
    }
    stream.shutdown().await.unwrap();
    let messages = server.await.unwrap();
    let (last, data) = messages.split_last().unwrap();
    assert!(last.is_close(), "{last:?}");
    assert_eq!(last.as_close().map(|(code, _)| u16::from(code)), Some(1000));
    assert_eq!(data.iter().map(|message| message.as_payload().len()).sum::<usize>(), total);
}

#[tokio::test]
async fn a_vectored_write_is_one_frame() {
    let (mut stream, server) = connected_to_oracle().await;
    let parts = [io::IoSlice::new(b"ab"), io::IoSlice::new(b""), io::IoSlice::new(b"cde")];
    assert_eq!(stream.write_vectored(&parts).await.unwrap(), 5);
    stream.flush().await.unwrap();
    let mut echoed = [0; 5];
    with_timeout(stream.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"abcde");
    stream.shutdown().await.unwrap();
    assert_eq!(server.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_ping_is_answered_and_the_close_is_returned() {
    let (mut stream, server) = connected_to(|mut tcp| async move {
        tcp.write_all(&[0x89, 2, 7, 8, 0x82, 1, b'x']).await.unwrap();
        let mut pong = [0; 8];
        tcp.read_exact(&mut pong).await.unwrap();
        tcp.write_all(&[0x88, 2, 0x03, 0xE9]).await.unwrap();
        let mut close = Vec::new();
        tcp.read_to_end(&mut close).await.unwrap();
        (unmask(&pong), unmask(&close))
    })
    .await;
    let mut bytes = Vec::new();
    with_timeout(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"x");
    assert_eq!(stream.write(b"late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop(stream);
    let (pong, close) = server.await.unwrap();
    assert_eq!(pong, (0x8A, vec![7, 8]));
    assert_eq!(close, (0x88, vec![0x03, 0xE9]));
}

/// The first byte and the payload of one short masked frame.
fn unmask(frame: &[u8]) -> (u8, Vec<u8>) {
    let length = usize::from(frame[1] & 0x7F);
    assert_eq!((frame[1] & 0x80, frame.len()), (0x80, 6 + length));
    let mask = &frame[2..6];
    let payload = frame[6..].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    (frame[0], payload.collect())
}

#[tokio::test]
async fn what_a_server_must_not_send_ends_the_websocket() {
    for (frame, code, text) in [
        (&[0x81, 5, b'h', b'e', b'l', b'l', b'o'][..], 1003_u16, "text frame"),
        (&[0x82, 0x81, 0, 0, 0, 0, 0], 1002, "masked"),
        (&[0xC2, 1, 0], 1002, "reserved bits"),
        (&[0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255], 1009, "9223372036854775807"),
        (&[0x88, 4, 0x03, 0xF0, b'n', b'o'], 1008, "1008: no"),
    ] {
        let frame = frame.to_vec();
        let (mut stream, server) = connected_to(move |mut tcp| async move {
            // What came before is still delivered.
            tcp.write_all(&[0x82, 2, b'o', b'k']).await.unwrap();
            tcp.write_all(&frame).await.unwrap();
            let mut close = Vec::new();
            tcp.read_to_end(&mut close).await.unwrap();
            unmask(&close)
        })
        .await;
        let mut bytes = Vec::new();
        let error = with_timeout(stream.read_to_end(&mut bytes)).await.unwrap_err();
        assert_eq!(bytes, b"ok");
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.source().is_none() && !error.to_string().contains('\n'));
        // The error stays.
        assert!(stream.read(&mut [0]).await.is_err());
        assert!(stream.write(b"late").await.is_err());
        drop(stream);
        assert_eq!(server.await.unwrap(), (0x88, code.to_be_bytes().to_vec()));
    }
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_an_error() {
    for cut in [&[][..], &[0x82], &[0x82, 5, 1, 2]] {
        let cut = cut.to_vec();
        let (mut stream, _server) = connected_to(move |mut tcp| async move {
            tcp.write_all(&cut).await.unwrap();
        })
        .await;
        let error = with_timeout(stream.read_to_end(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn a_flood_of_pings_takes_no_memory_and_gets_the_latest_answered() {
    const PINGS: u32 = 100_000;
    let (mut stream, server) = connected_to(|tcp| async move {
        let (mut reader, mut writer) = tcp.into_split();
        let answers = tokio::spawn(async move {
            let mut answers = Vec::new();
            let _ = reader.read_to_end(&mut answers).await;
            answers
        });
        for number in 0..PINGS {
            let mut ping = vec![0x89, 4];
            ping.extend(number.to_be_bytes());
            writer.write_all(&ping).await.unwrap();
        }
        writer.write_all(&[0x82, 1, b'x', 0x88, 0]).await.unwrap();
        answers.await.unwrap()
    })
    .await;
    let mut bytes = Vec::new();
    with_timeout(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"x");
    drop(stream);
    let answers = server.await.unwrap();
    let last_pong = answers.len() - 6 - 10;
    assert_eq!(unmask(&answers[last_pong..][..10]), (0x8A, (PINGS - 1).to_be_bytes().to_vec()));
    assert!(answers.len() / 10 <= PINGS as usize);
}

#[tokio::test]
async fn a_writer_waits_while_the_server_does_not_read() {
    let (read_on, told_to_read) = tokio::sync::oneshot::channel();
    let (mut stream, server) = connected_to(|mut tcp| async move {
        told_to_read.await.unwrap();
        let mut bytes = Vec::new();
        tcp.read_to_end(&mut bytes).await.unwrap();
        bytes.len()
    })
    .await;
    let block = vec![7; 100_000];
    let mut taken = 0;
    let patience = Duration::from_millis(100);
    while let Ok(count) = tokio::time::timeout(patience, stream.write(&block)).await {
        let count = count.unwrap();
        // One write is one frame of bounded size.
        assert_eq!(count, 65_536);
        taken += count;
        assert!(taken < 100 << 20, "a write never waited");
    }
    read_on.send(()).unwrap();
    with_timeout(stream.shutdown()).await.unwrap();
    drop(stream);
    // Headers of 14 bytes, and the close frame.
    assert_eq!(server.await.unwrap(), taken + taken / 65_536 * 14 + 8);
}

#[tokio::test]
async fn a_connection_that_was_dialled_is_negotiated() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let request = read_request(&mut tcp).await;
        tcp.write_all(agreement(&request).as_bytes()).await.unwrap();
        tcp.write_all(&[0x82, 1, b'x', 0x88, 0]).await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let endpoint = Endpoint::parse(&format!("ws://{addr}")).unwrap();
    let stream = dial(addr, None, &options()).unwrap().await.unwrap();
    let mut connected = negotiate(stream, &endpoint, &options()).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    assert!(connected.timings.websocket.is_some() && connected.timings.tcp.is_none());
    let mut bytes = Vec::new();
    with_timeout(connected.stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"x");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_is_not_put_on_a_stream_of_the_application() {
    let (near, _far) = tokio::io::duplex(64);
    let endpoint = Endpoint::parse("wss://localhost").unwrap();
    let mut options = options();
    let mut tls = midge::net::TlsOptions::default();
    tls.verification = midge::net::Verification::Nothing;
    options.tls = Some(tls.build().unwrap());
    let error = negotiate(Stream::from_io(near), &endpoint, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unsupported { .. }), "{error:?}");
}

#[test]
fn secrets_in_headers_are_not_shown() {
    let mut options = WebSocketOptions::default();
    options.add_header("Cookie", "s3cret").unwrap();
    assert!(!format!("{options:?}").contains("s3cret"));
}
