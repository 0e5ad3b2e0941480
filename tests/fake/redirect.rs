//! Several brokers, brokers that name another one, and waiting that is cut short.

use std::time::Duration;

use midge::client::{ConnectError, State};
use midge::{Client, ReasonCode, Reconnect, Version};

use crate::support::script::CONNACK_5;
use crate::support::{Peer, Script};
use crate::{builder, closed, soon, state};

/// Waits for a connection and refuses it, with a Server Reference.
async fn refuse(script: &Script, reason: &str, reference: &str) {
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    let length = reference.len();
    peer.send(&format!(
        "20 {:02X} 00 {reason} {:02X} 1C 00{length:02X} '{reference}'",
        length + 6,
        length + 3
    ))
    .await;
    peer.expect_end().await;
}

async fn disconnect(peer: &mut Peer, reason: &str, reference: &str) {
    let length = reference.len();
    peer.send(&format!(
        "E0 {:02X} {reason} {:02X} 1C 00{length:02X} '{reference}'",
        length + 5,
        length + 3
    ))
    .await;
    peer.expect_end().await;
}

async fn is_connected(client: &Client) {
    state(client, |state| matches!(state, State::Connected(_))).await;
}

#[tokio::test]
async fn mqtt_4_11_0_1_a_client_goes_where_the_broker_sends_it() {
    let (here, there) = (Script::listen().await, Script::listen().await);
    let eager = Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let (client, _inbox) = builder(&here, Version::V5).reconnect(eager).start().unwrap();
    let reference = there.address().to_string();
    refuse(&here, "9C", &reference).await;
    let mut peer = there.accept_with(CONNACK_5).await;
    is_connected(&client).await;
    // That was for the time being: a lost connection is made at the first broker.
    peer.send("E0 01 89").await;
    drop(peer);
    let mut peer = here.accept_with(CONNACK_5).await;
    is_connected(&client).await;
    // This one is for good.
    disconnect(&mut peer, "9D", &reference).await;
    drop(peer);
    for _ in 0..2 {
        drop(there.accept_with(CONNACK_5).await);
        state(&client, |state| !matches!(state, State::Connected(_))).await;
    }
    assert_eq!(client.stats().connect_failures, 1);
}

#[tokio::test]
async fn a_redirection_is_part_of_the_first_attempt_and_bounded() {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V5).start().unwrap();
    let reference = script.address().to_string();
    for _ in 0..6 {
        refuse(&script, "9C", &reference).await;
    }
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::USE_ANOTHER_SERVER));
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_redirection_can_be_left_to_the_application() {
    let (here, there) = (Script::listen().await, Script::listen().await);
    let builder = builder(&here, Version::V5).follow_redirects(false);
    let (client, _inbox) = builder.start().unwrap();
    let reference = there.address().to_string();
    refuse(&here, "9D", &reference).await;
    let Err(ConnectError::Refused { properties, .. }) = soon(client.connected()).await else {
        panic!("it went somewhere")
    };
    assert_eq!(properties.as_ref().server_reference(), Some(&*reference));
}

#[tokio::test]
async fn the_next_broker_is_tried_when_one_does_not_answer() {
    let script = Script::listen().await;
    let nobody = {
        let unused = Script::listen().await;
        unused.url()
    };
    let builder = Client::builder(&nobody).unwrap().reconnect(Reconnect::Never);
    let builder = builder.fallback(&nobody).unwrap().fallback(&script.url()).unwrap();
    let (client, _inbox) = builder.version(Version::V5).start().unwrap();
    let peer = script.accept_with(CONNACK_5).await;
    assert_eq!(soon(client.connected()).await.unwrap().attempts, 3);
    drop(peer);
    closed(&client).await;
}

#[tokio::test]
async fn a_refusal_of_the_client_is_not_carried_to_the_next_broker() {
    let (first, second) = (Script::listen().await, Script::listen().await);
    let builder = builder(&first, Version::V5).fallback(&second.url()).unwrap();
    let (client, _inbox) = builder.start().unwrap();
    let mut peer = first.accept().await;
    peer.expect_packet(0x10).await;
    peer.send("20 03 00 86 00").await;
    let error = soon(client.connected()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
}

#[tokio::test]
async fn a_wrong_fallback_is_an_error_at_once() {
    let builder = Client::builder("mqtt://localhost").unwrap();
    assert!(builder.fallback("localhost:1883").is_err());
}

#[tokio::test]
async fn waiting_can_be_cut_short() {
    let script = Script::listen().await;
    let hour = Duration::from_secs(3600);
    let builder = builder(&script, Version::V5)
        .reconnect(Reconnect::Backoff { first: hour, max: hour })
        .on_retry(move |_, _| Some(hour));
    let (client, _inbox) = builder.start().unwrap();
    client.reconnect_now();
    for by_handle in [false, true] {
        let peer = script.accept_with(CONNACK_5).await;
        is_connected(&client).await;
        client.reconnect_now();
        soon(client.publish("t", "x")).await.unwrap();
        drop(peer);
        state(&client, |state| matches!(state, State::Waiting { .. })).await;
        if by_handle {
            client.handle().reconnect_now();
        } else {
            client.reconnect_now();
        }
    }
    drop(script.accept_with(CONNACK_5).await);
}
