//! The end that the application wants: nothing follows DISCONNECT, and the broker sees it.

use std::time::Duration;

use midge::client::{CloseReason, DisconnectError, EnqueueError, PublishError, State};
use midge::{Properties, Property, PropertyValue, QoS, ReasonCode, Reconnect, Version};
use tokio::net::TcpListener;

use crate::support::Script;
use crate::{VERSIONS, accepted, builder, closed, connack, connected, soon, state};

#[tokio::test]
async fn mqtt_3_14_4_nothing_follows_disconnect() {
    for version in VERSIONS {
        let (client, _inbox, mut peer) = connected(version).await;
        let publisher = tokio::spawn({
            let client = client.clone();
            async move {
                loop {
                    match client.publish("t", "x").enqueue().await {
                        Ok(delivery) => drop(delivery),
                        Err(EnqueueError::Closed(message)) => break message,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        peer.expect_packet(0x30).await;
        let disconnecting = tokio::spawn({
            let client = client.clone();
            async move { client.disconnect().await }
        });
        loop {
            let packet = peer.packet().await;
            if packet[0] == 0xE0 {
                assert_eq!(packet, [0xE0, 0x00]);
                break;
            }
        }
        peer.expect_end().await;
        drop(peer);
        soon(disconnecting).await.unwrap().unwrap();
        assert_eq!(soon(publisher).await.unwrap().payload, "x");
        assert!(matches!(closed(&client).await, CloseReason::User));
        let again = soon(client.disconnect()).await.unwrap_err();
        assert!(matches!(again, DisconnectError::Closed), "{again}");
    }
}

#[tokio::test]
async fn what_was_admitted_before_is_written_before() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let first = client.publish("t", "1").try_enqueue().unwrap();
    let second = client.publish("t", "2").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    let ended = tokio::spawn(async move { client.disconnect().await });
    peer.expect("30 04 0001 't' '1' 32 06 0001 't' 0001 '2' E0 00").await;
    drop(peer);
    soon(ended).await.unwrap().unwrap();
    soon(first).await.unwrap();
    let error = soon(second).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: true }), "{error:?}");
}

#[tokio::test]
async fn reason_and_properties_are_sent() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let reason = Property::ReasonString;
    let properties = Properties::default().with(reason, PropertyValue::Utf8("bye")).unwrap();
    let ended = tokio::spawn(async move {
        client.disconnect_with(ReasonCode::DISCONNECT_WITH_WILL, properties).await
    });
    peer.expect("E0 08 04 06 1F 0003 'bye'").await;
    peer.expect_end().await;
    drop(peer);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_disconnect_that_cannot_be_sent_changes_nothing() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let expiry = Property::SessionExpiryInterval;
    let properties = Properties::default().with(expiry, PropertyValue::FourByte(1)).unwrap();
    let error = soon(client.disconnect_with(ReasonCode::SUCCESS, properties)).await.unwrap_err();
    assert!(matches!(error, DisconnectError::Invalid(_)), "{error}");
    soon(client.publish("t", "x")).await.unwrap();
    peer.expect("30 05 0001 't' 00 'x'").await;
}

#[tokio::test]
async fn a_disconnect_while_connecting_ends_at_once() {
    // Nobody accepts: the connection is up and CONNACK never comes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let (client, _inbox) = midge::Client::builder(&url).unwrap().start().unwrap();
    let unsent = client.publish("t", "x").try_enqueue().unwrap();
    soon(client.disconnect()).await.unwrap();
    assert!(matches!(closed(&client).await, CloseReason::User));
    let error = soon(unsent).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed { maybe_delivered: false }), "{error:?}");
}

#[tokio::test]
async fn a_disconnect_while_waiting_to_connect_again_ends_at_once() {
    let script = Script::listen().await;
    let hour = Duration::from_secs(3600);
    let builder =
        builder(&script, Version::V311).reconnect(Reconnect::Backoff { first: hour, max: hour });
    let (client, _inbox, peer) = accepted(&script, builder, connack(Version::V311)).await;
    drop(peer);
    state(&client, |state| matches!(state, State::Waiting { .. })).await;
    // One that could not be sent is refused here too, and the client goes on.
    let text = PropertyValue::Utf8("bye");
    let properties = Properties::default().with(Property::ReasonString, text).unwrap();
    let error = soon(client.disconnect_with(ReasonCode::SUCCESS, properties)).await.unwrap_err();
    assert!(matches!(error, DisconnectError::Invalid(_)), "{error}");
    soon(client.disconnect()).await.unwrap();
    assert!(matches!(closed(&client).await, CloseReason::User));
}

#[tokio::test]
async fn the_last_handle_says_goodbye_once_all_is_confirmed() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let twin = client.clone();
    let delivery = twin.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    drop(client);
    drop(twin);
    peer.expect("32 06 0001 't' 0001 'x'").await;
    peer.expect_silence();
    peer.send("40 02 0001").await;
    soon(delivery).await.unwrap();
    peer.expect("E0 00").await;
    peer.expect_end().await;
    drop(peer);
    assert!(soon(inbox.next()).await.is_none());
}

#[tokio::test]
async fn the_last_handle_does_not_wait_for_ever() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    drop(client);
    peer.expect("32 06 0001 't' 0001 'x' E0 00").await;
    drop(peer);
    soon(delivery).await.unwrap_err();
    assert!(soon(inbox.next()).await.is_none());
}

#[tokio::test]
async fn a_message_given_before_the_connection_is_up_is_sent_after_the_last_handle_is_gone() {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V311).start().unwrap();
    let delivery = client.publish("t", "x").try_enqueue().unwrap();
    drop(client);
    let mut peer = script.accept_with(connack(Version::V311)).await;
    peer.expect("30 04 0001 't' 'x' E0 00").await;
    soon(delivery).await.unwrap();
}

#[test]
fn a_runtime_that_is_shut_down_ends_the_client() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, delivery, _peer) = runtime.block_on(async {
        let (client, _inbox, mut peer) = connected(Version::V311).await;
        let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
        peer.expect_packet(0x32).await;
        (client, delivery, peer)
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(matches!(closed(&client).await, CloseReason::RuntimeStopped));
        let error = soon(delivery).await.unwrap_err();
        assert!(matches!(error, PublishError::Closed { maybe_delivered: true }));
        assert!(matches!(client.publish("t", "x").try_enqueue(), Err(EnqueueError::Closed(_))));
    });
}
