//! Consumers that are too slow, and each way to deal with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use midge::client::{DisconnectCause, State};
use midge::{
    Acks, Client, ClientBuilder, Flow, Inbox, QoS, Reconnect, Slow, Subscription, Version,
};

use crate::support::{Peer, Script};
use crate::{VERSIONS, accepted, builder, connack, connected, settle, soon, state};

/// A PUBLISH to `topic` with a payload of one digit.
fn publish(version: Version, qos: u8, topic: &str, n: u8) -> String {
    let id = if qos > 0 { format!("{n:04X}") } else { String::new() };
    let properties = if version == Version::V5 { "00" } else { "" };
    let length = 3 + id.len() / 2 + properties.len() / 2 + 1;
    format!("{:02X} {length:02X} 0001 '{topic}' {id} {properties} '{n}'", 0x30 | qos << 1)
}

async fn payloads(inbox: &mut Inbox, count: usize) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let message = soon(inbox.next()).await.unwrap();
        seen.push((String::from_utf8_lossy(message.payload()).into(), message.lagged()));
    }
    seen
}

fn with_inbox(script: &Script, version: Version, slow: Slow) -> ClientBuilder {
    builder(script, version)
        .inbox_capacity(3)
        .slow(slow)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO })
}

/// Subscribes with what `options` sets, in 3.1.1.
async fn subscribed(
    client: &Client,
    peer: &mut Peer,
    options: impl FnOnce(midge::client::Subscribe<'_>) -> midge::client::Subscribe<'_>,
) -> Subscription {
    let (stream, ()) = tokio::join!(soon(options(client.subscribe("a"))), async {
        let packet = peer.expect_packet(0x82).await;
        peer.send(&format!("90 03 {:02X}{:02X} 01", packet[2], packet[3])).await;
    });
    stream.unwrap()
}

#[tokio::test]
async fn the_oldest_can_go_whatever_their_qos() {
    for version in VERSIONS {
        for acks in [Acks::OnTake, Acks::Manual] {
            let script = Script::listen().await;
            let builder = with_inbox(&script, version, Slow::DropOldest).acks(acks);
            let (client, mut inbox, mut peer) = accepted(&script, builder, connack(version)).await;
            for (n, qos) in [(1, 1), (2, 0), (3, 1), (4, 0), (5, 1)] {
                peer.send(&publish(version, qos, "a", n)).await;
            }
            // The one with an acknowledgement that had to go is the broker's no more.
            peer.expect("40 02 0001").await;
            settle(&client, &mut peer).await;
            let seen = payloads(&mut inbox, 3).await;
            assert_eq!(seen, [("3".into(), 2), ("4".into(), 0), ("5".into(), 0)], "{version}");
            if acks == Acks::OnTake {
                peer.expect("40 02 0003 40 02 0005").await;
            }
            assert_eq!(client.stats().messages_dropped, 2);
        }
    }
}

#[tokio::test]
async fn the_connection_can_be_closed_for_a_slow_consumer() {
    for version in VERSIONS {
        let script = Script::listen().await;
        let builder = with_inbox(&script, version, Slow::Disconnect);
        let (client, mut inbox, mut peer) = accepted(&script, builder, connack(version)).await;
        for n in 1..=4 {
            peer.send(&publish(version, 1, "a", n)).await;
        }
        if version == Version::V5 {
            peer.expect("E0 01 97").await;
        }
        peer.expect_end().await;
        drop(peer);
        let mut peer = script.accept_with(connack(version)).await;
        state(&client, |state| matches!(state, State::Connected(_))).await;
        let seen = payloads(&mut inbox, 3).await;
        assert_eq!(seen, [("1".into(), 0), ("2".into(), 0), ("3".into(), 0)], "{version}");
        // The fourth comes again, and there is room for it.
        peer.send(&publish(version, 1, "a", 4)).await;
        assert_eq!(payloads(&mut inbox, 1).await, [("4".into(), 0)]);
        peer.expect("40 02 0004").await;
        assert_eq!(client.stats().messages_dropped, 0);
    }
}

#[tokio::test]
async fn a_qos_0_message_without_room_is_dropped_and_told() {
    let script = Script::listen().await;
    let builder = with_inbox(&script, Version::V311, Slow::Disconnect)
        .reconnect(Reconnect::Never)
        .inbox_capacity(1);
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let messages: Vec<_> = (1..=2).map(|n| publish(Version::V311, 0, "a", n)).collect();
    peer.send(&messages.join("")).await;
    peer.expect_end().await;
    drop(peer);
    let end = crate::closed(&client).await;
    let midge::client::CloseReason::Disconnected(cause) = end else { panic!("{end:?}") };
    assert!(matches!(cause, DisconnectCause::SlowConsumer), "{cause}");
    assert_eq!(client.stats().messages_dropped, 1);
    assert_eq!(payloads(&mut inbox, 1).await, [("1".into(), 1)]);
}

#[tokio::test]
async fn each_subscription_has_its_own_way() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let mut latest =
        subscribed(&client, &mut peer, |all| all.buffer(1).slow(Slow::DropOldest)).await;
    let mut all = subscribed(&client, &mut peer, |all| all.acks(Acks::Manual)).await;
    let mut small = subscribed(&client, &mut peer, |all| all.buffer_bytes(8)).await;
    for n in 1..=5 {
        peer.send(&publish(Version::V311, 0, "a", n)).await;
    }
    peer.send(&publish(Version::V311, 1, "a", 6)).await;
    // Reading stops for `small`, which has room for four messages and may not drop the last.
    settle(&client, &mut peer).await;
    let message = soon(latest.next()).await.unwrap();
    assert_eq!((message.payload().as_ref(), message.lagged()), (&b"6"[..], 5));
    for n in 1..=6 {
        let message = soon(all.next()).await.unwrap();
        assert_eq!((message.payload()[0], message.lagged()), (b'0' + n, 0));
        message.ack();
    }
    let message = soon(small.next()).await.unwrap();
    assert_eq!((message.payload().as_ref(), message.lagged()), (&b"3"[..], 2));
    for _ in 4..=6 {
        soon(small.next()).await.unwrap();
    }
    peer.expect("40 02 0006").await;
    assert!(inbox.try_next().is_none());
    assert_eq!(client.stats().messages_dropped, 7);
}

#[tokio::test]
async fn a_qos_2_message_without_room_comes_again() {
    let script = Script::listen().await;
    let builder = with_inbox(&script, Version::V311, Slow::Disconnect).clean_start(false);
    let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    for n in 1..=4 {
        peer.send(&publish(Version::V311, 2, "a", n)).await;
    }
    peer.expect_end().await;
    drop(peer);
    let mut peer = script.accept_with("20 02 01 00").await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    let seen = payloads(&mut inbox, 3).await;
    assert_eq!(seen, [("1".into(), 0), ("2".into(), 0), ("3".into(), 0)]);
    for n in 1..=4 {
        peer.send(&publish(Version::V311, 2, "a", n).replacen("34", "3C", 1)).await;
    }
    assert_eq!(payloads(&mut inbox, 1).await, [("4".into(), 0)]);
    peer.expect("50 02 0001 50 02 0002 50 02 0003 50 02 0004").await;
}

#[tokio::test]
async fn a_broker_that_closes_a_connection_first_is_gone_to_again() {
    let script = Script::listen().await;
    let builder = with_inbox(&script, Version::V311, Slow::Disconnect);
    let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    let messages: Vec<_> = (1..=4).map(|n| publish(Version::V311, 1, "a", n)).collect();
    peer.send(&messages.join("")).await;
    peer.finish().await;
    drop(peer);
    let mut peer = script.accept_with("20 02 00 00").await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    payloads(&mut inbox, 3).await;
    settle(&client, &mut peer).await;
}

#[tokio::test]
async fn what_is_published_while_the_connection_is_closed_waits_for_the_next_one() {
    let script = Script::listen().await;
    let failed = Arc::new(AtomicUsize::new(0));
    let builder = with_inbox(&script, Version::V311, Slow::Disconnect)
        .on_message(|_, handle| {
            drop(handle.publish("b", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap());
            Flow::Continue
        })
        .on_publish({
            let failed = Arc::clone(&failed);
            move |_, result, _| {
                failed.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
            }
        });
    let (client, _inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    let messages: Vec<_> = (1..=4).map(|n| publish(Version::V311, 1, "a", n)).collect();
    peer.send(&messages.join("")).await;
    peer.expect_end().await;
    drop(peer);
    let mut peer = script.accept_with("20 02 00 00").await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    for n in 1..=4 {
        peer.expect(&format!("32 06 0001 'b' 000{n} '1'")).await;
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0);
}

/// Four messages for an inbox with room for three: the client stops reading.
async fn overfull(acks: Acks) -> (Client, Inbox, Peer) {
    let script = Script::listen().await;
    let builder = with_inbox(&script, Version::V311, Slow::HoldAck).acks(acks);
    let (client, inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    let messages: Vec<_> = (1..=4).map(|n| publish(Version::V311, 1, "a", n)).collect();
    peer.send(&messages.join("")).await;
    while client.stats().messages_received < 4 {
        tokio::task::yield_now().await;
    }
    (client, inbox, peer)
}

#[tokio::test]
async fn reading_goes_on_once_the_consumer_has_caught_up_though_it_acknowledges_nothing() {
    for acks in [Acks::Manual, Acks::OnDrop] {
        let (_client, mut inbox, mut peer) = overfull(acks).await;
        peer.send(&publish(Version::V311, 1, "a", 5)).await;
        let mut batch = Vec::new();
        for _ in 1..=5 {
            batch.push(soon(inbox.next()).await.unwrap());
        }
        drop(batch);
    }
}

#[tokio::test]
async fn reading_goes_on_once_the_consumer_is_gone() {
    for acks in [Acks::Manual, Acks::OnDrop, Acks::OnTake] {
        let (client, inbox, mut peer) = overfull(acks).await;
        peer.send(&publish(Version::V311, 0, "a", 5)).await;
        drop(inbox);
        let all = async {
            while client.stats().messages_received < 5 {
                tokio::task::yield_now().await;
            }
        };
        soon(all).await;
    }
}

#[tokio::test]
async fn a_connection_is_made_though_nothing_more_is_to_be_read() {
    let script = Script::listen().await;
    let builder = with_inbox(&script, Version::V311, Slow::HoldAck);
    let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    for full in [true, false] {
        if full {
            let messages: Vec<_> = (1..=4).map(|n| publish(Version::V311, 1, "a", n)).collect();
            peer.send(&messages.join("")).await;
            while client.stats().messages_received < 4 {
                tokio::task::yield_now().await;
            }
        } else {
            client.pause_reading();
        }
        // A client that does not read learns of the end of the connection when it writes.
        peer.reset();
        drop(soon(client.publish("b", "").enqueue()).await);
        peer = script.accept_with("20 02 00 00").await;
        let connects = if full { 2 } else { 3 };
        let all = async {
            while client.stats().connects < connects {
                tokio::task::yield_now().await;
            }
        };
        soon(all).await;
        while inbox.try_next().is_some() {}
    }
}
