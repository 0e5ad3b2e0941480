//! PINGREQ, PINGRESP and DISCONNECT (§3.12 to §3.14).

use midge::client::{CloseReason, DisconnectCause, PublishError};

use crate::kit::*;

tests! {
    ["3.12.4-1"] ["3.12.4-1"] a_ping_without_an_answer_ends_the_connection,
    ["3.14.1-1"] ["3.14.1-1"] disconnect_has_no_flags,
    [] ["3.14.2-1"] disconnect_has_a_listed_code,
    [] ["3.14.2-2"] a_broker_sets_no_expiry_at_the_end,
    [] ["§3.14.2.2.2"] an_expiry_cannot_be_given_to_a_session_without_one,
    [] ["3.14.2-3", "3.14.2-4"] the_text_of_a_disconnect_is_left_out_where_it_does_not_fit,
    ["3.14.4-1", "3.14.4-2"] ["3.14.4-1", "3.14.4-2"] nothing_follows_a_disconnect,
    ["§3.14.4"] ["§3.14.4"] an_orderly_end_is_told_and_another_is_not,
}

fn a_ping_without_an_answer_ends_the_connection(version: Version) {
    let make = || {
        let config = Config { keep_alive: 10, ..Config::new(version) };
        online(config, accepting(version))
    };
    // Within one and a half times the keep alive, all told.
    let mut client = make();
    client.pass(10 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
    client.pass(5 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
    assert_eq!(client.output(), b"");
    // An answer to no question is not one to the next.
    let mut client = make();
    client.receive(&b"\xD0\0".repeat(100));
    client.pass(10 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
    client.pass(5 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
    let mut client = make();
    for _ in 0..10 {
        client.pass(10 * SECOND);
        assert_eq!(client.output(), b"\xC0\0");
        client.receive(b"\xD0\0");
    }
    assert!(client.session.is_connected());
}

fn disconnect_has_no_flags(version: Version) {
    let mut client = connected(version);
    client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default()).unwrap();
    assert_eq!(client.output(), b"\xE0\0");
    for flags in 1..16 {
        breach_in(version, || connected(version), &[0xE0 | flags, 0], 0x81);
    }
}

fn disconnect_has_a_listed_code(version: Version) {
    let ours = [0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for code in 0..=255 {
        let mut client = connected(version);
        let reason = ReasonCode::new(code);
        let done = client.session.disconnect(client.now, reason, Properties::default());
        if ours.contains(&code) {
            done.unwrap();
            let sent = client.output();
            assert_eq!(sent, if code == 0 { vec![0xE0, 0] } else { vec![0xE0, 1, code] });
        } else {
            let refused = done.unwrap_err().reason;
            assert_eq!(refused, RefusedReason::ReasonNotAllowed(reason));
            assert_eq!(client.output(), b"");
            assert!(client.session.is_connected());
        }
        // From a broker, any failure is one, known or not; 0 is no breach worth a quarrel.
        if code == 0 || code >= 0x80 {
            let mut client = connected(version);
            client.receive(&[0xE0, 1, code]);
            let Some(End::ServerDisconnect { reason, .. }) = client.end() else { panic!("{code}") };
            assert_eq!(reason.code(), code);
            assert_eq!(client.output(), b"", "nothing is said to who has hung up");
        } else {
            breach_in(version, || connected(version), &[0xE0, 1, code], 0x82);
        }
    }
}

fn a_broker_sets_no_expiry_at_the_end(version: Version) {
    breach(version, "E0 07 00 05 11 0000003C", 0x82);
}

fn expiry(seconds: u32) -> Properties {
    property(Property::SessionExpiryInterval, PropertyValue::FourByte(seconds))
}

fn an_expiry_cannot_be_given_to_a_session_without_one(version: Version) {
    let mut client = connected(version);
    let refused = client.session.disconnect(client.now, ReasonCode::SUCCESS, expiry(60));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::SessionExpiry);
    client.session.disconnect(client.now, ReasonCode::SUCCESS, expiry(0)).unwrap();
    let mut client = kept(version);
    client.session.disconnect(client.now, ReasonCode::SUCCESS, expiry(60)).unwrap();
    assert_eq!(client.output(), bytes("E0 07 00 05 11 0000003C"));
}

fn the_text_of_a_disconnect_is_left_out_where_it_does_not_fit(version: Version) {
    let text = || {
        property(Property::ReasonString, PropertyValue::Utf8("good night"))
            .with(Property::UserProperty, PropertyValue::Pair("k", "v"))
            .unwrap()
    };
    let whole = bytes("E0 16 00 14 1F 000A 'good night' 26 0001 'k' 0001 'v'");
    for size in 5..40 {
        let maximum = [0x27, 0, 0, 0, size];
        let mut client = online(Config::new(version), &connack5(0, &maximum));
        client.session.disconnect(client.now, ReasonCode::SUCCESS, text()).unwrap();
        let sent = client.output();
        let expected = if whole.len() <= size.into() { &whole[..] } else { b"\xE0\0" };
        assert_eq!(sent, expected, "{size}");
    }
}

fn nothing_follows_a_disconnect(version: Version) {
    let mut client = connected(version);
    client.publish(0, 1, b"before");
    client.output();
    client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default()).unwrap();
    let refused = client.session.publish(client.now, Ticket::new(1), message(b"after"));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::Disconnecting);
    client.receive(&publish(version, 0x32, "t", 1, b"late"));
    client.receive(&ack(0x62, 2));
    client.pass(3600 * SECOND);
    assert_eq!(client.output(), b"\xE0\0");
    assert_eq!(client.messages.len(), 0);
    // Whoever publishes meanwhile: DISCONNECT is the last thing on the socket, and then it closes.
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        client.connected().await.unwrap();
        let publishers: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    loop {
                        if client.publish("t", "x").await.is_err() {
                            break;
                        }
                    }
                })
            })
            .collect();
        peer.expect_packet(0x30).await;
        let disconnected = tokio::spawn({
            let client = client.clone();
            async move { client.disconnect().await }
        });
        loop {
            match peer.packet().await[0] {
                0x30 => {}
                0xE0 => break,
                other => panic!("{other:02X}"),
            }
        }
        peer.expect_end().await;
        drop(peer);
        disconnected.await.unwrap().unwrap();
        for publisher in publishers {
            publisher.await.unwrap();
        }
        let error = client.publish("t", "x").await.unwrap_err();
        assert!(matches!(error, PublishError::Closed { maybe_delivered: false }));
    });
}

fn an_orderly_end_is_told_and_another_is_not(version: Version) {
    block_on(async {
        // A broker that ends the connection is not answered, and not called again at once.
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        client.connected().await.unwrap();
        if v5(version) {
            peer.send("E0 01 8E").await;
            peer.expect_end().await;
            drop(peer);
            let CloseReason::Disconnected(cause) = client.closed().await else { panic!() };
            let DisconnectCause::Server { reason, .. } = cause else { panic!("{cause:?}") };
            assert_eq!(reason, ReasonCode::SESSION_TAKEN_OVER);
        } else {
            // A breach of the protocol closes without DISCONNECT: the will is published.
            peer.send("F0 00").await;
            peer.expect_end().await;
        }
        // The last handle gone is an orderly end.
        let (client, inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        client.connected().await.unwrap();
        drop((client, inbox));
        peer.expect("E0 00").await;
        peer.expect_end().await;
    });
    // With the will, where the protocol has a word for it.
    let mut client = connected(version);
    let with_will = ReasonCode::DISCONNECT_WITH_WILL;
    client.session.disconnect(client.now, with_will, Properties::default()).unwrap();
    assert_eq!(client.output(), pick(version, &b""[..], b"\xE0\x01\x04"));
}
