//! The output formats, message by message.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod conversions;
mod json;
mod laws;
mod mosquitto;
mod presets;
#[path = "../support/mod.rs"]
mod support;
mod times;

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use midge::{
    cli::format::{Format, PayloadError, Renderer},
    codec::{PacketId, Properties, Property, PropertyValue, Publish, QoS},
};

/// Central European time, without asking the machine.
const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// 2026-11-20 10:30:25.336538123 UTC.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_795_170_625, 336_538_123)
}

fn zone() -> TimeZone {
    TimeZone::posix(ZONE).unwrap()
}

/// A message of QoS 0 without properties.
fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Default::default(),
        payload,
    }
}

/// Every property that a PUBLISH can have.
fn all_properties() -> Properties {
    let values = [
        (Property::PayloadFormatIndicator, PropertyValue::Byte(1)),
        (Property::MessageExpiryInterval, PropertyValue::FourByte(4_294_967_290)),
        (Property::UserProperty, PropertyValue::Pair("unit", "kelvin")),
        (Property::ContentType, PropertyValue::Utf8("text/plain")),
        (Property::ResponseTopic, PropertyValue::Utf8("a/reply")),
        (Property::CorrelationData, PropertyValue::Binary(b"id 7")),
        (Property::UserProperty, PropertyValue::Pair("", "")),
        (Property::SubscriptionIdentifier, PropertyValue::VariableByte(300)),
        (Property::TopicAlias, PropertyValue::TwoByte(12)),
        (Property::SubscriptionIdentifier, PropertyValue::VariableByte(2)),
    ];
    let mut properties = Properties::new();
    for (property, value) in values {
        properties.push(property, value).unwrap();
    }
    properties
}

fn packet_id(id: u16) -> Option<PacketId> {
    Some(PacketId::new(id).unwrap())
}

/// What a format, with no newline behind it, makes of a message at [`now`].
fn try_print(format: &str, message: &Publish<'_>) -> (Vec<u8>, Result<(), PayloadError>) {
    try_print_format(Format::parse(format).unwrap().newline(false), message)
}

fn try_print_format(format: Format, message: &Publish<'_>) -> (Vec<u8>, Result<(), PayloadError>) {
    // Whatever was there before stays.
    let mut out = b"before".to_vec();
    let outcome = Renderer::in_zone(format, zone()).render_at(message, now(), &mut out);
    assert_eq!(&out[..6], b"before");
    (out.split_off(6), outcome)
}

fn print(format: &str, message: &Publish<'_>) -> Vec<u8> {
    let (out, outcome) = try_print(format, message);
    outcome.unwrap();
    out
}

/// Checks what each format makes of the message.
fn check(message: &Publish<'_>, rows: &[(&str, &str)]) {
    for (format, expected) in rows {
        let printed = print(format, message);
        assert_eq!(
            printed.escape_ascii().to_string(),
            expected.as_bytes().escape_ascii().to_string(),
            "{format}"
        );
    }
}
