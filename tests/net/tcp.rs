//! Plain TCP: name lookup, the race between addresses, local addresses, deadlines and `dial`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use midge::net::{
    BindAddress, ConnectError, ConnectOptions, Endpoint, Resolver, Stage, Transport, connect, dial,
    resolve,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::support::broker::free_port;
use super::{refusing_addr, serve_once, with_timeout};

/// An address whose connection attempts stay unanswered: its accept queue is full.
struct SilentAddr {
    addr: SocketAddr,
    _listener: TcpListener,
    _clients: Vec<tokio::net::TcpStream>,
}

impl SilentAddr {
    async fn new() -> SilentAddr {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        let patience = Duration::from_millis(100);
        while let Ok(client) =
            tokio::time::timeout(patience, tokio::net::TcpStream::connect(addr)).await
        {
            clients.push(client.unwrap());
        }
        SilentAddr { addr, _listener: listener, _clients: clients }
    }
}

fn options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(5);
    options
}

fn resolving_to(addrs: &[SocketAddr]) -> ConnectOptions {
    let addrs = addrs.to_vec();
    let mut options = options();
    options.resolver = Resolver::new(move |_, _| std::future::ready(Ok(addrs.clone())));
    options
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let (addr, server) = serve_once(|mut tcp| async move {
        let mut bytes = [0; 4];
        tcp.read_exact(&mut bytes).await.unwrap();
        tcp.write_all(b"pong").await.unwrap();
        bytes
    })
    .await;
    let endpoint = Endpoint::parse(&format!("mqtt://{addr}")).unwrap();
    let mut connected = connect(&endpoint, &options()).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    assert_eq!(connected.stream.transport(), Transport::Tcp);
    assert_eq!(connected.stream.peer_addr(), Some(addr));
    assert!(connected.timings.tcp.is_some());
    assert_eq!(connected.timings.dns, None);
    assert!(connected.stream.is_write_vectored());
    connected.stream.write_all(b"ping").await.unwrap();
    let mut bytes = Vec::new();
    with_timeout(connected.stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"pong");
    assert_eq!(&server.await.unwrap(), b"ping");
}

#[tokio::test]
async fn host_names_are_looked_up() {
    let (addr, _server) = serve_once(|_| async {}).await;
    let endpoint = Endpoint::tcp("localhost", addr.port());
    let found = resolve(&endpoint, &options()).await.unwrap();
    assert!(found.contains(&addr), "{found:?}");
    let connected = connect(&endpoint, &options()).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    assert!(connected.timings.dns.is_some());
}

#[tokio::test]
async fn refused_port() {
    let addr = refusing_addr();
    let endpoint = Endpoint::tcp("127.0.0.1", addr.port());
    let error = connect(&endpoint, &options()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial { addr: at, tried: 1, .. } if at == addr));
    assert_eq!(error.io_error_kind(), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(error.stage(), Stage::Dial);
    assert!(error.is_retryable());
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn unknown_host() {
    for host in ["no-such-host.invalid", "bad host", ""] {
        let error = connect(&Endpoint::tcp(host, 1), &options()).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Resolve { host: named, .. } if named == host));
        assert_eq!(error.stage(), Stage::Resolve);
    }
}

#[tokio::test]
async fn a_name_without_addresses() {
    let error = connect(&Endpoint::tcp("h", 1), &resolving_to(&[])).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusing_address_gives_way_at_once() {
    let (addr, _server) = serve_once(|_| async {}).await;
    let options = resolving_to(&[refusing_addr(), refusing_addr(), addr]);
    let connected = connect(&Endpoint::tcp("h", 1), &options).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    assert!(connected.timings.tcp < Some(Duration::from_millis(200)), "{:?}", connected.timings);
}

#[tokio::test]
async fn a_silent_address_is_overtaken_after_250_ms() {
    let silent = SilentAddr::new().await;
    let (addr, _server) = serve_once(|_| async {}).await;
    let options = resolving_to(&[silent.addr, addr]);
    let connected = connect(&Endpoint::tcp("h", 1), &options).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    let took = connected.timings.tcp.unwrap();
    assert!(took >= Duration::from_millis(249) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_brings_the_next_address_at_once_beside_a_silent_one() {
    let silent = SilentAddr::new().await;
    let (addr, _server) = serve_once(|_| async {}).await;
    let options = resolving_to(&[silent.addr, refusing_addr(), addr]);
    let connected = connect(&Endpoint::tcp("h", 1), &options).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    // The clock stands still but for the one delay after the silent address.
    let took = connected.timings.tcp.unwrap();
    assert!(took >= Duration::from_millis(249) && took < Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn all_addresses_fail() {
    let addrs = [refusing_addr(), refusing_addr()];
    let error = connect(&Endpoint::tcp("h", 1), &resolving_to(&addrs)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial { addr, tried: 2, .. } if addr == addrs[0]));
    assert!(error.to_string().contains("1 other address"), "{error}");
}

#[tokio::test]
async fn an_unreachable_network_does_not_hide_a_refusal() {
    // TCP never has a route to a multicast group.
    let unreachable: SocketAddr = "224.0.0.1:1".parse().unwrap();
    let refused = refusing_addr();
    let options = resolving_to(&[unreachable, refused]);
    match connect(&Endpoint::tcp("h", 1), &options).await.unwrap_err() {
        ConnectError::Dial { addr, .. } => assert_eq!(addr, refused),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_deadline_names_the_stage() {
    let silent = SilentAddr::new().await;
    let mut options = options();
    options.connect_timeout = Duration::from_millis(50);
    let endpoint = Endpoint::tcp("127.0.0.1", silent.addr.port());
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Dial, .. }), "{error:?}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("50ms"), "{error}");

    options.resolver = Resolver::new(|_, _| std::future::pending());
    let error = connect(&Endpoint::tcp("h", 1), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Resolve, .. }), "{error:?}");
    let error = resolve(&Endpoint::tcp("h", 1), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Resolve, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn one_deadline_covers_all_stages() {
    let silent = SilentAddr::new().await;
    let addr = silent.addr;
    let mut options = options();
    options.connect_timeout = Duration::from_millis(200);
    options.resolver = Resolver::new(move |_, _| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(vec![addr])
    });
    let began = tokio::time::Instant::now();
    let error = connect(&Endpoint::tcp("h", 1), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Dial, .. }), "{error:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(199) && took < Duration::from_millis(210), "{took:?}");
}

#[tokio::test]
async fn the_local_address_is_bound() {
    for bind in ["127.0.0.2", "localhost"] {
        let (addr, server) = serve_once(|tcp| async move { tcp.peer_addr().unwrap() }).await;
        let mut options = options();
        options.bind = Some(bind.parse().unwrap());
        let endpoint = Endpoint::tcp("127.0.0.1", addr.port());
        let connected = connect(&endpoint, &options).await.unwrap();
        let seen = server.await.unwrap();
        assert_eq!(connected.stream.local_addr(), Some(seen));
        if let Ok(ip) = bind.parse::<IpAddr>() {
            assert_eq!(seen.ip(), ip);
        }
    }
}

#[tokio::test]
async fn a_foreign_local_address_is_refused() {
    let (addr, _server) = serve_once(|_| async {}).await;
    // 192.0.2.0/24 is reserved for documentation: no machine has it.
    for bind in ["192.0.2.1", "::1", "no-such-host.invalid"] {
        let mut options = options();
        options.bind = Some(bind.parse::<BindAddress>().unwrap());
        let endpoint = Endpoint::tcp("127.0.0.1", addr.port());
        let error = connect(&endpoint, &options).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Bind { bind: named, .. } if named == bind));
        assert!(!error.is_retryable());
        assert!(error.to_string().contains(bind), "{error}");
    }
}

#[tokio::test]
async fn socket_options_are_set() {
    let (addr, _server) = serve_once(|_| async {}).await;
    let mut options = options();
    options.keepalive = Some(Duration::from_secs(11));
    options.user_timeout = Some(Duration::from_secs(12));
    let tcp = dial_raw(addr, &options).await;
    let socket = socket2::SockRef::from(&tcp);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(11));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(11));
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(12)));

    options = ConnectOptions::default();
    options.nodelay = false;
    let (addr, _server) = serve_once(|_| async {}).await;
    let tcp = dial_raw(addr, &options).await;
    let socket = socket2::SockRef::from(&tcp);
    assert!(!socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
}

async fn dial_raw(addr: SocketAddr, options: &ConnectOptions) -> tokio::net::TcpStream {
    dial(addr, None, options).unwrap().await.unwrap().into_tcp().unwrap()
}

#[tokio::test]
async fn dial_connects_from_a_chosen_port_again_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port());
    for _ in 0..3 {
        let stream = dial(addr, Some(local), &options()).unwrap().await.unwrap();
        assert_eq!(stream.local_addr(), Some(local));
        let (accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, local);
        // The client closes first, which leaves its port in TIME_WAIT.
        drop(stream);
        drop(accepted);
    }
}

#[tokio::test]
async fn dial_reports_a_refusal() {
    let error = dial(refusing_addr(), None, &options()).unwrap().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn any_byte_stream_can_be_wrapped() {
    let (near, mut far) = tokio::io::duplex(16);
    let mut stream = midge::net::Stream::from_io(near);
    assert_eq!(stream.transport(), Transport::Custom);
    assert_eq!((stream.peer_addr(), stream.local_addr()), (None, None));
    stream.write_all(b"abc").await.unwrap();
    let mut bytes = [0; 3];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"abc");
    assert!(!format!("{stream:?}").is_empty());
}
