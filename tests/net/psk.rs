//! Pre-shared keys: against mosquitto and against servers that have none.

use std::sync::Arc;
use std::time::Duration;

use midge::net::{
    ConnectError, ConnectOptions, Endpoint, PskOptions, Secret, TlsConfigError, TlsProblem,
    Transport, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::TLS12;

use crate::brokers::speaks_mqtt;
use crate::serve_once;
use crate::support::Broker;
use crate::support::broker::free_port;
use crate::support::pki::Ca;

fn options(psk: &PskOptions) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(10);
    options.tls = Some(psk.build().unwrap());
    options
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::parse(&format!("mqtts://localhost:{port}")).unwrap()
}

async fn problem(port: u16, psk: &PskOptions) -> TlsProblem {
    match connect(&endpoint(port), &options(psk)).await {
        Err(ConnectError::Tls { problem, source, .. }) => {
            assert!(!source.to_string().contains('\n'), "{source}");
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn mosquitto_with_a_psk_file() {
    let port = free_port();
    let config = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\npsk_hint broker\npsk_file @DIR@/psk\n"
    );
    let files = [("psk", "me:0011aaFF\nyou:22\n")];
    let Some(_broker) = Broker::with_files(&config, &files) else { return };

    let dir = tempfile::tempdir().unwrap();
    let mut me = PskOptions::from_hex("me", "0011AAff").unwrap();
    me.keylog = Some(dir.path().join("keys.log"));
    me.alpn = vec![b"mqtt".to_vec()];
    speaks_mqtt(&endpoint(port), &options(&me), Transport::Tls).await;
    let log = std::fs::read_to_string(dir.path().join("keys.log")).unwrap();
    assert_eq!(log.matches("CLIENT_RANDOM ").count(), 3, "{log}");

    me.ciphers = Some("ECDHE-PSK-AES256-CBC-SHA384".to_owned());
    speaks_mqtt(&endpoint(port), &options(&me), Transport::Tls).await;

    for (identity, key) in [("me", "11aaff"), ("me", "0011aafe"), ("nobody", "0011aaff")] {
        let wrong = PskOptions::from_hex(identity, key).unwrap();
        assert_eq!(problem(port, &wrong).await, TlsProblem::PskRefused, "{identity} {key}");
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_is_refused() {
    let ca = Ca::new("ca");
    for (ciphers, expected) in [
        (None, TlsProblem::NoCommonParameters),
        // Even where the cipher suites would allow it.
        (Some("ALL"), TlsProblem::Certificate),
    ] {
        let config = ca.server().server_config_with(&[&TLS12], None);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (addr, server) =
            serve_once(|tcp| async move { acceptor.accept(tcp).await.is_ok() }).await;
        let mut psk = PskOptions::from_hex("me", "00").unwrap();
        psk.ciphers = ciphers.map(str::to_owned);
        assert_eq!(problem(addr.port(), &psk).await, expected);
        assert!(!server.await.unwrap());
    }
}

#[tokio::test]
async fn servers_that_do_not_speak_tls() {
    let psk = PskOptions::from_hex("me", "00").unwrap();
    for (answer, expected) in
        [(&b"\x20\x02\x00\x00 etc"[..], TlsProblem::NotTls), (b"", TlsProblem::Closed)]
    {
        let (addr, _server) = serve_once(move |mut tcp| async move {
            let _ = tcp.read(&mut [0; 1024]).await;
            tcp.write_all(answer).await.unwrap();
        })
        .await;
        assert_eq!(problem(addr.port(), &psk).await, expected, "{answer:?}");
    }
}

#[test]
fn keys_identities_and_ciphers_are_checked() {
    let long = "00".repeat(257);
    for key in ["", "0", "123", "0x11", "zz", "11 22", &long] {
        let error = PskOptions::from_hex("me", key).unwrap_err();
        assert!(matches!(error, TlsConfigError::InvalidPsk), "{key}: {error:?}");
    }
    for identity in ["", "a\0b", &"x".repeat(128)] {
        let error = PskOptions::new(identity, Secret::from("key")).unwrap_err();
        assert!(matches!(error, TlsConfigError::InvalidPskIdentity), "{error:?}");
    }
    let mut psk = PskOptions::from_hex("me", "c0ffee").unwrap();
    for ciphers in ["NO-SUCH-CIPHER", "", "a\0b"] {
        psk.ciphers = Some(ciphers.to_owned());
        let error = psk.build().unwrap_err();
        assert!(matches!(error, TlsConfigError::OpenSsl { .. }), "{ciphers}: {error:?}");
    }
    psk.ciphers = None;
    psk.alpn = vec![Vec::new()];
    assert!(matches!(psk.build().unwrap_err(), TlsConfigError::InvalidAlpn));
    psk.alpn.clear();
    let shown = format!("{psk:?} {:?}", psk.build().unwrap()).to_lowercase();
    assert!(!shown.contains("c0ffee") && !shown.contains("192"), "{shown}");
}
