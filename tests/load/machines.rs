//! Several machines that share one plan: in network namespaces, through GNU parallel, and through
//! Slurm; and the manifests of the documentation, read by those who understand them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use midge::load::Report;
use tempfile::TempDir;

use crate::support::{
    Broker,
    broker::{Process, free_port, program, python, skip},
};

const TOOL: &str = env!("CARGO_BIN_EXE_midge_conn");
const UNLIMITED: &str = "allow_anonymous true\nmax_connections -1\n";
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many-machines");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> Report {
    Report::from_json(&fs::read(path).unwrap()).unwrap()
}

/// Merges the reports of all shards with the tool, and returns the whole.
fn merge(dir: &Path, reports: &[PathBuf]) -> (Report, Output) {
    let whole = dir.join("whole.json");
    let output =
        Command::new(TOOL).arg("merge").args(reports).arg("--json").arg(&whole).output().unwrap();
    assert!(whole.exists() && [Some(0), Some(4)].contains(&output.status.code()), "{output:?}");
    (read(&whole), output)
}

/// The client identifiers that the broker has seen, each as often as it has seen it.
fn identifiers(broker: &Broker, seed: u32) -> Vec<String> {
    let prefix = format!("midge-{seed:08x}-");
    let log = broker.log();
    let mut seen: Vec<_> = log
        .lines()
        .filter(|line| line.contains("New client connected"))
        .filter_map(|line| line.split(" as ").nth(1)?.split(' ').next())
        .filter(|id| id.starts_with(&prefix))
        .map(str::to_owned)
        .collect();
    seen.sort();
    seen
}

/// The identifiers of clients 0 to `count`.
fn expected(seed: u32, count: u32) -> Vec<String> {
    (0..count).map(|g| midge::load::Seed(seed).client_id(g)).collect()
}

#[test]
fn shards_meet_at_the_barrier_and_start_together() {
    let Some(broker) = Broker::with_config(UNLIMITED) else { return };
    let dir = tempfile::tempdir().unwrap();
    let barrier = format!("{}/midge/test", broker.url());
    let reports: Vec<_> = (0..3).map(|shard| dir.path().join(format!("{shard}.json"))).collect();
    // An instant of an earlier run is still there.
    let stale = Command::new("mosquitto_pub")
        .args(["-p", &broker.port().to_string(), "-t", "midge/test", "-r", "-q", "1"])
        .args(["-m", "2020-01-01T00:00:00Z"])
        .status()
        .unwrap();
    assert!(stale.success());
    let shards: Vec<_> = (0..3)
        .map(|shard| {
            Command::new(TOOL)
                .args(["start", "--url", &broker.url(), "-C", "30", "-i", "1", "--hold", "0"])
                .args(["--seed", "77", "--shard", &format!("{shard}/3"), "--barrier", &barrier])
                .arg("--json")
                .arg(&reports[shard])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let outputs: Vec<_> =
        shards.into_iter().map(|shard| shard.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert!(text(&outputs[0].stderr).contains("barrier: 3 of 3 shards are ready"), "{outputs:?}");
    assert!(text(&outputs[1].stderr).contains("2020-01-01T00:00:00Z has passed"), "{outputs:?}");
    let (whole, _) = merge(dir.path(), &reports);
    assert_eq!((whole.totals.planned, whole.totals.connected), (30, 30));
    assert_eq!(whole.start_skew_s(), 0.0);
    assert!(whole.run.start_at.is_some());
    assert_eq!(identifiers(&broker, 77), expected(77, 30));
}

#[test]
fn a_barrier_without_a_broker_is_exit_3() {
    let barrier = format!("mqtt://127.0.0.1:{}/t", free_port());
    let output = Command::new(TOOL)
        .args(["start", "--embedded", "--hold", "0", "--barrier", &barrier, "--force"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("cannot reach the barrier's broker"), "{output:?}");
}

/// Network namespaces of this test's own, each joined to a bridge; gone when dropped.
struct Hosts {
    bridge: String,
    names: Vec<String>,
    /// The second of the three numbers that all addresses have in common.
    net: u32,
}

impl Hosts {
    /// `None` where this process may not make them.
    fn new(count: u32) -> Option<Self> {
        program("ip")?;
        let id = std::process::id() % 10_000;
        let hosts = Self { bridge: format!("mdg{id}br"), names: Vec::new(), net: id % 250 };
        let probe =
            Command::new("ip").args(["link", "add", &hosts.bridge, "type", "bridge"]).output();
        if !probe.as_ref().is_ok_and(|output| output.status.success()) {
            std::mem::forget(hosts);
            skip("this process may not make network namespaces", "MIDGE_REQUIRE_PRIVILEGES");
            return None;
        }
        let mut hosts = hosts;
        let bridge = hosts.bridge.clone();
        ip(&["addr", "add", &format!("{}/24", hosts.address(1)), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        for host in 0..count {
            let name = format!("mdg{id}h{host}");
            let (outer, inner) = (format!("mdg{id}o{host}"), format!("mdg{id}i{host}"));
            ip(&["netns", "add", &name]);
            hosts.names.push(name.clone());
            ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]);
            ip(&["link", "set", &outer, "master", &bridge, "up"]);
            ip(&["link", "set", &inner, "netns", &name]);
            let address = format!("{}/24", hosts.address(10 + host));
            ip(&["-n", &name, "addr", "add", &address, "dev", &inner]);
            ip(&["-n", &name, "link", "set", &inner, "up"]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        Some(hosts)
    }

    fn address(&self, host: u32) -> String {
        format!("10.233.{}.{host}", self.net)
    }

    fn spawn(&self, host: usize, arguments: &[String]) -> Child {
        Command::new("ip")
            .args(["netns", "exec", &self.names[host], TOOL])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _ = Command::new("ip").args(["link", "del", &self.bridge]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}

#[test]
fn four_hosts_share_one_plan() {
    let Some(hosts) = Hosts::new(4) else { return };
    let port = free_port();
    let listener =
        format!("listener {port} {}\nallow_anonymous true\nmax_connections -1\n", hosts.address(1));
    let Some(broker) = Broker::with_config(&listener) else { return };
    let dir = tempfile::tempdir().unwrap();
    let url = format!("mqtt-tcp://{}:{port}", hosts.address(1));
    let reports: Vec<_> = (0..4).map(|shard| dir.path().join(format!("{shard}.json"))).collect();
    let start = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let shards: Vec<_> = (0..4)
        .map(|shard| {
            let report = reports[shard].to_str().unwrap();
            let shard_option = format!("{shard}/4");
            let start = start.to_string();
            let arguments = [
                "start",
                "--url",
                &url,
                "-C",
                "402",
                "-i",
                "2",
                "--hold",
                "500ms",
                "--seed",
                "4",
                "--shard",
                &shard_option,
                "--start-at",
                &start,
                "--json",
                report,
            ];
            hosts.spawn(shard, &arguments.map(str::to_owned))
        })
        .collect();
    for shard in shards {
        let output = shard.wait_with_output().unwrap();
        assert!([Some(0), Some(4)].contains(&output.status.code()), "{output:?}");
    }
    let (whole, output) = merge(dir.path(), &reports);
    assert_eq!((whole.totals.planned, whole.totals.connected, whole.totals.failed), (402, 402, 0));
    assert_eq!(whole.start_skew_s(), 0.0);
    assert_eq!(whole.rate.intended, Some(500.0));
    // All were open at the same time.
    assert_eq!(whole.totals.peak_open, 402);
    assert!(text(&output.stdout).contains("merged      4 reports"), "{output:?}");
    assert_eq!(identifiers(&broker, 4), expected(4, 402));
    // Each host has an address of its own.
    let log = broker.log();
    for host in 0..4 {
        let from = format!("New client connected from {}:", hosts.address(10 + host));
        assert!(log.contains(&from), "{from}");
    }
}

#[test]
fn gnu_parallel_runs_the_shards() {
    let Some(parallel) = program("parallel") else { return };
    let Some(broker) = Broker::with_config(UNLIMITED) else { return };
    let dir = tempfile::tempdir().unwrap();
    let line = fs::read_to_string(format!("{MANIFESTS}/parallel.sh")).unwrap();
    assert!(line.contains("--shard auto"), "{line}");
    let script = dir.path().join("parallel.sh");
    fs::write(&script, line).unwrap();
    let output = Command::new("bash")
        .arg(&script)
        .current_dir(dir.path())
        .env("PATH", path_with(&[parallel.parent().unwrap(), Path::new(TOOL).parent().unwrap()]))
        .env("HOME", dir.path())
        .envs([("URL", broker.url()), ("SHARDS", "4".into()), ("CLIENTS", "100".into())])
        .envs([("HOLD", "0s"), ("SEED", "5"), ("LEAD", "5")])
        .output()
        .unwrap();
    assert!([Some(0), Some(4)].contains(&output.status.code()), "{output:?}");
    let whole = read(&dir.path().join("all.json"));
    assert_eq!((whole.totals.planned, whole.totals.connected), (100, 100));
    assert_eq!(whole.run.parts.len(), 4);
    let sources: Vec<_> = whole.run.parts.iter().map(|part| part.shard.source.as_deref()).collect();
    assert_eq!(sources, [Some("PARALLEL_SEQ and SHARDS"); 4]);
    assert_eq!(identifiers(&broker, 5), expected(5, 100));
}

fn path_with(first: &[&Path]) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let paths = first.iter().map(|path| path.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(paths).unwrap()
}

#[test]
fn the_manifests_are_understood() {
    for script in ["parallel.sh", "slurm.sbatch"] {
        let path = format!("{MANIFESTS}/{script}");
        let output = Command::new("bash").args(["-n", &path]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let Some(mut python) = python("yaml") else { return };
    let check = "import json, sys, yaml\n\
                 print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))\n";
    let path = format!("{MANIFESTS}/kubernetes.yaml");
    let output = python.args(["-c", check, &path]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let documents: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let job =
        documents.as_array().unwrap().iter().find(|document| document["kind"] == "Job").unwrap();
    assert_eq!(job["apiVersion"], "batch/v1");
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    assert_eq!(spec["completions"], spec["parallelism"]);
    // A shard that is started again would take over the clients of its first life.
    assert_eq!(spec["backoffLimit"], 0);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    let container = &pod["containers"][0];
    let shards = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "SHARDS")
        .unwrap();
    assert_eq!(shards["value"], spec["completions"].to_string());

    // The tool takes the container's words, but for the barrier there is here.
    let words: Vec<_> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let output = Command::new(TOOL)
        .args(&words)
        .args(["--barrier", "mqtt://127.0.0.1:1/t", "--url", "mqtt://127.0.0.1:1"])
        .args(["--json", "/dev/null", "--hlog", "/dev/null", "--force"])
        .envs([("JOB_COMPLETION_INDEX", "3"), ("SHARDS", "4")])
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("cannot reach the barrier's broker"), "{output:?}");
}

/// A Slurm cluster of this one machine; ended when dropped.
struct Slurm {
    dir: TempDir,
    _daemons: Vec<Process>,
}

impl Slurm {
    /// Starts munged, slurmctld and slurmd, or says what is missing.
    fn start() -> Option<Self> {
        for name in ["munged", "slurmctld", "slurmd", "sbatch"] {
            if which(name).is_none() {
                skip(&format!("{name} is not installed"), "MIDGE_REQUIRE_SLURM");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in ["state", "spool", "work"] {
            fs::create_dir(path(name)).unwrap();
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), mode).unwrap();
        let key = path("munge.key");
        fs::write(&key, [7; 1024]).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&key, private).unwrap();
        let munged = Command::new(which("munged").unwrap())
            .arg("--force")
            .arg(format!("--key-file={key}"))
            .arg(format!("--socket={}", path("munge.socket")))
            .arg(format!("--pid-file={}", path("munged.pid")))
            .arg(format!("--log-file={}", path("munged.log")))
            .arg(format!("--seed-file={}", path("munged.seed")))
            .output()
            .unwrap();
        assert!(munged.status.success(), "{munged:?}");
        let trimmed = |output: Output| text(&output.stdout).trim().to_owned();
        let user = trimmed(Command::new("id").arg("-un").output().unwrap());
        let host = trimmed(Command::new("uname").arg("-n").output().unwrap());
        let config = format!(
            "ClusterName=midge\n\
             SlurmctldHost=localhost\n\
             SlurmctldPort={}\n\
             SlurmdPort={}\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             AuthType=auth/munge\n\
             CredType=cred/munge\n\
             AuthInfo=socket={}\n\
             StateSaveLocation={}\n\
             SlurmdSpoolDir={}\n\
             SlurmctldPidFile={}\n\
             SlurmdPidFile={}\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             MpiDefault=none\n\
             ReturnToService=2\n\
             SchedulerParameters=sched_interval=1,bf_interval=1\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_CPU\n\
             SlurmdParameters=config_overrides\n\
             NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8\n\
             PartitionName=all Nodes=ALL Default=YES State=UP\n",
            free_port(),
            free_port(),
            path("munge.socket"),
            path("state"),
            path("spool"),
            path("slurmctld.pid"),
            path("slurmd.pid"),
        );
        fs::write(path("slurm.conf"), config).unwrap();
        let start = |name: &str, arguments: &[&str], ready: &str| {
            let mut command = Command::new(which(name).unwrap());
            command.arg("-D").args(arguments).env("SLURM_CONF", path("slurm.conf"));
            Process::spawn(&mut command, ready).unwrap_or_else(|log| panic!("{name}: {log}"))
        };
        let daemons = vec![
            start("slurmctld", &["-i"], "Running as primary controller"),
            start("slurmd", &["-N", "node0"], "slurmd started on"),
        ];
        Some(Self { dir, _daemons: daemons })
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if let Ok(id) = fs::read_to_string(self.dir.path().join("munged.pid")) {
            let _ = Command::new("kill").arg(id.trim()).status();
        }
    }
}

/// Where a program is, if it is installed.
fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[test]
fn a_slurm_array_runs_the_shards() {
    let Some(broker) = Broker::with_config(UNLIMITED) else { return };
    let Some(slurm) = Slurm::start() else { return };
    let output = Command::new("sbatch")
        .arg("--wait")
        .arg(format!("{MANIFESTS}/slurm.sbatch"))
        .current_dir(slurm.work())
        .env("SLURM_CONF", slurm.dir.path().join("slurm.conf"))
        .env("PATH", path_with(&[Path::new(TOOL).parent().unwrap()]))
        .envs([("URL", broker.url()), ("CLIENTS", "100".into())])
        .envs([("HOLD", "0s"), ("SEED", "6")])
        .output()
        .unwrap();
    let logs: Vec<_> = (0..4)
        .map(|shard| fs::read_to_string(slurm.work().join(format!("shard-{shard}.log"))))
        .collect();
    assert!([Some(0), Some(4)].contains(&output.status.code()), "{output:?} {logs:?}");
    let reports: Vec<_> =
        (0..4).map(|shard| slurm.work().join(format!("shard-{shard}.json"))).collect();
    let (whole, _) = merge(slurm.dir.path(), &reports);
    assert_eq!((whole.totals.planned, whole.totals.connected), (100, 100));
    assert_eq!(whole.start_skew_s(), 0.0);
    let sources: Vec<_> = whole.run.parts.iter().map(|part| part.shard.source.as_deref()).collect();
    assert_eq!(sources, [Some("SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT"); 4]);
    assert_eq!(identifiers(&broker, 6), expected(6, 100));
}
