//! Servers that are not there, silent, wrong, or that stop in the middle.

use std::{collections::HashSet, future, num::NonZeroU32, sync::Arc, time::Duration};

use midge::{
    codec::Version,
    load::{self, Outcome, Phase, Plan, Profile, Report, Seed, State, Update},
    session::Config,
};

use crate::{
    assert_adds_up, at, errors, plan, run,
    server::{ACCEPTED, Script, Seen, Server},
    support::broker::free_port,
};

fn against(server: &Server, clients: u32) -> Plan {
    plan(at(server.address), clients)
}

#[tokio::test]
async fn nobody_listens() {
    let mut plan = plan(at(([127, 0, 0, 1], free_port()).into()), 1_000);
    plan.profile = Profile::interval(Duration::from_secs(1));
    let report = run(plan).await;
    assert_eq!(report.outcome, Outcome::Unreachable);
    assert_eq!(errors(&report), [("tcp.refused", 1)]);
    assert_eq!(report.totals.not_started, 999, "the rest of the plan is given up at once");
}

#[tokio::test]
async fn a_silent_server_costs_each_client_its_timeout() {
    let server = Server::start(Script::Silence);
    let mut plan = against(&server, 30);
    plan.connect_timeout = Duration::from_millis(300);
    let report = run(plan).await;
    assert_eq!(report.outcome, Outcome::Failures);
    assert_eq!(errors(&report), [("connack.timeout", 30)]);
    assert_eq!(report.phase(Phase::Tcp).unwrap().n, 30);
    assert!(report.phase(Phase::ConnAck).is_none());
    assert!(report.errors[0].first_s >= 0.3, "{:?}", report.errors);
}

#[tokio::test]
async fn a_load_that_is_interrupted_before_anybody_was_accepted_has_not_passed() {
    let server = Server::start(Script::Silence);
    let mut plan = against(&server, 3);
    plan.connect_timeout = Duration::from_secs(60);
    let interrupt = async {
        while !matches!(server.seen.try_recv(), Ok(Seen::Connect(..))) {
            tokio::task::yield_now().await;
        }
    };
    let report = load::run(plan, interrupt, |_| {}).await.unwrap();
    assert_adds_up(&report);
    assert_eq!((report.totals.connected, report.totals.failed), (0, 0));
    assert_eq!((report.verdict.state, report.verdict.exit_code), (State::Fail, 130));
}

#[tokio::test]
async fn attempts_in_progress_are_bounded() {
    let server = Server::start(Script::Silence);
    let mut plan = against(&server, 12);
    plan.in_progress = NonZeroU32::new(3).unwrap();
    plan.connect_timeout = Duration::from_millis(200);
    let mut most = 0;
    let report = load::run(plan, future::pending(), |update| {
        if let Update::Progress(progress) = update {
            most = most.max(progress.counts.pending());
        }
    })
    .await
    .unwrap();
    assert_adds_up(&report);
    assert_eq!((report.totals.failed, most), (12, 3));
    // Four rounds of three, each of which waited for its timeout.
    assert!(report.rate.ramp_s >= 0.8, "{:?}", report.rate);
    assert!(report.phase(Phase::ScheduleLag).unwrap().max_us >= 600_000);
}

#[tokio::test]
async fn a_server_that_closes() {
    let server = Server::start(Script::Close);
    let report = run(against(&server, 5)).await;
    assert_eq!(errors(&report), [("connack.closed", 5)]);
    assert_eq!(report.outcome, Outcome::Failures);
}

#[tokio::test]
async fn answers_that_are_not_a_connack() {
    for (bytes, class) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "protocol."),
        (&[0x20, 2, 2, 0], "protocol."),
        (&[0x20, 0xff, 0xff, 0xff, 0xff], "protocol."),
        (&[0x20, 3, 0, 0, 0], "protocol."),
        (&[0xd0, 0], "protocol."),
        (&[0x20, 2, 0], "connack.closed"),
    ] {
        let server = Server::start(Script::AnswerAndClose(bytes.to_vec()));
        let report = run(against(&server, 2)).await;
        let rows = errors(&report);
        assert_eq!(rows.len(), 1, "{bytes:x?}: {rows:?}");
        assert!(rows[0].0.starts_with(class) && rows[0].1 == 2, "{bytes:x?}: {rows:?}");
    }
}

async fn refused(version: Version, answer: &[u8]) -> Report {
    let server = Server::start(Script::AnswerAndClose(answer.to_vec()));
    let mut plan = against(&server, 3);
    plan.session = Arc::new(Config::new(version));
    run(plan).await
}

#[tokio::test]
async fn refusals_are_named() {
    for (version, answer, class, code) in [
        (Version::V311, &[0x20, 2, 0, 5][..], "connack.not_authorized", 0x87),
        (Version::V311, &[0x20, 2, 0, 4], "connack.bad_user_name_or_password", 0x86),
        (Version::V31, &[0x20, 2, 0, 2], "connack.client_identifier_not_valid", 0x85),
        (Version::V5, &[0x20, 3, 0, 0x97, 0], "connack.quota_exceeded", 0x97),
        (Version::V5, &[0x20, 3, 0, 0x9f, 0], "connack.connection_rate_exceeded", 0x9f),
    ] {
        let report = refused(version, answer).await;
        assert_eq!(errors(&report), [(class, 3)]);
        assert_eq!(report.errors[0].code, Some(code));
        assert_eq!(report.outcome, Outcome::Failures);
    }
}

#[tokio::test]
async fn half_of_the_clients_are_refused() {
    let server = Server::start(Script::RefuseHalf(vec![0x20, 2, 0, 3]));
    let mut troubles = Vec::new();
    let plan = against(&server, 20);
    let seed = plan.seed;
    let report = load::run(plan, future::pending(), |update| {
        if let Update::Trouble(trouble) = update {
            troubles.push(trouble);
        }
    })
    .await
    .unwrap();
    assert_adds_up(&report);
    assert_eq!((report.totals.connected, report.totals.failed), (10, 10));
    assert_eq!(errors(&report), [("connack.server_unavailable", 10)]);
    assert_eq!(report.phase(Phase::Total).unwrap().n, 10);
    let told: HashSet<_> = troubles.iter().map(|trouble| trouble.client.clone()).collect();
    assert_eq!(told.len(), 10, "each is told once: {troubles:?}");
    let clients: HashSet<_> = (0..20).map(|g| seed.client_id(g)).collect();
    assert!(told.is_subset(&clients));
    assert_eq!(troubles[0].client, report.errors[0].sample_client);
}

#[tokio::test]
async fn a_server_that_dies_takes_every_client_with_it() {
    let server = Server::start(Script::AnswerAndClose(ACCEPTED.to_vec()));
    let mut plan = against(&server, 8);
    plan.hold = None;
    let report = run(plan).await;
    assert_eq!(report.outcome, Outcome::Failures, "nothing is left to hold");
    assert_eq!((report.totals.connected, report.totals.dropped), (8, 8));
    assert_eq!(report.totals.open, 0);
    let rows = errors(&report);
    assert!(rows.iter().all(|(class, _)| ["session.eof", "session.reset"].contains(class)));
}

#[tokio::test]
async fn a_disconnect_of_the_server_is_named() {
    let mut answer = vec![0x20, 3, 0, 0, 0];
    answer.extend([0xe0, 1, 0x8b]);
    let report = refused(Version::V5, &answer).await;
    assert_eq!(errors(&report), [("session.server_shutting_down", 3)]);
    assert_eq!(report.totals.dropped, 3);
}

#[tokio::test]
async fn pings_are_sent_and_measured() {
    let server = Server::start(Script::Serve);
    let mut plan = against(&server, 4);
    let mut session = Config::new(Version::V311);
    session.keep_alive = 1;
    plan.session = Arc::new(session);
    plan.hold = Some(Duration::from_millis(2_200));
    let report = run(plan).await;
    assert_eq!((report.outcome, report.totals.dropped), (Outcome::Complete, 0));
    let pings: Vec<_> = server
        .seen
        .try_iter()
        .filter_map(|seen| match seen {
            Seen::Ping(number) => Some(number),
            _ => None,
        })
        .collect();
    for number in 0..4 {
        let count = pings.iter().filter(|&&pinged| pinged == number).count();
        assert!((1..=5).contains(&count), "client {number} sent {count} pings");
    }
    let answered = report.phase(Phase::PingResp).unwrap().n;
    assert!(answered >= 4 && answered as usize <= pings.len(), "{answered} of {}", pings.len());
}

#[tokio::test]
async fn a_missing_ping_answer_ends_the_connection() {
    let server = Server::start(Script::Answer(ACCEPTED.to_vec()));
    let mut plan = against(&server, 2);
    let mut session = Config::new(Version::V311);
    session.keep_alive = 1;
    plan.session = Arc::new(session);
    plan.hold = None;
    let report = run(plan).await;
    assert_eq!(errors(&report), [("ping.missing", 2)]);
    assert_eq!((report.totals.connected, report.totals.dropped), (2, 2));
}

#[tokio::test]
async fn clients_are_the_same_for_the_same_seed_and_leave_in_order() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let server = Server::start(Script::Serve);
        let mut plan = against(&server, 6);
        plan.seed = Seed(7);
        run(plan).await;
        let mut connects = HashSet::new();
        let mut disconnects = 0;
        while disconnects < 6 {
            match server.seen.recv().unwrap() {
                Seen::Connect(_, packet) => {
                    connects.insert(packet);
                }
                Seen::Disconnect(_) => disconnects += 1,
                Seen::Ping(_) | Seen::Closed(_) => {}
            }
        }
        runs.push(connects);
    }
    assert_eq!(runs[0].len(), 6, "no two clients are alike");
    assert_eq!(runs[0], runs[1]);
    let id = Seed(7).client_id(5);
    assert!(runs[0].iter().any(|packet| packet.ends_with(id.as_bytes())));
}

#[tokio::test]
async fn dropping_the_future_ends_the_load() {
    let server = Server::start(Script::Serve);
    let mut plan = against(&server, 3);
    plan.hold = None;
    let (connected, mut all_connected) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        _ = load::run(plan, future::pending(), |update| {
            if let Update::Progress(progress) = update && progress.held.is_some() {
                let _ = connected.send(());
            }
        }) => unreachable!("it holds for ever"),
        _ = all_connected.recv() => {}
    }
    let mut closed = 0;
    while closed < 3 {
        if let Seen::Closed(_) = server.seen.recv().unwrap() {
            closed += 1;
        }
    }
}
