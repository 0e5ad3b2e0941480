//! Requests and their responses, and the other side: handlers that answer.

use std::time::Duration;

use midge::client::{RequestError, Response, ResponseError};
use midge::{Client, Inbox, QoS, ReasonCode, Version};

use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, connected, settle, soon};

/// What a request asks for.
struct Asked {
    packet: Vec<u8>,
    response_topic: String,
    correlation: Vec<u8>,
}

/// Takes the SUBSCRIBE for the response topic and grants it.
async fn grant(peer: &mut Peer) -> String {
    let packet = peer.expect_packet(0x82).await;
    let topic = String::from_utf8(packet[7..packet.len() - 1].to_vec()).unwrap();
    peer.send(&format!("90 04 {:02X}{:02X} 00 01", packet[2], packet[3])).await;
    topic
}

/// Takes a request to the topic `q` and makes out what it says.
async fn asked(peer: &mut Peer, qos: u8) -> Asked {
    let packet = peer.expect_packet(0x30 | qos << 1).await;
    assert_eq!(packet[2..5], *b"\x00\x01q");
    let properties = &packet[if qos > 0 { 8 } else { 6 }..];
    assert_eq!(properties[0], 0x08);
    let length = usize::from(properties[2]);
    let response_topic = String::from_utf8(properties[3..3 + length].to_vec()).unwrap();
    let rest = &properties[3 + length..];
    assert_eq!(rest[..3], *b"\x09\x00\x10");
    let correlation = rest[3..19].to_vec();
    Asked { packet, response_topic, correlation }
}

/// Answers with one byte of payload.
async fn respond(peer: &mut Peer, topic: &str, correlation: &[u8], payload: u8) {
    let mut packet = vec![0x30, 0, 0, topic.len() as u8];
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&[3 + correlation.len() as u8, 0x09, 0, correlation.len() as u8]);
    packet.extend_from_slice(correlation);
    packet.push(payload);
    packet[1] = packet.len() as u8 - 2;
    peer.send_bytes(&packet).await;
}

#[tokio::test]
async fn many_requests_share_a_subscription_and_get_their_own_responses() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let ask = |payload: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.request("q", payload).await })
    };
    let first = ask("1");
    let topic = grant(&mut peer).await;
    assert!(topic.starts_with("response/c/") && topic.len() == 27, "{topic}");
    let one = asked(&mut peer, 0).await;
    let second = ask("2");
    let two = asked(&mut peer, 0).await;
    assert_eq!((&one.response_topic, &two.response_topic), (&topic, &topic));
    assert_ne!(one.correlation, two.correlation);
    assert!(one.packet.ends_with(b"1") && two.packet.ends_with(b"2"));
    // What belongs to nothing that was asked is dropped.
    let mut forged = two.correlation.clone();
    forged[15] ^= 1;
    respond(&mut peer, &topic, &forged, b'x').await;
    respond(&mut peer, &topic, &two.correlation[..15], b'x').await;
    respond(&mut peer, &topic, &[], b'x').await;
    respond(&mut peer, &topic, &two.correlation, b'b').await;
    respond(&mut peer, &topic, &two.correlation, b'c').await;
    respond(&mut peer, &topic, &one.correlation, b'a').await;
    assert_eq!(soon(first).await.unwrap().unwrap().payload(), "a");
    assert_eq!(soon(second).await.unwrap().unwrap().payload(), "b");
    settle(&client, &mut peer).await;
    assert!(inbox.try_next().is_none());
    assert_eq!(client.stats().messages_unclaimed, 4);
}

#[tokio::test]
async fn the_response_may_come_before_the_acknowledgement() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (response, ()) =
        tokio::join!(soon(client.request("q", "x").qos(QoS::AtLeastOnce)), async {
            let topic = grant(&mut peer).await;
            let asked = asked(&mut peer, 1).await;
            respond(&mut peer, &topic, &asked.correlation, b'a').await;
        });
    assert_eq!(response.unwrap().payload(), "a");
}

#[tokio::test]
async fn mqtt_4_10_1_the_response_topic_is_made_of_the_response_information() {
    for (information, prefix) in [("own/17", "own/17/"), ("own/", "own/")] {
        let script = Script::listen().await;
        let length = information.len();
        let connack = format!(
            "20 {:02X} 00 00 {:02X} 1A 00{length:02X} '{information}'",
            length + 6,
            length + 3
        );
        let (client, _inbox, mut peer) =
            accepted(&script, builder(&script, Version::V5), &connack).await;
        let (response, ()) = tokio::join!(soon(client.request("q", "x")), async {
            let topic = grant(&mut peer).await;
            assert!(topic.starts_with(prefix) && topic.len() == prefix.len() + 16, "{topic}");
            let asked = asked(&mut peer, 0).await;
            respond(&mut peer, &topic, &asked.correlation, b'a').await;
        });
        response.unwrap();
    }
}

#[tokio::test]
async fn a_client_identifier_with_wildcards_makes_a_topic_all_the_same() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5).client_id("a/+#");
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
    let (response, ()) = tokio::join!(soon(client.request("q", "x")), async {
        let topic = grant(&mut peer).await;
        assert!(topic.starts_with("response/a___/"), "{topic}");
        let asked = asked(&mut peer, 0).await;
        respond(&mut peer, &topic, &asked.correlation, b'a').await;
    });
    response.unwrap();
}

#[tokio::test]
async fn what_the_response_information_cannot_be_is_an_error() {
    let script = Script::listen().await;
    let connack = "20 09 00 00 06 1A 0003 'a/#'";
    let (client, _inbox, _peer) = accepted(&script, builder(&script, Version::V5), connack).await;
    let error = soon(client.request("q", "x")).await.unwrap_err();
    assert!(matches!(error, ResponseError::ResponseInformation), "{error}");
}

#[tokio::test]
async fn a_request_without_response_times_out_and_a_late_one_is_dropped() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let request = client.request("q", "x").timeout(Duration::from_millis(100));
    let (error, (topic, asked)) =
        tokio::join!(soon(request), async { (grant(&mut peer).await, asked(&mut peer, 0).await) });
    assert!(matches!(error, Err(ResponseError::Timeout { .. })), "{error:?}");
    respond(&mut peer, &topic, &asked.correlation, b'a').await;
    settle(&client, &mut peer).await;
    assert!(inbox.try_next().is_none());
    assert_eq!(client.stats().messages_unclaimed, 1);
}

#[tokio::test]
async fn nobody_to_ask_is_told_at_once() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (error, ()) = tokio::join!(soon(client.request("q", "x").qos(QoS::AtLeastOnce)), async {
        grant(&mut peer).await;
        asked(&mut peer, 1).await;
        peer.send("40 03 0002 10").await;
    });
    assert!(matches!(error, Err(ResponseError::NoResponder)), "{error:?}");
    // A refusal of the request is one of publishing.
    let (error, ()) = tokio::join!(soon(client.request("q", "x").qos(QoS::AtLeastOnce)), async {
        let packet = asked(&mut peer, 1).await.packet;
        peer.send(&format!("40 03 {:02X}{:02X} 87", packet[5], packet[6])).await;
    });
    assert!(matches!(error, Err(ResponseError::Publish(_))), "{error:?}");
}

#[tokio::test]
async fn a_subscription_that_is_refused_or_lost_is_made_again_by_the_next_request() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (error, topic) = tokio::join!(soon(client.request("q", "x")), async {
        let packet = peer.expect_packet(0x82).await;
        peer.send(&format!("90 04 {:02X}{:02X} 00 87", packet[2], packet[3])).await;
        String::from_utf8(packet[7..packet.len() - 1].to_vec()).unwrap()
    });
    let Err(ResponseError::Subscribe(RequestError::Rejected { reason, .. })) = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
    for _ in 0..2 {
        let (response, ()) = tokio::join!(soon(client.request("q", "x")), async {
            assert_eq!(grant(&mut peer).await, topic);
            let asked = asked(&mut peer, 0).await;
            respond(&mut peer, &topic, &asked.correlation, b'a').await;
        });
        response.unwrap();
        let filters = vec![topic.as_str().try_into().unwrap()];
        let (ended, ()) =
            tokio::join!(soon(client.unsubscribe_many(filters, Default::default())), {
                let peer = &mut peer;
                async move {
                    let packet = peer.expect_packet(0xA2).await;
                    peer.send(&format!("B0 04 {:02X}{:02X} 00 00", packet[2], packet[3])).await;
                }
            });
        ended.unwrap();
    }
}

#[tokio::test]
async fn mqtt_3_needs_a_response_topic() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let error = soon(client.request("q", "x")).await.unwrap_err();
    assert!(matches!(error, ResponseError::NoResponseTopic), "{error}");
    let (response, ()) = tokio::join!(soon(client.request("q", "x").response_topic("r")), async {
        peer.expect("82 06 0001 0001 'r' 01").await;
        peer.send("90 03 0001 01 31 04 0001 'r' 'o'").await;
        peer.expect("30 04 0001 'q' 'x'").await;
        peer.send("30 04 0001 'r' 'a'").await;
    });
    assert_eq!(response.unwrap().payload(), "a");
    peer.expect_packet(0xA2).await;
}

#[tokio::test]
async fn a_response_topic_of_ones_own_is_checked_by_correlation_in_5() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (response, ()) = tokio::join!(soon(client.request("q", "x").response_topic("r")), async {
        assert_eq!(grant(&mut peer).await, "r");
        let asked = asked(&mut peer, 0).await;
        assert_eq!(asked.response_topic, "r");
        respond(&mut peer, "r", &[7; 16], b'x').await;
        respond(&mut peer, "r", &asked.correlation, b'a').await;
    });
    assert_eq!(response.unwrap().payload(), "a");
    peer.expect_packet(0xA2).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    for request in [client.request("q/#", "x"), client.request("q", "x").response_topic("r/+")] {
        let error = soon(request).await.unwrap_err();
        assert!(matches!(error, ResponseError::InvalidTopic(_)), "{error}");
    }
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn the_end_of_the_client_ends_its_requests() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request("q", "x").await }
    });
    grant(&mut peer).await;
    asked(&mut peer, 0).await;
    soon(client.disconnect()).await.unwrap();
    let error = soon(asking).await.unwrap().unwrap_err();
    assert!(matches!(error, ResponseError::Closed), "{error}");
    let error = soon(client.request("q", "x")).await.unwrap_err();
    assert!(matches!(error, ResponseError::Closed), "{error}");
}

/// Serves `q` with QoS 1 on a task of its own.
async fn serving<H, F>(
    version: Version,
    concurrency: usize,
    handler: H,
) -> (Client, Inbox, Peer, tokio::task::JoinHandle<Result<(), RequestError>>)
where
    H: FnMut(midge::Message) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (client, inbox, mut peer) = connected(version).await;
    let server = client.clone();
    let running = tokio::spawn(async move {
        server.serve("q", handler).qos(QoS::AtLeastOnce).concurrency(concurrency).await
    });
    peer.expect_packet(0x82).await;
    peer.send(if version == Version::V5 { "90 04 0001 00 01" } else { "90 03 0001 01" }).await;
    (client, inbox, peer, running)
}

#[tokio::test]
async fn a_request_is_answered_and_then_acknowledged() {
    let (client, _inbox, mut peer, running) = serving(Version::V5, 1, |request| async move {
        Response::from([request.payload().as_ref(), b"!"].concat())
    })
    .await;
    peer.send("32 0F 0001 'q' 0007 08 08 0001 'r' 09 0001 'c' 'x'").await;
    peer.expect("32 0C 0001 'r' 0002 04 09 0001 'c' 'x!'").await;
    settle(&client, &mut peer).await;
    peer.expect_silence(); // The response is not safe yet.
    peer.send("40 02 0002").await;
    peer.expect("40 02 0007").await;
    // Without a response topic nothing is published.
    peer.send("32 07 0001 'q' 0008 00 'x'").await;
    peer.expect("40 02 0008").await;
    soon(client.disconnect()).await.unwrap();
    soon(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn handlers_run_at_once_and_acknowledge_in_order() {
    let (waits, _) = tokio::sync::broadcast::channel::<u8>(8);
    let go = waits.clone();
    let (_client, _inbox, mut peer, _running) = serving(Version::V5, 3, move |request| {
        let mut go = waits.subscribe();
        async move {
            let own = request.payload()[0];
            while go.recv().await.unwrap() != own {}
            Response::new(vec![own])
        }
    })
    .await;
    for n in 1..=4 {
        peer.send(&format!("32 0B 0001 'q' 000{n} 04 08 0001 'r' '{n}'")).await;
    }
    // The fourth waits for its turn.
    while go.receiver_count() < 3 {
        tokio::task::yield_now().await;
    }
    go.send(b'3').unwrap();
    peer.expect("32 07 0001 'r' 0002 00 '3'").await;
    peer.send("40 02 0002").await;
    while go.receiver_count() < 3 {
        tokio::task::yield_now().await;
    }
    go.send(b'1').unwrap();
    peer.expect("32 07 0001 'r' 0003 00 '1'").await;
    peer.send("40 02 0003").await;
    peer.expect("40 02 0001").await;
    go.send(b'2').unwrap();
    peer.expect("32 07 0001 'r' 0004 00 '2'").await;
    peer.send("40 02 0004").await;
    peer.expect("40 02 0002 40 02 0003").await;
}

#[tokio::test]
async fn a_handler_that_panics_or_refuses_leaves_the_others_alone() {
    let (_client, _inbox, mut peer, _running) = serving(Version::V5, 1, |request| async move {
        match request.payload()[0] {
            b'1' => panic!("as planned"),
            b'2' => Response::refuse(ReasonCode::QUOTA_EXCEEDED),
            b'3' => Response::nothing(),
            _ => Response::from("fine"),
        }
    })
    .await;
    for n in 1..=4 {
        peer.send(&format!("32 0B 0001 'q' 000{n} 04 08 0001 'r' '{n}'")).await;
    }
    peer.expect("40 03 0001 80 40 03 0002 97 40 02 0003").await;
    peer.expect("32 0A 0001 'r' 0002 00 'fine'").await;
}

#[tokio::test]
async fn in_3_the_application_says_where_responses_go() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let server = client.clone();
    let _running = tokio::spawn(async move {
        let serve = server.serve("q/+", |_| async { "a" });
        serve
            .response_topic(|request| {
                request.topic().strip_prefix("q/").and_then(|name| name.try_into().ok())
            })
            .await
    });
    peer.expect_packet(0x82).await;
    peer.send("90 03 0001 00 30 06 0003 'q/r' 'x'").await;
    peer.expect("30 04 0001 'r' 'a'").await;
}

#[tokio::test]
async fn a_service_that_is_dropped_refuses_what_it_has_begun() {
    let (client, _inbox, mut peer, running) =
        serving(Version::V5, 2, |_| std::future::pending::<Response>()).await;
    peer.send("32 07 0001 'q' 0001 00 '1' 32 07 0001 'q' 0002 00 '2'").await;
    settle(&client, &mut peer).await;
    running.abort();
    let _ = soon(running).await;
    let mut seen = peer.packet().await;
    if seen[0] == 0xA2 {
        seen = peer.packet().await;
    }
    assert_eq!(seen[..4], [0x40, 0x03, 0x00, 0x01]);
    drop((client, peer));
}

#[tokio::test]
async fn a_filter_that_is_refused_ends_the_service() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (result, ()) = tokio::join!(soon(client.serve("q", |_| async { "" })), async {
        peer.expect_packet(0x82).await;
        peer.send("90 04 0001 00 87").await;
    });
    assert!(matches!(result, Err(RequestError::Rejected { .. })), "{result:?}");
    drop(peer);
    closed(&client).await;
}
