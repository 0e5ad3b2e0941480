//! TLS: whom the client trusts, what it sends when it does not, and what it says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use midge::net::{
    ConnectError, ConnectOptions, Connected, Endpoint, Stage, TlsOptions, TlsProblem, TlsVersion,
    Transport, Verification, connect,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, SerialNumber, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::pki::{Ca, Identity, server_params};
use crate::{serve_once, with_timeout};

/// What a server saw of one connection.
#[derive(Debug)]
struct Seen {
    /// The bytes inside TLS, or why the handshake failed.
    received: Result<Vec<u8>, io::Error>,
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
    client_certificate: bool,
}

/// Serves TLS connections that are echoed until the client closes.
struct Server {
    addr: SocketAddr,
    task: JoinHandle<Seen>,
}

impl Server {
    async fn new(identity: &Identity) -> Server {
        Server::with_config(identity.server_config()).await
    }

    async fn with_config(config: ServerConfig) -> Server {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (addr, task) = serve_once(|tcp| echo(acceptor, tcp)).await;
        Server { addr, task }
    }

    fn endpoint(&self, host: &str) -> Endpoint {
        Endpoint::parse(&format!("mqtts://{host}:{}", self.addr.port())).unwrap()
    }

    /// Connects by this name, exchanges bytes, and returns what the server saw.
    async fn accepts(self, host: &str, options: &TlsOptions) -> Seen {
        let mut connected = connect(&self.endpoint(host), &connect_options(options))
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        exchange(&mut connected).await;
        let seen = self.task.await.unwrap();
        assert_eq!(seen.received.as_ref().unwrap(), b"ping", "{seen:?}");
        seen
    }

    /// Connects by this name, fails, and checks that the server saw nothing inside TLS.
    async fn refuses(self, host: &str, options: &TlsOptions) -> TlsProblem {
        let error = connect(&self.endpoint(host), &connect_options(options)).await.unwrap_err();
        let seen = self.task.await.unwrap();
        assert!(seen.received.is_err(), "{error}: {seen:?}");
        problem(&error)
    }
}

async fn echo(acceptor: TlsAcceptor, tcp: TcpStream) -> Seen {
    let mut tls = match acceptor.accept(tcp).await {
        Ok(tls) => tls,
        Err(error) => {
            return Seen {
                received: Err(error),
                server_name: None,
                alpn: None,
                client_certificate: false,
            };
        }
    };
    let mut received = Vec::new();
    let mut buffer = [0; 64];
    let received = loop {
        match tls.read(&mut buffer).await {
            Ok(0) => break Ok(received),
            Ok(count) => {
                received.extend_from_slice(&buffer[..count]);
                tls.write_all(&buffer[..count]).await.unwrap();
                tls.flush().await.unwrap();
            }
            // A client that refuses the certificate says so where TLS 1.3 has data already.
            Err(error) => break Err(error),
        }
    };
    let (_, connection) = tls.get_ref();
    Seen {
        received,
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        client_certificate: connection.peer_certificates().is_some(),
    }
}

async fn exchange(connected: &mut Connected) {
    assert_eq!(connected.stream.transport(), Transport::Tls);
    assert!(connected.timings.tls.is_some());
    connected.stream.write_all(b"ping").await.unwrap();
    connected.stream.flush().await.unwrap();
    let mut bytes = [0; 4];
    connected.stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    connected.stream.shutdown().await.unwrap();
}

fn connect_options(options: &TlsOptions) -> ConnectOptions {
    let mut connect_options = ConnectOptions::default();
    connect_options.connect_timeout = Duration::from_secs(10);
    connect_options.tls = Some(options.build().unwrap());
    // All test names are this machine.
    connect_options.resolver = midge::net::Resolver::new(|_, port| async move {
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    });
    connect_options
}

fn trusting(ca: &Ca) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.ca = vec![ca.source()];
    options
}

#[track_caller]
fn problem(error: &ConnectError) -> TlsProblem {
    assert_eq!(error.stage(), Stage::Tls);
    assert!(!error.to_string().contains('\n'), "{error}");
    match error {
        ConnectError::Tls { problem, .. } => *problem,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_the_ca_is_accepted_by_name_and_address() {
    let ca = Ca::new("ca");
    let identity = ca.issue(server_params(&["localhost", "127.0.0.1", "::1", "*.example.com"]));
    for host in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "a.example.com"] {
        Server::new(&identity).await.accepts(host, &trusting(&ca)).await;
    }
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_hold_is_refused() {
    let ca = Ca::new("ca");
    for (names, host) in [
        (vec!["localhost"], "127.0.0.1"),
        (vec!["127.0.0.1"], "localhost"),
        (vec!["other.example"], "localhost"),
        (vec!["*.example.com"], "example.com"),
        (vec!["*.example.com"], "a.b.example.com"),
        (vec!["*.com"], "a.example.com"),
        (vec!["*"], "localhost"),
        (vec!["f*.example.com"], "foo.example.com"),
    ] {
        let server = Server::new(&ca.issue(server_params(&names))).await;
        let problem = server.refuses(host, &trusting(&ca)).await;
        let wrong = [TlsProblem::WrongName, TlsProblem::Certificate];
        assert!(wrong.contains(&problem), "{names:?} {host}: {problem:?}");
    }
}

#[tokio::test]
async fn a_wildcard_does_not_cover_a_top_level_domain() {
    let ca = Ca::new("ca");
    for pattern in ["*.com", "*."] {
        let server = Server::new(&ca.issue(server_params(&[pattern]))).await;
        let problem = server.refuses("example.com", &trusting(&ca)).await;
        assert_eq!(problem, TlsProblem::WrongName, "{pattern}");
    }
}

#[tokio::test]
async fn a_common_name_alone_is_not_a_name() {
    let ca = Ca::new("ca");
    let mut params = server_params(&[]);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let server = Server::new(&ca.issue(params)).await;
    assert_eq!(server.refuses("localhost", &trusting(&ca)).await, TlsProblem::NoName);
}

#[tokio::test]
async fn a_name_with_an_embedded_nul_is_refused() {
    let ca = Ca::new("ca");
    let server = Server::new(&ca.issue(server_params(&["localhost\0.evil.example"]))).await;
    server.refuses("localhost", &trusting(&ca)).await;
}

#[tokio::test]
async fn an_unknown_ca_is_refused() {
    let server = Server::new(&Ca::new("theirs").server()).await;
    let problem = server.refuses("localhost", &trusting(&Ca::new("ours"))).await;
    assert_eq!(problem, TlsProblem::UnknownIssuer);
}

#[tokio::test]
async fn an_impostor_with_the_name_of_the_ca_is_refused() {
    let server = Server::new(&Ca::new("ca").server()).await;
    let problem = server.refuses("localhost", &trusting(&Ca::new("ca"))).await;
    assert!(matches!(problem, TlsProblem::UnknownIssuer | TlsProblem::Signature), "{problem:?}");
}

#[tokio::test]
async fn validity_is_checked() {
    let ca = Ca::new("ca");
    let mut params = server_params(&["localhost"]);
    params.not_after = date_time_ymd(2020, 1, 1);
    let server = Server::new(&ca.issue(params)).await;
    assert_eq!(server.refuses("localhost", &trusting(&ca)).await, TlsProblem::Expired);
    let mut params = server_params(&["localhost"]);
    params.not_before = date_time_ymd(3000, 1, 1);
    let server = Server::new(&ca.issue(params)).await;
    assert_eq!(server.refuses("localhost", &trusting(&ca)).await, TlsProblem::NotYetValid);
}

#[tokio::test]
async fn intermediate_authorities_are_followed() {
    let root = Ca::new("root");
    let intermediate = root.intermediate("intermediate");
    let identity = intermediate.server().with_issuer(&intermediate);
    Server::new(&identity).await.accepts("localhost", &trusting(&root)).await;
    let server = Server::new(&intermediate.server()).await;
    let problem = server.refuses("localhost", &trusting(&root)).await;
    assert_eq!(problem, TlsProblem::UnknownIssuer);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let ca = Ca::new("ca");
    let serial = |number: u64| {
        let mut params = server_params(&["localhost"]);
        params.serial_number = Some(SerialNumber::from(number));
        ca.issue(params)
    };
    let mut options = trusting(&ca);
    options.crls = vec![ca.crl(&[7, 9])];
    Server::new(&serial(8)).await.accepts("localhost", &options).await;
    let problem = Server::new(&serial(9)).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::Revoked);

    // --insecure is about the name alone.
    options.verification = Verification::IgnoreName;
    Server::new(&serial(8)).await.accepts("other.example", &options).await;
    let problem = Server::new(&serial(9)).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::Revoked);
}

#[tokio::test]
async fn revocation_must_be_known_for_the_whole_chain() {
    let root = Ca::new("root");
    let intermediate = root.intermediate("intermediate");
    let identity = || intermediate.server().with_issuer(&intermediate);
    let mut options = trusting(&root);
    options.crls = vec![intermediate.crl(&[1])];
    let problem = Server::new(&identity()).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::RevocationUnknown);
    options.crls.push(root.crl(&[1]));
    Server::new(&identity()).await.accepts("localhost", &options).await;
    options.crls = vec![Ca::new("other").crl(&[1])];
    let problem = Server::new(&identity()).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::RevocationUnknown);
}

#[tokio::test]
async fn an_expired_revocation_list_is_refused() {
    let ca = Ca::new("ca");
    let mut options = trusting(&ca);
    options.crls = vec![ca.crl_until(&[1], 2021)];
    let problem = Server::new(&ca.server()).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::RevocationListExpired);
}

#[tokio::test]
async fn a_large_revocation_list_does_not_slow_the_handshake() {
    let ca = Ca::new("ca");
    let mut options = trusting(&ca);
    options.crls = vec![ca.crl(&(1..=100_000).collect::<Vec<u64>>())];
    let mut params = server_params(&["localhost"]);
    params.serial_number = Some(SerialNumber::from(200_000));
    Server::new(&ca.issue(params)).await.accepts("localhost", &options).await;
}

#[tokio::test]
async fn insecure_skips_the_name_and_nothing_else() {
    let ca = Ca::new("ca");
    let mut options = trusting(&ca);
    options.verification = Verification::IgnoreName;
    Server::new(&ca.server()).await.accepts("other.example", &options).await;

    let server = Server::new(&Ca::new("theirs").server()).await;
    assert_eq!(server.refuses("localhost", &options).await, TlsProblem::UnknownIssuer);

    let mut params = server_params(&["localhost"]);
    params.not_after = date_time_ymd(2020, 1, 1);
    let server = Server::new(&ca.issue(params)).await;
    assert_eq!(server.refuses("other.example", &options).await, TlsProblem::Expired);
}

/// Shows a certificate whose private key it does not have.
#[derive(Debug)]
struct StolenCertificate(Arc<tokio_rustls::rustls::sign::CertifiedKey>);

impl ResolvesServerCert for StolenCertificate {
    fn resolve(
        &self,
        _hello: tokio_rustls::rustls::server::ClientHello<'_>,
    ) -> Option<Arc<tokio_rustls::rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_stolen_certificate_without_its_key_is_refused() {
    let ca = Ca::new("ca");
    let (stolen, thief) = (ca.server(), ca.server());
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(thief.key_der()).unwrap();
    let certified = Arc::new(tokio_rustls::rustls::sign::CertifiedKey::new(stolen.chain, key));
    for version in [&TLS12, &TLS13] {
        for verification in [Verification::Full, Verification::IgnoreName] {
            let mut config = thief.server_config_with(&[version], None);
            config.cert_resolver = Arc::new(StolenCertificate(Arc::clone(&certified)));
            let mut options = trusting(&ca);
            options.verification = verification;
            let server = Server::with_config(config).await;
            let problem = server.refuses("localhost", &options).await;
            assert_eq!(problem, TlsProblem::Signature, "{version:?} {verification:?}");
        }
    }
}

#[tokio::test]
async fn skipping_all_verification_accepts_anybody() {
    let mut params = server_params(&["other.example"]);
    params.not_after = date_time_ymd(2020, 1, 1);
    let identity = Ca::new("theirs").issue(params);
    let mut options = TlsOptions::default();
    options.verification = Verification::Nothing;
    for version in [&TLS12, &TLS13] {
        let server = Server::with_config(identity.server_config_with(&[version], None)).await;
        server.accepts("localhost", &options).await;
    }
}

/// A self-signed certificate that is marked as a CA, as `openssl req -x509` makes them.
fn self_signed(params: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut own = server_params(&["localhost"]);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    own.extended_key_usages.clear();
    params(&mut own);
    let certificate = own.self_signed(&key).unwrap();
    Identity { chain: vec![certificate.der().clone()], key, pem: certificate.pem() }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_cafile() {
    let identity = self_signed(|_| {});
    let mut options = TlsOptions::default();
    options.ca = vec![identity.cert()];
    Server::new(&identity).await.accepts("localhost", &options).await;
    let problem = Server::new(&identity).await.refuses("other.example", &options).await;
    assert_eq!(problem, TlsProblem::WrongName);
    let other = self_signed(|_| {});
    let problem = Server::new(&other).await.refuses("localhost", &options).await;
    assert_ne!(problem, TlsProblem::Other);
    let expired = self_signed(|params| params.not_after = date_time_ymd(2020, 1, 1));
    options.ca = vec![expired.cert()];
    let problem = Server::new(&expired).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::Expired);
    options.verification = Verification::IgnoreName;
    let problem = Server::new(&expired).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::Expired);
    options.ca = vec![identity.cert()];
    Server::new(&identity).await.accepts("other.example", &options).await;
}

#[tokio::test]
async fn a_ca_that_did_not_issue_itself_to_a_server_is_not_a_server() {
    let root = Ca::new("root");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = server_params(&["localhost"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let identity = root.issue_for(params, key);
    let problem = Server::new(&identity).await.refuses("localhost", &trusting(&root)).await;
    assert_eq!(problem, TlsProblem::Certificate);
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let ca = Ca::new("ca");
    let (server, client) = (ca.server(), ca.client("me"));
    let mut options = trusting(&ca);
    options.client_cert = Some(client.cert());
    options.client_key = Some(client.key());
    for version in [&TLS12, &TLS13] {
        let config = server.server_config_with(&[version], Some(&ca));
        let seen = Server::with_config(config).await.accepts("localhost", &options).await;
        assert!(seen.client_certificate);
    }
}

#[tokio::test]
async fn a_missing_or_foreign_client_certificate_is_told() {
    let ca = Ca::new("ca");
    let server = ca.server();
    let foreign = Ca::new("other").client("me");
    let mut with_foreign = trusting(&ca);
    with_foreign.client_cert = Some(foreign.cert());
    with_foreign.client_key = Some(foreign.key());

    // TLS 1.2: within the handshake.
    let config = || server.server_config_with(&[&TLS12], Some(&ca));
    let problem = Server::with_config(config()).await.refuses("localhost", &with_foreign).await;
    assert_eq!(problem, TlsProblem::ClientCertificateRefused);
    let problem = Server::with_config(config()).await.refuses("localhost", &trusting(&ca)).await;
    assert_ne!(problem, TlsProblem::Other);

    // TLS 1.3: with the first bytes read.
    for (options, text) in
        [(trusting(&ca), "wants a client certificate"), (with_foreign, "does not accept")]
    {
        let config = server.server_config_with(&[&TLS13], Some(&ca));
        let server = Server::with_config(config).await;
        let endpoint = server.endpoint("localhost");
        let mut stream = connect(&endpoint, &connect_options(&options)).await.unwrap().stream;
        let error = with_timeout(stream.read(&mut [0; 8])).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(!format!("{stream:?}").is_empty());
    }
}

#[tokio::test]
async fn client_certificates_work_with_the_roots_of_the_system() {
    let client = Ca::new("ca").client("me");
    let mut options = TlsOptions::default();
    options.client_cert = Some(client.cert());
    options.client_key = Some(client.key());
    match options.build() {
        Ok(config) => assert!(format!("{config:?}").contains("client_certificate: true")),
        // A machine without CA certificates.
        Err(error) => assert!(error.to_string().contains("no usable CA"), "{error}"),
    }
}

#[tokio::test]
async fn the_minimum_version_is_a_minimum() {
    let ca = Ca::new("ca");
    let server = ca.server();
    for (minimum, version, accepted) in [
        (TlsVersion::Tls12, &TLS12, true),
        (TlsVersion::Tls12, &TLS13, true),
        (TlsVersion::Tls13, &TLS13, true),
        (TlsVersion::Tls13, &TLS12, false),
    ] {
        let mut options = trusting(&ca);
        options.min_version = minimum;
        let server = Server::with_config(server.server_config_with(&[version], None)).await;
        if accepted {
            server.accepts("localhost", &options).await;
        } else {
            let problem = server.refuses("localhost", &options).await;
            assert_eq!(problem, TlsProblem::Version);
        }
    }
}

#[tokio::test]
async fn only_the_cipher_suites_named_are_offered() {
    let ca = Ca::new("ca");
    let server = ca.server();
    let mut options = trusting(&ca);
    options.ciphers = Some("ECDHE-ECDSA-AES128-GCM-SHA256".to_owned());
    let config = server.server_config_with(&[&TLS12], None);
    Server::with_config(config).await.accepts("localhost", &options).await;
    let config = server.server_config_with(&[&TLS13], None);
    let problem = Server::with_config(config).await.refuses("localhost", &options).await;
    assert_eq!(problem, TlsProblem::Version);
}

#[tokio::test]
async fn server_name_and_alpn_are_sent() {
    let ca = Ca::new("ca");
    let identity = ca.issue(server_params(&["broker.example"]));
    let mut options = trusting(&ca);
    options.server_name = Some("broker.example".to_owned());
    options.alpn = vec![b"mqtt".to_vec()];
    let mut config = identity.server_config();
    config.alpn_protocols = vec![b"h2".to_vec(), b"mqtt".to_vec()];
    let seen = Server::with_config(config).await.accepts("127.0.0.1", &options).await;
    assert_eq!(seen.server_name.as_deref(), Some("broker.example"));
    assert_eq!(seen.alpn.as_deref(), Some(&b"mqtt"[..]));

    // A server that knows nothing of ALPN is fine, one that knows another protocol is not.
    let seen = Server::new(&identity).await.accepts("127.0.0.1", &options).await;
    assert_eq!(seen.alpn, None);
    let mut config = identity.server_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let problem = Server::with_config(config).await.refuses("127.0.0.1", &options).await;
    assert_eq!(problem, TlsProblem::NameOrProtocolRefused);
}

#[tokio::test]
async fn session_secrets_are_logged_when_asked() {
    let ca = Ca::new("ca");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.log");
    let mut options = trusting(&ca);
    options.keylog = Some(path.clone());
    for _ in 0..2 {
        Server::new(&ca.server()).await.accepts("localhost", &options).await;
    }
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(log.matches("CLIENT_TRAFFIC_SECRET_0 ").count(), 2, "{log}");
    assert!(log.lines().all(|line| line.split(' ').count() == 3), "{log}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    options.keylog = Some(dir.path().join("missing").join("keys.log"));
    assert!(options.build().unwrap_err().to_string().contains("keys.log"));
}

#[tokio::test]
async fn a_plain_text_server_on_the_tls_port_gets_no_mqtt_byte() {
    let ca = Ca::new("ca");
    for greeting in [&b"\x20\x02\x00\x00"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 smtp\r\n"]
    {
        let (addr, server) = serve_once(move |mut tcp| async move {
            tcp.write_all(greeting).await.unwrap();
            let mut received = Vec::new();
            let _ = tcp.read_to_end(&mut received).await;
            received
        })
        .await;
        let endpoint = Endpoint::parse(&format!("mqtts://localhost:{}", addr.port())).unwrap();
        let error = connect(&endpoint, &connect_options(&trusting(&ca))).await.unwrap_err();
        assert_eq!(problem(&error), TlsProblem::NotTls, "{error:?}");
        assert!(!error.is_retryable());
        let received = server.await.unwrap();
        // A ClientHello record and perhaps an alert record, nothing in clear.
        assert_eq!(received.first(), Some(&0x16));
        assert!(!received.windows(4).any(|window| window == b"MQTT"));
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_during_the_handshake() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 16]).await;
    })
    .await;
    let endpoint = Endpoint::parse(&format!("mqtts://localhost:{}", addr.port())).unwrap();
    let options = connect_options(&trusting(&Ca::new("ca")));
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert_eq!(problem(&error), TlsProblem::Closed, "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_the_tls_stage() {
    let (addr, _server) = serve_once(|mut tcp| async move {
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let endpoint = Endpoint::parse(&format!("mqtts://localhost:{}", addr.port())).unwrap();
    let mut options = connect_options(&trusting(&Ca::new("ca")));
    options.connect_timeout = Duration::from_millis(200);
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { stage: Stage::Tls, .. }), "{error:?}");
}

#[tokio::test]
async fn a_close_without_farewell_is_an_error_and_not_an_end() {
    let ca = Ca::new("ca");
    for farewell in [true, false] {
        let acceptor = TlsAcceptor::from(Arc::new(ca.server().server_config()));
        let (addr, _server) = serve_once(move |tcp| async move {
            let mut tls = acceptor.accept(tcp).await.unwrap();
            tls.write_all(b"half a pack").await.unwrap();
            tls.flush().await.unwrap();
            if farewell {
                tls.shutdown().await.unwrap();
            }
        })
        .await;
        let endpoint = Endpoint::parse(&format!("mqtts://localhost:{}", addr.port())).unwrap();
        let options = connect_options(&trusting(&ca));
        let mut stream = connect(&endpoint, &options).await.unwrap().stream;
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).await;
        assert_eq!(bytes, b"half a pack");
        match end {
            Ok(_) => assert!(farewell),
            Err(error) => {
                assert!(!farewell);
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_is_the_same_at_every_reconnect() {
    // mosquitto 2.0.8 connected without verification at the second attempt.
    let identity = Ca::new("theirs").server();
    let options = connect_options(&trusting(&Ca::new("ours")));
    for _ in 0..4 {
        let server = Server::new(&identity).await;
        let error = connect(&server.endpoint("localhost"), &options).await.unwrap_err();
        assert_eq!(problem(&error), TlsProblem::UnknownIssuer);
        assert!(!error.is_retryable());
        assert!(server.task.await.unwrap().received.is_err());
    }
}

#[tokio::test]
async fn sessions_are_resumed_within_one_configuration_unless_told_otherwise() {
    let ca = Ca::new("ca");
    for resumption in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(ca.server().server_config()));
        let mut options = trusting(&ca);
        options.resumption = resumption;
        let options = connect_options(&options);
        let server = tokio::spawn(async move {
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut tls = acceptor.accept(tcp).await.unwrap();
                tls.write_all(b"x").await.unwrap();
                tls.flush().await.unwrap();
                let _ = tls.read(&mut [0]).await;
                kinds.push(tls.get_ref().1.handshake_kind().unwrap());
            }
            kinds
        });
        let endpoint = Endpoint::parse(&format!("mqtts://localhost:{}", addr.port())).unwrap();
        for _ in 0..2 {
            let mut stream = connect(&endpoint, &options).await.unwrap().stream;
            stream.read_exact(&mut [0]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        let resumed = server.await.unwrap()[1] == tokio_rustls::rustls::HandshakeKind::Resumed;
        assert_eq!(resumed, resumption);
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_can_hold() {
    let (addr, server) = serve_once(|mut tcp| async move {
        let mut received = Vec::new();
        let _ = tcp.read_to_end(&mut received).await;
        received
    })
    .await;
    let endpoint = Endpoint::new(midge::net::Scheme::Mqtts, "bad name", addr.port());
    let options = connect_options(&trusting(&Ca::new("ca")));
    let error = connect(&endpoint, &options).await.unwrap_err();
    assert_eq!(problem(&error), TlsProblem::InvalidHost);
    assert!(server.await.unwrap().is_empty());
}
