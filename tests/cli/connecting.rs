//! The time limit of every tool, and attempts to connect that are repeated.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    run::{Running, midge_pub, midge_rr, midge_sub, run},
    server::{Server, read_packet, read_to_close},
    support::{Broker, broker::free_port},
};

/// Every tool with something to do.
fn tools() -> [(Command, &'static [&'static str]); 3] {
    [
        (midge_pub(), &["-t", "a", "-m", "x", "-q", "1"]),
        (midge_sub(), &["-t", "a"]),
        (midge_rr(), &["-t", "a", "-e", "b", "-n"]),
    ]
}

#[test]
fn the_time_limit_covers_everything() {
    // A server that is silent from the start, after CONNECT, and after what comes next.
    for packets in 0..3 {
        for (tool, args) in tools() {
            let begin = Instant::now();
            let is_5 = args.contains(&"-e");
            let outcome = Server::new(move |mut stream| {
                use std::io::Write;
                if packets > 1 {
                    read_packet(&mut stream);
                    let connack: &[u8] = if is_5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
                    stream.write_all(connack).unwrap();
                }
                if packets > 0 {
                    read_packet(&mut stream);
                }
                read_to_close(stream);
            })
            .against(tool, &[args, &["-W", "1"]].concat());
            assert_eq!((outcome.code, outcome.stdout.as_slice()), (Some(27), &b""[..]));
            assert!(outcome.stderr.ends_with(": timed out\n"), "{outcome:?}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        }
    }
}

#[test]
fn the_time_limit_covers_a_connection_that_is_not_made() {
    // The kernel answers no more than the queue of a listener holds.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        waiting.push(stream);
        assert!(waiting.len() < 10_000);
    }
    for (mut tool, args) in tools() {
        tool.args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-W", "1"]);
        run(tool.args(args)).said(27, "timed out");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_time_limit_covers_a_resolver_that_does_not_answer() {
    // On the port of a resolver, and in the files that the system's library reads.
    let Ok(resolver) = std::net::UdpSocket::bind("127.0.77.53:53") else {
        return crate::support::broker::skip(
            "this process may not listen on port 53",
            "MIDGE_REQUIRE_PRIVILEGES",
        );
    };
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = "nameserver 127.0.77.53\noptions timeout:20\n";
    std::fs::write(dir.path().join("resolv.conf"), resolv_conf).unwrap();
    std::fs::write(dir.path().join("nsswitch.conf"), "hosts: dns\n").unwrap();
    let with_settings = |words: &[&str]| {
        const SCRIPT: &str = "for file in resolv.conf nsswitch.conf; do \
                              [ ! -e /etc/$file ] || mount --bind \"$0/$file\" /etc/$file || exit 99; \
                              done; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT]).arg(dir.path()).args(words);
        command.env("XDG_CONFIG_HOME", "/nonexistent");
        command
    };
    if !with_settings(&["true"]).status().is_ok_and(|status| status.success()) {
        return crate::support::broker::skip(
            "this process may not make mount namespaces",
            "MIDGE_REQUIRE_PRIVILEGES",
        );
    }
    for (tool, args) in tools() {
        let begin = Instant::now();
        let tool = tool.get_program().to_str().unwrap();
        let words = [&[tool][..], args, &["-h", "midge.example", "-W", "1"]].concat();
        run(&mut with_settings(&words)).said(27, ": timed out");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
    // It was asked.
    resolver.set_nonblocking(true).unwrap();
    resolver.recv(&mut [0; 512]).unwrap();
}

#[test]
fn the_time_limit_covers_what_is_read_first() {
    for (mut tool, args) in
        [(midge_pub(), &["-t", "a", "-s"][..]), (midge_rr(), &["-t", "a", "-s"])]
    {
        let mut running = Running::start(tool.args(args).args(["-W", "1"]).stdin(Stdio::piped()));
        let stdin = running.stdin();
        running.wait().said(27, "timed out");
        drop(stdin);
    }
}

#[test]
fn a_first_attempt_is_repeated_when_asked_for() {
    let Some(mut broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    // mosquitto takes no notice of SIGTERM before it has come to its main loop.
    run(midge_pub().args(["-h", "127.0.0.1", "-p", &port, "-t", "a", "-n", "-q", "1"])).success();
    broker.stop();
    let mut subscriber = midge_sub();
    subscriber.args(["-h", "127.0.0.1", "-p", &port, "-t", "a", "-q", "1", "-C", "1", "-W", "50"]);
    let subscriber = Running::start(subscriber.arg("--retry"));
    // It has failed once at least when a tool that does not repeat has.
    run(midge_pub().args(["-h", "127.0.0.1", "-p", &port, "-t", "a", "-n"])).said(1, &port);
    broker.start_again();
    broker.wait_for_log("Sending SUBACK to");
    let mut publisher = midge_pub();
    publisher.args(["-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "x", "-q", "1", "--retry"]);
    run(&mut publisher).success();
    let outcome = subscriber.wait();
    assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(0), "x\n"), "{outcome:?}");
    for line in outcome.stderr.lines() {
        assert!(line.contains("no connection to 127.0.0.1:"), "{outcome:?}");
        assert!(line.ends_with("; connecting again"), "{outcome:?}");
    }
}

#[test]
fn attempts_end_with_the_time_limit_which_tells_why_they_failed() {
    let port = free_port().to_string();
    for (mut tool, args) in tools() {
        tool.args(["-h", "127.0.0.1", "-p", &port, "--retry", "-W", "2", "--quiet"]).args(args);
        let outcome = run(&mut tool);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(27), ""));
    }
    let mut tool = midge_sub();
    tool.args(["-h", "127.0.0.1", "-p", &port, "--retry", "-W", "2", "-t", "a"]);
    let outcome = run(&mut tool);
    assert_eq!(outcome.code, Some(27), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.contains("timed out; the last attempt to connect failed: "), "{outcome:?}");
    assert!(last.contains("Connection refused"), "{outcome:?}");
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    for (tool, args) in tools() {
        let is_5 = args.contains(&"-e");
        let begin = Instant::now();
        let outcome = Server::new(move |mut stream| {
            use std::io::Write;
            read_packet(&mut stream);
            // Not authorized.
            let connack: &[u8] = if is_5 { b"\x20\x03\0\x87\0" } else { b"\x20\x02\0\x05" };
            stream.write_all(connack).unwrap();
            read_to_close(stream);
        })
        .against(tool, &[args, &["--retry", "-W", "30"]].concat());
        outcome.said(if is_5 { 135 } else { 5 }, "refused the connection");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_connection_that_was_accepted_ends_the_tool_in_spite_of_retry() {
    for (tool, args) in tools() {
        if args.len() == 2 {
            continue; // midge_sub connects again.
        }
        let is_5 = args.contains(&"-e");
        let outcome = Server::new(move |mut stream| {
            use std::io::Write;
            read_packet(&mut stream);
            let connack: &[u8] = if is_5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" };
            stream.write_all(connack).unwrap();
            read_packet(&mut stream);
        })
        .against(tool, &[args, &["--retry", "-W", "30"]].concat());
        outcome.said(7, "closed the connection");
    }
}
