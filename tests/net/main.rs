//! The net floor against real sockets: scripted servers on free loopback ports, and real brokers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "a test binary has no users")]

#[cfg(all(feature = "tls", feature = "websocket"))]
mod brokers;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "socks5")]
mod proxy;
#[cfg(all(feature = "psk", feature = "websocket"))]
mod psk;
#[cfg(feature = "srv")]
mod srv;
#[path = "../support/mod.rs"]
mod support;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;
#[cfg(feature = "websocket")]
mod websocket;

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Listens on a free port and hands the first connection to `serve`, whose result can be awaited.
async fn serve_once<T, Fut>(
    serve: impl FnOnce(TcpStream) -> Fut + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<T>)
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        serve(tcp).await
    });
    (addr, task)
}

/// A loopback port on which nothing listens, and nothing will: a socket that does not listen holds
/// it for as long as this process runs.
fn refusing_addr() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    std::mem::forget(socket);
    addr
}

/// Fails the test rather than to hang.
async fn with_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), future).await.unwrap()
}
