//! Against a real mosquitto.

use std::{sync::Arc, time::Duration};

use midge::{
    codec::Version,
    load::{Outcome, Phase, Plan},
    session::Config,
};

use crate::{at, errors, plan, run, support::Broker};

const UNLIMITED: &str = "allow_anonymous true\nmax_connections -1\n";

fn against(broker: &Broker, clients: u32) -> Plan {
    plan(at(broker.address()), clients)
}

#[tokio::test]
async fn a_thousand_clients_connect() {
    let Some(broker) = Broker::with_config(UNLIMITED) else { return };
    let report = run(against(&broker, 1_000)).await;
    assert_eq!(errors(&report), []);
    assert_eq!((report.totals.connected, report.totals.open), (1_000, 1_000));
    assert_eq!(report.outcome, Outcome::Complete);
}

#[tokio::test]
async fn every_version_is_spoken_and_pings_keep_the_connection() {
    let Some(broker) = Broker::with_config(UNLIMITED) else { return };
    let held = async |version| {
        let mut session = Config::new(version);
        // The broker closes a connection that is silent for one and a half times this.
        session.keep_alive = 2;
        let mut plan = against(&broker, 20);
        plan.session = Arc::new(session);
        plan.hold = Some(Duration::from_millis(3_500));
        let report = run(plan).await;
        assert_eq!(errors(&report), []);
        assert_eq!((report.totals.connected, report.totals.dropped), (20, 0), "{version}");
        let pings = report.phase(Phase::PingResp).unwrap().n;
        assert!(pings >= 20, "{pings} pings in {version}");
    };
    tokio::join!(held(Version::V31), held(Version::V311), held(Version::V5));
}

#[tokio::test]
async fn the_connection_limit_of_the_broker_shows() {
    let Some(broker) = Broker::with_config("allow_anonymous true\nmax_connections 10\n") else {
        return;
    };
    let report = run(against(&broker, 30)).await;
    assert_eq!((report.totals.connected, report.totals.failed), (10, 20));
    assert!(errors(&report).iter().all(|(class, _)| class.starts_with("connack.")), "{report:?}");
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let Some(broker) = Broker::with_config("allow_anonymous false\n") else { return };
    for (version, class) in
        [(Version::V311, "connack.not_authorized"), (Version::V5, "connack.not_authorized")]
    {
        let mut plan = against(&broker, 3);
        plan.session = Arc::new(Config::new(version));
        let report = run(plan).await;
        assert_eq!(errors(&report), [(class, 3)], "{version}");
    }
}
