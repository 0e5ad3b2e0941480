//! The same command lines given to mosquitto_sub and to midge_sub: the same output, the same exit
//! code.

use std::io::Write as _;

use super::*;
use crate::server::{Server, read_packet, read_to_close};

/// Retained messages of every kind, the last of which is on `r/z`.
fn broker() -> Option<Broker> {
    let broker = Broker::start()?;
    let file = broker.dir().join("payload");
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    std::fs::write(&file, bytes).unwrap();
    publish(&broker, &["-r", "-t", "big", "-f", file.to_str().unwrap()]);
    for (topic, payload) in
        [("r/a", "text"), ("r/ü", "grüße\r\n\ttab"), ("r/a/b", "-5"), ("r/json", "{\"a\": [1, 2]}")]
    {
        publish(&broker, &["-r", "-q", "2", "-t", topic, "-m", payload]);
    }
    publish(&broker, &["-r", "-q", "2", "-t", "r/z", "-m", "z"]);
    Some(broker)
}

#[test]
fn retained_messages_are_printed_the_same() {
    let Some(broker) = broker() else { return };
    let url = format!("mqtt://127.0.0.1:{}/r/a", broker.port());
    let lines: &[&[&str]] = &[
        &["-t", "r/a", "-C", "1"],
        &["-t", "r/a", "-C", "1", "-v"],
        &["-t", "r/a", "-C", "1", "-N"],
        &["-t", "r/a", "-C", "1", "-v", "-N"],
        &["-t", "r/a", "-C", "1", "-q", "2"],
        &["-t", "r/#", "-C", "5", "-v"],
        &["-t", "r/#", "-C", "5", "-v", "-q", "1", "-V", "mqttv31"],
        &["-t", "r/#", "-C", "5", "-v", "-q", "2", "-V", "mqttv5"],
        &["-t", "r/+", "-t", "r/a/b", "-C", "5", "-v"],
        &["-t", "r/#", "-T", "r/a", "-C", "4", "-v"],
        &["-t", "r/#", "-T", "r/+", "-C", "1", "-v"],
        &["-L", &url, "-C", "1"],
        &["-L", &url, "-t", "r/z", "-C", "2", "-v"],
        &["-t", "r/a", "-C", "1", "-F", "%t|%p|%x|%X|%l|%m|%q|%r"],
        &["-t", "r/a", "-C", "1", "-F", "%10t|%-10t|%.2t|%-10.2t|%06l|%-6l|%3p|%6p|%-6p|%06p"],
        &["-t", "r/ü", "-C", "1", "-F", "%t\\t%x %%@@\\\\ \\a\\e", "-N"],
        &["-t", "r/a", "-C", "1", "-F", "@Y-@m-@d", "-v"],
        &["-t", "r/a", "-C", "1", "-V", "mqttv5", "-F", "%A|%5E|%C|%D|%F|%P|%R|%S|%8C|"],
        &["-t", "r/a", "-C", "1", "--quiet", "-k", "10", "-i", "me", "--nodelay"],
        &["-t", "r/a", "-C", "1", "-c", "-i", "kept"],
        &["-t", "r/a", "-C", "1", "-I", "prefix-", "--will-topic", "w", "--will-payload", "x"],
        &["-t", "r/a", "-E"],
        &["-t", "r/a", "-W", "1", "-R"],
        &["-t", "r/a", "-W", "1"],
        &["-t", "none", "-C", "1", "-W", "1"],
        &["-t", "r/a", "-C", "1", "-F", ""],
        &["-t", "r/a", "-U", "r/a", "-C", "1"],
        &[
            "-t",
            "r/a",
            "-C",
            "1",
            "-V",
            "5",
            "-D",
            "subscribe",
            "subscription-identifier",
            "7",
            "-F",
            "%S",
        ],
        &["-t", "r/a", "-C", "1", "-x", "0", "-V", "5"],
    ];
    for line in lines {
        same_as_mosquitto_sub(&broker, line);
    }
    let outcome = same_as_mosquitto_sub(&broker, &["-t", "big", "-C", "1", "-N", "-F", "%x"]);
    assert_eq!(outcome.success().stdout.len(), 2_000_000);
}

#[test]
fn live_messages_are_printed_the_same() {
    let Some(broker) = Broker::start() else { return };
    let messages = || {
        for payload in ["one", "", "two", " ", "three\u{0}"] {
            let payload = payload.trim_end_matches('\0');
            publish(&broker, &["-q", "2", "-t", "live/t", "-m", payload]);
        }
        publish(&broker, &["-q", "2", "-t", "live/end", "-m", "end"]);
    };
    let lines: &[&[&str]] = &[
        &["-t", "live/#", "-C", "6"],
        &["-t", "live/#", "-C", "6", "-v"],
        &["-t", "live/#", "-C", "6", "-N"],
        &["-t", "live/#", "-C", "6", "-v", "-N", "-q", "2"],
        &["-t", "live/#", "-C", "6", "-F", "%q %p|", "-N", "-q", "1"],
        &["-t", "live/#", "-C", "3", "-q", "1", "-V", "mqttv5"],
        &["-t", "live/#", "-C", "1", "-T", "live/t", "-v"],
        &["-t", "live/t", "-t", "live/end", "-C", "6", "-v", "-F", "%t %l"],
        &["-t", "live/#", "--retained-only"],
        &["-t", "live/#", "-t", "live/+", "-C", "6", "-v"],
    ];
    for line in lines {
        if line.contains(&"--retained-only") {
            // Ours may have ended before: nothing is retained.
            assert_eq!(subscribe(&broker, line).success().stdout(), "");
            continue;
        }
        same_live(&broker, line, messages);
    }
}

#[test]
fn what_mosquitto_sub_refuses_is_refused() {
    let refused: &[&[&str]] = &[
        &[],
        &["-t"],
        &["-t", "a/#/b"],
        &["-t", "a+"],
        &["-t", ""],
        &["-t", "a", "-T", "#a"],
        &["-t", "a", "-U", "#a"],
        &["-t", "a", "-q", "3"],
        &["-t", "a", "-C", "0"],
        &["-t", "a", "-W", "0"],
        &["-t", "a", "-F", "%y"],
        &["-t", "a", "-F", "%"],
        &["-t", "a", "-F", "@"],
        &["-t", "a", "-F", "\\q"],
        &["-t", "a", "-R", "--retained-only"],
        &["-t", "a", "--random-filter", "0"],
        &["-t", "a", "-c"],
        &["-t", "a", "-m", "x"],
        &["-t", "a", "-l"],
        &["-t", "a", "--repeat", "2"],
        &["a"],
    ];
    for line in refused {
        let ours = run(midge_sub().args(*line));
        assert_eq!((ours.code, ours.stdout()), (Some(1), String::new()), "{line:?}");
        assert_eq!(ours.stderr.lines().count(), 1, "{ours:?}");
        if let Some(program) = program("mosquitto_sub") {
            let theirs = run(Command::new(program).args(*line));
            assert_eq!(theirs.code, Some(1), "{line:?}: {theirs:?}");
        }
    }
}

#[test]
fn messages_are_printed_in_the_order_of_their_arrival() {
    // mosquitto_sub prints those of QoS 2 when they are complete, behind the others.
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x02\0\0").unwrap();
        read_packet(&mut stream);
        stream.write_all(b"\x90\x03\0\x01\x02").unwrap();
        stream.write_all(b"\x34\x06\0\x01a\0\x021\x32\x06\0\x01a\0\x012\x30\x04\0\x01a3").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &["-t", "a", "-q", "2", "-C", "3"]);
    assert_eq!(outcome.success().stdout(), "1\n2\n3\n");
}
