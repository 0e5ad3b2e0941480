//! The connection load engine and `midge_conn`, against the embedded null broker, scripted servers
//! and a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod embedded;
mod hostile;
mod machines;
mod outputs;
mod report;
mod server;
mod shapes;
mod sink;
mod tool;
mod verbs;

use std::{future, net::SocketAddr, time::Duration};

use midge::{
    codec::Version,
    load::{self, Plan, Profile, Report, Target},
    net::Endpoint,
    session::Config,
};

/// So few clients that a stall of this machine is not the verdict on their load.
const UNJUDGED: &str = "99";

/// A plan for `clients` clients that start at once and end at once.
fn plan(target: Target, clients: u32) -> Plan {
    let mut plan = Plan::new(target, Config::new(Version::V311));
    plan.clients = clients;
    plan.profile = Profile::interval(Duration::ZERO);
    plan.hold = Some(Duration::ZERO);
    plan
}

fn at(address: SocketAddr) -> Target {
    Target::broker(Endpoint::tcp(address.ip().to_string(), address.port()))
}

async fn run(plan: Plan) -> Report {
    let running = load::run(plan, future::pending(), |_| {});
    // Only a load that does not notice its end takes so long.
    let report = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    assert_adds_up(&report);
    report
}

/// Whatever happened, every client is accounted for, once.
fn assert_adds_up(report: &Report) {
    let totals = report.totals;
    assert_eq!(totals.attempted, totals.connected + totals.failed + totals.pending, "{totals:?}");
    assert_eq!(totals.planned, totals.attempted + totals.not_started, "{totals:?}");
    assert_eq!(totals.connected, totals.open + totals.dropped, "{totals:?}");
    let errors: u64 = report.errors.iter().map(|row| row.count).sum();
    assert_eq!(errors, u64::from(totals.failed + totals.dropped), "{:?}", report.errors);
    for row in &report.errors {
        assert!(row.first_s <= row.last_s, "{row:?}");
        assert!(!row.sample_error.is_empty() && !row.remedy.is_empty(), "{row:?}");
    }
}

/// The classes of the failures with their counts.
fn errors(report: &Report) -> Vec<(&str, u64)> {
    report.errors.iter().map(|row| (&*row.class, row.count)).collect()
}
