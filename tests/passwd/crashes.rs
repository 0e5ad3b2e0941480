//! Many edits at once, and edits that are killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use midge::passwd::PasswordFile;

use crate::tool::{PBKDF2, Place, SHA512, TOOL};

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
    for mut child in children {
        assert!(child.wait().unwrap().success());
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
