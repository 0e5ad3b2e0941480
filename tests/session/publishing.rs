//! Messages to the broker.

use crate::support::*;

#[test]
fn qos_0_ends_when_the_kernel_has_its_last_byte() {
    let mut client = online(Config::new(V3), CK3);
    client.publish(1, 0, b"abc");
    assert_eq!(client.take_output(7), b"\x30\x06\0\x01tab");
    assert!(client.published().is_empty());
    assert_eq!(client.take_output(1), b"c");
    assert_eq!(client.published(), [(1, true)]);
    assert_eq!(client.session.unfinished_count(), 0);
}

#[test]
fn qos_0_that_was_not_written_whole_is_reported_lost() {
    let mut client = online(Config::new(V3), CK3);
    client.publish(1, 0, b"abc");
    client.take_output(7);
    client.disconnect();
    assert_eq!(client.published(), [(1, false)]);
}

#[test]
fn the_receive_maximum_holds_back_messages_and_nothing_else() {
    let mut client = online(Config::new(V5), &connack5(0, &[0x21, 0, 2]));
    for ticket in 0..4 {
        client.publish(ticket, if ticket == 1 { 2 } else { 1 }, b"");
    }
    client.session.subscribe(client.now, Ticket::new(9), filters(&["a"])).unwrap();
    client.receive(&[0x32, 6, 0, 1, b't', 0, 7, 0]);
    let sent = client.output();
    assert_eq!(sent[..2], [0x32, 6], "{sent:x?}");
    assert_eq!(sent[8..10], [0x34, 6]);
    // Quota 0: the SUBSCRIBE and the PUBACK leave all the same [MQTT-4.9.0-3].
    assert_eq!(sent[16..], [0x40, 2, 0, 7, 0x82, 7, 0, 3, 0, 0, 1, b'a', 0]);
    client.receive(&[0x50, 2, 0, 2]);
    assert_eq!(client.output(), [0x62, 2, 0, 2], "PUBREC does not free a place");
    client.receive(&[0x40, 2, 0, 1]);
    assert_eq!(client.output()[..2], [0x32, 6]);
    client.receive(&[0x70, 2, 0, 2]);
    assert_eq!(client.output()[..2], [0x32, 6]);
    assert_eq!(client.published(), [(0, true), (1, true)]);
}

#[test]
fn acknowledgements_nobody_asked_for_do_not_widen_the_window() {
    let mut client = online(Config::new(V5), &connack5(0, &[0x21, 0, 1]));
    for id in 1..=3 {
        client.receive(&[0x40, 2, 0, id]);
        client.receive(&[0x70, 2, 0, id]);
    }
    client.publish(0, 1, b"");
    client.publish(1, 1, b"");
    assert_eq!(client.output().len(), 8);
}

#[test]
fn a_negative_acknowledgement_ends_the_exchange() {
    for (qos, packet) in [(1, 0x40), (2, 0x50)] {
        let mut client = online(lasting(V5), CK5);
        client.publish(0, qos, b"");
        client.output();
        client.receive(&[packet, 9, 0, 1, 0x97, 5, 0x1F, 0, 2, b'n', b'o']);
        assert!(client.output().is_empty(), "no PUBREL [MQTT-4.4.0-2]");
        let Some(Event::Published { result: Err(failure), .. }) = client.events.last() else {
            panic!("{:?}", client.events)
        };
        let PublishFailure::Rejected { reason, properties } = failure else { panic!() };
        assert_eq!(*reason, ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(properties.as_ref().reason_string(), Some("no"));
        assert!(reconnect(&mut client, &connack5(1, &[])).is_empty());
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_breach() {
    for (qos, packet) in [(1, 0x50), (2, 0x40), (2, 0x70), (1, 0x70)] {
        let mut client = online(Config::new(V5), CK5);
        client.publish(0, qos, b"");
        client.output();
        client.receive(&[packet, 2, 0, 1]);
        assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR, "{packet:x}");
    }
}

#[test]
fn unknown_acknowledgements_are_answered_as_the_table_says() {
    let mut client = online(Config::new(V5), CK5);
    client.receive(&[0x40, 2, 0, 9]);
    client.receive(&[0x70, 2, 0, 9]);
    assert!(client.output().is_empty());
    client.receive(&[0x50, 2, 0, 9]);
    assert_eq!(client.output(), [0x62, 3, 0, 9, 0x92]);
    client.receive(&[0x62, 2, 0, 9]);
    assert_eq!(client.output(), [0x70, 3, 0, 9, 0x92]);
    let mut client = online(Config::new(V3), CK3);
    client.receive(&[0x62, 2, 0, 9]);
    assert_eq!(client.output(), [0x70, 2, 0, 9]);
}

#[test]
fn a_repeated_pubrec_gets_a_repeated_pubrel() {
    let mut client = online(Config::new(V3), CK3);
    client.publish(0, 2, b"");
    client.output();
    for _ in 0..3 {
        client.receive(&[0x50, 2, 0, 1]);
        assert_eq!(client.output(), [0x62, 2, 0, 1]);
    }
    client.receive(&[0x70, 2, 0, 1]);
    assert_eq!(client.published(), [(0, true)]);
}

#[test]
fn after_pubrec_only_pubrel_is_sent_again() {
    let mut client = online(lasting(V3), CK3);
    client.publish(0, 2, b"");
    client.publish(1, 2, b"");
    client.output();
    client.receive(&[0x50, 2, 0, 2, 0x50, 2, 0, 1]);
    client.output();
    let again = reconnect(&mut client, &[0x20, 2, 1, 0]);
    assert_eq!(again, [0x62, 2, 0, 2, 0x62, 2, 0, 1], "in the order of their PUBRECs");
}

#[test]
fn resent_messages_count_against_the_new_quota_and_go_first() {
    let mut client = online(lasting(V5), CK5);
    for ticket in 0..3 {
        client.publish(ticket, 1, b"");
    }
    client.output();
    client.disconnect();
    client.publish(3, 1, b"new");
    client.publish(4, 0, b"new");
    client.connect();
    client.output();
    client.receive(&connack5(1, &[0x21, 0, 1]));
    assert_eq!(client.output(), [0x3A, 6, 0, 1, b't', 0, 1, 0]);
    for id in [1, 2] {
        client.receive(&[0x40, 2, 0, id]);
        assert_eq!(client.output(), [0x3A, 6, 0, 1, b't', 0, id + 1, 0]);
    }
    client.receive(&[0x40, 2, 0, 3]);
    let rest = client.output();
    assert_eq!(rest[..7], [0x32, 9, 0, 1, b't', 0, 4]);
    assert_eq!(rest[11], 0x30);
}

#[test]
fn limits_of_the_broker_are_kept_before_a_byte_is_sent() {
    let limits = [0x24, 0, 0x25, 0, 0x27, 0, 0, 0, 20];
    let mut client = online(Config::new(V5), &connack5(0, &limits));
    client.publish(0, 1, b"");
    client.publish(1, 0, &[b'x'; 15]);
    let mut retained = message(b"");
    retained.retain = true;
    client.session.publish(client.now, Ticket::new(2), retained).unwrap();
    client.publish(3, 0, &[b'x'; 14]);
    assert_eq!(client.output().len(), 20, "only what fits");
    let failures: Vec<_> = client
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Published { result: Err(failure), .. } => Some(failure.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        failures,
        [
            PublishFailure::QosNotSupported { max: QoS::AtMostOnce },
            PublishFailure::TooLarge { size: 21, max: 20 },
            PublishFailure::RetainNotSupported,
        ]
    );
}

#[test]
fn the_queue_is_bounded_and_gives_back_what_it_refuses() {
    let mut config = Config::new(V3);
    config.max_queued_messages = 2;
    config.max_queued_bytes = 100;
    let mut client = Client::new(config);
    client.publish(0, 1, b"1");
    client.publish(1, 1, b"2");
    let refused = client.session.publish(client.now, Ticket::new(2), message(b"3"));
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, RefusedReason::QueueFull);
    assert_eq!(&refused.command.payload[..], b"3");
    assert!(client.session.cancel(Ticket::new(1)).is_some());
    assert!(client.session.cancel(Ticket::new(1)).is_none());
    let refused = client.session.publish(client.now, Ticket::new(3), message(&[0; 99]));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::QueueFull);
    client.publish(4, 1, b"4");
}

#[test]
fn a_lost_session_republishes_as_new_or_fails() {
    let mut client = online(lasting(V3), CK3);
    client.publish(0, 1, b"a");
    client.publish(1, 2, b"b");
    client.output();
    client.receive(&[0x50, 2, 0, 2]);
    client.output();
    client.publish(2, 1, b"c");
    let again = reconnect(&mut client, CK3);
    assert_eq!(again[0], 0x32, "a new message: no DUP");
    assert_eq!([again[8], again[16]], [0x34, 0x32], "in order");
    assert!(client.published().is_empty());
    let lost = client
        .events
        .iter()
        .any(|event| matches!(event, Event::Connected(connected) if connected.session_lost));
    assert!(lost);

    let mut config = lasting(V3);
    config.on_session_loss = SessionLoss::Fail;
    let mut client = online(config, CK3);
    client.publish(0, 1, b"a");
    client.output();
    client.disconnect();
    client.publish(1, 0, b"b");
    client.connect();
    client.output();
    client.receive(CK3);
    assert_eq!(client.output(), b"\x30\x04\0\x01tb");
    assert_eq!(client.published(), [(0, false), (1, true)]);
}

#[test]
fn identifiers_wrap_without_zero_and_without_touching_those_in_use() {
    let mut client = online(Config::new(V3), CK3);
    client.publish(0, 2, b"");
    client.output();
    let mut seen = std::collections::BTreeSet::new();
    for ticket in 1..70_000u64 {
        client.publish(ticket, 1, b"");
        let sent = client.output();
        let id = [sent[5], sent[6]];
        assert!(id != [0, 0] && id != [0, 1]);
        seen.insert(id);
        client.receive(&[0x40, 2, id[0], id[1]]);
    }
    assert_eq!(seen.len(), 65_534);
    assert_eq!(client.published().len(), 69_999);
}

#[test]
fn a_large_payload_is_sent_whole() {
    let mut client = online(Config::new(V3), CK3);
    let payload: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    client.publish(0, 1, &payload);
    client.publish(1, 0, b"z");
    let sent = client.output();
    assert_eq!(sent[..4], [0x32, 0xE5, 0xA7, 0x12]);
    assert!(sent[9..300_009] == payload);
    assert_eq!(sent[300_009..], *b"\x30\x04\0\x01tz");
}

#[test]
fn an_alias_replaces_the_topic_and_dies_with_the_link() {
    let mut config = lasting(V5);
    config.topic_aliases = true;
    let mut client = online(config, &connack5(0, &[0x22, 0, 1]));
    let topic = |client: &mut Client, topic: &str, ticket| {
        let mut message = message(b"x");
        message.topic = TopicName::try_from(topic).unwrap();
        client.session.publish(client.now, Ticket::new(ticket), message).unwrap();
        client.output()
    };
    assert_eq!(topic(&mut client, "abcd", 0), b"\x30\x0b\0\x04abcd\x03\x23\0\x01x");
    assert_eq!(topic(&mut client, "abcd", 1), b"\x30\x07\0\0\x03\x23\0\x01x");
    assert_eq!(topic(&mut client, "other", 2), b"\x30\x09\0\x05other\0x");
    reconnect(&mut client, &connack5(1, &[]));
    assert_eq!(topic(&mut client, "abcd", 3), b"\x30\x08\0\x04abcd\0x");
    reconnect(&mut client, &connack5(1, &[0x22, 0, 9]));
    assert_eq!(topic(&mut client, "abcd", 4), b"\x30\x0b\0\x04abcd\x03\x23\0\x01x");
}

#[test]
fn what_only_a_broker_may_put_into_a_message_is_refused() {
    let mut client = Client::new(Config::new(V5));
    for (property, value) in [
        (Property::SubscriptionIdentifier, PropertyValue::VariableByte(1)), // [MQTT-3.3.4-6]
        (Property::TopicAlias, PropertyValue::TwoByte(1)),
    ] {
        let mut bad = message(b"");
        bad.properties.push(property, value).unwrap();
        client.session.publish(client.now, Ticket::new(0), bad).unwrap_err();
    }
    assert_eq!(client.session.unfinished_count(), 0);
}

#[test]
fn released_messages_of_an_earlier_link_count_against_the_quota() {
    // Brokers count them: a full window on top of them is above Receive Maximum.
    let mut client = online(lasting(V5), CK5);
    for ticket in 0..3 {
        client.publish(ticket, 2, b"");
    }
    client.output();
    client.receive(&[0x50, 2, 0, 1, 0x50, 2, 0, 2]);
    client.output();
    client.disconnect();
    client.publish(3, 1, b"");
    client.connect();
    client.output();
    client.receive(&connack5(1, &[0x21, 0, 2]));
    assert_eq!(client.output(), [0x62, 2, 0, 1, 0x62, 2, 0, 2]);
    client.receive(&[0x70, 2, 0, 1]);
    assert_eq!(client.output(), [0x3C, 6, 0, 1, b't', 0, 3, 0]);
    client.receive(&[0x70, 2, 0, 2]);
    assert_eq!(client.output(), [0x32, 6, 0, 1, b't', 0, 4, 0]);
    client.receive(&[0x40, 2, 0, 4]);
    client.receive(&[0x50, 2, 0, 3, 0x70, 2, 0, 3]);
    for ticket in 4..8 {
        client.publish(ticket, 1, b"");
    }
    client.output();
    client.receive(&[0x40, 2, 0, 5]);
    assert_eq!(client.output().len(), 8, "one acknowledged, one sent");
}

#[test]
fn acknowledgements_before_the_resend_leave_the_quota_right() {
    let mut client = online(lasting(V5), CK5);
    for ticket in 0..4 {
        client.publish(ticket, 2, b"");
    }
    client.output();
    client.disconnect();
    client.connect();
    client.output();
    client.receive(&connack5(1, &[0x21, 0, 1]));
    assert_eq!(client.output().len(), 8);
    client.receive(&[0x50, 2, 0, 2, 0x50, 2, 0, 3]); // Answers to what an earlier link has sent.
    client.output();
    client.receive(&[0x70, 2, 0, 2, 0x70, 2, 0, 3]);
    assert!(client.output().is_empty(), "the first still has the only place");
    client.receive(&[0x50, 2, 0, 1, 0x70, 2, 0, 1]);
    assert_eq!(client.output()[4..], [0x3C, 6, 0, 1, b't', 0, 4, 0]);
}

#[test]
fn a_pubcomp_that_knows_no_more_is_a_success() {
    // §3.7.2.1: during recovery the identifier may be gone because the exchange was complete.
    let mut client = online(lasting(V5), CK5);
    client.publish(0, 2, b"");
    client.output();
    client.receive(&[0x50, 3, 0, 1, 0x10]);
    client.output();
    assert_eq!(reconnect(&mut client, &connack5(1, &[])), [0x62, 2, 0, 1]);
    client.receive(&[0x70, 3, 0, 1, 0x92]);
    let Some(Event::Published { result: Ok(receipt), .. }) = client.events.last() else {
        panic!("{:?}", client.events.last())
    };
    assert_eq!(receipt.reason, ReasonCode::NO_MATCHING_SUBSCRIBERS, "as PUBREC said");
}

#[test]
fn what_was_written_cannot_be_cancelled() {
    let mut client = online(lasting(V5), CK5);
    for ticket in 0..3 {
        client.publish(ticket, 1, b"x");
    }
    client.output();
    client.disconnect();
    for ticket in 3..6 {
        client.publish(ticket, 1, b"x");
    }
    assert_eq!(client.session.cancel(Ticket::new(4)).unwrap().payload, "x");
    assert_eq!(client.session.cancel(Ticket::new(4)), None);
    client.connect();
    client.output();
    client.receive(&connack5(0, &[0x21, 0, 1])); // The session is lost: all but one queue again.
    for ticket in 0..3 {
        assert_eq!(client.session.cancel(Ticket::new(ticket)), None, "it may have arrived");
    }
    assert!(client.session.cancel(Ticket::new(5)).is_some());
    assert_eq!(client.session.unfinished_count(), 4);
}

#[test]
fn limits_that_shrink_end_what_is_in_flight_and_nothing_else() {
    let mut client = online(lasting(V5), CK5);
    client.publish(0, 2, &[b'x'; 50]);
    client.publish(1, 2, b"x");
    client.output();
    let again = reconnect(&mut client, &connack5(1, &[0x27, 0, 0, 0, 20]));
    assert_eq!(again, [0x3C, 7, 0, 1, b't', 0, 2, 0, b'x']);
    assert_eq!(client.published(), [(0, false)]);
    // The broker may know the identifier still: it is not given to another message.
    client.receive(&[0x50, 2, 0, 1]);
    assert_eq!(client.output(), [0x62, 2, 0, 1]);
    client.receive(&[0x70, 2, 0, 1, 0x50, 2, 0, 2, 0x70, 2, 0, 2]);
    assert_eq!(client.published(), [(0, false), (1, true)]);
}

#[test]
fn an_alias_does_not_make_a_message_too_large() {
    let mut config = Config::new(V5);
    config.topic_aliases = true;
    let client = &mut online(config, &connack5(0, &[0x22, 0, 9, 0x27, 0, 0, 0, 13]));
    let send = |client: &mut Client, ticket, topic: &str| {
        let mut message = message(b"x");
        message.topic = TopicName::try_from(topic).unwrap();
        client.session.publish(client.now, Ticket::new(ticket), message).unwrap();
        client.output()
    };
    assert_eq!(send(client, 0, "sixsix"), b"\x30\x0a\0\x06sixsix\0x", "no room for an alias");
    assert_eq!(send(client, 1, "four"), b"\x30\x0b\0\x04four\x03\x23\0\x01x");
    assert_eq!(send(client, 2, "abc"), b"\x30\x07\0\x03abc\0x", "an alias is no shorter");
}

#[test]
fn a_3_x_broker_gets_few_messages_of_qos_2_at_a_time() {
    for version in [V31, V3] {
        let mut config = lasting(version);
        config.max_inflight_exactly_once = 2;
        let mut client = online(config, CK3);
        for (ticket, qos) in [(1, 2), (2, 1), (3, 2), (4, 2), (5, 1)] {
            client.publish(ticket, qos, b"x");
        }
        // The third of QoS 2 waits, and what comes after it does not overtake it.
        let sent = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(sent(&client.output()), 3);
        client.receive(&[0x50, 2, 0, 1]);
        assert_eq!(client.output(), [0x62, 2, 0, 1]);
        client.receive(&[0x70, 2, 0, 1]);
        assert_eq!(sent(&client.output()), 2);
        // On the next link those that were sent before count first.
        assert_eq!(sent(&reconnect(&mut client, &[0x20, 2, 1, 0])), 4);
        client.receive(&[0x40, 2, 0, 2]);
        client.publish(6, 2, b"x");
        assert_eq!(sent(&client.output()), 0);
        for id in [3, 4] {
            client.receive(&[0x50, 2, 0, id, 0x70, 2, 0, id]);
        }
        assert_eq!(sent(&client.output()), 1);
    }
    // 5.0 has Receive Maximum for it.
    let mut config = lasting(V5);
    config.max_inflight_exactly_once = 2;
    let mut client = online(config, CK5);
    (1..=5).for_each(|ticket| client.publish(ticket, 2, b"x"));
    assert_eq!(client.output().iter().filter(|byte| **byte == b'x').count(), 5);
}

#[test]
fn a_broker_that_takes_more_does_not_widen_the_own_window() {
    let mut config = lasting(V5);
    config.max_inflight = 2;
    let mut client = online(config, &connack5(0, &[0x21, 0, 5]));
    assert_eq!(client.session.limits().receive_maximum, 2);
    (1..=5).for_each(|ticket| client.publish(ticket, 1, b"x"));
    assert_eq!(client.output().iter().filter(|byte| **byte == b'x').count(), 2);
}

#[test]
fn a_message_expires_in_the_queue_and_never_once_it_was_sent() {
    let mut config = lasting(V5);
    config.max_inflight = 1;
    let mut client = online(config, CK5);
    let publish = |client: &mut Client, ticket, seconds| {
        let value = PropertyValue::FourByte(seconds);
        let mut message = message(b"x");
        message.qos = QoS::AtLeastOnce;
        message.properties =
            Properties::default().with(Property::MessageExpiryInterval, value).unwrap();
        client.session.publish(client.now, Ticket::new(ticket), message).unwrap();
        client.poll();
    };
    publish(&mut client, 1, 5);
    publish(&mut client, 2, 15);
    publish(&mut client, 3, 100);
    let expiring = |dup: u8, id: u8, seconds: u8| {
        vec![0x32 | dup << 3, 12, 0, 1, b't', 0, id, 5, 2, 0, 0, 0, seconds, b'x']
    };
    assert_eq!(client.output(), expiring(0, 1, 5));
    client.pass(20 * SECOND);
    // It was sent, and is sent again as it was, though it should have expired [MQTT-4.3.3-7].
    assert_eq!(reconnect(&mut client, &connack5(1, &[])), expiring(1, 1, 5));
    client.receive(&[0x40, 2, 0, 1]);
    // The second was not, and is not any more; of the third 20 seconds have passed.
    assert_eq!(client.output(), expiring(0, 3, 80));
    client.receive(&[0x40, 2, 0, 3]);
    assert_eq!(client.published(), [(1, true), (2, false), (3, true)]);
    let expired = |event: &Event| {
        matches!(event, Event::Published { result: Err(PublishFailure::Expired), .. })
    };
    assert_eq!(client.events.iter().filter(|event| expired(event)).count(), 1);
}
