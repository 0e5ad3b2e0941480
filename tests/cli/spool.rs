//! `--spool`: lines outlive the broker's absence and the program.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use midge::client::FileStore;

use crate::{
    run::{Outcome, Running, midge_pub, run_with},
    support::Broker,
    watcher::{Watcher, line},
};

const CONFIG: &str = "allow_anonymous true\npersistence true\npersistence_location @DIR@/\n\
                      max_queued_messages 0\n";

/// A spool directory, and the arguments of who uses it.
struct Spool {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Spool {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/spool");
        Self { _dir: dir, path }
    }

    fn command(&self, broker: &Broker, args: &[&str]) -> Command {
        let mut command = midge_pub();
        command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-t", "a", "-l"]);
        command.arg("--spool").arg(&self.path).args(args);
        command
    }

    fn publish(&self, broker: &Broker, args: &[&str], input: &[u8]) -> Outcome {
        run_with(&mut self.command(broker, args), input)
    }

    /// How many messages are in it. The lock is not taken: while another test starts a process, that
    /// one holds what is locked in this one.
    fn pending(&self) -> usize {
        let copy = tempfile::tempdir().unwrap();
        let copy = copy.path().join("session");
        std::fs::copy(self.path.join("session"), &copy).unwrap();
        FileStore::open(copy).unwrap().pending()
    }
}

#[test]
fn lines_are_read_while_the_broker_is_away() {
    let Some(mut broker) = Broker::with_config(CONFIG) else { return };
    for qos in ["1", "2"] {
        broker.kill();
        let spool = Spool::new();
        // More lines than the client takes without a spool.
        let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
        let mut command = spool.command(&broker, &["-q", qos]);
        let mut publisher = Running::start(command.stdin(Stdio::piped()));
        let mut stdin = publisher.stdin();
        // That all of them are taken proves nothing of the last ones, which a pipe can hold.
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        broker.start_again();
        let Some(mut watcher) = Watcher::of_many(&broker) else { return };
        let outcome = publisher.wait();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome.stderr.lines().all(|line| line.ends_with("connecting again")),
            "{outcome:?}"
        );
        let expected = (0..5000).map(|n| line("a", qos.parse().unwrap(), 0, n.to_string()));
        let arrived = watcher.arrived();
        // The watcher may have come later than the first of them.
        assert!(expected.collect::<Vec<_>>().ends_with(&arrived), "{} lines", arrived.len());
        assert_eq!(spool.pending(), 0);
    }
}

/// Kills the publisher at many points of the exchange, and looks for what is missing or twice.
fn killed(qos: &str, packets: &[&str]) {
    const ROUNDS: usize = 16;
    const LINES: usize = 200;
    let Some(broker) = Broker::with_config(CONFIG) else { return };
    let Some(mut watcher) = Watcher::of_many(&broker) else { return };
    let spool = Spool::new();
    let mut most_left = 0;
    for round in 0..ROUNDS {
        let mut command = spool.command(&broker, &["-q", qos, "-i", "spooler"]);
        let packet = packets[round % packets.len()];
        let seen = broker.log().matches(packet).count();
        let mut publisher = Running::start(command.stdin(Stdio::piped()));
        let mut stdin = publisher.stdin();
        let lines: String = (0..LINES).map(|n| format!("{round} {n}\n")).collect();
        stdin.write_all(lines.as_bytes()).unwrap();
        broker.wait_for_log_count(packet, seen + 1 + round * 5);
        publisher.signal("-KILL");
        assert_eq!(publisher.wait().code, None);
        most_left = most_left.max(spool.pending());
    }
    // What is left, without more lines.
    spool.publish(&broker, &["-q", qos], b"").success();
    assert_eq!(spool.pending(), 0);
    let arrived = watcher.arrived();
    let mut first = HashSet::new();
    let order: Vec<_> = arrived.iter().filter(|line| first.insert(*line)).collect();
    if qos == "2" {
        assert_eq!(order.len(), arrived.len(), "some arrived twice");
    }
    assert!(order.len() >= most_left, "{} of {most_left}", order.len());
    // Of each round the lines up to one of them, in order: none that was admitted is missing. Who is
    // killed early has read none.
    let mut rest = &order[..];
    for round in 0..ROUNDS {
        let qos = qos.parse().unwrap();
        let lines = (0..LINES).map(|n| line("a", qos, 0, format!("{round} {n}")));
        let count = lines.zip(rest).take_while(|(expected, line)| expected == **line).count();
        rest = &rest[count..];
    }
    assert!(rest.is_empty(), "out of order or not in full: {:?}", rest.first());
}

#[test]
fn a_publisher_that_is_killed_loses_no_line() {
    killed("1", &["Received PUBLISH from spooler", "Sending PUBACK to spooler"]);
}

#[test]
fn a_publisher_that_is_killed_publishes_no_line_twice_at_qos_2() {
    let packets = ["Received PUBLISH", "Sending PUBREC", "Received PUBREL", "Sending PUBCOMP"];
    let names = packets.map(|packet| {
        let way = if packet.starts_with("Received") { "from" } else { "to" };
        format!("{packet} {way} spooler")
    });
    killed("2", &names.each_ref().map(|name| &**name));
}

#[test]
fn broker_and_publisher_may_both_be_killed_between() {
    let Some(mut broker) = Broker::with_config(CONFIG) else { return };
    let spool = Spool::new();
    for round in 0..4 {
        let mut command = spool.command(&broker, &["-q", "2", "-i", "spooler"]);
        let mut publisher = Running::start(command.stdin(Stdio::piped()));
        let mut stdin = publisher.stdin();
        stdin.write_all(format!("{round}\n").repeat(500).as_bytes()).unwrap();
        broker.wait_for_log_count("Received PUBREL from spooler", 1 + round * 3);
        // mosquitto saves its sessions when it is asked to end.
        broker.stop();
        publisher.signal("-KILL");
        publisher.wait();
        broker.start_again();
    }
    let left = spool.pending();
    let Some(mut watcher) = Watcher::of_many(&broker) else { return };
    spool.publish(&broker, &["-q", "2"], b"").success();
    // All that was left, but for what the broker had already.
    assert!(watcher.arrived().len() <= left);
    assert_eq!(spool.pending(), 0);
}

#[test]
fn what_is_left_is_told_and_kept() {
    let Some(mut broker) = Broker::with_config(CONFIG) else { return };
    let spool = Spool::new();
    broker.kill();
    let outcome = spool.publish(&broker, &["-q", "1", "-W", "2", "--quiet"], b"1\n2\n");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(27), ""));
    let outcome = spool.publish(&broker, &["-q", "1", "-W", "2"], b"3\n");
    let last = outcome.stderr.lines().last().unwrap();
    let kept = format!("; 3 are kept in {}: timed out", spool.path.display());
    assert!(last.starts_with("midge_pub: 3 of 3 lines read were not confirmed"), "{outcome:?}");
    assert!(last.contains(&kept), "{outcome:?}");
    assert_eq!((outcome.code, spool.pending()), (Some(27), 3));
    broker.start_again();
    let Some(mut watcher) = Watcher::of_many(&broker) else { return };
    spool.publish(&broker, &["-q", "1"], b"4\n").success();
    assert_eq!(watcher.arrived(), ["1", "2", "3", "4"].map(|n| line("a", 1, 0, n)));
}

#[test]
fn a_spool_belongs_to_one_client_at_a_time() {
    let Some(broker) = Broker::with_config(CONFIG) else { return };
    let spool = Spool::new();
    spool.publish(&broker, &["-q", "1", "-i", "one"], b"1\n").success();
    spool.publish(&broker, &["-q", "1"], b"1\n").success();
    spool.publish(&broker, &["-q", "1", "-i", "two"], b"").said(1, "use -i one");
    spool.publish(&broker, &["-q", "1", "-I", "one"], b"").said(1, "use -i in place of -I");
    let mut command = spool.command(&broker, &["-q", "1"]);
    let mut first = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = first.stdin();
    stdin.write_all(b"2\n").unwrap();
    broker.wait_for_log_count("Sending PUBACK to one", 3);
    spool.publish(&broker, &["-q", "1"], b"").said(1, "another midge_pub uses it");
    drop(stdin);
    first.wait().success();
}

#[test]
fn a_spool_that_cannot_be_used_is_named() {
    let Some(broker) = Broker::with_config(CONFIG) else { return };
    let refused = |path: &Path| {
        let mut command = midge_pub();
        command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-t", "a", "-l"]);
        run_with(command.args(["-q", "1", "--spool"]).arg(path), b"1\n")
    };
    refused(Path::new("/proc/no")).said(1, "--spool: cannot make /proc/no: ");
    let spool = Spool::new();
    std::fs::create_dir_all(&spool.path).unwrap();
    std::fs::write(spool.path.join("session"), "something else, of more than a few bytes").unwrap();
    refused(&spool.path).said(1, "is not a session log; move the directory away");
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_reading() {
    let Some(mut broker) = Broker::with_config(CONFIG) else { return };
    broker.kill();
    let spool = Spool::new();
    let command = spool.command(&broker, &["-q", "1", "--quiet"]);
    let quiet = spool.command(&broker, &["-q", "1"]);
    for command in [quiet, command] {
        // The limit for files stands for a full disk: writing fails, with another errno.
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        let outcome = run_with(&mut shell, "a line of some length\n".repeat(10_000).as_bytes());
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        if !outcome.stderr.is_empty() {
            let last = outcome.stderr.lines().last().unwrap();
            assert!(last.contains("cannot write to the session log"), "{last}");
            assert!(last.contains("are kept in"), "{last}");
        }
    }
    let kept = spool.pending();
    assert!(kept > 0);
    broker.start_again();
    let Some(mut watcher) = Watcher::of_many(&broker) else { return };
    spool.publish(&broker, &["-q", "1"], b"").success();
    assert_eq!(watcher.arrived(), vec![line("a", 1, 0, "a line of some length"); kept]);
}
