//! Files of every shape: what an edit keeps, and what it does not survive on purpose.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::tool::{Outcome, PBKDF2, Place, SHA512, TOOL, finish, skip};

const NOBODY: u32 = 65_534;

#[test]
fn all_other_bytes_stay() {
    let before = format!(
        "# \u{e4}\u{f6}\n\n  \t\n ann : {SHA512} :note\r\n#bob:old\r\nbob:{PBKDF2}\r\nkim:plain\n"
    );
    let place = Place::with(&before);
    place.ok("-b f bob secret");
    let (head, rest) = before.split_at(before.find("bob:$7$").unwrap());
    let tail = rest.split_once('\n').unwrap().1;
    let after = place.text();
    assert!(after.starts_with(head) && after.ends_with(tail), "{after}");
    let entry = &after[head.len()..after.len() - tail.len()];
    assert!(entry.starts_with("bob:$7$1000$") && entry.ends_with("==\r\n"), "{entry:?}");

    place.ok("-b f new secret");
    assert!(place.text().starts_with(&after), "a new user comes last");
}

#[test]
fn a_missing_final_newline_is_repaired() {
    let place = Place::with(format!("ann:{SHA512}"));
    place.ok("-b f bob secret");
    assert!(place.text().starts_with(&format!("ann:{SHA512}\nbob:$6$")));
    assert!(place.text().ends_with("==\n"));

    let crlf = Place::with(format!("ann:{SHA512}\r\njoe:{SHA512}"));
    crlf.ok("-b f bob secret");
    assert!(crlf.text().starts_with(&format!("ann:{SHA512}\r\njoe:{SHA512}\r\nbob:")));
    assert!(crlf.text().ends_with("==\r\n"));
}

#[test]
fn duplicates_of_the_user_go_with_a_word() {
    let place = Place::with(format!("bob:{SHA512}\nann:{SHA512}\nbob:{PBKDF2}\nbob:x\n"));
    let outcome = place.ok("-b f bob secret");
    assert!(outcome.stderr.contains("2 further entries of user 'bob'"), "{outcome:?}");
    assert_eq!(place.ok("list f").stdout, "bob\tsha512-pbkdf2\nann\tsha512\n");
}

#[test]
fn a_new_file_is_for_its_owner_only() {
    let place = Place::empty();
    place.ok("-c -b f bob secret");
    assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(place.names(), ["f"]);
}

#[test]
fn the_mode_stays() {
    for mode in [0o600, 0o640, 0o644, 0o660] {
        let place = Place::with(format!("ann:{SHA512}\n"));
        fs::set_permissions(place.file(), Permissions::from_mode(mode)).unwrap();
        for form in ["-b f bob secret", "-D f bob", "-c -b f bob secret"] {
            let outcome = place.ok(form);
            assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o7777, mode, "{form}");
            let warned = outcome.stderr.contains("every user of the machine");
            assert_eq!(warned, mode == 0o644 && form != "-D f bob", "{mode:o} {outcome:?}");
        }
    }
}

#[test]
fn owner_and_group_stay() {
    if !is_root() {
        return skip("only root can give files away");
    }
    let place = Place::with(format!("ann:{SHA512}\n"));
    chown(place.file(), Some(NOBODY), Some(4242)).unwrap();
    for form in ["-b f bob secret", "-D f bob", "-c -b f bob secret"] {
        place.ok(form);
        let metadata = fs::metadata(place.file()).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, 4242), "{form}");
    }
}

#[test]
fn access_control_lists_stay() {
    let place = Place::with(format!("ann:{SHA512}\n"));
    let set =
        Command::new("setfattr").args(["-n", "user.note", "-v", "kept"]).arg(place.file()).output();
    if !set.is_ok_and(|output| output.status.success()) {
        return skip("setfattr or extended attributes are missing");
    }
    let acl = Command::new("setfacl").args(["-m", "u:65534:r"]).arg(place.file()).status();
    place.ok("-b f bob secret");
    let read = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).arg(place.file()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(read("getfattr", &["-n", "user.note"]).contains("kept"));
    if acl.is_ok_and(|status| status.success()) {
        assert!(read("getfacl", &["-n"]).contains("user:65534:r--"));
    } else {
        skip("setfacl is missing");
    }
}

#[test]
fn links_are_resolved_and_their_target_replaced() {
    let place = Place::with(format!("ann:{SHA512}\n"));
    fs::create_dir(place.dir().join("etc")).unwrap();
    symlink("../f", place.dir().join("etc/one")).unwrap();
    symlink("etc/one", place.dir().join("two")).unwrap();
    place.ok("-b two bob secret");
    assert!(place.accepts("bob", b"secret"));
    for link in ["etc/one", "two"] {
        assert!(fs::symlink_metadata(place.dir().join(link)).unwrap().is_symlink());
    }
    assert_eq!(fs::read_dir(place.dir().join("etc")).unwrap().count(), 1);
}

#[test]
fn without_permission_nothing_changes() {
    if !is_root() {
        return skip("only root can run the tool as somebody else");
    }
    let nobody = Nobody::new();
    let place = &nobody.place;

    // Not readable.
    fs::set_permissions(place.dir(), Permissions::from_mode(0o777)).unwrap();
    nobody.refused("-b f bob secret", "Permission denied");
    nobody.refused("list f", "Permission denied");

    // Readable, not writable, in a directory where it could be replaced.
    fs::set_permissions(place.file(), Permissions::from_mode(0o644)).unwrap();
    nobody.refused("-b f bob secret", "cannot write");

    // Writable, but somebody else's: the owner could not be kept.
    fs::set_permissions(place.file(), Permissions::from_mode(0o666)).unwrap();
    nobody.refused("-b f bob secret", "cannot keep the owner");

    // His own, in a directory where he may make no file.
    chown(place.file(), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(place.dir(), Permissions::from_mode(0o755)).unwrap();
    nobody.refused("-b f bob secret", "Permission denied");

    fs::set_permissions(place.dir(), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(nobody.run("-b f bob secret").code, Some(0));
    // Forbidding core dumps does not cost a process its own descriptors.
    let script = "echo secret | \"$0\" f eve --password-file /dev/stdin";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(&nobody.tool);
    let outcome = finish(shell.current_dir(place.dir()).uid(NOBODY).gid(NOBODY), b"");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_full_disk_leaves_the_file_and_nothing_else() {
    if !is_root() {
        return skip("only root can mount a small file system");
    }
    let mount = Place::empty();
    let options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
    let mounted = Command::new("mount").args(options).arg(mount.dir()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skip("a small file system cannot be mounted");
    }
    let _unmount = Unmount(mount.dir());
    fs::write(mount.file(), format!("ann:{SHA512}\n").repeat(300)).unwrap();
    fs::set_permissions(mount.file(), Permissions::from_mode(0o600)).unwrap();
    let before = mount.bytes();
    let outcome = mount.run("-b f bob secret");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
    assert!(mount.bytes() == before);
    assert_eq!(mount.names(), ["f"]);
}

#[test]
fn a_file_size_limit_leaves_the_file_and_nothing_else() {
    let place = Place::with(format!("ann:{SHA512}\n").repeat(300));
    let before = place.bytes();
    let mut command = Command::new("bash");
    let script = "ulimit -f 8; exec \"$0\" -b f bob secret";
    command.args(["-c", script, TOOL]).current_dir(place.dir());
    let outcome = finish(&mut command, b"");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot write"), "{outcome:?}");
    assert!(place.bytes() == before);
    assert_eq!(place.names(), ["f"]);
}

#[test]
fn standard_output_that_is_full_is_an_error() {
    let place = Place::with(format!("ann:{SHA512}\n"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return skip("there is no /dev/full") };
    let output = place.command(["-b", "-", "bob", "secret"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// The tool, run by a user who owns nothing.
struct Nobody {
    place: Place,
    tool: std::path::PathBuf,
    _home: tempfile::TempDir,
}

impl Nobody {
    fn new() -> Self {
        // The build directory need not be readable for him.
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let tool = home.path().join("midge_passwd");
        fs::copy(TOOL, &tool).unwrap();
        Self { place: Place::with(format!("ann:{SHA512}\n")), tool, _home: home }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.tool);
        command.current_dir(self.place.dir()).uid(NOBODY).gid(NOBODY);
        command
    }

    fn run(&self, line: &str) -> Outcome {
        finish(self.command().args(line.split(' ')), b"")
    }

    fn refused(&self, line: &str, why: &str) {
        let before = self.place.bytes();
        let outcome = self.run(line);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?} does not say {why:?}");
        assert!(self.place.bytes() == before);
        assert_eq!(self.place.names(), ["f"]);
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
