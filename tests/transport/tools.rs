//! midge_pub and midge_sub beside mosquitto's tools, with the same options.

use std::{process::Command, time::Duration};

use expectrl::Expect;

use crate::{
    listeners::{Listeners, Way},
    run::{Running, midge_pub, midge_rr, midge_sub, run},
    support::broker::program,
};

const VERSIONS: [(&str, &str); 3] = [("31", "mqttv31"), ("311", "mqttv311"), ("5", "mqttv5")];

/// The publisher's message as the subscriber prints it, both with the same options.
fn passes(
    listeners: &Listeners,
    way: Way,
    subscriber: Command,
    publisher: Command,
    seen: &mut usize,
) {
    for (version, _) in VERSIONS {
        let options = listeners.options(way);
        let topic = format!("{way:?}/{version}/{seen}");
        let mut subscriber = Command::new(subscriber.get_program());
        let args = ["-V", version, "-q", "2", "-t", &topic, "-C", "1", "-W", "30"];
        let subscriber = Running::start(subscriber.args(&options).args(args));
        *seen += 1;
        listeners.broker.wait_for_log_count("Sending SUBACK to", *seen);
        let mut publisher = Command::new(publisher.get_program());
        let args = ["-V", version, "-q", "2", "-t", &topic, "-m", "over it"];
        run(publisher.args(&options).args(args)).success();
        let outcome = subscriber.wait();
        assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(0), "over it\n"), "{way:?}");
    }
}

#[test]
fn the_tools_reach_the_broker_in_every_way() {
    let Some(listeners) = Listeners::start() else { return };
    let mut seen = 0;
    for way in Way::ALL {
        passes(&listeners, way, midge_sub(), midge_pub(), &mut seen);
    }
}

#[test]
fn midge_rr_asks_in_every_way() {
    let Some(listeners) = Listeners::start() else { return };
    for way in Way::ALL {
        // Nobody but itself hears the request, which is its own answer.
        let mut tool = midge_rr();
        tool.args(listeners.options(way)).args(["-t", "a", "-e", "a", "-m", "over it", "-W", "30"]);
        assert_eq!(run(&mut tool).success().stdout(), "over it\n", "{way:?}");
    }
}

#[test]
fn mosquittos_tools_and_ours_take_the_same_options() {
    let (Some(mosquitto_pub), Some(mosquitto_sub)) =
        (program("mosquitto_pub"), program("mosquitto_sub"))
    else {
        return;
    };
    let Some(listeners) = Listeners::start() else { return };
    let mut seen = 0;
    // mosquitto's tools of version 2.0 have no WebSocket.
    for way in [Way::Tcp, Way::Tls, Way::MutualTls, Way::Unix, Way::Socks5] {
        passes(&listeners, way, Command::new(&mosquitto_sub), midge_pub(), &mut seen);
        passes(&listeners, way, midge_sub(), Command::new(&mosquitto_pub), &mut seen);
    }
}

#[test]
fn a_url_brings_the_transport_with_it() {
    let Some(listeners) = Listeners::start() else { return };
    for (way, scheme) in
        [(Way::Tls, "mqtts"), (Way::WebSocket, "ws"), (Way::SecureWebSocket, "wss")]
    {
        let mut options = listeners.options(way);
        let port = options.pop().unwrap();
        let url = format!("{scheme}://localhost:{port}/topic");
        let ca = listeners.file("ca.pem");
        let mut tool = midge_pub();
        tool.args(["-L", &url, "-m", "x", "-q", "1"]);
        if scheme != "ws" {
            tool.arg("--cafile").arg(ca);
        }
        run(&mut tool).success();
    }
    let url = format!("unix://{}", listeners.file("mqtt.sock").display());
    run(midge_pub().args(["-L", &url, "-t", "topic", "-m", "x", "-q", "1"])).success();
    let socket = listeners.file("mqtt.sock");
    run(midge_pub().arg("-h").arg(socket).args(["-p", "0", "-t", "a", "-m", "x", "-q", "1"]))
        .success();
}

#[test]
fn midge_conn_loads_the_broker_in_every_way() {
    let Some(listeners) = Listeners::start() else { return };
    for way in Way::ALL {
        let options = listeners.options(way);
        let port = options.last().unwrap();
        let url = match way {
            Way::Tcp | Way::Socks5 => format!("mqtt-tcp://localhost:{port}"),
            Way::Tls | Way::MutualTls => format!("tls+mqtt-tcp://localhost:{port}"),
            Way::WebSocket => format!("ws://localhost:{port}/mqtt"),
            Way::SecureWebSocket => format!("wss://localhost:{port}"),
            Way::Unix => format!("unix://{port}"),
        };
        let mut conn = Command::new(env!("CARGO_BIN_EXE_midge_conn"));
        conn.args(["start", "--url", &url, "-C", "10", "-i", "0", "--hold", "0", "--quiet"]);
        // What is left of the options stands in the URL.
        for option in ["--proxy", "--cafile", "--cert", "--key"] {
            if let Some(at) = options.iter().position(|given| given == option) {
                conn.args([option, &options[at + 1]]);
            }
        }
        let outcome = run(&mut conn);
        outcome.success();
        let report = outcome.stdout();
        let has = |phase: &str| report.lines().any(|line| line.trim().starts_with(phase));
        assert_eq!(has("tls "), format!("{way:?}").contains("Tls") || way == Way::SecureWebSocket);
        assert_eq!(has("ws "), format!("{way:?}").contains("WebSocket"), "{report}");
        assert_eq!(has("proxy "), way == Way::Socks5, "{report}");
    }
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_and_with_nothing_else() {
    let Some(openssl) = program("openssl") else { return };
    let Some(listeners) = Listeners::start() else { return };
    let encrypted = listeners.file("encrypted.key");
    let made = Command::new(openssl)
        .args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame", "-in"])
        .arg(listeners.file("client.key"))
        .arg("-out")
        .arg(&encrypted)
        .status();
    assert!(made.unwrap().success());
    let (right, wrong) = (listeners.file("right"), listeners.file("wrong"));
    std::fs::write(&right, "open sesame\n").unwrap();
    std::fs::write(&wrong, "open barley\n").unwrap();
    let mut options = listeners.options(Way::MutualTls);
    let key = options.iter().position(|option| option == "--key").unwrap();
    options[key + 1] = encrypted.display().to_string();
    let publish = |more: &[&str]| {
        run(midge_pub().args(&options).args(["-t", "a", "-m", "x", "-q", "1"]).args(more))
    };
    publish(&["--keypass", "open sesame"]).success();
    publish(&["--keypass-file", right.to_str().unwrap()]).success();
    publish(&["--keypass", "open barley"]).said(1, "passphrase");
    publish(&["--keypass-file", wrong.to_str().unwrap()]).said(1, "passphrase");
    let missing = publish(&["--keypass-file", "/no/such/file"]);
    missing.said(1, "--keypass-file: cannot read /no/such/file");
    assert!(!missing.stderr.contains("sesame"));

    // Not given, it is asked for on the terminal and not shown there.
    let mut command = midge_pub();
    command.args(&options).args(["-t", "a", "-m", "x", "-q", "1"]);
    let mut terminal = expectrl::Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(Duration::from_secs(30)));
    terminal.expect(expectrl::Regex("Passphrase of .*encrypted.key: ")).unwrap();
    terminal.send_line("open sesame").unwrap();
    let shown = terminal.expect(expectrl::Eof).unwrap();
    assert_eq!(String::from_utf8_lossy(shown.as_bytes()).trim(), "");
    listeners.broker.wait_for_log_count("Received PUBLISH", 3);
}

#[test]
fn the_tools_connect_from_the_address_they_are_given() {
    let Some(listeners) = Listeners::start() else { return };
    let port = listeners.broker.port().to_string();
    let from = ["-A", "127.0.0.9"];
    run(midge_pub().args(["-p", &port, "-t", "a", "-m", "x", "-q", "1"]).args(from)).success();
    listeners.broker.wait_for_log_count("from 127.0.0.9", 1);
    let url = format!("mqtt-tcp://127.0.0.1:{port}");
    let mut conn = Command::new(env!("CARGO_BIN_EXE_midge_conn"));
    conn.args(["start", "--url", &url, "-C", "3", "-i", "0", "--hold", "0", "--quiet"]).args(from);
    run(&mut conn).success();
    listeners.broker.wait_for_log_count("from 127.0.0.9", 4);
    let embedded = ["start", "--embedded", "-C", "3", "-i", "0", "--hold", "0", "--quiet"];
    let midge_conn = || Command::new(env!("CARGO_BIN_EXE_midge_conn"));
    run(midge_conn().args(embedded).args(from)).success();
    run(midge_conn().args(embedded).args(["-A", "192.0.2.1"])).said(3, "192.0.2.1");
}
