//! SOCKS5: against scripted proxies and against microsocks.

use std::io;
use std::time::Duration;

use midge::net::{
    ConnectError, ConnectOptions, Endpoint, Proxy, ProxyProblem, Resolver, Stage, Transport,
    connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::microsocks::Microsocks;
use crate::{refusing_addr, serve_once, with_timeout};

fn through(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(10);
    options.proxy = Some(Proxy::parse(url).unwrap());
    // The broker's name is the proxy's business.
    options.resolver = Resolver::new(|host, _| async move { panic!("{host} was looked up") });
    options
}

fn problem(error: &ConnectError) -> ProxyProblem {
    assert_eq!(error.stage(), Stage::Proxy);
    assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    match error {
        ConnectError::Proxy { problem, .. } => *problem,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_real_proxy_connects_by_name_and_by_address() {
    let Some(proxy) = Microsocks::start(None) else { return };
    for host in ["localhost", "127.0.0.1"] {
        let (addr, server) = serve_once(|mut tcp| async move {
            let mut bytes = [0; 4];
            tcp.read_exact(&mut bytes).await.unwrap();
            tcp.write_all(&bytes).await.unwrap();
        })
        .await;
        let endpoint = Endpoint::tcp(host, addr.port());
        let options = through(&proxy.url());
        let mut connected = connect(&endpoint, &options).await.unwrap();
        assert_eq!(connected.peer, Some(proxy.address()));
        assert_eq!(connected.stream.transport(), Transport::Tcp);
        assert!(connected.timings.proxy.is_some());
        connected.stream.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        with_timeout(connected.stream.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(&bytes, b"ping");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_real_proxy_checks_the_password() {
    let Some(proxy) = Microsocks::start(Some(("ann", "p@ss:word"))) else { return };
    let (addr, _server) = serve_once(|_| async {}).await;
    let endpoint = Endpoint::tcp("localhost", addr.port());
    for (credentials, expected) in [
        ("ann:wrong@", Err(ProxyProblem::CredentialsRefused)),
        ("", Err(ProxyProblem::CredentialsWanted)),
        ("ann:p%40ss%3aword@", Ok(())),
    ] {
        let options = through(&format!("socks5h://{credentials}{}", proxy.address()));
        let outcome = connect(&endpoint, &options).await.map(|_| ()).map_err(|error| {
            assert!(!error.is_retryable());
            assert!(!format!("{error} {error:?}").contains("wrong"));
            problem(&error)
        });
        assert_eq!(outcome, expected, "{credentials}");
    }
}

#[tokio::test]
async fn a_real_proxy_tells_what_is_wrong_with_the_broker() {
    let Some(proxy) = Microsocks::start(None) else { return };
    let options = through(&proxy.url());
    let endpoint = Endpoint::tcp("127.0.0.1", refusing_addr().port());
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert_eq!(problem(&error), ProxyProblem::TargetRefused);
    assert_eq!(error.io_error_kind(), Some(io::ErrorKind::ConnectionRefused));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn no_proxy_listens() {
    let addr = refusing_addr();
    let options = through(&format!("socks5h://{addr}"));
    let error = connect(&Endpoint::tcp("broker.example", 1883), &options).await.unwrap_err();
    assert_eq!(problem(&error), ProxyProblem::Unreachable);
    assert_eq!(error.io_error_kind(), Some(io::ErrorKind::ConnectionRefused));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

/// How connecting fails when the proxy answers the greeting, and then the request, with these bytes.
async fn failure(greeting: &'static [u8], reply: &'static [u8]) -> ConnectError {
    let (addr, server) = serve_once(move |mut tcp| async move {
        tcp.read_exact(&mut [0; 3]).await.unwrap();
        tcp.write_all(greeting).await.unwrap();
        if reply.is_empty() {
            tcp.shutdown().await.unwrap();
        }
        let mut head = [0; 5];
        if tcp.read_exact(&mut head).await.is_err() {
            return;
        }
        assert_eq!(head, [5, 1, 0, 3, 14]);
        tcp.read_exact(&mut [0; 16]).await.unwrap();
        tcp.write_all(reply).await.unwrap();
        let _ = tcp.shutdown().await;
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "nothing is sent where the proxy refused");
    })
    .await;
    let options = through(&format!("socks5h://{addr}"));
    let endpoint = Endpoint::tcp("broker.example", 1883);
    let error = with_timeout(connect(&endpoint, &options)).await.unwrap_err();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn refusals_of_a_proxy() {
    for (greeting, reply, expected) in [
        (&[5, 0xFF][..], &[][..], ProxyProblem::CredentialsWanted),
        (&[5, 2], &[], ProxyProblem::CredentialsWanted),
        (&[5, 1], &[], ProxyProblem::Unsupported),
        (&[4, 0], &[], ProxyProblem::NotSocks5),
        (b"HTTP/1.1 400", &[], ProxyProblem::NotSocks5),
        (&[5], &[], ProxyProblem::Connection),
        (&[5, 0], &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::Failed),
        (&[5, 0], &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::NotAllowed),
        (&[5, 0], &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::TargetUnreachable),
        (&[5, 0], &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::TargetUnreachable),
        (&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::TargetRefused),
        (&[5, 0], &[5, 6, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::TargetUnreachable),
        (&[5, 0], &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::Unsupported),
        (&[5, 0], &[5, 8, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::Unsupported),
        (&[5, 0], &[4, 0, 0, 1, 0, 0, 0, 0, 0, 0], ProxyProblem::NotSocks5),
        (&[5, 0], &[5, 0, 0, 9, 0, 0, 0, 0, 0, 0], ProxyProblem::NotSocks5),
        (&[5, 0], &[5, 0, 0, 1, 0, 0], ProxyProblem::Connection),
        (&[5, 0], &[], ProxyProblem::Connection),
    ] {
        let error = failure(greeting, reply).await;
        assert_eq!(problem(&error), expected, "{greeting:?} {reply:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_reply_with_a_long_name_is_read_whole() {
    let (addr, server) = serve_once(|mut tcp| async move {
        tcp.read_exact(&mut [0; 3]).await.unwrap();
        tcp.write_all(&[5, 0]).await.unwrap();
        tcp.read_exact(&mut [0; 21]).await.unwrap();
        let mut reply = vec![5, 0, 0, 3, 255];
        reply.extend([b'a'; 257]);
        reply.extend(b"first bytes of the broker");
        tcp.write_all(&reply).await.unwrap();
    })
    .await;
    let options = through(&format!("socks5h://{addr}"));
    let mut stream =
        connect(&Endpoint::tcp("broker.example", 1883), &options).await.unwrap().stream;
    let mut bytes = Vec::new();
    with_timeout(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"first bytes of the broker");
    server.await.unwrap();
}

#[tokio::test]
async fn a_name_too_long_for_a_proxy() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let options = through(&format!("socks5h://{addr}"));
    let error = connect(&Endpoint::tcp("a".repeat(256), 1883), &options).await.unwrap_err();
    assert_eq!(problem(&error), ProxyProblem::InvalidTarget);
}

#[tokio::test]
async fn a_silent_proxy_is_given_up_in_the_proxy_stage() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut options = through(&format!("socks5h://{addr}"));
    options.connect_timeout = Duration::from_millis(100);
    let error = connect(&Endpoint::tcp("broker.example", 1883), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Proxy, .. }), "{error:?}");
}
