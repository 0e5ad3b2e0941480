//! Every public future, dropped at every poll: nothing is lost, sent twice, or left behind.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge::client::{AuthData, AuthError, Authenticator, OutgoingQueue, PublishError};
use midge::codec::PropertiesRef;
use midge::{Client, Inbox, Properties, QoS, ReasonCode, TopicFilter, Version};

use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, connected, soon};

/// Polls a future this often, with the driver running in between, and drops it. Says whether it was
/// ready before.
async fn dropped_after<F: IntoFuture>(polls: usize, future: F) -> bool {
    let mut future = pin!(future.into_future());
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        settle().await;
    }
    false
}

/// Lets the driver do all that it can do now.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// How often a future is polled before it is dropped.
const POLLS: usize = 4;

/// Asserts that the client still works: the next message it sends is this one.
async fn still_works(client: &Client, peer: &mut Peer) {
    soon(client.publish("ok", "")).await.unwrap();
    peer.expect("30 04 0002 'ok'").await;
}

/// Asserts that the client still receives.
async fn still_receives(inbox: &mut Inbox, peer: &mut Peer) {
    peer.send("30 04 0002 'ok'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().topic(), "ok");
}

#[tokio::test]
async fn connected_can_be_dropped() {
    for polls in 0..POLLS {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, Version::V311).start().unwrap();
        dropped_after(polls, client.connected()).await;
        let mut peer = script.accept_with(connack(Version::V311)).await;
        dropped_after(polls, client.connected()).await;
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn an_admitted_publish_is_sent_although_its_future_is_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        dropped_after(polls, client.publish("t", "x").qos(QoS::AtLeastOnce)).await;
        if polls > 0 {
            peer.expect("32 06 0001 't' 0001 'x'").await;
            peer.send("40 02 0001").await;
        }
        still_works(&client, &mut peer).await;
        soon(client.flush()).await.unwrap();
    }
}

#[tokio::test]
async fn a_delivery_can_be_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        dropped_after(polls, delivery).await;
        peer.expect("32 06 0001 't' 0001 'x'").await;
        peer.send("40 02 0001").await;
        soon(client.flush()).await.unwrap();
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn an_unsubscribe_that_is_dropped_in_the_line_for_room_ends_the_subscription() {
    for (polls, keep) in [(0, false), (1, false), (1, true), (2, true)] {
        let script = Script::listen().await;
        let queue = OutgoingQueue { messages: 1, ..OutgoingQueue::default() };
        let builder = builder(&script, Version::V311).outgoing(queue);
        let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
        let (stream, ()) = tokio::join!(soon(client.subscribe("a").keep(keep)), async {
            peer.expect("82 06 0001 0001 'a' 00").await;
            peer.send("90 03 0001 00").await;
        });
        drop(client.publish("t", "").qos(QoS::AtLeastOnce).try_enqueue().unwrap());
        peer.expect("32 05 0001 't' 0002").await;
        assert!(!dropped_after(polls, stream.unwrap().unsubscribe()).await);
        peer.expect("A2 05 0003 0001 'a'").await;
    }
}

#[tokio::test]
async fn a_place_in_the_line_is_given_up() {
    for polls in 0..POLLS {
        for whole in [false, true] {
            let script = Script::listen().await;
            let builder = builder(&script, Version::V311).outgoing(OutgoingQueue {
                messages: 1,
                bytes: 100,
                ..OutgoingQueue::default()
            });
            let (client, _inbox, mut peer) =
                accepted(&script, builder, connack(Version::V311)).await;
            let first = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
            peer.packet().await;
            // Waits for room, in front of another one.
            let mut behind = pin!(client.publish("t", "3").enqueue());
            if whole {
                assert!(!dropped_after(polls, client.publish("t", "2")).await);
            } else {
                assert!(!dropped_after(polls, client.publish("t", "2").enqueue()).await);
                assert!(!dropped_after(polls, client.publish("t", "2").post()).await);
            }
            let mut cx = Context::from_waker(Waker::noop());
            assert!(behind.as_mut().poll(&mut cx).is_pending());
            peer.send("40 02 0001").await;
            soon(first).await.unwrap();
            soon(soon(behind).await.unwrap()).await.unwrap();
            peer.expect("30 04 0001 't' '3'").await;
        }
    }
}

#[tokio::test]
async fn a_subscribe_that_is_dropped_ends_the_subscription() {
    for (polls, keep) in (0..POLLS).flat_map(|polls| [(polls, false), (polls, true)]) {
        let (client, mut inbox, mut peer) = connected(Version::V311).await;
        dropped_after(polls, client.subscribe("a").keep(keep)).await;
        if polls > 0 {
            peer.expect("82 06 0001 0001 'a' 00").await;
            peer.send("90 03 0001 00").await;
            peer.expect("A2 05 0002 0001 'a'").await;
            peer.send("B0 02 0002").await;
        }
        peer.send("30 04 0001 'a' 'x'").await;
        assert_eq!(soon(inbox.next()).await.unwrap().payload(), "x");
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn requests_for_many_filters_are_sent_although_their_futures_are_dropped() {
    let filters = || vec![TopicFilter::try_from("a").unwrap()];
    for polls in 0..POLLS {
        let (client, mut inbox, mut peer) = connected(Version::V311).await;
        let subscribed = filters().into_iter().map(|filter| (filter, Default::default()));
        let request = client.subscribe_many(subscribed.collect(), Properties::default());
        dropped_after(polls, request).await;
        if polls > 0 {
            peer.expect("82 06 0001 0001 'a' 00").await;
            peer.send("90 03 0001 00").await;
        }
        dropped_after(polls, client.unsubscribe_many(filters(), Properties::default())).await;
        if polls > 0 {
            peer.expect("A2 05 0002 0001 'a'").await;
            peer.send("B0 02 0002").await;
        }
        soon(client.flush()).await.unwrap();
        still_works(&client, &mut peer).await;
        still_receives(&mut inbox, &mut peer).await;
    }
}

#[tokio::test]
async fn unsubscribing_goes_on_although_its_future_is_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
            peer.expect_packet(0x82).await;
            peer.send("90 03 0001 00").await;
        });
        dropped_after(polls, stream.unwrap().unsubscribe()).await;
        peer.expect("A2 05 0002 0001 'a'").await;
    }
}

#[tokio::test]
async fn no_message_is_lost_with_a_next_that_is_dropped() {
    for polls in 0..POLLS {
        let (client, mut inbox, mut peer) = connected(Version::V311).await;
        let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
            peer.expect_packet(0x82).await;
            peer.send("90 03 0001 00").await;
        });
        let mut stream = stream.unwrap();
        assert!(!dropped_after(polls, stream.next()).await);
        assert!(!dropped_after(polls, inbox.next()).await);
        peer.send("32 06 0001 'a' 0001 'x' 32 06 0001 'b' 0002 'y'").await;
        settle().await;
        assert_eq!(soon(stream.next()).await.unwrap().payload(), "x");
        assert_eq!(soon(inbox.next()).await.unwrap().payload(), "y");
        peer.expect("40 02 0001 40 02 0002").await;
    }
}

#[tokio::test]
async fn flush_and_closed_can_be_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        peer.packet().await;
        assert!(!dropped_after(polls, client.flush()).await);
        assert!(!dropped_after(polls, client.closed()).await);
        peer.send("40 02 0001").await;
        soon(delivery).await.unwrap();
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn a_message_is_taken_back_although_the_future_is_dropped() {
    for polls in 0..POLLS {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, Version::V311).start().unwrap();
        let mut delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        dropped_after(polls, delivery.cancel()).await;
        let mut peer = script.accept_with(connack(Version::V311)).await;
        if polls == 0 {
            peer.expect("32 06 0001 't' 0001 'x'").await;
            peer.send("40 02 0001").await;
            soon(delivery).await.unwrap();
        } else {
            assert!(matches!(soon(delivery).await, Err(PublishError::Cancelled)));
        }
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn a_drain_goes_on_although_its_future_is_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        assert!(!dropped_after(polls, client.drain(Duration::from_secs(60))).await);
        peer.packet().await;
        peer.send("40 02 0001").await;
        soon(delivery).await.unwrap();
        if polls == 0 {
            still_works(&client, &mut peer).await;
        } else {
            peer.expect("E0 00").await;
            peer.expect_end().await;
            drop(peer);
            closed(&client).await;
        }
    }
}

#[tokio::test]
async fn a_message_with_a_deadline_can_be_given_up_while_it_waits_for_room() {
    for polls in 0..POLLS {
        let script = Script::listen().await;
        let limit = OutgoingQueue { messages: 1, ..OutgoingQueue::default() };
        let builder = builder(&script, Version::V311).outgoing(limit);
        let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
        let first = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        peer.packet().await;
        let second = client.publish("t", "2").deadline(Duration::from_secs(60));
        assert!(!dropped_after(polls, second.enqueue()).await);
        peer.send("40 02 0001").await;
        soon(first).await.unwrap();
        still_works(&client, &mut peer).await;
    }
}

#[tokio::test]
async fn a_disconnect_goes_on_although_its_future_is_dropped() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V5).await;
        dropped_after(polls, client.disconnect()).await;
        if polls == 0 {
            dropped_after(1, client.disconnect_with(ReasonCode::SUCCESS, Properties::default()))
                .await;
        }
        peer.expect("E0 00").await;
        peer.expect_end().await;
        drop(peer);
        closed(&client).await;
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_the_next_one_alone() {
    for polls in 0..POLLS {
        let (client, mut inbox, mut peer) = connected(Version::V5).await;
        dropped_after(polls, client.request("q", "1")).await;
        let request = tokio::spawn({
            let client = client.clone();
            async move { client.request("q", "2").await }
        });
        // The subscription that nobody waited for may have been asked for already.
        let mut packet = peer.expect_packet(0x82).await;
        let topic = packet[5..packet.len() - 1].to_vec();
        let publish = loop {
            peer.send(&format!("90 04 {:02X}{:02X} 00 01", packet[2], packet[3])).await;
            packet = peer.packet().await;
            if packet[0] == 0x30 {
                break packet;
            }
            assert_eq!(packet[5..packet.len() - 1], topic, "a second topic");
        };
        let correlation = &publish[publish.len() - 17..publish.len() - 1];
        let mut response = vec![0x30, (topic.len() + 21) as u8];
        response.extend_from_slice(&topic[..]);
        response.extend_from_slice(b"\x13\x09\x00\x10");
        response.extend_from_slice(correlation);
        response.push(b'a');
        peer.send_bytes(&response).await;
        assert_eq!(soon(request).await.unwrap().unwrap().payload(), "a");
        assert!(inbox.try_next().is_none());
    }
}

#[tokio::test]
async fn a_reauthentication_goes_on_although_its_future_is_dropped() {
    struct Once;

    impl Authenticator for Once {
        fn method(&self) -> &str {
            "M"
        }

        fn start(&mut self) -> Result<AuthData, AuthError> {
            Ok(AuthData::none())
        }

        fn step(&mut self, _: PropertiesRef<'_>) -> Result<AuthData, AuthError> {
            Ok(AuthData::none())
        }
    }

    for polls in 0..POLLS {
        let script = Script::listen().await;
        let builder = builder(&script, Version::V5).authenticator(Once);
        let connack = "20 07 00 00 04 15 0001 'M'";
        let (client, _inbox, mut peer) = accepted(&script, builder, connack).await;
        dropped_after(polls, client.reauthenticate()).await;
        if polls > 0 {
            peer.expect("F0 06 19 04 15 0001 'M'").await;
            peer.send("F0 06 00 04 15 0001 'M'").await;
        }
        crate::settle(&client, &mut peer).await;
        // The next one is not in its way.
        let (again, ()) = tokio::join!(soon(client.reauthenticate()), async {
            peer.expect("F0 06 19 04 15 0001 'M'").await;
            peer.send("F0 06 00 04 15 0001 'M'").await;
        });
        again.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_is_dropped_ends_its_subscription() {
    for polls in 0..POLLS {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        dropped_after(polls, client.serve("q", |_| async { "" })).await;
        if polls > 0 {
            peer.expect("82 06 0001 0001 'q' 00").await;
            peer.send("90 03 0001 00").await;
            peer.expect("A2 05 0002 0001 'q'").await;
        }
    }
}

#[tokio::test]
async fn polling_by_hand_works_too() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(inbox.poll_next(&mut cx).is_pending());
    peer.send("30 04 0001 'a' 'x'").await;
    soon(client.publish("t", "x")).await.unwrap();
    let message = soon(std::future::poll_fn(|cx| inbox.poll_next(cx))).await.unwrap();
    assert_eq!(message.payload(), "x");
    drop(peer);
    closed(&client).await;
    assert!(matches!(inbox.poll_next(&mut cx), Poll::Ready(None)));
}
