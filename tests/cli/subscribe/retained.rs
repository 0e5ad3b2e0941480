//! --retained-only and --remove-retained.

use std::{io::Write as _, time::Instant};

use super::*;
use crate::server::{Server, read_packet, read_to_close};

/// Has the broker retain so many messages, as one client.
fn retain_many(broker: &Broker, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let topic = format!("many/{number:03}");
            retain(broker, &[&topic]);
            topic
        })
        .collect()
}

#[test]
fn retained_only_ends_when_all_are_there() {
    let Some(broker) = Broker::start() else { return };
    // More than mosquitto has on their way at a time, which are 20.
    let topics = retain_many(&broker, 70);
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let args = ["-t", "many/#", "--retained-only", "-V", version, "-q", qos, "-W", "30"];
            let mut printed: Vec<String> =
                subscribe(&broker, &args).success().stdout().lines().map(str::to_owned).collect();
            printed.sort();
            assert_eq!(printed, topics, "version {version} qos {qos}");
        }
    }
    // Nothing is retained: nothing is waited for.
    let begin = Instant::now();
    let none = subscribe(&broker, &["-t", "none/#", "--retained-only", "-W", "30"]);
    assert_eq!(none.success().stdout(), "");
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

#[test]
fn retained_only_ends_at_a_live_message_which_is_not_acknowledged() {
    let Some(broker) = Broker::start() else { return };
    let session = ["-i", "live", "-c", "-q", "1", "-t", "live/#"];
    subscribe(&broker, &[&session[..], &["-E"]].concat()).success();
    publish(&broker, &["-t", "live/now", "-m", "now"]);
    let outcome = subscribe(&broker, &[&session[..], &["--retained-only", "-W", "30"]].concat());
    assert_eq!(outcome.success().stdout(), "");
    let outcome = subscribe(&broker, &[&session[..], &["-R", "-C", "1", "-W", "30"]].concat());
    assert_eq!(outcome.success().stdout(), "now\n");
}

#[test]
fn removed_messages_are_gone_when_the_program_ends() {
    let Some(broker) = Broker::start() else { return };
    for version in ["311", "5"] {
        retain(&broker, &["gone/a", "gone/b", "gone/c", "stay/d"]);
        let args = ["-t", "+/+", "-T", "stay/#", "--remove-retained", "--retained-only", "-v"];
        let args = [&args[..], &["-V", version, "-W", "30"]].concat();
        let printed = subscribe(&broker, &args).success().stdout();
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["gone/a gone/a", "gone/b gone/b", "gone/c gone/c"], "{version}");
        let left = subscribe(&broker, &["-t", "#", "--retained-only", "-W", "30"]);
        assert_eq!(left.success().stdout(), "stay/d\n");
    }
}

#[test]
fn a_count_ends_a_removal_too() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["count/a", "count/b", "count/c"]);
    let args = ["-t", "count/#", "--remove-retained", "-C", "2", "-W", "30"];
    let first = subscribe(&broker, &args).success().stdout();
    assert_eq!(first.lines().count(), 2);
    let left = subscribe(&broker, &["-t", "count/#", "--retained-only", "-W", "30"]);
    assert_eq!(left.success().stdout().lines().count(), 1);
}

#[test]
fn hundreds_are_removed() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n") else {
        return;
    };
    let topics = retain_many(&broker, 300);
    let args = ["-t", "many/#", "--remove-retained", "--retained-only", "-W", "30"];
    let outcome = subscribe(&broker, &args);
    let mut printed: Vec<String> = outcome.success().stdout().lines().map(str::to_owned).collect();
    printed.sort();
    assert_eq!(printed, topics);
    let left = subscribe(&broker, &["-t", "many/#", "--retained-only", "-W", "30"]);
    assert_eq!(left.success().stdout(), "");
}

#[test]
fn a_removal_that_is_refused_is_a_failure() {
    let acl = "topic readwrite free/#\ntopic read bound/#\nuser setter\ntopic readwrite bound/#\n";
    let config = "allow_anonymous true\nacl_file @DIR@/acl\n";
    let Some(broker) = Broker::with_files(config, &[("acl", acl)]) else { return };
    publish(&broker, &["-r", "-t", "free/a", "-m", "x"]);
    publish(&broker, &["-u", "setter", "-r", "-t", "bound/b", "-m", "y"]);
    for filter in ["free/#", "bound/#"] {
        let args = ["-t", filter, "--remove-retained", "--retained-only", "-V", "5", "-W", "30"];
        let outcome = subscribe(&broker, &args);
        match filter {
            "free/#" => outcome.success(),
            _ => outcome.said(135, "the retained message of \"bound/b\" is not removed"),
        };
    }
}

#[test]
fn only_what_was_written_is_removed() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["m/a", "m/b", "m/c"]);
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap()];
    let args = ["-t", "m/#", "--remove-retained", "--retained-only", "-W", "30"];
    let args = [&args[..], &output].concat();
    // A directory where the file of the second would have to be.
    std::fs::create_dir_all(dir.path().join("m/b.log")).unwrap();
    subscribe(&broker, &args).said(1, "b.log");
    let left = subscribe(&broker, &["-t", "m/#", "--retained-only", "-W", "30"]);
    let left = left.success().stdout();
    assert!(left.contains("m/b\n"), "{left}");
    std::fs::remove_dir(dir.path().join("m/b.log")).unwrap();
    subscribe(&broker, &args).success();
    for name in ["a", "b", "c"] {
        let path = dir.path().join(format!("m/{name}.log"));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&format!("m/{name}\n")));
    }
    let left = subscribe(&broker, &["-t", "m/#", "--retained-only", "-W", "30"]);
    assert_eq!(left.success().stdout(), "");

    // More than are on their way at a time, each of which takes its time.
    let topics = retain_many(&broker, 50);
    let args = ["-t", "many/#", "-q", "1", "--remove-retained", "--retained-only", "-W", "30"];
    let printed = subscribe(&broker, &[&args[..], &["--exec", "sh", "-c", "cat; echo"]].concat());
    let mut printed: Vec<String> = printed.success().stdout().lines().map(str::to_owned).collect();
    printed.sort();
    assert_eq!(printed, topics);
    let left = subscribe(&broker, &["-t", "many/#", "--retained-only", "-W", "30"]);
    assert_eq!(left.success().stdout(), "");
}

#[test]
fn messages_that_are_held_back_until_others_are_complete_are_waited_for() {
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x02\0\0").unwrap();
        read_packet(&mut stream);
        stream.write_all(b"\x90\x03\0\x01\x02\x35\x06\0\x01a\0\x05x").unwrap();
        let mut first = [read_packet(&mut stream)[0], read_packet(&mut stream)[0]];
        first.sort_unstable();
        assert_eq!(first, [0x50, 0xa2], "PUBREC and UNSUBSCRIBE");
        // The question is answered at once, the next message comes when the first is complete.
        stream.write_all(b"\x62\x02\0\x05\xb0\x02\0\x02").unwrap();
        assert_eq!(read_packet(&mut stream)[0], 0x70, "PUBCOMP");
        stream.write_all(b"\x31\x04\0\x01ay").unwrap();
        for id in [3, 4] {
            assert_eq!(read_packet(&mut stream)[0], 0xa2, "UNSUBSCRIBE");
            stream.write_all(&[0xb0, 0x02, 0, id]).unwrap();
        }
        read_to_close(stream);
    })
    .against(midge_sub(), &["-t", "a", "-q", "2", "--retained-only"]);
    assert_eq!(outcome.success().stdout(), "x\ny\n");
}
