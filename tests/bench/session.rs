//! How many messages a session moves per second, one thread, in memory: what of a client's time is
//! spent between its commands and the bytes.
//!
//! `cargo bench --bench session` measures; with `-- --smoke` it only shows that it runs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints its findings"
)]

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use midge::codec::{PacketId, Publish, QoS, TopicName, Version};
use midge::session::{Config, Event, Message, Received, Session, Ticket, Transmit, Verdict};

const TOPIC: &str = "site/7/line/3/temperature";
const PAYLOAD_BYTES: usize = 64;
/// Messages from one call of the driver to the next: about what one read or write carries.
const BATCH: usize = 100;

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    let time = Duration::from_millis(if smoke { 2 } else { 1000 });
    println!("{:<44} {:>11} {:>12}", "", "ns/message", "Mmessages/s");
    for version in [Version::V311, Version::V5] {
        send(version, QoS::AtMostOnce, time);
        send(version, QoS::AtLeastOnce, time);
        send(version, QoS::ExactlyOnce, time);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            receive(version, qos, time);
        }
    }
}

/// A session that a broker has accepted.
fn connected(version: Version, now: Instant) -> Session {
    let mut config = Config::new(version);
    config.max_inflight = BATCH as u16;
    config.max_inflight_exactly_once = BATCH as u16;
    let mut session = Session::new(Arc::new(config), "bench", 0);
    let mut out = Transmit::new();
    session.handle_connected(now);
    session.poll_transmit(now, &mut out);
    session.handle_written(now, out.len());
    let connack: &[u8] =
        if version == Version::V5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    session.handle_bytes(now, connack, &mut |_: Received<'_>| Verdict::Ack);
    assert!(session.is_connected());
    while session.poll_event().is_some() {}
    session
}

/// Publish, transmit and the confirmation: the kernel's at QoS 0, the broker's above.
fn send(version: Version, qos: QoS, time: Duration) {
    let now = Instant::now();
    let mut session = connected(version, now);
    let topic = TopicName::try_from(TOPIC).unwrap();
    let payload = Bytes::from(vec![0x2A; PAYLOAD_BYTES]);
    let mut out = Transmit::new();
    let (mut ticket, mut last_id) = (0, 0u16);
    let mut answers = Vec::new();
    report(&format!("send    QoS {}, MQTT {version}", u8::from(qos)), time, || {
        for _ in 0..BATCH {
            ticket += 1;
            let message = Message { qos, ..Message::new(topic.clone(), payload.clone()) };
            session.publish(now, Ticket::new(ticket), message).unwrap();
        }
        transmit(&mut session, now, &mut out);
        if qos != QoS::AtMostOnce {
            answers.clear();
            for n in 1..=BATCH as u32 {
                // Identifiers are given out in turn, from 1 to 65,535.
                let id = ((u32::from(last_id) + n - 1) % 65_535 + 1) as u16;
                let [high, low] = id.to_be_bytes();
                if qos == QoS::ExactlyOnce {
                    answers.extend_from_slice(&[0x50, 2, high, low, 0x70, 2, high, low]);
                } else {
                    answers.extend_from_slice(&[0x40, 2, high, low]);
                }
            }
            last_id = ((u32::from(last_id) + BATCH as u32 - 1) % 65_535 + 1) as u16;
            let mut inbox = |_: Received<'_>| Verdict::Ack;
            let consumed = session.handle_bytes(now, &answers, &mut inbox);
            assert_eq!(consumed, answers.len());
            transmit(&mut session, now, &mut out);
        }
        let mut done = 0;
        while let Some(event) = session.poll_event() {
            done += usize::from(matches!(event, Event::Published { result: Ok(_), .. }));
        }
        assert_eq!(done, BATCH);
    });
}

/// Messages from the broker into an inbox, and the acknowledgements out.
fn receive(version: Version, qos: QoS, time: Duration) {
    let now = Instant::now();
    let mut session = connected(version, now);
    let mut input = Vec::new();
    for n in 1..=BATCH as u16 {
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: TOPIC,
            packet_id: PacketId::new(n).filter(|_| qos != QoS::AtMostOnce),
            properties: Default::default(),
            payload: &[0x2A; PAYLOAD_BYTES],
        };
        publish.encode(version, &mut input).unwrap();
    }
    let mut out = Transmit::new();
    let mut bytes = 0;
    report(&format!("receive QoS {}, MQTT {version}", u8::from(qos)), time, || {
        let mut inbox = |received: Received<'_>| {
            bytes += black_box(received.publish.payload).len();
            Verdict::Ack
        };
        let consumed = session.handle_bytes(now, &input, &mut inbox);
        assert_eq!(consumed, input.len());
        transmit(&mut session, now, &mut out);
        assert!(session.poll_event().is_none());
    });
}

/// What a driver does with the output, short of writing it.
fn transmit(session: &mut Session, now: Instant, out: &mut Transmit) {
    while session.poll_transmit(now, out) {
        session.handle_written(now, out.len());
        black_box(&*out);
        out.clear();
    }
}

/// Runs batches for a while and prints what the best hundredth of it took: the rest is what the
/// machine did besides.
fn report(name: &str, time: Duration, mut batch: impl FnMut()) {
    let end = Instant::now() + time;
    let mut best = f64::INFINITY;
    while Instant::now() < end {
        let start = Instant::now();
        let mut batches = 0u32;
        while batches < 10 || start.elapsed() < time / 100 {
            batch();
            batches += 1;
        }
        let messages = f64::from(batches) * BATCH as f64;
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / messages);
    }
    let name = format!("{name}, {PAYLOAD_BYTES} B payload");
    println!("{name:<44} {best:>11.1} {:>12.2}", 1e3 / best);
}
