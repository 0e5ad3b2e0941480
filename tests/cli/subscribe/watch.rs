//! -w and --message-rate.

use std::{io::BufRead, time::Duration};

use expectrl::{Expect, Session, session::OsSession};

use super::*;

fn on_a_terminal(broker: &Broker, args: &[&str]) -> OsSession {
    let mut command = to(broker, midge_sub());
    command.args(args).env("TERM", "xterm").env_remove("NO_COLOR");
    let mut terminal = Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(Duration::from_secs(30)));
    broker.wait_for_log("Sending SUBACK to");
    terminal
}

#[test]
fn each_topic_has_its_line() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "w/#", "-q", "1", "-v", "-w", "-C", "4", "-W", "30"];
    let running = subscriber(&broker, 1, &args);
    for (topic, payload) in
        [("w/a", "long payload"), ("w/b", "1"), ("w/a", "2"), ("w/b", "\x1b[2J")]
    {
        publish(&broker, &["-t", topic, "-m", payload]);
    }
    assert_eq!(
        running.wait().success().stdout(),
        "\x1b[2J\x1b[1;1HBroker: 127.0.0.1\n\
         \x1b[2;1Hw/a long payload\x1b[K\x1b[2;1H\n\
         \x1b[3;1Hw/b 1\x1b[K\x1b[3;1H\n\
         \x1b[2;1Hw/a 2\x1b[K\x1b[3;1H\n\
         \x1b[3;1Hw/b \\x1b[2J\x1b[K\x1b[3;1H\n"
    );
}

#[test]
fn a_terminal_shows_the_tree_of_topics() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "#", "-v", "-w", "-q", "1", "-C", "4", "--color", "never"];
    let mut terminal = on_a_terminal(&broker, &args);
    publish(&broker, &["-t", "plant/7/heat", "-m", "21.5"]);
    publish(&broker, &["-t", "plant/7/\u{202e}x", "-m", "\x1b[2Jgone"]);
    publish(&broker, &["-t", "plant/8", "-m", "x"]);
    // A rate is there after a second at most.
    terminal.expect("3 messages").unwrap();
    terminal.expect("/s 21.5").unwrap();
    publish(&broker, &["-t", "plant/8", "-m", "last"]);
    let rest = terminal.expect(expectrl::Eof).unwrap();
    let rest = String::from_utf8(rest.as_bytes().to_vec()).unwrap();
    let picture = rest.rsplit("\x1b[H").next().unwrap();
    let rows: Vec<&str> =
        picture.split('\n').map(|row| row.split("\x1b[K").next().unwrap()).collect();
    assert!(rows[0].ends_with("s") && rows[0].contains("3 topics   4 messages"), "{rows:?}");
    assert_eq!(rows[1].split_whitespace().next(), Some("plant"));
    assert!(rows[2].starts_with("  7 ") && rows[6].starts_with("\x1b[J"), "{rows:?}");
    assert!(rows[3].starts_with("    heat") && rows[3].ends_with("21.5"), "{rows:?}");
    assert!(
        rows[4].starts_with("    \\u{202e}x ") && rows[4].ends_with("\\x1b[2Jgone"),
        "{rows:?}"
    );
    assert!(rows[5].starts_with("  8 ") && rows[5].ends_with("last"), "{rows:?}");
}

#[test]
fn a_format_has_a_line_for_each_topic_on_a_terminal_too() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "#", "-w", "-F", "%t=%p", "-q", "1", "-C", "1"];
    let mut terminal = on_a_terminal(&broker, &args);
    publish(&broker, &["-t", "a", "-m", "1"]);
    terminal.expect("Broker: 127.0.0.1").unwrap();
    terminal.expect("\x1b[2;1Ha=1\x1b[K").unwrap();
}

#[test]
fn the_rate_is_printed_each_second() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-t", "r", "-q", "1", "-w", "--message-rate", "-T", "none", "-W", "30"];
    let mut running = Running::start_unread(to(&broker, midge_sub()).args(args));
    broker.wait_for_log("Sending SUBACK to");
    let mut stdout = running.stdout();
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let rate = line.strip_suffix(" msgs/s\n").unwrap_or_else(|| panic!("{line:?}"));
        rate.parse::<u32>().unwrap()
    };
    next();
    publish_lines(&broker, "r", &"x\n".repeat(500));
    let mut total = 0;
    while total < 500 {
        total += next();
    }
    assert_eq!((total, next()), (500, 0));
    running.collect(stdout);
    running.signal("-INT");
    running.wait().success();
}

#[test]
fn views_do_not_go_with_commands_and_files() {
    for view in ["-w", "--message-rate"] {
        for goal in [["--output", "."], ["--exec", "true"]] {
            let refused = run(midge_sub().args(["-t", "a", view]).args(goal));
            refused.said(1, "cannot be used with");
        }
    }
}

#[test]
fn a_closed_reader_is_a_normal_end_of_each_view() {
    let Some(broker) = Broker::start() else { return };
    for (round, view) in [&["-w"][..], &["--message-rate"], &["--csv"]].into_iter().enumerate() {
        let args = [&["-t", "v", "-i", view[0], "-W", "30"], view].concat();
        let mut running = Running::start_unread(to(&broker, midge_sub()).args(args));
        broker.wait_for_log_count("Sending SUBACK to", round + 1);
        drop(running.stdout());
        publish(&broker, &["-t", "v", "-m", "x"]);
        running.wait().success();
        broker.wait_for_log(&format!("Received DISCONNECT from {}", view[0]));
    }
}
