//! Together with the mosquitto broker and its tools.

use std::process::Command;

use crate::{
    run::{Running, midge_pub, midge_sub, run, run_with},
    support::{Broker, broker::program},
};

const VERSIONS: [(&str, &str); 3] = [("31", "mqttv31"), ("311", "mqttv311"), ("5", "mqttv5")];
const QOS: [&str; 3] = ["0", "1", "2"];

/// Every byte there is, so that nothing in between can take one for text.
fn binary_payload() -> Vec<u8> {
    (0..=255).chain([0, b'\n', 0xff, 0]).collect()
}

fn to(command: &mut Command, broker: &Broker) {
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]);
}

/// Starts a subscriber and waits until its SUBSCRIBE is answered.
fn subscriber(mut command: Command, broker: &Broker, args: &[&str], subscribers: usize) -> Running {
    to(&mut command, broker);
    let running = Running::start(command.args(args));
    broker.wait_for_log_count("Sending SUBACK to", subscribers);
    running
}

#[test]
fn midge_sub_prints_what_mosquitto_pub_sends() {
    let (Some(broker), Some(mosquitto_pub)) = (Broker::start(), program("mosquitto_pub")) else {
        return;
    };
    let mut count = 0;
    for (version, long_version) in VERSIONS {
        for qos in QOS {
            count += 1;
            let topic = format!("in/{version}/{qos}");
            let args = ["-V", version, "-q", qos, "-t", &topic, "-v", "-C", "1", "-W", "30"];
            let running = subscriber(midge_sub(), &broker, &args, count);
            let mut publisher = Command::new(&mosquitto_pub);
            to(&mut publisher, &broker);
            publisher.args(["-V", long_version, "-q", qos, "-t", &topic, "-s"]);
            run_with(&mut publisher, &binary_payload()).success();
            let outcome = running.wait();
            outcome.success();
            let expected = [topic.as_bytes(), b" ", &binary_payload(), b"\n"].concat();
            assert_eq!(outcome.stdout, expected, "{version} {qos}");
        }
    }
}

#[test]
fn mosquitto_sub_prints_what_midge_pub_sends() {
    let (Some(broker), Some(mosquitto_sub)) = (Broker::start(), program("mosquitto_sub")) else {
        return;
    };
    let mut count = 0;
    for (version, long_version) in VERSIONS {
        for qos in QOS {
            count += 1;
            let topic = format!("out/{version}/{qos}");
            let args = ["-V", long_version, "-q", qos, "-t", &topic, "-v", "-C", "1", "-W", "30"];
            let running = subscriber(Command::new(&mosquitto_sub), &broker, &args, count);
            let mut publisher = midge_pub();
            to(&mut publisher, &broker);
            publisher.args(["-V", version, "-q", qos, "-t", &topic, "-s"]);
            run_with(&mut publisher, &binary_payload()).success();
            let outcome = running.wait();
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let expected = [topic.as_bytes(), b" ", &binary_payload(), b"\n"].concat();
            assert_eq!(outcome.stdout, expected, "{version} {qos}");
        }
    }
}

#[test]
fn every_source_of_a_message_publishes_its_bytes() {
    let Some(broker) = Broker::start() else { return };
    let file = broker.dir().join("payload");
    std::fs::write(&file, binary_payload()).unwrap();
    let file = file.to_str().unwrap();
    let sources: [(&[&str], &[u8], &[u8]); 6] = [
        (&["-m", "-5"], b"", b"-5\n"),
        (&["-m", ""], b"", b""),
        (&["-n"], b"", b""),
        (&["-f", file], b"", &[&binary_payload()[..], b"\n"].concat()),
        (&["-s"], b"a\nb\0", b"a\nb\0\n"),
        (&["-l"], b"a\n\n\0b\nc", b"a\n\0b\nc\n"),
    ];
    for (at, (source, input, printed)) in sources.into_iter().enumerate() {
        // The last message, on another topic, ends the subscriber also where nothing is printed.
        let topic = format!("source/{at}");
        let args = ["-t", &topic, "-q", "1", "-W", "30", "-C"];
        let count = input.split(|byte| *byte == b'\n').count();
        let count = if source == ["-l"] { count.to_string() } else { "1".to_owned() };
        let args = [&args[..], &[&count]].concat();
        let running = subscriber(midge_sub(), &broker, &args, at + 1);
        let mut publisher = midge_pub();
        to(&mut publisher, &broker);
        run_with(publisher.args(["-t", &topic, "-q", "1"]).args(source), input).success();
        let outcome = running.wait();
        outcome.success();
        assert_eq!(outcome.stdout, printed, "{source:?}");
    }
}

#[test]
fn a_retained_message_is_kept_and_can_be_cleared() {
    let Some(broker) = Broker::start() else { return };
    let publish = |args: &[&str]| {
        let mut publisher = midge_pub();
        to(&mut publisher, &broker);
        run(publisher.args(["-t", "kept", "-q", "1"]).args(args)).success();
    };
    let read = || {
        let mut subscriber = midge_sub();
        to(&mut subscriber, &broker);
        run(subscriber.args(["-t", "kept", "-C", "1", "-W", "1"]))
    };
    publish(&["-m", "state", "-r"]);
    assert_eq!(read().success().stdout(), "state\n");
    publish(&["-n", "-r"]);
    read().said(27, "imed out");
}

#[test]
fn the_will_is_published_when_the_client_is_killed() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "will", "-v", "-q", "2", "-C", "1", "-W", "30"];
    let watcher = subscriber(midge_sub(), &broker, &args, 1);
    let will =
        ["--will-topic", "will", "--will-payload", "gone", "--will-qos", "2", "--will-retain"];
    let victim = subscriber(midge_sub(), &broker, &[&["-t", "other"], &will[..]].concat(), 2);
    victim.signal("-KILL");
    assert_eq!(victim.wait().code, None);
    assert_eq!(watcher.wait().success().stdout(), "will gone\n");
    let mut later = midge_sub();
    to(&mut later, &broker);
    let outcome = run(later.args(["-t", "will", "-C", "1", "-W", "30"]));
    assert_eq!(outcome.success().stdout(), "gone\n");
}

#[test]
fn a_kept_session_gets_what_it_missed() {
    let Some(broker) = Broker::start() else { return };
    for version in ["311", "5"] {
        let session = ["-V", version, "-i", version, "-c", "-q", "1", "-t", "queue", "-C", "1"];
        let subscribe = |args: &[&str]| {
            let mut command = midge_sub();
            to(&mut command, &broker);
            run(command.args(session).args(args))
        };
        subscribe(&["-W", "1"]).said(27, "imed out");
        let mut publisher = midge_pub();
        to(&mut publisher, &broker);
        run(publisher.args(["-t", "queue", "-q", "1", "-m", version])).success();
        let outcome = subscribe(&["-W", "30"]);
        assert_eq!(outcome.success().stdout(), format!("{version}\n"));
    }
}

#[test]
fn credentials_are_checked_by_the_broker() {
    // `secret`, hashed by mosquitto_passwd.
    let Some(passwd) = program("mosquitto_passwd") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let create = ["-b", "-c", file.to_str().unwrap(), "ann", "secret"];
    run(Command::new(passwd).args(create)).success();
    let passwords = std::fs::read_to_string(file).unwrap();
    let config = "allow_anonymous false\npassword_file @DIR@/passwords\n";
    let Some(broker) = Broker::with_files(config, &[("passwords", &passwords)]) else { return };

    let publish = |args: &[&str]| {
        let mut publisher = midge_pub();
        to(&mut publisher, &broker);
        run(publisher.args(["-t", "a", "-m", "x", "-q", "1"]).args(args))
    };
    publish(&["-u", "ann", "-P", "secret"]).success();
    let url = format!("mqtt://ann:secret@127.0.0.1:{}/a", broker.port());
    publish(&["-L", &url]).success();
    publish(&["-u", "ann", "-P", "wrong"]).said(5, "ot authorized");
    publish(&["-u", "ann", "-P", "wrong", "-V", "5"]).said(135, "Not authorized (0x87)");
    publish(&[]).said(5, "ot authorized");
}

#[test]
fn a_broker_that_comes_back_is_subscribed_to_again() {
    let Some(mut broker) = Broker::start() else { return };
    let subscriber = subscriber(midge_sub(), &broker, &["-t", "a", "-q", "1", "-C", "1"], 1);
    broker.stop();
    broker.start_again();
    broker.wait_for_log("Sending SUBACK to");
    let mut publisher = midge_pub();
    to(&mut publisher, &broker);
    run(publisher.args(["-t", "a", "-q", "1", "-m", "back"])).success();
    let outcome = subscriber.wait();
    assert_eq!(outcome.connected_again().stdout(), "back\n");
}

#[test]
fn a_message_can_be_repeated() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "again", "-q", "2", "-C", "3", "-W", "30"];
    let subscriber = subscriber(midge_sub(), &broker, &args, 1);
    let mut publisher = midge_pub();
    to(&mut publisher, &broker);
    let repeat = ["--repeat", "3", "--repeat-delay", "0.01"];
    run(publisher.args(["-t", "again", "-q", "2", "-m", "x"]).args(repeat)).success();
    assert_eq!(subscriber.wait().success().stdout(), "x\nx\nx\n");
}

#[test]
fn a_count_leaves_the_rest_for_the_next_time() {
    let Some(broker) = Broker::start() else { return };
    for version in ["311", "5"] {
        let session = ["-V", version, "-i", version, "-c", "-q", "1", "-t", "rest"];
        let subscribe = |args: &[&str]| {
            let mut command = midge_sub();
            to(&mut command, &broker);
            run(command.args(session).args(args))
        };
        subscribe(&["-W", "1"]).said(27, "timed out");
        let mut publisher = midge_pub();
        to(&mut publisher, &broker);
        let publish = ["-t", "rest", "-q", "1", "-l"];
        run_with(publisher.args(publish), b"first\nsecond\nthird\n").success();
        for expected in ["first\n", "second\n", "third\n"] {
            assert_eq!(subscribe(&["-C", "1", "-W", "30"]).success().stdout(), expected);
        }
    }
}
