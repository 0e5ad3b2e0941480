//! What a client allocates, counted by the allocator of this binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use midge::{Client, Flow, Inbox, Version};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most that an idle client may cost, its task and its mailbox included.
const IDLE_BYTES: usize = 992;
/// The same where the broker grants less than what holds without a word.
const GRANTED_IDLE_BYTES: usize = 1_024;

/// The counts are of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A CONNACK that grants all that was asked for.
const GRANTS_ALL: (usize, &[u8]) = (17, &[0x20, 2, 0, 0]);
/// One of 5.0 with a Receive Maximum and a Topic Alias Maximum, as mosquitto sends it.
const GRANTS_SOME: (usize, &[u8]) = (21, &[0x20, 9, 0, 0, 6, 0x21, 0, 20, 0x22, 0, 10]);

/// Accepts clients whose CONNECT is so long, keeps their sockets, and gives each to `serve`.
fn server(
    clients: usize,
    (connect_bytes, connack): (usize, &'static [u8]),
    serve: impl Fn(TcpStream) -> TcpStream + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::with_capacity(clients);
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut vec![0; connect_bytes]).unwrap();
            stream.write_all(connack).unwrap();
            kept.push(serve(stream));
        }
    });
    address
}

/// Receives `messages` twice, and counts what was allocated the second time.
fn receive(packet: &'static [u8], ack: &'static [u8], messages: usize) -> Stats {
    let address = server(1, GRANTS_ALL, move |mut stream| {
        let bytes = packet.repeat(messages);
        let mut acks = vec![0; messages * ack.len()];
        for _ in 0..2 {
            // The client says when.
            stream.read_exact(&mut [0; 5]).unwrap();
            let mut writer = stream.try_clone().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&bytes).unwrap());
                stream.read_exact(&mut acks).unwrap();
            });
        }
        stream
    });
    block_on(async {
        let done = Arc::new(Notify::new());
        let count = AtomicUsize::new(0);
        let (client, _inbox) = Client::builder(&format!("mqtt://{address}"))
            .unwrap()
            .client_id("abc")
            .on_message({
                let done = Arc::clone(&done);
                move |message, _| {
                    assert_eq!(message.payload(), b"payload");
                    if (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(messages) {
                        done.notify_one();
                    }
                    Flow::Taken
                }
            })
            .start()
            .unwrap();
        client.publish("t", "").await.unwrap();
        done.notified().await;
        let region = Region::new(ALLOCATOR);
        client.publish("t", "").await.unwrap();
        done.notified().await;
        region.change()
    })
}

#[test]
fn a_message_that_is_taken_allocates_nothing() {
    let _alone = alone();
    const MESSAGES: usize = 20_000;
    for (packet, ack) in [
        (&b"\x30\x0A\x00\x01tpayload"[..], &b""[..]),
        (b"\x32\x0C\x00\x01t\x00\x07payload", b"\x40\x02\x00\x07"),
    ] {
        let stats = receive(packet, ack, MESSAGES);
        let allocations = stats.allocations + stats.reallocations;
        println!("{allocations} allocations for {MESSAGES} messages");
        assert!(allocations < MESSAGES / 100, "{stats:?}");
    }
}

/// Heap in use while so many clients are connected and idle.
fn idle(address: SocketAddr, version: Version, clients: usize) -> usize {
    block_on(async {
        let mut handles: Vec<(Client, Inbox)> = Vec::with_capacity(clients);
        for n in 0..clients {
            let builder = Client::builder(&format!("mqtt://{address}")).unwrap();
            let builder = builder.version(version).client_id(format!("{:03}", n % 1000));
            let (client, inbox) = builder.start().unwrap();
            client.connected().await.unwrap();
            handles.push((client, inbox));
        }
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    })
}

#[test]
fn an_idle_client_stays_within_its_budget() {
    let _alone = alone();
    const FEW: usize = 64;
    const MANY: usize = 576;
    for (version, granted, budget) in
        [(Version::V311, GRANTS_ALL, IDLE_BYTES), (Version::V5, GRANTS_SOME, GRANTED_IDLE_BYTES)]
    {
        let address = server(2000, granted, |stream| stream);
        let few = idle(address, version, FEW);
        let many = idle(address, version, MANY);
        let per_client = (many - few) / (MANY - FEW);
        println!("{per_client} bytes of heap per idle client of {version}");
        assert!(per_client <= budget, "{per_client} bytes per idle client of {version}");
        assert!(per_client >= 512, "{per_client} bytes: something was not counted");
    }
}
