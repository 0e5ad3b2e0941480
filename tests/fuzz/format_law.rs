//! What holds for output formats on any bytes. Shared by the fuzz target and the tests of formats.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use midge::{
    cli::format::{Format, Renderer},
    codec::Publish,
};
use serde_json::Value;

/// Reads a byte of choices, a format up to the first byte 0xff, and a payload.
///
/// # Panics
///
/// When a format that was accepted prints nothing it could, or an object is not JSON.
pub fn formats(data: &[u8]) {
    let Some((&choices, rest)) = data.split_first() else { return };
    let end = rest.iter().position(|&byte| byte == 0xff).unwrap_or(rest.len());
    let (format, payload) = rest.split_at(end);
    let payload = payload.get(1..).unwrap_or_default();
    // A width of nine digits is legal, and as much memory.
    let is_wide = format.windows(5).any(|window| window.iter().all(u8::is_ascii_digit));
    if let (Ok(format), false) = (str::from_utf8(format).unwrap_or_default().parse(), is_wide) {
        print(format, choices, payload);
    }

    let (line, _) = print("%j".parse().unwrap(), choices, payload);
    let object: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(object["payloadlen"], payload.len());
    if let Ok(text) = str::from_utf8(payload) {
        let expected = if text.is_empty() { Value::Null } else { text.into() };
        assert_eq!(object["payload"], expected);
    }

    let (line, is_printed) = print("%J".parse().unwrap(), choices, payload);
    if is_printed {
        // Numbers may be too large for a value, and nesting too deep: the text is checked alone.
        serde_json::from_slice::<serde::de::IgnoredAny>(&line).unwrap();
    } else {
        assert!(line.trim_ascii().is_empty());
        assert!(serde_json::from_slice::<Value>(payload).is_err());
    }
}

/// What is printed, and whether all of it was.
fn print(format: Format, choices: u8, payload: &[u8]) -> (Vec<u8>, bool) {
    let is = |bit: u8| choices & 1 << bit != 0;
    let message = Publish {
        dup: false,
        qos: Default::default(),
        retain: false,
        topic: "a/b",
        packet_id: None,
        properties: Default::default(),
        payload,
    };
    let format = format.newline(is(0)).pretty(is(1));
    let mut renderer = Renderer::in_zone(format, TimeZone::UTC).for_terminal(is(2));
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::from(choices) << 50);
    let mut out = Vec::new();
    let outcome = renderer.render_at(&message, now, &mut out);
    (out, outcome.is_ok())
}
