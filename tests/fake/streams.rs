//! Slow consumers: what is held, what is dropped and told, and when reading stops.

use midge::{QoS, Version};

use crate::support::{Peer, Script};
use crate::{accepted, builder, connack, connected, soon};

/// A ping and its answer prove that everything before them was handled.
async fn settle(client: &midge::Client, peer: &mut Peer) {
    let delivery = client.publish("settle", "").try_enqueue().unwrap();
    soon(delivery).await.unwrap();
    peer.expect_packet(0x30).await;
}

#[tokio::test]
async fn qos_1_is_acknowledged_when_the_consumer_takes_it() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    peer.send("32 06 0001 'a' 0001 '1' 34 06 0001 'a' 0002 '2' 32 06 0001 'a' 0003 '3'").await;
    settle(&client, &mut peer).await;
    peer.expect_silence();
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "1");
    peer.expect("40 02 0001").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "2");
    peer.expect("50 02 0002").await;
    peer.send("62 02 0002").await;
    peer.expect("70 02 0002").await;
    let message = soon(inbox.next()).await.unwrap();
    assert_eq!((message.qos(), message.packet_id().unwrap().get()), (QoS::AtLeastOnce, 3));
    peer.expect("40 02 0003").await;
}

#[tokio::test]
async fn a_message_of_two_streams_is_acknowledged_when_both_have_taken_it() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let mut streams = Vec::new();
    for (id, filter) in [(1, "a/+"), (2, "a/#")] {
        let (stream, ()) = tokio::join!(soon(client.subscribe(filter)), async {
            peer.expect_packet(0x82).await;
            peer.send(&format!("90 03 000{id} 01")).await;
        });
        streams.push(stream.unwrap());
    }
    peer.send("32 08 0003 'a/b' 0009 'x'").await;
    assert_eq!(soon(streams[0].next()).await.unwrap().payload(), "x");
    settle(&client, &mut peer).await;
    peer.expect_silence();
    drop(streams.pop());
    peer.expect("40 02 0009").await;
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn without_an_inbox_messages_are_acknowledged_and_counted() {
    let (client, inbox, mut peer) = connected(Version::V311).await;
    drop(inbox);
    peer.send("32 06 0001 'a' 0001 '1'").await;
    peer.expect("40 02 0001").await;
    assert_eq!((client.stats().messages_received, client.stats().messages_unclaimed), (1, 1));
}

#[tokio::test]
async fn dropping_the_inbox_lets_go_of_what_it_holds() {
    let (client, inbox, mut peer) = connected(Version::V311).await;
    peer.send("32 06 0001 'a' 0001 '1'").await;
    settle(&client, &mut peer).await;
    drop(inbox);
    peer.expect("40 02 0001").await;
}

#[tokio::test]
async fn of_qos_0_the_oldest_go_and_the_next_one_tells() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).inbox_capacity(3);
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    for n in 0..8 {
        peer.send(&format!("30 04 0001 'a' '{n}'")).await;
    }
    settle(&client, &mut peer).await;
    // What is read is told apart from what is not by a message that must not be dropped.
    peer.send("32 06 0001 'a' 0001 'x'").await;
    let mut seen = Vec::new();
    let mut lagged = 0;
    loop {
        let message = soon(inbox.next()).await.unwrap();
        lagged += message.lagged();
        seen.push(message.into_payload());
        if seen.last().unwrap() == "x" {
            break;
        }
    }
    assert_eq!(lagged + seen.len() as u64, 9, "every message is seen or counted: {seen:?}");
    assert!(seen.len() <= 4 && seen[..seen.len() - 1].contains(&"7".into()), "{seen:?}");
    assert_eq!(client.stats().messages_dropped, lagged);
}

#[tokio::test]
async fn bytes_bound_a_stream_too() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).inbox_bytes(1000);
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let packet = [b"\x30\x93\x03\x00\x01a".as_slice(), &[b'x'; 400]].concat();
    for _ in 0..5 {
        peer.send_bytes(&packet).await;
    }
    peer.send("32 06 0001 'a' 0001 'x'").await;
    let mut count = 0;
    let mut lagged = 0;
    loop {
        let message = soon(inbox.next()).await.unwrap();
        count += 1;
        lagged += message.lagged();
        if message.payload() == "x" {
            break;
        }
    }
    assert_eq!(count + lagged, 6);
    assert_eq!(client.stats().messages_dropped, lagged);
}

#[tokio::test]
async fn reading_stops_when_more_is_held_than_was_meant() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311)
        .inbox_capacity(2)
        .keep_alive(std::time::Duration::from_secs(1));
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    for n in 1..=3 {
        peer.send(&format!("32 06 0001 'a' 000{n} '{n}'")).await;
    }
    settle(&client, &mut peer).await;
    // The third may still be on its way: everything is read once the first pings have come.
    peer.expect("C0 00").await;
    peer.send("D0 00 32 06 0001 'a' 0004 '4'").await;
    peer.expect("C0 00 C0 00").await;
    assert_eq!(client.stats().messages_received, 3);
    for n in 1..=4 {
        assert_eq!(soon(inbox.next()).await.unwrap().payload(), n.to_string().as_bytes());
        peer.expect(&format!("40 02 000{n}")).await;
    }
}

#[tokio::test]
async fn a_paused_client_reads_nothing_and_pings_go_on() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).keep_alive(std::time::Duration::from_secs(1));
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    client.pause_reading();
    settle(&client, &mut peer).await;
    peer.send("30 04 0001 'a' 'x'").await;
    // No answer comes, and nobody takes that amiss while nothing is read.
    peer.expect("C0 00 C0 00").await;
    assert!(inbox.try_next().is_none());
    client.resume_reading();
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "x");
}

#[tokio::test]
async fn what_was_received_can_be_taken_after_the_end() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let properties = "0F 01 01 02 0000000A 03 0001 'c' 08 0001 'r'";
    peer.send(&format!("3D 16 0001 'a' 0007 {properties} 'x'")).await;
    peer.finish().await;
    crate::closed(&client).await;
    let message = soon(inbox.next()).await.unwrap();
    assert_eq!((message.topic(), message.payload().as_ref()), ("a", &b"x"[..]));
    assert_eq!((message.qos(), message.retain(), message.dup()), (QoS::ExactlyOnce, true, true));
    let properties = message.properties();
    assert_eq!(properties.content_type(), Some("c"));
    assert_eq!(properties.response_topic(), Some("r"));
    assert_eq!(properties.message_expiry_interval(), Some(10));
    assert!(soon(inbox.next()).await.is_none());
}
