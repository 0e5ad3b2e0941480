//! Starting a tool, feeding it and waiting for its end, which must come in time.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// No tool of any test takes this long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command of one of our tools.
pub fn midge_pub() -> Command {
    tool(env!("CARGO_BIN_EXE_midge_pub"))
}

/// The command of one of our tools.
pub fn midge_sub() -> Command {
    tool(env!("CARGO_BIN_EXE_midge_sub"))
}

/// The command of one of our tools.
pub fn midge_rr() -> Command {
    tool(env!("CARGO_BIN_EXE_midge_rr"))
}

/// A tool that knows nothing of who runs the tests.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"MIDGE_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a tool ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Fails unless the tool ended well and said nothing on standard error.
    #[track_caller]
    pub fn success(&self) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// Fails unless the tool ended with `code` and one line on standard error that contains
    /// `text`.
    #[track_caller]
    pub fn said(&self, code: i32, text: &str) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(text), "no {text:?} in {self:?}");
        self
    }

    /// Fails unless the tool ended well and told of a lost connection, and then of every attempt to
    /// connect that failed: how many there are is up to the time that the broker takes.
    #[track_caller]
    pub fn connected_again(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        let mut lines = self.stderr.lines();
        // Whether the kernel tells of an end or of a reset is up to what was under way.
        let loss = lines.next().unwrap_or_default();
        assert!(loss.contains(": the connection broke: ") || loss.contains(": the broker closed "));
        assert!(loss.ends_with("; connecting again"), "{self:?}");
        for line in lines {
            assert!(line.contains(": no connection to 127.0.0.1:"), "{self:?}");
            assert!(line.ends_with("; connecting again"), "{self:?}");
        }
        self
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// A tool that runs. It is killed when dropped.
pub struct Running {
    child: Child,
    ended: Receiver<()>,
    stdout: Option<thread::JoinHandle<Vec<u8>>>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
}

/// Runs the command to its end with `input` as its standard input.
#[track_caller]
pub fn run_with(command: &mut Command, input: &[u8]) -> Outcome {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.stdin();
    let input = input.to_vec();
    // The tool may end without reading all of it.
    thread::spawn(move || stdin.write_all(&input));
    running.wait()
}

/// Runs the command to its end with an empty standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    Running::start(command.stdin(Stdio::null())).wait()
}

/// Runs the command with these arguments to its end.
#[track_caller]
pub fn run_args(mut command: Command, args: &[impl AsRef<OsStr>]) -> Outcome {
    run(command.args(args))
}

impl Running {
    /// Starts the command and collects what it prints.
    pub fn start(command: &mut Command) -> Self {
        let mut running = Self::start_unread(command);
        let stdout = running.child.stdout.take().unwrap();
        running.collect(stdout);
        running
    }

    /// Starts the command and leaves its standard output to the test.
    pub fn start_unread(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (ending, ended) = mpsc::channel();
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            // Standard error closes when the process ends.
            let _ = ending.send(());
            text
        });
        Self { child, ended, stdout: None, stderr: Some(stderr) }
    }

    /// Collects what is left of the standard output.
    pub fn collect(&mut self, mut stdout: impl Read + Send + 'static) {
        self.stdout = Some(thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        }));
    }

    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Reads lines of the standard output until one contains `text`, and returns it. What follows
    /// is collected for the outcome.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let mut stdout = self.stdout();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "ended before {text:?}");
            if line.contains(text) {
                break;
            }
        }
        self.collect(stdout);
        line
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has had, beside the pages of its own program, where the system tells.
    pub fn peak_memory_bytes(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let kilobytes = |name: &str| -> Option<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some((kilobytes("VmHWM:")?.saturating_sub(kilobytes("RssFile:")?)) * 1024)
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        if self.ended.recv_timeout(PATIENCE).is_err() {
            let _ = self.child.kill();
            panic!("still running after {PATIENCE:?}");
        }
        let status = self.child.wait().unwrap();
        let text = |thread: Option<thread::JoinHandle<Vec<u8>>>| {
            thread.map_or(Vec::new(), |thread| thread.join().unwrap())
        };
        Outcome {
            code: status.code(),
            stdout: text(self.stdout.take()),
            stderr: String::from_utf8(text(self.stderr.take())).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
