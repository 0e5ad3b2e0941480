//! Telling a broker to read its password file again.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The broker named by `--reload`.
pub(super) struct Reload<'a>(&'a OsStr);

impl<'a> Reload<'a> {
    /// Makes sure that the broker can be signalled, before anything is changed.
    pub(super) fn prepare(target: &'a OsStr) -> anyhow::Result<Self> {
        let reload = Self(target);
        let pid = reload.pid()?;
        test_kill_process(pid).with_context(|| reload.cannot_signal(pid))?;
        Ok(reload)
    }

    /// Sends SIGHUP. The process id is looked up again: the broker may have been restarted while
    /// somebody typed a password.
    pub(super) fn send(&self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        kill_process(pid, Signal::HUP).with_context(|| self.cannot_signal(pid))
    }

    /// Digits are a process id, anything else is the path of a file that begins with one.
    fn pid(&self) -> anyhow::Result<Pid> {
        let digits = self.0.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let text = match digits {
            Some(digits) => digits.to_owned(),
            None => fs::read_to_string(Path::new(self.0)).with_context(|| {
                format!("cannot read the process id file '{}'", self.0.display())
            })?,
        };
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        pid.ok_or_else(|| anyhow!("--reload '{}' gives no process id", self.0.display()))
    }

    fn cannot_signal(&self, pid: Pid) -> String {
        format!("cannot signal the broker, process {}", pid.as_raw_nonzero())
    }
}
