//! How fast the load engine opens connections to the embedded null broker, both in this process.
//!
//! `cargo bench --bench conn` measures; with `-- --smoke` it only shows that it runs. The null
//! broker has a thread of its own, so a machine with two free processors is needed for figures that
//! mean something.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that prints its findings"
)]

use std::{
    env, future,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use midge::{
    codec::Version,
    load::{self, Phase, Plan, Profile, Report, Target},
    session::Config,
};

/// What it costs to record one duration, in nanoseconds.
fn record_ns(count: u32) -> f64 {
    let mut durations = Histogram::<u32>::new(3).unwrap();
    durations.auto(true);
    durations.record(3_600_000_000).unwrap();
    let began = Instant::now();
    for n in 0..count {
        // Spread over four decades, as durations are.
        durations.record(u64::from(n.wrapping_mul(2_654_435_761) >> 18)).unwrap();
    }
    let took = began.elapsed();
    std::hint::black_box(&durations);
    took.as_nanos() as f64 / f64::from(count)
}

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    let (clients, rounds) = if smoke { (100, 1) } else { (5_000, 3) };
    println!(
        "{:<24} {:>10} {:>12} {:>12} {:>14}",
        "", "conn/s", "tcp p50 us", "connack p50", "connack p99"
    );
    let count = if smoke { 1_000 } else { 20_000_000 };
    println!("{:<24} {:>10.1} ns", "recording a duration", record_ns(count));
    for version in [Version::V311, Version::V5] {
        for in_progress in [16, 64, 256] {
            for _ in 0..rounds {
                let report = measure(version, clients, NonZeroU32::new(in_progress).unwrap());
                print(&format!("MQTT {version}, {in_progress} at a time"), &report);
            }
        }
    }
}

fn measure(version: Version, clients: u32, in_progress: NonZeroU32) -> Report {
    let mut plan = Plan::new(Target::Embedded, Config::new(version));
    plan.clients = clients;
    plan.profile = Profile::interval(Duration::ZERO);
    plan.hold = Some(Duration::ZERO);
    plan.in_progress = in_progress;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(load::run(plan, future::pending(), |_| {})).unwrap();
    assert_eq!(report.totals.connected, clients, "{:?}", report.errors);
    report
}

fn print(name: &str, report: &Report) {
    let median = |phase| report.phase(phase).map_or(0, |latencies| latencies.p50);
    let p99 = report.phase(Phase::ConnAck).map_or(0, |latencies| latencies.p99);
    println!(
        "{name:<24} {:>10.0} {:>12} {:>12} {:>14}",
        report.rate.achieved,
        median(Phase::Tcp),
        median(Phase::ConnAck),
        p99
    );
}
