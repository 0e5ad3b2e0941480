//! `%j` and `%J`: the shape of mosquitto 2.1, and never a line that is not JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use midge::codec::{Publish, QoS};
use serde_json::{Value, json};

use super::*;

fn pretty(format: &str, message: &Publish<'_>) -> String {
    let format = Format::parse(format).unwrap().newline(false).pretty(true);
    let (out, outcome) = try_print_format(format, message);
    outcome.unwrap();
    String::from_utf8(out).unwrap()
}

fn parsed(format: &str, message: &Publish<'_>) -> Value {
    serde_json::from_slice(&print(format, message)).unwrap()
}

#[test]
fn a_message_of_each_quality_of_service() {
    let message = message("a/b", b"hello");
    check(
        &message,
        &[(
            "%j",
            r#"{"tst":"2026-11-20T11:30:25.336538+0100","topic":"a/b","qos":0,"retain":false,"payloadlen":5,"payload":"hello"}"#,
        )],
    );
    let message = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: packet_id(7),
        retain: true,
        payload: b"[1]",
        ..message
    };
    check(
        &message,
        &[
            (
                "%j",
                r#"{"tst":"2026-11-20T11:30:25.336538+0100","topic":"a/b","qos":1,"retain":true,"payloadlen":3,"mid":7,"payload":"[1]"}"#,
            ),
            (
                "<%J>",
                r#"<{"tst":"2026-11-20T11:30:25.336538+0100","topic":"a/b","qos":1,"retain":true,"payloadlen":3,"mid":7,"payload":[1]}>"#,
            ),
        ],
    );
}

#[test]
fn an_empty_payload_is_null() {
    for format in ["%j", "%J"] {
        let value = parsed(format, &message("f", b""));
        assert_eq!((&value["payload"], &value["payloadlen"]), (&Value::Null, &json!(0)));
    }
}

#[test]
fn properties_stand_in_the_order_of_the_wire() {
    let properties = all_properties();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"x") };
    let printed = String::from_utf8(print("%j", &message)).unwrap();
    let expected = concat!(
        r#""properties":{"payload-format-indicator":1,"message-expiry-interval":4294967290,"#,
        r#""user-properties":[{"unit":"kelvin"},{"":""}],"content-type":"text/plain","#,
        r#""response-topic":"a/reply","correlation-data":"id 7","#,
        r#""subscription-identifier":[300,2],"topic-alias":12},"payload":"x"}"#
    );
    assert!(printed.ends_with(expected), "{printed}");
}

#[test]
fn one_subscription_identifier_is_a_number() {
    let mut properties = Properties::new();
    let identifier = PropertyValue::VariableByte(268_435_455);
    properties.push(Property::SubscriptionIdentifier, identifier).unwrap();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"x") };
    let expected = json!({ "subscription-identifier": 268_435_455 });
    assert_eq!(parsed("%j", &message)["properties"], expected);
}

#[test]
fn correlation_data_that_is_no_text_is_base64() {
    let mut properties = Properties::new();
    properties.push(Property::CorrelationData, PropertyValue::Binary(b"\xff\0")).unwrap();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"x") };
    assert_eq!(parsed("%j", &message)["properties"], json!({ "correlation-data_base64": "/wA=" }));
}

#[test]
fn every_byte_comes_back() {
    for byte in 0..=255_u8 {
        for payload in [vec![byte], vec![b'a', byte, b'b'], vec![byte; 1000]] {
            let line = print("%j", &message("f", &payload));
            assert!(line.iter().all(|&byte| byte >= 0x20 && byte != 0x7f), "{byte:#x}");
            let value: Value = serde_json::from_slice(&line).unwrap();
            let bytes = match (&value["payload"], &value["payload_base64"]) {
                (Value::String(text), Value::Null) => text.as_bytes().to_vec(),
                (Value::Null, Value::String(text)) => STANDARD.decode(text).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!(bytes, payload);
            assert_eq!(value["payloadlen"], payload.len());
        }
    }
}

#[test]
fn a_nul_does_not_cut_anything() {
    assert_eq!(parsed("%j", &message("f", b"a\0b"))["payload"], "a\0b");
    let mut properties = Properties::new();
    properties.push(Property::CorrelationData, PropertyValue::Binary(b"a\0b")).unwrap();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"x") };
    assert_eq!(parsed("%j", &message)["properties"]["correlation-data"], "a\0b");
}

#[test]
fn strings_are_escaped_as_mosquitto_does_and_terminals_need() {
    let escaped = |text: &str| {
        let printed = String::from_utf8(print("%j", &message("f", text.as_bytes()))).unwrap();
        let (_, payload) = printed.split_once(r#""payload":"#).unwrap();
        payload.trim_end_matches('}').to_owned()
    };
    assert_eq!(escaped("\"\\/\x08\x0c\n\r\t"), r#""\"\\/\b\f\n\r\t""#);
    assert_eq!(escaped("\0\x01\x1b[2J\x1f\x7f"), r#""\u0000\u0001\u001b[2J\u001f\u007f""#);
    assert_eq!(escaped("grüße £€ ☃ 🦟 \u{a0}"), "\"grüße £€ ☃ 🦟 \u{a0}\"");
    assert_eq!(escaped("\u{80}\u{9b}31m\u{9f}"), r#""\u0080\u009b31m\u009f""#);
    assert_eq!(escaped("\u{200e}\u{2028}\u{202e}\u{2066}"), r#""\u200e\u2028\u202e\u2066""#);
}

#[test]
fn every_character_comes_back_wherever_it_stands() {
    let all: Vec<char> = ('\u{1}'..='\u{2fff}').chain('\u{1f300}'..='\u{1f5ff}').collect();
    for start in 0..17 {
        for chunk in all.chunks(997) {
            let text: String = "x".repeat(start).chars().chain(chunk.iter().copied()).collect();
            let line = print("%j", &message("f", text.as_bytes()));
            let shown = std::str::from_utf8(&line).unwrap();
            let steering = |c: char| midge::cli::stdio::needs_escape(c) || c.is_ascii_control();
            assert_eq!(shown.find(steering), None);
            let value: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(value["payload"], *text);
        }
    }
}

#[test]
fn pretty_is_laid_out_as_mosquitto_does() {
    let properties = all_properties();
    let payload = br#"{"a":[],"b":{},"c":[1,[2,{"x":null}]], "d" : "s"}"#;
    let message = Publish { properties: properties.as_ref(), ..message("f", payload) };
    let expected = r#"{
	"tst":	"2026-11-20T11:30:25.336538+0100",
	"topic":	"f",
	"qos":	0,
	"retain":	false,
	"payloadlen":	49,
	"properties":	{
		"payload-format-indicator":	1,
		"message-expiry-interval":	4294967290,
		"user-properties":	[{
				"unit":	"kelvin"
			}, {
				"":	""
			}],
		"content-type":	"text/plain",
		"response-topic":	"a/reply",
		"correlation-data":	"id 7",
		"subscription-identifier":	[300, 2],
		"topic-alias":	12
	},
	"payload":	{
		"a":	[],
		"b":	{
		},
		"c":	[1, [2, {
					"x":	null
				}]],
		"d":	"s"
	}
}"#;
    assert_eq!(pretty("%J", &message), expected);
    let payload = String::from_utf8_lossy(payload).into_owned();
    let value: Value = serde_json::from_str(&pretty("%j", &message)).unwrap();
    assert_eq!(value["payload"], *payload);
}

/// What `%J` prints of this payload.
fn value(payload: &str) -> String {
    let printed = String::from_utf8(print("%J", &message("f", payload.as_bytes()))).unwrap();
    let (_, payload) = printed.split_once(r#""payload":"#).unwrap();
    payload.strip_suffix('}').unwrap().to_owned()
}

#[test]
fn the_text_of_a_json_payload_is_kept_but_for_the_space_in_it() {
    for text in [
        "12345678901234567890123",
        "0.1000",
        "1e400",
        "-0",
        "\"\"",
        r#""\u00e9\/\ud83e\udd9f\"""#,
        r#"{"a":1,"a":2}"#,
        r#"[[],{},[{"x":"a b : , ] }"}]]"#,
        "true",
        "null",
    ] {
        assert_eq!(value(text), text);
    }
    assert_eq!(value(" \t\r\n[ 1 , {\n\t\"a b\" : null } ]\n"), r#"[1,{"a b":null}]"#);
    assert_eq!(value("\u{feff}[1]"), "[1]");
    assert_eq!(value("\"\x7f\u{9b}\u{202e}é\""), r#""\u007f\u009b\u202eé""#);
    assert_eq!(value("[\"\x7f\",  1]"), r#"["\u007f",1]"#);
}

#[test]
fn a_payload_that_is_not_json_leaves_its_place_empty() {
    for payload in [
        &b"hello"[..],
        b"{\"a\":1} xyz",
        b"[1,]",
        b"{\"a\":1,}",
        b"nul",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"NaN",
        b"'a'",
        b"\"a",
        b"\"a\tb\"",
        b"\"\\x41\"",
        b"\"\xff\"",
        b"[1]\0",
        b" ",
        br#""\ud800""#,
        br#""\ud800A""#,
        br#""\ud800\u0041""#,
        br#""\udc00\ud800""#,
        br#"{"a":1,"\ud83e":2}"#,
    ] {
        let (out, outcome) = try_print("<%J>%l", &message("f", payload));
        let expected = format!("<>{}", payload.len());
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{}", payload.escape_ascii());
        assert_eq!(outcome.unwrap_err().to_string(), "the payload is not JSON");
    }
}

#[test]
fn nesting_costs_neither_stack_nor_memory() {
    let depth = 100_000;
    let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(value(&arrays), arrays);
    let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(value(&objects), objects);
    for payload in [&arrays, &objects] {
        let printed = pretty("%J", &message("f", payload.as_bytes()));
        assert!(printed.len() < payload.len() + 10_000);
        let squeezed: String = printed.split_ascii_whitespace().collect();
        assert!(squeezed.contains(payload.as_str()));
    }
}
