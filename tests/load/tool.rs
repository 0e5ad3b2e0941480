//! `midge_conn` as its users see it: options, output, exit codes, signals.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    UNJUDGED,
    server::{Script, Seen, Server},
    support::broker::free_port,
};

const TOOL: &str = env!("CARGO_BIN_EXE_midge_conn");

fn midge_conn(arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the tool under `limits`, words of the shell's `ulimit`.
fn limited(limits: &str, arguments: &[&str]) -> Output {
    let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &script, TOOL]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn url(server: &Server) -> String {
    format!("mqtt-tcp://{}", server.address)
}

#[test]
fn a_first_run_needs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    fs::write(&json, "x".repeat(100_000)).unwrap();
    let arguments = ["start", "--embedded", "-C", UNJUDGED, "-i", "0", "--hold", "0s", "--json"];
    let output = midge_conn(&[&arguments[..], &[json.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = text(&output.stdout);
    assert!(report.contains("connected   99 of 99 (100.00%), failed 0"), "{report}");
    for phase in ["schedule lag", "tcp", "connack", "total"] {
        assert!(report.contains(&format!("\n  {phase} ")), "{phase}: {report}");
    }
    assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
    let json: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(json["schema"], "conn-report/1");
    assert_eq!(json["totals"]["connected"], 99);
}

#[test]
fn progress_is_a_line_per_second_unless_quiet() {
    let arguments = ["start", "--embedded", "-C", "5", "-i", "0", "--hold", "1500ms"];
    let output = midge_conn(&arguments);
    let progress = text(&output.stderr);
    assert!(progress.starts_with("midge_conn: 1."), "{progress}");
    assert!(progress.lines().all(|line| line.contains("s 5/5 open 5, ")), "{progress}");
    let shard = ["start", "--embedded", "-C", "10", "-i", "0", "--hold", "1500ms"];
    let shard = midge_conn(&[&shard[..], &["--shard", "1/2", "--seed", "1"]].concat());
    let told = text(&shard.stderr);
    assert!(told.lines().all(|line| line.contains("s 5/5 open 5, ")), "of its share: {told}");
    let quiet = midge_conn(&[&arguments[..], &["--quiet"]].concat());
    assert_eq!((quiet.status.code(), text(&quiet.stderr).as_str()), (Some(0), ""));
    assert!(text(&quiet.stdout).contains("connected   5 of 5"));
}

#[test]
fn a_refused_port_is_exit_5() {
    let url = format!("mqtt-tcp://127.0.0.1:{}", free_port());
    let output = midge_conn(&["start", "--url", &url, "-C", "100"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("midge_conn: cannot reach") && error.contains("tcp.refused"));
    assert!(text(&output.stdout).contains("given up"), "{output:?}");
}

#[test]
fn an_unknown_host_is_exit_5() {
    let output = midge_conn(&["start", "--url", "mqtt://no-such-host.invalid", "-C", "3"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("no-such-host.invalid"), "{error}");
}

#[test]
fn failures_are_exit_1() {
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = url(&server);
    let arguments = ["start", "--url", &url, "-C", "4", "-i", "0", "--hold", "0", "-v", "--quiet"];
    let output = midge_conn(&arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = text(&output.stdout);
    assert!(report.contains("connack.not_authorized 2 from"), "{report}");
    assert!(report.contains("remedy: give the user name and password"), "{report}");
    let told = text(&output.stderr);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "one for each client, and one for all: {told}");
    assert!(lines[..2].iter().all(|line| line.contains("connack.not_authorized: ")), "{told}");
    assert!(lines[2].contains("of 4 clients 2 failed and 0 lost their connections"), "{told}");
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    for arguments in [
        &["start", "-n", "0"][..],
        &["start", "-q", "1"],
        &["start", "-r"],
        &["start", "--cacert", "/no/such/file"],
        &["start", "--insecure"],
        &["start", "-C", "0"],
        &["start", "--url", "mqtts://u:secret@localhost/path"],
        &["start", "--url", "localhost"],
        &["start", "-p", "secret"],
        &["start", "--will-msg", "x"],
        &["start", "--json", "/no/such/directory/run.json"],
        &["stop", "x"],
        &["stop", "1", "--all"],
        &["calibrate", "--rounds", "0"],
        &["check", "--rate", "0"],
        &["begin"],
    ] {
        let output = midge_conn(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
        assert!(!text(&output.stderr).contains("secret"), "{output:?}");
    }
}

#[test]
fn too_few_files_are_exit_3_before_anything_starts() {
    let server = Server::start(Script::Serve);
    let url = url(&server);
    let output = limited("-n 70", &["start", "--url", &url, "-C", "1000", "--hold", "0"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let error = text(&output.stderr);
    assert!(error.contains("needs 1064 open files"), "{error}");
    assert!(error.contains("is 70, 994 too few"), "{error}");
    assert!(error.contains("ulimit -Hn 1064") && error.contains("at most -C 384"), "{error}");
    assert!(output.stdout.is_empty());
    assert!(server.seen.try_recv().is_err());
}

#[test]
fn the_soft_limit_is_raised() {
    let arguments = ["start", "--embedded", "-C", UNJUDGED, "-i", "0", "--hold", "0", "--quiet"];
    let output = limited("-Sn 80", &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn help_and_version_are_on_stdout() {
    let help = midge_conn(&["start", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for option in ["--url", "-C", "-i", "-k", "--hold", "--embedded", "--json", "--in-progress"] {
        assert!(help.contains(option), "{option}: {help}");
    }
    let version = midge_conn(&["--version"]);
    assert_eq!(text(&version.stdout), concat!("midge_conn ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn connect_says_what_the_options_say() {
    let server = Server::start(Script::Serve);
    let url = url(&server);
    let arguments = [
        "start",
        "--url",
        &url,
        "-V",
        "3",
        "-k",
        "9",
        "-u",
        "ann",
        "-p",
        "pw",
        "-c",
        "false",
        "--will-topic",
        "t",
        "--will-msg",
        "m",
        "--will-qos",
        "1",
        "--will-retain",
        "--seed",
        "1",
        "--hold",
        "0",
    ];
    assert_eq!(midge_conn(&arguments).status.code(), Some(0));
    let Seen::Connect(_, packet) = server.seen.recv().unwrap() else { panic!() };
    let mut expected = b"\x10\x34\0\x06MQIsdp\x03\xec\0\x09".to_vec();
    expected.extend(b"\0\x17midge-00000001-00000000\0\x01t\0\x01m\0\x03ann\0\x02pw");
    assert_eq!(packet, expected);
}

/// Starts the tool and waits until the server has accepted its client.
fn holding(server: &Server) -> Child {
    let child = Command::new(TOOL)
        .args(["start", "--url", &url(server), "-k", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client whose CONNACK has not arrived is given up without a DISCONNECT.
    server.wait_for_pings(1);
    child
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[test]
fn a_signal_ends_the_hold_with_a_report() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let server = Server::start(Script::Serve);
        let child = holding(&server);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let report = text(&output.stdout);
        assert!(report.contains("outcome     interrupted"), "{report}");
        assert!(report.contains("of 1 "), "{report}");
    }
}

#[test]
fn a_second_signal_kills() {
    let server = Server::start(Script::AnswerAndLinger);
    let child = holding(&server);
    signal(&child, "-INT");
    // The tool has said goodbye and waits for the server to close.
    while server.seen.recv().unwrap() != Seen::Disconnect(0) {}
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0), "{output:?}");
}
