//! Many edits at once, and edits that are killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use midge::passwd::PasswordFile;

use crate::tool::{PBKDF2, Place, SHA512, TOOL, skip};

#[test]
fn twenty_processes_add_twenty_users() {
    let place = Place::with(format!("# c\nann:{PBKDF2}\n"));
    let children: Vec<Child> = (0..20)
        .map(|at| {
            place
                .command(["-b", "f", &format!("user{at}"), &format!("secret{at}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut children = children.into_iter().peekable();
    let mut seen = 0;
    // Whoever reads meanwhile sees whole files, and no user goes again.
    while let Some(child) = children.peek_mut() {
        let count = PasswordFile::load(&place.file()).unwrap().entries().count();
        assert!(count >= seen, "{seen} entries, and then {count}");
        seen = count;
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            children.next();
        }
    }
    assert!(place.text().starts_with(&format!("# c\nann:{PBKDF2}\n")));
    assert_eq!(place.text().lines().count(), 22);
    for at in 0..20 {
        assert!(place.accepts(&format!("user{at}"), format!("secret{at}").as_bytes()), "{at}");
    }
    assert_eq!(place.names(), ["f"]);
}

#[test]
fn an_edit_that_waits_says_so() {
    let place = Place::with(format!("ann:{PBKDF2}\n"));
    let lock = File::create(place.dir().join(".f.midge-lock")).unwrap();
    lock.lock().unwrap();
    let mut command = place.command(["-b", "f", "bob", "secret"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "midge_passwd: waiting for another edit of 'f'\n");
    assert_eq!(place.text(), format!("ann:{PBKDF2}\n"));
    // Readers do not wait.
    assert_eq!(place.ok("list f").stdout, "ann\tsha512-pbkdf2\n");
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert!(place.accepts("bob", b"secret"));
    assert_eq!(place.names(), ["f"]);
}

#[test]
fn a_killed_edit_leaves_the_old_file_or_the_new_one() {
    let (old_count, new_count) = end_edits("-KILL", 300);
    println!("killed: {old_count} left the old file, {new_count} the new one");
}

#[test]
fn a_terminated_edit_leaves_nothing_else() {
    let (old_count, new_count) = end_edits("-TERM", 100);
    println!("terminated: {old_count} left the old file, {new_count} the new one");
}

#[test]
fn an_edit_killed_at_any_system_call_leaves_the_old_file_or_the_new_one() {
    if let Some(counts) = disturb_every_system_call("signal=KILL") {
        println!("{counts:?}");
        assert!(counts.old > 10 && counts.new > 5 && counts.leftovers > 10, "{counts:?}");
    }
}

#[test]
fn an_edit_with_any_system_call_failing_leaves_the_old_file_or_the_new_one() {
    if let Some(counts) = disturb_every_system_call("error=ENOSPC") {
        println!("{counts:?}");
        assert!(counts.old > 10 && counts.new > 5, "{counts:?}");
    }
}

#[derive(Debug, Default)]
struct Counts {
    old: usize,
    new: usize,
    leftovers: usize,
}

/// Repeats an edit once for each of its system calls, from the lock on, and does `what` to that
/// call. The file must be whole after it, and the next edit must succeed and clean up.
fn disturb_every_system_call(what: &str) -> Option<Counts> {
    let old = format!("# c\nann:{SHA512}\n");
    let traced = |place: &Place, options: &[&str]| {
        let mut command = Command::new("strace");
        command.arg("-f").args(options).arg(TOOL).args(["-b", "f", "bob", "secret"]);
        command.current_dir(place.dir()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let place = Place::with(&old);
    if !traced(&place, &["-o", "trace"]) {
        skip("strace is not installed or not allowed");
        return None;
    }
    let trace = fs::read_to_string(place.dir().join("trace")).unwrap();
    // `PID name(arguments) = result`
    let calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect();
    let first = trace.lines().position(|line| line.contains(".f.midge-lock")).unwrap();

    let mut counts = Counts::default();
    for at in first..calls.len() {
        let name = calls[at];
        let nth = calls[..=at].iter().filter(|call| **call == name).count();
        let place = Place::with(&old);
        let inject = format!("--inject={name}:{what}:when={nth}");
        let is_success = traced(&place, &["-o", "/dev/null", &inject]);

        let text = place.text();
        let added = text.strip_prefix(&old).expect("the old lines are there");
        if added.is_empty() {
            assert!(!is_success, "{name}, call {nth}: nothing changed, and exit code 0");
            counts.old += 1;
        } else {
            assert!(added.starts_with("bob:$6$") && added.ends_with("==\n"), "{added}");
            counts.new += 1;
        }
        counts.leftovers += usize::from(place.names().len() > 1);
        place.ok("-b f eve secret");
        assert_eq!(place.names(), ["f"], "{name}, call {nth}");
        assert!(place.text().starts_with(&text) && place.accepts("eve", b"secret"));
    }
    Some(counts)
}

/// Ends edits at random moments. The file must be whole after each; leftovers must not add up, nor
/// hinder the next edit.
fn end_edits(signal: &str, rounds: usize) -> (usize, usize) {
    let place = Place::with(format!("ann:{SHA512}\n").repeat(1_500));
    let edit = |user: &str| {
        let mut command = Command::new(TOOL);
        command.args(["-b", "f", user, "secret"]).current_dir(place.dir());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let started = Instant::now();
    assert!(edit("first").wait().unwrap().success());
    let usual = started.elapsed();

    let mut random = Random::new();
    let (mut old_count, mut new_count) = (0, 0);
    for round in 0..rounds {
        let before = place.bytes();
        let user = format!("user{round}");
        let mut child = edit(&user);
        // Not to wait for anything, but to choose the moment.
        thread::sleep(usual.mul_f64(1.3 * random.fraction()));
        let pid = child.id().to_string();
        let _ = Command::new("kill").args([signal, &pid]).stderr(Stdio::null()).status();
        child.wait().unwrap();

        let after = place.bytes();
        PasswordFile::load(&place.file()).unwrap();
        let added = after.strip_prefix(before.as_slice()).expect("the old lines are there");
        if added.is_empty() {
            old_count += 1;
        } else {
            new_count += 1;
            assert!(added.starts_with(format!("{user}:$6$").as_bytes()) && added.ends_with(b"\n"));
        }
        let left: Vec<_> = place.names().into_iter().filter(|name| name != "f").collect();
        if signal == "-TERM" {
            assert!(left.iter().all(|name| name == ".f.midge-lock"), "{left:?}");
        } else {
            // One temporary file of this edit, or of one before that has not been removed yet:
            // edits remove them just before they make their own.
            assert!(left.len() <= 2, "{left:?}");
        }
    }
    assert!(old_count > 0 && new_count > 0, "{old_count} old, {new_count} new: too one-sided");
    place.ok("-b f last secret");
    assert_eq!(place.names(), ["f"]);
    (old_count, new_count)
}

#[test]
fn leftovers_of_a_killed_edit_are_in_nobodys_way() {
    let place = Place::with(format!("ann:{PBKDF2}\n"));
    for name in [".f.midge-lock", ".f.midge-0123456789ab", ".f.midge-ABCDEFGHIJKL"] {
        fs::write(place.dir().join(name), "half a li").unwrap();
    }
    place.ok("-b f bob secret");
    assert!(place.accepts("bob", b"secret"));
    assert_eq!(place.names(), ["f"]);
}

/// xorshift, seeded by the clock: every run tries other moments.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::from_nanos(1));
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 10_000) as f64 / 10_000.0
    }
}
