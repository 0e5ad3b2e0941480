//! `midge_conn` beside `start`: several processes, `stop`, `check`, `calibrate`, and clients from a
//! file.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    UNJUDGED,
    server::{Script, Seen, Server},
    support::{Broker, pki::Ca},
};

const TOOL: &str = env!("CARGO_BIN_EXE_midge_conn");

/// The tool, with a home of its own.
fn tool(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(TOOL);
    command.args(arguments).stdin(Stdio::null());
    command.env("XDG_RUNTIME_DIR", home).env("XDG_STATE_HOME", home);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn report(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    tool(home, arguments).output().unwrap()
}

#[test]
fn a_load_in_three_processes_is_one_load() {
    let home = tempfile::tempdir().unwrap();
    let json = home.path().join("run.json");
    let arguments = [
        "start",
        "--embedded",
        "-C",
        UNJUDGED,
        "-i",
        "2",
        "--hold",
        "1100ms",
        "--processes",
        "3",
        "--seed",
        "7",
        "--json",
    ];
    let output = run(home.path(), &[&arguments[..], &[json.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("connected   99 of 99 (100.00%)"), "{output:?}");
    let report = report(&json);
    assert_eq!(report["totals"]["connected"], 99);
    assert_eq!(report["run"]["shard"]["count"], 1);
    assert_eq!(report["run"]["parts"].as_array().unwrap().len(), 3);
    assert_eq!(report["phases"]["total"]["n"], 99);
    // The whole is as smooth as it would be in one process: 99 clients within 196 ms.
    let ramp = report["rate"]["ramp_s"].as_f64().unwrap();
    assert!((0.19..0.6).contains(&ramp), "{ramp}");
    let last = report["series_1s"].as_array().unwrap().last().unwrap();
    assert_eq!(last["connected"], 99);
}

#[test]
fn too_few_open_files_are_shared_out() {
    let server = Server::start(Script::Serve);
    let url = format!("mqtt-tcp://{}", server.address);
    let arguments = ["start", "--url", &url, "-C", UNJUDGED, "-i", "0", "--hold", "0", "--quiet"];
    let script = "ulimit -n 110 && exec \"$0\" \"$@\"";
    let output = Command::new("sh").args(["-c", script, TOOL]).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("connected   99 of 99"), "{output:?}");
    let connects = server.seen.try_iter().filter(|seen| matches!(seen, Seen::Connect(..)));
    assert_eq!(connects.count(), 99);
}

#[test]
fn processes_that_find_nobody_say_so_once() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("mqtt-tcp://127.0.0.1:{}", crate::support::broker::free_port());
    let arguments = ["start", "--url", &url, "-C", "30", "--processes", "2", "--hold", "0"];
    let output = run(home.path(), &arguments);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let error = text(&output.stderr);
    assert_eq!(error.lines().filter(|line| line.contains("tcp.refused")).count(), 1, "{error}");
}

#[test]
fn a_plan_that_no_process_can_carry_out_is_told_once() {
    let home = tempfile::tempdir().unwrap();
    let arguments = [
        "start",
        "--url",
        "mqtt://no-such-host.invalid",
        "-C",
        "4",
        "--processes",
        "2",
        "--hold",
        "0",
    ];
    let output = run(home.path(), &arguments);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(text(&output.stderr).lines().count(), 1, "{output:?}");
}

/// Starts a load that holds until it is ended, and waits until its clients are connected.
fn holding(home: &Path, server: &Server, clients: usize, more: &[&str]) -> Child {
    let url = format!("mqtt-tcp://{}", server.address);
    let count = clients.to_string();
    let arguments = ["start", "--url", &url, "-C", &count, "-i", "0", "-k", "1", "--quiet"];
    let child = tool(home, &[&arguments[..], more].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for_pings(clients);
    child
}

#[test]
fn stop_ends_a_load_in_an_orderly_way() {
    for more in [&[][..], &["--processes", "2"]] {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(Script::Serve);
        let child = holding(home.path(), &server, 2, more);
        let stopped = run(home.path(), &["stop"]);
        assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
        assert!(stopped.stdout.is_empty() && stopped.stderr.is_empty(), "{stopped:?}");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stdout).contains("connected   2 of 2"), "{output:?}");
        let said_goodbye =
            server.seen.try_iter().filter(|seen| matches!(seen, Seen::Disconnect(_))).count();
        assert_eq!(said_goodbye, 2);
    }
}

#[test]
fn a_load_with_failures_is_stopped_as_one() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", server.address);
    let arguments = ["start", "--url", &url, "-C", "4", "-i", "0", "-k", "1", "--quiet"];
    let child = tool(home.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    server.wait_for_pings(2);
    assert_eq!(run(home.path(), &["stop"]).status.code(), Some(0));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
}

#[test]
fn stop_asks_which_load_is_meant() {
    let home = tempfile::tempdir().unwrap();
    let none = run(home.path(), &["stop"]);
    assert_eq!(none.status.code(), Some(3), "{none:?}");
    assert!(text(&none.stderr).contains("no load of this user is running"), "{none:?}");

    let server = Server::start(Script::Serve);
    let children: Vec<_> = (0..3).map(|_| holding(home.path(), &server, 1, &[])).collect();
    let which = run(home.path(), &["stop"]);
    assert_eq!(which.status.code(), Some(2), "{which:?}");
    assert!(text(&which.stderr).contains("3 loads are running"), "{which:?}");
    let list = text(&which.stdout);
    assert_eq!(list.lines().count(), 3, "{list}");
    let id = children[1].id().to_string();
    assert!(list.contains(&id) && list.contains("1 clients to mqtt://127.0.0.1"), "{list}");

    let unknown = run(home.path(), &["stop", "4194304"]);
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    assert_eq!(run(home.path(), &["stop", &id]).status.code(), Some(0));
    let rest = text(&run(home.path(), &["stop"]).stdout);
    assert!(rest.lines().count() == 2 && !rest.contains(&id), "{rest}");
    assert_eq!(run(home.path(), &["stop", "--all"]).status.code(), Some(0));
    for child in children {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    }
}

#[test]
fn check_tells_what_is_lacking() {
    let home = tempfile::tempdir().unwrap();
    let fits = run(home.path(), &["check", "-C", "10"]);
    assert_eq!(fits.status.code(), Some(0), "{fits:?}");
    let rows = text(&fits.stdout);
    for what in ["open files", "local ports", "memory"] {
        assert!(rows.contains(&format!("ok       {what} ")), "{what}: {rows}");
    }
    let arguments = ["check", "--url", "mqtt://192.0.2.1", "-C", "70000"];
    let lacking = run(home.path(), &arguments);
    assert_eq!(lacking.status.code(), Some(3), "{lacking:?}");
    assert!(text(&lacking.stdout).contains("TOO FEW  local ports"), "{lacking:?}");
    assert!(text(&lacking.stdout).contains("ip addr add"), "{lacking:?}");
    assert!(text(&lacking.stderr).contains("too little for the load: local ports"), "{lacking:?}");
    assert_eq!(run(home.path(), &["check", "-C", "0"]).status.code(), Some(2));
}

#[test]
fn calibrate_is_remembered() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["calibrate", "-C", "200", "--rounds", "3"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("connections per second"), "{output:?}");
    let json = home.path().join("run.json");
    let path = json.to_str().unwrap();
    let load = ["start", "--embedded", "-C", UNJUDGED, "-i", "0", "--hold", "0", "--json", path];
    let output = run(home.path(), &load);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(report(&json)["ceiling"]["connects_per_s"].as_f64().unwrap() > 100.0);
    assert!(text(&output.stdout).contains("ceiling     "), "{output:?}");
}

#[test]
fn clients_come_from_a_file() {
    let home = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::with_config("allow_anonymous true\n") else { return };
    let file = home.path().join("clients.csv");
    fs::write(&file, "client_id,user\nfirst,ann\n\"second, so to say\",bob\n").unwrap();
    let url = format!("mqtt-tcp://{}", broker.address());
    let file = file.to_str().unwrap();
    let arguments = ["start", "--url", &url, "--clients", file, "--hold", "0", "-C"];
    let output = run(home.path(), &[&arguments[..], &["2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    broker.wait_for_log_count("Received DISCONNECT", 2);
    let log = broker.log();
    for client in ["as first ", "as second, so to say ", "u'ann'", "u'bob'"] {
        assert!(log.contains(client), "{client}: {log}");
    }
    let output = run(home.path(), &[&arguments[..], &["3"]].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("use at most -C 2"), "{output:?}");
}

#[test]
fn each_client_has_its_own_certificate() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("load ca");
    let server = ca.server();
    let files = [
        ("ca.pem", ca.pem()),
        ("server.pem", server.pem.clone()),
        ("server.key", server.key.serialize_pem()),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let config = "allow_anonymous true\nrequire_certificate true\nuse_identity_as_username true\n\
                  cafile @DIR@/ca.pem\ncertfile @DIR@/server.pem\nkeyfile @DIR@/server.key\n";
    let Some(broker) = Broker::with_files(config, &files) else { return };
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("ca.pem"), ca.pem()).unwrap();
    let mut rows = "cert,key\n".to_owned();
    for name in ["ann", "bob"] {
        let client = ca.client(name);
        let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}.key")));
        fs::write(&cert, client.pem.clone()).unwrap();
        fs::write(&key, client.key.serialize_pem()).unwrap();
        rows += &format!("{cert},{key}\n");
    }
    // Of the third client there is no key.
    rows += &format!("{},{}\n", at("ann.pem"), at("missing.key"));
    fs::write(at("clients.csv"), rows).unwrap();
    let url = format!("tls+mqtt-tcp://127.0.0.1:{}", broker.port());
    let (ca_file, clients) = (at("ca.pem"), at("clients.csv"));
    let arguments =
        ["start", "--url", &url, "--cacert", &ca_file, "--clients", &clients, "--hold", "0", "-C"];
    let output = run(home.path(), &[&arguments[..], &["2"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    broker.wait_for_log_count("Received DISCONNECT", 2);
    let log = broker.log();
    assert!(log.contains("u'ann'") && log.contains("u'bob'"), "{log}");

    let output = run(home.path(), &[&arguments[..], &["3"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("tls.failed 1"), "{output:?}");
    assert!(text(&output.stdout).contains("missing.key"), "{output:?}");
    // Without TLS the certificates would mean nothing.
    let output = run(home.path(), &["start", "--clients", &clients, "-C", "1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// None begins before the one before it has ended.
#[test]
fn the_phases_of_a_connection_follow_each_other() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("load ca");
    let server = ca.server();
    let (pem, key) = (server.pem.clone(), server.key.serialize_pem());
    let files = [("server.pem", pem.as_str()), ("server.key", key.as_str())];
    let config = "allow_anonymous true\ncertfile @DIR@/server.pem\nkeyfile @DIR@/server.key\n";
    let Some(broker) = Broker::with_files(config, &files) else { return };
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (ca_file, json) = (at("ca.pem"), at("run.json"));
    fs::write(&ca_file, ca.pem()).unwrap();
    let url = format!("tls+mqtt-tcp://127.0.0.1:{}", broker.port());
    let arguments = ["start", "--url", &url, "--cacert", &ca_file, "-C", "20", "-i", "10"];
    let output = run(home.path(), &[&arguments[..], &["--hold", "0", "--json", &json]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let phases = &report(Path::new(&json))["phases"];
    let mean = |phase: &str| phases[phase]["mean_us"].as_f64().unwrap();
    let sum: f64 = ["schedule_lag", "tcp", "tls", "connack"].into_iter().map(mean).sum();
    // The distributions have three digits.
    assert!(sum <= mean("total") * 1.002 + 5.0, "{sum} of {}", mean("total"));
}

#[test]
fn one_of_two_brokers_may_be_away() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::Serve);
    let here = format!("mqtt-tcp://{}", server.address);
    let away = format!("mqtt-tcp://127.0.0.1:{}", crate::support::broker::free_port());
    let arguments = ["start", "--url", &away, "--url", &here, "-C", "6", "-i", "5", "--hold", "0"];
    let output = run(home.path(), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("connected   3 of 6 (50.00%), failed 3"), "{output:?}");
}

fn kill(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[test]
fn a_signal_ends_every_process_with_one_report() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::Serve);
    let child = holding(home.path(), &server, 2, &["--processes", "2"]);
    kill("-INT", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(text(&output.stdout).contains("connected   2 of 2"), "{output:?}");
    let goodbyes = server.seen.try_iter().filter(|seen| matches!(seen, Seen::Disconnect(_)));
    assert_eq!(goodbyes.count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_killed_is_told_and_the_rest_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::Serve);
    let json = home.path().join("run.json");
    let more = ["--processes", "2", "--json", json.to_str().unwrap()];
    let child = holding(home.path(), &server, 2, &more);
    let id = child.id();
    let family = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    kill("-KILL", family.split_whitespace().next().unwrap());
    while !matches!(server.seen.recv().unwrap(), Seen::Closed(_)) {}
    assert_eq!(run(home.path(), &["stop"]).status.code(), Some(0));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("ended without a report (signal: 9"), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.contains("limited by  processes: 1 clients were lost"), "{told}");
    assert!(told.contains("connected   2 of 2 (100.00%), failed 0, pending 0"), "{told}");
    assert!(told.contains("dropped 1, open at the end 1"), "{told}");
    assert!(told.contains("  local.process_lost 1 at "), "{told}");
    let report = report(&json);
    let last = report["series_1s"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["attempted"], &last["open"]), (&Value::from(2), &Value::from(1)));
}

/// Each process would be stopped when it asked on the terminal itself.
#[test]
fn what_is_asked_for_is_asked_once_for_all_processes() {
    use expectrl::{Eof, Expect, Session};

    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::Serve);
    let url = format!("mqtt-tcp://{}", server.address);
    let start = ["start", "--url", &url, "-C", "4", "-i", "0", "--hold", "0", "--processes", "2"];
    let ask = ["-u", "ann", "--pw-prompt", "--quiet"];
    let mut command = Command::new(TOOL);
    command.args(start).args(ask).env("XDG_RUNTIME_DIR", home.path());
    let mut terminal = Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(std::time::Duration::from_secs(60)));
    terminal.expect("Password: ").unwrap();
    terminal.send("seven\n").unwrap();
    let rest = terminal.expect(Eof).unwrap();
    let rest = String::from_utf8_lossy(rest.as_bytes()).into_owned();
    assert!(rest.contains("connected   4 of 4"), "{rest}");
    let connects: Vec<_> = server
        .seen
        .try_iter()
        .filter_map(|seen| if let Seen::Connect(_, packet) = seen { Some(packet) } else { None })
        .collect();
    assert_eq!(connects.len(), 4);
    assert!(connects.iter().all(|packet| packet.ends_with(b"\0\x03ann\0\x05seven")));
}

/// A second process would wait for what the first one has read.
#[test]
fn what_can_be_read_once_only_is_not_for_several_processes() {
    let home = tempfile::tempdir().unwrap();
    let arguments = ["start", "--embedded", "-C", "2", "--hold", "0", "--clients", "/dev/stdin"];
    let with = |more: &[&str]| {
        let mut command = tool(home.path(), &[&arguments[..], more].concat());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"user\nann\nbob\n").unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    };
    let one = with(&[]);
    assert_eq!(one.status.code(), Some(0), "{one:?}");
    let two = with(&["--processes", "2"]);
    assert_eq!(two.status.code(), Some(2), "{two:?}");
    let error = text(&two.stderr);
    assert!(error.contains("/dev/stdin can be read once only"), "{error}");
}

#[test]
fn a_load_that_waits_for_its_start_can_be_ended() {
    let home = tempfile::tempdir().unwrap();
    let socket = |child: &Child| home.path().join(format!("midge_conn/{}.sock", child.id()));
    let broker = Broker::with_config("allow_anonymous true\n");
    let barrier = broker.map(|broker| (format!("mqtt://{}/go", broker.address()), broker));
    let mut waits = vec![
        vec!["--start-at", "+1h", "--force"],
        vec!["--start-at", "+1h", "--force", "--processes", "2"],
    ];
    if let Some((url, _)) = &barrier {
        waits.push(vec!["--barrier", url, "--force", "--shard", "0/2", "--seed", "1"]);
    }
    for more in waits {
        for (by, code) in [("stop", 0), ("-INT", 130), ("-TERM", 143)] {
            let arguments = ["start", "--embedded", "-C", "4", "--quiet"];
            let child = tool(home.path(), &[&arguments[..], &more].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            while !socket(&child).exists() {
                std::thread::yield_now();
            }
            match by {
                "stop" => assert_eq!(run(home.path(), &["stop"]).status.code(), Some(0)),
                signal => kill(signal, &child.id().to_string()),
            }
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{more:?} {by}: {output:?}");
            assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{more:?}: {output:?}");
        }
    }
}

#[test]
fn a_load_that_missed_its_objective_is_stopped_as_one() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(Script::Serve);
    let child = holding(home.path(), &server, 1, &["--slo", "connected.count>=2"]);
    assert_eq!(run(home.path(), &["stop"]).status.code(), Some(0));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("missed: connected.count>=2 is 1"), "{output:?}");
}

/// `stop` waits for the socket to go.
#[cfg(target_os = "linux")]
#[test]
fn a_load_is_there_until_its_files_are_written() {
    use std::io::{BufRead, BufReader, Read, Write};

    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Nothing more fits into it until somebody reads.
    let mut both = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    both.write_all(&[b' '; 64 << 10]).unwrap();
    let server = Server::start(Script::Serve);
    let more = ["--json", pipe.to_str().unwrap()];
    let mut child = holding(home.path(), &server, 1, &more);
    kill("-INT", &child.id().to_string());
    let mut report = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("memory") {
        line.clear();
        assert!(report.read_line(&mut line).unwrap() > 0);
    }
    let socket = home.path().join(format!("midge_conn/{}.sock", child.id()));
    assert!(socket.exists());
    std::thread::spawn(move || {
        let mut bytes = vec![0; 4096];
        while both.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!socket.exists());
}
