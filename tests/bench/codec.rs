//! How fast PUBLISH packets are read and written, one thread, in memory.
//!
//! `cargo bench --bench codec` measures; with `-- --smoke` it only shows that it runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that prints its findings"
)]

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use midge::codec::{
    Cut, MAX_PACKET_SIZE, Packet, PacketId, Publish, QoS, Role, Version, cut, decode,
};

const TOPIC: &str = "site/7/line/3/temperature";
/// As many packets are read from, or written to, one buffer: few enough for the cache.
const PACKETS: usize = 64;

fn main() {
    let time = if env::args().any(|argument| argument == "--smoke") {
        Duration::from_millis(2)
    } else {
        Duration::from_millis(400)
    };
    println!("{:<40} {:>9} {:>12} {:>8}", "", "ns/packet", "Mpackets/s", "GB/s");
    for payload_len in [64, 1024] {
        for version in [Version::V311, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                measure(version, qos, payload_len, time);
            }
        }
    }
}

fn measure(version: Version, qos: QoS, payload_len: usize, time: Duration) {
    let payload = vec![0x2A; payload_len];
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: PacketId::new(7).filter(|_| qos != QoS::AtMostOnce),
        properties: Default::default(),
        payload: &payload,
    };
    let mut stream = Vec::new();
    for _ in 0..PACKETS {
        publish.encode(version, &mut stream).unwrap();
    }
    let size = stream.len() / PACKETS;
    let name = format!("{payload_len} B, QoS {qos}, MQTT {version}");

    report(&format!("cut            {name}"), size, time, || {
        each_frame(&stream, |frame| {
            black_box(frame);
        });
    });
    report(&format!("Publish decode {name}"), size, time, || {
        each_frame(&stream, |frame| {
            black_box(Publish::decode(version, frame).unwrap());
        });
    });
    report(&format!("decode         {name}"), size, time, || {
        each_frame(&stream, |frame| {
            let Ok(Packet::Publish(publish)) = decode(version, Role::Client, frame) else {
                panic!("not a PUBLISH");
            };
            black_box(publish);
        });
    });
    let mut out = Vec::with_capacity(stream.len());
    report(&format!("encode         {name}"), size, time, || {
        out.clear();
        for _ in 0..PACKETS {
            black_box(&publish).encode(version, &mut out).unwrap();
        }
        black_box(&out);
    });
    assert_eq!(out, stream);
}

fn each_frame<'a>(mut rest: &'a [u8], mut f: impl FnMut(midge::codec::Frame<'a>)) {
    while let Cut::Frame { frame, len } = cut(black_box(rest), MAX_PACKET_SIZE).unwrap() {
        f(frame);
        rest = rest.get(len..).unwrap_or_default();
    }
}

/// Runs `round`, which handles [`PACKETS`] packets of `size` bytes, until `time` is over, and
/// prints the fastest hundredth part: the rest was disturbed by others.
fn report(name: &str, size: usize, time: Duration, mut round: impl FnMut()) {
    let part = time / 100;
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < time {
        let (began, mut rounds) = (Instant::now(), 0_u32);
        while began.elapsed() < part || rounds == 0 {
            for _ in 0..16 {
                round();
            }
            rounds += 16;
        }
        let packets = f64::from(rounds) * PACKETS as f64;
        best = best.min(began.elapsed().as_secs_f64() / packets);
    }
    println!(
        "{name:<40} {:>9.1} {:>12.1} {:>8.2}",
        best * 1e9,
        1e-6 / best,
        size as f64 / best * 1e-9
    );
}
