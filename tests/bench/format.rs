//! How fast messages are rendered, one thread, in memory.
//!
//! `cargo bench --bench format` measures; with `-- --smoke` it only shows that it runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that prints its findings"
)]

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use midge::cli::format::{Format, Renderer};
use midge::codec::{PacketId, Properties, Property, PropertyValue, Publish, QoS};

const TOPIC: &str = "site/7/line/3/temperature";
const JSON: &str =
    r#"{"device":"b8:27:eb:1f","temperature":21.53,"humidity":48.1,"unit":"C","ok":true}"#;

fn main() {
    let time = if env::args().any(|argument| argument == "--smoke") {
        Duration::from_millis(2)
    } else {
        Duration::from_millis(400)
    };
    let mut properties = Properties::new();
    properties.push(Property::ContentType, PropertyValue::Utf8("application/json")).unwrap();
    properties.push(Property::UserProperty, PropertyValue::Pair("unit", "kelvin")).unwrap();
    properties.push(Property::UserProperty, PropertyValue::Pair("site", "7")).unwrap();
    let text = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TOPIC,
        packet_id: None,
        properties: Default::default(),
        payload: &[b'x'; 64],
    };
    let json = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(7),
        payload: JSON.as_bytes(),
        ..text
    };
    let with_properties = Publish { properties: properties.as_ref(), ..json };
    let binary = Publish { payload: &[0xff; 64], ..text };
    let kilobyte = Publish { payload: &[b'x'; 1024], ..text };

    println!("{:<34} {:>9} {:>12} {:>8}", "", "ns", "Mmessages/s", "GB/s");
    for (payload, message) in [("64 B text", text), ("1 KiB text", kilobyte)] {
        report(&format!("plain, {payload}"), Format::plain(), &message, time);
        report(&format!("-v, {payload}"), Format::verbose(), &message, time);
    }
    for (format, payload, message) in [
        ("%j", "64 B text", text),
        ("%j", "64 B binary", binary),
        ("%j", "1 KiB text", kilobyte),
        ("%j", "JSON", json),
        ("%j", "JSON and properties", with_properties),
        ("%J", "JSON", json),
        ("%x", "64 B", text),
        ("@Y-@m-@dT@H:@M:@S@z %t %p", "64 B", text),
        ("%I %U %40t %-10l %q", "64 B", text),
    ] {
        report(&format!("{format}, {payload}"), Format::parse(format).unwrap(), &message, time);
    }
}

/// Renders `message` until `time` is over and prints the fastest hundredth part: the rest was
/// disturbed by others.
fn report(name: &str, format: Format, message: &Publish<'_>, time: Duration) {
    const ROUND: u32 = 64;
    let mut renderer = Renderer::new(format);
    let mut out = Vec::new();
    let part = time / 100;
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < time {
        let (began, mut messages) = (Instant::now(), 0_u32);
        while began.elapsed() < part || messages == 0 {
            out.clear();
            for _ in 0..ROUND {
                renderer.render(black_box(message), &mut out).unwrap();
            }
            black_box(&out);
            messages += ROUND;
        }
        best = best.min(began.elapsed().as_secs_f64() / f64::from(messages));
    }
    let size = out.len() as f64 / f64::from(ROUND);
    println!("{name:<34} {:>9.1} {:>12.2} {:>8.2}", best * 1e9, 1e-6 / best, size / best * 1e-9);
}
