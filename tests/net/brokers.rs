//! Every transport to real servers: mosquitto for MQTT's first exchange in each version, openssl for
//! the limits of TLS versions.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use midge::net::{
    ConnectError, ConnectOptions, Endpoint, SubProtocol, TlsOptions, TlsProblem, TlsVersion,
    Transport, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::Broker;
use crate::support::broker::{free_port, program};
use crate::support::pki::{Ca, Identity};
use crate::with_timeout;

/// CONNECT with a clean session, and the CONNACK that accepts it as far as it is the same everywhere.
const VERSIONS: [(&str, &[u8], &[u8]); 3] = [
    ("3.1", b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04test", &[0x20, 2, 0, 0]),
    ("3.1.1", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test", &[0x20, 2, 0, 0]),
    ("5.0", b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04test", &[0x20]),
];

/// Connects in each version of MQTT and says goodbye.
pub async fn speaks_mqtt(endpoint: &Endpoint, options: &ConnectOptions, transport: Transport) {
    for (version, connect_packet, connack) in VERSIONS {
        let mut options = options.clone();
        if version == "3.1" {
            options.websocket.set_sub_protocol(SubProtocol::MqttV31);
        }
        let connected = connect(endpoint, &options).await;
        let mut stream = connected.unwrap_or_else(|error| panic!("{version}: {error}")).stream;
        assert_eq!(stream.transport(), transport);
        // In two pieces, which are two frames of a WebSocket.
        let (one, two) = connect_packet.split_at(5);
        stream.write_all(one).await.unwrap();
        stream.write_all(two).await.unwrap();
        stream.flush().await.unwrap();
        let mut bytes = vec![0; connack.len()];
        with_timeout(stream.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(bytes, connack, "{version}");
        stream.write_all(&[0xE0, 0]).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

fn options(tls: Option<&TlsOptions>) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(10);
    options.tls = tls.map(|tls| tls.build().unwrap());
    options
}

/// A mosquitto with a certificate for `localhost`, and the port of its TLS listener.
///
/// That is a listener of its own beside a plain one: this mosquitto does not start with nothing but a
/// WebSocket listener.
fn tls_broker(ca: &Ca, more: &str) -> Option<(Broker, u16)> {
    let Identity { pem, key, .. } = ca.server();
    let port = free_port();
    let config = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\ncafile @DIR@/ca.pem\n\
         certfile @DIR@/server.pem\nkeyfile @DIR@/server.key\n{more}"
    );
    let files =
        [("ca.pem", &*ca.pem()), ("server.pem", &pem), ("server.key", &key.serialize_pem())];
    Some((Broker::with_files(&config, &files)?, port))
}

fn url(scheme: &str, port: u16) -> Endpoint {
    Endpoint::parse(&format!("{scheme}://localhost:{port}")).unwrap()
}

fn trusting(ca: &Ca) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.ca = vec![ca.source()];
    options
}

#[tokio::test]
async fn mosquitto_over_tcp() {
    let Some(broker) = Broker::start() else { return };
    speaks_mqtt(&url("mqtt", broker.port()), &options(None), Transport::Tcp).await;
}

#[tokio::test]
async fn mosquitto_over_tls() {
    let ca = Ca::new("ca");
    let Some((_broker, port)) = tls_broker(&ca, "") else { return };
    let endpoint = url("mqtts", port);
    speaks_mqtt(&endpoint, &options(Some(&trusting(&ca))), Transport::Tls).await;
    let error = connect(&endpoint, &options(Some(&trusting(&Ca::new("other"))))).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Tls { problem: TlsProblem::UnknownIssuer, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn mosquitto_over_mutual_tls() {
    let ca = Ca::new("ca");
    let Some((_broker, port)) = tls_broker(&ca, "require_certificate true\n") else { return };
    let me = ca.client("me");
    let mut tls = trusting(&ca);
    tls.client_cert = Some(me.cert());
    tls.client_key = Some(me.key());
    let endpoint = url("mqtts", port);
    speaks_mqtt(&endpoint, &options(Some(&tls)), Transport::Tls).await;

    // Without a certificate TLS 1.3 comes about, and the first read tells what is missing.
    let mut stream = connect(&endpoint, &options(Some(&trusting(&ca)))).await.unwrap().stream;
    let error = with_timeout(stream.read(&mut [0; 4])).await.unwrap_err();
    assert!(error.to_string().contains("wants a client certificate"), "{error}");
}

#[tokio::test]
async fn mosquitto_over_websocket() {
    let port = free_port();
    let config = format!("allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\n");
    let Some(_broker) = Broker::with_config(&config) else { return };
    speaks_mqtt(&url("ws", port), &options(None), Transport::WebSocket).await;
}

#[tokio::test]
async fn mosquitto_over_websocket_over_tls() {
    let ca = Ca::new("ca");
    let Some((_broker, port)) = tls_broker(&ca, "protocol websockets\n") else { return };
    let options = options(Some(&trusting(&ca)));
    speaks_mqtt(&url("wss", port), &options, Transport::SecureWebSocket).await;
}

#[cfg(unix)]
#[tokio::test]
async fn mosquitto_over_a_unix_socket() {
    let config = "allow_anonymous true\nlistener 0 @DIR@/mqtt.sock\n";
    let Some(broker) = Broker::with_config(config) else { return };
    let endpoint = Endpoint::unix(broker.dir().join("mqtt.sock"));
    speaks_mqtt(&endpoint, &options(None), Transport::Unix).await;
}

#[cfg(feature = "socks5")]
#[tokio::test]
async fn mosquitto_through_a_proxy() {
    use crate::support::microsocks::Microsocks;

    let Some(proxy) = Microsocks::start(None) else { return };
    let ca = Ca::new("ca");
    for (scheme, more, transport) in [
        ("mqtts", "", Transport::Tls),
        ("wss", "protocol websockets\n", Transport::SecureWebSocket),
    ] {
        let Some((_broker, port)) = tls_broker(&ca, more) else { return };
        let mut options = options(Some(&trusting(&ca)));
        options.proxy = Some(proxy.url().parse().unwrap());
        speaks_mqtt(&url(scheme, port), &options, transport).await;
    }
    let Some(broker) = Broker::start() else { return };
    let mut options = options(None);
    options.proxy = Some(proxy.url().parse().unwrap());
    speaks_mqtt(&url("mqtt", broker.port()), &options, Transport::Tcp).await;
}

#[tokio::test]
async fn the_wrong_transport_is_told() {
    let ca = Ca::new("ca");
    let Some(plain) = Broker::start() else { return };
    let Some((_tls, tls_port)) = tls_broker(&ca, "") else { return };
    let options = options(Some(&trusting(&ca)));

    // TLS to a plain port: mosquitto hangs up on what is no CONNECT.
    let error = connect(&url("mqtts", plain.port()), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { problem: TlsProblem::Closed, .. }), "{error:?}");
    assert!(error.to_string().contains("port is for TLS"), "{error}");

    // WebSocket to a plain port, and to a TLS port.
    for port in [plain.port(), tls_port] {
        let error = connect(&url("ws", port), &options).await.unwrap_err();
        assert!(error.to_string().contains("check"), "{error}");
        assert!(matches!(error, ConnectError::WebSocket { .. }), "{error:?}");
    }
}

/// An `openssl s_server`.
struct OpensslServer {
    child: Child,
    addr: SocketAddr,
    /// Kept open, for it ends when it cannot write.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl OpensslServer {
    /// Starts a server that speaks one version of TLS.
    fn start(dir: &Path, version: &str) -> Option<OpensslServer> {
        let path = program("openssl")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut child = Command::new(path)
            .args(["s_server", "-accept", &addr.to_string(), version, "-rev"])
            .args(["-cert", "server.pem", "-key", "server.key", "-naccept", "1"])
            .args(["-cipher", "ALL:@SECLEVEL=0"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ACCEPT"), "openssl ended before it listened");
        Some(OpensslServer { child, addr, _stdout: lines })
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_versions_of_tls_against_openssl() {
    let ca = Ca::new("ca");
    let Identity { pem, key, .. } = ca.server();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("server.pem"), pem).unwrap();
    std::fs::write(dir.path().join("server.key"), key.serialize_pem()).unwrap();
    for (version, minimum, accepted) in [
        ("-tls1", TlsVersion::Tls12, false),
        ("-tls1_1", TlsVersion::Tls12, false),
        ("-tls1_2", TlsVersion::Tls12, true),
        ("-tls1_3", TlsVersion::Tls12, true),
        ("-tls1_2", TlsVersion::Tls13, false),
        ("-tls1_3", TlsVersion::Tls13, true),
    ] {
        let Some(server) = OpensslServer::start(dir.path(), version) else { return };
        let mut tls = trusting(&ca);
        tls.min_version = minimum;
        let endpoint = Endpoint::parse(&format!("mqtts://{}", server.addr)).unwrap();
        match connect(&endpoint, &options(Some(&tls))).await {
            Ok(mut connected) => {
                assert!(accepted, "{version} {minimum:?}");
                connected.stream.write_all(b"abc\n").await.unwrap();
                connected.stream.flush().await.unwrap();
                let mut echoed = [0; 4];
                with_timeout(connected.stream.read_exact(&mut echoed)).await.unwrap();
                assert_eq!(&echoed, b"cba\n");
            }
            Err(ConnectError::Tls { problem: TlsProblem::Version, .. }) => {
                assert!(!accepted, "{version} {minimum:?}");
            }
            Err(error) => panic!("{version} {minimum:?}: {error:?}"),
        }
    }
}
