//! --output: files, their names, rotation, and what happens when they cannot be written.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_topic_has_its_file() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap()];
    let args = ["-t", "#", "-q", "1", "-C", "6", "-W", "30", "-F", "%q %p"];
    let running = subscriber(&broker, 1, &[&args[..], &output].concat());
    for topic in ["a", "a/b", "a.log/b", "../../up", "/root", "a"] {
        publish(&broker, &["-t", topic, "-m", topic]);
    }
    assert_eq!(running.wait().success().stdout(), "");
    assert_eq!(read(dir.path(), "a.log"), "1 a\n1 a\n");
    assert_eq!(read(dir.path(), "a/b.log"), "1 a/b\n");
    assert_eq!(read(dir.path(), "a%2Elog/b.log"), "1 a.log/b\n");
    assert_eq!(read(dir.path(), "%2E%2E/%2E%2E/up.log"), "1 ../../up\n");
    assert_eq!(read(dir.path(), "%00/root.log"), "1 /root\n");

    // A second run appends.
    let running = subscriber(&broker, 2, &[&args[..], &output, &["-C", "1"]].concat());
    publish(&broker, &["-t", "a", "-m", "more"]);
    running.wait().success();
    assert_eq!(read(dir.path(), "a.log"), "1 a\n1 a\n1 more\n");
}

#[test]
fn a_flood_to_many_files_is_complete() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap()];
    let args = ["-t", "f/#", "-q", "1", "-C", "9300", "-W", "60"];
    let running = subscriber(&broker, 1, &[&args[..], &output].concat());
    // One message each for more topics than files are open at a time, and many for three.
    let lines: String = (0..3000).map(|number| format!("{number}\n")).collect();
    for topic in ["f/0", "f/1", "f/2"] {
        publish_lines(&broker, topic, &lines);
    }
    let jsonl: Vec<String> = (0..300).map(|number| format!("f/many/{number}")).collect();
    for topic in &jsonl {
        publish(&broker, &["-t", topic, "-m", "x"]);
    }
    running.wait().success();
    for topic in ["f/0.log", "f/1.log", "f/2.log"] {
        assert!(read(dir.path(), topic) == lines, "{topic}");
    }
    assert_eq!(fs::read_dir(dir.path().join("f/many")).unwrap().count(), 300);
}

#[test]
fn files_are_rotated_between_messages() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("r.log.1"), "taken").unwrap();
    let output = ["--output", dir.path().to_str().unwrap(), "--rotate", "30"];
    let args = ["-t", "r", "-q", "1", "-C", "7", "-W", "30"];
    let running = subscriber(&broker, 1, &[&args[..], &output].concat());
    let long = "y".repeat(50);
    publish_lines(&broker, "r", &format!("{}{long}\n{long}\nend\n", "123456789\n".repeat(4)));
    running.wait().success();
    assert_eq!(read(dir.path(), "r.log.1"), "taken");
    assert_eq!(read(dir.path(), "r.log.2"), "123456789\n".repeat(3));
    assert_eq!(read(dir.path(), "r.log.3"), "123456789\n");
    assert_eq!(read(dir.path(), "r.log.4"), format!("{long}\n"));
    assert_eq!(read(dir.path(), "r.log.5"), format!("{long}\n"));
    assert_eq!(read(dir.path(), "r.log"), "end\n");
}

#[test]
fn csv_files_begin_with_the_names_of_their_columns() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["c"]);
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap(), "--csv"];
    for _ in 0..2 {
        subscribe(&broker, &[&["-t", "c", "-C", "1", "-W", "30"][..], &output].concat()).success();
    }
    let text = read(dir.path(), "c.log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], "tst,topic,qos,retain,mid,payloadlen,payload,payload_base64");
    assert!(lines[2].ends_with(",c,0,1,,1,c,"), "{text}");
}

#[test]
fn what_is_not_written_is_not_acknowledged() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap()];
    let session = ["-i", "full", "-c", "-q", "1", "-t", "#"];
    subscribe(&broker, &[&session[..], &["-E"]].concat()).success();
    publish(&broker, &["-t", "good", "-m", "1"]);
    publish(&broker, &["-t", "bad", "-m", "2"]);
    publish(&broker, &["-t", "good", "-m", "3"]);

    // A directory where the file would have to be.
    fs::create_dir(dir.path().join("bad.log")).unwrap();
    let args = [&session[..], &output, &["-W", "30"]].concat();
    subscribe(&broker, &args).said(1, "bad.log");
    assert_eq!(read(dir.path(), "good.log"), "1\n");
    fs::remove_dir(dir.path().join("bad.log")).unwrap();

    // A link to somewhere else.
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), dir.path().join("bad.log")).unwrap();
    subscribe(&broker, &args).said(1, "cannot open");
    assert_eq!(fs::read(outside.path()).unwrap(), b"");
    fs::remove_file(dir.path().join("bad.log")).unwrap();

    let args = [&session[..], &output, &["-C", "2", "-W", "30"]].concat();
    subscribe(&broker, &args).success();
    assert_eq!(read(dir.path(), "bad.log"), "2\n");
    assert_eq!(read(dir.path(), "good.log"), "1\n3\n");
}

#[test]
fn a_full_disk_cuts_no_message_in_two() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let session = ["-i", "full", "-c", "-q", "1", "-t", "x"];
    subscribe(&broker, &[&session[..], &["-E"]].concat()).success();
    publish_lines(&broker, "x", &format!("{0}\n{0}\n{0}\n", "x".repeat(400)));
    // A limit of the size of files, in blocks of 512 bytes.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]);
    limited.arg(env!("CARGO_BIN_EXE_midge_sub"));
    let output = ["--output", dir.path().to_str().unwrap(), "-W", "30"];
    let outcome = run(to(&broker, limited).args(session).args(output));
    outcome.said(1, "cannot write to");
    assert_eq!(read(dir.path(), "x.log").len() % 401, 0, "a part of a message is there");
    let output = ["--output", dir.path().to_str().unwrap(), "-W", "1"];
    subscribe(&broker, &[&session[..], &output].concat()).said(27, "timed out");
    let text = read(dir.path(), "x.log");
    assert!(text.len() >= 3 * 401 && text.len().is_multiple_of(401), "{}", text.len());
}

#[test]
fn a_broker_restart_in_the_middle_loses_and_doubles_no_line() {
    // mosquitto 2.0.11 forgets over a restart how far it was with those of its unfinished messages
    // that its window has no room for, though it may have more of them: it sent PUBREL for message
    // 295, and PUBLISH with DUP after that.
    let config = "allow_anonymous true\npersistence true\npersistence_location @DIR@/\n\
                  max_inflight_messages 1000\n\
                  max_queued_messages 0\nautosave_interval 1\nautosave_on_changes true\n";
    let Some(mut broker) = Broker::with_config(config) else { return };
    let dir = tempfile::tempdir().unwrap();
    let output = ["--output", dir.path().to_str().unwrap()];
    let args = ["-i", "writer", "-c", "-q", "2", "-t", "line", "-C", "600", "-W", "60"];
    let running = subscriber(&broker, 1, &[&args[..], &output].concat());
    let lines: String = (0..600).map(|number| format!("{number}\n")).collect();
    let (first, second) = lines.split_at(lines.find("300\n").unwrap());
    publish_exactly_once(&broker, first);
    broker.stop();
    broker.start_again();
    publish_exactly_once(&broker, second);
    let outcome = running.wait();
    outcome.connected_again();
    assert_eq!(read(dir.path(), "line.log"), lines);
}

fn publish_exactly_once(broker: &Broker, lines: &str) {
    let args = ["-q", "2", "-l", "-t", "line"];
    run_with(to(broker, midge_pub()).args(args), lines.as_bytes()).success();
}
