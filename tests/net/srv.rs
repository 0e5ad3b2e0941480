//! DNS SRV lookups at a scripted name server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use midge::net::{
    ConnectError, ConnectOptions, Endpoint, Resolver, SrvLookup, Stage, connect, resolve,
};
use tokio::net::UdpSocket;

use crate::{refusing_addr, serve_once};

/// Priority, weight, port and target.
type Record = (u16, u16, u16, &'static str);

/// Starts a name server that answers every question with these records, or that there is no such name.
/// It hands out the names it was asked for.
async fn name_server(
    records: Vec<Record>,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = &buffer[..length];
            let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
            let _ = asked.send(dotted(&query[12..name_end]));
            let question = &query[12..name_end + 4];
            assert_eq!(question[question.len() - 4..], [0, 33, 0, 1], "type SRV, class IN");
            let no_such_name = if records.is_empty() { 3 } else { 0 };
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80 | no_such_name, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
            answer.extend(question);
            for (priority, weight, port, target) in &records {
                answer.extend([0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
                let mut data = Vec::new();
                for number in [priority, weight, port] {
                    data.extend(number.to_be_bytes());
                }
                for label in target.split('.').filter(|label| !label.is_empty()) {
                    data.push(label.len() as u8);
                    data.extend(label.as_bytes());
                }
                data.push(0);
                answer.extend((data.len() as u16).to_be_bytes());
                answer.extend(data);
            }
            socket.send_to(&answer, client).await.unwrap();
        }
    });
    (addr, questions)
}

fn dotted(name: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let [length @ 1..=63, after @ ..] = rest {
        let (label, next) = after.split_at(usize::from(*length));
        text.extend([std::str::from_utf8(label).unwrap(), "."]);
        rest = next;
    }
    text
}

/// Looks up SRV records there, and finds every target at 127.0.0.1 but those that are missing.
fn options(name_server: SocketAddr) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(10);
    options.srv = Some(SrvLookup::with_name_server(name_server));
    options.resolver = Resolver::new(|host, port| async move {
        if host.starts_with("missing") {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))])
    });
    options
}

fn ports(addrs: &[SocketAddr]) -> Vec<u16> {
    addrs.iter().map(SocketAddr::port).collect()
}

#[tokio::test]
async fn the_servers_of_a_domain_in_the_order_of_their_priority() {
    let records = vec![
        (20, 0, 2020, "b.example.com"),
        (10, 5, 1010, "a.example.com"),
        (5, 0, 505, "missing.example.com"),
        (30, 0, 3030, "c.example.com"),
    ];
    let (server, mut questions) = name_server(records).await;
    for (url, question) in [
        ("mqtt://example.com", "_mqtt._tcp.example.com."),
        ("mqtts://example.com.", "_secure-mqtt._tcp.example.com."),
    ] {
        let endpoint = Endpoint::parse(url).unwrap();
        let addrs = resolve(&endpoint, &options(server)).await.unwrap();
        assert_eq!(ports(&addrs), [1010, 2020, 3030]);
        assert_eq!(questions.recv().await.unwrap().to_lowercase(), question);
    }
}

#[tokio::test]
async fn the_next_server_is_tried() {
    let (addr, _broker) = serve_once(|_| async {}).await;
    let records =
        vec![(1, 0, refusing_addr().port(), "a.example.com"), (2, 0, addr.port(), "b.example.com")];
    let (server, _questions) = name_server(records).await;
    let connected = connect(&Endpoint::tcp("example.com", 1), &options(server)).await.unwrap();
    assert_eq!(connected.peer, Some(addr));
    assert!(connected.timings.dns.is_some());
}

#[tokio::test]
async fn only_so_many_servers_are_looked_up() {
    let records = (0..30).map(|number| (number, 0, 1000 + number, "x.example.com")).collect();
    let (server, _questions) = name_server(records).await;
    let endpoint = Endpoint::tcp("example.com", 1);
    let addrs = resolve(&endpoint, &options(server)).await.unwrap();
    assert_eq!(ports(&addrs), (1000..1016).collect::<Vec<u16>>());
}

#[tokio::test]
async fn a_domain_without_mqtt() {
    for records in [vec![], vec![(0, 0, 0, ".")], vec![(0, 0, 1, "missing.example.com")]] {
        let (server, _questions) = name_server(records.clone()).await;
        let endpoint = Endpoint::tcp("example.com", 1);
        let error = resolve(&endpoint, &options(server)).await.unwrap_err();
        assert_eq!(error.stage(), Stage::Resolve, "{records:?}: {error:?}");
        let named = error.to_string();
        assert!(named.contains("_mqtt._tcp.example.com.") || named.contains("missing"), "{named}");
    }
}

#[tokio::test]
async fn what_cannot_be_had_together_is_refused() {
    let (server, _questions) = name_server(Vec::new()).await;
    let endpoint = Endpoint::parse("ws://example.com").unwrap();
    let error = resolve(&endpoint, &options(server)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unsupported { .. }), "{error:?}");
    #[cfg(feature = "socks5")]
    {
        let mut options = options(server);
        options.proxy = Some("socks5h://127.0.0.1:1".parse().unwrap());
        let error = connect(&Endpoint::tcp("example.com", 1), &options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}

#[tokio::test]
async fn a_silent_name_server_is_given_up() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(socket.local_addr().unwrap());
    options.connect_timeout = Duration::from_millis(100);
    let error = connect(&Endpoint::tcp("example.com", 1), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Resolve, .. }), "{error:?}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_certificate_must_be_for_the_domain() {
    use crate::support::pki::{Ca, server_params};
    use midge::net::{TlsOptions, TlsProblem};

    let ca = Ca::new("ca");
    for (name, accepted) in [("example.com", true), ("broker.example.com", false)] {
        let config = ca.issue(server_params(&[name])).server_config();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let (addr, _broker) = serve_once(|tcp| async move {
            let _ = acceptor.accept(tcp).await;
        })
        .await;
        let records = vec![(0, 0, addr.port(), "broker.example.com")];
        let (server, _questions) = name_server(records).await;
        let mut options = options(server);
        let mut tls = TlsOptions::default();
        tls.ca = vec![ca.source()];
        options.tls = Some(tls.build().unwrap());
        let endpoint = Endpoint::parse("mqtts://example.com").unwrap();
        match connect(&endpoint, &options).await {
            Ok(_) => assert!(accepted),
            Err(ConnectError::Tls { problem: TlsProblem::WrongName, .. }) => assert!(!accepted),
            Err(error) => panic!("{error:?}"),
        }
    }
}
