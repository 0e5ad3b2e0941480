//! midge_sub: what it subscribes to, which messages count, and where they go.

mod exec;
mod files;
pub mod requests;
mod retained;
mod selection;
mod transcripts;
mod watch;

use std::process::Command;

use crate::{
    run::{Outcome, Running, midge_pub, midge_sub, run, run_with},
    support::{Broker, broker::program},
};

/// The command with the address of the broker.
fn to(broker: &Broker, mut command: Command) -> Command {
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]);
    command
}

/// Starts midge_sub and waits until its SUBSCRIBE, the broker's `count`th, is answered.
fn subscriber(broker: &Broker, count: usize, args: &[&str]) -> Running {
    let running = Running::start(to(broker, midge_sub()).args(args));
    broker.wait_for_log_count("Sending SUBACK to", count);
    running
}

/// Runs midge_sub to its end.
#[track_caller]
fn subscribe(broker: &Broker, args: &[&str]) -> Outcome {
    run(to(broker, midge_sub()).args(args))
}

/// Publishes one message with QoS 1, or what the options say.
#[track_caller]
fn publish(broker: &Broker, args: &[&str]) {
    run(to(broker, midge_pub()).args(["-q", "1"]).args(args)).success();
}

/// Publishes lines with QoS 1.
#[track_caller]
fn publish_lines(broker: &Broker, topic: &str, lines: &str) {
    let args = ["-q", "1", "-l", "-t", topic];
    run_with(to(broker, midge_pub()).args(args), lines.as_bytes()).success();
}

/// Has the broker retain `topic` with its own name as payload.
#[track_caller]
fn retain(broker: &Broker, topics: &[&str]) {
    for topic in topics {
        publish(broker, &["-r", "-t", topic, "-m", topic]);
    }
}

/// Checks that mosquitto_sub and midge_sub, one after the other, print the same for the same
/// options and end in the same way.
#[track_caller]
fn same_as_mosquitto_sub(broker: &Broker, args: &[&str]) -> Outcome {
    let ours = subscribe(broker, args);
    if let Some(program) = program("mosquitto_sub") {
        let theirs = run(to(broker, Command::new(program)).args(args));
        assert_eq!((ours.code, ours.stdout()), (theirs.code, theirs.stdout()), "{args:?}");
    }
    ours
}

/// Checks that both, side by side, print the same of what `publish` publishes.
#[track_caller]
fn same_live(broker: &Broker, args: &[&str], publish: impl Fn()) -> Outcome {
    let subacks = broker.log().matches("Sending SUBACK to").count();
    let ours = subscriber(broker, subacks + 1, args);
    let theirs = program("mosquitto_sub").map(|program| {
        let running = Running::start(to(broker, Command::new(program)).args(args));
        broker.wait_for_log_count("Sending SUBACK to", subacks + 2);
        running
    });
    publish();
    let ours = ours.wait();
    if let Some(theirs) = theirs.map(Running::wait) {
        assert_eq!((ours.code, ours.stdout()), (theirs.code, theirs.stdout()), "{args:?}");
    }
    ours
}
