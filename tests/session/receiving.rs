//! Messages from the broker.

use midge::session::{Ledger, Message};

use crate::support::*;

#[test]
fn chunks_do_not_matter() {
    let bytes = [
        CK3,
        b"\x30\x04\0\x01ta",
        b"\x32\x06\0\x01t\0\x05b",
        b"\x34\x06\0\x01t\0\x06c",
        b"\x34\x06\0\x01t\0\x06c",
        b"\x62\x02\0\x06",
        b"\x62\x02\0\x06",
    ]
    .concat();
    let answers = b"\x40\x02\0\x05\x50\x02\0\x06\x50\x02\0\x06\x70\x02\0\x06\x70\x02\0\x06";
    for size in 1..=bytes.len() {
        let mut client = Client::new(Config::new(V3));
        client.connect();
        client.output();
        let mut sent = Vec::new();
        for chunk in bytes.chunks(size) {
            client.receive(chunk);
            sent.extend(client.output());
        }
        assert_eq!(sent, answers, "chunks of {size}");
        let expected = [(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"c".to_vec())];
        assert_eq!(client.messages, expected, "chunks of {size}");
    }
}

#[test]
fn qos_1_is_delivered_again_after_its_puback_whatever_dup_says() {
    let mut client = online(Config::new(V3), CK3);
    client.receive(b"\x32\x05\0\x01t\0\x07");
    client.receive(b"\x3A\x05\0\x01t\0\x07");
    assert_eq!(client.messages.len(), 2);
    assert_eq!(client.output(), b"\x40\x02\0\x07\x40\x02\0\x07");
}

#[test]
fn qos_2_is_delivered_once_across_a_resumed_session() {
    let mut client = online(lasting(V3), CK3);
    client.receive(b"\x34\x05\0\x01t\0\x07");
    client.output();
    reconnect(&mut client, &[0x20, 2, 1, 0]);
    client.receive(b"\x3C\x05\0\x01t\0\x07");
    assert_eq!(client.output(), b"\x50\x02\0\x07");
    client.receive(b"\x62\x02\0\x07");
    assert_eq!(client.messages.len(), 1);
    client.receive(b"\x34\x05\0\x01t\0\x07");
    assert_eq!(client.messages.len(), 2, "after PUBREL the identifier is new");
    reconnect(&mut client, CK3);
    client.receive(b"\x34\x05\0\x01t\0\x07");
    assert_eq!(client.messages.len(), 3, "a new session knows no old identifiers");
}

#[test]
fn held_messages_are_acknowledged_in_order_of_arrival() {
    let mut client = online(Config::new(V5), CK5);
    client.verdict = Verdict::Hold;
    client.receive(b"\x32\x06\0\x01t\0\x01\0\x34\x06\0\x01t\0\x02\0\x32\x06\0\x01t\0\x03\0");
    let held: Vec<_> = client.held.drain(..).collect();
    client.session.ack(client.now, held[2], ReasonCode::SUCCESS);
    client.session.ack(client.now, held[1], ReasonCode::QUOTA_EXCEEDED);
    // The first word counts, though it has to wait.
    client.session.ack(client.now, held[2], ReasonCode::QUOTA_EXCEEDED);
    client.session.ack(client.now, held[1], ReasonCode::SUCCESS);
    assert!(client.output().is_empty());
    client.session.ack(client.now, held[0], ReasonCode::SUCCESS);
    assert_eq!(client.output(), b"\x40\x02\0\x01\x50\x03\0\x02\x97\x40\x02\0\x03");
    client.receive(b"\x34\x06\0\x01t\0\x02\0");
    assert_eq!(client.messages.len(), 4, "refused: the identifier is new [MQTT-4.3.3-9]");
}

#[test]
fn a_handle_of_an_earlier_link_acknowledges_nothing_of_this_one() {
    let mut client = online(lasting(V3), CK3);
    client.verdict = Verdict::Hold;
    client.receive(b"\x32\x05\0\x01t\0\x01");
    let stale = client.held.pop_front().unwrap();
    reconnect(&mut client, &[0x20, 2, 1, 0]);
    client.receive(b"\x3A\x05\0\x01t\0\x01");
    client.session.ack(client.now, stale, ReasonCode::SUCCESS);
    assert!(client.output().is_empty());
    client.ack_held(ReasonCode::SUCCESS);
    assert_eq!(client.output(), b"\x40\x02\0\x01");
}

#[test]
fn a_held_qos_2_message_is_not_delivered_twice_by_a_reconnect() {
    for decide_offline in [true, false] {
        let mut client = online(lasting(V3), CK3);
        client.verdict = Verdict::Hold;
        client.receive(b"\x34\x05\0\x01t\0\x01");
        client.disconnect();
        if decide_offline {
            client.ack_held(ReasonCode::SUCCESS);
        }
        client.connect();
        client.output();
        client.receive(&[0x20, 2, 1, 0]);
        client.receive(b"\x3C\x05\0\x01t\0\x01");
        client.ack_held(ReasonCode::SUCCESS);
        assert_eq!(client.output(), b"\x50\x02\0\x01");
        assert_eq!(client.messages.len(), 1);
    }
}

#[test]
fn more_than_the_announced_receive_maximum_is_a_breach() {
    let mut config = Config::new(V5);
    config.receive_maximum = 2;
    let mut client = online(config, CK5);
    client.verdict = Verdict::Hold;
    client.receive(b"\x32\x06\0\x01t\0\x01\0\x34\x06\0\x01t\0\x02\0");
    client.ack_held(ReasonCode::SUCCESS);
    client.receive(b"\x32\x06\0\x01t\0\x03\0");
    assert!(client.end().is_none(), "the QoS 2 message and one more");
    client.output();
    client.receive(b"\x32\x06\0\x01t\0\x04\0");
    assert_eq!(protocol_error(&client), ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
    assert_eq!(client.output(), [0xE0, 1, 0x93]);
    assert_eq!(client.messages.len(), 3);
}

#[test]
fn aliases_are_resolved_and_checked() {
    let mut config = lasting(V5);
    config.topic_alias_maximum = 2;
    let mut client = online(config.clone(), CK5);
    client.receive(b"\x30\x09\0\x02ab\x03\x23\0\x02x\x30\x07\0\0\x03\x23\0\x02y");
    assert_eq!(client.topics, ["ab", "ab"]);
    reconnect(&mut client, &connack5(1, &[]));
    client.receive(b"\x30\x07\0\0\x03\x23\0\x02y");
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
    for (alias, maximum) in [(3, 2), (1, 0)] {
        config.topic_alias_maximum = maximum;
        let mut client = online(config.clone(), CK5);
        client.receive(&[0x30, 9, 0, 2, b'a', b'b', 3, 0x23, 0, alias, b'x']);
        assert_eq!(protocol_error(&client), ReasonCode::TOPIC_ALIAS_INVALID);
        assert!(client.messages.is_empty());
    }
}

#[test]
fn an_alias_may_change_its_topic_for_ever() {
    let mut config = lasting(V5);
    config.topic_alias_maximum = 1;
    let mut client = online(config, CK5);
    // Together the topics are longer than a table of aliases may be.
    for n in 0..300 {
        let mut body = vec![0xFA, 0];
        body.extend(format!("{n:064000}").into_bytes());
        body.extend([3, 0x23, 0, 1]);
        let length = body.len();
        let head = [0x30, length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8];
        client.receive(&[&head, &body[..]].concat());
    }
    assert!(client.end().is_none(), "{:?}", client.end());
    assert_eq!(client.messages.len(), 300);
}

#[test]
fn a_packet_above_the_own_maximum_is_refused_by_its_header() {
    let mut config = Config::new(V5);
    config.maximum_packet_size = 64;
    let mut client = online(config, CK5);
    client.receive(&[0x30, 63]);
    assert_eq!(protocol_error(&client), ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(client.output(), [0xE0, 1, 0x95]);
}

#[test]
fn declined_problem_information_is_a_breach() {
    let mut config = Config::new(V5);
    let (property, value) = (Property::RequestProblemInformation, PropertyValue::Byte(0));
    config.connect_properties = Properties::default().with(property, value).unwrap();
    let mut client = online(config, CK5);
    client.publish(0, 1, b"");
    client.output();
    client.receive(&[0x40, 8, 0, 1, 0, 4, 0x1F, 0, 1, b'x']);
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn messages_do_not_overtake_events() {
    let mut client = Client::new(lasting(V3));
    client.connect();
    client.output();
    let glued = [CK3, b"\x30\x04\0\x01ta"].concat();
    let mut inbox = |_: midge::session::Received<'_>| Verdict::Ack;
    let consumed = client.session.handle_bytes(client.now, &glued, &mut inbox);
    assert_eq!(consumed, 4, "the message waits until the connection is known");
    client.poll();
    assert!(matches!(client.events[0], Event::Connected(_)));
    assert_eq!(client.session.handle_bytes(client.now, &glued[4..], &mut inbox), 6);
}

#[test]
fn a_reason_that_no_acknowledgement_has_is_replaced() {
    for (reason, code) in [
        (ReasonCode::SERVER_BUSY, &[0x80][..]),
        (ReasonCode::GRANTED_QOS_1, &[]),
        (ReasonCode::NO_MATCHING_SUBSCRIBERS, &[0x10]),
    ] {
        let mut client = online(Config::new(V5), CK5);
        client.verdict = Verdict::Reject(reason);
        client.receive(b"\x32\x06\0\x01t\0\x07\0");
        client.verdict = Verdict::Hold;
        client.receive(b"\x34\x06\0\x01t\0\x08\0");
        client.ack_held(reason);
        let length = 2 + code.len() as u8;
        let expected = [&[0x40, length, 0, 7][..], code, &[0x50, length, 0, 8], code].concat();
        assert_eq!(client.output(), expected, "{reason}");
    }
}

#[test]
fn a_decision_that_waits_its_turn_outlives_the_link() {
    for hold_second in [true, false] {
        let mut client = online(lasting(V3), CK3);
        client.verdict = Verdict::Hold;
        client.receive(b"\x32\x05\0\x01t\0\x01");
        if !hold_second {
            client.verdict = Verdict::Ack;
        }
        client.receive(b"\x34\x05\0\x01t\0\x02");
        if hold_second {
            let second = client.held.pop_back().unwrap();
            client.session.ack(client.now, second, ReasonCode::SUCCESS);
        }
        assert!(client.output().is_empty(), "behind the first");
        client.held.clear();
        reconnect(&mut client, &[0x20, 2, 1, 0]);
        client.receive(b"\x3C\x05\0\x01t\0\x02");
        assert_eq!(client.output(), b"\x50\x02\0\x02");
        assert_eq!(client.messages.len(), 2);
    }
}

#[test]
fn an_identifier_that_stands_for_a_new_message_is_not_stored_as_the_old_one() {
    let mut config = lasting(V3);
    config.durable = true;
    let mut client = online(config, CK3);
    client.receive(b"\x34\x05\0\x01t\0\x07");
    assert_eq!(client.output(), b"\x50\x02\0\x07");
    // A CONNECT without an answer: the broker may have begun a new session.
    client.disconnect();
    client.connect();
    client.output();
    client.verdict = Verdict::Hold;
    reconnect(&mut client, &[0x20, 2, 1, 0]);
    client.receive(b"\x34\x05\0\x01t\0\x07");
    assert_eq!(client.messages.len(), 2);
    // A process that ends here must take the message when it comes again.
    let mut ledger = Ledger::<Message>::new();
    for event in &client.events {
        if let Event::Store(change) = event {
            ledger.apply(*change);
        }
    }
    assert!(ledger.received.is_empty());
}
