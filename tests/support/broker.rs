//! A real mosquitto on a free port of 127.0.0.1, killed when dropped.
//!
//! Readiness is read from the broker's own log, so nothing sleeps and nothing polls. Where
//! mosquitto is not installed, tests say loudly that they did not run; with
//! `MIDGE_REQUIRE_BROKERS` set they fail instead.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

/// How many free ports are tried before giving up: between choosing one and the broker listening
/// on it, another process can take it.
const PORT_ATTEMPTS: usize = 10;

/// Nothing that a test waits for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running mosquitto.
pub struct Broker {
    dir: TempDir,
    port: u16,
    process: Process,
}

/// One run of a program and the thread that collects its log; killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    text: String,
    ended: bool,
}

impl Broker {
    /// Starts a broker that lets everybody in, or says why not and returns `None`.
    pub fn start() -> Option<Self> {
        Self::with_config("allow_anonymous true\n")
    }

    /// Starts a broker with these lines of configuration after its listener.
    ///
    /// `@DIR@` in them stands for a directory of its own: files named there can be written first
    /// with [`Broker::with_files`].
    pub fn with_config(config: &str) -> Option<Self> {
        Self::with_files(config, &[])
    }

    /// Starts a broker with these lines of configuration and these files in `@DIR@`.
    pub fn with_files(config: &str, files: &[(&str, &str)]) -> Option<Self> {
        let program = program("mosquitto")?;
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let config = config.replace("@DIR@", dir.path().to_str().unwrap());
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            // `user root` keeps a broker started by root able to read its directory; for others
            // mosquitto ignores it.
            let text = format!(
                "listener {port} 127.0.0.1\nuser root\nlog_dest stderr\nlog_type all\n{config}"
            );
            fs::write(dir.path().join("mosquitto.conf"), text).unwrap();
            match Process::mosquitto(&program, dir.path()) {
                Ok(process) => return Some(Self { dir, port, process }),
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("mosquitto did not start:\n{log}"),
            }
        }
        panic!("no free port in {PORT_ATTEMPTS} attempts");
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// The directory its configuration is in, and `@DIR@` stands for.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.log.state.lock().unwrap().text.clone()
    }

    /// Waits until its log since the last start contains `text`; panics if it never does.
    pub fn wait_for_log(&self, text: &str) {
        self.wait_for_log_count(text, 1);
    }

    /// Waits until its log since the last start contains `text` this many times.
    pub fn wait_for_log_count(&self, text: &str, count: usize) {
        let found = self.process.log.wait_for(|log| log.matches(text).count() >= count);
        assert!(found, "the broker has not logged {text:?}:\n{}", self.log());
    }

    /// Ends it as an operator would: connections are closed and persistent sessions saved.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        self.process.child.wait().unwrap();
    }

    /// Ends it without any farewell.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port and in the same directory, after [`Broker::stop`] or
    /// [`Broker::kill`].
    pub fn start_again(&mut self) {
        self.process.kill();
        let program = program("mosquitto").unwrap();
        match Process::mosquitto(&program, self.dir.path()) {
            Ok(process) => self.process = process,
            Err(log) => panic!("mosquitto did not start again:\n{log}"),
        }
    }

    /// Makes it read its password and ACL files again.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.process.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Process {
    fn mosquitto(program: &Path, dir: &Path) -> Result<Self, String> {
        let config = dir.join("mosquitto.conf");
        Process::spawn(Command::new(program).arg("-c").arg(config).current_dir(dir), " running\n")
    }

    /// Starts a program and waits until it writes `ready` to its standard error; `Err` has what it
    /// wrote if it ended instead.
    pub fn spawn(command: &mut Command, ready: &str) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || log.collect(stderr)
        });
        let mut process = Self { child, log, reader: Some(reader) };
        if process.log.wait_for(|text| text.contains(ready)) {
            return Ok(process);
        }
        process.kill();
        let text = process.log.state.lock().unwrap().text.clone();
        Err(text)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    fn collect(&self, stderr: impl BufRead) {
        for line in stderr.split(b'\n') {
            let Ok(line) = line else { break };
            let mut state = self.state.lock().unwrap();
            state.text.push_str(&String::from_utf8_lossy(&line));
            state.text.push('\n');
            self.changed.notify_all();
        }
        self.state.lock().unwrap().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the log satisfies `ready`; false when it ended before, or never does.
    fn wait_for(&self, ready: impl Fn(&str) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let not_yet = |state: &mut LogState| !state.ended && !ready(&state.text);
        let (state, _) = self.changed.wait_timeout_while(state, PATIENCE, not_yet).unwrap();
        ready(&state.text)
    }
}

/// The path of an installed program, looked for in `PATH` and where brokers are installed. When it
/// is missing the test is skipped with a line on standard error, or fails if
/// `MIDGE_REQUIRE_BROKERS` is set.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"), "MIDGE_REQUIRE_BROKERS");
    }
    found
}

/// Says that a test does not run and why, or fails if the variable says that it has to.
pub fn skip(why: &str, required_by: &str) {
    assert!(env::var_os(required_by).is_none(), "{why}, and {required_by} is set");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not `eprintln!`, which the test harness hides for tests that pass.
    let text = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A port of 127.0.0.1 that nobody listens on, never the same twice in one process. It is below the
/// range that systems choose ports from by themselves, so that no socket of another test, however
/// short-lived, takes it before it is used.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes that run at the same time begin at different places.
        let place = std::process::id()
            .wrapping_mul(211)
            .wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + place % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A Python interpreter that has `module`, or `None` as for [`program`].
#[allow(dead_code, reason = "not every test needs it")]
pub fn python(module: &str) -> Option<Command> {
    // The system's has what its package manager has installed.
    let interpreters = ["/usr/bin/python3", "python3"];
    let has_module = |interpreter: &&str| {
        let import = format!("import {module}");
        let output = Command::new(interpreter).args(["-c", &import]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = interpreters.into_iter().find(|interpreter| has_module(interpreter));
    if found.is_none() {
        skip(&format!("Python's {module} is not installed"), "MIDGE_REQUIRE_BROKERS");
    }
    found.map(Command::new)
}
