//! From the transport being up to the first packet after CONNACK.

use crate::support::*;

#[test]
fn nothing_but_connect_leaves_before_connack() {
    let mut client = Client::new(Config::new(V3));
    client.publish(1, 1, b"early");
    client.session.subscribe(client.now, Ticket::new(2), filters(&["a"])).unwrap();
    client.connect();
    let connect = client.output();
    assert_eq!(connect, b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c");
    client.receive(CK3);
    let rest = client.output();
    assert_eq!(rest[0], 0x82, "SUBSCRIBE goes before queued messages");
    assert_eq!(&rest[8..10], &[0x32, 10]);
}

#[test]
fn connack_is_due_in_time() {
    let mut client = Client::new(Config::new(V3));
    client.connect();
    client.output();
    client.pass(29 * SECOND);
    assert!(client.end().is_none());
    client.pass(SECOND);
    assert_eq!(client.end(), Some(&End::ConnAckTimeout));
    assert_eq!(client.end().unwrap().initiator(), Initiator::Library);
    assert!(client.output().is_empty());
}

#[test]
fn a_refusal_names_its_reason() {
    for (code, reason) in [
        (1, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION),
        (2, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
        (3, ReasonCode::SERVER_UNAVAILABLE),
        (4, ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        (5, ReasonCode::NOT_AUTHORIZED),
    ] {
        for version in [V3, V5] {
            let mut client = Client::new(Config::new(version));
            client.connect();
            client.output();
            client.receive(&[0x20, 2, 0, code]);
            let expected = End::Refused { reason, properties: Properties::default() };
            assert_eq!(client.end(), Some(&expected), "{version}");
            assert!(client.output().is_empty());
        }
    }
}

#[test]
fn anything_but_connack_first_ends_the_connection() {
    for bytes in [&[0xD0, 0][..], &[0x90, 3, 0, 1, 0], &[0x30, 4, 0, 1, b'a', b'x']] {
        let mut client = Client::new(Config::new(V3));
        client.connect();
        client.output();
        client.receive(bytes);
        assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
        assert!(client.messages.is_empty());
        assert!(client.output().is_empty(), "3.x has no word for it");
    }
    let mut client = Client::new(Config::new(V5));
    client.connect();
    client.output();
    client.receive(&[0xE0, 1, 0x8B]);
    let Some(End::ServerDisconnect { reason, .. }) = client.end() else { panic!() };
    assert_eq!(*reason, ReasonCode::SERVER_SHUTTING_DOWN);
}

#[test]
fn a_stranger_cannot_announce_a_large_first_packet() {
    let mut client = Client::new(Config::new(V3));
    client.connect();
    client.output();
    client.receive(&[0x90, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(protocol_error(&client), ReasonCode::PACKET_TOO_LARGE);
}

#[test]
fn a_second_connack_ends_the_connection() {
    let mut client = online(Config::new(V5), CK5);
    client.receive(CK5);
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
    assert_eq!(client.output(), [0xE0, 1, 0x82]);
    let mut client = online(Config::new(V3), CK3);
    client.receive(CK3);
    assert!(client.output().is_empty());
}

#[test]
fn session_present_after_a_clean_start_is_a_breach() {
    let mut client = Client::new(Config::new(V5));
    client.connect();
    client.output();
    client.receive(&connack5(1, &[]));
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn an_unknown_session_is_adopted_or_refused_as_configured() {
    let client = online(lasting(V5), &connack5(1, &[]));
    let Event::Connected(connected) = &client.events[0] else { panic!() };
    assert!(connected.session_present && !connected.resumed && !connected.session_lost);
    let mut config = lasting(V5);
    config.adopt_session = false;
    let mut client = Client::new(config);
    client.connect();
    client.output();
    client.receive(&connack5(1, &[]));
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn the_assigned_identifier_is_kept() {
    let mut client = Client::new(Config::new(V5));
    client.session = midge::session::Session::new(Config::new(V5).into(), "", 0);
    client.connect();
    client.output();
    client.receive(&connack5(0, b"\x12\0\x03xyz"));
    assert_eq!(client.session.client_id(), "xyz");
    client.disconnect();
    client.connect();
    assert!(client.output().ends_with(b"\0\x03xyz"));
}

#[test]
fn authentication_that_was_not_asked_for_is_a_breach() {
    let mut client = online(Config::new(V5), CK5);
    client.receive(&[0xF0, 2, 0x18, 0]);
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn a_5_0_session_with_an_expiry_is_clean_only_the_first_time() {
    let mut config = lasting(V5);
    config.clean_start = true;
    config.session_expiry = 60;
    let mut client = Client::new(config);
    for (wait, clean) in [(0, true), (59, false), (60, true)] {
        client.pass(wait * SECOND);
        client.connect();
        let connect = client.output();
        assert_eq!(connect[9] & 2 != 0, clean, "after {wait} s");
        client.receive(CK5);
        client.disconnect();
    }
}

#[test]
fn a_time_out_beyond_the_clock_is_none() {
    let mut config = Config::new(V3);
    config.connack_timeout = Duration::MAX;
    config.packet_timeout = Duration::MAX;
    config.request_timeout = Duration::MAX;
    config.ping_timeout = Some(Duration::MAX);
    let mut client = Client::new(config);
    client.connect();
    client.output();
    assert_eq!(client.session.poll_timeout(), None);
    client.now += 3600 * SECOND;
    client.session.handle_timeout(client.now);
    client.receive(CK3);
    client.session.subscribe(client.now, Ticket::new(1), filters(&["a"])).unwrap();
    client.output();
    client.receive(&[0x30]);
    client.pass(3600 * SECOND);
    assert!(client.session.is_connected());
}

#[test]
fn a_connack_does_not_come_before_connect() {
    let mut client = Client::new(Config::new(V3));
    client.session.handle_connected(client.now);
    let mut inbox = |_: midge::session::Received<'_>| Verdict::Ack;
    client.session.handle_bytes(client.now, CK3, &mut inbox);
    client.poll();
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}
