//! What a broker can make a session hold.

use crate::support::*;

#[test]
fn repeated_qos_2_messages_behind_a_held_one_take_one_place() {
    for decided_offline in [false, true] {
        let mut client = online(lasting(V3), CK3);
        client.receive(b"\x34\x05\0\x01t\0\x03");
        assert_eq!(client.output(), b"\x50\x02\0\x03");
        if decided_offline {
            client.verdict = Verdict::Hold;
            client.receive(b"\x34\x05\0\x01t\0\x04");
            client.disconnect();
            client.ack_held(ReasonCode::SUCCESS);
            client.connect();
            client.output();
            client.receive(&[0x20, 2, 1, 0]);
        }
        client.verdict = Verdict::Hold;
        client.receive(b"\x32\x05\0\x01t\0\x01");
        for _ in 0..1000 {
            client.receive(b"\x3C\x05\0\x01t\0\x03");
            client.receive(b"\x3C\x05\0\x01t\0\x04");
        }
        assert!(client.output().is_empty());
        client.ack_held(ReasonCode::SUCCESS);
        assert_eq!(client.output(), b"\x40\x02\0\x01\x50\x02\0\x03\x50\x02\0\x04");
        client.receive(b"\x3C\x05\0\x01t\0\x03");
        assert_eq!(client.output(), b"\x50\x02\0\x03");
        assert_eq!(client.messages.len(), 3);
    }
}

#[test]
fn a_3_x_broker_does_not_know_of_a_receive_maximum() {
    let mut config = Config::new(V3);
    config.receive_maximum = 2;
    let mut client = online(config, CK3);
    client.verdict = Verdict::Hold;
    for id in 1..=9 {
        client.receive(&[0x32, 5, 0, 1, b't', 0, id]);
    }
    assert!(client.end().is_none());
    assert_eq!(client.messages.len(), 9);
}

#[test]
fn aliases_hold_no_more_than_their_budget() {
    let mut config = Config::new(V5);
    config.topic_alias_maximum = u16::MAX;
    let mut client = online(config, CK5);
    let publish = |alias: u16| {
        let topic = [b't'; 60_000];
        let mut packet = vec![0x30, 0xE6, 0xD4, 0x03, 0xEA, 0x60];
        packet.extend(topic);
        packet.extend([3, 0x23]);
        packet.extend(alias.to_be_bytes());
        packet
    };
    for _ in 0..1000 {
        client.receive(&publish(1)); // The same alias again and again holds one topic.
    }
    assert!(client.end().is_none());
    let mut alias = 1;
    while client.end().is_none() {
        alias += 1;
        client.receive(&publish(alias));
        assert!(alias < 300);
    }
    assert!(alias > 250);
    assert_eq!(protocol_error(&client), ReasonCode::QUOTA_EXCEEDED);
}

#[test]
fn a_packet_size_without_room_for_an_acknowledgement_is_refused() {
    for (size, fits) in [(1, false), (4, false), (5, true)] {
        let mut client = Client::new(Config::new(V5));
        client.connect();
        client.output();
        client.receive(&connack5(0, &[0x27, 0, 0, 0, size]));
        assert_eq!(client.session.is_connected(), fits, "{size}");
        if !fits {
            assert_eq!(protocol_error(&client), ReasonCode::PACKET_TOO_LARGE);
            assert!(client.output().is_empty());
        }
    }
}

#[test]
fn a_handle_that_was_used_acknowledges_nothing_of_a_later_message() {
    let mut config = lasting(V3);
    config.keep_alive = 10;
    for reconnecting in [false, true] {
        let mut client = online(config.clone(), CK3);
        client.verdict = Verdict::Hold;
        client.receive(b"\x32\x05\0\x01t\0\x01");
        let used = client.held.pop_front().unwrap();
        client.session.ack(client.now, used, ReasonCode::SUCCESS);
        client.output();
        if reconnecting {
            reconnect(&mut client, &[0x20, 2, 1, 0]);
        }
        client.pass(11 * SECOND); // Long enough for the session to put everything away.
        client.receive(&[0xD0, 0]);
        client.receive(b"\x32\x05\0\x01t\0\x01");
        client.output();
        client.session.ack(client.now, used, ReasonCode::SUCCESS);
        assert!(client.output().is_empty());
        client.ack_held(ReasonCode::SUCCESS);
        assert_eq!(client.output(), b"\x40\x02\0\x01");
    }
}

#[test]
fn identifiers_of_requests_end_with_their_link() {
    // 65,535 requests that are never answered would otherwise use up every identifier.
    let mut client = online(lasting(V3), CK3);
    for round in 0..70 {
        for n in 0..1000 {
            let ticket = Ticket::new(round * 1000 + n);
            client.session.subscribe(client.now, ticket, filters(&["a"])).unwrap();
        }
        client.output();
        client.pass(40 * SECOND);
        assert_eq!(client.session.unfinished_count(), 0, "all have timed out");
        reconnect(&mut client, &[0x20, 2, 1, 0]);
    }
    client.publish(70_000, 1, b"");
    assert_eq!(client.output().len(), 7);
}

#[test]
fn requests_are_bounded() {
    let mut client = Client::new(Config::new(V3));
    for ticket in 0..65_535 {
        client.session.subscribe(client.now, Ticket::new(ticket), filters(&["a"])).unwrap();
    }
    let refused = client.session.subscribe(client.now, Ticket::new(65_535), filters(&["a"]));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::QueueFull);
    let request = UnsubscribeRequest {
        filters: vec![TopicFilter::try_from("a").unwrap()],
        ..UnsubscribeRequest::default()
    };
    let refused = client.session.unsubscribe(client.now, Ticket::new(65_535), request);
    assert_eq!(refused.unwrap_err().reason, RefusedReason::QueueFull);
}
