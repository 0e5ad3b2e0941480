//! `-l`: every line arrives or is counted as failed.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};

use crate::{
    run::{Running, midge_pub, midge_sub, run_with},
    server::{Server, read_packet},
    support::Broker,
};

/// More lines than there are packet identifiers.
const COUNT: usize = 70_000;

fn numbered(count: usize) -> String {
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "line {number}").unwrap();
    }
    lines
}

/// A broker that queues whatever comes. How many messages may be under way is left at its default.
fn broker() -> Option<Broker> {
    Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n")
}

fn args<'a>(broker: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["-h", "127.0.0.1", "-p", broker], rest].concat()
}

#[test]
fn seventy_thousand_lines_arrive_in_order() {
    let Some(broker) = broker() else { return };
    let port = broker.port().to_string();
    let lines = numbered(COUNT);
    for (round, qos) in ["1", "2"].into_iter().enumerate() {
        let count = COUNT.to_string();
        let subscribe = args(&port, &["-t", "lines", "-q", qos, "-C", &count]);
        let subscriber = Running::start(midge_sub().args(subscribe));
        broker.wait_for_log_count("Sending SUBACK to", round + 1);
        let publish = args(&port, &["-t", "lines", "-q", qos, "-l"]);
        run_with(midge_pub().args(publish), lines.as_bytes()).success();
        let outcome = subscriber.wait();
        outcome.success();
        assert!(outcome.stdout == lines.as_bytes(), "{} bytes at {qos}", outcome.stdout.len());
    }
}

#[test]
fn a_file_of_two_hundred_thousand_lines_arrives_in_order() {
    // A line of the log for each packet would take longer than all the rest.
    let config = "allow_anonymous true\nmax_queued_messages 0\n\
                  log_type none\nlog_type information\nlog_type error\nlog_type subscribe\n";
    let Some(broker) = Broker::with_config(config) else { return };
    let port = broker.port().to_string();
    let lines = numbered(200_000);
    let path = broker.dir().join("lines");
    fs::write(&path, &lines).unwrap();
    for qos in ["0", "1"] {
        let subscribe = ["-i", "collector", "-t", "file", "-q", qos, "-C", "200000"];
        let subscriber = Running::start(midge_sub().args(args(&port, &subscribe)));
        broker.wait_for_log(&format!("collector {qos} file"));
        let mut publisher = midge_pub();
        publisher.args(args(&port, &["-t", "file", "-q", qos, "-l"]));
        Running::start(publisher.stdin(File::open(&path).unwrap())).wait().success();
        let outcome = subscriber.wait();
        outcome.success();
        assert!(outcome.stdout == lines.as_bytes(), "{} bytes at {qos}", outcome.stdout.len());
    }
}

#[test]
fn a_broker_restart_in_the_middle_loses_no_line() {
    let config = "allow_anonymous true\npersistence true\npersistence_location @DIR@/\n\
                  max_queued_messages 0\nautosave_interval 1\nautosave_on_changes true\n";
    let Some(mut broker) = Broker::with_config(config) else { return };
    let port = broker.port().to_string();
    const HALF: usize = 500;
    let lines = numbered(2 * HALF);
    let (first, second) = lines.split_at(lines.find(&format!("line {HALF}\n")).unwrap());

    // A kept session collects what is published, so that the subscriber need not be there.
    let session = ["-i", "collector", "-c", "-q", "1", "-t", "restart"];
    let subscribe = args(&port, &session);
    let collector = Running::start(midge_sub().args(&subscribe));
    broker.wait_for_log("Sending SUBACK to");
    collector.signal("-TERM");
    collector.wait().success();

    let publish = args(&port, &["-i", "lines", "-t", "restart", "-q", "1", "-l"]);
    let mut publisher = Running::start(midge_pub().args(publish).stdin(Stdio::piped()));
    let mut stdin = publisher.stdin();
    stdin.write_all(first.as_bytes()).unwrap();
    // All of the first half is with the broker: its acknowledgements are in the log.
    broker.wait_for_log_count("Sending PUBACK to lines", HALF);
    broker.stop();
    stdin.write_all(second.as_bytes()).unwrap();
    drop(stdin);
    broker.start_again();
    publisher.wait().connected_again();

    let count = (2 * HALF).to_string();
    let outcome = run_with(midge_sub().args(&subscribe).args(["-C", &count, "-W", "30"]), b"");
    assert_eq!(outcome.success().stdout(), lines);
}

#[test]
fn long_lines_and_binary_lines_are_kept_whole() {
    let Some(broker) = broker() else { return };
    let port = broker.port().to_string();
    let long = vec![b'x'; 1_000_000];
    let input = [&long[..], b"\n\0\xff\r\n", &long, b"\n"].concat();
    let subscriber = args(&port, &["-t", "long", "-q", "1", "-C", "3", "-W", "30"]);
    let subscriber = Running::start(midge_sub().args(subscriber));
    broker.wait_for_log("Sending SUBACK to");
    let publish = args(&port, &["-t", "long", "-q", "1", "-l"]);
    run_with(midge_pub().args(publish), &input).success();
    let outcome = subscriber.wait();
    outcome.success();
    assert!(outcome.stdout == input, "{} bytes", outcome.stdout.len());
}

#[test]
fn no_lines_are_no_error() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    run_with(midge_pub().args(args(&port, &["-t", "a", "-l"])), b"").success();
}

#[test]
fn refused_lines_are_counted_and_the_others_go_on() {
    let outcome = Server::new(|mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        for number in 1..=5 {
            let publish = read_packet(&mut stream);
            assert_eq!(publish[0] >> 4, 3);
            let reason = if number % 2 == 1 { 0x87 } else { 0 };
            stream.write_all(&[0x40, 3, 0, number, reason]).unwrap();
        }
        assert_eq!(read_packet(&mut stream)[0], 0xe0);
    })
    .against_with(midge_pub(), &["-t", "a", "-q", "1", "-l", "-V", "5"], b"1\n2\n3\n4\n5\n");
    let refused = "the broker refused the message: Not authorized (0x87)";
    let told: Vec<_> = outcome.stderr.lines().collect();
    let expected = [1, 3, 5].map(|line| format!("midge_pub: line {line}: {refused}"));
    assert_eq!((outcome.code, &told[..3]), (Some(135), &expected.each_ref().map(|s| &**s)[..]));
    assert_eq!(told[3..], ["midge_pub: 3 of 5 lines read were not confirmed"]);
}

#[test]
fn a_broker_that_refuses_to_have_us_back_ends_the_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let publish = args(&port, &["-t", "a", "-q", "1", "-l"]);
    let mut publisher = Running::start(midge_pub().args(publish).stdin(Stdio::piped()));
    publisher.stdin().write_all(b"line\n").unwrap();
    let (mut first, _) = listener.accept().unwrap();
    read_packet(&mut first);
    first.write_all(&[0x20, 2, 0, 0]).unwrap();
    read_packet(&mut first);
    drop(first);
    let (mut second, _) = listener.accept().unwrap();
    read_packet(&mut second);
    second.write_all(&[0x20, 2, 0, 5]).unwrap();
    let outcome = publisher.wait();
    assert_eq!(outcome.code, Some(5), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap();
    assert!(last.contains("1 of 1 lines read were not confirmed: the broker refused"), "{last}");
}

#[test]
fn a_signal_tells_how_many_lines_are_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let publish = args(&port, &["-t", "a", "-q", "1", "-l"]);
    let mut publisher = Running::start(midge_pub().args(publish).stdin(Stdio::piped()));
    let mut stdin = publisher.stdin();
    stdin.write_all(b"line\n").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    read_packet(&mut stream);
    stream.write_all(&[0x20, 2, 0, 0]).unwrap();
    read_packet(&mut stream);
    publisher.signal("-TERM");
    assert_eq!(read_packet(&mut stream), [0xe0, 0]);
    publisher.wait().said(143, "1 of 1 lines read were not confirmed");
}

#[test]
fn lines_that_a_closed_standard_output_cuts_off_are_missed() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let publish = args(&port, &["-t", "a", "-q", "1", "-l", "-d"]);
    let mut publisher = Running::start_unread(midge_pub().args(publish).stdin(Stdio::piped()));
    drop(publisher.stdout());
    let mut stdin = publisher.stdin();
    let lines = numbered(50_000);
    // The tool ends before it has read all of them.
    let _ = stdin.write_all(lines.as_bytes());
    publisher.wait().said(1, "standard output is closed");
}

#[test]
fn input_that_cannot_be_read_is_an_error() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    // A directory can be opened but not read.
    let directory = std::fs::File::open(broker.dir()).unwrap();
    let publish = args(&port, &["-t", "a", "-q", "1", "-l"]);
    Running::start(midge_pub().args(publish).stdin(directory))
        .wait()
        .said(1, "cannot read standard input: Is a directory");
}

#[test]
fn a_broker_that_confirms_nothing_of_qos_2_ends_the_program() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            read_packet(&mut stream);
            stream.write_all(b"\x20\x02\0\0").unwrap();
            let _ = stream.read(&mut [0; 4]);
        }
    });
    let args = args(&port, &["-t", "a", "-l", "-q", "2", "-M", "50"]);
    let outcome = run_with(midge_pub().args(args), b"1\n2\n3\n");
    server.join().unwrap();
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("5 connections in a row were lost"), "{outcome:?}");
    assert!(last.contains("try a lower -M"), "{outcome:?}");
    assert!(last.contains("3 of 3 lines read were not confirmed"), "{outcome:?}");
}
