//! What the tools print, and what they do when nobody reads it.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use crate::{
    run::{Running, midge_pub, midge_sub, run, run_with},
    support::Broker,
};

fn args<'a>(port: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["-h", "127.0.0.1", "-p", port], rest].concat()
}

/// What midge_sub prints of these two messages, an empty one and one with a text.
fn printed(broker: &Broker, subscribers: usize, options: &[&str]) -> String {
    let port = broker.port().to_string();
    let subscribe = args(&port, &["-t", "out", "-q", "1", "-C", "2", "-W", "30"]);
    let subscriber = Running::start(midge_sub().args(subscribe).args(options));
    broker.wait_for_log_count("Sending SUBACK to", subscribers);
    let publish = args(&port, &["-t", "out", "-q", "1", "-l"]);
    run_with(midge_pub().args(publish), b"\ntext\n").success();
    subscriber.wait().success().stdout()
}

#[test]
fn the_formats_are_those_of_mosquitto_sub() {
    let Some(broker) = Broker::start() else { return };
    assert_eq!(printed(&broker, 1, &[]), "text\n");
    assert_eq!(printed(&broker, 2, &["-v"]), "out (null)\nout text\n");
    assert_eq!(printed(&broker, 3, &["-N"]), "text");
    assert_eq!(printed(&broker, 4, &["-v", "-N"]), "out text");
}

#[test]
fn a_message_is_printed_at_once() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let mut subscriber =
        Running::start_unread(midge_sub().args(args(&port, &["-t", "now", "-W", "30"])));
    broker.wait_for_log("Sending SUBACK to");
    run(midge_pub().args(args(&port, &["-t", "now", "-m", "hello"]))).success();
    subscriber.wait_for_line("hello");
    subscriber.signal("-TERM");
    subscriber.wait().success();
}

#[test]
fn a_closed_reader_is_a_normal_end() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let subscriber = args(&port, &["-t", "closed", "-i", "reader", "-W", "30"]);
    let mut subscriber = Running::start_unread(midge_sub().args(subscriber));
    broker.wait_for_log("Sending SUBACK to");
    drop(subscriber.stdout());
    run(midge_pub().args(args(&port, &["-t", "closed", "-m", "hello"]))).success();
    subscriber.wait().success();
    broker.wait_for_log("Received DISCONNECT from reader");
}

#[test]
fn a_full_disk_is_an_error() {
    let Some(broker) = Broker::start() else { return };
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let port = broker.port().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >/dev/full", "sh", env!("CARGO_BIN_EXE_midge_sub")]);
    let subscriber = Running::start(shell.args(args(&port, &["-t", "full", "-W", "30"])));
    broker.wait_for_log("Sending SUBACK to");
    run(midge_pub().args(args(&port, &["-t", "full", "-m", "hello"]))).success();
    subscriber.wait().said(1, "standard output");
}

#[test]
fn the_debug_lines_are_those_of_mosquitto() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let subscribe = ["-d", "-i", "s", "-t", "dbg", "-t", "#", "-q", "1", "-C", "1", "-W", "30"];
    let subscriber = Running::start(midge_sub().args(args(&port, &subscribe)));
    broker.wait_for_log("Sending SUBACK to");
    let publish = ["-d", "-i", "p", "-t", "other", "-m", "hello", "-q", "1"];
    let outcome = run(midge_pub().args(args(&port, &publish)));
    assert_eq!(
        outcome.success().stdout(),
        "Client p sending CONNECT\n\
         Client p received CONNACK (0)\n\
         Client p sending PUBLISH (d0, q1, r0, m1, 'other', ... (5 bytes))\n\
         Client p received PUBACK (Mid: 1, RC:0)\n\
         Client p sending DISCONNECT\n"
    );
    assert_eq!(
        subscriber.wait().success().stdout(),
        "Client s sending CONNECT\n\
         Client s received CONNACK (0)\n\
         Client s sending SUBSCRIBE (Mid: 1, Topic: dbg, QoS: 1, Options: 0x00)\n\
         Client s sending SUBSCRIBE (Mid: 1, Topic: #, QoS: 1, Options: 0x00)\n\
         Client s received SUBACK\n\
         Subscribed (mid: 1): 1, 1\n\
         Client s received PUBLISH (d0, q1, r0, m1, 'other', ... (5 bytes))\n\
         hello\n\
         Client s sending PUBACK (m1, rc0)\n\
         Client s sending DISCONNECT\n"
    );
}

/// Enough messages to fill the pipe, the socket and all that is between.
const FLOOD: usize = 20_000;

#[test]
fn a_debug_line_is_printed_at_once() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let publish = args(&port, &["-d", "-t", "now", "-l", "-W", "20"]);
    let mut publisher = Running::start_unread(midge_pub().args(publish).stdin(Stdio::piped()));
    let mut stdin = publisher.stdin();
    stdin.write_all(b"line\n").unwrap();
    // Nothing is answered to a message of QoS 0, and the input goes on.
    publisher.wait_for_line("sending PUBLISH (d0, q0, r0, m0, 'now', ... (4 bytes))");
    drop(stdin);
    publisher.wait().success();
}

fn flood(port: &str, topic: &str) -> String {
    let lines = format!("{}\n", "x".repeat(2000)).repeat(FLOOD);
    run_with(midge_pub().args(args(port, &["-t", topic, "-q", "1", "-l"])), lines.as_bytes())
        .success();
    lines
}

#[test]
fn a_slow_reader_gets_everything_and_costs_no_memory() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n") else {
        return;
    };
    let port = broker.port().to_string();
    let subscribe = args(&port, &["-t", "slow", "-q", "1", "-k", "5", "-W", "60"]);
    let mut subscriber = Running::start_unread(midge_sub().args(subscribe));
    broker.wait_for_log("Sending SUBACK to");
    let lines = flood(&port, "slow");
    // The publisher has ended, so that the reader is far behind when it begins.
    let mut printed = vec![0; lines.len()];
    let mut stdout = subscriber.stdout();
    stdout.read_exact(&mut printed).unwrap();
    assert!(printed == lines.as_bytes());
    if let Some(peak) = subscriber.peak_memory_bytes() {
        assert!(peak < lines.len() / 4, "{peak} bytes of memory for {} of messages", lines.len());
    }
    subscriber.collect(stdout);
    subscriber.signal("-TERM");
    assert_eq!(subscriber.wait().success().stdout(), "");
}

#[test]
fn a_reader_that_does_not_read_delays_neither_the_time_limit_nor_a_signal() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n") else {
        return;
    };
    let port = broker.port().to_string();
    let limited = args(&port, &["-t", "stuck", "-q", "1", "-W", "2"]);
    let mut limited = Running::start_unread(midge_sub().args(limited));
    let signalled = args(&port, &["-t", "stuck", "-q", "1"]);
    let mut signalled = Running::start_unread(midge_sub().args(signalled));
    broker.wait_for_log_count("Sending SUBACK to", 2);
    flood(&port, "stuck");
    let unread = (limited.stdout(), signalled.stdout());
    signalled.signal("-INT");
    signalled.wait().success();
    limited.wait().said(27, "timed out");
    drop(unread);
}

#[test]
fn a_terminal_is_not_steered_by_a_message() {
    use expectrl::Expect;

    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let hostile = "a\x1b]0;title\x07\u{9b}31m\r\u{202e}b";
    run(midge_pub().args(args(&port, &["-r", "-q", "1", "-t", "t", "-m", hostile]))).success();
    let shown = |option: &[&str], variables: &[(&str, &str)]| {
        let mut command = midge_sub();
        command.args(args(&port, &["-t", "#", "-v", "-C", "1", "-W", "30"])).args(option);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
        let mut terminal = expectrl::Session::spawn(command).unwrap();
        terminal.set_expect_timeout(Some(std::time::Duration::from_secs(30)));
        let output = terminal.expect(expectrl::Eof).unwrap();
        String::from_utf8(output.as_bytes().to_vec()).unwrap()
    };
    let payload = "a\\x1b]0;title\\x07\\x9b31m\\x0d\\u{202e}b";
    let plain = format!("t {payload}\r\n");
    let coloured = format!("\x1b[36mt\x1b[0m {payload}\r\n");
    assert_eq!(shown(&[], &[]), coloured);
    assert_eq!(shown(&["--color", "never"], &[]), plain);
    assert_eq!(shown(&[], &[("NO_COLOR", "1")]), plain);
    assert_eq!(shown(&[], &[("TERM", "dumb")]), plain);
    assert_eq!(shown(&["--color", "always"], &[("NO_COLOR", "1"), ("TERM", "dumb")]), coloured);
}

#[test]
fn a_bar_shows_how_much_is_done_and_is_taken_away() {
    use expectrl::Expect;

    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let shown = |options: &[&str]| {
        let mut command = midge_pub();
        command.args(args(&port, &["-t", "t", "-m", "x", "--repeat", "3"])).args(options);
        let mut terminal = expectrl::Session::spawn(command).unwrap();
        terminal.set_expect_timeout(Some(std::time::Duration::from_secs(30)));
        terminal.get_process_mut().set_window_size(40, 24).unwrap();
        let output = terminal.expect(expectrl::Eof).unwrap();
        String::from_utf8(output.as_bytes().to_vec()).unwrap()
    };
    let output = shown(&["--repeat-delay", "0.5"]);
    let pictures: Vec<_> = output.split('\r').filter(|line| !line.trim().is_empty()).collect();
    assert!(pictures.iter().all(|line| line.starts_with('[') && line.len() == 39), "{output:?}");
    assert!(pictures.iter().any(|line| line.contains("] 2/3 ")), "{output:?}");
    assert!(output.ends_with(&format!("\r{:39}\r", "")), "{output:?}");
    // What is over soon, and what shall be quiet, shows none.
    assert_eq!(shown(&[]), "");
    assert_eq!(shown(&["--repeat-delay", "0.5", "--quiet"]), "");
}
