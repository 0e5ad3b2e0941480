//! Quality of service, the order of messages, and errors (§4.3, §4.6, §4.8 of 3.1.1, §4.13 of 5.0).

use crate::kit::*;

tests! {
    ["4.3.1-1"] ["4.3.1-1"] qos_0_is_sent_once,
    ["4.3.2-1"] ["4.3.2-1", "4.3.2-2", "4.3.2-3"] qos_1_is_unacknowledged_until_puback,
    ["4.3.2-2"] ["4.3.2-4", "4.3.2-5"] after_puback_an_identifier_is_new,
    ["4.3.3-1"] ["4.3.3-1", "4.3.3-2", "4.3.3-3", "4.3.3-4", "4.3.3-5", "4.3.3-6"]
        qos_2_is_sent_step_by_step,
    [] ["4.3.3-7", "4.3.3-13"] what_was_sent_does_not_expire,
    ["4.3.3-2"] ["4.3.3-8", "4.3.3-10"] until_pubrel_a_message_is_the_same,
    [] ["4.3.3-9"] after_a_refusal_an_identifier_is_new,
    [] ["4.3.3-11", "4.3.3-12"] pubrel_is_answered_and_frees_the_identifier,
    ["4.6.0-1"] ["4.6.0-1"] messages_are_sent_again_in_their_order,
    ["4.6.0-2"] ["4.6.0-2"] pubacks_are_in_the_order_of_the_messages,
    ["4.6.0-3"] ["4.6.0-3"] pubrecs_are_in_the_order_of_the_messages,
    ["4.6.0-4"] ["4.6.0-4"] pubrels_are_in_the_order_of_the_pubrecs,
    ["4.8.0-1"] ["4.13.1-1"] a_breach_ends_the_connection,
    ["4.8.0-2"] ["§4.13.2"] what_cannot_be_taken_is_not_acknowledged,
    [] ["4.13.2-1"] an_error_code_ends_the_connection,
}

fn qos_0_is_sent_once(version: Version) {
    let mut client = kept(version);
    client.publish(0, 0, b"x");
    assert_eq!(client.output(), publish(version, 0x30, "t", 0, b"x"));
    assert_eq!(client.published(), [(0, true)], "done when it is written");
    assert_eq!(reconnect(&mut client, resuming(version)), b"");
    // Half of it written is lost with the connection, and not tried again.
    client.publish(1, 0, b"y");
    client.take_output(3);
    assert_eq!(reconnect(&mut client, resuming(version)), b"");
    let lost = Some(&Err(PublishFailure::Lost { maybe_delivered: true }));
    assert_eq!(outcome(&client, 1), lost);
}

fn qos_1_is_unacknowledged_until_puback(version: Version) {
    let mut client = kept(version);
    client.publish(0, 1, b"x");
    assert_eq!(client.output(), publish(version, 0x32, "t", 1, b"x"));
    client.pass(SECOND);
    assert_eq!((client.published().len(), client.session.unfinished_count()), (0, 1));
    assert_eq!(kinds(&reconnect(&mut client, resuming(version))), [0x3A]);
    client.receive(&ack(0x40, 1));
    assert_eq!(client.published(), [(0, true)]);
    // Another answer than PUBACK is none.
    for answer in [0x50, 0x70] {
        let sent = || {
            let mut client = connected(version);
            client.publish(0, 1, b"x");
            client.output();
            client
        };
        breach_in(version, sent, &ack(answer, 1), 0x82);
    }
}

fn after_puback_an_identifier_is_new(version: Version) {
    let mut client = connected(version);
    for first in [0x32, 0x3A, 0x32] {
        client.receive(&publish(version, first, "t", 7, b"x"));
        assert_eq!(client.output(), ack(0x40, 7));
    }
    assert_eq!(client.messages.len(), 3);
}

fn qos_2_is_sent_step_by_step(version: Version) {
    let sent = || {
        let mut client = kept(version);
        client.publish(0, 2, b"x");
        assert_eq!(client.output(), publish(version, 0x34, "t", 1, b"x"));
        client
    };
    let mut client = sent();
    assert_eq!(kinds(&reconnect(&mut client, resuming(version))), [0x3C]);
    client.receive(&ack(0x50, 1));
    assert_eq!(client.output(), ack(0x62, 1));
    client.receive(&ack(0x50, 1));
    assert_eq!(client.output(), ack(0x62, 1), "each PUBREC has its PUBREL");
    assert_eq!(client.published(), []);
    // From PUBREC on it is never published again, PUBREL sent or not.
    assert_eq!(reconnect(&mut client, resuming(version)), ack(0x62, 1));
    client.receive(&ack(0x70, 1));
    assert_eq!(client.published(), [(0, true)]);
    let mut client = sent();
    client.receive(&ack(0x50, 1));
    assert_eq!(reconnect(&mut client, resuming(version)), ack(0x62, 1));
    // Answers out of turn.
    breach_in(version, sent, &ack(0x70, 1), 0x82);
    breach_in(version, sent, &ack(0x40, 1), 0x82);
    let released = || {
        let mut client = sent();
        client.receive(&ack(0x50, 1));
        client.output();
        client
    };
    breach_in(version, released, &ack(0x40, 1), 0x82);
}

fn what_was_sent_does_not_expire(version: Version) {
    let mut client = kept(version);
    let mut expiring = message(b"x");
    expiring.qos = QoS::ExactlyOnce;
    expiring.properties = property(Property::MessageExpiryInterval, PropertyValue::FourByte(1));
    client.session.publish(client.now, Ticket::new(0), expiring).unwrap();
    let sent = client.output();
    client.disconnect();
    client.pass(3600 * SECOND);
    client.connect();
    client.output();
    client.receive(resuming(version));
    let again = client.output();
    assert_eq!((again[0], &again[1..8]), (0x3C, &sent[1..8]));
    client.receive(&ack(0x50, 1));
    assert_eq!(client.output(), ack(0x62, 1));
    // And the other way: the exchange goes on however old the message is.
    let expired = publish_with(version, 0x34, "t", 7, b"\x02\0\0\0\0", b"x");
    client.receive(&expired);
    client.pass(10 * SECOND);
    client.receive(&ack(0x62, 7));
    assert_eq!(client.output(), [ack(0x50, 7), ack(0x70, 7)].concat());
}

fn until_pubrel_a_message_is_the_same(version: Version) {
    let mut client = kept(version);
    for (first, topic) in [(0x34, "t"), (0x34, "t"), (0x3C, "t"), (0x34, "other")] {
        client.receive(&publish(version, first, topic, 5, b"x"));
        assert_eq!(client.output(), ack(0x50, 5));
    }
    assert_eq!(client.messages.len(), 1);
    reconnect(&mut client, resuming(version));
    client.receive(&publish(version, 0x3C, "t", 5, b"x"));
    assert_eq!(client.output(), ack(0x50, 5));
    assert_eq!(client.messages.len(), 1);
    client.receive(&ack(0x62, 5));
    assert_eq!(client.output(), ack(0x70, 5));
    client.receive(&publish(version, 0x34, "t", 5, b"x"));
    assert_eq!(client.messages.len(), 2);
    // QoS 1 of the same number is another matter.
    client.receive(&publish(version, 0x32, "t", 6, b"x"));
    client.receive(&publish(version, 0x34, "t", 6, b"x"));
    assert_eq!(client.messages.len(), 4);
}

fn after_a_refusal_an_identifier_is_new(version: Version) {
    let mut client = connected(version);
    client.verdict = Verdict::Reject(ReasonCode::QUOTA_EXCEEDED);
    for _ in 0..3 {
        client.receive(&publish(version, 0x34, "t", 5, b"x"));
        assert_eq!(client.output(), b"\x50\x03\0\x05\x97");
    }
    assert_eq!(client.messages.len(), 3);
    client.receive(&ack(0x62, 5));
    assert_eq!(client.output(), b"\x70\x03\0\x05\x92", "there is nothing to release");
}

fn pubrel_is_answered_and_frees_the_identifier(version: Version) {
    let mut client = connected(version);
    for round in 1..4 {
        client.receive(&publish(version, 0x34, "t", 5, b"x"));
        client.receive(&ack(0x62, 5));
        assert_eq!(client.output(), [ack(0x50, 5), ack(0x70, 5)].concat());
        assert_eq!(client.messages.len(), round);
    }
    client.receive(&ack(0x62, 5));
    assert_eq!(client.output(), b"\x70\x03\0\x05\x92");
}

fn messages_are_sent_again_in_their_order(version: Version) {
    let mut client = kept(version);
    for (ticket, qos) in [1, 2, 2, 1, 2].into_iter().enumerate() {
        client.publish(ticket as u64, qos, &[b'0' + ticket as u8]);
    }
    let order = |output: &[u8]| -> Vec<u8> {
        packets(output).iter().map(|packet| *packet.last().unwrap()).collect()
    };
    assert_eq!(order(&client.output()), b"01234");
    assert_eq!(order(&reconnect(&mut client, resuming(version))), b"01234");
    // Also when some are answered in between, and the link breaks while they are sent.
    client.receive(&ack(0x40, 1));
    client.disconnect();
    client.connect();
    client.output();
    client.receive(resuming(version));
    client.take_output(10);
    assert_eq!(order(&reconnect(&mut client, resuming(version))), b"1234");
}

/// Lets the application finish messages of this QoS in the order 3, 1, 2, and asserts that the
/// answers keep that of arrival.
fn finished_out_of_order(version: Version, first: u8, answer: u8) {
    let mut client = connected(version);
    client.verdict = Verdict::Hold;
    for id in 1..=3 {
        client.receive(&publish(version, first, "t", id, b""));
    }
    let held: Vec<_> = client.held.drain(..).collect();
    let mut finish = |n: usize| {
        client.session.ack(client.now, held[n], ReasonCode::SUCCESS);
        client.output()
    };
    assert_eq!(finish(2), b"");
    assert_eq!(finish(0), ack(answer, 1));
    assert_eq!(finish(1), [ack(answer, 2), ack(answer, 3)].concat());
}

fn pubacks_are_in_the_order_of_the_messages(version: Version) {
    finished_out_of_order(version, 0x32, 0x40);
}

fn pubrecs_are_in_the_order_of_the_messages(version: Version) {
    finished_out_of_order(version, 0x34, 0x50);
}

fn pubrels_are_in_the_order_of_the_pubrecs(version: Version) {
    let mut client = kept(version);
    (0..4).for_each(|ticket| client.publish(ticket, 2, b""));
    client.output();
    let order = [3, 1, 4, 2];
    order.iter().for_each(|id| client.receive(&ack(0x50, *id)));
    let expected = order.map(|id| ack(0x62, id)).concat();
    assert_eq!(client.output(), expected);
    assert_eq!(reconnect(&mut client, resuming(version)), expected, "and again");
}

fn a_breach_ends_the_connection(version: Version) {
    for row in ["00 00", "10 00", "C0 00", "40 00", "30 03 0001 23"] {
        block_on(async {
            let script = Script::listen().await;
            let (client, mut inbox) = builder(&script, version).start().unwrap();
            let mut peer = script.accept().await;
            peer.expect_packet(0x10).await;
            peer.send_bytes(accepting(version)).await;
            client.connected().await.unwrap();
            peer.send(row).await;
            if v5(version) {
                peer.expect_packet(0xE0).await;
            }
            peer.expect_end().await;
            drop(peer);
            let midge::client::CloseReason::Disconnected(cause) = client.closed().await else {
                panic!("{row}")
            };
            assert_eq!(cause.by(), midge::client::DisconnectedBy::Protocol, "{row}");
            assert!(inbox.next().await.is_none());
        });
    }
}

fn what_cannot_be_taken_is_not_acknowledged(version: Version) {
    let mut client = kept(version);
    client.verdict = Verdict::Hold;
    client.receive(&publish(version, 0x32, "t", 1, b"one"));
    client.receive(&publish(version, 0x34, "t", 2, b"two"));
    client.pass(30 * SECOND);
    assert_eq!(client.output(), b"");
    // The broker delivers them again, on the next connection.
    reconnect(&mut client, resuming(version));
    client.verdict = Verdict::Ack;
    client.receive(&publish(version, 0x3A, "t", 1, b"one"));
    assert_eq!(client.output(), ack(0x40, 1));
    assert_eq!(client.messages.len(), 3);
}

fn an_error_code_ends_the_connection(version: Version) {
    for (row, connack) in [("20 03 00 89 00", true), ("E0 01 8B", false), ("E0 01 97", false)] {
        block_on(async {
            let script = Script::listen().await;
            let (client, _inbox) = builder(&script, version).start().unwrap();
            let mut peer = script.accept().await;
            peer.expect_packet(0x10).await;
            if !connack {
                peer.send_bytes(accepting(version)).await;
            }
            // The broker leaves it to the client to close.
            peer.send(row).await;
            peer.expect_end().await;
            drop(peer);
            client.closed().await;
        });
    }
    // And when the client has found one to send.
    breach(version, "00 00", 0x81);
}
