//! The files that `midge_conn` writes, read back by those who would read them.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use midge::load::{Distribution, Latencies, Phase, Report};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    server::{Script, Server},
    support::broker::{free_port, program, python, skip},
};

const TOOL: &str = env!("CARGO_BIN_EXE_midge_conn");
/// A load that ends by itself and has more than one second.
const LOAD: [&str; 9] =
    ["start", "--embedded", "--quiet", "-C", "300", "-i", "1", "--hold", "1200ms"];

fn midge_conn(arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Names of files in a directory of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// Whatever else is going on on this machine, a load ends as its verdict says.
fn assert_ended_as_judged(output: &Output, report: &Report) {
    assert_eq!(output.status.code(), Some(report.verdict.exit_code.into()), "{output:?}");
    assert!([0, 4].contains(&report.verdict.exit_code), "{output:?}");
}

fn read(path: &Path) -> Report {
    Report::from_json(&fs::read(path).unwrap()).unwrap()
}

/// The sum of what a log holds of each phase, and the comments at its end.
fn read_log(path: &Path) -> (BTreeMap<String, Distribution>, String) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let log = fs::read(path).unwrap();
    let mut sums: BTreeMap<String, Distribution> = BTreeMap::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
        let histogram: Distribution = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .unwrap();
        let max = histogram.max() as f64 / 1e6;
        assert!((interval.max() - max).abs() < 0.001, "{} and {max}", interval.max());
        sums.entry(interval.tag().unwrap().as_str().to_owned())
            .or_insert_with(|| Distribution::new_with_bounds(1, 3_600_000_000, 3).unwrap())
            .add(&histogram)
            .unwrap();
    }
    let comments = text(&log).lines().rfind(|line| line.starts_with('#')).unwrap().into();
    (sums, comments)
}

#[test]
fn logs_of_histograms_hold_what_the_report_holds() {
    let files = Files::new();
    let (json, hlog) = (files.name("run.json"), files.name("run.hlog"));
    let output = midge_conn(&[&LOAD[..], &["--json", &json, "--hlog", &hlog]].concat());
    let report = read(&files.path("run.json"));
    assert_ended_as_judged(&output, &report);
    let (sums, end) = read_log(&files.path("run.hlog"));
    assert_eq!(sums.len(), report.phases.len());
    for (phase, latencies) in &report.phases {
        let sum = &sums[phase.name()];
        assert_eq!(&Latencies::new(sum), latencies, "{phase:?}");
    }
    assert!(end.contains(&report.run.id) && end.ends_with("shard 0/1"), "{end}");
}

#[test]
fn the_seconds_are_in_the_table() {
    let files = Files::new();
    let (json, csv) = (files.name("run.json"), files.name("run.csv"));
    midge_conn(&[&LOAD[..], &["--json", &json, "--csv", &csv]].concat());
    let report = read(&files.path("run.json"));
    let table = fs::read_to_string(files.path("run.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.len(), report.series_1s.len() + 1);
    assert!(rows.iter().all(|row| row.len() == 11), "{table}");
    assert_eq!(rows[0][..6], ["t_s", "attempted", "connected", "failed", "dropped", "open"]);
    for (row, second) in rows[1..].iter().zip(&report.series_1s) {
        assert_eq!(row[2], second.connected.to_string());
        assert_eq!(row[5], second.open.to_string());
        assert_eq!(row[6], second.p50_us.map_or(String::new(), |micros| micros.to_string()));
    }
    assert_eq!(rows.last().unwrap()[1], "300");
}

/// Every field of `value` is described by `schema`.
fn assert_described(value: &Value, schema: &Value, root: &Value, at: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let described = &schema["properties"][name];
                assert!(described.is_object(), "{at}.{name} is not in the schema");
                assert_described(value, described, root, &format!("{at}.{name}"));
            }
        }
        Value::Array(items) => {
            for item in items {
                assert_described(item, &schema["items"], root, &format!("{at}[]"));
            }
        }
        _ => {}
    }
}

#[test]
fn reports_follow_their_schema() {
    let schema_path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conn-report.schema.json");
    let schema: Value = serde_json::from_slice(&fs::read(schema_path).unwrap()).unwrap();
    for phase in Phase::ALL {
        let described = &schema["properties"]["phases"]["properties"][phase.name()];
        assert!(described.is_object(), "{phase:?} is not in the schema");
    }
    let files = Files::new();
    let refusing = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let refusing = format!("mqtt-tcp://localhost:{}", refusing.address.port());
    let closed = format!("mqtt-tcp://127.0.0.1:{}", free_port());
    let slo = ["--slo", "tls.p99<1s", "--slo", "connack.p90<10s"];
    for (name, arguments) in [
        ("plain", [&LOAD[..], &slo].concat()),
        ("failures", vec!["start", "--url", &refusing, "-C", "4", "--hold", "0"]),
        ("unreachable", vec!["start", "--url", &closed, "-C", "4"]),
        ("shard", [&LOAD[..], &["--shard", "1/2", "--seed", "1", "--start-at", "+1s"]].concat()),
        ("other", [&LOAD[..], &["--shard", "0/2", "--seed", "1", "--start-at", "+1s"]].concat()),
    ] {
        midge_conn(&[&arguments[..], &["--json", &files.name(name)]].concat());
    }
    let merged = ["merge", &files.name("shard"), &files.name("other")].map(str::to_owned);
    let merged: Vec<_> = merged.iter().map(String::as_str).collect();
    midge_conn(&[&merged[..], &["--json", &files.name("merged")]].concat());
    let names = ["plain", "failures", "unreachable", "shard", "merged"];
    for name in names {
        let report: Value = serde_json::from_slice(&fs::read(files.path(name)).unwrap()).unwrap();
        assert_described(&report, &schema, &schema, name);
    }
    let Some(mut python) = python("jsonschema") else { return };
    let check = "import json, sys, jsonschema\n\
                 schema = json.load(open(sys.argv[1]))\n\
                 jsonschema.Draft202012Validator.check_schema(schema)\n\
                 for name in sys.argv[2:]:\n    \
                     jsonschema.validate(json.load(open(name)), schema)\n\
                 broken = json.load(open(sys.argv[2]))\n\
                 del broken['totals']['failed']\n\
                 sys.exit(0 if jsonschema.Draft202012Validator(schema).is_valid(broken) else 7)\n";
    let paths = names.map(|name| files.name(name));
    let output = python.args(["-c", check, schema_path]).args(&paths).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
}

#[test]
fn shards_merge_losslessly() {
    let files = Files::new();
    for shard in 0..3 {
        let (json, hlog) =
            (files.name(&format!("{shard}.json")), files.name(&format!("{shard}.hlog")));
        let shard = format!("{shard}/3");
        let rest = ["--shard", &shard, "--seed", "9", "--json", &json, "--hlog", &hlog];
        // A machine that needs several processes is still one shard.
        let processes = if shard == "2/3" { &["--processes", "2"][..] } else { &[] };
        let output = midge_conn(&[&LOAD[..], &rest, processes].concat());
        assert!(text(&output.stdout).contains(&format!("shard       {shard} (--shard): 100 of")));
    }
    let names: Vec<_> = (0..3)
        .flat_map(|n| [files.name(&format!("{n}.json")), files.name(&format!("{n}.hlog"))])
        .collect();
    let inputs: Vec<_> = names.iter().map(String::as_str).collect();
    let (json, hlog, html) = (files.name("all.json"), files.name("all.hlog"), files.name("a.html"));
    let outputs = ["--json", &json, "--hlog", &hlog, "--html", &html];
    let output = midge_conn(&[&["merge"], &inputs[..], &outputs].concat());
    let merged = read(&files.path("all.json"));
    assert_ended_as_judged(&output, &merged);
    assert!(text(&output.stdout).contains("connected   300 of 300"), "{output:?}");
    assert!(text(&output.stdout).contains("merged      4 reports from"), "{output:?}");
    let parts: Vec<_> = (0..3).map(|n| read(&files.path(&format!("{n}.json")))).collect();
    assert_eq!(Report::merge(parts).unwrap(), merged);
    let (sums, end) = read_log(&files.path("all.hlog"));
    for (phase, latencies) in &merged.phases {
        assert_eq!(&Latencies::new(&sums[phase.name()]), latencies, "{phase:?}");
    }
    assert!(end.ends_with("shard 0/1"), "{end}");

    // What is missing, doubled or mixed is named.
    let refused = |arguments: &[&str], says: &str| {
        let output = midge_conn(&[&["merge"], arguments].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says) && error.lines().count() == 1, "{arguments:?}: {error}");
    };
    refused(&[inputs[0], inputs[4]], "missing: shard 1/3");
    refused(&[inputs[0], inputs[2], inputs[4], inputs[0]], "shard 0/3 was restarted");
    refused(&[&inputs[..], &[inputs[1], "--hlog", &hlog]].concat(), "is given twice");
    refused(&[inputs[0], inputs[2], inputs[4], inputs[1], "--hlog", &hlog], "log of each shard");
    refused(&inputs, "add --hlog FILE");
    refused(&[TOOL], "cannot use");
    refused(&["/no/such/file"], "cannot read /no/such/file");
    let plain = files.name("plain.json");
    midge_conn(&[&LOAD[..], &["--json", &plain]].concat());
    refused(&[inputs[0], &plain], "different plans: run.seed is 9 and");
    let (one, log, damaged) = (files.name("1"), files.name("2"), files.name("damaged"));
    midge_conn(&["start", "--embedded", "--hold", "0", "--json", &one, "--hlog", &log]);
    for (from, to, says) in [
        ("#[BaseTime: ", "#[BaseTime: 18446744073709551615.0 (seconds)]", "a time that cannot be"),
        ("Tag=tcp,", "Tag=tcp,-5,1,0.1,HIST", "not an HdrHistogram log, from byte "),
    ] {
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| if line.starts_with(from) { to } else { line });
        fs::write(&damaged, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        refused(&[&one, &damaged, "--hlog", &hlog], says);
    }
    let incomplete = midge_conn(&["merge", "--incomplete", inputs[0], inputs[4]]);
    assert!(text(&incomplete.stdout).contains("connected   200 of 300"), "{incomplete:?}");
    let judged =
        midge_conn(&["merge", inputs[0], inputs[2], inputs[4], "--slo", "connack.p90<1us"]);
    assert!([Some(1), Some(4)].contains(&judged.status.code()), "{judged:?}");
    assert!(text(&judged.stdout).contains("objective   MISSED  connack.p90<1us:"), "{judged:?}");
}

#[test]
fn a_regression_is_found() {
    let files = Files::new();
    let (a, b) = (files.name("a.json"), files.name("b.json"));
    midge_conn(&[&LOAD[..], &["--json", &a]].concat());
    // The same load, with everything in connack taking a quarter longer; nothing limits it.
    let mut baseline = read(&files.path("a.json"));
    baseline.host.cpu_peak = None;
    baseline.host.loop_stall_max_us = 0;
    baseline.totals.late_starts = 0;
    baseline.phases.retain(|(phase, _)| *phase == Phase::ConnAck);
    baseline.judge(&[]);
    let mut slower = baseline.clone();
    let mut durations = Distribution::new(3).unwrap();
    for value in baseline.phases[0].1.distribution().unwrap().iter_recorded() {
        durations.record_n(value.value_iterated_to() * 5 / 4, value.count_at_value()).unwrap();
    }
    slower.phases[0].1 = Latencies::new(&durations);
    fs::write(&a, baseline.to_json()).unwrap();
    fs::write(&b, slower.to_json()).unwrap();

    let worse = midge_conn(&["diff", &a, &b]);
    assert_eq!(worse.status.code(), Some(1), "{worse:?}");
    let report = text(&worse.stdout);
    assert!(report.contains("REGRESSION  connack.p50 +2"), "{report}");
    assert!(report.contains("the distributions differ"), "{report}");
    assert!(text(&worse.stderr).contains("regression"), "{worse:?}");
    let better = midge_conn(&["diff", &b, &a]);
    assert_eq!(better.status.code(), Some(0), "{better:?}");
    assert!(
        text(&better.stdout).contains("better") && text(&better.stdout).contains("no regression")
    );
    let tolerant = midge_conn(&["diff", &a, &b, "--threshold", "40%"]);
    assert_eq!(tolerant.status.code(), Some(0), "{tolerant:?}");

    let mut limited = slower;
    limited.host.loop_stall_max_us = 20_000;
    limited.judge(&[]);
    fs::write(&b, limited.to_json()).unwrap();
    let output = midge_conn(&["diff", &a, &b]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    for arguments in [&["diff", &a][..], &["diff", &a, "/no/such/file"], &["diff", &a, TOOL]] {
        assert_eq!(midge_conn(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn objectives_decide() {
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", server.address);
    let arguments = ["start", "--url", &url, "-C", "4", "-i", "0", "--hold", "0", "--quiet"];
    let tolerated = midge_conn(&[&arguments[..], &["--slo", "fail.rate<=50%"]].concat());
    assert_eq!(tolerated.status.code(), Some(0), "{tolerated:?}");
    assert!(text(&tolerated.stdout).contains("VERDICT     PASS, 1 of 1 objectives met"));
    let two = ["--slo", "fail.rate<=50%", "--slo", "fail.count==0"];
    let missed = midge_conn(&[&arguments[..], &two].concat());
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");
    assert!(text(&missed.stdout).contains("VERDICT     FAIL, 1 of 2 objectives met"), "{missed:?}");
    assert_eq!(text(&missed.stderr), "midge_conn: missed: fail.count==0 is 2\n");
}

#[test]
fn a_missed_objective_ends_the_load() {
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", server.address);
    let slo = ["--slo", "fail.count==0", "--abort-on-slo", "0s"];
    let arguments = ["start", "--url", &url, "-C", "10000", "--quiet"];
    let output = midge_conn(&[&arguments[..], &slo].concat());
    let report = text(&output.stdout);
    assert!(report.contains("outcome     given up: an objective was missed"), "{report}");
    assert!([Some(1), Some(4)].contains(&output.status.code()), "{output:?}");
}

#[test]
fn metrics_are_served_while_the_load_runs() {
    let port = free_port();
    let server = Server::start(Script::Serve);
    let url = format!("mqtt-tcp://{}", server.address);
    let address = format!("127.0.0.1:{port}");
    let mut load = Command::new(TOOL)
        .args(["start", "--url", &url, "-C", "7", "-i", "0", "--prometheus", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It listens before the first client connects.
    server.seen.recv().unwrap();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    // The histograms are those of whole seconds.
    let mut metrics = ask(request);
    while !metrics.contains("midge_conn_phase_seconds_count{phase=\"connack\"} 7") {
        std::thread::yield_now();
        metrics = ask(request);
    }
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("\r\nContent-Type: application/openmetrics-text;"), "{metrics}");
    for line in [
        "# TYPE midge_conn_clients_connected counter",
        "midge_conn_clients_connected_total 7",
        "midge_conn_clients_failed_total 0",
        "midge_conn_clients_planned 7",
        "midge_conn_clients_open 7",
        "# UNIT midge_conn_phase_seconds seconds",
        "midge_conn_phase_seconds_bucket{le=\"+Inf\",phase=\"connack\"} 7",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
    assert!(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));

    let taken = midge_conn(&["start", "--embedded", "--hold", "0", "--prometheus", &address]);
    assert_eq!(taken.status.code(), Some(3), "{taken:?}");
    assert!(text(&taken.stderr).contains("cannot serve metrics at 127.0.0.1:"), "{taken:?}");
    load.kill().unwrap();
    load.wait().unwrap();
}

/// Each process has its own failures, and the one that was started tells of all of them.
#[test]
fn failures_in_several_processes_are_served_and_told() {
    let port = free_port();
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", server.address);
    let mut load = Command::new(TOOL)
        .args(["start", "--url", &url, "-C", "8", "-i", "0", "-v", "--processes", "2"])
        .args(["--quiet", "--prometheus", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for_connects(8);
    let mut metrics = String::new();
    while !metrics.contains("midge_conn_errors_total{class=\"connack.not_authorized\"} 4") {
        metrics.clear();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        stream.read_to_string(&mut metrics).unwrap();
        assert!(load.try_wait().unwrap().is_none(), "{metrics}");
        if metrics.contains("_phase_seconds_count{phase=\"total_all\"} 8") {
            assert!(metrics.contains("not_authorized\"} 4"), "{metrics}");
        }
    }
    assert!(Command::new("kill").arg(load.id().to_string()).status().unwrap().success());
    let output = load.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(told.lines().count(), 4, "{told}");
    assert!(told.lines().all(|line| line.contains("connack.not_authorized: ")), "{told}");
}

#[test]
fn outputs_that_cannot_be_written_are_found_before_the_first_connect() {
    let server = Server::start(Script::Serve);
    let url = format!("mqtt-tcp://{}", server.address);
    let files = Files::new();
    let shared = files.name("shared");
    let otherwise = files.name("otherwise");
    fs::write(&shared, "").unwrap();
    fs::hard_link(&shared, &otherwise).unwrap();
    for arguments in [
        &["--hlog", "/no/such/directory/x"][..],
        &["--csv", "/no/such/directory/x"],
        &["--html", "/no/such/directory/x"],
        &["--json", files.0.path().to_str().unwrap()],
        &["--json", &shared, "--html", &shared],
        &["--json", &shared, "--csv", &otherwise],
        &["--slo", "connack.p99"],
        &["--slo", "tls<1s"],
        &["--abort-on-slo", "1s"],
        &["--prometheus", "localhost"],
        &["--shard", "2/2"],
        &["--shard", "0/2"],
        &["--shard", "auto", "--seed", "1"],
        &["--start-at", "soon"],
        &["--start-at", "+1s", "--barrier", "mqtt://localhost/t"],
        &["--barrier", "mqtt://localhost"],
        &["--force"],
    ] {
        let output = midge_conn(&[&["start", "--url", &url, "--hold", "0"], arguments].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert!(server.seen.try_recv().is_err());
}

#[test]
fn an_instant_that_has_passed_and_a_clock_that_runs_free_are_exit_3() {
    let late = ["start", "--embedded", "--hold", "0", "--start-at", "2020-01-01T00:00:00Z"];
    let output = midge_conn(&late);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("ms ago: choose a later instant"), "{output:?}");

    // What keeps the clock says that it is not synchronised.
    let files = Files::new();
    let fake = files.path("timedatectl");
    fs::write(&fake, "#!/bin/sh\necho no\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&fake, mode).unwrap();
    let path = format!("{}:{}", files.0.path().display(), std::env::var("PATH").unwrap());
    let run = |arguments: &[&str]| {
        let load = ["start", "--embedded", "--hold", "0", "--quiet", "--start-at", "+1s"];
        Command::new(TOOL).args(load).args(arguments).env("PATH", &path).output().unwrap()
    };
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return skip("systemd keeps the clock of this machine", "MIDGE_REQUIRE_FREE_CLOCK");
    }
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(text(&refused.stderr).contains("is not synchronised"), "{refused:?}");
    let json = files.name("forced.json");
    let forced = run(&["--force", "--json", &json]);
    assert_eq!(forced.status.code(), Some(0), "{forced:?}");
    let report = read(&files.path("forced.json"));
    assert_eq!(report.run.clock_synced, Some(false));
    assert_eq!(report.run.start_at.as_ref(), Some(&report.run.started));
}

#[test]
fn several_processes_have_the_percentiles_of_each_second() {
    let files = Files::new();
    let (json, html) = (files.name("run.json"), files.name("run.html"));
    let rest = ["--processes", "2", "--json", &json, "--html", &html];
    let load = ["start", "--embedded", "--quiet", "-C", "300", "-i", "5", "--hold", "0"];
    let output = midge_conn(&[&load[..], &rest].concat());
    let report = read(&files.path("run.json"));
    assert_ended_as_judged(&output, &report);
    assert_eq!((report.totals.connected, report.run.parts.len()), (300, 2));
    let first = report.series_1s.first().unwrap();
    assert!(first.p50_us.is_some() && first.p50_us <= first.p99_us, "{:?}", report.series_1s);
    let last = report.series_1s.last().unwrap();
    assert_eq!((last.attempted, last.connected), (300, 300));
    assert!(fs::read_to_string(files.path("run.html")).unwrap().contains("Latency over time"));
}

/// What a browser is to do with a page: no network, no profile of its user's, no first steps.
const BROWSER: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,2600",
];

#[test]
fn the_page_is_whole_and_can_be_read_in_light_and_in_dark() {
    let files = Files::new();
    let refusing = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", refusing.address);
    let page = files.name("run.html");
    let load = ["start", "--url", &url, "-C", "400", "-i", "5", "--hold", "0", "--quiet"];
    let slo = ["--slo", "fail.rate<60%", "--html", &page];
    midge_conn(&[&load[..], &slo].concat());
    let html = fs::read_to_string(&page).unwrap();
    for title in [
        "Objectives",
        "Connects per second",
        "Open connections",
        "Latency over time",
        "Percentile spectrum",
        "Errors",
        "The run",
    ] {
        assert!(html.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    assert!(html.contains("connack.not_authorized") && html.contains("fail.rate&lt;60%"));
    let lively = files.name("lively.html");
    let life = ["--storm", "drop=100%@100ms", "--publish", "a<%i>", "-C", "2", "--hold", "300ms"];
    midge_conn(&[&["start", "--embedded", "--html", &lively], &life[..]].concat());
    let lively = fs::read_to_string(&lively).unwrap();
    for row in [
        "<dt>life</dt><dd>storm of 100% at 100ms, back-off 1s to 60s</dd>",
        "<dt>traffic</dt><dd>publish 0 bytes to a&lt;%i&gt; every 1s at QoS 0</dd>",
        "<dt>reconnects</dt><dd>2 ended by the plan, ",
    ] {
        assert!(lively.contains(row), "{row}: {lively}");
    }
    // Nothing that would be loaded, and nothing that runs.
    for word in ["http:", "https:", "src=", "href=", "<script", "@import", "url(", "NaN", "inf"] {
        assert!(!html.contains(word), "{word}");
    }
    let pictures: Vec<_> = html.split("<svg").skip(1).collect();
    assert_eq!(pictures.len(), 5);
    assert!(pictures.iter().all(|picture| picture.contains("<title>")), "nothing to hover over");
    if let Some(mut python) = python("xml.etree") {
        let check = "import re, sys, xml.etree.ElementTree as tree\n\
                     page = open(sys.argv[1]).read()\n\
                     [tree.fromstring(svg) for svg in re.findall(r'(?s)<svg.*?</svg>', page)]\n";
        let output = python.args(["-c", check, &page]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let Some(browser) = program("chromium") else { return };
    let picture = |scheme: &str| {
        let path = files.path(&format!("{scheme}.png"));
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new(&browser)
            .args(BROWSER)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--screenshot={}", path.display()))
            .arg(format!("file://{page}"))
            .output()
            .unwrap();
        fs::read(&path).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let (dark, light) = (picture("0"), picture("1"));
    assert!(dark != light, "the page looks the same in both colour schemes");
    // An empty page of this size takes a tenth of it.
    assert!(dark.len() > 60_000 && light.len() > 60_000, "{} {}", dark.len(), light.len());
}

#[test]
fn the_highest_rate_is_searched() {
    let files = Files::new();
    let json = files.name("best.json");
    let search = ["start", "--embedded", "--find", "max-rate", "-C", "1000", "--rate", "20000"];
    let found = midge_conn(&[&search[..], &["--slo", "connack.p50<1h", "--json", &json]].concat());
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    let met = ["--slo", "connack.p50<59m", "--json", &json];
    let found = midge_conn(&[&search[..], &met].concat());
    let (output, progress) = (text(&found.stdout), text(&found.stderr));
    // How high it comes depends on this machine, and so does what ends it.
    assert!([Some(0), Some(4)].contains(&found.status.code()), "{found:?}");
    assert!(progress.contains(" at 20000/s (1,000 clients); connack.p50<59m: "), "{progress}");
    assert!(output.contains("connack.p50<59m"), "{output}");
    assert_eq!(read(&files.path("best.json")).plan.clients, 1_000);

    let refusing = Server::start(Script::Answer(vec![0x20, 2, 0, 5]));
    let url = format!("mqtt-tcp://{}", refusing.address);
    let nothing = ["start", "--url", &url, "--find", "max-rate", "-C", "1000", "--rate", "12"];
    let none = midge_conn(&[&nothing[..], &["--slo", "fail.count==0"]].concat());
    assert!([Some(1), Some(4)].contains(&none.status.code()), "{none:?}");
    assert!(text(&none.stderr).contains("no rate was found, not even"), "{none:?}");
    for wrong in [
        &["--slo", "fail.count==0", "-C", "99"][..],
        &[],
        &["--slo", "fail.count==0", "--hold", "1s"],
        &["--slo", "fail.count==0", "-i", "0"],
        &["--slo", "fail.count==0", "--csv", &json],
    ] {
        let base = ["start", "--embedded", "--find", "max-rate", "-C", "1000"];
        let output = midge_conn(&[&base[..], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{wrong:?}: {output:?}");
    }
}
