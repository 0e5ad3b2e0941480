//! The entries log in to a real broker that reads the file again while it runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::Broker;
use crate::tool::{Outcome, TOOL, finish};

const CONFIG: &str = "\
allow_anonymous false
password_file @DIR@/passwd
pid_file @DIR@/pid
";

/// A broker that knows nobody yet.
fn broker() -> Option<Broker> {
    Broker::with_files(CONFIG, &[("passwd", "# nobody yet\n")])
}

fn run(broker: &Broker, line: &str) -> Outcome {
    let mut command = std::process::Command::new(TOOL);
    command.args(line.split(' ')).current_dir(broker.dir());
    let outcome = finish(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{line}: {outcome:?}");
    outcome
}

/// Changes the file and waits until the broker has read it again.
fn change(broker: &Broker, line: &str) {
    const RELOADED: &str = "Reloading config.";
    let count = broker.log().matches(RELOADED).count();
    run(broker, &format!("{line} --reload pid"));
    broker.wait_for_log_count(RELOADED, count + 1);
}

/// The return code of CONNACK for an MQTT 3.1.1 CONNECT with these credentials.
fn connect(broker: &Broker, user: &str, password: &str) -> u8 {
    let field = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    };
    // Clean session, user name and password; keep alive 60 s.
    let head = [b"\x00\x04MQTT\x04\xc2\x00\x3c".as_slice(), &field(b"")].concat();
    let body = [head, field(user.as_bytes()), field(password.as_bytes())].concat();
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 0x80, "one byte of remaining length");
    let mut stream = TcpStream::connect(broker.address()).unwrap();
    stream.write_all(&[&[0x10, length], body.as_slice()].concat()).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[..3], [0x20, 2, 0]);
    connack[3]
}

const ACCEPTED: u8 = 0;
const NOT_AUTHORIZED: u8 = 5;

#[test]
fn entries_of_both_kinds_log_in_and_wrong_passwords_do_not() {
    let Some(broker) = broker() else { return };
    assert_eq!(connect(&broker, "ann", "apple"), NOT_AUTHORIZED);

    for (kind, user) in [("sha512", "ann"), ("sha512-pbkdf2", "bob")] {
        change(&broker, &format!("-H {kind} -b passwd {user} secret"));
        assert_eq!(connect(&broker, user, "secret"), ACCEPTED, "{kind}");
        assert_eq!(connect(&broker, user, "Secret"), NOT_AUTHORIZED, "{kind}");
        assert_eq!(connect(&broker, user, ""), NOT_AUTHORIZED, "{kind}");
    }

    change(&broker, "-b passwd ann other");
    assert_eq!(connect(&broker, "ann", "secret"), NOT_AUTHORIZED);
    assert_eq!(connect(&broker, "ann", "other"), ACCEPTED);

    change(&broker, "-D passwd bob");
    assert_eq!(connect(&broker, "bob", "secret"), NOT_AUTHORIZED);
    assert_eq!(connect(&broker, "ann", "other"), ACCEPTED);
}

#[test]
fn names_passwords_and_iterations_of_every_shape_log_in() {
    let Some(broker) = broker() else { return };
    let longest = "p".repeat(60);
    let users = [("-x", "-secret"), ("käthe", "pässwörd"), ("a b", "c d"), ("q", &longest)];
    for (user, password) in users {
        let mut command = std::process::Command::new(TOOL);
        command.args(["-H", "sha512-pbkdf2", "-I", "5000", "-b", "passwd", user, password]);
        assert_eq!(finish(command.current_dir(broker.dir()), b"").code, Some(0), "{user}");
    }
    change(&broker, "-H sha512 -b passwd last secret");
    for (user, password) in users {
        assert_eq!(connect(&broker, user, password), ACCEPTED, "{user}");
        assert_eq!(connect(&broker, user, "wrong"), NOT_AUTHORIZED, "{user}");
    }
}

#[test]
fn a_hashed_plain_text_file_logs_in() {
    let Some(broker) = broker() else { return };
    fs::write(broker.dir().join("passwd"), "ann:apple\n# c\nbob:pear\n").unwrap();
    change(&broker, "-H sha512-pbkdf2 -U passwd");
    change(&broker, "-b passwd eve fig");
    for (user, password) in [("ann", "apple"), ("bob", "pear"), ("eve", "fig")] {
        assert_eq!(connect(&broker, user, password), ACCEPTED, "{user}");
        assert_eq!(connect(&broker, user, "wrong"), NOT_AUTHORIZED, "{user}");
    }
}

#[test]
fn adding_a_user_locks_out_nobody() {
    let Some(broker) = broker() else { return };
    change(&broker, "-H sha512-pbkdf2 -b passwd ann apple");
    // No kind named: this broker, older than 2.1, could not read argon2id.
    change(&broker, "-b passwd bob pear");
    assert_eq!(connect(&broker, "ann", "apple"), ACCEPTED);
    assert_eq!(connect(&broker, "bob", "pear"), ACCEPTED);
}

#[test]
fn what_check_reports_is_what_the_broker_rejects() {
    let Some(broker) = broker() else { return };
    let long_salt = format!("{}==", "A".repeat(86));
    let text = format!(
        "long:$7$1000${long_salt}${long_salt}\nnew:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\nplain:x\n"
    );
    fs::write(broker.dir().join("passwd"), text).unwrap();
    let mut command = std::process::Command::new(TOOL);
    let checked = finish(command.args(["check", "passwd"]).current_dir(broker.dir()), b"");
    assert_eq!(checked.stdout.lines().count(), 3, "{checked:?}");
    change(&broker, "-H sha512-pbkdf2 -b passwd good secret");
    for user in ["long", "new", "plain"] {
        broker.wait_for_log(&format!("for user {user}, removing entry"));
    }
    assert_eq!(connect(&broker, "good", "secret"), ACCEPTED);
}
