//! midge_pub: what arrives, and how it ends.

use std::{io::Write, net::TcpStream, process::Command};

use crate::{
    run::{Outcome, midge_pub, run_with},
    server::{Server, read_packet},
    support::{Broker, broker::program},
    watcher::{Watcher, line},
};

fn publish(broker: &Broker, args: &[&str], input: &[u8]) -> Outcome {
    run_with(to(midge_pub(), broker).args(args), input)
}

fn to(mut command: Command, broker: &Broker) -> Command {
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string()]);
    command
}

/// The same command line does the same in both tools.
#[test]
fn what_mosquitto_pub_publishes_midge_pub_publishes_too() {
    let (Some(broker), Some(mosquitto_pub)) = (Broker::start(), program("mosquitto_pub")) else {
        return;
    };
    let file = broker.dir().join("payload");
    std::fs::write(&file, b"\0\xff file\n").unwrap();
    let (file, empty) = (file.to_str().unwrap(), broker.dir().join("empty"));
    std::fs::write(&empty, b"").unwrap();
    let empty = empty.to_str().unwrap();
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let cases: [(&str, &[u8]); 22] = [
        ("-t a -m text", b""),
        ("--topic a --message text --qos 1 --retain", b""),
        ("-t a -m -5", b""),
        ("-t a -m --", b""),
        ("-t a -n", b""),
        ("-t a --null-message -r -q 2", b""),
        (&format!("-t a -f {file} -q 1"), b""),
        (&format!("-t a --file {empty} -q 1"), b""),
        ("-t a -s -q 2", b"all\nof it"),
        ("-t a --stdin-file", b"x"),
        ("-t a -l", b"one\ntwo\n"),
        ("-t a --stdin-line -q 1", b"one\n\n\r\nlast"),
        ("-t a -l -q 2 -r", b"1\n2\n3\n"),
        ("-t a -l --repeat 3 -q 1", b"once\n"),
        ("-t a -l -q 1", b""),
        ("-t a -m again --repeat 3 --repeat-delay 0.01", b""),
        ("-t a -m again --repeat 2 -q 2 -M 1", b""),
        ("-t a -m x -V mqttv31 -q 1", b""),
        ("-t a -m x -V 5 -q 1 -i me", b""),
        ("-t a -m x -I me -c -i b", b""),
        ("-t a/+ -m x", b""),
        ("-t a -m x -n", b""),
    ];
    for (args, input) in cases {
        let args: Vec<_> = args.split(' ').collect();
        let mut original = to(Command::new(&mosquitto_pub), &broker);
        let original = run_with(original.args(&args), input);
        let theirs = watcher.arrived();
        let ours = publish(&broker, &args, input);
        assert_eq!(watcher.arrived(), theirs, "{args:?}");
        assert_eq!((ours.code, &ours.stdout), (original.code, &original.stdout), "{args:?}");
        assert_eq!(ours.stderr.is_empty(), original.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_message_goes_to_every_topic() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let topics = ["-t", "a", "-t", "b/c", "-t", "d"];
    for qos in 0..=2 {
        let qos_args = ["-q", &qos.to_string()];
        let args = [&topics[..], &qos_args, &["-m", "x", "--repeat", "2"]].concat();
        publish(&broker, &args, b"").success();
        let round = ["a", "b/c", "d"].map(|topic| line(topic, qos, 0, "x"));
        assert_eq!(watcher.arrived(), [round.clone(), round].concat());

        publish(&broker, &[&topics[..], &qos_args, &["-l", "-r"]].concat(), b"1\n2\n").success();
        let line = |payload| ["a", "b/c", "d"].map(|topic| line(topic, qos, 1, payload));
        assert_eq!(watcher.arrived(), [line("1"), line("2")].concat());
    }
}

#[test]
fn a_topic_alias_stands_for_the_topic_from_the_second_message_on() {
    let outcome = Server::new(|mut stream: TcpStream| {
        read_packet(&mut stream);
        // Topic Alias Maximum: 10.
        stream.write_all(b"\x20\x06\0\0\x03\x22\0\x0a").unwrap();
        for expected in
            [b"\x32\x0e\0\x05a/b/c\0\x01\x03\x23\0\x01x", &b"\x32\x09\0\0\0\x02\x03\x23\0\x01x"[..]]
        {
            let publish = read_packet(&mut stream);
            assert_eq!(publish, expected);
            let id = publish.len() - 5;
            stream.write_all(&[&[0x40, 2], &publish[id - 2..id]].concat()).unwrap();
        }
        assert_eq!(read_packet(&mut stream)[0], 0xe0);
    })
    .against(
        midge_pub(),
        &[
            &["-t", "a/b/c", "-q", "1", "-m", "x", "--repeat", "2"],
            &["-D", "publish", "topic-alias", "7"][..],
        ]
        .concat(),
    );
    outcome.success();
}

#[test]
fn a_line_can_begin_with_its_topic() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let args = ["-l", "--topic-separator", " = ", "-q", "1"];
    publish(&broker, &args, b"a/b = 1\nc =  = 2 \nd = \n").success();
    let expected = [line("a/b", 1, 0, "1"), line("c", 1, 0, " = 2 "), line("d", 1, 0, "")];
    // `c =  = 2 ` has a topic that ends before the first separator.
    assert_eq!(watcher.arrived()[0], expected[0]);

    // What has no topic goes to -t, if there is one.
    let input = b"a = 1\nnone\n+ = 2\n\xff = 3\n = 4\nb = 5";
    publish(&broker, &[&args[..], &["-t", "x", "-t", "y"]].concat(), input);
    let expected = [
        line("a", 1, 0, "1"),
        line("x", 1, 0, "none"),
        line("y", 1, 0, "none"),
        line("b", 1, 0, "5"),
    ];
    assert_eq!(watcher.arrived(), expected);

    let outcome = publish(&broker, &args, input);
    let said: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!((outcome.code, said.len()), (Some(1), 5), "{outcome:?}");
    let starts = [
        "midge_pub: line 2: the line has no separator, so no topic: add -t TOPIC for such lines",
        "midge_pub: line 3: \"+\" is not a topic to publish to: ",
        "midge_pub: line 4: the topic is not UTF-8: ",
        "midge_pub: line 5: \"\" is not a topic to publish to: ",
        "midge_pub: 4 of 6 lines read were not published",
    ];
    for (said, start) in said.iter().zip(starts) {
        assert!(said.starts_with(start), "{said}");
    }
    assert_eq!(watcher.arrived(), [line("a", 1, 0, "1"), line("b", 1, 0, "5")]);
}

#[test]
fn topics_are_made_from_a_template() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let template = ["--topic-template", "x/{client}/{topic}/{n}"];
    let client = ["-i", "me", "-q", "1"];
    let args = [&template[..], &client, &["-l", "-t", "a", "-t", "b"]].concat();
    publish(&broker, &args, b"1\n2\n").success();
    let expected = [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
        .map(|(topic, n)| line(&format!("x/me/{topic}/{n}"), 1, 0, n.to_string()));
    assert_eq!(watcher.arrived(), expected);

    let args = [&template[..], &client, &["-l", "--topic-separator", " "]].concat();
    publish(&broker, &args, b"c 1\nd 2\n").success();
    assert_eq!(watcher.arrived(), [line("x/me/c/1", 1, 0, "1"), line("x/me/d/2", 1, 0, "2")]);

    let args = ["--topic-template", "{{{n}}}", "-n", "--repeat", "2", "-q", "1"];
    publish(&broker, &args, b"").success();
    assert_eq!(watcher.arrived(), [line("{1}", 1, 0, ""), line("{2}", 1, 0, "")]);

    let outcome = publish(&broker, &["--topic-template", "a#/{n}", "-m", "x"], b"");
    outcome.said(1, "--topic-template makes \"a#/1\", which is not a topic to publish to");
}

#[test]
fn payloads_can_be_written_as_hex_or_base64() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut watcher) = Watcher::start(&broker) else { return };
    let file = broker.dir().join("hex");
    std::fs::write(&file, "00ff\n0a\n").unwrap();
    let file = file.to_str().unwrap();
    for (args, input, payload) in [
        (["--decode", "hex", "-m", "00:FF:0a"], "", b"\0\xff\n"),
        (["--decode", "hex", "-f", file], "", b"\0\xff\n"),
        (["--decode=base64", "-s", "-q", "0"], "AP\n8K\n", b"\0\xff\n"),
    ] {
        publish(&broker, &[&args[..], &["-t", "a", "-q", "1"]].concat(), input.as_bytes())
            .success();
        assert_eq!(watcher.arrived(), [line("a", 1, 0, payload)], "{args:?}");
    }
    let args = ["-t", "a", "-q", "1", "-l", "--decode", "hex"];
    let outcome = publish(&broker, &args, b"00\n\n0\r\nzz\nff\r\n");
    let told = "midge_pub: line 4: the payload is not hex: not a hexadecimal digit at byte 0: 'z'";
    assert!(outcome.stderr.contains(told), "{outcome:?}");
    assert!(outcome.stderr.contains("line 3: the payload is not hex"), "{outcome:?}");
    assert!(outcome.stderr.ends_with("2 of 5 lines read were not published\n"), "{outcome:?}");
    let expected = ["\0".as_bytes(), b"", b"\xff"].map(|payload| line("a", 1, 0, payload));
    assert_eq!((outcome.code, watcher.arrived()), (Some(1), expected.to_vec()));
    publish(&broker, &["-t", "a", "-m", "z", "--decode", "base64"], b"")
        .said(1, "the payload is not base64");
}

#[test]
fn a_refusal_is_told_for_the_first_lines_only() {
    let (config, acl) = ("allow_anonymous true\nacl_file @DIR@/acl\n", "topic read #\n");
    let Some(broker) = Broker::with_files(config, &[("acl", acl)]) else { return };
    let lines: String = (1..=25).map(|n| format!("{n}\n")).collect();
    let args = ["-V", "5", "-t", "a", "-q", "1", "-l"];
    let outcome = publish(&broker, &args, lines.as_bytes());
    let told: Vec<_> = outcome.stderr.lines().collect();
    let refused = "the broker refused the message: Not authorized (0x87)";
    assert_eq!(told.len(), 12, "{outcome:?}");
    for (at, told) in told[..10].iter().enumerate() {
        assert_eq!(*told, format!("midge_pub: line {}: {refused}", at + 1));
    }
    assert_eq!(told[10], "midge_pub: more lines failed; they are only counted");
    assert_eq!(told[11], "midge_pub: 25 of 25 lines read were not confirmed");
    assert_eq!(outcome.code, Some(135));
    let outcome = publish(&broker, &[&args[..], &["--quiet"]].concat(), lines.as_bytes());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(135), ""));
}
