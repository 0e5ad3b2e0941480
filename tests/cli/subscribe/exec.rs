//! --exec: commands, their acknowledgements, and their end.

use std::{
    fs,
    io::{BufRead, Write as _},
    path::Path,
    time::Instant,
};

use super::*;
use crate::{
    server::{Server, read_packet, read_to_close},
    subscribe::requests::receive_maximum,
};

/// The arguments for a shell script, with a directory as `$1`.
fn script<'a>(text: &'a str, dir: &'a Path) -> [&'a str; 6] {
    ["--exec", "sh", "-c", text, "sh", dir.to_str().unwrap()]
}

#[test]
fn a_command_gets_the_payload_and_the_rest_in_its_environment() {
    let Some(broker) = Broker::start() else { return };
    let payload = broker.dir().join("payload");
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    fs::write(&payload, &bytes).unwrap();
    // More than a pipe holds, read slowly at first.
    let text = "env | grep ^MIDGE_ | sort; cat >$1/received; wc -c <$1/received";
    let args = ["-V", "5", "-q", "2", "-t", "e/#", "-C", "1", "-W", "30"];
    let args = [&args[..], &script(text, broker.dir())].concat();
    let mut command = to(&broker, midge_sub());
    command.env("MIDGE_MID", "stale").env("MIDGE_CONTENT_TYPE", "stale");
    command.env("MIDGE_PASSWORD", "secret");
    let running = Running::start(command.args(args));
    broker.wait_for_log("Sending SUBACK to");
    let Some(mosquitto_pub) = program("mosquitto_pub") else { return };
    let publish =
        ["-V", "5", "-q", "2", "-t", "e/$(reboot) `x` ü", "-f", payload.to_str().unwrap()];
    let properties = [
        ["-D", "publish", "response-topic", "a/b"],
        ["-D", "publish", "correlation-data", "id 7"],
        ["-D", "publish", "payload-format-indicator", "0"],
        ["-D", "publish", "message-expiry-interval", "60"],
    ];
    let user = ["-D", "publish", "user-property", "LD_PRELOAD", "a \"b\""];
    run(to(&broker, Command::new(mosquitto_pub))
        .args(publish)
        .args(properties.concat())
        .args(user))
    .success();
    let printed = running.wait().success().stdout();
    assert_eq!(
        printed,
        "MIDGE_CORRELATION_DATA=id 7\n\
         MIDGE_CORRELATION_DATA_BASE64=aWQgNw==\n\
         MIDGE_DUP=0\n\
         MIDGE_MESSAGE_EXPIRY_INTERVAL=60\n\
         MIDGE_MID=1\n\
         MIDGE_PAYLOADLEN=1000000\n\
         MIDGE_PAYLOAD_FORMAT_INDICATOR=0\n\
         MIDGE_QOS=2\n\
         MIDGE_RESPONSE_TOPIC=a/b\n\
         MIDGE_RETAIN=0\n\
         MIDGE_TOPIC=e/$(reboot) `x` ü\n\
         MIDGE_USER_PROPERTIES=[{\"LD_PRELOAD\":\"a \\\"b\\\"\"}]\n\
         1000000\n"
    );
    assert!(fs::read(broker.dir().join("received")).unwrap() == bytes);
}

#[test]
fn everything_behind_exec_is_the_command() {
    let Some(broker) = Broker::start() else { return };
    retain(&broker, &["x"]);
    let args = ["-t", "x", "-C", "1", "-W", "30", "--exec", "printf", "%s|", "-t", "--", "-C", ""];
    assert_eq!(subscribe(&broker, &args).success().stdout(), "-t|--|-C||");
    let args = ["-t", "x", "-W", "30", "--exec=cat", "-C", "1"];
    assert_eq!(subscribe(&broker, &args).success().stdout(), "x");
}

#[test]
fn a_command_need_not_read() {
    let Some(broker) = Broker::start() else { return };
    let payload = broker.dir().join("payload");
    fs::write(&payload, vec![b'x'; 1_000_000]).unwrap();
    publish(&broker, &["-r", "-t", "x", "-f", payload.to_str().unwrap()]);
    // Its child has its standard input open when it has ended.
    let args = ["-t", "x", "-q", "1", "-C", "1", "-W", "30", "--exec", "sh", "-c"];
    let args = [&args[..], &["sleep 50 <&0 >&- 2>&- &"]].concat();
    let begin = Instant::now();
    let running = Running::start_unread(to(&broker, midge_sub()).args(args));
    assert_eq!(running.wait().code, Some(0));
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn a_message_whose_command_fails_stays_in_the_session() {
    let Some(broker) = Broker::start() else { return };
    for version in ["311", "5"] {
        let session = ["-V", version, "-i", version, "-c", "-q", "1", "-t", "work"];
        let subscribe = |args: &[&str]| subscribe(&broker, &[&session[..], args].concat());
        subscribe(&["-E"]).success();
        publish_lines(&broker, "work", "1\n2\n3\n");
        let text = "read -r line; echo $line; test $line != 2";
        let outcome = subscribe(&["-W", "30", "--exec", "sh", "-c", text]);
        outcome.said(123, "sh, run for a message on \"work\", ended with exit status: 1");
        assert_eq!(outcome.stdout(), "1\n2\n");
        // The first was acknowledged, the one that failed was not, nor the one behind it.
        let outcome = subscribe(&["-C", "2", "-W", "30", "-F", "%p"]);
        assert_eq!(outcome.success().stdout(), "2\n3\n", "{version}");
    }
}

#[test]
fn a_failure_can_be_refused_or_ignored() {
    let Some(broker) = Broker::start() else { return };
    for what in ["reject", "ack"] {
        let session = ["-V", "5", "-i", what, "-c", "-q", "2", "-t", "work"];
        let subscribe = |args: &[&str]| subscribe(&broker, &[&session[..], args].concat());
        subscribe(&["-E"]).success();
        publish(&broker, &["-q", "2", "-t", "work", "-m", "1"]);
        publish(&broker, &["-q", "2", "-t", "work", "-m", "2"]);
        let text = "read -r line; echo $line; test $line != 1";
        let args = ["-C", "2", "-W", "30", "--on-failure", what, "--exec", "sh", "-c", text];
        let outcome = subscribe(&args);
        outcome.said(123, "sh, run for a message on \"work\", ended with exit status: 1");
        assert_eq!(outcome.stdout(), "1\n2\n");
        subscribe(&["-W", "1"]).said(27, "timed out");
    }
}

#[test]
fn a_refused_message_has_a_reason() {
    let server = |mut stream: std::net::TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        read_packet(&mut stream);
        stream.write_all(b"\x90\x04\0\x01\0\x01").unwrap();
        stream.write_all(b"\x32\x07\0\x01a\0\x05\0x").unwrap();
        assert_eq!(read_packet(&mut stream), b"\x40\x03\0\x05\x83");
        read_to_close(stream);
    };
    let args = ["-V", "5", "-t", "a", "-q", "1", "-C", "1", "--on-failure", "reject"];
    let args = [&args[..], &["--exec", "false"]].concat();
    Server::new(server).against(midge_sub(), &args).said(123, "false, run for a message on \"a\"");
}

#[test]
fn commands_run_side_by_side_and_are_acknowledged_in_order() {
    let Some(broker) = Broker::start() else { return };
    // Each of the first three waits until all of them run.
    let text = "read -r n; touch $1/$n; \
                until test -e $1/1 -a -e $1/2 -a -e $1/3; do sleep 0.01; done; echo $n";
    let args = ["-d", "-t", "jobs", "-q", "1", "-C", "6", "-W", "30", "--jobs", "3"];
    let running = subscriber(&broker, 1, &[&args[..], &script(text, broker.dir())].concat());
    publish_lines(&broker, "jobs", "1\n2\n3\n4\n5\n6\n");
    let printed = running.wait().success().stdout();
    let mut numbers: Vec<&str> = printed.lines().filter(|line| line.len() == 1).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"]);
    let acknowledged: Vec<String> = printed
        .lines()
        .filter_map(|line| line.split_once("sending PUBACK (m"))
        .map(|(_, rest)| rest.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(acknowledged, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn no_more_messages_are_held_than_commands_run() {
    let maximum = |args: &[&str]| receive_maximum(&[args, &["--exec", "true"]].concat());
    assert_eq!(maximum(&[]), 1);
    assert_eq!(maximum(&["--jobs", "7"]), 7);
    assert_eq!(maximum(&["--jobs", "7", "-C", "3"]), 3);
    assert_eq!(maximum(&["--jobs", "7", "-D", "connect", "receive-maximum", "9"]), 9);
}

#[test]
fn a_signal_lets_commands_finish() {
    let Some(broker) = Broker::start() else { return };
    let gate = broker.dir().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let text = "read -r n; echo begin $n; read -r line <$1/gate; echo end $n";
    let session = ["-i", "signal", "-c", "-q", "1", "-t", "work"];
    for signal in ["-TERM", "-INT"] {
        let args = [&session[..], &script(text, broker.dir())].concat();
        let subacks = broker.log().matches("Sending SUBACK to").count();
        // Errors go to standard output, where they can be waited for.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" 2>&1", env!("CARGO_BIN_EXE_midge_sub")]);
        let mut running = Running::start_unread(to(&broker, shell).args(args));
        broker.wait_for_log_count("Sending SUBACK to", subacks + 1);
        publish_lines(&broker, "work", "1\n2\n");
        let mut stdout = running.stdout();
        let mut next = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        };
        assert_eq!(next(), "begin 1\n");
        running.signal(signal);
        let told = "midge_sub: waiting for a command to end; a second signal ends it\n";
        assert_eq!(next(), told);
        // The command goes on, and its message is acknowledged; the next one is not begun.
        fs::write(&gate, "go\n").unwrap();
        running.collect(stdout);
        assert_eq!(running.wait().success().stdout(), "end 1\n");
        let rest = subscribe(&broker, &[&session[..], &["-C", "1", "-W", "30"]].concat());
        assert_eq!(rest.success().stdout(), "2\n");
    }
}

#[test]
fn a_second_signal_and_the_time_limit_end_commands() {
    let Some(broker) = Broker::start() else { return };
    let text = "trap 'echo told; exit' TERM; echo begin; while :; do sleep 0.05; done";
    for (args, code) in [(&[][..], 0), (&["-W", "2"], 27)] {
        let args = [&["-t", "work", "-q", "1"], args, &script(text, broker.dir())].concat();
        let subacks = broker.log().matches("Sending SUBACK to").count();
        let mut running = Running::start_unread(to(&broker, midge_sub()).args(args));
        broker.wait_for_log_count("Sending SUBACK to", subacks + 1);
        publish(&broker, &["-t", "work", "-m", "x"]);
        let mut stdout = running.stdout();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "begin\n");
        if code == 0 {
            running.signal("-INT");
            running.signal("-TERM");
        }
        running.collect(stdout);
        let outcome = running.wait();
        assert_eq!((outcome.code, outcome.stdout().as_str()), (Some(code), "told\n"));
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |args: &[&str], text: &str| {
        run(midge_sub().args(["-t", "a"]).args(args)).said(1, text);
    };
    refused(&["--exec"], "a value is required for '--exec <COMMAND>...'");
    refused(&["--exec", "no-such-program"], "--exec no-such-program: there is no such program");
    refused(&["--exec", "/etc/passwd"], "--exec /etc/passwd: there is no such program");
    refused(&["--exec", ""], "there is no such program");
    refused(&["--jobs", "2"], "--exec");
    refused(&["--jobs", "0", "--exec", "true"], "--jobs");
    refused(&["--on-failure", "ack"], "--exec");
    refused(&["--on-failure", "reject", "--exec", "true"], "--on-failure reject is for MQTT 5");
    refused(&["--output", ".", "--exec", "true"], "cannot be used with");
    refused(&["--output", "/no/such"], "--output /no/such: there is no such directory");
    refused(&["--rotate", "1k"], "--output");
    refused(&["--output", ".", "--rotate", "1x"], "must be a number of bytes");
}

#[test]
fn a_broker_restart_in_the_middle_loses_no_message() {
    let config = "allow_anonymous true\npersistence true\npersistence_location @DIR@/\n\
                  max_queued_messages 0\n";
    let Some(mut broker) = Broker::with_config(config) else { return };
    let session = ["-i", "worker", "-c", "-q", "1", "-t", "job"];
    subscribe(&broker, &[&session[..], &["-E"]].concat()).success();
    let lines: String = (0..60).map(|number| format!("{number}\n")).collect();
    publish_lines(&broker, "job", &format!("{lines}end\n"));
    // The last message ends midge_sub as an operator would.
    let text = "read -r n; if test $n = end; then kill $PPID; else echo $n; fi";
    let args = [&session[..], &["--jobs", "2"], &script(text, broker.dir())].concat();
    let mut running = Running::start_unread(to(&broker, midge_sub()).args(args));
    let mut stdout = running.stdout();
    let mut printed = String::new();
    while !printed.contains("20\n") {
        assert!(stdout.read_line(&mut printed).unwrap() > 0);
    }
    broker.stop();
    broker.start_again();
    running.collect(stdout);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    printed.push_str(&outcome.stdout());
    for line in lines.lines() {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in {printed}");
    }
}

#[test]
fn what_waits_for_its_command_is_held_back_and_not_lost() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_queued_messages 0\n") else {
        return;
    };
    // More than are held, of QoS 0, before the first command ends.
    let gate = broker.dir().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let text = "read -r n; if test $n = 0; then read -r line <$1/gate; fi; echo $n";
    let args = ["-t", "flood", "-C", "1500", "-W", "50", "--jobs", "2"];
    let running = subscriber(&broker, 1, &[&args[..], &script(text, broker.dir())].concat());
    let lines: String = (0..1500).map(|number| format!("{number}\n")).collect();
    publish_lines(&broker, "flood", &lines);
    fs::write(&gate, "go\n").unwrap();
    let printed = running.wait().success().stdout();
    let mut numbers: Vec<u32> = printed.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..1500), "{} lines", numbers.len());
}
