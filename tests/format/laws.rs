//! What holds for every format and every message.

use base64::{Engine, engine::general_purpose::STANDARD};
use midge::codec::Publish;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[path = "../fuzz/format_law.rs"]
mod law;

/// Mostly what means something.
const FORMAT: &str = "([%@\\\\][-0]?[0-9]{0,2}(\\.[0-9]{0,2})?[ -~]?|[ -~]{0,3}|\\PC)*";

fn any_text() -> impl Strategy<Value = String> {
    "([ -~]|[\\x01-\\x1f\\x7f-\\u{a0}]|[\\u{2000}-\\u{206f}]|\\PC){0,60}"
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_format_is_refused_or_printed(
        text in FORMAT,
        payload in prop::collection::vec(any::<u8>(), 0..40),
        pretty: bool,
    ) {
        if let Ok(format) = Format::parse(&text) {
            let properties = all_properties();
            let message = Publish { properties: properties.as_ref(), ..message("f", &payload) };
            let _ = try_print_format(format.pretty(pretty), &message);
        }
    }

    #[test]
    fn any_bytes_keep_the_law_of_the_fuzz_target(
        choices: u8,
        format in FORMAT,
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[\\[\\]{}:,\"\\\\ \n0-9eE.+-]{0,20}".prop_map(String::into_bytes),
            any_json().prop_map(|json| json.to_string().into_bytes()),
        ],
    ) {
        law::formats(&[&[choices], format.as_bytes(), b"\xff", &payload].concat());
    }

    #[test]
    fn an_error_points_into_the_format(text in FORMAT) {
        if let Err(error) = Format::parse(&text) {
            let text_of_error = error.to_string();
            let (_, position) = text_of_error.split_once("at character ").unwrap();
            let digits = position.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            let position: usize = digits.parse().unwrap();
            prop_assert!((1..=text.chars().count()).contains(&position));
        }
    }

    #[test]
    fn a_field_is_never_narrower_than_its_width(
        width in 1_usize..50,
        payload in prop::collection::vec(any::<u8>(), 0..60),
        flags in prop::sample::select(vec!["", "-", "0", "-0"]),
        letter in prop::sample::select(vec!['t', 'p', 'x', 'X', 'l', 'm', 'E', 'I']),
    ) {
        let properties = all_properties();
        let message = Publish { properties: properties.as_ref(), ..message("topic", &payload) };
        let bare = print(&format!("%{letter}"), &message);
        let padded = print(&format!("%{flags}{width}{letter}"), &message);
        prop_assert!(padded.len() >= width);
        if letter == 'p' {
            prop_assert_eq!(padded.len(), width);
        } else if bare.len() >= width {
            let cut = if letter == 'x' || letter == 'X' { bare.len().min(2 * width) } else { bare.len() };
            prop_assert_eq!(padded, &bare[..cut]);
        } else if flags.starts_with('-') {
            prop_assert!(padded.starts_with(&bare));
        } else {
            prop_assert!(padded.ends_with(&bare));
        }
    }

    #[test]
    fn a_message_comes_back_from_its_json(
        topic in any_text(),
        payload in prop_oneof![
            any_text().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..2000),
        ],
        users in prop::collection::vec((any_text(), any_text()), 0..4),
        correlation in prop::collection::vec(any::<u8>(), 0..20),
        pretty: bool,
    ) {
        let mut properties = Properties::new();
        for (name, value) in &users {
            properties.push(Property::UserProperty, PropertyValue::Pair(name, value)).unwrap();
        }
        properties.push(Property::CorrelationData, PropertyValue::Binary(&correlation)).unwrap();
        let message = Publish { properties: properties.as_ref(), ..message(&topic, &payload) };
        let format = Format::parse("%j").unwrap().newline(false).pretty(pretty);
        let (line, outcome) = try_print_format(format, &message);
        outcome.unwrap();
        prop_assert!(pretty || !line.contains(&b'\n'));

        let mut value: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&value["topic"], &topic);
        prop_assert_eq!(&value["payloadlen"], payload.len());
        prop_assert_eq!(bytes(&mut value, "payload"), payload);
        let properties = &mut value["properties"];
        prop_assert_eq!(bytes(properties, "correlation-data"), correlation);
        let expected: Vec<Value> = users.iter().map(|(name, value)| json!({ name: value })).collect();
        if users.is_empty() {
            prop_assert!(properties.get("user-properties").is_none());
        } else {
            prop_assert_eq!(&properties["user-properties"], &Value::from(expected));
        }
    }

    #[test]
    fn a_json_payload_comes_back_from_its_json(value in any_json(), spread: bool, pretty: bool) {
        let payload = if spread {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let format = Format::parse("%J").unwrap().newline(false).pretty(pretty);
        let (line, outcome) = try_print_format(format, &message("f", payload.as_bytes()));
        outcome.unwrap();
        prop_assert!(pretty || line.iter().all(|&byte| byte >= 0x20 && byte != 0x7f));
        let printed: Value = serde_json::from_slice(&line).unwrap();
        // Not `value` itself: serde_json reads a few numbers as their neighbours.
        let expected: Value = serde_json::from_str(&payload).unwrap();
        prop_assert_eq!(&printed["payload"], &expected);
    }

    #[test]
    fn a_string_with_escapes_is_taken_if_it_can_be_decoded(
        units in prop::collection::vec(
            prop_oneof![
                any::<u16>().prop_map(|unit| format!("\\u{unit:04X}")),
                (0xd7ff_u16..0xe001).prop_map(|unit| format!("\\u{unit:04x}")),
                Just("\\\\".to_owned()),
                Just("x".to_owned()),
            ],
            0..8,
        ),
    ) {
        let payload = format!("\"{}\"", units.concat());
        let (_, outcome) = try_print("%J", &message("f", payload.as_bytes()));
        prop_assert_eq!(outcome.is_ok(), serde_json::from_str::<String>(&payload).is_ok());
    }
}

/// The bytes of a member, which is text or base64.
fn bytes(object: &mut Value, key: &str) -> Vec<u8> {
    match (object.get(key), object.get(format!("{key}_base64"))) {
        (Some(Value::Null), None) => Vec::new(),
        (Some(Value::String(text)), None) => text.as_bytes().to_vec(),
        (None, Some(Value::String(text))) => STANDARD.decode(text).unwrap(),
        other => panic!("{key}: {other:?}"),
    }
}
