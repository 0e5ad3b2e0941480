//! Packet identifiers (§2.3.1 of 3.1.1, §2.2.1 of 5.0).

use std::collections::BTreeSet;

use crate::kit::*;

tests! {
    ["2.3.1-1"] [] identifiers_are_not_zero,
    ["2.3.1-2"] ["2.2.1-3"] a_new_packet_has_an_unused_identifier,
    ["2.3.1-3"] [] what_is_sent_again_keeps_its_identifier_until_it_is_answered,
    ["2.3.1-5"] ["2.2.1-2"] qos_0_has_no_identifier,
    ["2.3.1-6"] ["2.2.1-5"] acknowledgements_carry_the_identifier_of_the_message,
    ["2.3.1-7"] ["2.2.1-6"] answers_carry_the_identifier_of_the_request,
    [] ["2.2.1-4"] the_identifiers_of_both_ends_are_independent,
}

fn identifiers_are_not_zero(version: Version) {
    a_new_packet_has_an_unused_identifier(version);
    for first in [0x32, 0x34] {
        let row = publish(version, first, "a", 0, b"bad");
        breach_in(version, || connected(version), &row, 0x81);
    }
    for first in [0x40, 0x50, 0x62, 0x70] {
        breach_in(version, || connected(version), &ack(first, 0), 0x81);
    }
}

fn a_new_packet_has_an_unused_identifier(version: Version) {
    // One request and one message that are never answered, across the wrap from 65,535 to 1.
    let config = Config { request_timeout: Duration::MAX, ..Config::new(version) };
    let mut client = online(config, accepting(version));
    subscribe(&mut client, 0, filters(&["a"]));
    client.publish(1, 2, b"");
    let held: BTreeSet<u16> = packets(&client.output()).iter().map(|p| id_of(p)).collect();
    assert_eq!(held.len(), 2);
    let mut seen = BTreeSet::new();
    for ticket in 2..66_000 {
        client.session.publish(client.now, Ticket::new(ticket), qos_1()).unwrap();
        let id = id_of(&client.output());
        assert!(id != 0 && !held.contains(&id), "{id}");
        seen.insert(id);
        client.receive(&ack(0x40, id));
        client.events.clear();
    }
    assert_eq!(seen.len(), 65_533);
    for first in [0x32, 0x34] {
        let row = publish(version, first, "a", 0, b"bad");
        breach_in(version, || connected(version), &row, 0x81);
    }
    // All in use: the next one waits for the first that is free.
    let config = Config { max_inflight: u16::MAX, ..Config::new(version) };
    let mut client = online(config, accepting(version));
    for ticket in 0..65_540 {
        client.session.publish(client.now, Ticket::new(ticket), qos_1()).unwrap();
    }
    let ids: BTreeSet<u16> = packets(&client.output()).iter().map(|p| id_of(p)).collect();
    assert_eq!((ids.len(), ids.first()), (65_535, Some(&1)));
    client.receive(&ack(0x40, 4711));
    assert_eq!(id_of(&client.output()), 4711);
}

fn qos_1() -> midge::session::Message {
    let mut message = message(b"");
    message.qos = QoS::AtLeastOnce;
    message
}

fn what_is_sent_again_keeps_its_identifier_until_it_is_answered(version: Version) {
    let mut client = kept(version);
    client.publish(0, 1, b"one");
    client.publish(1, 2, b"two");
    client.publish(2, 2, b"three");
    let sent = packets(&client.output());
    client.receive(&ack(0x50, id_of(&sent[1])));
    assert_eq!(client.output(), ack(0x62, id_of(&sent[1])));
    // PUBREC frees nothing: other messages go round all identifiers without meeting it.
    for ticket in 3..66_000 {
        client.session.publish(client.now, Ticket::new(ticket), qos_1()).unwrap();
        let id = id_of(&client.output());
        assert!(!sent.iter().any(|packet| id_of(packet) == id));
        client.receive(&ack(0x40, id));
        client.events.clear();
    }
    let again = packets(&reconnect(&mut client, resuming(version)));
    let mut expected = vec![ack(0x62, id_of(&sent[1])), sent[0].clone(), sent[2].clone()];
    expected[1][0] |= 8;
    expected[2][0] |= 8;
    assert_eq!(again, expected);
    client.receive(&ack(0x40, id_of(&sent[0])));
    client.receive(&ack(0x70, id_of(&sent[1])));
    assert_eq!(client.published(), [(0, true), (1, true)]);
}

fn qos_0_has_no_identifier(version: Version) {
    let mut client = connected(version);
    client.publish(0, 0, b"x");
    assert_eq!(client.output(), publish(version, 0x30, "t", 0, b"x"));
    // What looks like one belongs to the payload.
    client.receive(&publish(version, 0x30, "t", 0, b"\0\x01"));
    assert_eq!(client.messages, [(0, b"\0\x01".to_vec())]);
    assert_eq!(client.output(), b"");
}

fn acknowledgements_carry_the_identifier_of_the_message(version: Version) {
    let mut client = connected(version);
    client.receive(&publish(version, 0x32, "t", 0x1234, b""));
    assert_eq!(client.output(), ack(0x40, 0x1234));
    client.receive(&publish(version, 0x34, "t", 0x4321, b""));
    assert_eq!(client.output(), ack(0x50, 0x4321));
    client.receive(&ack(0x62, 0x4321));
    assert_eq!(client.output(), ack(0x70, 0x4321));
    client.publish(0, 2, b"");
    let id = id_of(&client.output());
    client.receive(&ack(0x50, id));
    assert_eq!(client.output(), ack(0x62, id));
    // Answers to nothing: ignored, but for those that the broker would repeat for ever.
    taken(version, "40 02 0009", "");
    taken(version, "70 02 0009", "");
    taken(version, "50 02 0009", pick(version, "62 02 0009", "62 03 0009 92"));
    taken(version, "62 02 0009", pick(version, "70 02 0009", "70 03 0009 92"));
    let heap = connected(version);
    assert_eq!(heap.session.unfinished_count(), 0);
}

fn answers_carry_the_identifier_of_the_request(version: Version) {
    let mut client = connected(version);
    subscribe(&mut client, 0, filters(&["a"]));
    unsubscribe(&mut client, 1, "b");
    let sent = packets(&client.output());
    let (asked, left) = (id_of(&sent[0]), id_of(&sent[1]));
    let suback = |id: u16| framed(0x90, &[&id.to_be_bytes(), none(version), &[0]].concat());
    let codes = pick(version, &b""[..], &[0]);
    let unsuback = |id: u16| framed(0xB0, &[&id.to_be_bytes(), none(version), codes].concat());
    // Of nothing that was asked, or of something else.
    for other in [suback(999), unsuback(999), ack(0x40, asked), ack(0x50, asked), unsuback(asked)] {
        client.receive(&other);
    }
    client.receive(&suback(left));
    assert_eq!((answer(&client, 0), answer(&client, 1)), (None, None));
    client.receive(&suback(asked));
    client.receive(&unsuback(left));
    assert_eq!(answer(&client, 0), Some(Ok(vec![0])));
    assert_eq!(answer(&client, 1), Some(Ok(codes.to_vec())));
    // An answer that never comes is a time-out.
    subscribe(&mut client, 2, filters(&["a"]));
    client.output();
    client.receive(&suback(999));
    client.pass(31 * SECOND);
    assert_eq!(answer(&client, 2), Some(Err(RequestFailure::Timeout)));
}

fn the_identifiers_of_both_ends_are_independent(version: Version) {
    let mut client = connected(version);
    client.publish(0, 2, b"mine");
    let id = id_of(&client.output());
    client.receive(&publish(version, 0x34, "t", id, b"theirs"));
    assert_eq!(client.output(), ack(0x50, id));
    client.receive(&ack(0x50, id));
    assert_eq!(client.output(), ack(0x62, id));
    client.receive(&ack(0x62, id));
    assert_eq!(client.output(), ack(0x70, id));
    client.receive(&ack(0x70, id));
    assert_eq!(client.published(), [(0, true)]);
    assert_eq!(client.messages, [(2, b"theirs".to_vec())]);
}
