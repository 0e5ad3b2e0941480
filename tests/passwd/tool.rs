//! Running the tool in a directory of its own.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use midge::passwd::{Password, PasswordFile, Secret, Username};
use tempfile::TempDir;

pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_midge_passwd");

/// A directory with a password file called `f`.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a run of the tool ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// Without the file.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With this content in the file.
    pub(crate) fn with(content: impl AsRef<[u8]>) -> Self {
        let place = Self::empty();
        fs::write(place.file(), content).unwrap();
        fs::set_permissions(place.file(), Permissions::from_mode(0o600)).unwrap();
        place
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir().join("f")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// The names in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The tool in this directory, without a terminal.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(TOOL).args(args).current_dir(self.dir());
        command
    }

    /// Runs the tool with these words, divided by blanks.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.run_with(line.split_whitespace(), b"")
    }

    pub(crate) fn run_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        stdin: &[u8],
    ) -> Outcome {
        finish(&mut self.command(args), stdin)
    }

    /// Runs the tool and expects it to succeed.
    pub(crate) fn ok(&self, line: &str) -> Outcome {
        let outcome = self.run(line);
        assert_eq!(outcome.code, Some(0), "{line}: {outcome:?}");
        outcome
    }

    /// Runs the tool and expects exit code 1, one line that contains `why`, and the file (if it
    /// exists) and the directory as they were.
    pub(crate) fn refused(&self, line: &str, why: &str) {
        self.refused_with(line.split_whitespace(), why);
    }

    pub(crate) fn refused_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        why: &str,
    ) {
        let state = || (fs::read(self.file()).ok(), self.names());
        let before = state();
        let outcome = self.run_with(args, b"");
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?} does not say {why:?}");
        assert!(outcome.stderr.starts_with("midge_passwd: "), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        assert!(state() == before, "something was changed: {outcome:?}");
    }

    /// Whether `password` is the one of `user`, by the library.
    pub(crate) fn accepts(&self, user: &str, password: &[u8]) -> bool {
        accepts(&self.file(), user, password)
    }
}

pub(crate) fn accepts(file: &Path, user: &str, password: &[u8]) -> bool {
    let file = PasswordFile::load(file).unwrap();
    let entry = file.entry(&Username::new(user).unwrap()).expect("the user is in the file");
    let Secret::Hash(hash) = entry.secret else { panic!("{user} has no hash") };
    hash.verify(&Password::allowing_empty(password.to_vec()).unwrap()).unwrap()
}

/// Says loudly that the running test does not run because this process may not do something, or
/// fails where it has to be able to.
pub(crate) fn skip(why: &str) {
    crate::support::broker::skip(why, "MIDGE_REQUIRE_PRIVILEGES");
}

pub(crate) fn finish(command: &mut Command, stdin: &[u8]) -> Outcome {
    let mut child = command
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The tool may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) const SHA512: &str = "$6$8capiRrhFuLeyIE1$ilFKcclo3NIMhuNMPvFF23CBcLTzmT/\
    Uy31/YRIfXVQ2Y+LDVO/jtS3oNRKX/WJYT1y1zaKaHW64fBQy8limBA==";
pub(crate) const PBKDF2: &str = "$7$101$Xw8VJj8ARtRfrZxX$QQolbaZcYvS3svZGssyvKDr2UWBaEC1+\
    NuYwIGsrWvqQFO8CBM9g/idA3CJzVvkgF5XIhQRfbZkhGDXYwcgrMg==";
