//! How much heap an idle connection costs, counted by the allocator of this binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    alloc::System,
    future,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use midge::{
    codec::Version,
    load::{self, Plan, Profile, Target, Update},
    net::Endpoint,
    session::Config,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most that an idle connection may cost.
const BUDGET_BYTES: usize = 304;
/// Connections of the small and of the large run. What the process allocates once is in both; both
/// are multiples of every step in which the engine grows.
const FEW: u32 = 1_024;
const MANY: u32 = 3_072;

/// A server that costs nearly nothing itself: it accepts every client and keeps its socket.
fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut connections = Vec::with_capacity((FEW + MANY) as usize);
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A CONNECT with a client identifier of 23 characters and nothing else.
            stream.read_exact(&mut [0; 37]).unwrap();
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            connections.push(stream);
        }
    });
    address
}

/// Heap in use while `clients` idle connections are held.
async fn heap_bytes(server: SocketAddr, clients: u32) -> usize {
    let endpoint = Endpoint::tcp(server.ip().to_string(), server.port());
    let mut plan = Plan::new(Target::broker(endpoint), Config::new(Version::V311));
    plan.clients = clients;
    plan.profile = Profile::interval(Duration::ZERO);
    // Idle: the second in which the clients connected is over.
    plan.hold = Some(Duration::from_millis(1_500));
    let mut in_use = 0;
    let report = load::run(plan, future::pending(), |update| {
        if let Update::Progress(progress) = update
            && progress.held.is_some()
        {
            let stats = ALLOCATOR.stats();
            in_use = stats.bytes_allocated - stats.bytes_deallocated;
        }
    })
    .await
    .unwrap();
    assert_eq!(report.totals.open, clients);
    in_use
}

#[tokio::test]
async fn an_idle_connection_stays_within_its_budget() {
    let server = server();
    let few = heap_bytes(server, FEW).await;
    let many = heap_bytes(server, MANY).await;
    let per_connection = many.saturating_sub(few) / (MANY - FEW) as usize;
    println!("{per_connection} bytes of heap per idle connection");
    assert!(per_connection <= BUDGET_BYTES, "{per_connection} bytes per idle connection");
    assert!(per_connection >= 256, "{per_connection} bytes: something was not counted");
}
