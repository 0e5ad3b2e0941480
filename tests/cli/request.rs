//! midge_rr: with the mosquitto broker and tools, and with servers that answer something else.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    run::{Outcome, Running, midge_pub, midge_rr, midge_sub, run, run_with},
    server::{Server, read_packet, read_to_close},
    support::{Broker, broker::program},
};

/// What is asked, with the answer to go to `r`.
const ASK: [&str; 6] = ["-t", "ask", "-e", "r", "-m", "x"];

/// A script that answers one request, with the tools of `prefix`, and what tells that it listens.
fn responder(broker: &Broker, sub: &Path, publish: &Path, version: &str) -> Running {
    let script = r#"
        broker="-h 127.0.0.1 -p $PORT -V $VERSION"
        "$SUB" $broker -t ask -C 1 -W 30 -F '%R|%D|%p' | while IFS='|' read -r topic data payload; do
            if [ -n "$data" ]; then
                "$PUB" $broker -t "$topic" -D publish correlation-data "$data" -m "re: $payload"
            else
                "$PUB" $broker -t "${topic:-r}" -m "re: $payload"
            fi
        done
    "#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null());
    shell.env("XDG_CONFIG_HOME", "/nonexistent");
    shell.env("SUB", sub).env("PUB", publish).env("PORT", broker.port().to_string());
    let running = Running::start(shell.env("VERSION", version));
    broker.wait_for_log("Sending SUBACK to");
    running
}

fn ask(mut tool: Command, broker: &Broker, args: &[&str]) -> Outcome {
    tool.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-W", "30"]);
    run(tool.args(args))
}

#[test]
fn a_responder_of_mosquitto_is_understood() {
    let (Some(sub), Some(publish)) = (program("mosquitto_sub"), program("mosquitto_pub")) else {
        return;
    };
    for (version, qos, args) in [
        ("5", "0", &ASK[..]),
        ("5", "1", &ASK),
        ("5", "2", &ASK),
        ("311", "1", &ASK),
        ("31", "2", &ASK),
        ("5", "0", &["-t", "ask", "-m", "x"]),
    ] {
        let Some(broker) = Broker::start() else { return };
        let responder = responder(&broker, &sub, &publish, &format!("mqttv{version}"));
        let args = [args, &["-V", version, "-q", qos]].concat();
        let outcome = ask(midge_rr(), &broker, &args);
        assert_eq!(outcome.success().stdout(), "re: x\n", "{args:?}");
        broker.wait_for_log_count("Received DISCONNECT from", 3);
        responder.wait().success();
    }
}

#[test]
fn mosquitto_rr_understands_a_responder_of_midge() {
    let Some(mosquitto_rr) = program("mosquitto_rr") else { return };
    let (midge_sub, midge_pub) = (midge_sub(), midge_pub());
    for version in ["5", "311"] {
        let Some(broker) = Broker::start() else { return };
        let (sub, publish) = (midge_sub.get_program(), midge_pub.get_program());
        let responder = responder(&broker, sub.as_ref(), publish.as_ref(), version);
        let long_version = format!("mqttv{version}");
        let args = [&ASK[..], &["-V", &long_version, "-v"]].concat();
        let outcome = ask(Command::new(&mosquitto_rr), &broker, &args);
        assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(0), "r re: x\n"));
        responder.wait().success();
    }
}

#[test]
fn the_same_command_line_prints_what_mosquitto_rr_prints() {
    let (Some(mosquitto_rr), Some(sub), Some(publish)) =
        (program("mosquitto_rr"), program("mosquitto_sub"), program("mosquitto_pub"))
    else {
        return;
    };
    for args in [
        &["-m", "x"][..],
        &["-m", "x", "-v"],
        &["-m", "x", "-N"],
        &["-m", "x", "-F", "%t %q %l %p\\n", "-q", "1"],
        &["-n", "-v"],
        &["-m", "x", "-V", "mqttv311"],
        &["-m", "x", "-d", "-i", "me"],
        &["-m", "x", "-D", "publish", "user-property", "a", "b", "-k", "30", "-i", "me"],
    ] {
        let outcomes = [Command::new(&mosquitto_rr), midge_rr()].map(|tool| {
            let broker = Broker::start().unwrap();
            let responder = responder(&broker, &sub, &publish, "mqttv5");
            let outcome = ask(tool, &broker, &[&["-t", "ask", "-e", "r"], args].concat());
            responder.wait().success();
            // mosquitto_rr ends without DISCONNECT, and shows an identifier that QoS 0 does not send.
            let stdout = outcome.stdout().replace("Client me sending DISCONNECT\n", "");
            let stdout = stdout.replace("r0, m2, 'ask'", "r0, m0, 'ask'");
            (outcome.code, stdout)
        });
        assert_eq!(outcomes[0], outcomes[1], "{args:?}");
        assert_eq!(outcomes[0].0, Some(0), "{args:?}");
    }
}

/// Accepts the connection and the subscription to `r`.
fn accept(stream: &mut TcpStream) {
    read_packet(stream);
    stream.write_all(b"\x20\x03\0\0\0").unwrap();
    let subscribe = read_packet(stream);
    stream.write_all(&[0x90, 4, subscribe[2], subscribe[3], 0, 0]).unwrap();
}

/// The correlation data of a PUBLISH.
fn correlation(publish: &[u8]) -> [u8; 32] {
    let at = publish.windows(3).position(|bytes| bytes == b"\x09\0\x20").unwrap();
    publish[at + 3..at + 35].try_into().unwrap()
}

/// A message on `r` with these correlation data, if any.
fn message(flags: u8, correlation: Option<&[u8]>, payload: &str) -> Vec<u8> {
    let properties = match correlation {
        Some(data) => [&[9, 0, data.len() as u8], data].concat(),
        None => Vec::new(),
    };
    let body =
        [b"\0\x01r", &[properties.len() as u8][..], &properties, payload.as_bytes()].concat();
    [&[0x30 | flags, body.len() as u8], &body[..]].concat()
}

#[test]
fn only_what_carries_the_correlation_data_is_an_answer() {
    let outcome = Server::new(|mut stream| {
        accept(&mut stream);
        let data = correlation(&read_packet(&mut stream));
        stream.write_all(&message(0, None, "none")).unwrap();
        stream.write_all(&message(0, Some(b"other"), "other")).unwrap();
        stream.write_all(&message(1, Some(&data), "retained")).unwrap();
        stream.write_all(&message(0, Some(&data), "mine")).unwrap();
        // DISCONNECT with reason 0, and nothing else.
        assert_eq!(read_packet(&mut stream), [0xe0, 0]);
    })
    .against(midge_rr(), &ASK);
    assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(0), "mine\n"));
    let said: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("correlation data") && said[0].contains("--no-correlation"));
    assert!(said[1].contains("was retained before"), "{said:?}");
}

#[test]
fn without_correlation_the_first_message_is_the_answer() {
    for (args, flags) in
        [(&["--no-correlation"][..], 0), (&["--no-correlation", "--retain-as-published"], 1)]
    {
        let outcome = Server::new(move |mut stream| {
            accept(&mut stream);
            let request = read_packet(&mut stream);
            assert!(!request.windows(3).any(|bytes| bytes == b"\x09\0\x20"), "{request:?}");
            stream.write_all(&message(flags, None, "first")).unwrap();
            read_to_close(stream);
        })
        .against(midge_rr(), &[&ASK[..], args].concat());
        assert_eq!(outcome.success().stdout(), "first\n");
    }
}

#[test]
fn given_correlation_data_are_sent_and_checked() {
    let outcome = Server::new(|mut stream| {
        accept(&mut stream);
        let request = read_packet(&mut stream);
        assert!(request.windows(6).any(|bytes| bytes == b"\x09\0\x03abc"), "{request:?}");
        stream.write_all(&message(0, Some(b"abd"), "other")).unwrap();
        stream.write_all(&message(0, Some(b"abc"), "mine")).unwrap();
        read_to_close(stream);
    })
    .against(
        midge_rr(),
        &[&ASK[..], &["--quiet", "-D", "publish", "correlation-data", "abc"]].concat(),
    );
    assert_eq!(outcome.success().stdout(), "mine\n");
}

#[test]
fn several_answers_can_be_waited_for() {
    let outcome = Server::new(|mut stream| {
        accept(&mut stream);
        let data = correlation(&read_packet(&mut stream));
        for payload in ["a", "b", "c"] {
            stream.write_all(&message(0, Some(&data), payload)).unwrap();
        }
        read_to_close(stream);
    })
    .against(midge_rr(), &[&ASK[..], &["-C", "2", "--latency"]].concat());
    let stdout = outcome.success().stdout();
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (4, "a", "b"), "{lines:?}");
    assert!(lines[1].starts_with("Latency: ") && lines[1].ends_with('s'), "{lines:?}");
}

#[test]
fn an_old_retained_message_is_no_answer() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let retain = ["-h", "127.0.0.1", "-p", &port, "-t", "r", "-r", "-q", "1", "-m", "old"];
    run(midge_pub().args(retain)).success();
    for version in ["311", "5"] {
        let mut tool = midge_rr();
        tool.args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-W", "1", "--latency"])
            .args(ASK);
        let outcome = run(&mut tool);
        assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(27), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("was retained before the request"), "{outcome:?}");
        assert_eq!(run(tool.arg("-R")).code, Some(27));
    }
}

#[test]
fn the_response_topic_is_made_of_what_the_broker_says() {
    let outcome = Server::new(|mut stream| {
        let connect = read_packet(&mut stream);
        // Request Response Information: 1.
        assert!(connect.windows(2).any(|bytes| bytes == [0x19, 1]), "{connect:?}");
        stream.write_all(b"\x20\x0b\0\0\x08\x1a\0\x05a/b/c").unwrap();
        let subscribe = read_packet(&mut stream);
        let topic = String::from_utf8(subscribe[7..subscribe.len() - 1].to_vec()).unwrap();
        assert!(topic.starts_with("a/b/c/") && topic.len() == 6 + 32, "{topic}");
        stream.write_all(&[0x90, 4, subscribe[2], subscribe[3], 0, 0x87]).unwrap();
        read_to_close(stream);
    })
    .against(midge_rr(), &["-t", "ask", "-n"]);
    outcome.said(135, "the broker refused the subscription to \"a/b/c/");
}

#[test]
fn who_does_not_get_an_answer_is_told_why() {
    // Nobody has subscribed to the request.
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let mut tool = midge_rr();
    tool.args(["-h", "127.0.0.1", "-p", &port, "-W", "1", "-q", "1"]).args(ASK);
    let outcome = run(&mut tool);
    assert_eq!(outcome.code, Some(27));
    assert_eq!(outcome.stderr, "midge_rr: nobody has subscribed to \"ask\"\nmidge_rr: timed out\n");
    // The connection is lost.
    Server::new(|mut stream| {
        accept(&mut stream);
        read_packet(&mut stream);
    })
    .against(midge_rr(), &ASK)
    .said(7, "closed the connection");
    // The request is refused.
    Server::new(|mut stream| {
        accept(&mut stream);
        let publish = read_packet(&mut stream);
        let id = publish.windows(3).position(|bytes| bytes == b"ask").unwrap() + 3;
        stream.write_all(&[0x40, 3, publish[id], publish[id + 1], 0x87]).unwrap();
        read_to_close(stream);
    })
    .against(midge_rr(), &[&ASK[..], &["-q", "1"]].concat())
    .said(135, "the broker refused the message: Not authorized");
}

#[test]
fn a_signal_while_waiting_disconnects_first() {
    let Some(broker) = Broker::start() else { return };
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut tool = midge_rr();
        tool.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-i", signal]).args(ASK);
        let running = Running::start(&mut tool);
        broker.wait_for_log(&format!("Received PUBLISH from {signal}"));
        running.signal(signal);
        let outcome = running.wait();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(code), ""));
        broker.wait_for_log(&format!("Received DISCONNECT from {signal}"));
    }
}

#[test]
fn a_request_comes_from_every_source() {
    let Some(sub) = program("mosquitto_sub") else { return };
    let publish = program("mosquitto_pub").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("payload");
    fs::write(&file, "from a file").unwrap();
    for (source, payload) in [
        (&["-s"][..], "from standard input"),
        (&["-f", file.to_str().unwrap()], "from a file"),
        (&["-n"], ""),
        (&["-m", "-x"], "-x"),
    ] {
        let Some(broker) = Broker::start() else { return };
        let responder = responder(&broker, &sub, &publish, "mqttv5");
        let mut tool = midge_rr();
        tool.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-W", "30"]);
        tool.args(["-t", "ask", "-e", "r"]).args(source);
        let outcome = run_with(&mut tool, b"from standard input");
        assert_eq!(outcome.success().stdout(), format!("re: {payload}\n"));
        responder.wait().success();
    }
}

#[test]
fn what_comes_before_the_request_is_no_answer() {
    // A kept session has a message for the response topic, which the broker sends at once.
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x02\x01\0").unwrap();
        stream.write_all(b"\x30\x06\0\x01rold").unwrap();
        let subscribe = read_packet(&mut stream);
        stream.write_all(b"\x30\x06\0\x01rold").unwrap();
        stream.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0]).unwrap();
        read_packet(&mut stream);
        stream.write_all(b"\x30\x06\0\x01rnew").unwrap();
        read_to_close(stream);
    })
    .against(midge_rr(), &[&ASK[..], &["-V", "311", "-c", "-i", "me"]].concat());
    assert_eq!(outcome.success().stdout(), "new\n");
}

#[test]
fn a_broker_that_breaks_the_protocol_ends_it() {
    // CVE-2024-10525: a SUBACK without reason codes.
    for suback in [&b"\x90\x03\0\x01\0"[..], b"\x90\x05\0\x01\0\0\0", b"\x90\x04\0\x01\0\x7f"] {
        Server::new(move |mut stream| {
            read_packet(&mut stream);
            stream.write_all(b"\x20\x03\0\0\0").unwrap();
            read_packet(&mut stream);
            stream.write_all(suback).unwrap();
            read_to_close(stream);
        })
        .against(midge_rr(), &ASK)
        .said(2, "protocol");
    }
}

#[test]
fn an_answer_that_cannot_be_printed_is_an_error() {
    let Some(broker) = Broker::start() else { return };
    let mut tool = midge_rr();
    tool.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-W", "30"]);
    tool.args(["-t", "a", "-e", "a", "-m", "x"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = tool.stdin(Stdio::null()).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("midge_rr: cannot write to standard output: "), "{stderr}");
    // A reader that has gone is a normal end.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = tool.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
