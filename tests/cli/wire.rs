//! What the tools say to a broker, beside what mosquitto's tools say for the same command line.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use midge::codec::{
    Cut, MAX_PACKET_SIZE, Packet, PropertiesRef, Property, Role, Version, cut, decode,
};

use crate::{
    run::{Running, midge_pub, midge_rr, midge_sub},
    support::broker::program,
};

/// A broker that grants everything, notes each packet in words, and closes when a request of
/// midge_rr has come.
fn listen(version: Version, ends_with_publish: bool) -> (u16, mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, said) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut buffer, mut said) = (Vec::new(), Vec::new());
        while let Some(packet) = next_packet(&mut stream, &mut buffer) {
            let Cut::Frame { frame, .. } = cut(&packet, MAX_PACKET_SIZE).unwrap() else { panic!() };
            let packet = decode(version, Role::Server, frame).unwrap();
            said.push(words(&packet));
            let is_publish = matches!(packet, Packet::Publish(_));
            stream.write_all(&answer(version, &packet)).unwrap();
            if is_publish && ends_with_publish || matches!(packet, Packet::Disconnect(_)) {
                break;
            }
        }
        sender.send(said).unwrap();
    });
    (port, said)
}

fn next_packet(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Cut::Frame { len, .. } = cut(buffer, MAX_PACKET_SIZE).unwrap() {
            return Some(buffer.drain(..len).collect());
        }
        let mut block = [0; 4096];
        match stream.read(&mut block) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&block[..count]),
        }
    }
}

fn answer(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let is_5 = version == Version::V5;
    let [high, low] = match packet {
        Packet::Publish(publish) => publish.packet_id.map_or(0, |id| id.get()),
        Packet::Subscribe(subscribe) => subscribe.packet_id.get(),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.packet_id.get(),
        Packet::PubRel(ack) => ack.packet_id.get(),
        _ => 0,
    }
    .to_be_bytes();
    match packet {
        // Topic Alias Maximum 10, and the authentication method [MQTT-4.12.0-5].
        Packet::Connect(connect) if is_5 => {
            let mut properties = vec![0x22, 0, 10];
            if let Some(method) = connect.properties.authentication_method() {
                properties.extend([0x15, 0, method.len() as u8]);
                properties.extend(method.bytes());
            }
            let length = properties.len() as u8;
            [&[0x20, 3 + length, 0, 0, length], &*properties].concat()
        }
        Packet::Connect(_) => vec![0x20, 2, 0, 0],
        Packet::Publish(publish) => match u8::from(publish.qos) {
            0 => vec![],
            1 => vec![0x40, 2, high, low],
            _ => vec![0x50, 2, high, low],
        },
        Packet::PubRel(_) => vec![0x70, 2, high, low],
        Packet::Subscribe(subscribe) => {
            let codes = vec![0; subscribe.filters.len()];
            let properties: &[u8] = if is_5 { &[0] } else { &[] };
            let length = (2 + properties.len() + codes.len()) as u8;
            [&[0x90, length, high, low], properties, &codes].concat()
        }
        Packet::Unsubscribe(_) if is_5 => vec![0xb0, 4, high, low, 0, 0],
        Packet::Unsubscribe(_) => vec![0xb0, 2, high, low],
        _ => vec![],
    }
}

/// A packet as far as the options decide on it.
fn words(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(connect) => format!(
            "CONNECT {} clean={} {}s id={:?} user={:?} password={:?} {} will={:?}",
            connect.version,
            connect.clean_start,
            connect.keep_alive,
            match connect.client_id {
                // 3.1 wants one, which each tool makes in its way.
                id if id.starts_with("mosq") || id.starts_with("midge-") => "made",
                id => id,
            },
            connect.username,
            connect.password,
            sorted(connect.properties),
            connect.will.as_ref().map(|will| format!(
                "{} {:?} {} {} {}",
                will.topic,
                will.payload,
                will.qos,
                will.retain,
                sorted(will.properties)
            )),
        ),
        Packet::Publish(publish) => format!(
            "PUBLISH {:?} {:?} {} {} {}",
            publish.topic,
            publish.payload,
            publish.qos,
            publish.retain,
            sorted(publish.properties)
        ),
        Packet::Subscribe(subscribe) => {
            format!("SUBSCRIBE {:?} {}", subscribe.filters, sorted(subscribe.properties))
        }
        Packet::Unsubscribe(unsubscribe) => {
            format!("UNSUBSCRIBE {:?} {}", unsubscribe.filters, sorted(unsubscribe.properties))
        }
        Packet::Disconnect(disconnect) => {
            format!("DISCONNECT {} {}", disconnect.reason, sorted(disconnect.properties))
        }
        packet => packet.packet_type().to_string(),
    }
}

/// Properties in an order of their own, without those of the tool's own choosing.
fn sorted(properties: PropertiesRef<'_>) -> String {
    let mut words: Vec<_> = properties
        .iter()
        .filter(|(property, value)| match property {
            // mosquitto asks for 20 messages at a time, midge for more.
            Property::ReceiveMaximum => !["TwoByte(20)", "TwoByte(1000)", "TwoByte(1)"]
                .contains(&format!("{value:?}").as_str()),
            Property::CorrelationData => format!("{value:?}").len() < 100,
            _ => true,
        })
        .map(|(property, value)| format!("{property}={value:?}"))
        .collect();
    words.sort();
    words.join(" ")
}

/// What `tool` says with these words behind the address of the broker.
fn said(mut tool: Command, version: Version, args: &[&str], ends: bool) -> Vec<String> {
    let (port, said) = listen(version, ends);
    tool.stdin(Stdio::null()).args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(args);
    let running = Running::start(&mut tool);
    let said = said.recv_timeout(Duration::from_secs(30)).unwrap();
    running.wait();
    said
}

fn version(args: &[&str], default: Version) -> Version {
    let given = args.iter().position(|word| *word == "-V").map(|at| args[at + 1]);
    match given {
        Some("mqttv31") => Version::V31,
        Some("mqttv311") => Version::V311,
        Some("mqttv5") => Version::V5,
        _ => default,
    }
}

fn compare(
    ours: impl Fn() -> Command,
    theirs: &PathBuf,
    args: &[&str],
    default: Version,
) -> Vec<String> {
    let version = version(args, default);
    let ends = theirs.ends_with("mosquitto_rr");
    let said_ours = said(ours(), version, args, ends);
    let said_theirs = said(Command::new(theirs), version, args, ends);
    assert_eq!(said_ours, said_theirs, "{args:?}");
    said_ours
}

/// Options of all tools. 2.0 sends no properties without `-V mqttv5`.
const COMMON: [&[&str]; 19] = [
    &[],
    &["-V", "mqttv31"],
    &["-V", "mqttv311", "-i", "me", "-c"],
    &["-V", "mqttv5"],
    &["-V", "mqttv5", "-i", "me", "-c"],
    &["-V", "mqttv5", "-i", "me", "-c", "-x", "60"],
    &["-V", "mqttv5", "-x", "0x10"],
    &["-V", "mqttv5", "-i", "me", "-x", "-1"],
    &["-k", "33", "-u", "ann", "-P", "-secret"],
    &["-u", "ann", "-M", "5", "--nodelay"],
    &["-V", "mqttv5", "-P", "secret"],
    &["--will-topic", "w", "--will-payload", "-x", "--will-qos", "2", "--will-retain"],
    &["--will-topic", "w"],
    &[
        "-V",
        "mqttv5",
        "--will-topic",
        "w",
        "-D",
        "will",
        "content-type",
        "a",
        "-D",
        "WILL",
        "Will-Delay-Interval",
        "5",
        "-D",
        "will",
        "user-property",
        "a",
        "b",
    ],
    &[
        "-V",
        "mqttv5",
        "-D",
        "connect",
        "user-property",
        "a",
        "-b",
        "-D",
        "connect",
        "user-property",
        "a",
        "c",
    ],
    &[
        "-V",
        "mqttv5",
        "-D",
        "connect",
        "receive-maximum",
        "7",
        "-D",
        "connect",
        "maximum-packet-size",
        "1000",
        "-D",
        "connect",
        "topic-alias-maximum",
        "3",
        "-D",
        "connect",
        "request-problem-information",
        "0",
        "-D",
        "connect",
        "request-response-information",
        "1",
        "-D",
        "connect",
        "session-expiry-interval",
        "9",
    ],
    &["-V", "mqttv5", "-D", "connect", "authentication-method", "TOKEN"],
    &[
        "-V",
        "mqttv5",
        "-D",
        "connect",
        "authentication-data",
        "a b=,",
        "-D",
        "connect",
        "authentication-method",
        "SCRAM-SHA-1",
    ],
    &[
        "-V",
        "mqttv5",
        "-x",
        "9",
        "-D",
        "disconnect",
        "session-expiry-interval",
        "8",
        "-D",
        "disconnect",
        "user-property",
        "a",
        "b",
    ],
];

#[test]
fn midge_pub_says_what_mosquitto_pub_says() {
    let Some(mosquitto_pub) = program("mosquitto_pub") else { return };
    let compare = |args: &[&str]| compare(midge_pub, &mosquitto_pub, args, Version::V311);
    for args in COMMON {
        compare(&[&["-t", "a", "-m", "x", "-q", "1"], args].concat());
    }
    for args in [
        &["-t", "a", "-n"][..],
        &["-t", "a", "-m", "x", "-q", "2", "-r"],
        &["-t", "a", "-m", "x", "--repeat", "3", "-q", "1"],
        // The library numbers the aliases from 1, and leaves short topics as they are.
        &[
            "-V",
            "mqttv5",
            "-t",
            "a/b/c",
            "-m",
            "x",
            "--repeat",
            "3",
            "-D",
            "publish",
            "topic-alias",
            "1",
        ],
        &[
            "-V",
            "mqttv5",
            "-t",
            "a",
            "-m",
            "x",
            "-D",
            "publish",
            "content-type",
            "text/plain",
            "-D",
            "publish",
            "correlation-data",
            "abc",
            "-D",
            "publish",
            "message-expiry-interval",
            "60",
            "-D",
            "publish",
            "payload-format-indicator",
            "1",
            "-D",
            "publish",
            "response-topic",
            "r",
            "-D",
            "publish",
            "user-property",
            "a",
            "b",
        ],
    ] {
        let said = compare(args);
        assert!(said.len() > 2, "{said:?}");
    }
}

#[test]
fn midge_sub_says_what_mosquitto_sub_says() {
    let Some(mosquitto_sub) = program("mosquitto_sub") else { return };
    let compare = |args: &[&str]| compare(midge_sub, &mosquitto_sub, args, Version::V311);
    for args in COMMON {
        compare(&[&["-t", "a", "-E", "-q", "1"], args].concat());
    }
    for args in [
        &["-t", "a", "-t", "b/#", "-E", "-q", "2"][..],
        &[
            "-V",
            "mqttv5",
            "-t",
            "a",
            "-E",
            "-D",
            "subscribe",
            "subscription-identifier",
            "7",
            "-D",
            "subscribe",
            "user-property",
            "a",
            "b",
        ],
    ] {
        let said = compare(args);
        assert!(said[1].starts_with("SUBSCRIBE"), "{said:?}");
    }
}

#[test]
fn midge_rr_says_what_mosquitto_rr_says() {
    let Some(mosquitto_rr) = program("mosquitto_rr") else { return };
    for args in COMMON {
        let args = [&["-t", "a", "-e", "b", "-m", "x", "-q", "1"], args].concat();
        let said = compare(midge_rr, &mosquitto_rr, &args, Version::V5);
        assert!(said[2].starts_with("PUBLISH"), "{said:?}");
    }
}

#[test]
fn properties_of_every_packet_are_sent() {
    // What mosquitto_sub sends of these is not all that it was given.
    let args = [
        "-V",
        "5",
        "-t",
        "a",
        "-U",
        "b",
        "-E",
        "-D",
        "unsubscribe",
        "user-property",
        "u",
        "1",
        "-D",
        "subscribe",
        "user-property",
        "s",
        "2",
        "-D",
        "disconnect",
        "reason-string",
        "bye",
    ];
    let said = said(midge_sub(), Version::V5, &args, false);
    assert!(said[1].contains("user-property=Pair(\"s\", \"2\")"), "{said:?}");
    assert!(said[2].contains("user-property=Pair(\"u\", \"1\")"), "{said:?}");
    assert!(said[3].contains("reason-string=Utf8(\"bye\")"), "{said:?}");
}
