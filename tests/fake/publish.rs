//! Publishing: when it is confirmed, how it fails, and what is bounded.

use midge::client::{CloseReason, EnqueueError, OutgoingQueue, PublishError};
use midge::{Properties, Property, PropertyValue, QoS, ReasonCode, TopicName, Version};

use crate::support::Script;
use crate::{accepted, builder, connack, connected, soon};

#[tokio::test]
async fn qos_0_is_confirmed_when_it_is_written() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let receipt = soon(client.publish("a/b", "x").retain(true)).await.unwrap();
    assert_eq!((receipt.reason, receipt.attempts), (ReasonCode::SUCCESS, 1));
    peer.expect("31 06 0003 'a/b' 'x'").await;
    assert_eq!(client.stats().messages_published, 1);
}

#[tokio::test]
async fn qos_1_is_confirmed_by_puback() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    let delivered = tokio::spawn(delivery);
    peer.expect("32 06 0001 't' 0001 'x'").await;
    assert!(!delivered.is_finished());
    peer.send("40 02 0001").await;
    assert_eq!(soon(delivered).await.unwrap().unwrap().reason, ReasonCode::SUCCESS);
}

#[tokio::test]
async fn qos_2_is_confirmed_by_pubcomp() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let delivery = client.publish("t", "x").qos(QoS::ExactlyOnce).try_enqueue().unwrap();
    let delivered = tokio::spawn(delivery);
    peer.expect("34 07 0001 't' 0001 00 'x'").await;
    peer.send("50 02 0001").await;
    peer.expect("62 02 0001").await;
    assert!(!delivered.is_finished());
    peer.send("70 02 0001").await;
    soon(delivered).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_is_an_error_with_the_broker_s_words() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    for (qos, answer) in [
        (QoS::AtLeastOnce, "40 0A 0001 87 06 1F 0003 'acl'"),
        (QoS::ExactlyOnce, "50 0A 0002 97 06 1F 0003 'acl'"),
    ] {
        let delivery = client.publish("t", "x").qos(qos).try_enqueue().unwrap();
        peer.packet().await;
        peer.send(answer).await;
        let error = soon(delivery).await.unwrap_err();
        let PublishError::Rejected { reason, properties } = &error else { panic!("{error}") };
        assert!(reason.is_error());
        assert_eq!(properties.as_ref().reason_string(), Some("acl"));
        assert!(error.to_string().ends_with("(\"acl\")"), "{error}");
    }
    // 0x10 is no error: nobody listens.
    let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.packet().await;
    peer.send("40 03 0003 10").await;
    assert_eq!(soon(delivery).await.unwrap().reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert_eq!((client.stats().messages_published, client.stats().publish_failures), (1, 2));
}

#[tokio::test]
async fn the_limits_of_the_broker_are_kept() {
    let script = Script::listen().await;
    // Maximum QoS 1, no retained messages, packets of at most 20 bytes.
    let limits = "20 0C 00 00 09 24 01 25 00 27 00000014";
    let (client, _inbox, mut peer) = accepted(&script, builder(&script, Version::V5), limits).await;
    let error = soon(client.publish("t", "x").qos(QoS::ExactlyOnce)).await.unwrap_err();
    assert!(matches!(error, PublishError::QosNotSupported { max: QoS::AtLeastOnce }), "{error}");
    let error = soon(client.publish("t", "x").retain(true)).await.unwrap_err();
    assert!(matches!(error, PublishError::RetainNotSupported), "{error}");
    let error = soon(client.publish("t", vec![b'x'; 15])).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { size: 21, max: 20 }), "{error}");
    soon(client.publish("t", vec![b'x'; 14])).await.unwrap();
    peer.expect("30 12 0001 't' 00 'xxxxxxxxxxxxxx'").await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_its_value() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    for topic in ["", "a/#", "a/+/b", "a\0b"] {
        let error = soon(client.publish(topic, "x")).await.unwrap_err();
        assert!(matches!(error, PublishError::InvalidTopic(_)), "{error}");
        let error = soon(client.publish(topic, "x").enqueue()).await.unwrap_err();
        assert!(matches!(error, EnqueueError::InvalidTopic(_)), "{error}");
        let error = client.publish(topic, "x").try_enqueue().unwrap_err();
        assert!(matches!(error, EnqueueError::InvalidTopic(_)), "{error}");
    }
    let error = client.publish("a/#", "x").try_enqueue().unwrap_err();
    assert!(error.to_string().contains("a/#"), "{error}");
    let properties =
        Properties::default().with(Property::ContentType, PropertyValue::Utf8("text")).unwrap();
    let error = soon(client.publish("t", "x").properties(properties)).await.unwrap_err();
    assert!(matches!(error, PublishError::Invalid(_)), "{error}");
    soon(client.publish("t", "x")).await.unwrap();
    peer.expect("30 04 0001 't' 'x'").await;
}

#[tokio::test]
async fn every_kind_of_topic_is_taken() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let name = TopicName::try_from("t").unwrap();
    soon(client.publish(&name, "1")).await.unwrap();
    soon(client.publish(name, "2")).await.unwrap();
    soon(client.publish(String::from("t"), "3")).await.unwrap();
    let text = String::from("t");
    soon(client.publish(&text, "4")).await.unwrap();
    for n in 1..=4 {
        peer.expect(&format!("30 04 0001 't' '{n}'")).await;
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_gives_the_message_back() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).outgoing(OutgoingQueue {
        messages: 2,
        bytes: 100,
        ..OutgoingQueue::default()
    });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let send = |payload: usize| {
        client.publish("t", vec![b'x'; payload]).qos(QoS::AtLeastOnce).try_enqueue()
    };
    let first = send(50).unwrap();
    let error = send(60).unwrap_err();
    let EnqueueError::Full(message) = error else { panic!("{error}") };
    assert_eq!((message.payload.len(), message.qos), (60, QoS::AtLeastOnce));
    let second = send(40).unwrap();
    assert!(matches!(send(0), Err(EnqueueError::Full(_))));

    let third = tokio::spawn({
        let client = client.clone();
        async move {
            let admitted = client.publish("t", "3").qos(QoS::AtLeastOnce).enqueue().await;
            admitted.unwrap().await.unwrap();
        }
    });
    peer.packet().await;
    peer.packet().await;
    peer.send("40 02 0001").await;
    soon(first).await.unwrap();
    // The third had waited for the room of the first.
    peer.expect("32 06 0001 't' 0003 '3'").await;
    peer.send("40 02 0002 40 02 0003").await;
    soon(second).await.unwrap();
    soon(third).await.unwrap();
}

#[tokio::test]
async fn the_window_of_the_broker_is_kept_and_order_with_it() {
    let script = Script::listen().await;
    let (client, _inbox, mut peer) =
        accepted(&script, builder(&script, Version::V5), "20 06 00 00 03 21 0002").await;
    let deliveries: Vec<_> = (0..5)
        .map(|n| client.publish("t", n.to_string()).qos(QoS::AtLeastOnce).try_enqueue().unwrap())
        .collect();
    for n in 0..5 {
        peer.expect(&format!("32 07 0001 't' 000{} 00 '{n}'", n + 1)).await;
        if n >= 1 {
            peer.expect_silence();
            peer.send(&format!("40 02 000{n}")).await;
        }
    }
    peer.send("40 02 0005").await;
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
}

#[tokio::test]
async fn many_messages_leave_in_the_order_of_their_admission() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let publisher = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        for n in 0..5000 {
            deliveries.push(client.publish("t", format!("{n:04}")).enqueue().await.unwrap());
        }
        client.flush().await.unwrap();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    });
    for n in 0..5000 {
        peer.expect(&format!("30 07 0001 't' '{n:04}'")).await;
    }
    soon(publisher).await.unwrap();
}

#[tokio::test]
async fn flush_waits_for_what_was_admitted_before_it() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let delivery = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    let flushed = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    peer.packet().await;
    // What comes later does not hold it up.
    let later = client.publish("t", "2").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.packet().await;
    assert!(!flushed.is_finished());
    peer.send("40 02 0001").await;
    soon(flushed).await.unwrap().unwrap();
    soon(delivery).await.unwrap();
    peer.send("40 02 0002").await;
    soon(later).await.unwrap();
    soon(client.flush()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_confirmed_at_the_end_fails() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let sent = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.packet().await;
    drop(peer);
    let error = soon(sent).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: true }), "{error:?}");
    let error = soon(client.publish("t", "2")).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: false }), "{error:?}");
    let error = client.publish("t", "3").try_enqueue().unwrap_err();
    let EnqueueError::Closed(message) = error else { panic!("{error}") };
    assert_eq!(message.payload, "3");
    assert!(matches!(client.flush().await, Err(CloseReason::Disconnected(_))));
}

#[tokio::test]
async fn a_large_payload_is_sent_whole() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 8) as u8).collect();
    let delivery = client.publish("t", payload.clone()).try_enqueue().unwrap();
    let packet = peer.packet().await;
    assert!(packet.ends_with(&payload));
    assert_eq!(packet.len(), payload.len() + 8);
    soon(delivery).await.unwrap();
}
