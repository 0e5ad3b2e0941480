//! Everything that arrives at a broker, as one line each.

use std::{io::BufRead, process::Command};

use crate::{
    run::{Running, midge_pub, run},
    support::{Broker, broker::program},
};

/// Topic, quality of service, retain flag and payload in hexadecimal digits.
const FORMAT: &str = "%t %q %r %x";

/// A subscriber to everything.
pub struct Watcher<'b> {
    broker: &'b Broker,
    /// Killed with the watcher.
    _subscriber: Running,
    lines: std::io::Lines<Box<dyn BufRead>>,
}

impl<'b> Watcher<'b> {
    /// The first subscriber of this broker, which is not one of ours.
    pub fn start(broker: &'b Broker) -> Option<Self> {
        Self::with(broker, &["-V", "5", "--retain-as-published"])
    }

    /// Like [`Watcher::start`], for messages that are not retained, as many as you like: mosquitto sends
    /// a subscriber of 5.0 more messages of QoS 2 than its Receive Maximum, and that one hangs up.
    pub fn of_many(broker: &'b Broker) -> Option<Self> {
        Self::with(broker, &["-V", "311"])
    }

    fn with(broker: &'b Broker, args: &[&str]) -> Option<Self> {
        let mosquitto_sub = program("mosquitto_sub")?;
        let port = broker.port().to_string();
        let common = ["-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", "#", "-F", FORMAT];
        let mut command = Command::new(mosquitto_sub);
        let mut subscriber = Running::start_unread(command.args(common).args(args));
        let lines = (Box::new(subscriber.stdout()) as Box<dyn BufRead>).lines();
        broker.wait_for_log("Sending SUBACK to");
        Some(Self { broker, _subscriber: subscriber, lines })
    }

    /// What has arrived since the last time, in the order of its arrival.
    pub fn arrived(&mut self) -> Vec<String> {
        let port = self.broker.port().to_string();
        let args = ["-h", "127.0.0.1", "-p", &port, "-t", "end of part", "-q", "2", "-n"];
        run(midge_pub().args(args)).success();
        let lines = self.lines.by_ref().map(Result::unwrap);
        let mut arrived = Vec::new();
        for line in lines {
            if line.starts_with("end of part ") {
                return arrived;
            }
            arrived.push(line);
        }
        panic!("the watcher has ended after {} messages", arrived.len());
    }
}

/// The line of a message.
pub fn line(topic: &str, qos: u8, retain: u8, payload: impl AsRef<[u8]>) -> String {
    let payload: String = payload.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{topic} {qos} {retain} {payload}")
}
