//! Connecting again: when, what is sent again, and what becomes of everybody who waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{CloseReason, ConnectError, DisconnectCause, PublishError, SessionLoss, State};
use midge::{Client, ClientBuilder, Inbox, QoS, Reconnect, Version};

use crate::support::script::{CONNACK_3, CONNACK_5};
use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, settle, soon, state};

const SECOND: Duration = Duration::from_secs(1);

/// A client that connects again at once.
fn eager(script: &Script, version: Version) -> ClientBuilder {
    let delay = Duration::from_millis(1);
    builder(script, version).reconnect(Reconnect::Backoff { first: delay, max: delay })
}

/// With a session that lasts, where the version has the choice.
async fn lasting(version: Version) -> (Script, Client, Inbox, Peer) {
    let script = Script::listen().await;
    let mut builder = eager(&script, version).clean_start(false);
    if version == Version::V5 {
        builder = builder.session_expiry(3600);
    }
    let (client, inbox, peer) = accepted(&script, builder, connack(version)).await;
    (script, client, inbox, peer)
}

fn session_present(version: Version) -> &'static str {
    if version == Version::V5 { "20 03 01 00 00" } else { "20 02 01 00" }
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let script = Script::listen().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let builder = eager(&script, Version::V311).on_disconnect({
        let seen = Arc::clone(&seen);
        move |info, _| seen.lock().unwrap().push(info.will_reconnect_in)
    });
    let (client, mut inbox, peer) = accepted(&script, builder, CONNACK_3).await;
    peer.reset();
    let mut peer = script.accept_with(CONNACK_3).await;
    state(&client, |state| matches!(state, State::Connected(info) if info.attempts == 1)).await;
    peer.send("30 04 0001 'a' 'x'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "x");
    assert_eq!(client.stats().connects, 2);
    let seen = seen.lock().unwrap();
    assert!(seen[0].unwrap() <= Duration::from_millis(1), "{seen:?}");
}

/// Stops the clock: it moves as it is told to, and not by itself while nobody has anything to do. It
/// goes on after some real time, so that a test which waits in vain fails.
fn stop_the_clock() {
    tokio::time::pause();
    let began = std::time::Instant::now();
    tokio::spawn(async move {
        while began.elapsed() < 10 * SECOND {
            tokio::task::yield_now().await;
        }
        tokio::time::resume();
    });
}

#[tokio::test]
async fn a_ping_that_is_answered_too_late_ends_the_connection() {
    stop_the_clock();
    let script = Script::listen().await;
    let causes = Arc::new(Mutex::new(Vec::new()));
    let at_once = Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let builder = builder(&script, Version::V311)
        .reconnect(at_once)
        .clean_start(false)
        .keep_alive(10 * SECOND)
        .on_disconnect({
            let causes = Arc::clone(&causes);
            move |info, _| causes.lock().unwrap().push(info.cause.clone())
        });
    let (client, _inbox, mut peer) = accepted(&script, builder, CONNACK_3).await;
    let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.expect("32 06 0001 't' 0001 'x'").await;
    for late in [false, true] {
        tokio::time::advance(10 * SECOND).await;
        peer.expect("C0 00").await;
        tokio::time::advance(4 * SECOND).await;
        if late {
            tokio::time::advance(2 * SECOND).await;
            peer.expect_end().await;
            peer.send("D0 00").await;
        } else {
            peer.send("D0 00").await;
            settle(&client, &mut peer).await;
        }
    }
    drop(peer);
    let mut peer = script.accept_with("20 02 01 00").await;
    peer.expect("3A 06 0001 't' 0001 'x'").await;
    peer.send("40 02 0001").await;
    soon(delivery).await.unwrap();
    assert!(matches!(causes.lock().unwrap()[..], [DisconnectCause::PingTimeout]), "{causes:?}");
    assert_eq!(client.stats().connects, 2);
}

/// As when the process was stopped for a while.
#[tokio::test]
async fn an_answer_that_waits_to_be_read_is_not_late() {
    stop_the_clock();
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).keep_alive(10 * SECOND);
    let (client, _inbox, mut peer) = accepted(&script, builder, CONNACK_3).await;
    for _ in 0..10 {
        tokio::time::advance(10 * SECOND).await;
        peer.expect("C0 00").await;
        peer.send("D0 00").await;
        tokio::time::advance(6 * SECOND).await;
        settle(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn mqtt_4_4_0_1_what_was_not_confirmed_is_sent_again() {
    for version in [Version::V311, Version::V5] {
        let v5 = version == Version::V5;
        let (script, client, _inbox, mut peer) = lasting(version).await;
        let one = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        let two = client.publish("t", "2").qos(QoS::ExactlyOnce).try_enqueue().unwrap();
        let three = client.publish("t", "3").qos(QoS::ExactlyOnce).try_enqueue().unwrap();
        for _ in 0..3 {
            peer.packet().await;
        }
        peer.send("50 02 0002").await;
        peer.expect("62 02 0002").await;
        peer.reset();
        // What comes while there is no connection goes behind the others.
        state(&client, |state| !matches!(state, State::Connected(_))).await;
        let four = client.publish("t", "4").try_enqueue().unwrap();
        let mut peer = script.accept_with(session_present(version)).await;
        if v5 {
            peer.expect("62 02 0002 3A 07 0001 't' 0001 00 '1' 3C 07 0001 't' 0003 00 '3'").await;
            peer.expect("30 05 0001 't' 00 '4'").await;
        } else {
            peer.expect("62 02 0002 3A 06 0001 't' 0001 '1' 3C 06 0001 't' 0003 '3'").await;
            peer.expect("30 04 0001 't' '4'").await;
        }
        peer.send("40 02 0001 70 02 0002 50 02 0003").await;
        peer.expect("62 02 0003").await;
        peer.send("70 02 0003").await;
        assert_eq!(soon(one).await.unwrap().attempts, 2);
        soon(two).await.unwrap();
        soon(three).await.unwrap();
        soon(four).await.unwrap();
    }
}

#[tokio::test]
async fn mqtt_3_2_2_5_a_lost_session_is_subscribed_again_and_published_as_new() {
    let (script, client, _inbox, mut peer) = lasting(Version::V311).await;
    let (stream, ()) = tokio::join!(soon(client.subscribe("a/+").qos(QoS::AtLeastOnce)), async {
        peer.expect_packet(0x82).await;
        peer.send("90 03 0001 01").await;
    });
    let mut stream = stream.unwrap();
    let one = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.packet().await;
    peer.reset();
    let mut peer = script.accept_with(CONNACK_3).await;
    let subscribe = peer.expect_packet(0x82).await;
    assert!(subscribe.ends_with(b"\x00\x03a/+\x01"));
    let publish = peer.expect_packet(0x32).await;
    assert!(publish.ends_with(b"1"));
    let id = |packet: &[u8], at: usize| format!("{:02X}{:02X}", packet[at], packet[at + 1]);
    peer.send(&format!("90 03 {} 01", id(&subscribe, 2))).await;
    peer.send(&format!("40 02 {}", id(&publish, 5))).await;
    soon(one).await.unwrap();
    peer.send("30 06 0003 'a/b' 'x'").await;
    assert_eq!(soon(stream.next()).await.unwrap().payload(), "x");
}

#[tokio::test]
async fn a_stream_ends_when_the_broker_refuses_to_subscribe_it_again() {
    let (script, client, _inbox, mut peer) = lasting(Version::V311).await;
    let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect_packet(0x82).await;
        peer.send("90 03 0001 00").await;
    });
    peer.reset();
    let mut peer = script.accept_with(CONNACK_3).await;
    let subscribe = peer.expect_packet(0x82).await;
    peer.send(&format!("90 03 {:02X}{:02X} 80", subscribe[2], subscribe[3])).await;
    assert!(soon(stream.unwrap().next()).await.is_none());
}

#[tokio::test]
async fn a_lost_session_can_fail_what_was_in_flight() {
    let script = Script::listen().await;
    let builder =
        eager(&script, Version::V311).clean_start(false).on_session_loss(SessionLoss::Fail);
    let (client, _inbox, mut peer) = accepted(&script, builder, CONNACK_3).await;
    let one = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.packet().await;
    peer.reset();
    let mut peer = script.accept_with(CONNACK_3).await;
    let error = soon(one).await.unwrap_err();
    assert!(matches!(error, PublishError::Lost { maybe_delivered: true }), "{error:?}");
    soon(client.publish("t", "2")).await.unwrap();
    peer.expect("30 04 0001 't' '2'").await;
}

#[tokio::test]
async fn the_first_connect_is_tried_again_when_it_may_help() {
    let script = Script::listen().await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let builder = eager(&script, Version::V5).on_connect_failure({
        let failures = Arc::clone(&failures);
        move |error, _| failures.lock().unwrap().push(error.to_string())
    });
    let (client, _inbox) = builder.start().unwrap();
    script.accept().await.reset();
    for code in ["80", "83", "88", "89", "97", "9F"] {
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send(&format!("20 03 00 {code} 00")).await;
        peer.expect_end().await;
    }
    let _peer = script.accept_with(CONNACK_5).await;
    assert_eq!(soon(client.connected()).await.unwrap().attempts, 8);
    assert_eq!(failures.lock().unwrap().len(), 7);
    assert_eq!(client.stats().connect_failures, 7);
}

#[tokio::test]
async fn the_first_connect_is_not_tried_again_when_it_cannot_help() {
    for code in ["81", "82", "84", "85", "86", "87", "8A", "8C", "95", "9A", "9B", "9C", "9D"] {
        let script = Script::listen().await;
        let (client, _inbox) = eager(&script, Version::V5).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send(&format!("20 03 00 {code} 00")).await;
        drop(peer);
        let error = soon(client.connected()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_later_refusal_is_not_the_end() {
    let script = Script::listen().await;
    let (client, _inbox, peer) = accepted(&script, eager(&script, Version::V5), CONNACK_5).await;
    drop(peer);
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send("20 03 00 87 00").await;
    drop(peer);
    let _peer = script.accept_with(CONNACK_5).await;
    state(&client, |state| matches!(state, State::Connected(info) if info.attempts == 2)).await;
}

#[tokio::test]
async fn a_session_that_was_taken_over_is_left_to_the_other_one() {
    let script = Script::listen().await;
    let (client, _inbox, mut peer) =
        accepted(&script, eager(&script, Version::V5), CONNACK_5).await;
    peer.send("E0 01 8E").await;
    drop(peer);
    let end = closed(&client).await;
    let CloseReason::Disconnected(cause) = end else { panic!("{end:?}") };
    assert_eq!(cause.reason(), midge::ReasonCode::SESSION_TAKEN_OVER);
}

#[tokio::test]
async fn a_dead_broker_is_noticed_and_left() {
    let script = Script::listen().await;
    let builder = eager(&script, Version::V311)
        .keep_alive(Duration::from_secs(1))
        .ping_timeout(Duration::from_millis(100));
    let (client, _inbox, mut peer) = accepted(&script, builder, CONNACK_3).await;
    peer.expect("C0 00").await;
    let _peer = script.accept_with(CONNACK_3).await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    assert_eq!(client.stats().connects, 2);
}

#[tokio::test]
async fn a_held_message_of_the_last_connection_is_not_acknowledged_on_the_next() {
    let (script, client, mut inbox, mut peer) = lasting(Version::V311).await;
    peer.send("32 06 0001 'a' 0002 'y' 30 04 0001 'b' 'z'").await;
    peer.finish().await;
    let mut peer = script.accept_with(session_present(Version::V311)).await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "y");
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "z");
    soon(client.publish("t", "x")).await.unwrap();
    peer.expect("30 04 0001 't' 'x'").await;
    peer.send("3A 06 0001 'a' 0002 'y'").await;
    assert!(soon(inbox.next()).await.unwrap().dup());
    peer.expect("40 02 0002").await;
}
