//! What happens to connections after they were made, and where they come from: against a real
//! mosquitto and the null broker.

use std::{collections::HashSet, future, num::NonZeroU32, time::Duration};

use midge::{
    codec::QoS,
    load::{
        self, Account, Comeback, Outcome, Phase, Plan, Profile, Publishing, Report, StartError,
        State, Storm, Subscribing, Target, Update,
    },
};

use crate::{
    assert_adds_up, at, errors, plan, run,
    server::{Script, Server},
    support::Broker,
};

const LOGGING: &str = "allow_anonymous true\nmax_connections -1\n";
const QUICK: Comeback = {
    let mut comeback = Comeback::new(Duration::from_millis(50), Duration::from_millis(200));
    comeback.stable_after = Duration::from_secs(1);
    comeback
};

fn against(broker: &Broker, clients: u32) -> Plan {
    plan(at(broker.address()), clients)
}

/// Runs without the check that every connection was lost by accident.
async fn run_freely(plan: Plan) -> Report {
    let running = load::run(plan, future::pending(), |_| {});
    let report = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    let totals = report.totals;
    assert_eq!(totals.attempted, totals.connected + totals.failed + totals.pending, "{totals:?}");
    let ended = totals.dropped + totals.left;
    assert_eq!(totals.connected + totals.returned, totals.open + ended, "{totals:?}");
    report
}

/// Holds the connections until this is true of an update.
async fn run_until(mut plan: Plan, mut is_enough: impl FnMut(&Update) -> bool) -> Report {
    plan.hold = None;
    let (enough, stop) = tokio::sync::oneshot::channel();
    let mut enough = Some(enough);
    let running = load::run(plan, async { stop.await.unwrap() }, |update| {
        if is_enough(&update)
            && let Some(enough) = enough.take()
        {
            enough.send(()).unwrap();
        }
    });
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap()
}

#[tokio::test]
async fn churn_replaces_connections_at_its_rate() {
    let Some(broker) = Broker::with_config(LOGGING) else { return };
    let mut plan = against(&broker, 20);
    plan.life.churn = Some(20.0);
    plan.hold = Some(Duration::from_millis(1_600));
    let report = run_freely(plan).await;
    assert_eq!(errors(&report), []);
    assert!((25..=33).contains(&report.totals.left), "{:?}", report.totals);
    assert!(report.totals.left - report.totals.returned <= 2, "{:?}", report.totals);
    assert_eq!(report.outcome, Outcome::Complete);
    // The broker saw every one of them say goodbye.
    let goodbyes = report.totals.open + report.totals.left;
    broker.wait_for_log_count("Received DISCONNECT", goodbyes as usize);
}

#[tokio::test]
async fn a_storm_cuts_its_share_and_the_clients_come_back() {
    let Some(broker) = Broker::with_config(LOGGING) else { return };
    let mut plan = against(&broker, 200);
    plan.life.comeback = QUICK;
    plan.life.storms = vec![Storm { at: Duration::from_millis(500), share: 0.5 }];
    plan.hold = Some(Duration::from_millis(2_000));
    let report = run_freely(plan.clone()).await;
    let totals = report.totals;
    assert_eq!(errors(&report), []);
    assert!((70..=130).contains(&totals.left), "{totals:?}");
    assert_eq!((totals.returned, totals.open), (totals.left, 200), "{totals:?}");
    let back = report.phase(Phase::Return).unwrap();
    assert_eq!(back.n, u64::from(totals.left));
    // They were reset, not closed in an orderly way.
    broker.wait_for_log_count("Received DISCONNECT", 200);
    assert_eq!(broker.log().matches("Received DISCONNECT").count(), 200, "those of the end");
    // The same seed cuts the same clients.
    let again = run_freely(plan).await;
    assert_eq!(again.totals.left, totals.left);
}

#[tokio::test]
async fn clients_reconnect_when_the_broker_comes_back() {
    let Some(mut broker) = Broker::with_config(LOGGING) else { return };
    let mut plan = against(&broker, 10);
    plan.life.reconnect = true;
    plan.life.comeback = QUICK;
    plan.hold = Some(Duration::from_secs(4));
    let mut restarted = false;
    let report = load::run(plan, future::pending(), |update| {
        if let Update::Progress(progress) = update
            && progress.held.is_some()
            && !std::mem::replace(&mut restarted, true)
        {
            broker.kill();
            broker.start_again();
        }
    })
    .await
    .unwrap();
    let totals = report.totals;
    assert_eq!((totals.connected, totals.dropped), (10, 10), "{totals:?}");
    assert_eq!((totals.returned, totals.open), (10, 10), "{totals:?}");
    assert_eq!(report.outcome, Outcome::Failures, "that they came back does not undo the loss");
}

#[tokio::test]
async fn held_connections_carry_messages() {
    let Some(broker) = Broker::with_config(LOGGING) else { return };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut plan = against(&broker, 10);
        plan.identity.username = Some("user-%i".parse().unwrap());
        plan.traffic.publish = Some(Publishing {
            topic: "load/%i/%u".parse().unwrap(),
            payload: b"payload"[..].into(),
            qos,
            retain: false,
            every: Duration::from_millis(200),
        });
        plan.traffic.subscribe = Some(Subscribing {
            filter: "load/%i/#".parse().unwrap(),
            options: midge::codec::SubscribeOptions { qos, ..Default::default() },
        });
        let report = run_until(plan, |update| match update {
            Update::Progress(progress) => {
                progress.counts.received.min(progress.counts.published) >= 50
            }
            _ => false,
        })
        .await;
        assert_adds_up(&report);
        assert_eq!(errors(&report), []);
        let totals = report.totals;
        // Each client publishes every 200 ms from a moment within the first 200 ms on, never early.
        let due = 10.0 * (report.rate.held_s / 0.2 + 1.0);
        for count in [totals.published, totals.received] {
            assert!(count >= 50 && count as f64 <= due, "{qos:?}: {totals:?}, {:?}", report.rate);
        }
        assert_eq!(report.phase(Phase::SubAck).unwrap().n, 10);
        assert_eq!(report.phase(Phase::PubAck).unwrap().n, totals.published);
    }
    broker.wait_for_log_count("load/3/user-3", 1);
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_told() {
    let server = Server::start(Script::RefuseSubscriptions);
    let mut plan = plan(at(server.address), 1);
    let mut session = midge::session::Config::new(midge::codec::Version::V311);
    session.keep_alive = 1;
    plan.session = std::sync::Arc::new(session);
    plan.traffic.subscribe =
        Some(Subscribing { filter: "#".parse().unwrap(), options: Default::default() });
    // The answer to a ping comes behind that to SUBSCRIBE.
    let report = run_until(plan, |update| match update {
        Update::Second(second) => second.phases.iter().any(|(phase, _)| *phase == Phase::PingResp),
        _ => false,
    })
    .await;
    assert_eq!(errors(&report), [("suback.unspecified_error", 1)]);
    assert_eq!((report.totals.connected, report.totals.open), (1, 1), "the connection goes on");
}

#[tokio::test]
async fn a_load_whose_subscriptions_are_refused_has_not_passed() {
    let server = Server::start(Script::RefuseSubscriptions);
    let mut plan = plan(at(server.address), 2);
    plan.traffic.subscribe =
        Some(Subscribing { filter: "a/%i".parse().unwrap(), options: Default::default() });
    plan.hold = Some(Duration::from_millis(500));
    let mut told = Vec::new();
    let observe = |update| {
        if let Update::Trouble(trouble) = update {
            told.push(trouble.class.name().into_owned());
        }
    };
    let report = load::run(plan, future::pending(), observe).await.unwrap();
    assert_eq!(report.outcome, Outcome::Complete);
    assert_eq!(errors(&report), [("suback.unspecified_error", 2)]);
    assert_eq!(told, ["suback.unspecified_error"; 2]);
    assert_eq!((report.verdict.state, report.verdict.exit_code), (State::Fail, 1));
}

#[tokio::test]
async fn a_load_whose_clients_cannot_come_back_has_not_passed() {
    let server = Server::start(Script::ServeAtMost(4));
    let mut plan = plan(at(server.address), 4);
    plan.life.comeback = QUICK;
    plan.life.storms = vec![Storm { at: Duration::from_millis(100), share: 1.0 }];
    plan.hold = Some(Duration::from_millis(1_000));
    let report = run_freely(plan).await;
    let totals = report.totals;
    assert_eq!((totals.left, totals.returned, totals.open, totals.dropped), (4, 0, 0, 0));
    assert!(totals.return_failed > 0, "{totals:?}");
    assert_eq!((totals.stayed_away(), report.verdict.state), (4, State::Fail));
}

#[tokio::test]
async fn each_client_has_its_own_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    for (user, password) in [("ann", "one"), ("bob", "two")] {
        let tool = std::process::Command::new(env!("CARGO_BIN_EXE_midge_passwd"))
            .args(["-H", "sha512-pbkdf2", "-b"])
            .args((user == "ann").then_some("-c"))
            .arg(&path)
            .args([user, password])
            .output()
            .unwrap();
        assert!(tool.status.success(), "{tool:?}");
    }
    let passwords = std::fs::read_to_string(&path).unwrap();
    let config = "allow_anonymous false\npassword_file @DIR@/passwords\n";
    let Some(broker) = Broker::with_files(config, &[("passwords", &passwords)]) else { return };
    let mut plan = against(&broker, 3);
    let account = |user: &str, password: &str| Account {
        username: Some(user.into()),
        password: Some(password.as_bytes().into()),
        ..Account::default()
    };
    plan.identity.accounts =
        Some([account("ann", "one"), account("bob", "two"), account("bob", "one")].into());
    let report = run(plan).await;
    assert_eq!((report.totals.connected, report.totals.failed), (2, 1));
    assert_eq!(errors(&report), [("connack.not_authorized", 1)]);
}

#[tokio::test]
async fn clients_come_from_the_addresses_that_were_named() {
    let Some(broker) = Broker::with_config(LOGGING) else { return };
    let mut plan = against(&broker, 12);
    plan.sources = "127.0.0.7,127.1.0.0/30".parse().unwrap();
    let report = run(plan).await;
    assert_eq!(errors(&report), []);
    broker.wait_for_log_count("Received DISCONNECT", 12);
    let log = broker.log();
    let sources: HashSet<_> = log
        .lines()
        .filter_map(|line| line.split_once("New connection from ")?.1.split(':').next())
        .filter(|source| *source != "127.0.0.1")
        .collect();
    assert_eq!(sources, ["127.0.0.7", "127.1.0.1", "127.1.0.2"].into());
}

#[tokio::test]
async fn an_address_of_another_machine_is_told_before_the_first_connect() {
    let mut plan = plan(at(([127, 0, 0, 1], 1).into()), 1);
    plan.sources = "192.0.2.77".parse().unwrap();
    let error = load::run(plan, future::pending(), |_| {}).await.unwrap_err();
    assert!(matches!(error, StartError::Source { .. }), "{error:?}");
}

#[tokio::test]
async fn clients_are_dealt_to_several_brokers() {
    let (Some(one), Some(two)) = (Broker::with_config(LOGGING), Broker::with_config(LOGGING))
    else {
        return;
    };
    let endpoint = |broker: &Broker| {
        midge::net::Endpoint::tcp(broker.address().ip().to_string(), broker.port())
    };
    let mut plan = against(&one, 11);
    plan.target = Target::Brokers(vec![endpoint(&one), endpoint(&two)]);
    plan.workers = NonZeroU32::new(2).unwrap();
    let report = run(plan).await;
    assert_eq!(report.totals.connected, 11);
    one.wait_for_log_count("Received DISCONNECT", 6);
    two.wait_for_log_count("Received DISCONNECT", 5);
    let connected = |broker: &Broker| broker.log().matches("Sending CONNACK").count();
    assert_eq!((connected(&one), connected(&two)), (6, 5));
}

#[tokio::test]
async fn bursts_start_together() {
    let mut plan = plan(Target::Embedded, 30);
    plan.profile = Profile::bursts(NonZeroU32::new(10).unwrap(), Duration::from_millis(300));
    let report = run(plan).await;
    assert!((0.6..0.9).contains(&report.rate.ramp_s), "{:?}", report.rate);
}
