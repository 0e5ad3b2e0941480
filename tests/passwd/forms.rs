//! Every form of the command line does what it says, judged by the hash it leaves.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::support::broker::program;
use crate::tool::{PBKDF2, Place, SHA512, accepts, finish};

/// A command line of mosquitto_passwd and the user and password it sets.
const SHARED: [(&[&str], &str, &str); 11] = [
    (&["-b", "f", "bob", "secret"], "bob", "secret"),
    (&["-b", "f", "old", "secret"], "old", "secret"),
    (&["-c", "-b", "f", "bob", "secret"], "bob", "secret"),
    (&["-b", "-c", "new", "bob", "secret"], "bob", "secret"),
    (&["-H", "sha512", "-b", "f", "bob", "secret"], "bob", "secret"),
    (&["-H", "sha512-pbkdf2", "-b", "f", "bob", "secret"], "bob", "secret"),
    (&["-I", "7", "-b", "f", "bob", "secret"], "bob", "secret"),
    (&["-b", "f", "bob", "-secret"], "bob", "-secret"),
    (&["-b", "f", "bob", "-c"], "bob", "-c"),
    (&["-b", "f", "-bob", "--help"], "-bob", "--help"),
    (&["-b", "f", "bob", " two  words "], "bob", " two  words "),
];

#[test]
fn batch_forms_set_the_password_that_was_given() {
    for (args, user, password) in SHARED {
        let place = Place::with(format!("old:{PBKDF2}\n"));
        let outcome = place.run_with(args, b"");
        assert_eq!(outcome.code, Some(0), "{args:?}: {outcome:?}");
        let file = place.dir().join(if args.contains(&"new") { "new" } else { "f" });
        assert!(accepts(&file, user, password.as_bytes()), "{args:?}");
        assert!(!accepts(&file, user, b"f") && !accepts(&file, user, user.as_bytes()));
    }
}

#[test]
fn mosquitto_passwd_means_the_same_by_them() {
    let Some(original) = program("mosquitto_passwd") else { return };
    for (args, user, password) in SHARED {
        let place = Place::with(format!("old:{PBKDF2}\n"));
        let outcome = finish(Command::new(&original).args(args).current_dir(place.dir()), b"");
        assert_eq!(outcome.code, Some(0), "{args:?}: {outcome:?}");
        let file = place.dir().join(if args.contains(&"new") { "new" } else { "f" });
        assert!(accepts(&file, user, password.as_bytes()), "{args:?}");
    }
}

#[test]
fn options_stand_anywhere() {
    for line in [
        "f -b bob secret",
        "f bob -b secret",
        "f bob secret -b",
        "f bob -H sha512 secret -b",
        "-b f bob secret -H sha512-pbkdf2",
        "f -b -I 5 bob secret",
        "-b -- f bob secret",
        "f -b -- bob secret",
    ] {
        let place = Place::with(format!("old:{PBKDF2}\n"));
        place.ok(line);
        assert!(place.accepts("bob", b"secret"), "{line}");
        assert!(place.text().starts_with(&format!("old:{PBKDF2}\nbob:$")), "{line}");
    }
}

#[test]
fn a_file_may_have_the_name_of_a_word() {
    for (name, path) in [("verify", "./verify"), ("list", "-- list"), ("check", "check")] {
        let place = Place::empty();
        place.ok(&format!("-c -b {path} bob secret"));
        assert!(accepts(&place.dir().join(name), "bob", b"secret"), "{path}");
        let verified =
            place.run_with(["verify", "--stdin", &format!("./{name}"), "bob"], b"secret");
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}

#[test]
fn adding_keeps_the_kind_that_the_broker_reads() {
    for (before, prefix) in [
        (format!("a:{PBKDF2}\n"), "$7$1000$"),
        (format!("a:{SHA512}\n"), "$6$"),
        (format!("a:{SHA512}\nb:{PBKDF2}\n"), "$7$1000$"),
        ("a:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\n".into(), "$argon2id$"),
    ] {
        let place = Place::with(before);
        let outcome = place.ok("-b f bob secret");
        assert!(place.text().contains(&format!("\nbob:{prefix}")), "{}", place.text());
        assert_eq!(outcome.stderr, "", "the kind is no news");
    }
}

#[test]
fn a_new_file_has_argon2id_and_says_so_in_one_line() {
    for before in [None, Some(""), Some("# only a comment\n")] {
        let place = before.map_or_else(Place::empty, Place::with);
        let outcome = place.ok("-c -b f bob secret");
        assert!(place.text().contains("bob:$argon2id$v=19$m=47104,t=1,p=1$"), "{}", place.text());
        let notes: Vec<_> = outcome.stderr.lines().filter(|line| line.contains("2.1")).collect();
        assert_eq!(notes.len(), 1, "{outcome:?}");
        assert!(notes[0].contains("-H sha512-pbkdf2"));
    }
    let asked = Place::empty().ok("-H argon2id -c -b f bob secret");
    assert_eq!(asked.stderr, "", "who asks for it knows");
}

#[test]
fn iterations_are_written_and_ask_for_pbkdf2() {
    let place = Place::empty();
    place.ok("-c -I 2500 -b f bob secret");
    assert!(place.text().starts_with("bob:$7$2500$"));
    place.ok("-b f eve secret");
    assert!(place.text().contains("eve:$7$1000$"));
    let outcome = place.ok("-H sha512 -I 5 -b f ann secret");
    assert!(outcome.stderr.contains("-I has no effect on sha512"), "{outcome:?}");
}

#[test]
fn create_replaces_a_password_file_and_says_what_goes() {
    let place = Place::with(format!("a:{PBKDF2}\nb:{PBKDF2}\n"));
    let outcome = place.ok("-c -b f bob secret -H sha512-pbkdf2");
    assert!(outcome.stderr.contains("held 2 users"), "{outcome:?}");
    assert_eq!(place.ok("list f").stdout, "bob\tsha512-pbkdf2\n");
}

#[test]
fn status_lines_are_those_of_mosquitto_passwd() {
    let place = Place::with(format!("a:{PBKDF2}\n"));
    assert_eq!(place.ok("-b f bob x").stdout, "Adding password for user bob\n");
    assert_eq!(place.ok("-b f bob y").stdout, "Updating password for user bob\n");
    assert_eq!(place.ok("-D f bob").stdout, "");
}

#[test]
fn standard_output_takes_the_entry_alone() {
    let place = Place::empty();
    let outcome = place.ok("-H sha512-pbkdf2 -b - bob secret");
    assert!(outcome.stdout.starts_with("bob:$7$1000$") && outcome.stdout.ends_with("==\n"));
    assert_eq!(outcome.stdout.lines().count(), 1);
    fs::write(place.file(), &outcome.stdout).unwrap();
    assert!(place.accepts("bob", b"secret"));
    assert!(place.ok("-b - bob secret").stderr.contains("brokers before 2.1"));
}

#[test]
fn deleting_takes_the_user_and_nobody_else() {
    let place = Place::with(format!("# c\nbob:{PBKDF2}\n\nbobby:{PBKDF2}\nbob:{SHA512}\n"));
    place.ok("-D f bob");
    assert_eq!(place.text(), format!("# c\n\nbobby:{PBKDF2}\n"));
    place.refused("-D f bob", "user 'bob' is not in 'f'");
}

#[test]
fn passwords_come_from_standard_input_and_files_byte_for_byte() {
    for (given, password) in [
        (&b"secret\n"[..], &b"secret"[..]),
        (b"secret\r\n", b"secret"),
        (b"se\ncret", b"se\ncret"),
        (b" \xff\0\xfe ", b" \xff\0\xfe "),
        (&[b'x'; 65_535], &[b'x'; 65_535]),
    ] {
        let place = Place::with(format!("a:{PBKDF2}\n"));
        let outcome = place.run_with(["f", "bob", "--stdin"], given);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(place.accepts("bob", password), "{}", given.escape_ascii());

        fs::write(place.dir().join("secret"), given).unwrap();
        place.ok("f eve --password-file secret");
        assert!(place.accepts("eve", password));
        assert_eq!(place.run("verify f eve --password-file secret").code, Some(0));
    }
}

#[test]
fn a_password_on_the_command_line_need_not_be_unicode() {
    let place = Place::with(format!("a:{PBKDF2}\n"));
    let password = OsStr::from_bytes(b"p\xff");
    let args = ["-b", "f", "bob"].map(OsStr::new).into_iter().chain([password]);
    assert_eq!(place.run_with(args, b"").code, Some(0));
    assert!(place.accepts("bob", b"p\xff"));
}

#[test]
fn an_empty_password_is_set_on_request_only() {
    let place = Place::with(format!("a:{PBKDF2}\n"));
    place.refused_with(["-b", "f", "bob", ""], "--allow-empty");
    let outcome = place.run_with(["-b", "--allow-empty", "f", "bob", ""], b"");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(place.accepts("bob", b""));
}

#[test]
fn verify_answers_by_its_exit_code() {
    let place = Place::empty();
    place.ok("-c -b f bob secret");
    let verify =
        |user, password: &[u8]| place.run_with(["verify", "f", user, "--stdin"], password).code;
    assert_eq!(verify("bob", b"secret\n"), Some(0));
    assert_eq!(verify("bob", b"wrong"), Some(1));
    assert_eq!(verify("bob", b""), Some(1));
    assert_eq!(verify("eve", b"secret"), Some(2));
}

#[test]
fn list_shows_users_and_kinds_and_no_hashes() {
    let place = Place::with(format!(
        "# c\nann:{SHA512}\nbob:{PBKDF2}\neve:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\n\
         joe:hunter2\nkim:$2y$10$abcdefghijklmnopqrstuv\n"
    ));
    assert_eq!(
        place.ok("list f").stdout,
        "ann\tsha512\nbob\tsha512-pbkdf2\neve\targon2id\njoe\tplain\nkim\tunknown\n"
    );
}

#[test]
fn check_names_every_line_and_who_rejects_it() {
    let place = Place::with(format!(
        "ann:{SHA512}\ngarbage\nbob:hunter2\nann:{PBKDF2}\n\
         eve:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\n"
    ));
    let outcome = place.run("check f");
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.stdout,
        "f:2: no ':' between a user name and a password; rejected by every broker\n\
         f:3: user 'bob': the password is in plain text; rejected by every broker\n\
         f:4: user 'ann': the user stands in line 1 already; rejected by brokers from 2.1 on\n\
         f:5: user 'eve': the hash is argon2id; rejected by brokers before 2.1 and by those built \
         without argon2\n"
    );
    let sound = Place::with(format!("ann:{SHA512}\nbob:{PBKDF2}\n"));
    assert_eq!(sound.ok("check f").stdout, "");
    let modern = Place::with("eve:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\n");
    assert!(modern.ok("check f").stdout.contains("before 2.1"));
}

#[test]
fn hashing_plain_text_skips_what_is_hashed() {
    let place = Place::with(format!("# c\nann:{SHA512}\njoe:hunter2\n\nbob:{PBKDF2}\nkim:-x\n"));
    let outcome = place.ok("-U f");
    assert!(outcome.stderr.contains("2 passwords hashed, 2 skipped"), "{outcome:?}");
    let text = place.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[3]), ("# c", ""));
    assert_eq!(lines[1], format!("ann:{SHA512}"));
    assert_eq!(lines[4], format!("bob:{PBKDF2}"));
    assert!(lines[2].starts_with("joe:$7$1000$") && place.accepts("joe", b"hunter2"));
    assert!(place.accepts("kim", b"-x"));

    let again = place.ok("f -U");
    assert!(again.stderr.contains("0 passwords hashed, 4 skipped"), "{again:?}");
    assert_eq!(place.text(), text);

    let plain = Place::with("joe:hunter2\n");
    plain.ok("-H sha512-pbkdf2 -I 77 -U f");
    assert!(plain.text().starts_with("joe:$7$77$"));
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::empty();
    assert!(place.ok("--help").stdout.contains("midge_passwd -D FILE USER"));
    assert!(place.ok("f --help").stdout.contains("midge_passwd -D FILE USER"));
    assert!(place.ok("verify --help").stdout.contains("verify"));
    let version = format!("midge_passwd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.ok("--version").stdout, version);
}

#[test]
fn a_reader_that_closes_standard_output_ends_the_tool_normally() {
    let place = Place::with(format!("a:{PBKDF2}\n"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(["list", "f"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}
