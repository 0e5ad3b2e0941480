//! Whether the clock of this machine is synchronised, so that machines can start together.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Whether the clock is synchronised; `None` when nothing on this machine tells.
///
/// What keeps the clock is asked, in turn: systemd and chrony. In a container, neither answers as a
/// rule, although the clock is that of its host.
pub(super) fn is_synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let systemd = ask("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    match systemd.as_deref().map(str::trim) {
        Some("yes") => return Some(true),
        Some("no") => return Some(false),
        _ => {}
    }
    // The leap status is the last field: `Not synchronised`, or another one.
    let chrony = ask("chronyc", &["-c", "tracking"])?;
    let leap = chrony.trim().rsplit(',').next()?.to_owned();
    (!leap.is_empty()).then(|| leap != "Not synchronised")
}

/// What a program prints, if it is there and succeeds.
fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
