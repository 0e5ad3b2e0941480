//! Subscribing and unsubscribing, and which message goes to which stream.

use midge::client::RequestError;
use midge::codec::RetainHandling;
use midge::{
    Properties, Property, PropertyValue, QoS, ReasonCode, SubscribeOptions, TopicFilter, Version,
};

use crate::support::Script;
use crate::{accepted, builder, connack, connected, settle, soon};

fn filter(text: &str) -> TopicFilter {
    text.try_into().unwrap()
}

#[tokio::test]
async fn a_subscription_is_granted() {
    for (version, request, answer) in [
        (Version::V31, "82 08 0001 0003 'a/+' 01", "90 03 0001 01"),
        (Version::V311, "82 08 0001 0003 'a/+' 01", "90 03 0001 01"),
        (Version::V5, "82 09 0001 00 0003 'a/+' 01", "90 04 0001 00 01"),
    ] {
        let (client, _inbox, mut peer) = connected(version).await;
        let subscribed = tokio::spawn(async move {
            client.subscribe("a/+").qos(QoS::AtLeastOnce).await.map(|s| (client, s))
        });
        peer.expect(request).await;
        peer.send(answer).await;
        let (_client, subscription) = soon(subscribed).await.unwrap().unwrap();
        assert_eq!(subscription.granted(), QoS::AtLeastOnce);
        assert_eq!(subscription.filter().as_str(), "a/+");
    }
}

#[tokio::test]
async fn options_and_identifier_are_in_the_packet() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: midge::codec::RetainHandling::DoNotSend,
    };
    let subscribed = tokio::spawn(async move {
        client.subscribe("a").options(options).identifier(300).await.map(|s| (client, s))
    });
    peer.expect("82 0A 0001 03 0B AC02 0001 'a' 2E").await;
    peer.send("90 04 0001 00 02").await;
    soon(subscribed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_names_filter_and_reason() {
    for (version, answer, code) in
        [(Version::V311, "90 03 0001 80", 0x80), (Version::V5, "90 04 0001 00 87", 0x87)]
    {
        let (client, _inbox, mut peer) = connected(version).await;
        let subscribed =
            tokio::spawn(async move { client.subscribe("a").await.map(|s| (client, s)) });
        peer.packet().await;
        peer.send(answer).await;
        let error = soon(subscribed).await.unwrap().unwrap_err();
        let RequestError::Rejected { filter, reason, .. } = error else { panic!("{error}") };
        assert_eq!((&*filter, reason.code()), ("a", code));
        // Nothing is left to be unsubscribed: the next thing said is goodbye.
        assert_eq!(peer.packet().await[0], 0xE0);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_its_value() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    for bad in ["", "a#", "a/#/b", "a+", "$share//a", "a\0"] {
        let error = soon(client.subscribe(bad)).await.unwrap_err();
        assert!(matches!(error, RequestError::InvalidFilter(_)), "{bad:?}: {error}");
    }
    let error = soon(client.subscribe("a").identifier(1)).await.unwrap_err();
    assert!(matches!(error, RequestError::Invalid(_)), "{error}");
    let error = soon(client.subscribe("a").identifier(0)).await.unwrap_err();
    assert!(matches!(error, RequestError::Invalid(_)), "{error}");
    let error = soon(client.subscribe_many(Vec::new(), Properties::default())).await.unwrap_err();
    assert!(matches!(error, RequestError::Invalid(_)), "{error}");
    let error = soon(client.unsubscribe_many(Vec::new(), Properties::default())).await.unwrap_err();
    assert!(matches!(error, RequestError::Invalid(_)), "{error}");
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn what_the_broker_does_not_have_is_not_asked_for() {
    let script = Script::listen().await;
    let limits = "20 09 00 00 06 28 00 29 00 2A 00";
    let (client, _inbox, mut peer) = accepted(&script, builder(&script, Version::V5), limits).await;
    for request in [
        client.subscribe("a/+"),
        client.subscribe("$share/g/a"),
        client.subscribe("a").identifier(1),
    ] {
        let error = soon(request).await.unwrap_err();
        assert!(matches!(error, RequestError::NotSupported(_)), "{error}");
    }
    settle(&client, &mut peer).await;
    peer.expect_silence();
}

#[tokio::test]
async fn many_filters_go_in_one_packet_and_get_their_answers() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let answers = tokio::spawn({
        let client = client.clone();
        async move {
            let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..Default::default() };
            let filters = vec![(filter("a"), options), (filter("b"), SubscribeOptions::default())];
            client.subscribe_many(filters, Properties::default()).await
        }
    });
    peer.expect("82 0A 0001 0001 'a' 01 0001 'b' 00").await;
    peer.send("90 04 0001 01 80").await;
    let reasons = soon(answers).await.unwrap().unwrap().reasons;
    assert_eq!(reasons, [ReasonCode::GRANTED_QOS_1, ReasonCode::UNSPECIFIED_ERROR]);
    peer.send("30 04 0001 'a' 'x'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().topic(), "a");

    let ended = tokio::spawn(async move {
        let filters = vec![filter("a"), filter("b")];
        client.unsubscribe_many(filters, Properties::default()).await.map(|r| (client, r))
    });
    peer.expect("A2 08 0002 0001 'a' 0001 'b'").await;
    peer.send("B0 02 0002").await;
    assert!(soon(ended).await.unwrap().unwrap().1.reasons.is_empty());
}

/// Makes a subscription that the broker grants with QoS 2.
macro_rules! subscribed {
    ($client:expr, $peer:expr, $request:expr) => {{
        let _ = &$client;
        let (subscription, ()) = tokio::join!(soon($request), async {
            let request = $peer.expect_packet(0x82).await;
            let id = format!("{:02X}{:02X}", request[2], request[3]);
            $peer.send(&format!("90 03 {id} 02")).await;
        });
        subscription.unwrap()
    }};
}

#[tokio::test]
async fn a_message_goes_to_every_stream_that_matches_or_to_the_inbox() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let mut plus = subscribed!(client, peer, client.subscribe("a/+"));
    let mut hash = subscribed!(client, peer, client.subscribe("a/#"));
    peer.send("30 06 0003 'a/b' '1' 30 08 0005 'a/b/c' '2' 30 04 0001 'b' '3'").await;
    assert_eq!(soon(plus.next()).await.unwrap().payload(), "1");
    assert_eq!(soon(hash.next()).await.unwrap().payload(), "1");
    assert_eq!(soon(hash.next()).await.unwrap().payload(), "2");
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "3");
    assert!(plus.try_next().is_none() && hash.try_next().is_none());
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn a_message_that_comes_before_suback_is_not_missed() {
    let (client, _inbox, mut peer) = connected(Version::V311).await;
    let (subscription, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect_packet(0x82).await;
        peer.send("30 04 0001 'a' 'x' 90 03 0001 00").await;
    });
    assert_eq!(soon(subscription.unwrap().next()).await.unwrap().payload(), "x");
}

#[tokio::test]
async fn identifiers_decide_where_messages_carry_them() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let (one, ()) = tokio::join!(soon(client.subscribe("a/#").identifier(1)), async {
        peer.expect_packet(0x82).await;
        peer.send("90 04 0001 00 00").await;
    });
    let (two, ()) = tokio::join!(soon(client.subscribe("a/b").identifier(2)), async {
        peer.expect_packet(0x82).await;
        peer.send("90 04 0002 00 00").await;
    });
    let (mut one, mut two) = (one.unwrap(), two.unwrap());
    peer.send("30 09 0003 'a/b' 02 0B 02 'x'").await;
    assert_eq!(soon(two.next()).await.unwrap().payload(), "x");
    peer.send("30 0B 0003 'a/b' 04 0B 01 0B 02 'y'").await;
    assert_eq!(soon(one.next()).await.unwrap().payload(), "y");
    assert_eq!(soon(two.next()).await.unwrap().payload(), "y");
    peer.send("30 09 0003 'a/b' 02 0B 03 'z'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "z");
}

#[tokio::test]
async fn unsubscribing_ends_the_stream() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let (subscription, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect_packet(0x82).await;
        peer.send("90 04 0001 00 00").await;
    });
    let (reason, ()) = tokio::join!(soon(subscription.unwrap().unsubscribe()), async {
        peer.expect("A2 06 0002 00 0001 'a'").await;
        peer.send("B0 04 0002 00 11").await;
    });
    assert_eq!(reason.unwrap(), ReasonCode::NO_SUBSCRIPTION_EXISTED);
    peer.send("30 05 0001 'a' 00 'x'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "x");
    soon(client.disconnect()).await.unwrap();
    peer.expect("E0 00").await;
}

#[tokio::test]
async fn dropping_a_stream_unsubscribes_unless_it_is_kept_or_shared() {
    let (client, mut inbox, mut peer) = connected(Version::V311).await;
    let kept = subscribed!(client, peer, client.subscribe("k").keep(true));
    let twin = subscribed!(client, peer, client.subscribe("a"));
    let mut other = subscribed!(client, peer, client.subscribe("a"));
    drop(kept);
    drop(twin);
    peer.send("30 04 0001 'k' '1' 30 04 0001 'a' '2'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "1");
    assert_eq!(soon(other.next()).await.unwrap().payload(), "2");
    drop(other);
    peer.expect("A2 05 0004 0001 'a'").await;
}

#[tokio::test]
async fn an_unanswered_request_times_out() {
    let script = Script::listen().await;
    let builder =
        builder(&script, Version::V311).request_timeout(std::time::Duration::from_millis(50));
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let error = soon(client.subscribe("a").keep(true)).await.unwrap_err();
    assert!(matches!(error, RequestError::Timeout), "{error}");
    peer.expect("82 06 0001 0001 'a' 00").await;
    // The broker may have made the subscription, which nobody knows of.
    peer.expect("A2 05 0002 0001 'a'").await;
}

#[tokio::test]
async fn a_refused_unsubscribe_leaves_the_stream_as_it_is() {
    let (client, mut inbox, mut peer) = connected(Version::V5).await;
    let both = async { tokio::join!(client.subscribe("a"), client.subscribe("b")) };
    let ((stays, goes), ()) = tokio::join!(soon(both), async {
        peer.expect("82 07 0001 00 0001 'a' 00 82 07 0002 00 0001 'b' 00").await;
        peer.send("90 04 0001 00 00 90 04 0002 00 00").await;
    });
    let (mut stays, mut goes) = (stays.unwrap(), goes.unwrap());
    let filters = vec![filter("a"), filter("b")];
    let unsubscribe = client.unsubscribe_many(filters, Properties::default());
    let (receipt, ()) = tokio::join!(soon(unsubscribe), async {
        peer.expect("A2 09 0003 00 0001 'a' 0001 'b'").await;
        peer.send("B0 05 0003 00 87 00").await;
    });
    assert_eq!(receipt.unwrap().reasons, [ReasonCode::NOT_AUTHORIZED, ReasonCode::SUCCESS]);
    assert!(soon(goes.next()).await.is_none());
    peer.send("30 05 0001 'a' 00 'x'").await;
    assert_eq!(soon(stays.next()).await.unwrap().payload(), "x");
    assert!(inbox.try_next().is_none());
}

#[tokio::test]
async fn each_option_has_its_bit() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    for (n, bits) in ["04", "08", "10", "20", "2D"].into_iter().enumerate() {
        let subscribe = client.subscribe("a").keep(true);
        let subscribe = match n {
            0 => subscribe.no_local(true),
            1 => subscribe.retain_as_published(true),
            2 => subscribe.retain_handling(RetainHandling::SendIfNew),
            3 => subscribe.retain_handling(RetainHandling::DoNotSend),
            _ => subscribe
                .qos(QoS::AtLeastOnce)
                .no_local(true)
                .retain_as_published(true)
                .retain_handling(RetainHandling::DoNotSend),
        };
        let (stream, ()) = tokio::join!(soon(subscribe), async {
            peer.expect(&format!("82 07 000{} 00 0001 'a' {bits}", n + 1)).await;
            peer.send(&format!("90 04 000{} 00 00", n + 1)).await;
        });
        stream.unwrap();
    }
}

#[tokio::test]
async fn mqtt_3_8_3_4_a_shared_subscription_has_no_no_local() {
    let (client, _inbox, _peer) = connected(Version::V5).await;
    let error = soon(client.subscribe("$share/g/a").no_local(true)).await.unwrap_err();
    assert!(error.to_string().contains("$share/g/a"), "{error}");
}

#[tokio::test]
async fn messages_of_a_shared_subscription_have_topics_without_its_name() {
    for version in [Version::V311, Version::V5] {
        let v5 = version == Version::V5;
        let (client, mut inbox, mut peer) = connected(version).await;
        let mut streams = Vec::new();
        for (n, filter) in ["$share/g/a/+", "$share/g/b"].into_iter().enumerate() {
            let (stream, ()) = tokio::join!(soon(client.subscribe(filter)), async {
                peer.expect_packet(0x82).await;
                let answer = if v5 { "90 04 000# 00 00" } else { "90 03 000# 00" };
                peer.send(&answer.replace('#', &(n + 1).to_string())).await;
            });
            streams.push(stream.unwrap());
        }
        let properties = if v5 { "00" } else { "" };
        let (long, short) = if v5 { ("07", "05") } else { ("06", "04") };
        peer.send(&format!("30 {long} 0003 'a/b' {properties} '1'")).await;
        peer.send(&format!("30 {short} 0001 'b' {properties} '2'")).await;
        peer.send(&format!("30 {short} 0001 'c' {properties} '3'")).await;
        assert_eq!(soon(streams[0].next()).await.unwrap().payload(), "1");
        assert_eq!(soon(streams[1].next()).await.unwrap().payload(), "2");
        assert_eq!(soon(inbox.next()).await.unwrap().payload(), "3");
        assert!(streams.iter_mut().all(|stream| stream.try_next().is_none()));
    }
}

#[tokio::test]
async fn the_broker_s_own_words_are_in_answers_and_errors() {
    let (client, _inbox, mut peer) = connected(Version::V5).await;
    let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect_packet(0x82).await;
        peer.send("90 09 0001 05 1F 0002 'ok' 00").await;
    });
    let stream = stream.unwrap();
    assert_eq!(stream.properties().reason_string(), Some("ok"));
    let user = PropertyValue::Pair("k", "v");
    let properties = Properties::new().with(Property::UserProperty, user).unwrap();
    let (receipt, ()) = tokio::join!(soon(stream.unsubscribe_with(properties)), async {
        peer.expect("A2 0D 0002 07 26 0001 'k' 0001 'v' 0001 'a'").await;
        peer.send("B0 0A 0002 06 1F 0003 'bye' 00").await;
    });
    assert_eq!(receipt.unwrap().properties.as_ref().reason_string(), Some("bye"));
    let (refused, ()) = tokio::join!(soon(client.subscribe("b")), async {
        peer.expect_packet(0x82).await;
        peer.send("90 09 0003 05 1F 0002 'no' 87").await;
    });
    let error = refused.unwrap_err().to_string();
    assert_eq!(error, "the broker refused \"b\": Not authorized (0x87) (\"no\")");
}
