//! Bad input: a clear error, exit code 1, and the file untouched.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::tool::{PBKDF2, Place};

fn place() -> Place {
    Place::with(format!("a:{PBKDF2}\n"))
}

#[test]
fn names_that_no_broker_matches() {
    let long = "u".repeat(65_536);
    for (name, why) in [
        ("", "the user name is empty"),
        ("a:b", "contains ':'"),
        ("a\nb", "control character"),
        ("a\u{1b}[2J", "control character"),
        ("#a", "begins with '#'"),
        (" a", "blank"),
        ("a ", "blank"),
        (&long, "65536 bytes"),
    ] {
        let place = place();
        for form in [&["-b", "f", name, "p"][..], &["-c", "-b", "f", name, "p"], &["-D", "f", name]]
        {
            place.refused_with(form, why);
        }
        place.refused_with(["verify", "f", name], why);
    }
    let not_utf8 = OsStr::from_bytes(b"a\xff");
    let args = ["-b", "f"].map(OsStr::new).into_iter().chain([not_utf8, OsStr::new("p")]);
    place().refused_with(args, "not UTF-8");

    let longest = "u".repeat(65_535);
    assert_eq!(place().run_with(["-b", "f", &longest, "p"], b"").code, Some(0));
}

#[test]
fn passwords_that_connect_cannot_carry() {
    let place = place();
    place.refused_with(["-b", "f", "bob", &"p".repeat(65_536)], "65536 bytes");
    for length in [65_536, 10_000_000] {
        let outcome = place.run_with(["f", "bob", "--stdin"], &vec![b'p'; length]);
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains("MQTT allows 65535"), "{outcome:?}");
    }
    let outcome = place.run_with(["f", "bob", "--stdin"], b"\n");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("empty"), "{outcome:?}");
    place.refused("f bob --password-file missing", "cannot read the password from 'missing'");
    place.refused("f bob --password-file .", "cannot read the password");
}

#[test]
fn corrupt_lines_are_named_and_stop_every_edit() {
    let good = format!("# c\n\na:{PBKDF2}\n");
    let megabyte = format!("bob:{}", "x".repeat(1_000_000));
    for (line, why) in [
        ("garbage", "no ':'"),
        ("bob:", "no password"),
        (":x", "user name is empty"),
        ("bob:$7$101$!!!$x", "not base64"),
        ("bob:$7$0$AAAAAAAAAAAAAAAA$AAAA", "iteration count"),
        ("bob:$6$AAAA$AAAA", "salt"),
        ("bob:$argon2id$v=19$x", "fields"),
        ("b\u{1}b:x", "control character"),
        (&megabyte, "1000000 bytes"),
    ] {
        let place = Place::with(format!("{good}{line}\nz:{PBKDF2}\n"));
        for form in ["-b f new p", "-b f a p", "-b f bob p", "-D f a", "-U f", "-c -b f new p"] {
            place.refused(form, "line 4");
            place.refused(form, why);
        }
        place.refused("list f", "line 4");
        place.refused("verify f a", "line 4");
        let checked = place.run("check f");
        assert_eq!(checked.code, Some(1));
        assert!(checked.stdout.contains("f:4: ") && checked.stdout.contains(why), "{checked:?}");
    }
}

#[test]
fn create_replaces_nothing_but_password_files() {
    let place = Place::with("root:x:0:0:root:/root:/bin/bash\n[section]\n");
    place.refused("-c -b f bob p", "-c replaces nothing but password files");
}

#[test]
fn a_plain_password_that_would_be_cut_off() {
    Place::with("a:b\nuser:se:cret\n").refused("-U f", "line 2");
}

#[test]
fn what_is_not_a_file() {
    let place = Place::empty();
    fs::create_dir(place.dir().join("dir")).unwrap();
    assert!(Command::new("mkfifo").arg(place.dir().join("fifo")).status().unwrap().success());
    let _listener = UnixListener::bind(place.dir().join("socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.dir().join("dangling")).unwrap();
    for (path, why) in [
        ("dir", "is a directory"),
        (".", "is a directory"),
        ("/", "is a directory"),
        ("fifo", "is a FIFO"),
        ("socket", "is a socket"),
        ("/dev/null", "is a device"),
        ("/dev/zero", "is a device"),
        ("dangling", "symbolic link"),
    ] {
        for form in ["-b {} bob p", "-c -b {} bob p", "-D {} bob", "-U {}"] {
            place.refused(&form.replace("{}", path), why);
        }
        if path != "dangling" {
            for form in ["list {}", "check {}", "verify {} bob"] {
                place.refused(&form.replace("{}", path), why);
            }
        }
    }
    place.refused("-b missing bob p", "'missing' does not exist; -c creates it");
    // These do nothing with a new file.
    place.refused("-D missing bob", "midge_passwd: 'missing' does not exist\n");
    place.refused("-U missing", "midge_passwd: 'missing' does not exist\n");
    place.refused("-c -b missing/f bob p", "No such file");
    place.refused("-c -b missing/ bob p", "is a directory");
    place.refused("list missing", "cannot read 'missing'");
}

#[test]
fn command_lines_that_mean_nothing() {
    let place = place();
    for (line, why) in [
        ("", "FILE is missing"),
        ("f", "USER is missing"),
        ("-b f bob", "PASSWORD is missing"),
        ("f bob p", "a word follows USER"),
        ("-b f bob p q", "words follow PASSWORD"),
        ("-c -D f bob", "cannot be used with"),
        ("-c -U f", "cannot be used with"),
        ("-D -U f", "cannot be used with"),
        ("-b -D f bob", "cannot be used with"),
        ("-U f bob", "-U takes only FILE"),
        ("-H md5 -b f bob p", "invalid value 'md5'"),
        ("-I 0 -b f bob p", "from 1 to 10000000"),
        ("-I x -b f bob p", "from 1 to 10000000"),
        ("-I 10000001 -b f bob p", "from 1 to 10000000"),
        ("-x f bob", "unknown option '-x'"),
        ("-D - bob", "standard output"),
        ("-U -", "standard output"),
        ("-D f bob --stdin", "take no password"),
        ("-b f bob p --stdin", "not from elsewhere"),
        ("f bob --stdin --password-file x", "cannot be used with"),
        ("verify f", "USER"),
        ("list", "FILE"),
        ("-b f bob p --reload nofile", "process id file 'nofile'"),
        ("-b f bob p --reload 0", "gives no process id"),
        ("-b f bob p --reload 4194304999", "gives no process id"),
    ] {
        place.refused(line, why);
    }
}

#[test]
fn no_terminal_to_prompt_on() {
    let place = place();
    for line in ["f bob", "-c new bob", "- bob", "verify f a"] {
        // Standard input would have a password, but nobody said to take it.
        let outcome = place.run_with(line.split(' '), b"secret\nsecret\n");
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains("no terminal"), "{outcome:?}");
        assert!(outcome.stderr.contains("--stdin"), "{outcome:?}");
    }
    assert_eq!(place.text(), format!("a:{PBKDF2}\n"));
    assert_eq!(place.names(), ["f"]);
}

#[test]
fn a_broker_that_is_gone_is_noticed_before_the_change() {
    let place = place();
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    place.refused(&format!("-b f bob p --reload {pid}"), "cannot signal the broker");
    fs::write(place.dir().join("pid"), "not a number\n").unwrap();
    place.refused("-b f bob p --reload pid", "gives no process id");
}

#[test]
fn no_error_tells_a_password() {
    let place = Place::with("a:hunter2\nb:hunter2:x\n");
    for line in [
        "-U f",
        "list f",
        "check f",
        "verify f a",
        "-b f hun:ter hunter2",
        "f u hunter2",
        "-b f u x hunter2",
    ] {
        let outcome = place.run(line);
        let said = outcome.stdout + &outcome.stderr;
        assert!(!said.contains("hunter2"), "{line}: {said}");
    }
}
