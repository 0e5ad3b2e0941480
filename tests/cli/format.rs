//! `-F`, `-N` and `--pretty` of midge_sub; what each conversion prints is tested with the formats.

use std::time::Duration;

use expectrl::{Expect, Session};
use serde_json::Value;

use crate::{
    run::{Outcome, Running, midge_pub, midge_sub, run, run_args, run_with},
    support::Broker,
};

/// What midge_sub, with these options, does with messages of these payloads.
fn subscribe(options: &[&str], lines: &str) -> Option<Outcome> {
    let broker = Broker::start()?;
    let port = broker.port().to_string();
    let count = lines.lines().count().to_string();
    let at = ["-h", "127.0.0.1", "-p", &port, "-t", "a/b", "-q", "1"];
    let limits = ["-C", &count, "-W", "30"];
    let subscriber = Running::start(midge_sub().args(at).args(limits).args(options));
    broker.wait_for_log("Sending SUBACK to");
    run_with(midge_pub().args(at).arg("-l"), lines.as_bytes()).success();
    Some(subscriber.wait())
}

#[test]
fn the_format_is_printed_for_each_message() {
    let format = "%t\\t%-4l|%.2:x@@";
    let Some(outcome) = subscribe(&["-F", format], "one\n\ntwo\n") else { return };
    assert_eq!(
        outcome.success().stdout(),
        "a/b\t3   |6f:6e:65@\na/b\t0   |@\na/b\t3   |74:77:6f@\n"
    );
}

#[test]
fn the_format_has_precedence_over_v_but_not_over_n() {
    let options = ["-v", "--format", "<%p>", "-N"];
    let Some(outcome) = subscribe(&options, "one\n\ntwo\n") else { return };
    assert_eq!(outcome.success().stdout(), "<one><><two>");
}

#[test]
fn json_is_one_line_unless_it_shall_be_pretty() {
    let Some(outcome) = subscribe(&["-F", "%J"], "[1,  2]\n{}\n") else { return };
    let lines: Vec<Value> = outcome
        .success()
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["topic"], &lines[0]["mid"]), (&"a/b".into(), &1.into()));
    assert_eq!(lines[0]["payload"], serde_json::json!([1, 2]));

    let Some(outcome) = subscribe(&["-F", "%J", "--pretty"], "[1,  2]\n") else { return };
    assert!(outcome.success().stdout().ends_with("\n\t\"payload\":\t[1, 2]\n}\n"));
}

#[test]
fn what_cannot_be_printed_is_reported_and_the_run_goes_on() {
    let Some(outcome) = subscribe(&["-F", "<%J>"], "oops\n1\n") else { return };
    let stdout = outcome.stdout();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "<>"), "{outcome:?}");
    assert!(lines[1].ends_with("\"payload\":1}>"), "{outcome:?}");
    outcome.said(
        0,
        "midge_sub: a message on \"a/b\": the payload is not JSON: expected value at line 1 column 1",
    );

    let Some(outcome) = subscribe(&["-F", "<%J>", "--quiet"], "oops\n") else { return };
    assert_eq!(outcome.success().stdout(), "<>\n");
}

#[test]
fn a_wrong_format_is_refused_before_anything_is_done() {
    let refused = |format: &str| run_args(midge_sub(), &["-t", "a", "-F", format]);
    refused("%t%k").said(1, "'k' at character 4 is not a conversion");
    refused("100%").said(1, "the conversion at character 4 is not finished; `%%` prints a percent");
    refused("\\q").said(1, "is not an escape");
}

#[test]
fn a_terminal_is_steered_by_the_format_but_not_by_messages() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    let at = ["-h", "127.0.0.1", "-p", &port, "-t", "a"];
    run(midge_pub().args(at).args(["-r", "-q", "1", "-m", "\x1b[2Jgone"])).success();
    let mut command = midge_sub();
    command.args(at).args(["-C", "1", "-W", "30", "-F", "\\e[1m%p\\e[0m."]);
    let mut terminal = Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(Duration::from_secs(30)));
    terminal.expect("\x1b[1m\\x1b[2Jgone\x1b[0m.").unwrap();
}
