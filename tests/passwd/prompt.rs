//! The prompt on a real terminal, below a shell with job control.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;

use expectrl::session::OsSession;
use expectrl::{Expect, Regex, Session};
use rustix::fs::OFlags;

use crate::tool::{PBKDF2, Place, TOOL, skip};

const PASSWORD: &str = "correct horse";

/// An interactive shell on a terminal of its own, in the directory of a password file.
struct Shell {
    session: OsSession,
    place: Place,
    /// All that the terminal has shown.
    shown: String,
}

impl Shell {
    fn new() -> Option<Self> {
        Self::with(&["bash", "--norc", "--noprofile", "--noediting", "-i"])
    }

    fn with(shell: &[&str]) -> Option<Self> {
        let place = Place::with(format!("ann:{PBKDF2}\n"));
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]);
        command.current_dir(place.dir()).env("PS1", "ready> ").env("TERM", "dumb");
        command.env("MIDGE", TOOL).env_remove("PROMPT_COMMAND");
        let Ok(mut session) = Session::spawn(command) else {
            skip(&format!("{} is not installed", shell[0]));
            return None;
        };
        session.set_expect_timeout(Some(Duration::from_secs(20)));
        let mut shell = Self { session, place, shown: String::new() };
        shell.expect("ready> ");
        // The terminal starts without echo, and all would be hidden anyway.
        shell.send("stty sane\n");
        shell.expect("ready> ");
        Some(shell)
    }

    /// Waits until the terminal shows `text`.
    fn expect(&mut self, text: &str) {
        let found = match self.session.expect(text) {
            Ok(found) => found,
            Err(error) => panic!("{text:?} did not come ({error}) after:\n{}", self.shown),
        };
        self.shown.push_str(&String::from_utf8_lossy(found.before()));
        self.shown.push_str(text);
    }

    /// Waits for `NAME=VALUE.` and returns the value.
    fn value(&mut self, name: &str) -> String {
        let found = self.session.expect(Regex(&format!("{name}=([0-9a-f:]+)\\."))).unwrap();
        self.shown.push_str(&String::from_utf8_lossy(found.before()));
        String::from_utf8(found.get(1).unwrap().to_vec()).unwrap()
    }

    fn send(&mut self, keys: impl AsRef<[u8]>) {
        self.session.send(keys.as_ref()).unwrap();
    }

    /// Types without a newline, and waits until the tool has read it all.
    fn type_halfway(&mut self, keys: &str, terminal: &File) {
        self.send(keys);
        while rustix::io::ioctl_fionread(terminal).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    /// The terminal as the tool sees it.
    fn terminal(&mut self) -> File {
        self.send("printf 'tty=%s.\\n' \"$(tty | tr -dc 0-9)\"\n");
        let number = self.value("tty");
        self.expect("ready> ");
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let path = format!("/dev/pts/{number}");
        OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap()
    }

    /// Starts the tool and waits for its first prompt.
    fn start(&mut self, args: &str) {
        self.send(format!("\"$MIDGE\" {args}\n"));
        self.expect("\nPassword: ");
    }

    fn type_twice(&mut self, first: &str, second: &str) {
        self.send(format!("{first}\n"));
        self.expect("Reenter password: ");
        self.send(format!("{second}\n"));
        self.expect("ready> ");
    }

    /// The exit code of the command before.
    fn code(&mut self) -> i32 {
        self.send("printf 'code=%d.\\n' $?\n");
        let code = self.value("code").parse().unwrap();
        self.expect("ready> ");
        code
    }

    /// All settings of the terminal, in one word.
    fn settings(&mut self) -> String {
        self.send("printf 'stty=%s.\\n' \"$(stty -g)\"\n");
        let settings = self.value("stty");
        self.expect("ready> ");
        settings
    }

    fn is_untouched(&self) -> bool {
        self.place.text() == format!("ann:{PBKDF2}\n") && self.place.names() == ["f"]
    }
}

#[test]
fn a_password_is_typed_twice_and_never_shown() {
    let Some(mut shell) = Shell::new() else { return };
    let before = shell.settings();
    shell.start("f bob");
    shell.type_twice(PASSWORD, PASSWORD);
    assert_eq!(shell.code(), 0);
    assert_eq!(shell.settings(), before);
    assert!(shell.place.accepts("bob", PASSWORD.as_bytes()));
    assert!(shell.shown.contains("Adding password for user bob"), "{}", shell.shown);
    assert!(!shell.shown.contains("horse"), "{}", shell.shown);
}

#[test]
fn passwords_that_differ_end_with_2() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("f bob");
    shell.type_twice(PASSWORD, "wrong horse");
    assert_eq!(shell.code(), 2);
    assert!(shell.shown.contains("the passwords do not match"));
    assert!(shell.is_untouched());
    assert!(!shell.shown.contains("horse"));
}

#[test]
fn an_empty_password_is_refused_at_once() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("f bob");
    shell.send("\n");
    shell.expect("ready> ");
    assert_eq!(shell.code(), 1);
    assert!(shell.shown.contains("the password is empty; --allow-empty accepts it"));
    assert!(shell.is_untouched());

    shell.start("--allow-empty f bob");
    shell.type_twice("", "");
    assert_eq!(shell.code(), 0);
    assert!(shell.place.accepts("bob", b""));
}

#[test]
fn interrupting_restores_the_terminal() {
    // ^C, ^\ and, on an empty line, ^D.
    for key in [b"\x03", b"\x1c", b"\x04"] {
        for at_second_prompt in [false, true] {
            let Some(mut shell) = Shell::new() else { return };
            let before = shell.settings();
            shell.start("f bob");
            if at_second_prompt {
                shell.send(format!("{PASSWORD}\n"));
                shell.expect("Reenter password: ");
            }
            if key != b"\x04" {
                shell.send("horse");
            }
            shell.send(key);
            shell.expect("nothing was changed");
            shell.expect("ready> ");
            assert_eq!(shell.code(), 1);
            assert_eq!(shell.settings(), before);
            assert!(shell.is_untouched());
            assert!(!shell.shown.contains("horse"), "{}", shell.shown);
        }
    }
}

#[test]
fn a_key_that_an_interrupt_throws_away_is_not_waited_for() {
    let runs = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !runs.is_ok_and(|output| output.status.success()) {
        return skip("strace is not installed or not allowed");
    }
    let Some(mut shell) = Shell::new() else { return };
    // Each read begins late: the key is announced, and ^C removes it before it is read.
    let slow = "strace -D -o /dev/null --inject=read:delay_enter=200000:when=6+";
    shell.send(format!("sh -c 'echo \"pid=$$.\"; exec {slow} \"$MIDGE\" f bob'\n"));
    let pid = shell.value("pid");
    shell.expect("Password: ");
    shell.send("h");
    // Held by strace at the begin of the read, not only for a moment.
    let is_held = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('t')
    };
    let mut held_count = 0;
    while held_count < 100 {
        held_count = if is_held() { held_count + 1 } else { 0 };
    }
    shell.send(b"\x03");
    shell.expect("nothing was changed");
    shell.expect("ready> ");
    assert_eq!(shell.code(), 1);
}

#[test]
fn signals_from_elsewhere_restore_the_terminal() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let Some(mut shell) = Shell::new() else { return };
        let before = shell.settings();
        shell.send("sh -c 'echo \"pid=$$.\"; exec \"$MIDGE\" f bob'\n");
        let pid = shell.value("pid");
        shell.expect("Password: ");
        shell.send("hor");
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(status.success());
        shell.expect("interrupted, nothing was changed");
        shell.expect("ready> ");
        assert_eq!(shell.code(), 1, "{signal}");
        assert_eq!(shell.settings(), before, "{signal}");
        assert!(shell.is_untouched());
    }
}

#[test]
fn stopping_gives_the_terminal_back_and_going_on_hides_again() {
    // bash restores the terminal itself when a job stops; dash takes it as it comes.
    for shell in [&["bash", "--norc", "--noprofile", "--noediting", "-i"][..], &["dash", "-i"]] {
        let Some(mut shell) = Shell::with(shell) else { continue };
        let before = shell.settings();
        let terminal = shell.terminal();
        shell.start("f bob");
        for _ in 0..3 {
            shell.type_halfway("horse half typed", &terminal);
            shell.send(b"\x1a");
            shell.expect("Stopped");
            shell.expect("ready> ");
            assert_eq!(shell.settings(), before);
            assert!(shell.is_untouched());
            shell.send("fg\n");
            shell.expect("Password: ");
        }
        // What was typed before ^Z is forgotten.
        shell.send(format!("{PASSWORD}\n"));
        shell.expect("Reenter password: ");
        shell.send(b"\x1a");
        shell.expect("Stopped");
        shell.expect("ready> ");
        shell.send("fg\n");
        shell.expect("Reenter password: ");
        shell.send(format!("{PASSWORD}\n"));
        shell.expect("ready> ");
        assert_eq!(shell.code(), 0);
        assert_eq!(shell.settings(), before);
        assert!(shell.place.accepts("bob", PASSWORD.as_bytes()));
        assert!(!shell.shown.contains("horse"), "{}", shell.shown);
    }
}

#[test]
fn a_stop_that_cannot_be_noticed_hides_again_too() {
    let Some(mut shell) = Shell::new() else { return };
    shell.send("sh -c 'echo \"pid=$$.\"; exec \"$MIDGE\" f bob'\n");
    let pid = shell.value("pid");
    shell.expect("Password: ");
    let status = Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    assert!(status.success());
    shell.expect("Stopped");
    shell.expect("ready> ");
    shell.send("stty echo icanon\n");
    shell.expect("ready> ");
    shell.send("fg\n");
    shell.expect("Password: ");
    shell.type_twice(PASSWORD, PASSWORD);
    assert_eq!(shell.code(), 0);
    assert!(!shell.shown.contains("horse"), "{}", shell.shown);
}

#[test]
fn the_line_can_be_edited() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("f bob");
    shell.send("wrong\x15correct horss\x7fe\r");
    shell.expect("Reenter password: ");
    shell.send("correct wrong\x17horse\n");
    shell.expect("ready> ");
    assert_eq!(shell.code(), 0);
    assert!(shell.place.accepts("bob", PASSWORD.as_bytes()));
}

#[test]
fn what_the_prompt_would_lose_is_refused() {
    // A tab, a C1 control character, and a byte of Latin-1.
    for (keys, why) in [
        (&b"horse\tsecret"[..], "control characters"),
        ("horse\u{85}secret".as_bytes(), "control characters"),
        (b"h\xf6rse", "only UTF-8"),
    ] {
        let Some(mut shell) = Shell::new() else { return };
        shell.start("f bob");
        shell.send([keys, b"\n"].concat());
        shell.expect(why);
        shell.expect("ready> ");
        assert_eq!(shell.code(), 1);
        assert!(shell.is_untouched());
    }
}

#[test]
fn a_password_may_be_longer_than_a_terminal_line() {
    let Some(mut shell) = Shell::new() else { return };
    let password = "0123456789abcdef".repeat(1_000);
    shell.start("f bob");
    for prompt in ["Reenter password: ", "ready> "] {
        // Terminals take 4096 bytes at a time.
        for chunk in password.as_bytes().chunks(1_000) {
            shell.send(chunk);
        }
        shell.send("\n");
        shell.expect(prompt);
    }
    assert_eq!(shell.code(), 0);
    assert!(shell.place.accepts("bob", password.as_bytes()));
}

#[test]
fn verify_asks_once() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("f bob");
    shell.type_twice(PASSWORD, PASSWORD);
    for (password, code) in [(PASSWORD, 0), ("wrong", 1), ("", 1)] {
        shell.start("verify f bob");
        shell.send(format!("{password}\n"));
        shell.expect("ready> ");
        assert_eq!(shell.code(), code);
    }
    shell.send("\"$MIDGE\" verify f nobody\n");
    shell.expect("'nobody' is not in 'f'");
    shell.expect("ready> ");
    assert_eq!(shell.code(), 2);
    assert!(!shell.shown.contains("horse"), "{}", shell.shown);
}

#[test]
fn the_prompt_stays_out_of_standard_output() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("-H sha512 - bob > out 2> err < /dev/null");
    shell.type_twice(PASSWORD, PASSWORD);
    assert_eq!(shell.code(), 0);
    let read = |name| std::fs::read_to_string(shell.place.dir().join(name)).unwrap();
    assert!(read("out").starts_with("bob:$6$") && read("out").lines().count() == 1);
    assert_eq!(read("err"), "");
}

#[test]
fn nobody_types_a_password_for_nothing() {
    let Some(mut shell) = Shell::new() else { return };
    for (args, why) in [("missing bob", "does not exist"), ("f a:b", "contains ':'")] {
        shell.send(format!("\"$MIDGE\" {args}\n"));
        shell.expect(why);
        shell.expect("ready> ");
    }
}

#[test]
fn other_edits_go_on_while_a_password_is_typed() {
    let Some(mut shell) = Shell::new() else { return };
    shell.start("f bob");
    shell.place.ok("-b f eve secret");
    shell.place.ok("-D f ann");
    shell.type_twice(PASSWORD, PASSWORD);
    assert_eq!(shell.code(), 0);
    assert_eq!(shell.place.ok("list f").stdout, "eve\tsha512-pbkdf2\nbob\tsha512-pbkdf2\n");
}
