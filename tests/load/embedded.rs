//! Whole runs against the embedded null broker.

use std::{future, num::NonZeroU32, sync::Arc, time::Duration};

use midge::{
    codec::Version,
    load::{self, Outcome, Phase, Profile, Progress, Seed, StartError, Target, Update},
    session::Config,
};
use tokio::sync::oneshot;

use crate::{assert_adds_up, plan, run};

#[tokio::test]
async fn every_client_connects_in_every_version() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut plan = plan(Target::Embedded, 300);
        plan.session = Arc::new(Config::new(version));
        let report = run(plan).await;
        assert_eq!(report.outcome, Outcome::Complete);
        assert_eq!((report.totals.attempted, report.totals.connected), (300, 300));
        assert_eq!((report.totals.open, report.totals.peak_open), (300, 300));
        assert_eq!(report.target.mqtt_version, version.to_string());
        for phase in [Phase::ScheduleLag, Phase::Tcp, Phase::ConnAck, Phase::Total] {
            assert_eq!(report.phase(phase).unwrap().n, 300, "{phase:?}");
        }
        assert!(report.phase(Phase::PingResp).is_none());
        assert!(report.errors.is_empty());
    }
}

#[tokio::test]
async fn percentiles_are_in_order_and_phases_add_up() {
    let report = run(plan(Target::Embedded, 500)).await;
    for (phase, latencies) in &report.phases {
        let l = latencies;
        let ordered = [l.min_us, l.p50, l.p90, l.p99, l.p999, l.p9999, l.max_us];
        assert!(ordered.is_sorted(), "{phase:?}: {ordered:?}");
        assert!(l.mean_us >= l.min_us as f64 && l.mean_us <= l.max_us as f64);
    }
    let mean = |phase| report.phase(phase).unwrap().mean_us;
    let parts = mean(Phase::ScheduleLag) + mean(Phase::Tcp) + mean(Phase::ConnAck);
    let total = mean(Phase::Total);
    // Each of the three is cut to whole microseconds, and kept to three digits.
    assert!((parts - total).abs() <= total / 500.0 + 3.0, "{parts} and {total}");
}

#[tokio::test]
async fn workers_share_the_clients_and_the_bound() {
    let mut plan = plan(Target::Embedded, 100);
    plan.workers = NonZeroU32::new(3).unwrap();
    plan.in_progress = NonZeroU32::new(4).unwrap();
    let report = run(plan).await;
    assert_eq!((report.totals.connected, report.totals.peak_open), (100, 100));
    assert_eq!(report.phase(Phase::Total).unwrap().n, 100);
}

#[tokio::test]
async fn clients_start_at_their_intended_instants() {
    let mut plan = plan(Target::Embedded, 21);
    plan.profile = Profile::interval(Duration::from_millis(10));
    let report = run(plan).await;
    assert_eq!(report.rate.intended, Some(100.0));
    assert!(report.rate.ramp_s >= 0.2, "{:?}", report.rate);
    // The last of the 21 intervals counts although nothing starts at its end.
    assert!(report.rate.achieved <= 100.0, "{:?}", report.rate);
}

#[tokio::test]
async fn connections_are_held_and_progress_is_told() {
    let mut plan = plan(Target::Embedded, 10);
    plan.hold = Some(Duration::from_millis(1_300));
    let mut told: Vec<Progress> = Vec::new();
    let observe = |update| match update {
        Update::Progress(progress) => told.push(progress),
        Update::Trouble(trouble) => panic!("{trouble:?}"),
        _ => {}
    };
    let report = load::run(plan, future::pending(), observe).await.unwrap();
    assert_adds_up(&report);
    assert!(report.rate.held_s >= 1.3, "{:?}", report.rate);
    assert!(told.is_sorted_by_key(|progress| progress.elapsed));
    assert!(told.len() >= 3, "{}", told.len());
    let last = told.last().unwrap();
    assert_eq!((last.counts.attempted, last.counts.connected), (10, 10));
    assert_eq!((last.counts.open(), last.counts.pending()), (10, 0));
    assert!(last.held.unwrap() >= Duration::from_millis(1_300));
    // One after each second, and one at the end.
    assert!(report.series_1s.len() >= 2, "{:?}", report.series_1s);
    assert!(report.series_1s.iter().all(|second| second.open == 10), "{:?}", report.series_1s);
}

#[tokio::test]
async fn an_interrupt_ends_a_load_that_would_hold_for_ever() {
    let mut plan = plan(Target::Embedded, 10);
    plan.hold = None;
    let (interrupt, interrupted) = oneshot::channel::<()>();
    let mut interrupt = Some(interrupt);
    let wait = async { interrupted.await.unwrap() };
    let report = load::run(plan, wait, |update| {
        if let Update::Progress(progress) = update
            && progress.held.is_some()
            && let Some(interrupt) = interrupt.take()
        {
            interrupt.send(()).unwrap();
        }
    })
    .await
    .unwrap();
    assert_adds_up(&report);
    assert_eq!((report.outcome, report.totals.open), (Outcome::Interrupted, 10));
}

#[tokio::test]
async fn an_interrupted_ramp_says_who_had_not_started() {
    let mut plan = plan(Target::Embedded, 1_000);
    plan.profile = Profile::interval(Duration::from_secs(3_600));
    let report = load::run(plan, future::ready(()), |_| {}).await.unwrap();
    assert_adds_up(&report);
    assert_eq!(report.outcome, Outcome::Interrupted);
    assert!(report.totals.not_started >= 999, "{:?}", report.totals);
}

#[tokio::test]
async fn a_plan_that_cannot_be_carried_out_does_not_start() {
    let error = load::run(plan(Target::Embedded, 0), future::pending(), |_| {}).await.unwrap_err();
    assert!(matches!(error, StartError::Plan(_)), "{error:?}");
    let greedy = plan(Target::Embedded, u32::MAX);
    let error = load::run(greedy, future::pending(), |_| {}).await.unwrap_err();
    assert!(matches!(error, StartError::Descriptors(_)), "{error:?}");
}

#[tokio::test]
async fn the_report_has_the_fields_of_its_schema() {
    let mut plan = plan(Target::Embedded, 1_000);
    plan.seed = Seed(42);
    let json = serde_json::to_value(run(plan).await).unwrap();
    assert_eq!(json["schema"], "conn-report/1");
    assert_eq!(json["run"]["seed"], 42);
    assert_eq!(json["target"]["url"], "embedded");
    assert_eq!(json["plan"]["clients"], 1_000);
    assert_eq!(json["plan"]["keepalive_s"], 60);
    assert_eq!(json["outcome"], "complete");
    for (total, value) in
        [("attempted", 1_000), ("connected", 1_000), ("failed", 0), ("dropped", 0)]
    {
        assert_eq!(json["totals"][total], value, "{total}");
    }
    for phase in ["schedule_lag", "tcp", "connack", "total"] {
        let latencies = &json["phases"][phase];
        assert_eq!(latencies["n"], 1_000, "{phase}");
        for key in ["min_us", "max_us", "mean_us", "p50", "p90", "p99", "p999", "p9999"] {
            assert!(latencies[key].is_number(), "{phase}.{key}");
        }
        assert!(latencies["hdr_v2_b64"].is_string(), "{phase}");
    }
    assert!(json["host"]["rss_bytes_per_client"].is_number());
    assert!(json["errors"].as_array().unwrap().is_empty());
    let seconds = json["series_1s"].as_array().unwrap();
    assert_eq!(seconds.last().unwrap()["connected"], 1_000);
    for time in ["started", "ended"] {
        let text = json["run"][time].as_str().unwrap();
        assert!(text.ends_with('Z') && text.contains('T'), "{text}");
    }
}
