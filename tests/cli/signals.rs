//! SIGINT and SIGTERM: the tools disconnect, and their exit codes tell.

use std::{net::TcpListener, process::Stdio};

use crate::{
    run::{Running, midge_pub, midge_sub},
    support::Broker,
};

fn args<'a>(port: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["-h", "127.0.0.1", "-p", port], rest].concat()
}

#[test]
fn midge_sub_disconnects_and_ends_well() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    for (round, signal) in ["-INT", "-TERM"].into_iter().enumerate() {
        let subscribe = args(&port, &["-t", "a", "-i", signal]);
        let subscriber = Running::start(midge_sub().args(subscribe));
        broker.wait_for_log_count("Sending SUBACK to", round + 1);
        subscriber.signal(signal);
        subscriber.wait().success();
        broker.wait_for_log(&format!("Received DISCONNECT from {signal}"));
    }
}

#[test]
fn midge_pub_disconnects_and_tells_of_the_signal() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let publish = args(&port, &["-t", "a", "-l", "-d", "-i", signal]);
        let mut publisher = Running::start_unread(midge_pub().args(publish).stdin(Stdio::piped()));
        let _stdin = publisher.stdin();
        publisher.wait_for_line("received CONNACK");
        publisher.signal(signal);
        let outcome = publisher.wait();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(code), ""), "{outcome:?}");
        broker.wait_for_log(&format!("Received DISCONNECT from {signal}"));
    }
}

#[test]
fn a_signal_before_the_broker_answers_ends_the_tool() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let subscriber = Running::start(midge_sub().args(args(&port, &["-t", "a"])));
    let _silent = listener.accept().unwrap();
    subscriber.signal("-INT");
    assert_eq!(subscriber.wait().code, Some(255));
    let publisher = Running::start(midge_pub().args(args(&port, &["-t", "a", "-m", "x"])));
    let _silent = listener.accept().unwrap();
    publisher.signal("-INT");
    assert_eq!(publisher.wait().code, Some(130));
}

#[test]
fn the_will_of_a_stopped_tool_is_published_on_5_only() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let watch = args(&port, &["-t", "will/#", "-v", "-q", "1", "-C", "2", "-W", "30"]);
    let watcher = Running::start(midge_sub().args(watch));
    broker.wait_for_log_count("Sending SUBACK to", 1);
    for (round, version) in ["311", "5"].into_iter().enumerate() {
        let topic = format!("will/{version}");
        let subscribe = ["-V", version, "-t", "a", "--will-topic", &topic, "--will-payload", "x"];
        let subscriber = Running::start(midge_sub().args(args(&port, &subscribe)));
        broker.wait_for_log_count("Sending SUBACK to", round + 2);
        subscriber.signal("-INT");
        subscriber.wait().success();
    }
    let publish = args(&port, &["-t", "will/end", "-m", "x", "-q", "1"]);
    crate::run::run(midge_pub().args(publish)).success();
    assert_eq!(watcher.wait().success().stdout(), "will/5 x\nwill/end x\n");
}
