//! The end of a connection, and of a session.

use crate::support::*;

#[test]
fn disconnect_is_the_last_word() {
    let mut client = online(Config::new(V3), CK3);
    client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default()).unwrap();
    let refused = client.session.publish(client.now, Ticket::new(1), message(b""));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::Disconnecting);
    assert_eq!(client.output(), [0xE0, 0]);
    assert_eq!(client.end(), Some(&End::Requested));
    client.receive(b"\x32\x05\0\x01t\0\x01");
    assert!(client.output().is_empty() && client.messages.is_empty());
}

#[test]
fn a_5_0_disconnect_carries_its_reason_within_the_brokers_packet_size() {
    let text = PropertyValue::Utf8("because");
    let properties = Properties::default().with(Property::ReasonString, text).unwrap();
    let with_will = ReasonCode::DISCONNECT_WITH_WILL;
    let mut client = online(Config::new(V5), CK5);
    client.session.disconnect(client.now, with_will, properties.clone()).unwrap();
    assert_eq!(client.output(), b"\xE0\x0c\x04\x0a\x1F\0\x07because");
    let mut client = online(Config::new(V5), &connack5(0, &[0x27, 0, 0, 0, 5]));
    client.session.disconnect(client.now, with_will, properties).unwrap();
    assert_eq!(client.output(), [0xE0, 1, 4], "[MQTT-3.14.2-3]");
}

#[test]
fn an_expiry_cannot_be_given_to_a_session_that_has_none() {
    let expiry = PropertyValue::FourByte(10);
    let (property, success) = (Property::SessionExpiryInterval, ReasonCode::SUCCESS);
    let properties = Properties::default().with(property, expiry).unwrap();
    let mut client = online(Config::new(V5), CK5);
    let refused = client.session.disconnect(client.now, success, properties.clone());
    assert_eq!(refused.unwrap_err().reason, RefusedReason::SessionExpiry);
    let mut client = online(lasting(V5), CK5);
    client.session.disconnect(client.now, success, properties).unwrap();
    assert_eq!(client.output(), [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 10]);
}

#[test]
fn what_is_abandoned_ends_as_lost() {
    let mut client = online(Config::new(V3), CK3);
    client.publish(0, 1, b"");
    client.output();
    client.publish(1, 1, b"");
    client.session.subscribe(client.now, Ticket::new(2), filters(&["a"])).unwrap();
    client.disconnect();
    client.session.abandon();
    client.poll();
    assert_eq!(client.published(), [(0, false), (1, false)]);
    assert!(matches!(
        client.events.last(),
        Some(Event::Subscribed { result: Err(RequestFailure::Lost), .. })
    ));
    assert_eq!(client.session.unfinished_count(), 0);
}

#[test]
fn a_reason_that_only_a_broker_may_give_is_refused() {
    let mut client = online(Config::new(V5), CK5);
    let busy = ReasonCode::SERVER_BUSY;
    let refused = client.session.disconnect(client.now, busy, Properties::default()).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::ReasonNotAllowed(busy));
    assert!(client.session.is_connected());
}

#[test]
fn without_a_word_for_its_reason_3_x_leaves_the_will_to_the_broker() {
    let mut client = online(Config::new(V3), CK3);
    let with_will = ReasonCode::DISCONNECT_WITH_WILL;
    client.session.disconnect(client.now, with_will, Properties::default()).unwrap();
    assert!(client.output().is_empty());
    assert_eq!(client.end(), Some(&End::Requested));
}

#[test]
fn commands_wait_while_a_link_fails() {
    let mut client = online(lasting(V3), CK3);
    client.receive(&[0x00]);
    assert!(matches!(client.end(), Some(End::Protocol(_))));
    client.publish(1, 1, b"x");
    client.session.subscribe(client.now, Ticket::new(2), filters(&["a"])).unwrap();
    assert!(client.output().is_empty());
    let next = reconnect(&mut client, &[0x20, 2, 1, 0]);
    assert_eq!([next[0], next[8]], [0x82, 0x32]);
}

#[test]
fn every_state_takes_a_disconnect() {
    let requested = |client: &mut Client| {
        let (now, success) = (client.now, ReasonCode::SUCCESS);
        client.session.disconnect(now, success, Properties::default()).unwrap();
        client.poll();
        assert_eq!(client.end(), Some(&End::Requested));
    };
    let mut client = Client::new(Config::new(V3));
    requested(&mut client);
    assert!(client.output().is_empty());

    // Before CONNECT was handed out there is nothing to take back.
    let mut client = Client::new(Config::new(V3));
    client.session.handle_connected(client.now);
    requested(&mut client);
    assert!(client.output().is_empty());
    client.disconnect();
    client.connect();
    assert_eq!(client.output()[0], 0x10);

    requested(&mut client);
    assert_eq!(client.output(), [0xE0, 0], "after CONNECT and without its CONNACK");
    client.receive(CK3);
    assert!(!client.session.is_connected());
    assert_eq!(client.session.poll_timeout(), None);
    let again = client.session.disconnect(client.now, ReasonCode::SUCCESS, Properties::default());
    assert_eq!(again.unwrap_err().reason, RefusedReason::Disconnecting);
}

#[test]
fn what_is_abandoned_is_gone_for_good() {
    let mut client = online(lasting(V3), CK3);
    client.publish(0, 2, b"");
    client.publish(1, 1, b"");
    client.output();
    client.publish(2, 0, b"");
    client.session.subscribe(client.now, Ticket::new(3), filters(&["a"])).unwrap();
    client.poll(); // Not written yet.
    client.session.abandon();
    client.poll();
    assert_eq!(client.published(), [(0, false), (1, false), (2, false)]);
    assert_eq!(client.session.unfinished_count(), 0);
    client.output();
    client.publish(4, 2, b"");
    assert_eq!(client.output()[5..], [0, 4]);
    client.receive(&[0x40, 2, 0, 2, 0x50, 2, 0, 1, 0x90, 3, 0, 3, 0]);
    assert_eq!(client.published().len(), 3, "late answers are not taken for those of others");
    assert_eq!(reconnect(&mut client, &[0x20, 2, 1, 0]), b"\x3C\x05\0\x01t\0\x04");
    client.receive(&[0x50, 2, 0, 4, 0x70, 2, 0, 4]);
    assert_eq!(client.published()[3..], [(4, true)]);
}
