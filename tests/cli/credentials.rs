//! Passwords that are not on the command line.

use std::{fs, process::Command, time::Duration};

use expectrl::{Expect, Session, process::unix::WaitStatus};

use crate::{
    run::{Outcome, midge_pub, midge_rr, midge_sub, run},
    support::{Broker, broker::program},
};

/// A broker that knows ann, whose password is `correct horse`.
fn broker() -> Option<Broker> {
    let passwd = program("mosquitto_passwd")?;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let create = ["-b", "-c", file.to_str().unwrap(), "ann", "correct horse"];
    run(Command::new(passwd).args(create)).success();
    let passwords = fs::read_to_string(file).unwrap();
    let config = "allow_anonymous false\npassword_file @DIR@/passwords\n";
    Broker::with_files(config, &[("passwords", &passwords)])
}

/// The command line of a tool that ends by itself.
fn tools(broker: &Broker) -> [Command; 3] {
    let mut tools = [midge_pub(), midge_sub(), midge_rr()];
    for tool in &mut tools {
        tool.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-V", "5", "-u", "ann"]);
    }
    tools[0].args(["-t", "a", "-n"]);
    tools[1].args(["-t", "a", "-E"]);
    tools[2].args(["-t", "a", "-e", "a", "-n"]);
    tools
}

/// Whether the broker let it in.
fn entered(outcome: &Outcome) -> bool {
    assert!(!outcome.stderr.contains("horse"), "{outcome:?}");
    assert!([Some(0), Some(135)].contains(&outcome.code), "{outcome:?}");
    outcome.code == Some(0)
}

#[test]
fn a_password_comes_from_a_file_or_the_environment() {
    let Some(broker) = broker() else { return };
    let right = broker.dir().join("right");
    let wrong = broker.dir().join("wrong");
    fs::write(&right, "correct horse\n").unwrap();
    fs::write(&wrong, "wrong horse").unwrap();
    for at in 0..3 {
        let with = |variable: Option<&str>, args: &[&str]| {
            let mut tools = tools(&broker);
            let tool = &mut tools[at];
            if let Some(value) = variable {
                tool.env("MIDGE_PASSWORD", value);
            }
            entered(&run(tool.args(args)))
        };
        let (right, wrong) = (right.to_str().unwrap(), wrong.to_str().unwrap());
        assert!(with(None, &["--pw-file", right]));
        assert!(!with(None, &["--pw-file", wrong]));
        assert!(with(Some("correct horse"), &[]));
        assert!(!with(Some("wrong horse"), &[]));
        assert!(!with(Some(""), &[]));
        // What is on the command line comes first.
        assert!(with(Some("wrong horse"), &["--pw-file", right]));
        assert!(!with(Some("correct horse"), &["-P", "wrong horse"]));
    }
}

#[test]
fn the_environment_says_nothing_without_a_user_name() {
    let Some(broker) = Broker::start() else { return };
    let url = format!("{}/a", broker.url());
    run(midge_pub().env("MIDGE_PASSWORD", "x").args(["-L", &url, "-n"])).success();
    let log = broker.log();
    assert!(!log.contains(", u'"), "{log}");
}

#[test]
fn a_password_is_never_shown() {
    let Some(broker) = broker() else { return };
    let file = broker.dir().join("secret");
    fs::write(&file, "correct horse\n").unwrap();
    let file = file.to_str().unwrap();
    for mut tool in tools(&broker) {
        let outcome = run(tool.args(["-d", "--pw-file", file]));
        assert!(outcome.stdout().contains("received CONNACK (0)"), "{outcome:?}");
        assert!(!outcome.stdout().contains("horse") && entered(&outcome));
    }
    let outcome = run(midge_pub().args(["-t", "a", "-n", "-u", "ann", "--pw-file", "/"]));
    outcome.said(1, "--pw-file: cannot read /: Is a directory");
}

#[test]
fn a_password_is_asked_for_on_the_terminal() {
    let Some(broker) = broker() else { return };
    for mut tool in tools(&broker) {
        tool.arg("--pw-prompt");
        let mut session = Session::spawn(tool).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(20)));
        session.expect("Password: ").unwrap();
        session.send("correct horse\n").unwrap();
        let rest = session.expect(expectrl::Eof).unwrap();
        let shown = String::from_utf8_lossy(rest.as_bytes()).into_owned();
        assert!(shown.starts_with("\r\n"), "the end of the line that was typed: {shown:?}");
        assert!(!shown.contains("horse") && !shown.contains("refused"), "{shown:?}");
    }
    let log = broker.log();
    assert_eq!(log.matches("u'ann'").count(), 3, "{log}");
}

#[test]
fn a_signal_at_the_prompt_ends_a_tool_as_elsewhere() {
    let Some(broker) = broker() else { return };
    for (is_key, codes) in [(true, [130, 255, 130]), (false, [143, 255, 143])] {
        for (mut tool, code) in tools(&broker).into_iter().zip(codes) {
            let mut session = Session::spawn({
                tool.arg("--pw-prompt");
                tool
            })
            .unwrap();
            session.set_expect_timeout(Some(Duration::from_secs(20)));
            session.expect("Password: ").unwrap();
            if is_key {
                session.send("\x03").unwrap();
            } else {
                let process = session.get_process().pid().to_string();
                assert!(Command::new("kill").arg(process).status().unwrap().success());
            }
            session.expect(expectrl::Eof).unwrap();
            let status = session.get_process().wait().unwrap();
            assert!(
                matches!(status, WaitStatus::Exited(_, exited) if exited == code),
                "{status:?} in place of {code}"
            );
        }
    }
}

#[test]
fn without_a_terminal_the_prompt_says_what_else_there_is() {
    // No process without a terminal of its own has one: the test may be run on one.
    let Some(setsid) = program("setsid") else { return };
    let mut tool = Command::new(setsid);
    tool.arg("--wait").arg(midge_pub().get_program()).env("XDG_CONFIG_HOME", "/nonexistent");
    let outcome = run(tool.args(["-t", "a", "-n", "-u", "ann", "--pw-prompt"]));
    outcome.said(1, "no terminal to ask for the password on; use --pw-file or MIDGE_PASSWORD");
}

#[test]
fn the_clients_of_a_load_share_a_password() {
    let Some(broker) = broker() else { return };
    let file = broker.dir().join("secret");
    fs::write(&file, "correct horse\n").unwrap();
    let url = format!("mqtt-tcp://ann@{}", broker.address());
    let load = |variable: &str, args: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_midge_conn"));
        tool.env("MIDGE_PASSWORD", variable);
        tool.args(["start", "--url", &url, "-C", "2", "-i", "0", "--hold", "0s", "--quiet"]);
        run(tool.args(args)).code
    };
    assert_eq!(load("", &["--pw-file", file.to_str().unwrap()]), Some(0));
    assert_eq!(load("correct horse", &[]), Some(0));
    assert_ne!(load("correct horse", &["-p", "wrong horse"]), Some(0));
    assert_ne!(load("", &[]), Some(0));
    assert_eq!(load("", &["-p", "x", "--pw-prompt"]), Some(2));
}
