//! Certificates of X.509 version 1, which `openssl x509 -req` makes where no extensions are asked for.

use crate::{
    bad_input::{publish, write},
    support::{
        Broker,
        broker::free_port,
        pki::{Ca, server_params},
    },
};

/// An authority, a certificate for `localhost` of version 1 that it issued, and its key, as
/// `openssl ca` makes them: rcgen makes version 3 only.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBOjCB4aADAgECAgEBMAoGCCqGSM49BAMCMA0xCzAJBgNVBAMMAmNhMB4XDTIw
MDEwMTAwMDAwMFoXDTQ5MDEwMTAwMDAwMFowDTELMAkGA1UEAwwCY2EwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAARGDOVw2Kj9rQQzELH39yH//c4s2WLUKrsV8/J3
gmGy3t/WPCQO760TsMjn09aVM4jxgFc0k5ICGbLAqRMkZzOjozIwMDAPBgNVHRMB
Af8EBTADAQH/MB0GA1UdDgQWBBR4Y6+LbLNvUL8S0ZQghHGM2e8J1TAKBggqhkjO
PQQDAgNIADBFAiEAwBgR8XkHSkmrkygsZDZOFryI1E0l7ciw1Zi+Ss0XA0gCIERy
UmJoGUmAv4loUAjB2yg+L6Cip+TP2pSETgqgzcsj
-----END CERTIFICATE-----
";
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBCTCBrwIBAjAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAeFw0yMDAxMDEw
MDAwMDBaFw00OTAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABLvTmXUqmLbXZ/5Ez/MGftwDcV4LD22ZqrNp
7DzYumySAjWJTSbPz0g/NuW+90BnFl7msxEtR2RZbHHG3IZJn1QwCgYIKoZIzj0E
AwIDSQAwRgIhAL3/bYYlDJbeGSlfby17R3YohQ7ZiU8REKrqYjxSwmxVAiEA/MoM
hHBW361toVXQt/v84l3Th2XVOsQIZgfTKiFykVk=
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYvG6jFt8Kqv5ea7t
rg3TPEK/xUTtqg8ZZ/pe+UbYRU2hRANCAAS705l1Kpi212f+RM/zBn7cA3FeCw9t
maqzaew82LpskgI1iU0mz89IPzblvvdAZxZe5rMRLUdkWWxxxtyGSZ9U
-----END PRIVATE KEY-----
";

/// A broker with these files and more lines about its listener for TLS, and the port of that.
fn broker(files: &[(&str, &str)], lines: &str) -> Option<(Broker, String)> {
    let port = free_port().to_string();
    let config = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\ncertfile @DIR@/server.pem\n\
         keyfile @DIR@/server.key\n{lines}"
    );
    Some((Broker::with_files(&config, files)?, port))
}

#[test]
fn a_client_may_have_one_if_the_broker_takes_it() {
    let ca = Ca::new("ca");
    let server = ca.server();
    let key = server.key.serialize_pem();
    let files = [("server.pem", &*server.pem), ("server.key", &*key), ("clients.pem", AUTHORITY)];
    let lines = "cafile @DIR@/clients.pem\nrequire_certificate true\n";
    let Some((broker, port)) = broker(&files, lines) else { return };
    let trusted = write(broker.dir(), "ca.pem", &ca.pem());
    let cert = write(broker.dir(), "me.pem", CERTIFICATE);
    let key = write(broker.dir(), "me.key", KEY);
    let others_key = write(broker.dir(), "other.key", &ca.client("me").key.serialize_pem());
    let options = ["-p", &port, "--cafile", &trusted, "--cert", &cert, "--key"];
    publish(&[&options[..], &[&key]].concat()).success();
    publish(&[&options[..], &[&others_key]].concat()).said(1, "me.pem");
}

#[test]
fn that_of_a_broker_names_no_host() {
    let ca = Ca::new("ca");
    // Of version 3, with nothing but a common name.
    let nameless = ca.issue(server_params(&[]));
    let (nameless_key, ca) = (nameless.key.serialize_pem(), ca.pem());
    for (certificate, key, authority, with_insecure) in
        [(CERTIFICATE, KEY, AUTHORITY, Some(8)), (&*nameless.pem, &*nameless_key, &*ca, Some(0))]
    {
        let files = [("server.pem", certificate), ("server.key", key)];
        let Some((broker, port)) = broker(&files, "") else { return };
        let trusted = write(broker.dir(), "ca.pem", authority);
        let options = ["-p", &port, "--cafile", &trusted];
        publish(&options)
            .said(8, "names no host; have it issued with the extension subjectAltName");
        assert_eq!(publish(&[&options[..], &["--insecure"]].concat()).code, with_insecure);
        let anyway = ["--insecure-accept-any-certificate"];
        publish(&[&options[..], &anyway].concat()).success();
    }
}
