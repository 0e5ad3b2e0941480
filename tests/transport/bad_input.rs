//! Where trust fails, or the other side is something else: one line that names the stage and the
//! remedy, a non-zero exit code, and no byte of MQTT.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread::{self, JoinHandle},
};

use rcgen::{SerialNumber, date_time_ymd};

use crate::{
    listeners::{Listeners, Way},
    run::{Outcome, Running, midge_pub, midge_sub, run},
    support::{
        Broker,
        broker::free_port,
        microsocks::Microsocks,
        pki::{Ca, Identity, server_params},
    },
};

const PUBLISH: [&str; 6] = ["-t", "a", "-m", "x", "-q", "1"];

pub fn publish(options: &[&str]) -> Outcome {
    run(midge_pub().args(PUBLISH).args(options))
}

pub fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let (me, other) = (ca.client("me"), ca.client("other"));
    let file = |name: &str, text: &str| write(dir.path(), name, text);
    let good = file("ca.pem", &ca.pem());
    let empty = file("empty.pem", "");
    let garbage =
        file("garbage.pem", "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n");
    let cert = file("me.pem", &me.pem);
    let key = file("me.key", &me.key.serialize_pem());
    let others_key = file("other.key", &other.key.serialize_pem());
    let legacy = file(
        "legacy.key",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
         -----END EC PRIVATE KEY-----\n",
    );
    let directory = dir.path().display().to_string();
    // Nothing listens there: what is told is found before the attempt to connect.
    let port = free_port().to_string();
    for (options, text) in [
        (&["--cafile", "/no/such/ca.pem"][..], "cannot read /no/such/ca.pem"),
        (&["--cafile", &directory], "Is a directory"),
        (&["--cafile", &empty], "holds no certificate"),
        (&["--cafile", &garbage], "is damaged"),
        (&["--cafile", &key], "holds no certificate"),
        (&["--capath", "/no/such"], "cannot read the CA directory"),
        (&["--cafile", &good, "--cert", &cert], "add --key FILE"),
        (&["--cafile", &good, "--key", &key], "add --cert FILE"),
        (&["--cafile", &good, "--cert", &cert, "--key", &others_key], "does not belong to"),
        (&["--cafile", &good, "--cert", &cert, "--key", &legacy], "openssl pkcs8 -topk8"),
        (&["--cafile", &good, "--crlfile", &good], "revocation list"),
        (&["--cafile", &good, "--ciphers", "HIGH"], "--ciphers: unknown cipher suite"),
        (&["--cafile", &good, "--tls-version", "tlsv1.1"], "tlsv1.2"),
        (&["--cafile", &good, "--keyform", "engine"], "engines are not supported"),
        (&["--cafile", &good, "--tls-server-name", "a b"], "--tls-server-name"),
        (&["--insecure"], "no effect without TLS"),
        (&["--proxy", "socks5://h"], "socks5h://"),
    ] {
        publish(&[&["-p", &port], options].concat()).said(1, text);
    }
}

/// A server of one connection that speaks no MQTT, and hands out what it read.
fn server(play: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let thread = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        play(&mut tcp);
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        rest
    });
    (port, thread)
}

/// Reads a request up to its empty line, and answers.
fn answer_http(tcp: &mut TcpStream, answer: impl FnOnce(&str) -> Vec<u8>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let answer = answer(std::str::from_utf8(&request).unwrap());
    // The tool may have seen enough before the end.
    let _ = tcp.write_all(&answer);
}

/// The answer that opens a WebSocket, and what follows it.
fn open_websocket(request: &str, more: &[u8]) -> Vec<u8> {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = sha1_smol::Sha1::from(format!("{key}{guid}")).digest().bytes();
    let accept = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    [head.as_bytes(), more].concat()
}

#[test]
fn an_upgrade_that_is_not_accepted_is_told_with_its_remedy() {
    for (answer, text) in [
        ("HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n", "points to \"http://x/\""),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", "give an Authorization header"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "check the path"),
        ("HTTP/1.1 200 OK\r\n\r\n", "an ordinary web page"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "does not answer in HTTP"),
    ] {
        let (port, thread) = server(|tcp| answer_http(tcp, |_| answer.into()));
        publish(&["--ws", "-p", &port, "-h", "127.0.0.1"]).said(1, text);
        assert!(thread.join().unwrap().is_empty(), "{answer}");
    }
    let endless = |tcp: &mut TcpStream| {
        answer_http(tcp, |_| {
            let header = format!("X: {}\r\n", "x".repeat(1000)).repeat(20);
            format!("HTTP/1.1 101 Switching Protocols\r\n{header}").into()
        });
    };
    let (port, thread) = server(endless);
    publish(&["--ws", "-p", &port, "-h", "127.0.0.1"]).said(1, "too many or too long headers");
    assert!(thread.join().unwrap().is_empty());
}

#[test]
fn frames_that_carry_no_mqtt_end_the_connection() {
    for (frame, text) in [
        (&b"\x81\x05hello"[..], "text frame"),
        (b"\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00", "1099511627776 bytes"),
        (b"\x82\x81\x00\x00\x00\x00\x20", "broke the WebSocket protocol"),
    ] {
        let (port, thread) =
            server(|tcp| answer_http(tcp, |request| open_websocket(request, frame)));
        publish(&["--ws", "-p", &port, "-h", "127.0.0.1"]).said(7, text);
        thread.join().unwrap();
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_and_gets_no_mqtt() {
    let Some(listeners) = Listeners::start() else { return };
    let ca = listeners.file("ca.pem").display().to_string();
    for answer in [&b"\x20\x02\x00\x00"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b""] {
        let (port, thread) = server(|tcp| {
            tcp.write_all(answer).unwrap();
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
        });
        publish(&["-p", &port, "-h", "127.0.0.1", "--cafile", &ca]).said(8, "check");
        let received = thread.join().unwrap();
        assert!(!received.windows(4).any(|bytes| bytes == b"MQTT"), "{received:?}");
    }
    // The other way round: no TLS on the port of TLS.
    let port = listeners.tls_port().to_string();
    publish(&["-p", &port]).said(7, "check that the port");
}

/// A broker with this certificate, and the port of its TLS listener.
fn broker_with(identity: &Identity) -> Option<(Broker, String)> {
    let port = free_port();
    let config = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\ncertfile @DIR@/server.pem\n\
         keyfile @DIR@/server.key\n"
    );
    let key = identity.key.serialize_pem();
    let files = [("server.pem", identity.pem.as_str()), ("server.key", &key)];
    Some((Broker::with_files(&config, &files)?, port.to_string()))
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_ends_the_attempt() {
    let ca = Ca::new("ca");
    let dir = tempfile::tempdir().unwrap();
    let trusted = write(dir.path(), "ca.pem", &ca.pem());
    let crl = write(dir.path(), "crl.pem", &ca.crl_pem(&[7]));
    let mut expired = server_params(&["localhost"]);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut revoked = server_params(&["localhost"]);
    revoked.serial_number = Some(SerialNumber::from(7));
    let none: &[&str] = &[];
    for (identity, options, text) in [
        (Ca::new("other").server(), none, "name the CA file of its issuer"),
        (ca.issue(expired), none, "has expired; check the clock"),
        (ca.issue(server_params(&["other.example"])), none, "is for another name; connect by"),
        (ca.issue(revoked), &["--crlfile", &crl], "is revoked; it must not be trusted"),
        (Ca::new("other").server(), &["--insecure"], "name the CA file of its issuer"),
    ] {
        let Some((broker, port)) = broker_with(&identity) else { return };
        let options = [&["-p", &port, "--cafile", &trusted], options].concat();
        publish(&options).said(8, text);
        run(midge_sub().args(["-t", "a"]).args(&options)).said(8, text);
        let anyway = ["--insecure-accept-any-certificate"];
        assert!(!broker.log().contains("New client connected"), "{}", broker.log());
        let options: Vec<_> = options.iter().filter(|option| !option.contains("crl")).collect();
        run(midge_pub().args(PUBLISH).args(options).args(anyway)).success();
    }
    let Some((_broker, port)) = broker_with(&ca.issue(server_params(&["other.example"]))) else {
        return;
    };
    publish(&["-p", &port, "--cafile", &trusted, "--insecure"]).success();
    let name = ["--tls-server-name", "other.example"];
    publish(&[&["-p", &port, "--cafile", &trusted], &name[..]].concat()).success();
}

#[test]
fn trust_that_fails_at_a_reconnect_ends_the_tool_too() {
    let ca = Ca::new("ca");
    let Some((mut broker, port)) = broker_with(&ca.server()) else { return };
    let trusted = write(broker.dir(), "ca.pem", &ca.pem());
    let running = Running::start(midge_sub().args(["-t", "a", "-p", &port, "--cafile", &trusted]));
    broker.wait_for_log("Sending SUBACK to");
    broker.stop();
    let impostor = Ca::new("ca").server();
    write(broker.dir(), "server.pem", &impostor.pem);
    write(broker.dir(), "server.key", &impostor.key.serialize_pem());
    broker.start_again();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(8), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.contains("no TLS with localhost"), "{outcome:?}");
    assert!(!broker.log().contains("New client connected"), "{}", broker.log());
}

#[test]
fn an_upgrade_that_is_refused_at_a_reconnect_is_told_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        answer_http(&mut tcp, |request| open_websocket(request, &[]));
        let mut buffer = [0; 1024];
        assert!(tcp.read(&mut buffer).unwrap() > 0, "CONNECT");
        tcp.write_all(&[0x82, 4, 0x20, 2, 0, 0]).unwrap();
        assert!(tcp.read(&mut buffer).unwrap() > 0, "SUBSCRIBE");
        drop(tcp);
        let (mut tcp, _) = listener.accept().unwrap();
        answer_http(&mut tcp, |_| b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec());
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        rest
    });
    let args = ["-t", "a", "--ws", "-h", "127.0.0.1", "-p", &port, "-W", "30"];
    let outcome = run(midge_sub().args(args));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.contains("no WebSocket") && last.contains("check the path"), "{outcome:?}");
    assert!(server.join().unwrap().is_empty(), "MQTT where there is no WebSocket");
}

#[test]
fn the_client_certificate_that_is_missing_is_asked_for() {
    let Some(listeners) = Listeners::start() else { return };
    let mut options = listeners.options(Way::MutualTls);
    let at = options.iter().position(|option| option == "--cert").unwrap();
    options.drain(at..at + 4);
    let outcome = run(midge_pub().args(PUBLISH).args(&options));
    outcome.said(7, "give a certificate and its key");
}

#[test]
fn refusals_of_a_proxy_are_told_with_their_remedy() {
    let Some(proxy) = Microsocks::start(Some(("ann", "s3cret"))) else { return };
    let nobody = free_port().to_string();
    let address = proxy.address();
    for (url, code, text) in [
        (format!("socks5h://{address}"), 16, "it wants a user name and password"),
        (format!("socks5h://ann:wr0ng@{address}"), 16, "does not accept the user name"),
        (format!("socks5h://ann:s3cret@{address}"), 16, "check that a broker listens there"),
        (format!("socks5h://127.0.0.1:{nobody}"), 1, "check that it listens there"),
    ] {
        let outcome = publish(&["--proxy", &url, "-h", "127.0.0.1", "-p", &nobody]);
        outcome.said(code, text);
        assert!(!outcome.stderr.contains("s3cret") && !outcome.stderr.contains("wr0ng"));
    }
}
