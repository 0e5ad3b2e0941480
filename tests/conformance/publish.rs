//! PUBLISH (§3.3).

use midge::Client as Handle;

use crate::kit::*;

tests! {
    ["3.3.1-1"] ["3.3.1-1"] what_is_sent_again_has_dup,
    ["3.3.1-2"] ["3.3.1-2"] qos_0_has_no_dup,
    ["3.3.1-3"] ["3.3.1-3"] dup_is_not_passed_on,
    ["3.3.1-4"] ["3.3.1-4"] there_is_no_qos_3,
    ["3.3.2-1"] ["3.3.2-1"] the_topic_comes_first_and_is_a_string,
    ["3.3.2-2", "4.7.1-1"] ["3.3.2-2", "4.7.0-1"] a_topic_name_has_no_wildcards,
    ["3.3.2-3"] ["3.3.2-3"] a_message_nobody_asked_for_goes_to_no_stream,
    [] ["§3.3.2.3.2"] the_payload_format_is_0_or_1,
    [] ["3.3.2-7"] aliases_end_with_the_connection,
    [] ["3.3.2-8"] there_is_no_alias_0,
    [] ["3.3.2-10"] every_alias_up_to_our_maximum_is_taken,
    [] ["3.3.2-13", "3.3.2-14"] a_response_topic_is_a_topic_name,
    [] ["3.3.2-19"] a_content_type_is_a_string,
    ["3.3.4-1"] ["3.3.4-1"] each_qos_has_its_answer,
    [] ["3.3.4-6"] a_client_sends_no_subscription_identifier,
    [] ["3.3.4-7", "4.9.0-1", "4.9.0-2"] no_more_is_in_flight_than_the_broker_takes,
    [] ["3.3.4-8", "4.9.0-3"] a_full_window_delays_nothing_else,
    [] ["3.3.4-9"] a_broker_beyond_our_receive_maximum_is_disconnected,
    ["§3.3.5"] ["§3.3.5"] copies_are_delivered_as_they_come,
}

fn what_is_sent_again_has_dup(version: Version) {
    let mut client = kept(version);
    client.publish(0, 1, b"one");
    client.publish(1, 2, b"two");
    assert_eq!(kinds(&client.output()), [0x32, 0x34]);
    for _ in 0..3 {
        assert_eq!(kinds(&reconnect(&mut client, resuming(version))), [0x3A, 0x3C]);
    }
}

fn qos_0_has_no_dup(version: Version) {
    let mut client = kept(version);
    client.publish(0, 0, b"");
    assert_eq!(kinds(&client.output()), [0x30]);
    client.disconnect();
    client.publish(1, 0, b"");
    client.connect();
    client.output();
    client.receive(resuming(version));
    assert_eq!(kinds(&client.output()), [0x30]);
    breach_in(version, || connected(version), &publish(version, 0x38, "t", 0, b"bad"), 0x81);
}

fn dup_is_not_passed_on(version: Version) {
    block_on(async {
        let script = Script::listen().await;
        let (client, mut inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        peer.send_bytes(&publish(version, 0x3A, "t", 7, b"x")).await;
        let message = inbox.next().await.unwrap();
        assert!(message.dup());
        let topic = message.topic().to_owned();
        let delivery =
            client.publish(&*topic, message.into_payload()).qos(QoS::AtLeastOnce).try_enqueue();
        peer.expect_packet(0x40).await;
        peer.expect_packet(0x32).await;
        drop(delivery);
    });
}

fn there_is_no_qos_3(version: Version) {
    for first in [0x36, 0x37, 0x3E, 0x3F] {
        breach_in(version, || connected(version), &publish(version, first, "t", 1, b"bad"), 0x81);
    }
    assert!(QoS::try_from(3).is_err());
}

fn the_topic_comes_first_and_is_a_string(version: Version) {
    let mut client = connected(version);
    client.publish(0, 1, b"x");
    assert_eq!(client.output(), publish(version, 0x32, "t", 1, b"x"));
    // A topic that reaches beyond its packet (CVE-2026-54412, CVE-2019-17210).
    for row in ["30 03 FFFF 61", "30 04 0003 6161", "32 05 0004 61 0001"] {
        breach(version, row, 0x81);
    }
    let row = framed(0x30, &[b"\0\x02\xC3\x28", none(version), b"bad"].concat());
    breach_in(version, || connected(version), &row, 0x81);
}

fn a_topic_name_has_no_wildcards(version: Version) {
    for topic in ["a/#", "#", "+", "a+b", "a/+/b"] {
        let row = publish(version, 0x30, topic, 0, b"bad");
        breach_in(version, || connected(version), &row, 0x81);
        assert!(TopicName::try_from(topic).is_err());
    }
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        for topic in ["a/#", "+"] {
            client.publish(topic, "x").await.unwrap_err();
        }
        client.publish("t", "x").await.unwrap();
        peer.expect_packet(0x30).await;
    });
    // Nor is it empty, but for the topic of an alias.
    let row = publish(version, 0x30, "", 0, b"bad");
    breach_in(version, || connected(version), &row, 0x82);
}

fn a_message_nobody_asked_for_goes_to_no_stream(version: Version) {
    block_on(async {
        let script = Script::listen().await;
        let (client, mut inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        let subscribed = tokio::spawn({
            let client: Handle = client.clone();
            async move { client.subscribe("mine/#").await.unwrap() }
        });
        let id = id_of(&peer.expect_packet(0x82).await);
        let suback = [&id.to_be_bytes(), none(version), &[0][..]].concat();
        peer.send_bytes(&framed(0x90, &suback)).await;
        let mut stream = subscribed.await.unwrap();
        peer.send_bytes(&publish(version, 0x32, "other", 7, b"stray")).await;
        peer.send_bytes(&publish(version, 0x32, "mine/1", 8, b"mine")).await;
        assert_eq!(inbox.next().await.unwrap().payload(), "stray");
        assert_eq!(stream.next().await.unwrap().payload(), "mine");
        // Its QoS is answered all the same.
        peer.expect("40 02 0007 40 02 0008").await;
    });
}

fn the_payload_format_is_0_or_1(version: Version) {
    let row = |format| publish_with(version, 0x30, "t", 0, &[1, format], b"bad\xFF");
    for format in [2, 255] {
        let row = publish_with(version, 0x30, "t", 0, &[1, format], b"bad");
        breach_in(version, || connected(version), &row, 0x82);
    }
    // What says that it is text is not read here, and so not judged.
    for format in [0, 1] {
        taken_in(version, || connected(version), &row(format), b"");
    }
}

/// A client that takes `maximum` aliases.
fn with_aliases(maximum: u16) -> Client {
    let config = Config { topic_alias_maximum: maximum, ..lasting(V5) };
    online(config, accepting(V5))
}

fn aliases_end_with_the_connection(version: Version) {
    let introduce = publish_with(version, 0x30, "topic", 0, b"\x23\0\x01", b"1");
    let known = publish_with(version, 0x30, "", 0, b"\x23\0\x01", b"bad");
    let mut client = with_aliases(1);
    client.receive(&introduce);
    client.receive(&known);
    assert_eq!(client.topics, ["topic", "topic"]);
    let again = || {
        let mut client = with_aliases(1);
        client.receive(&introduce);
        reconnect(&mut client, resuming(version));
        client
    };
    breach_in(version, again, &known, 0x82);
    // And the other way.
    let config = Config { topic_aliases: true, ..lasting(version) };
    let mut client = online(config, &connack5(0, b"\x22\0\x01"));
    let send = |client: &mut Client, ticket| {
        let mut message = message(b"x");
        message.topic = "topic".try_into().unwrap();
        client.session.publish(client.now, Ticket::new(ticket), message).unwrap();
        client.output()
    };
    assert_eq!(send(&mut client, 0), publish_with(version, 0x30, "topic", 0, b"\x23\0\x01", b"x"));
    assert_eq!(send(&mut client, 1), publish_with(version, 0x30, "", 0, b"\x23\0\x01", b"x"));
    reconnect(&mut client, &connack5(1, b"\x22\0\x01"));
    assert_eq!(send(&mut client, 2), publish_with(version, 0x30, "topic", 0, b"\x23\0\x01", b"x"));
    // What is sent again says its topic in full.
    let mut again = message(b"y");
    again.qos = QoS::AtLeastOnce;
    again.topic = "topic".try_into().unwrap();
    client.session.publish(client.now, Ticket::new(3), again).unwrap();
    assert!(client.output().starts_with(b"\x32\x09\0\0"));
    let sent = reconnect(&mut client, &connack5(1, b"\x22\0\x01"));
    assert_eq!(sent, publish_with(version, 0x3A, "topic", 1, b"\x23\0\x01", b"y"));
}

fn there_is_no_alias_0(version: Version) {
    for topic in ["topic", ""] {
        let row = publish_with(version, 0x30, topic, 0, b"\x23\0\0", b"bad");
        breach_in(version, || with_aliases(10), &row, 0x94);
    }
    let config = Config { topic_aliases: true, ..Config::new(version) };
    let mut client = online(config, &connack5(0, b"\x22\xFF\xFF"));
    let mut message = message(b"x");
    message.topic = "topic".try_into().unwrap();
    client.session.publish(client.now, Ticket::new(0), message).unwrap();
    assert!(client.output().windows(3).any(|bytes| bytes == b"\x23\0\x01"));
    let zero = PropertyValue::TwoByte(0);
    assert!(Properties::default().push(Property::TopicAlias, zero).is_err());
}

fn every_alias_up_to_our_maximum_is_taken(version: Version) {
    let mut client = with_aliases(u16::MAX);
    for alias in 1..=u16::MAX {
        let property = [&[0x23], &alias.to_be_bytes()[..]].concat();
        client.receive(&publish_with(version, 0x30, &alias.to_string(), 0, &property, b""));
    }
    client.topics.clear();
    for alias in 1..=u16::MAX {
        let property = [&[0x23], &alias.to_be_bytes()[..]].concat();
        client.receive(&publish_with(version, 0x30, "", 0, &property, b""));
    }
    assert!(client.topics.iter().zip(1..=u16::MAX).all(|(topic, n)| *topic == n.to_string()));
    assert_eq!(client.topics.len(), 65_535);
    // One that was not introduced.
    let row = publish_with(version, 0x30, "", 0, b"\x23\0\x02", b"bad");
    breach_in(version, || with_aliases(10), &row, 0x82);
}

fn a_response_topic_is_a_topic_name(version: Version) {
    for topic in ["a/#", "+", "a+b", ""] {
        let property = [&[8], &prefixed(topic.as_bytes())[..]].concat();
        let row = publish_with(version, 0x30, "t", 0, &property, b"bad");
        breach_in(version, || connected(version), &row, 0x82);
        let value = PropertyValue::Utf8(topic);
        assert!(Properties::default().push(Property::ResponseTopic, value).is_err());
    }
    let row = publish_with(version, 0x30, "t", 0, b"\x08\0\x02\xC3\x28", b"bad");
    breach_in(version, || connected(version), &row, 0x81);
}

fn a_content_type_is_a_string(version: Version) {
    let row = publish_with(version, 0x30, "t", 0, b"\x03\0\x01\xFF", b"bad");
    breach_in(version, || connected(version), &row, 0x81);
    let row = publish_with(version, 0x30, "t", 0, b"\x03\0\0", b"x");
    taken_in(version, || connected(version), &row, b"");
    let mut list = Properties::default();
    list.push(Property::ContentType, PropertyValue::Binary(b"x")).unwrap_err();
}

fn each_qos_has_its_answer(version: Version) {
    taken_in(version, || connected(version), &publish(version, 0x30, "t", 0, b"x"), b"");
    let row = publish(version, 0x32, "t", 7, b"x");
    taken_in(version, || connected(version), &row, &ack(0x40, 7));
    let row = publish(version, 0x34, "t", 7, b"x");
    taken_in(version, || connected(version), &row, &ack(0x50, 7));
    let both = [row, ack(0x62, 7)].concat();
    let answers = [ack(0x50, 7), ack(0x70, 7)].concat();
    taken_in(version, || connected(version), &both, &answers);
}

fn a_client_sends_no_subscription_identifier(version: Version) {
    let mut message = message(b"x");
    message.properties = property(Property::SubscriptionIdentifier, PropertyValue::VariableByte(1));
    let mut client = connected(version);
    let refused = client.session.publish(client.now, Ticket::new(0), message).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::SubscriptionIdentifier);
    assert_eq!(client.output(), b"");
    // From a broker there may be several, and none of them is 0.
    let row = publish_with(version, 0x30, "t", 0, b"\x0B\x01\x0B\xFF\xFF\xFF\x7F", b"x");
    taken_in(version, || connected(version), &row, b"");
    let row = publish_with(version, 0x30, "t", 0, b"\x0B\x01\x0B\0", b"bad");
    breach_in(version, || connected(version), &row, 0x82);
}

fn no_more_is_in_flight_than_the_broker_takes(version: Version) {
    let two = connack5(0, b"\x21\0\x02");
    let mut client = online(lasting(version), &two);
    for ticket in 0..10 {
        client.publish(ticket, if ticket == 0 { 2 } else { 1 }, b"");
    }
    let first = packets(&client.output());
    assert_eq!(first.len(), 2);
    // PUBREC is half of an answer.
    client.receive(&ack(0x50, 1));
    assert_eq!(client.output(), ack(0x62, 1));
    client.receive(&ack(0x70, 1));
    assert_eq!(id_of(&client.output()), 3);
    client.receive(b"\x40\x03\0\x02\x97");
    assert_eq!(id_of(&client.output()), 4);
    // Answers to nothing make no room.
    for id in [1, 2, 99] {
        client.receive(&ack(0x40, id));
        client.receive(&ack(0x70, id));
    }
    assert_eq!(client.output(), b"");
    // What is sent again counts, and new messages wait behind it.
    assert_eq!(kinds(&reconnect(&mut client, &connack5(1, b"\x21\0\x01"))), [0x3A]);
    client.receive(&ack(0x40, 3));
    let sent = packets(&client.output());
    assert_eq!((sent.len(), sent[0][0], id_of(&sent[0])), (1, 0x3A, 4));
    client.receive(&ack(0x40, 4));
    assert_eq!(kinds(&client.output()), [0x32]);
    // A failed PUBREC makes room, once.
    let mut client = online(Config::new(version), &two);
    (0..4).for_each(|ticket| client.publish(ticket, 2, b""));
    client.output();
    client.receive(b"\x50\x03\0\x01\x97");
    assert_eq!(kinds(&client.output()), [0x34]);
    client.receive(b"\x50\x03\0\x01\x97");
    assert_eq!(kinds(&client.output()), [0x62], "it is not known any more");
    // Without a maximum it is 65,535, and our own window.
    let config = Config { max_inflight: u16::MAX, ..Config::new(version) };
    let mut client = online(config, accepting(version));
    for ticket in 0..300 {
        client.publish(ticket, 1, b"");
    }
    assert_eq!(packets(&client.output()).len(), 300);
}

fn a_full_window_delays_nothing_else(version: Version) {
    let config = Config { keep_alive: 10, ..Config::new(version) };
    let mut client = online(config, &connack5(0, b"\x21\0\x01"));
    client.publish(0, 2, b"");
    client.publish(1, 1, b"");
    assert_eq!(kinds(&client.output()), [0x34]);
    subscribe(&mut client, 2, filters(&["a"]));
    unsubscribe(&mut client, 3, "a");
    client.receive(&publish(version, 0x32, "t", 7, b""));
    client.receive(&publish(version, 0x34, "t", 8, b""));
    client.receive(&ack(0x62, 8));
    client.receive(&ack(0x50, 1));
    let mut sent = kinds(&client.output());
    sent.sort_unstable();
    assert_eq!(sent, [0x40, 0x50, 0x62, 0x70, 0x82, 0xA2]);
    client.pass(10 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
    client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default()).unwrap();
    assert_eq!(client.output(), b"\xE0\0");
    // Without a message in front of it, QoS 0 needs no place.
    let mut client = online(Config::new(version), &connack5(0, b"\x21\0\x01"));
    client.publish(0, 1, b"");
    client.publish(1, 0, b"");
    assert_eq!(kinds(&client.output()), [0x32, 0x30]);
}

fn a_broker_beyond_our_receive_maximum_is_disconnected(version: Version) {
    let config = Config { receive_maximum: 2, ..Config::new(version) };
    assert!(connect_of_announces(&config, b"\x21\0\x02"));
    let make = || {
        let mut client = online(config.clone(), accepting(version));
        client.verdict = Verdict::Hold;
        client.receive(&publish(version, 0x32, "t", 1, b"one"));
        client.receive(&publish(version, 0x34, "t", 2, b"two"));
        client
    };
    for first in [0x32, 0x34] {
        breach_in(version, make, &publish(version, first, "t", 3, b"bad"), 0x93);
    }
    taken_in(version, make, &publish(version, 0x30, "t", 0, b"no place needed"), b"");
    // PUBACK and PUBCOMP make room, PUBREC does not.
    let mut client = make();
    client.verdict = Verdict::Ack;
    client.ack_held(ReasonCode::SUCCESS);
    assert_eq!(kinds(&client.output()), [0x40, 0x50]);
    client.receive(&publish(version, 0x34, "t", 3, b"three"));
    assert!(client.session.is_connected());
    client.receive(&publish(version, 0x34, "t", 4, b"bad"));
    assert_eq!(protocol_error(&client).code(), 0x93);
    let mut client = make();
    client.ack_held(ReasonCode::SUCCESS);
    client.receive(&ack(0x62, 2));
    client.receive(&publish(version, 0x34, "t", 3, b"three"));
    client.receive(&publish(version, 0x34, "t", 4, b"four"));
    assert!(client.session.is_connected());
}

fn connect_of_announces(config: &Config, property: &[u8]) -> bool {
    connect_of(config.clone()).windows(property.len()).any(|bytes| bytes == property)
}

fn copies_are_delivered_as_they_come(version: Version) {
    let mut client = connected(version);
    for id in 1..4 {
        client.receive(&publish(version, 0x32, "t", id, b"same"));
    }
    client.receive(&publish(version, 0x30, "t", 0, b"same"));
    assert_eq!(client.messages.len(), 4, "overlapping subscriptions are not for us to judge");
}
