//! Acknowledgements by hand: in whose hands, in which order, and what becomes of those that nobody
//! gives.

use midge::{
    AckHandle, Acks, Client, Inbox, Message, Properties, Property, PropertyValue, ReasonCode,
    Reconnect, Subscription, Version,
};
use std::time::Duration;

use crate::support::{Peer, Script};
use crate::{accepted, builder, connack, connected, settle, soon};

const PUBLISH_123: &str = "32 06 0001 'a' 0001 '1' 34 06 0001 'a' 0002 '2' 32 06 0001 'a' 0003 '3'";

async fn with_acks(version: Version, acks: Acks) -> (Client, Inbox, Peer) {
    let script = Script::listen().await;
    accepted(&script, builder(&script, version).acks(acks), connack(version)).await
}

/// Subscribes to `a` in 3.1.1.
async fn subscribed(client: &Client, peer: &mut Peer, acks: Acks, keep: bool) -> Subscription {
    let subscribe = client.subscribe("a").acks(acks).keep(keep);
    let (stream, ()) = tokio::join!(soon(subscribe), async {
        let packet = peer.expect_packet(0x82).await;
        peer.send(&format!("90 03 {:02X}{:02X} 01", packet[2], packet[3])).await;
    });
    stream.unwrap()
}

async fn next_handle(inbox: &mut Inbox) -> (Message, AckHandle) {
    let (message, handle) = soon(inbox.next()).await.unwrap().into_parts();
    (message, handle.unwrap())
}

#[tokio::test]
async fn mqtt_4_6_0_2_acks_leave_in_the_order_of_arrival() {
    let (client, mut inbox, mut peer) = with_acks(Version::V311, Acks::Manual).await;
    peer.send(PUBLISH_123).await;
    let (one, first) = next_handle(&mut inbox).await;
    let (_, second) = next_handle(&mut inbox).await;
    let third = soon(inbox.next()).await.unwrap();
    third.ack();
    second.ack();
    settle(&client, &mut peer).await;
    peer.expect_silence();
    drop(one); // It has nothing to do with it any more.
    first.ack();
    peer.expect("40 02 0001 50 02 0002 40 02 0003").await;
    third.ack();
    third.reject(ReasonCode::NOT_AUTHORIZED);
    drop(third);
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn a_message_can_be_refused_with_reason_and_words() {
    let (_client, mut inbox, mut peer) = with_acks(Version::V5, Acks::Manual).await;
    peer.send("32 07 0001 'a' 0001 00 '1' 34 07 0001 'a' 0002 00 '2'").await;
    soon(inbox.next()).await.unwrap().reject(ReasonCode::QUOTA_EXCEEDED);
    peer.expect("40 03 0001 97").await;
    let (_, handle) = next_handle(&mut inbox).await;
    let wrong = Properties::new().with(Property::TopicAlias, PropertyValue::TwoByte(1)).unwrap();
    let (handle, error) = handle.reject_with(ReasonCode::NOT_AUTHORIZED, wrong).unwrap_err();
    assert_eq!(error.to_string(), "PUBACK cannot have the property topic-alias");
    let text = PropertyValue::Utf8("no");
    let words = Properties::new().with(Property::ReasonString, text).unwrap();
    handle.reject_with(ReasonCode::NOT_AUTHORIZED, words).unwrap();
    peer.expect("50 09 0002 87 05 1F 0002 'no'").await;
}

#[tokio::test]
async fn mqtt_3_4_2_2_words_that_make_an_ack_too_large_are_left_out() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5).acks(Acks::Manual);
    let connack = "20 08 00 00 05 27 00000014";
    let (_client, mut inbox, mut peer) = accepted(&script, builder, connack).await;
    peer.send("32 07 0001 'a' 0001 00 '1' 32 07 0001 'a' 0002 00 '1'").await;
    for (words, expected) in [
        ("0123456789a", "40 12 0001 83 0E 1F 000B '0123456789a'"),
        ("0123456789ab", "40 03 0002 83"),
    ] {
        let (_, handle) = next_handle(&mut inbox).await;
        let words = PropertyValue::Utf8(words);
        let properties = Properties::new().with(Property::ReasonString, words).unwrap();
        handle.reject_with(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, properties).unwrap();
        peer.expect(expected).await;
    }
}

#[tokio::test]
async fn mqtt_3_has_no_refusal() {
    let (_client, mut inbox, mut peer) = with_acks(Version::V311, Acks::Manual).await;
    peer.send("32 06 0001 'a' 0001 '1' 34 06 0001 'a' 0002 '2'").await;
    soon(inbox.next()).await.unwrap().reject(ReasonCode::NOT_AUTHORIZED);
    let (_, handle) = next_handle(&mut inbox).await;
    let text = PropertyValue::Utf8("no");
    let words = Properties::new().with(Property::ReasonString, text).unwrap();
    handle.reject_with(ReasonCode::NOT_AUTHORIZED, words).unwrap();
    peer.expect("40 02 0001 50 02 0002").await;
}

#[tokio::test]
async fn a_drop_acknowledges_where_it_is_to() {
    let (client, mut inbox, mut peer) = with_acks(Version::V311, Acks::OnDrop).await;
    peer.send(PUBLISH_123).await;
    let first = soon(inbox.next()).await.unwrap();
    settle(&client, &mut peer).await;
    drop(first.clone());
    settle(&client, &mut peer).await;
    peer.expect_silence();
    drop(first);
    peer.expect("40 02 0001").await;
    let (_, handle) = next_handle(&mut inbox).await;
    drop(handle);
    peer.expect("50 02 0002").await;
    let third = soon(inbox.next()).await.unwrap();
    third.reject(ReasonCode::NOT_AUTHORIZED);
    peer.expect("40 02 0003").await;
    drop(third);
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn what_is_dropped_by_hand_stays_unacknowledged() {
    let (client, mut inbox, mut peer) = with_acks(Version::V311, Acks::Manual).await;
    peer.send(PUBLISH_123).await;
    drop(soon(inbox.next()).await.unwrap());
    let (_, handle) = next_handle(&mut inbox).await;
    handle.ack();
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn qos_0_has_nothing_to_acknowledge() {
    let (client, mut inbox, mut peer) = with_acks(Version::V311, Acks::Manual).await;
    peer.send("30 04 0001 'a' '1'").await;
    let message = soon(inbox.next()).await.unwrap();
    message.ack();
    message.reject(ReasonCode::NOT_AUTHORIZED);
    assert!(message.into_parts().1.is_none());
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn a_message_of_several_streams_is_acknowledged_when_all_are_done() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let mut streams = Vec::new();
    for (id, acks) in [Acks::OnTake, Acks::OnDrop, Acks::Manual].into_iter().enumerate() {
        let (stream, ()) = tokio::join!(soon(client.subscribe("a").acks(acks)), async {
            peer.expect_packet(0x82).await;
            peer.send(&format!("90 04 000{} 00 01", id + 1)).await;
        });
        streams.push(stream.unwrap());
    }
    peer.send("32 07 0001 'a' 0007 00 '1'").await;
    let mut messages = Vec::new();
    for stream in &mut streams {
        messages.push(soon(stream.next()).await.unwrap());
    }
    messages[2].ack();
    settle(&client, &mut peer).await;
    peer.expect_silence();
    // The first refusal counts, whoever is last.
    messages[1].reject(ReasonCode::PAYLOAD_FORMAT_INVALID);
    peer.expect("40 03 0007 99").await;
}

#[tokio::test]
async fn handles_of_an_earlier_connection_are_harmless() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .acks(Acks::Manual)
        .clean_start(false)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
    peer.send("32 06 0001 'a' 0001 '1' 34 06 0001 'a' 0002 '2'").await;
    let (_, first) = next_handle(&mut inbox).await;
    let (_, second) = next_handle(&mut inbox).await;
    peer.reset();
    let mut peer = script.accept_with("20 02 01 00").await;
    soon(client.connected()).await.unwrap();
    // The same identifier is another message here.
    peer.send("32 06 0001 'b' 0001 'x'").await;
    let (message, third) = next_handle(&mut inbox).await;
    assert_eq!(message.topic(), "b");
    first.ack();
    second.ack();
    settle(&client, &mut peer).await;
    peer.expect_silence();
    // What was decided about QoS 2 is remembered: it does not arrive twice.
    peer.send("3C 06 0001 'a' 0002 '2'").await;
    settle(&client, &mut peer).await;
    assert!(inbox.try_next().is_none());
    third.ack();
    peer.expect("40 02 0001 50 02 0002").await;
}

#[tokio::test]
async fn an_inbox_that_is_dropped_leaves_to_the_broker_what_was_to_be_acknowledged_by_hand() {
    for acks in [Acks::Manual, Acks::OnDrop] {
        let (client, inbox, mut peer) = with_acks(Version::V311, acks).await;
        peer.send("32 06 0001 'a' 0001 '1'").await;
        settle(&client, &mut peer).await;
        drop(inbox);
        peer.send("32 06 0001 'a' 0002 '2'").await;
        settle(&client, &mut peer).await;
        soon(client.disconnect()).await.unwrap();
        peer.expect("E0 00").await;
        assert_eq!(client.stats().messages_unclaimed, 1);
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_acknowledges_unless_its_subscription_is_kept() {
    for acks in [Acks::OnTake, Acks::OnDrop, Acks::Manual] {
        for keep in [false, true] {
            let (client, _inbox, mut peer) = connected(Version::V311).await;
            let stream = subscribed(&client, &mut peer, acks, keep).await;
            peer.send("32 06 0001 'a' 0007 '1'").await;
            settle(&client, &mut peer).await;
            peer.expect_silence();
            drop(stream);
            if keep && acks != Acks::OnTake {
                settle(&client, &mut peer).await;
                peer.expect_silence();
            } else if keep {
                peer.expect("40 02 0007").await;
            } else {
                peer.expect("40 02 0007 A2 05 0002 0001 'a'").await; // Acknowledgements go first.
            }
        }
    }
}

#[tokio::test]
async fn a_handle_outlives_its_client() {
    let (client, mut inbox, mut peer) = with_acks(Version::V311, Acks::Manual).await;
    peer.send("32 06 0001 'a' 0001 '1'").await;
    let (message, handle) = next_handle(&mut inbox).await;
    soon(client.disconnect()).await.unwrap();
    drop((client, inbox));
    handle.ack();
    assert_eq!(message.payload(), "1");
}

#[tokio::test]
async fn a_qos_2_message_that_nobody_will_acknowledge_comes_again() {
    for early in [true, false] {
        let script = Script::listen().await;
        let builder = builder(&script, Version::V311)
            .acks(Acks::Manual)
            .clean_start(false)
            .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
        let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 00 00").await;
        peer.send("34 06 0001 'a' 0001 '1'").await;
        let message = soon(inbox.next()).await.unwrap();
        let mut kept = Some(message);
        if early {
            kept = None;
            settle(&client, &mut peer).await;
        }
        peer.reset();
        let mut peer = script.accept_with("20 02 01 00").await;
        soon(client.connected()).await.unwrap();
        drop(kept);
        settle(&client, &mut peer).await;
        peer.send("3C 06 0001 'a' 0001 '1'").await;
        let message = soon(inbox.next()).await.unwrap();
        assert_eq!(message.payload(), "1");
        message.ack();
        peer.expect("50 02 0001").await;
    }
}
