//! Faults that users of rumqttc 0.25 have met, each as the sequence that shows it.

use std::collections::VecDeque;

use crate::support::*;

fn accepting(version: midge::codec::Version) -> &'static [u8] {
    if version == V5 { CK5 } else { CK3 }
}

fn resuming(version: midge::codec::Version) -> &'static [u8] {
    if version == V5 { &[0x20, 3, 1, 0, 0] } else { &[0x20, 2, 1, 0] }
}

/// A QoS 1 or 2 PUBLISH to the client.
fn publish(version: midge::codec::Version, first: u8, id: u8) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    [&[first, 5 + properties.len() as u8, 0, 1, b't', 0, id], properties].concat()
}

#[test]
fn rumqttc_sends_again_without_dup() {
    for version in [V3, V5] {
        let mut client = online(lasting(version), accepting(version));
        client.publish(0, 1, b"");
        client.publish(1, 2, b"");
        let first = client.output();
        let again = reconnect(&mut client, resuming(version));
        let mut expected = first.clone();
        expected[0] |= 8;
        expected[first.len() / 2] |= 8;
        assert_eq!(again, expected);
    }
}

#[test]
fn rumqtt_664_forgets_received_qos_2_and_dies_of_the_pubrel() {
    for version in [V3, V5] {
        let mut client = online(lasting(version), accepting(version));
        client.receive(&publish(version, 0x34, 7));
        assert_eq!(client.output(), b"\x50\x02\0\x07");
        reconnect(&mut client, resuming(version));
        client.receive(b"\x62\x02\0\x07");
        assert_eq!(client.output(), b"\x70\x02\0\x07", "known over the reconnect");
        // One that is not known is answered, and the session goes on.
        for _ in 0..3 {
            client.receive(b"\x62\x02\0\x09");
            let answer: &[u8] =
                if version == V5 { b"\x70\x03\0\x09\x92" } else { b"\x70\x02\0\x09" };
            assert_eq!(client.output(), answer);
        }
        assert!(client.session.is_connected());
    }
}

#[test]
fn rumqttc_delivers_a_repeated_qos_2_message_again() {
    for version in [V3, V5] {
        let mut client = online(lasting(version), accepting(version));
        for first in [0x34, 0x3C, 0x34] {
            client.receive(&publish(version, first, 7));
        }
        reconnect(&mut client, resuming(version));
        client.receive(&publish(version, 0x3C, 7));
        assert_eq!(client.messages.len(), 1);
    }
}

#[test]
fn rumqttc_loses_a_place_of_its_window_with_each_refusal() {
    for (qos, refusals) in [
        (1, &[&b"\x40\x03\0\0\x97"[..]][..]),
        (2, &[b"\x50\x03\0\0\x97"]),
        (2, &[b"\x50\x02\0\0", b"\x70\x03\0\0\x92"]),
    ] {
        let config = Config { max_inflight: 2, ..Config::new(V5) };
        let mut client = online(config, CK5);
        for ticket in 0..100 {
            client.publish(ticket, qos, b"");
        }
        let mut sent = VecDeque::from(client.output());
        while let Some(first) = sent.pop_front() {
            let length = usize::from(sent.pop_front().unwrap());
            let body: Vec<u8> = sent.drain(..length).collect();
            let (answer, id) =
                if first == 0x62 { (refusals[1], &body[..2]) } else { (refusals[0], &body[3..5]) };
            let mut answer = answer.to_vec();
            answer[2..4].copy_from_slice(id);
            client.receive(&answer);
            sent.extend(client.output());
        }
        assert_eq!(client.published().len(), 100, "QoS {qos}");
        assert_eq!(client.session.unfinished_count(), 0);
    }
}

#[test]
fn rumqtt_1014_1056_1057_wedge_on_an_acknowledgement_out_of_order() {
    let config = Config { max_inflight: 3, ..Config::new(V3) };
    let mut client = online(config, CK3);
    // A request holds an identifier that the window would come to, were it the source of them.
    client.session.subscribe(client.now, Ticket::new(1000), filters(&["a"])).unwrap();
    assert_eq!(client.output()[2..4], [0, 1]);
    for ticket in 0..1000 {
        client.publish(ticket, 1, b"");
    }
    // The oldest is never acknowledged, the others in reverse.
    let mut in_flight: Vec<[u8; 2]> = Vec::new();
    for _ in 0..2000 {
        in_flight.extend(client.output().chunks(7).map(|message| [message[5], message[6]]));
        assert!(in_flight.len() <= 3 && !in_flight.contains(&[0, 1]));
        match in_flight.len() {
            0 | 1 => break,
            last => {
                let id = in_flight.remove(last - 1);
                client.receive(&[0x40, 2, id[0], id[1]]);
            }
        }
    }
    assert_eq!(client.published().len(), 999);
    assert_eq!(in_flight, [[0, 2]], "the oldest has kept its identifier");
    client.receive(b"\x40\x02\0\x02\x90\x03\0\x01\0");
    assert_eq!(client.session.unfinished_count(), 0);
}

#[test]
fn rumqttc_shows_an_empty_topic_and_keeps_aliases_over_a_reconnect() {
    let config = Config { topic_alias_maximum: 1, ..lasting(V5) };
    let mut client = online(config, CK5);
    client.receive(b"\x30\x09\0\x03a/b\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x01");
    assert_eq!(client.topics, ["a/b", "a/b"]);
    reconnect(&mut client, &[0x20, 3, 1, 0, 0]);
    client.receive(b"\x30\x06\0\0\x03\x23\0\x01");
    assert_eq!(client.topics.len(), 2);
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}
