//! Unix domain sockets.

use std::io;

use midge::net::{ConnectError, ConnectOptions, Endpoint, Transport, connect, resolve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

#[tokio::test]
async fn bytes_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a broker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut unix, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4];
        unix.read_exact(&mut bytes).await.unwrap();
        unix.write_all(&bytes).await.unwrap();
    });
    let url = format!("unix://{}", path.display()).replace(' ', "%20");
    let endpoint = Endpoint::parse(&url).unwrap();
    let mut connected = connect(&endpoint, &ConnectOptions::default()).await.unwrap();
    assert_eq!(connected.stream.transport(), Transport::Unix);
    assert_eq!((connected.peer, connected.stream.peer_addr()), (None, None));
    assert!(connected.timings.tcp.is_some());
    connected.stream.write_all(b"ping").await.unwrap();
    let mut bytes = Vec::new();
    connected.stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"ping");
    server.await.unwrap();
}

#[tokio::test]
async fn nothing_listens() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.sock");
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let too_long = dir.path().join("x".repeat(200));
    for (path, kind, retryable) in [
        (missing, io::ErrorKind::NotFound, true),
        (stale, io::ErrorKind::ConnectionRefused, true),
        (too_long, io::ErrorKind::InvalidInput, false),
    ] {
        let endpoint = Endpoint::unix(&path);
        let error = connect(&endpoint, &ConnectOptions::default()).await.unwrap_err();
        assert!(matches!(&error, ConnectError::DialUnix { path: named, .. } if *named == path));
        assert_eq!(error.io_error_kind(), Some(kind));
        assert_eq!(error.is_retryable(), retryable);
    }
}

#[tokio::test]
async fn a_socket_has_no_address_to_resolve() {
    let error = resolve(&Endpoint::unix("x"), &ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unsupported { .. }), "{error:?}");
}
