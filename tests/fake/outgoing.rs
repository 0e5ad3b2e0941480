//! What becomes of messages that are not sent at once: deadlines, second thoughts, full queues, and
//! the time without a connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{
    CloseReason, EnqueueError, Offline, OutgoingMessage, OutgoingQueue, Overflow, PublishError,
    RequestError, State, TooLate,
};
use midge::{
    Client, Delivery, Flow, Properties, Property, PropertyValue, QoS, Reconnect, TopicName, Version,
};

use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, connected, soon, state};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// A client that has no connection and is never refused one: the script does not answer.
async fn unanswered(outgoing: OutgoingQueue) -> (Script, Client) {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V311).outgoing(outgoing).start().unwrap();
    (script, client)
}

fn queue(messages: usize, overflow: Overflow, offline: Offline) -> OutgoingQueue {
    OutgoingQueue { messages, bytes: 1000, overflow, offline }
}

fn text(message: &OutgoingMessage) -> &str {
    str::from_utf8(&message.payload).unwrap()
}

fn at_least_once(client: &Client, payload: &str) -> Delivery {
    client.publish("t", payload.to_owned()).qos(QoS::AtLeastOnce).try_enqueue().unwrap()
}

/// Fails if the script gets anything but these messages, in this order.
async fn expect_payloads(peer: &mut Peer, payloads: &[&str]) {
    for (n, payload) in payloads.iter().enumerate() {
        peer.expect(&format!("32 06 0001 't' {:04X} '{payload}'", n + 1)).await;
    }
}

#[tokio::test]
async fn what_was_not_sent_before_its_deadline_is_not_sent_at_all() {
    let (script, client) = unanswered(OutgoingQueue::default()).await;
    let late = client.publish("t", "late").qos(QoS::AtLeastOnce).deadline(SHORT);
    let error = soon(late).await.unwrap_err();
    let PublishError::Expired { message: Some(message) } = &error else { panic!("{error:?}") };
    assert_eq!(text(message), "late");
    assert_eq!(error.to_string(), "the message expired before it was sent");
    let early = client.publish("t", "1").qos(QoS::AtLeastOnce).deadline(LONG).try_enqueue();
    let mut peer = script.accept_with(connack(Version::V311)).await;
    expect_payloads(&mut peer, &["1"]).await;
    peer.send("40 02 0001").await;
    soon(early.unwrap()).await.unwrap();
    let stats = client.stats();
    assert_eq!((stats.publishes_expired, stats.publish_failures), (1, 1));
    assert_eq!(stats.messages_published, 1);
}

#[tokio::test]
async fn what_was_sent_stays_sent_after_its_deadline() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .clean_start(false)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let sent = client.publish("t", "1").qos(QoS::ExactlyOnce).deadline(SHORT).try_enqueue();
    peer.expect("34 06 0001 't' 0001 '1'").await;
    let error = soon(sent.unwrap()).await.unwrap_err();
    assert!(matches!(error, PublishError::Expired { message: None }), "{error:?}");
    assert_eq!(error.to_string(), "the message expired");
    // Nobody waits for it any more, but the protocol does.
    soon(client.flush()).await.unwrap();
    drop(peer);
    let mut peer = script.accept_with("20 02 01 00").await;
    peer.expect("3C 06 0001 't' 0001 '1'").await;
    peer.send("50 02 0001").await;
    peer.expect("62 02 0001").await;
    peer.send("70 02 0001").await;
    soon(client.publish("t", "2")).await.unwrap();
    let stats = client.stats();
    assert_eq!((stats.messages_published, stats.publishes_expired), (1, 1));
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_deadline() {
    let (_script, client) = unanswered(queue(1, Overflow::Wait, Offline::Keep)).await;
    let first = at_least_once(&client, "1");
    let error = soon(client.publish("t", "2").deadline(SHORT).enqueue()).await.unwrap_err();
    let EnqueueError::Expired(message) = error else { panic!("{error:?}") };
    assert_eq!(text(&message), "2");
    let error = soon(client.publish("t", "3").deadline(SHORT)).await.unwrap_err();
    assert!(matches!(error, PublishError::Expired { message: Some(_) }), "{error:?}");
    let error = client.publish("t", "4").deadline(Duration::ZERO).try_enqueue().unwrap_err();
    assert!(matches!(error, EnqueueError::Expired(_)), "{error:?}");
    drop(first);
}

#[tokio::test]
async fn the_time_in_the_queue_is_taken_off_the_message_expiry_interval() {
    tokio::time::pause();
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V5)
        .connect_timeout(LONG)
        .on_publish(|_, _, _| {})
        .start()
        .unwrap();
    let expiring = |seconds, payload: &'static str| {
        let property = Property::MessageExpiryInterval;
        let value = PropertyValue::FourByte(seconds);
        let properties = Properties::default().with(property, value).unwrap();
        client.publish("t", payload).qos(QoS::AtLeastOnce).properties(properties).try_enqueue()
    };
    let (short, long) = (expiring(10, "s").unwrap(), expiring(60, "l").unwrap());
    tokio::time::sleep(Duration::from_millis(20_500)).await;
    let error = short.await.unwrap_err();
    let PublishError::Expired { message: Some(message) } = error else { panic!("{error:?}") };
    assert_eq!(text(&message), "s");
    tokio::time::resume();
    let mut peer = script.accept_with(connack(Version::V5)).await;
    // 60 seconds less the 20 whole ones that have passed.
    peer.expect("32 0C 0001 't' 0001 05 02 00000028 'l'").await;
    peer.send("40 02 0001").await;
    soon(long).await.unwrap();
}

#[tokio::test]
async fn a_message_can_be_taken_back_until_it_is_sent() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5);
    // The broker takes one message at a time.
    let one = "20 06 00 00 03 21 0001";
    let (client, _inbox, mut peer) = accepted(&script, builder, one).await;
    let mut first = at_least_once(&client, "1");
    let mut second = at_least_once(&client, "2");
    let third = at_least_once(&client, "3");
    peer.expect("32 07 0001 't' 0001 00 '1'").await;
    assert_eq!(soon(first.cancel()).await, Err(TooLate));
    assert_eq!(text(&soon(second.cancel()).await.unwrap()), "2");
    assert_eq!(soon(second.cancel()).await, Err(TooLate));
    assert!(matches!(soon(second).await, Err(PublishError::Cancelled)));
    peer.send("40 02 0001").await;
    soon(first).await.unwrap();
    peer.expect("32 07 0001 't' 0002 00 '3'").await;
    peer.send("40 02 0002").await;
    soon(third).await.unwrap();
    assert_eq!(client.stats().publishes_cancelled, 1);
    let mut late = at_least_once(&client, "4");
    drop(peer);
    closed(&client).await;
    assert_eq!(soon(late.cancel()).await, Err(TooLate));
}

#[tokio::test]
async fn the_oldest_message_makes_room() {
    let (script, client) = unanswered(queue(3, Overflow::DropOldest, Offline::Keep)).await;
    let mut deliveries = Vec::new();
    for n in 0..10 {
        deliveries.push(at_least_once(&client, &n.to_string()));
        tokio::task::yield_now().await;
    }
    for (n, delivery) in deliveries.drain(..7).enumerate() {
        let error = soon(delivery).await.unwrap_err();
        let PublishError::Dropped(message) = error else { panic!("{error:?}") };
        assert_eq!(text(&message), n.to_string());
    }
    let mut peer = script.accept_with(connack(Version::V311)).await;
    expect_payloads(&mut peer, &["7", "8", "9"]).await;
    peer.send("40 02 0001 40 02 0002 40 02 0003").await;
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
    assert_eq!(client.stats().publishes_dropped, 7);
}

#[tokio::test]
async fn bytes_make_the_oldest_go_too() {
    let (_script, client) = unanswered(queue(100, Overflow::DropOldest, Offline::Keep)).await;
    let large = at_least_once(&client, &"x".repeat(900));
    tokio::task::yield_now().await;
    let small = at_least_once(&client, &"y".repeat(200));
    assert!(matches!(soon(large).await, Err(PublishError::Dropped(_))));
    let huge = at_least_once(&client, &"z".repeat(1700));
    assert!(matches!(soon(small).await, Err(PublishError::Dropped(_))));
    drop(huge);
    assert_eq!(client.stats().publishes_dropped, 2);
}

#[tokio::test]
async fn messages_in_flight_are_not_dropped() {
    let script = Script::listen().await;
    let builder =
        builder(&script, Version::V311).outgoing(queue(2, Overflow::DropOldest, Offline::Keep));
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let (first, second) = (at_least_once(&client, "1"), at_least_once(&client, "2"));
    expect_payloads(&mut peer, &["1", "2"]).await;
    let third = at_least_once(&client, "3");
    let error = soon(third).await.unwrap_err();
    assert!(matches!(error, PublishError::Dropped(_)), "{error:?}");
    peer.send("40 02 0001 40 02 0002").await;
    soon(first).await.unwrap();
    soon(second).await.unwrap();
}

#[tokio::test]
async fn the_goodbye_of_a_dropped_stream_takes_no_room_from_messages() {
    let script = Script::listen().await;
    let queue = queue(1, Overflow::DropOldest, Offline::Keep);
    let builder = builder(&script, Version::V311).outgoing(queue);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect("82 06 0001 0001 'a' 00").await;
        peer.send("90 03 0001 00").await;
    });
    drop(stream.unwrap());
    peer.expect("A2 05 0002 0001 'a'").await;
    for (id, answer) in [("0003", ""), ("0004", "B0 02 0002"), ("0005", "")] {
        let delivery = at_least_once(&client, "x");
        peer.expect(&format!("32 06 0001 't' {id} 'x'")).await;
        peer.send(&format!("{answer} 40 02 {id}")).await;
        soon(delivery).await.unwrap();
    }
}

#[tokio::test]
async fn between_two_turns_of_the_task_the_queue_is_bounded_all_the_same() {
    let (_script, client) = unanswered(queue(3, Overflow::DropOldest, Offline::Keep)).await;
    // Nothing else runs meanwhile.
    let results: Vec<_> = (0..10).map(|_| client.publish("t", "").try_enqueue()).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 6);
    assert!(matches!(results[6], Err(EnqueueError::Full(_))));
    // Who may wait is let in after the driver's turn.
    drop(soon(client.publish("t", "").enqueue()).await.unwrap());
}

#[tokio::test]
async fn a_full_queue_can_refuse() {
    let (_script, client) = unanswered(queue(1, Overflow::Refuse, Offline::Keep)).await;
    drop(soon(client.publish("t", "1").enqueue()).await.unwrap());
    let error = soon(client.publish("t", "2").enqueue()).await.unwrap_err();
    assert!(matches!(&error, EnqueueError::Full(_)), "{error:?}");
    assert_eq!(text(&error.into_message().unwrap()), "2");
    let error = soon(client.publish("t", "3")).await.unwrap_err();
    let PublishError::Full(message) = error else { panic!("{error:?}") };
    assert_eq!(text(&message), "3");
    let error = soon(client.subscribe("a")).await.unwrap_err();
    assert!(matches!(error, RequestError::Full), "{error:?}");
}

#[tokio::test]
async fn without_a_connection_messages_can_be_refused() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .clean_start(false)
        .reconnect(Reconnect::Backoff { first: LONG, max: LONG })
        .max_inflight(1)
        .outgoing(queue(100, Overflow::Wait, Offline::Refuse));
    let (client, _inbox) = builder.start().unwrap();
    let error = soon(client.publish("t", "0").qos(QoS::AtLeastOnce)).await.unwrap_err();
    let PublishError::Offline(message) = error else { panic!("{error:?}") };
    assert_eq!(text(&message), "0");
    let error = client.publish("t", "0").try_enqueue().unwrap_err();
    assert!(matches!(error, EnqueueError::Offline(_)), "{error:?}");

    let mut peer = script.accept_with(connack(Version::V311)).await;
    soon(client.connected()).await.unwrap();
    let sent = at_least_once(&client, "1");
    let (queued, unsent) = (at_least_once(&client, "2"), client.publish("t", "3").try_enqueue());
    expect_payloads(&mut peer, &["1"]).await;
    drop(peer);
    for (delivery, payload) in [(queued, "2"), (unsent.unwrap(), "3")] {
        let error = soon(delivery).await.unwrap_err();
        let PublishError::Offline(message) = error else { panic!("{error:?}") };
        assert_eq!(text(&message), payload);
    }
    assert_eq!(client.stats().publishes_dropped, 2);
    // What was sent stays with the session.
    state(&client, |state| matches!(state, State::Waiting { .. })).await;
    drop(client);
    let error = soon(sent).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: true }), "{error:?}");
}

#[tokio::test]
async fn without_a_connection_qos_0_alone_can_be_refused() {
    let (script, client) = unanswered(queue(100, Overflow::Wait, Offline::RefuseQos0)).await;
    let error = soon(client.publish("t", "0").enqueue()).await.unwrap_err();
    assert!(matches!(error, EnqueueError::Offline(_)), "{error:?}");
    let kept = at_least_once(&client, "1");
    let mut peer = script.accept_with(connack(Version::V311)).await;
    expect_payloads(&mut peer, &["1"]).await;
    peer.send("40 02 0001").await;
    soon(kept).await.unwrap();
    soon(client.publish("t", "2")).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_room_is_refused_when_the_connection_is_lost() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .clean_start(false)
        .reconnect(Reconnect::Backoff { first: LONG, max: LONG })
        .outgoing(queue(1, Overflow::Wait, Offline::Refuse));
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let sent = at_least_once(&client, "1");
    peer.packet().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish("t", "2").await }
    });
    tokio::task::yield_now().await;
    drop(peer);
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, PublishError::Offline(_)), "{error:?}");
    drop(sent);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_the_call_that_gets_it() {
    let alias = |property, value| Properties::default().with(property, value).unwrap();
    let (_script, client) = unanswered(OutgoingQueue::default()).await;
    let properties = alias(Property::MessageExpiryInterval, PropertyValue::FourByte(1));
    let in_3 = client.publish("t", "x").properties(properties);
    assert!(matches!(in_3.try_enqueue(), Err(EnqueueError::Invalid(_))));
    // Without a byte on the wire, and without a connection.
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V5).start().unwrap();
    for properties in [
        alias(Property::TopicAlias, PropertyValue::TwoByte(1)),
        alias(Property::ReceiveMaximum, PropertyValue::TwoByte(1)),
        alias(Property::SubscriptionIdentifier, PropertyValue::VariableByte(1)),
    ] {
        let wrong = || client.publish("t", "x").properties(properties.clone());
        let error = wrong().try_enqueue().unwrap_err();
        assert!(matches!(error, EnqueueError::Invalid(_)), "{error:?}");
        let error = soon(wrong()).await.unwrap_err();
        assert!(matches!(error, PublishError::Invalid(_)), "{error:?}");
        let mut message = OutgoingMessage::new(TopicName::try_from("t").unwrap(), "");
        message.properties = properties.clone();
        let error = client.handle().try_enqueue(message).unwrap_err();
        assert!(matches!(error, EnqueueError::Invalid(_)), "{error:?}");
    }
    // A payload of 256 MiB, which allocates no memory that is used.
    let large = client.publish("t", vec![0; 256 << 20]).try_enqueue().unwrap_err();
    assert!(matches!(large, EnqueueError::Encode(_)), "{large:?}");
    assert_eq!(client.stats().publish_failures, 0);
}

#[tokio::test]
async fn limits_of_the_next_connection_are_kept_for_what_is_queued() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5)
        .session_expiry(u32::MAX)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let (client, _inbox, mut peer) = accepted(&script, builder, "20 06 00 00 03 21 0002").await;
    let publish = |qos, retain, payload: &'static str| {
        client.publish("t", payload).qos(qos).retain(retain).try_enqueue().unwrap()
    };
    let sent = publish(QoS::AtLeastOnce, true, "1");
    let exactly = publish(QoS::ExactlyOnce, false, "2");
    let queued = [
        publish(QoS::ExactlyOnce, false, "3"),
        publish(QoS::AtLeastOnce, true, "4"),
        publish(QoS::AtLeastOnce, false, "a payload that is too long"),
    ];
    let fits = publish(QoS::AtLeastOnce, false, "5");
    peer.expect("33 07 0001 't' 0001 00 '1' 34 07 0001 't' 0002 00 '2'").await;
    drop(peer);
    // The same session, of a broker that was set up anew: QoS 1, not retained, 20 bytes.
    let mut peer = script.accept_with("20 0C 01 00 09 24 01 25 00 27 00000014").await;
    peer.expect("32 07 0001 't' 0006 00 '5'").await;
    peer.send("40 02 0006").await;
    soon(fits).await.unwrap();
    let mut errors = Vec::new();
    for delivery in [sent, exactly].into_iter().chain(queued) {
        errors.push(soon(delivery).await.unwrap_err());
    }
    assert!(matches!(errors[0], PublishError::RetainNotSupported), "{errors:?}");
    assert!(matches!(errors[1], PublishError::QosNotSupported { .. }), "{errors:?}");
    assert!(matches!(errors[2], PublishError::QosNotSupported { .. }), "{errors:?}");
    assert!(matches!(errors[3], PublishError::RetainNotSupported), "{errors:?}");
    assert!(matches!(errors[4], PublishError::TooLarge { max: 20, .. }), "{errors:?}");
}

#[tokio::test]
async fn a_drained_client_has_confirmed_all_it_was_given() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let deliveries = [at_least_once(&client, "1"), at_least_once(&client, "2")];
    let drained = tokio::spawn({
        let client = client.clone();
        async move { client.drain(LONG).await }
    });
    expect_payloads(&mut peer, &["1", "2"]).await;
    let error = soon(client.publish("t", "3")).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: false }), "{error:?}");
    peer.send("40 02 0001 40 02 0002").await;
    peer.expect("E0 00").await;
    peer.expect_end().await;
    drop(peer);
    let report = soon(drained).await.unwrap().unwrap();
    assert!(report.is_complete());
    assert_eq!((report.confirmed, report.unsent.len()), (2, 0));
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
    assert!(matches!(closed(&client).await, CloseReason::User));
    assert!(matches!(soon(client.drain(LONG)).await, Err(CloseReason::User)));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_tells_what_is_left() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).max_inflight(2);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let deliveries: Vec<_> = (1..=4).map(|n| at_least_once(&client, &n.to_string())).collect();
    expect_payloads(&mut peer, &["1", "2"]).await;
    peer.send("40 02 0001").await;
    peer.expect("32 06 0001 't' 0003 '3'").await;
    let report = tokio::join!(soon(client.drain(Duration::from_millis(100))), async {
        peer.expect("E0 00").await;
        drop(peer);
    });
    let report = report.0.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.confirmed, report.failed, report.unconfirmed), (0, 0, 2));
    let unsent: Vec<_> = report.unsent.iter().map(text).collect();
    assert_eq!((unsent, report.stored), (vec!["4"], 0));
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(soon(delivery).await);
    }
    assert!(outcomes[0].is_ok());
    assert!(matches!(outcomes[1], Err(PublishError::Closed { maybe_delivered: true })));
    assert!(matches!(outcomes[3], Err(PublishError::Closed { maybe_delivered: false })));
}

#[tokio::test]
async fn a_drain_without_a_connection_waits_for_one_until_its_deadline() {
    let (script, client) = unanswered(OutgoingQueue::default()).await;
    let kept = at_least_once(&client, "1");
    let report = soon(client.drain(SHORT)).await.unwrap();
    assert_eq!(report.unsent.iter().map(text).collect::<Vec<_>>(), ["1"]);
    assert!(matches!(soon(kept).await, Err(PublishError::Closed { maybe_delivered: false })));
    drop(script);
    // And one that nothing was given ends at once.
    let (_script, client) = unanswered(OutgoingQueue::default()).await;
    assert!(soon(client.drain(LONG)).await.unwrap().is_complete());
}

#[tokio::test]
async fn an_aborted_client_says_nothing() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let sent = at_least_once(&client, "1");
    peer.packet().await;
    let unsent = at_least_once(&client, "2");
    client.abort();
    peer.expect_end().await;
    assert!(matches!(closed(&client).await, CloseReason::User));
    let error = soon(sent).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: true }), "{error:?}");
    let error = soon(unsent).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { .. }), "{error:?}");
    client.abort();
    // Before there is a connection, it ends the same way.
    let (_script, client) = unanswered(OutgoingQueue::default()).await;
    client.abort();
    assert!(matches!(closed(&client).await, CloseReason::User));
}

#[tokio::test]
async fn a_message_under_way_takes_room_although_its_time_is_up() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).outgoing(queue(1, Overflow::Wait, Offline::Keep));
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let sent = client.publish("t", "1").qos(QoS::AtLeastOnce).deadline(SHORT).try_enqueue();
    expect_payloads(&mut peer, &["1"]).await;
    let error = soon(sent.unwrap()).await.unwrap_err();
    assert!(matches!(error, PublishError::Expired { message: None }), "{error}");
    let more = client.publish("t", "2").qos(QoS::AtLeastOnce);
    let error = more.try_enqueue().unwrap_err();
    assert!(matches!(error, EnqueueError::Full(_)), "{error}");
    peer.send("40 02 0001").await;
    soon(client.publish("t", "3").qos(QoS::AtMostOnce)).await.unwrap();
}

#[tokio::test]
async fn what_was_admitted_as_the_connection_went_is_refused_too() {
    let script = Script::listen().await;
    let ends = Arc::new(Mutex::new(Vec::new()));
    let builder = builder(&script, Version::V311)
        .outgoing(queue(9, Overflow::Wait, Offline::Refuse))
        .reconnect(Reconnect::Backoff { first: LONG, max: LONG })
        .on_message(|_, handle| {
            drop(handle.publish("t", "late").qos(QoS::AtLeastOnce).try_enqueue().unwrap());
            Flow::Taken
        })
        .on_publish({
            let ends = Arc::clone(&ends);
            move |_, result, _| ends.lock().unwrap().push(result.clone().unwrap_err())
        });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.send("30 03 0001 'a'").await;
    peer.finish().await;
    state(&client, |state| matches!(state, State::Waiting { .. })).await;
    soon(client.flush()).await.unwrap();
    let ends = ends.lock().unwrap();
    assert!(matches!(&ends[..], [PublishError::Offline(_)]), "{ends:?}");
}

#[tokio::test]
async fn a_drain_outlives_a_connection() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let _delivery = at_least_once(&client, "1");
    expect_payloads(&mut peer, &["1"]).await;
    let (report, ()) = tokio::join!(soon(client.drain(LONG)), async {
        tokio::task::yield_now().await;
        peer.reset();
        let mut peer = script.accept_with(connack(Version::V311)).await;
        let packet = peer.packet().await;
        assert_eq!(packet[0] & 0xF0, 0x30);
        peer.send(&format!("40 02 {:02X}{:02X}", packet[5], packet[6])).await;
        peer.expect("E0 00").await;
    });
    assert_eq!(report.unwrap().confirmed, 1);
}
