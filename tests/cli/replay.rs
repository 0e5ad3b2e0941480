//! Recording with midge_sub and publishing the record again with midge_pub.

use std::{
    io::{BufRead, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    run::{Outcome, Running, midge_pub, midge_sub, run, run_with},
    support::{Broker, broker::program},
    watcher::{Watcher, line},
};

fn port(broker: &Broker) -> [String; 4] {
    ["-h", "127.0.0.1", "-p", &broker.port().to_string()].map(str::to_owned)
}

fn replay(broker: &Broker, args: &[&str], log: &str) -> Outcome {
    run_with(midge_pub().args(port(broker)).arg("--jsonl").args(args), log.as_bytes())
}

/// A recording of everything, which ends behind the message on `end`.
struct Recorder {
    running: Running,
    lines: std::io::Lines<Box<dyn BufRead>>,
}

impl Recorder {
    fn start(broker: &Broker) -> Self {
        let args = ["-V", "5", "-q", "2", "-t", "#", "-F", "%j", "--retain-as-published"];
        let mut running = Running::start_unread(midge_sub().args(port(broker)).args(args));
        let lines = (Box::new(running.stdout()) as Box<dyn BufRead>).lines();
        broker.wait_for_log("Sending SUBACK to");
        Self { running, lines }
    }

    /// The log, without the message on `end`.
    fn finish(self, broker: &Broker) -> String {
        run(midge_pub().args(port(broker)).args(["-t", "end", "-q", "2", "-n"])).success();
        let lines = self.lines.map(Result::unwrap);
        let log = lines.take_while(|line| !line.contains("\"topic\":\"end\""));
        let log = log.map(|line| line + "\n").collect();
        drop(self.running);
        log
    }
}

/// The log but for what belongs to the recording: its time, its packet identifiers and, as messages of
/// different quality may overtake each other, its order.
fn published(log: &str) -> Vec<serde_json::Value> {
    let strip = |line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let members = value.as_object_mut().unwrap();
        assert!(members.remove("tst").is_some());
        members.remove("mid");
        value
    };
    let mut messages: Vec<_> = log.lines().map(strip).collect();
    messages.sort_by_key(|message| message["topic"].to_string());
    messages
}

#[test]
fn a_record_is_published_as_it_was() {
    let (Some(source), Some(target)) = (Broker::start(), Broker::start()) else { return };
    let Some(mosquitto_pub) = program("mosquitto_pub") else { return };
    let recorder = Recorder::start(&source);
    let publish = |args: &[&str], payload: &[u8]| {
        let mut publisher = std::process::Command::new(&mosquitto_pub);
        run_with(publisher.args(port(&source)).args(["-V", "5"]).args(args), payload).success();
    };
    let every_byte: Vec<u8> = (0..=255).collect();
    publish(&["-t", "plain", "-s"], b"text \"with\" \\ and \n\t\x01\x7f");
    publish(&["-t", "binary", "-q", "1", "-s"], &every_byte);
    publish(&["-t", "kept/1", "-q", "2", "-r", "-m", "null"], b"");
    publish(&["-t", "empty", "-q", "2", "-n"], b"");
    publish(&["-t", "json", "-q", "1", "-m", r#"{"a": [1, 2.50, "x"]}"#], b"");
    publish(&["-t", "unicode/ü☃", "-q", "1", "-m", "grüße 😀"], b"");
    publish(&["-t", "long", "-q", "1", "-s"], &b"0123456789abcdef".repeat(65536));
    let properties = "content-type text/plain;correlation-data x y;message-expiry-interval 3600;\
                      payload-format-indicator 1;response-topic answer/here;\
                      user-property name value;user-property name other;user-property ä ö";
    let properties = properties.split(';').flat_map(|property| {
        let words = property.splitn(if property.starts_with("user") { 3 } else { 2 }, ' ');
        ["-D", "publish"].into_iter().chain(words)
    });
    let properties: Vec<_> = properties.collect();
    publish(&[&["-t", "properties", "-q", "2", "-m", "x"], &properties[..]].concat(), b"");
    let log = recorder.finish(&source);
    assert_eq!(log.lines().count(), 8, "{log}");

    let recorder = Recorder::start(&target);
    replay(&target, &[], &log).success();
    let again = recorder.finish(&target);
    for (again, first) in published(&again).iter().zip(&published(&log)) {
        assert!(again == first, "{} of {}", again["topic"], first["topic"]);
    }
    assert_eq!(again.lines().count(), 8);
    assert!(again.contains(r#""message-expiry-interval":3600"#), "{again}");

    // What was retained is kept there too.
    let args = ["-t", "kept/#", "-v", "-C", "1", "-W", "30"];
    let kept = run(midge_sub().args(port(&target)).args(args));
    assert_eq!(kept.success().stdout(), "kept/1 null\n");
}

#[test]
fn options_override_what_was_recorded() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let log = r#"{"topic":"a","qos":2,"retain":true,"payload":"x"}
{"payload":"y"}

{"topic":"b","payload":[1,2]}
"#;
    replay(&broker, &["-t", "rest"], log).success();
    let expected = [line("a", 2, 1, "x"), line("b", 0, 0, "[1,2]"), line("rest", 0, 0, "y")];
    let mut arrived = watcher.arrived();
    arrived.sort(); // Messages of different quality may overtake each other.
    assert_eq!(arrived, expected);
    replay(&broker, &["-t", "rest", "-q", "1", "-r"], log).success();
    let expected = [line("a", 1, 1, "x"), line("rest", 1, 1, "y"), line("b", 1, 1, "[1,2]")];
    assert_eq!(watcher.arrived(), expected);
    replay(&broker, &["-t", "rest", "-q", "1", "--topic-template", "copy/{topic}"], log).success();
    let expected =
        [line("copy/a", 1, 1, "x"), line("copy/rest", 1, 0, "y"), line("copy/b", 1, 0, "[1,2]")];
    assert_eq!(watcher.arrived(), expected);
}

#[test]
fn lines_that_are_no_records_are_named_and_the_others_go_on() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let log = "{\"topic\":\"a\",\"payload\":\"1\"}\nnot json\n{\"topic\":\"a/#\"}\n\
               {\"topic\":\"a\",\"payloadlen\":9,\"payload\":\"cut\"}\n{}\n{\"topic\":\"a\"";
    let outcome = replay(&broker, &[], log);
    let starts = [
        "midge_pub: line 2: not a JSON object",
        "midge_pub: line 3: \"a/#\" is not a topic name: ",
        "midge_pub: line 4: the payload has 3 bytes where payloadlen says 9: it was not recorded",
        "midge_pub: line 5: the record has no topic: add -t TOPIC for such records",
        "midge_pub: line 6: EOF while parsing an object (column 12)",
        "midge_pub: 5 of 6 lines read were not published",
    ];
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 6), "{outcome:?}");
    for (told, start) in outcome.stderr.lines().zip(starts) {
        assert!(told.starts_with(start), "{told}");
    }
    assert_eq!(watcher.arrived(), [line("a", 0, 0, "1")]);
}

#[test]
fn properties_are_not_left_out_silently_before_5() {
    let Some(broker) = Broker::start() else { return };
    let log = "{\"topic\":\"a\",\"payload\":\"1\"}\n\
               {\"topic\":\"a\",\"properties\":{\"content-type\":\"x\"}}\n";
    let outcome = replay(&broker, &["-V", "311", "-q", "1"], log);
    assert!(outcome.stderr.starts_with("midge_pub: line 2: "), "{outcome:?}");
    assert!(outcome.stderr.contains("properties"), "{outcome:?}");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
}

/// Two messages that were recorded this far apart.
fn apart(seconds: u32) -> String {
    let record = |seconds| {
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!(
            "{{\"tst\":\"2026-01-01T{hours:02}:{minutes:02}:{seconds:02}.000000+0100\",\
             \"topic\":\"a\",\"payload\":\"{seconds}\"}}\n"
        )
    };
    record(0) + &record(seconds)
}

#[test]
fn the_times_of_the_record_are_kept_if_wanted() {
    let Some(broker) = Broker::start() else { return };
    let took = |args: &[&str], log: &str| {
        let begin = Instant::now();
        replay(&broker, args, log).success();
        begin.elapsed()
    };
    assert!(took(&["--speed", "1"], &apart(1)) >= Duration::from_secs(1));
    assert!(took(&["--speed", "7200"], &apart(3600)) >= Duration::from_millis(500));
    // An hour, without a pause.
    took(&[], &apart(3600));
    took(&["--speed", "max"], &apart(3600));
    // A clock that goes back, and no clock at all, cost no time.
    took(&["--speed", "1"], &apart(3600).lines().rev().collect::<Vec<_>>().join("\n"));
    took(&["--speed", "1"], "{\"topic\":\"a\"}\n{\"topic\":\"a\"}\n");
}

#[test]
fn a_replay_that_waits_ends_with_a_signal() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let args = ["--jsonl", "--speed", "1", "-q", "1", "-i", "replayer"];
    let mut replayer =
        Running::start(midge_pub().args(port(&broker)).args(args).stdin(Stdio::piped()));
    let mut stdin = replayer.stdin();
    stdin.write_all(apart(3600).as_bytes()).unwrap();
    broker.wait_for_log("Sending PUBACK to replayer");
    assert_eq!(watcher.arrived(), [line("a", 1, 0, "0")]);
    replayer.signal("-INT");
    replayer.wait().said(130, "1 of 2 lines read were not confirmed");
}
