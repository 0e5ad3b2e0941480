//! Reports as programs use them: read back, merged.

use std::time::Duration;

use midge::load::{
    Distribution, Latencies, MergeError, Outcome, Phase, Profile, ReadReportError, Report, Seed,
    Shard, Subscribing, Target,
};

use crate::{errors, plan, run, server::Script};

/// The reports of the shards of one plan, one after the other.
async fn shards(clients: u32, count: u32) -> Vec<Report> {
    let mut reports = Vec::new();
    for index in 0..count {
        let mut plan = plan(Target::Embedded, clients);
        plan.seed = Seed(7);
        plan.shard = Shard::new(index, count).unwrap();
        reports.push(run(plan).await);
    }
    reports
}

fn n(report: &Report, phase: Phase) -> u64 {
    report.phase(phase).map_or(0, |latencies| latencies.n)
}

#[tokio::test]
async fn what_is_read_back_is_what_was_written() {
    let mut plan = plan(Target::Embedded, 50);
    plan.profile = Profile::interval(Duration::from_millis(1));
    plan.objectives = vec!["connack.p90<1m".parse().unwrap(), "hold.drops==0".parse().unwrap()];
    let written = run(plan).await;
    let text = written.to_json();
    let read = Report::from_json(&text).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.to_json(), text);
}

#[tokio::test]
async fn what_is_no_report_is_refused() {
    let report = run(plan(Target::Embedded, 5)).await;
    let text = String::from_utf8(report.to_json()).unwrap();
    let read = |text: &str| Report::from_json(text.as_bytes()).unwrap_err();
    assert!(matches!(read(""), ReadReportError::Json(_)));
    assert!(matches!(read(&text[..text.len() / 2]), ReadReportError::Json(_)));
    let newer = text.replace("conn-report/1", "conn-report/2");
    assert!(matches!(read(&newer), ReadReportError::Schema { found } if found == "conn-report/2"));
    let damaged = text.replacen("\"hdr_v2_b64\": \"HIST", "\"hdr_v2_b64\": \"HIST*", 1);
    assert_ne!(damaged, text);
    assert!(matches!(read(&damaged), ReadReportError::Distribution { .. }));
    let fewer = text.replace("\"n\": 5", "\"n\": 6");
    assert!(matches!(read(&fewer), ReadReportError::Distribution { .. }));
    // Fields of later versions are no obstacle.
    let later = text.replacen("\"schema\":", "\"later\": [1], \"schema\":", 1);
    assert_eq!(Report::from_json(later.as_bytes()).unwrap(), report);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let report = serde_json::to_value(run(plan(Target::Embedded, 5)).await).unwrap();
    for (at, value, what) in [
        ("/run/shard/count", 0.into(), "run.shard"),
        ("/run/shard/index", 1.into(), "run.shard"),
        ("/totals/connected", 6.into(), "totals.attempted"),
        ("/totals/not_started", u32::MAX.into(), "totals.planned"),
        ("/totals/returned", 1.into(), "totals.open"),
        ("/series_1s/0/t", 1e300.into(), "series_1s.t"),
        ("/series_1s/0/t", (-1.0).into(), "series_1s.t"),
    ] {
        let mut damaged = report.clone();
        let field: &mut serde_json::Value = damaged.pointer_mut(at).unwrap();
        *field = value;
        let error = Report::from_json(damaged.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("the report contradicts itself: {what}"), "{at}");
    }
}

#[tokio::test]
async fn parts_that_lie_far_apart_have_no_seconds_between_them() {
    let mut parts = shards(8, 2).await;
    parts[1].series_1s.truncate(1);
    parts[1].series_1s[0].t = 9e9;
    let merged = Report::merge(parts).unwrap();
    assert!(merged.series_1s.len() <= 3, "{}", merged.series_1s.len());
    assert_eq!(merged.series_1s.last().unwrap().connected, 8);
}

#[tokio::test]
async fn shards_have_the_clients_of_the_whole_between_them() {
    let parts = shards(103, 4).await;
    let planned: Vec<_> = parts.iter().map(|part| part.totals.planned).collect();
    assert_eq!(planned, [26, 26, 26, 25]);
    let merged = Report::merge(parts.clone()).unwrap();
    assert_eq!(merged.run.shard, Shard::default());
    assert_eq!((merged.totals.planned, merged.totals.connected), (103, 103));
    assert_eq!((merged.totals.not_started, merged.totals.open), (0, 103));
    assert_eq!(merged.outcome, Outcome::Complete);
    assert_eq!(merged.run.parts.len(), 4);
    assert!(merged.start_skew_s() > 0.0);
    for phase in [Phase::ScheduleLag, Phase::Tcp, Phase::ConnAck, Phase::Total, Phase::TotalAll] {
        assert_eq!(n(&merged, phase), 103, "{phase:?}");
        // Losslessly: the distribution of the whole is the sum.
        let mut sum = Distribution::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        for part in &parts {
            sum.add(part.phase(phase).unwrap().distribution().unwrap()).unwrap();
        }
        assert_eq!(merged.phase(phase).unwrap(), &Latencies::new(&sum));
    }
    let last = merged.series_1s.last().unwrap();
    assert_eq!((last.attempted, last.connected), (103, 103));
    assert_eq!(Report::from_json(&merged.to_json()).unwrap(), merged);

    let mut any_order = parts.clone();
    any_order.reverse();
    let reversed = Report::merge(any_order).unwrap();
    assert_eq!((&reversed.totals, &reversed.phases), (&merged.totals, &merged.phases));

    // In two steps, as processes and then hosts.
    let [a, b, c, d] = <[Report; 4]>::try_from(parts).unwrap();
    let even = Report::merge(vec![a, c]).unwrap();
    assert_eq!((even.run.shard.index, even.run.shard.count), (0, 2));
    assert_eq!(even.totals.planned, 52);
    let odd = Report::merge(vec![b, d]).unwrap();
    let whole = Report::merge(vec![even, odd]).unwrap();
    assert_eq!((whole.totals.planned, &whole.phases), (103, &merged.phases));
    assert_eq!(whole.run.parts.len(), 4);
}

#[tokio::test]
async fn what_does_not_belong_together_is_not_merged() {
    let parts = shards(20, 3).await;
    assert_eq!(Report::merge(vec![]), Err(MergeError::Nothing));
    let error = Report::merge(vec![parts[0].clone(), parts[2].clone()]).unwrap_err();
    assert_eq!(error, MergeError::Missing(vec![Shard::new(1, 3).unwrap()]));
    assert_eq!(error.to_string(), "missing: shard 1/3");
    let incomplete = Report::merge_incomplete(vec![parts[0].clone(), parts[2].clone()]).unwrap();
    assert_eq!((incomplete.totals.connected, incomplete.totals.not_started), (13, 7));
    assert_eq!(incomplete.outcome, Outcome::Failures);

    let again = shards(20, 3).await.remove(1);
    let error = Report::merge(parts.iter().cloned().chain([again]).collect()).unwrap_err();
    assert!(matches!(error, MergeError::Restarted { .. }), "{error}");
    assert!(error.to_string().starts_with("shard 1/3 was restarted"), "{error}");

    let whole = shards(20, 1).await.remove(0);
    let error = Report::merge(vec![parts[0].clone(), whole]).unwrap_err();
    assert!(matches!(error, MergeError::Overlap { .. }), "{error}");

    let mut other = plan(Target::Embedded, 20);
    other.seed = Seed(7);
    other.shard = Shard::new(1, 3).unwrap();
    other.connect_timeout = Duration::from_secs(11);
    let error = Report::merge(vec![parts[0].clone(), run(other).await]).unwrap_err();
    assert!(error.to_string().ends_with("plan.connect_timeout_s is 10.0 and 11.0"), "{error}");
}

#[tokio::test]
async fn plans_of_other_lives_and_other_clients_are_not_merged() {
    let of = |index| {
        let mut plan = plan(Target::Embedded, 4);
        plan.seed = Seed(7);
        plan.shard = Shard::new(index, 2).unwrap();
        plan
    };
    let first = run(of(0)).await;
    let mut churning = of(1);
    churning.life.reconnect = true;
    let mut named = of(1);
    named.identity.client_id = Some("dev-%i".parse().unwrap());
    let mut subscribed = of(1);
    subscribed.traffic.subscribe =
        Some(Subscribing { filter: "a/%i".parse().unwrap(), options: Default::default() });
    for (plan, difference) in [
        (churning, "plan.life is \"\" and \"reconnect, back-off 1s to 60s\""),
        (named, "plan.clients_say is \"\" and \"client identifier dev-%i\""),
        (subscribed, "plan.traffic is \"\" and \"subscribe to a/%i at QoS 0\""),
    ] {
        assert_ne!(plan.hash(), first.run.plan_hash);
        let other = run(plan).await;
        let error = Report::merge(vec![first.clone(), other]).unwrap_err();
        assert!(error.to_string().ends_with(difference), "{error}");
    }
}

#[tokio::test]
async fn what_a_machine_counts_is_not_multiplied_by_its_processes() {
    let mut parts = shards(8, 4).await;
    for (part, host) in parts.iter_mut().zip(["a", "a", "b", "b"]) {
        part.host.name = host.into();
        part.host.retransmits = Some(7);
        part.host.syn_retransmits = Some(2);
        part.series_1s.truncate(1);
        part.run.started.clone_from(&"2030-01-31T12:00:00Z".to_owned());
        for second in &mut part.series_1s {
            (second.t, second.retransmits) = (0.5, Some(7));
        }
    }
    let merged = Report::merge(parts).unwrap();
    assert_eq!((merged.host.retransmits, merged.host.syn_retransmits), (Some(14), Some(4)));
    assert_eq!(merged.series_1s[0].retransmits, Some(14));
}

#[tokio::test]
async fn failures_are_merged_by_class() {
    let server = crate::server::Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 5]));
    let mut parts = Vec::new();
    for index in 0..2 {
        let mut plan = plan(crate::at(server.address), 8);
        plan.seed = Seed(1);
        plan.shard = Shard::new(index, 2).unwrap();
        plan.connect_timeout = Duration::from_secs(10);
        parts.push(run(plan).await);
    }
    let first = parts[0].errors[0].clone();
    let merged = Report::merge(parts).unwrap();
    assert_eq!(errors(&merged), [("connack.not_authorized", 4)]);
    assert_eq!(merged.errors[0].sample_client, first.sample_client);
    assert!(merged.errors[0].last_s > first.last_s);
    // Failures stay in the distribution, as no shorter than the timeout.
    assert_eq!((n(&merged, Phase::Total), n(&merged, Phase::TotalAll)), (4, 8));
    assert!(merged.phase(Phase::TotalAll).unwrap().p90 >= 10_000_000);
    assert!(merged.phase(Phase::Total).unwrap().max_us < 10_000_000);
}
