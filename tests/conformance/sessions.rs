//! Storing session state, and what is done with it on the next connection (§4.1, §4.4, §4.5).

use crate::kit::*;

tests! {
    ["4.1.0-1", "4.1.0-2"] ["4.1.0-1"] state_lasts_as_long_as_the_session,
    ["4.4.0-1"] ["4.4.0-1"] what_is_unacknowledged_is_sent_again_and_only_then,
    [] ["4.4.0-2"] a_refused_message_is_not_sent_again,
    ["4.5.0-2"] ["4.5.0-2"] messages_are_acknowledged_whoever_wants_them,
}

fn state_lasts_as_long_as_the_session(version: Version) {
    let mut client = kept(version);
    subscribe(&mut client, 0, filters(&["a"]));
    let id = id_of(&client.output());
    client.receive(&framed(0x90, &[&id.to_be_bytes(), none(version), &[2]].concat()));
    client.publish(1, 2, b"out");
    client.receive(&publish(version, 0x34, "t", 7, b"in"));
    client.output();
    // Over any number of connections, and time on and between them.
    for _ in 0..5 {
        let sent = reconnect(&mut client, resuming(version));
        assert_eq!(kinds(&sent).last(), Some(&0x3C));
        for _ in 0..10 {
            client.pass(50 * SECOND);
            client.receive(b"\xD0\0");
            client.output();
        }
        client.disconnect();
        client.pass(100_000 * SECOND);
    }
    client.connect();
    client.output();
    client.receive(resuming(version));
    client.output();
    client.receive(&publish(version, 0x3C, "t", 7, b"in"));
    assert_eq!(client.messages.len(), 1);
    client.receive(&ack(0x62, 7));
    let answers = client.output();
    assert!(answers.ends_with(&ack(0x70, 7)), "{answers:02X?}");
}

fn what_is_unacknowledged_is_sent_again_and_only_then(version: Version) {
    let mut client = kept(version);
    client.publish(0, 1, b"one");
    client.publish(1, 2, b"two");
    client.publish(2, 2, b"three");
    let sent = packets(&client.output());
    client.receive(&ack(0x50, id_of(&sent[2])));
    assert_eq!(client.output(), ack(0x62, id_of(&sent[2])));
    // However long it takes: nothing is repeated on the same connection.
    for _ in 0..20 {
        client.pass(30 * SECOND);
        let sent = client.output();
        assert!(sent.is_empty() || sent == b"\xC0\0", "{sent:02X?}");
        client.receive(b"\xD0\0");
    }
    client.publish(3, 1, b"new");
    client.output();
    client.disconnect();
    client.publish(4, 1, b"newer");
    client.connect();
    client.output();
    client.receive(resuming(version));
    let again = packets(&client.output());
    assert_eq!(again.iter().map(|p| p[0]).collect::<Vec<_>>(), [0x62, 0x3A, 0x3C, 0x3A, 0x32]);
    let ids: Vec<u16> = again.iter().map(|packet| id_of(packet)).collect();
    assert_eq!(ids[..3], [id_of(&sent[2]), id_of(&sent[0]), id_of(&sent[1])]);
}

fn a_refused_message_is_not_sent_again(version: Version) {
    for (qos, answer) in [(1, 0x40), (2, 0x50)] {
        let mut client = kept(version);
        client.publish(0, qos, b"");
        client.output();
        client.receive(&[answer, 3, 0, 1, 0x97]);
        assert_eq!(client.output(), b"", "no PUBREL either");
        let Some(Err(PublishFailure::Rejected { reason, .. })) = outcome(&client, 0) else {
            panic!()
        };
        assert_eq!(*reason, ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(reconnect(&mut client, resuming(version)), b"");
        assert_eq!(client.published().len(), 1);
        assert_eq!(client.session.unfinished_count(), 0);
    }
}

fn messages_are_acknowledged_whoever_wants_them(version: Version) {
    // No subscription, no stream, nobody at the inbox.
    block_on(async {
        let script = Script::listen().await;
        let (client, inbox) = builder(&script, version).start().unwrap();
        drop(inbox);
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        peer.send_bytes(&publish(version, 0x32, "stray", 7, b"x")).await;
        peer.send_bytes(&publish(version, 0x34, "stray", 8, b"x")).await;
        peer.expect("40 02 0007 50 02 0008").await;
        peer.send_bytes(&ack(0x62, 8)).await;
        peer.expect("70 02 0008").await;
        drop(client);
    });
    // What the application refuses is answered too.
    let mut client = connected(version);
    client.verdict = Verdict::Reject(ReasonCode::NOT_AUTHORIZED);
    client.receive(&publish(version, 0x32, "t", 7, b""));
    let refusal = pick(version, &b"\x40\x02\0\x07"[..], b"\x40\x03\0\x07\x87");
    assert_eq!(client.output(), refusal);
}
