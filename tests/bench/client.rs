//! How many messages a client sends and receives per second: one connection over loopback against a
//! server in another thread that does as little as it can. The client runs on one thread.
//!
//! `cargo bench --bench client` measures; with `-- --smoke` it only shows that it runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints its findings"
)]

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use midge::client::OutgoingQueue;
use midge::{Client, ClientBuilder, Flow, QoS, TopicName, Version};

const PAYLOAD: &[u8] = &[b'x'; 64];
const TOPIC: &str = "bench/topic";

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    let scale = if smoke { 1000 } else { 1 };
    println!("{:<44} {:>12} {:>10} {:>14}", "", "messages", "seconds", "messages/s");
    for version in [Version::V311, Version::V5] {
        send(version, QoS::AtMostOnce, 5_000_000 / scale);
        send(version, QoS::AtLeastOnce, 2_000_000 / scale);
        send(version, QoS::ExactlyOnce, 1_000_000 / scale);
        receive(version, QoS::AtMostOnce, 10_000_000 / scale, true);
        receive(version, QoS::AtLeastOnce, 5_000_000 / scale, true);
        receive(version, QoS::AtMostOnce, 2_000_000 / scale, false);
        receive(version, QoS::AtLeastOnce, 1_000_000 / scale, false);
    }
    confirmed(20_000 / scale);
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn builder(address: SocketAddr, version: Version) -> ClientBuilder {
    Client::builder(&format!("mqtt://{address}"))
        .unwrap()
        .version(version)
        .outgoing(OutgoingQueue { messages: 10_000, bytes: 8 << 20, ..OutgoingQueue::default() })
}

/// Enqueues messages and waits for the last confirmation.
fn send(version: Version, qos: QoS, count: u64) {
    let server = Server::start(version, Duty::Sink);
    let took = block_on(async {
        let builder = builder(server.address, version).max_inflight(100);
        let (client, _inbox) = builder.start().unwrap();
        client.connected().await.unwrap();
        let topic = TopicName::try_from(TOPIC).unwrap();
        let start = Instant::now();
        for _ in 0..count {
            drop(client.publish(&topic, PAYLOAD).qos(qos).enqueue().await.unwrap());
        }
        client.flush().await.unwrap();
        let took = start.elapsed();
        assert_eq!(client.stats().messages_published, count);
        client.disconnect().await.unwrap();
        took
    });
    server.stop();
    report(&format!("send {version} QoS {}, 64 B", u8::from(qos)), count, took);
}

/// Receives messages, in the hook that discards them or from the inbox.
fn receive(version: Version, qos: QoS, count: u64, hook: bool) {
    let server = Server::start(version, Duty::Source { qos, count });
    let took = block_on(async {
        let received = Arc::new(AtomicU64::new(0));
        let done = Arc::new(tokio::sync::Notify::new());
        let mut builder = builder(server.address, version).receive_maximum(u16::MAX);
        if hook {
            let (received, done) = (Arc::clone(&received), Arc::clone(&done));
            builder = builder.on_message(move |message, _| {
                assert_eq!(message.payload().len(), PAYLOAD.len());
                let total = received.load(Ordering::Relaxed) + 1;
                received.store(total, Ordering::Relaxed);
                if total == count {
                    done.notify_one();
                }
                Flow::Taken
            });
        }
        let (client, mut inbox) = builder.inbox_capacity(10_000).start().unwrap();
        client.connected().await.unwrap();
        let start = Instant::now();
        client
            .subscribe_many(
                vec![(TOPIC.try_into().unwrap(), Default::default())],
                Default::default(),
            )
            .await
            .unwrap();
        if hook {
            done.notified().await;
        } else {
            let mut total = 0;
            while total < count {
                total += 1 + inbox.next().await.unwrap().lagged();
            }
        }
        let took = start.elapsed();
        client.disconnect().await.unwrap();
        took
    });
    server.stop();
    let way = if hook { "hook" } else { "inbox" };
    report(&format!("receive {version} QoS {}, 64 B, {way}", u8::from(qos)), count, took);
}

/// One message per round trip.
fn confirmed(count: u64) {
    let server = Server::start(Version::V311, Duty::Sink);
    let took = block_on(async {
        let (client, _inbox) = builder(server.address, Version::V311).start().unwrap();
        client.connected().await.unwrap();
        let start = Instant::now();
        for _ in 0..count {
            client.publish(TOPIC, PAYLOAD).qos(QoS::AtLeastOnce).await.unwrap();
        }
        let took = start.elapsed();
        client.disconnect().await.unwrap();
        took
    });
    server.stop();
    report("publish and await 3.1.1 QoS 1, 64 B", count, took);
}

fn report(name: &str, count: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{name:<44} {count:>12} {seconds:>10.3} {:>14.0}", count as f64 / seconds);
}

/// What a server does with its connection.
#[derive(Clone, Copy)]
enum Duty {
    /// Reads, and acknowledges what wants to be.
    Sink,
    /// Sends once it was subscribed to, and reads acknowledgements.
    Source { qos: QoS, count: u64 },
}

/// A server for one connection, in a thread.
struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(version: Version, duty: Duty) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            serve(stream, version, duty);
        });
        Server { address, thread }
    }

    fn stop(self) {
        self.thread.join().unwrap();
    }
}

fn serve(mut stream: TcpStream, version: Version, duty: Duty) {
    let v5 = version == Version::V5;
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    let mut output = Vec::new();
    loop {
        let read = stream.read(&mut buffer[filled..]).unwrap();
        if read == 0 {
            return;
        }
        filled += read;
        let mut at = 0;
        while let Some(length) = packet_length(&buffer[at..filled]) {
            let packet = &buffer[at..at + length];
            let header = 1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
            match packet[0] >> 4 {
                1 if v5 => output.extend_from_slice(&[0x20, 3, 0, 0, 0]),
                1 => output.extend_from_slice(&[0x20, 2, 0, 0]),
                3 => {
                    let topic =
                        usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
                    let id = &packet[(header + 2 + topic).min(length - 2)..][..2];
                    match packet[0] >> 1 & 3 {
                        1 => output.extend_from_slice(&[0x40, 2, id[0], id[1]]),
                        2 => output.extend_from_slice(&[0x50, 2, id[0], id[1]]),
                        _ => {}
                    }
                }
                6 => output.extend_from_slice(&[0x70, 2, packet[2], packet[3]]),
                8 => {
                    let (id, end): (_, &[u8]) =
                        ([packet[2], packet[3]], if v5 { &[0, 0] } else { &[0] });
                    output.extend_from_slice(&[0x90, 2 + end.len() as u8, id[0], id[1]]);
                    output.extend_from_slice(end);
                    if let Duty::Source { qos, count } = duty {
                        let writer = stream.try_clone().unwrap();
                        let first = std::mem::take(&mut output);
                        thread::spawn(move || blast(writer, first, version, qos, count));
                    }
                }
                _ => {}
            }
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if !output.is_empty() {
            stream.write_all(&output).unwrap();
            output.clear();
        }
    }
}

/// Sends `count` messages as fast as they are taken.
fn blast(mut stream: TcpStream, first: Vec<u8>, version: Version, qos: QoS, count: u64) {
    stream.write_all(&first).unwrap();
    let mut packet = vec![0x30 | u8::from(qos) << 1, 0, 0, TOPIC.len() as u8];
    packet.extend_from_slice(TOPIC.as_bytes());
    let id = (qos != QoS::AtMostOnce).then_some(packet.len());
    packet.extend_from_slice(if id.is_some() { &[0, 1] } else { &[] });
    packet.extend_from_slice(if version == Version::V5 { &[0] } else { &[] });
    packet.extend_from_slice(PAYLOAD);
    packet[1] = packet.len() as u8 - 2;
    const BATCH: u64 = 1000;
    let mut sent = 0;
    let mut batch = Vec::new();
    while sent < count {
        batch.clear();
        for _ in 0..BATCH.min(count - sent) {
            if let Some(id) = id {
                // Identifiers in use are far behind: the client acknowledges as it goes.
                let [high, low] = (sent as u16 % 60_000 + 1).to_be_bytes();
                packet[id] = high;
                packet[id + 1] = low;
            }
            batch.extend_from_slice(&packet);
            sent += 1;
        }
        if stream.write_all(&batch).is_err() {
            return;
        }
    }
}

fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let whole = 2 + index + length;
            return (bytes.len() >= whole).then_some(whole);
        }
    }
    None
}
