//! The same messages through the real mosquitto_sub, where its output is right and does not depend
//! on its version.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use midge::codec::{Publish, QoS};
use serde_json::Value;

use super::{
    support::{Broker, broker::program},
    *,
};

/// What mosquitto_pub is asked to publish, and the message that arrives.
struct Case<'a> {
    arguments: &'a [&'a str],
    message: Publish<'a>,
}

struct Mosquitto {
    broker: Broker,
    publisher: PathBuf,
    subscriber: PathBuf,
}

impl Mosquitto {
    fn start() -> Option<Self> {
        Some(Self {
            publisher: program("mosquitto_pub")?,
            subscriber: program("mosquitto_sub")?,
            broker: Broker::start()?,
        })
    }

    /// Retains the message of `case`.
    fn publish(&self, case: &Case<'_>) {
        let file = self.broker.dir().join("payload");
        std::fs::write(&file, case.message.payload).unwrap();
        let mut command = self.command(&self.publisher, case);
        command.arg("-r").arg("-f").arg(&file).args(case.arguments);
        assert!(command.status().unwrap().success());
    }

    /// What mosquitto_sub prints of the message that was published last.
    fn print(&self, case: &Case<'_>, arguments: &[&str]) -> Vec<u8> {
        let mut command = self.command(&self.subscriber, case);
        let output = command.args(["-C", "1", "-W", "30"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn command(&self, program: &Path, case: &Case<'_>) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-V", "5", "-h", "127.0.0.1", "-p", &self.broker.port().to_string()])
            .args(["-q", &u8::from(case.message.qos).to_string(), "-t", case.message.topic])
            .env("TZ", ZONE)
            .env("XDG_CONFIG_HOME", self.broker.dir())
            .stdin(Stdio::null());
        command
    }
}

/// Publishes some messages of all kinds and has each checked. A retained message arrives retained.
fn for_each_case(check: impl Fn(&Mosquitto, &Case<'_>)) {
    let Some(mosquitto) = Mosquitto::start() else { return };
    let mut properties = Properties::new();
    for (property, value) in [
        (Property::PayloadFormatIndicator, PropertyValue::Byte(1)),
        (Property::ContentType, PropertyValue::Utf8("text/plain")),
        (Property::ResponseTopic, PropertyValue::Utf8("reply/to")),
        (Property::CorrelationData, PropertyValue::Binary(b"id 7")),
        (Property::UserProperty, PropertyValue::Pair("name", "value")),
        (Property::UserProperty, PropertyValue::Pair("second", "other")),
    ] {
        properties.push(property, value).unwrap();
    }
    let publish = [
        ["payload-format-indicator", "1"],
        ["content-type", "text/plain"],
        ["response-topic", "reply/to"],
        ["correlation-data", "id 7"],
    ];
    let mut arguments: Vec<&str> = Vec::new();
    for [property, value] in &publish {
        arguments.extend(["-D", "publish", property, value]);
    }
    arguments.extend(["-D", "publish", "user-property", "name", "value"]);
    arguments.extend(["-D", "publish", "user-property", "second", "other"]);
    let numbers = r#"{"a": [1, 2.5, true, null, {}], "b" : {"c": "d \" \\ é"}}"#.as_bytes();
    let plain = Publish { retain: true, ..message("a/topic", b"hello") };
    let full = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: packet_id(1),
        properties: properties.as_ref(),
        ..plain
    };
    let cases = [
        Case { arguments: &[], message: plain },
        Case { arguments: &[], message: Publish { payload: numbers, ..plain } },
        Case { arguments: &[], message: Publish { payload: b"\xff\0\x80 \x1b\n", ..plain } },
        Case { arguments: &arguments, message: full },
        Case { arguments: &arguments, message: Publish { payload: numbers, ..full } },
        Case {
            arguments: &[],
            message: Publish { topic: "grüße", payload: &[b'x'; 5000], ..full_qos_2(plain) },
        },
    ];
    for case in &cases {
        mosquitto.publish(case);
        check(&mosquitto, case);
    }
}

fn full_qos_2(message: Publish<'_>) -> Publish<'_> {
    Publish { qos: QoS::ExactlyOnce, packet_id: packet_id(1), ..message }
}

/// What ours prints at the time at which mosquitto_sub did.
fn ours(format: Format, case: &Case<'_>, now: SystemTime) -> Vec<u8> {
    let mut out = Vec::new();
    let mut renderer = Renderer::in_zone(format, zone());
    renderer.render_at(&case.message, now, &mut out).unwrap();
    out
}

/// Reads the seconds and nanoseconds of a `%U` that is followed by a newline.
fn printed_time(output: &[u8]) -> SystemTime {
    let line = output.split(|&byte| byte == b'\n').next().unwrap();
    let (seconds, nanoseconds) = std::str::from_utf8(line).unwrap().split_once('.').unwrap();
    let since = Duration::new(seconds.parse().unwrap(), nanoseconds.parse().unwrap());
    SystemTime::UNIX_EPOCH + since
}

/// Both print the same of this format.
fn compare(mosquitto: &Mosquitto, case: &Case<'_>, format: &str) {
    let format = format!("%U\\n{format}");
    let theirs = mosquitto.print(case, &["-F", &format]);
    let now = printed_time(&theirs);
    let ours = ours(Format::parse(&format).unwrap(), case, now);
    assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{format}");
}

#[test]
fn conversions() {
    for_each_case(|mosquitto, case| {
        compare(
            mosquitto,
            case,
            "%t|%3t|%30t|%-30t|%030t|%.3t|%30.3t|%-30.3t|\
             %p|%3p|%-3p|%6000p|%-6000p|%06000p|%-06000p|%x|%X|%.x|\
             %l|%8l|%-8l|%08l|%-08l|%.2l|%m|%4m|%04m|%-4m|%q|%5q|%r|%05r|%%|%5%|\
             %A|%3A|%03A|%-03A|%C|%20C|%-20C|%020C|%.4C|%20.4C|%D|%20D|%E|%3E|%03E|%F|%3F|%03F|%-3F|\
             %P|%30P|%R|%20R|%-20R|%20.3R|%S|%3S|%03S|@@|\\\\|\\0|\\a|\\e|\\n|\\r|\\t|\\v",
        );
    });
}

#[test]
fn times() {
    let conversions: String = (' '..='~')
        // The C library pads what it does not know after a digit.
        .filter(|c| !c.is_ascii_digit())
        // Taken again for each.
        .filter(|&c| c != 'N')
        .map(|c| format!("@{c}|"))
        .collect();
    for_each_case(|mosquitto, case| {
        let format = format!("%I|%40I|%-40I|%040I|%.10I|%20.10I|{conversions}");
        compare(mosquitto, case, &format);
    });
}

#[test]
fn presets() {
    for_each_case(|mosquitto, case| {
        let presets = [Format::plain(), Format::verbose()];
        for (format, arguments) in presets.into_iter().zip([&[][..], &["-v"]]) {
            assert_eq!(ours(format.clone(), case, now()), mosquitto.print(case, arguments));
            let arguments = [arguments, &["-N"]].concat();
            assert_eq!(ours(format.newline(false), case, now()), mosquitto.print(case, &arguments));
        }
    });
}

#[test]
fn json() {
    for_each_case(|mosquitto, case| {
        let is_json = serde_json::from_slice::<Value>(case.message.payload).is_ok();
        // What is not UTF-8, mosquitto_sub copies into its string.
        let is_text = std::str::from_utf8(case.message.payload).is_ok();
        let formats = [("%j", is_text), ("%J", is_json)];
        for (format, _) in formats.into_iter().filter(|(_, is_right)| *is_right) {
            let theirs = in_2_1_shape(mosquitto.print(case, &["-F", format]));
            let now = stamped_time(&theirs);
            let ours = ours(Format::parse(format).unwrap(), case, now);
            assert_eq!(String::from_utf8(ours).unwrap(), theirs);
        }
    });
}

#[test]
fn pretty_json() {
    for_each_case(|mosquitto, case| {
        let is_json = serde_json::from_slice::<Value>(case.message.payload).is_ok();
        if is_json {
            let theirs = in_2_1_shape(mosquitto.print(case, &["-F", "%J", "--pretty"]));
            let format = Format::parse("%J").unwrap().pretty(true);
            let ours = ours(format, case, stamped_time(&theirs));
            assert_eq!(String::from_utf8(ours).unwrap(), theirs);
        }
    });
}

/// What mosquitto 2.0 prints, changed to what 2.1 does.
fn in_2_1_shape(printed: Vec<u8>) -> String {
    const USER_PROPERTIES: [&str; 2] = [
        "{\"name\":\"value\",\"second\":\"other\"}",
        "{\n\t\t\t\"name\":\t\"value\",\n\t\t\t\"second\":\t\"other\"\n\t\t}",
    ];
    const IN_2_1: [&str; 2] = [
        "[{\"name\":\"value\"},{\"second\":\"other\"}]",
        "[{\n\t\t\t\t\"name\":\t\"value\"\n\t\t\t}, \
         {\n\t\t\t\t\"second\":\t\"other\"\n\t\t\t}]",
    ];
    String::from_utf8(printed)
        .unwrap()
        .replace("Z+", "+")
        .replace("\"retain\":1", "\"retain\":true")
        .replace("\"retain\":\t1", "\"retain\":\ttrue")
        .replace(USER_PROPERTIES[0], IN_2_1[0])
        .replace(USER_PROPERTIES[1], IN_2_1[1])
}

/// The time in the object: mosquitto_sub takes it anew for each `%j`.
fn stamped_time(json: &str) -> SystemTime {
    let value: Value = serde_json::from_str(json).unwrap();
    let time = value["tst"].as_str().unwrap();
    jiff::Zoned::strptime("%Y-%m-%dT%H:%M:%S%.f%z", time).unwrap().timestamp().into()
}

#[test]
fn refusals() {
    let Some(subscriber) = program("mosquitto_sub") else { return };
    for format in [
        "%", "a%", "%-", "%0", "%5", "%5.", "%5.3", "@", "a@", "\\", "a\\", "%k", "%5.3k", "%ü",
        "\\q", "\\ ", "%-0", "%t%", "%%", "%-05.3t", "@!", "@@@k", "\\\\", "plain", "%%k", "%5%",
    ] {
        // A port nobody listens on: only what is refused for its format says so.
        let mut command = Command::new(&subscriber);
        let output = command.args(["-p", "1", "-t", "a", "-F", format]).output().unwrap();
        let refused = String::from_utf8_lossy(&output.stderr).contains("specifier");
        assert_eq!(Format::parse(format).is_err(), refused, "{format:?}");
    }
}
