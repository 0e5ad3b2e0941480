//! How long a session lasts, and what is left of it on the next connection.

use std::sync::Arc;

use midge::codec::PacketId;
use midge::session::{Change, Ledger, Session};

use crate::support::*;

fn expiring(seconds: u32) -> Config {
    let mut config = Config::new(V5);
    config.session_expiry = seconds;
    config
}

fn expiry(seconds: u32) -> Properties {
    let value = PropertyValue::FourByte(seconds);
    Properties::default().with(Property::SessionExpiryInterval, value).unwrap()
}

/// The flags of the CONNECT that the client sends on a new link.
fn connect(client: &mut Client) -> u8 {
    client.connect();
    client.output()[9]
}

#[test]
fn an_expiry_of_the_brokers_making_outlasts_failed_attempts() {
    let mut client = online(expiring(0), &connack5(0, &[0x11, 0, 0, 0, 60]));
    client.publish(0, 1, b"");
    client.output();
    for _ in 0..3 {
        client.disconnect();
        assert_eq!(connect(&mut client) & 2, 0, "the session is still there");
    }
    client.receive(&connack5(1, &[]));
    assert_eq!(client.output()[0], 0x3A);
}

#[test]
fn a_broker_that_kept_an_expired_session_has_the_last_word() {
    let mut config = lasting(V5);
    config.session_expiry = 10;
    let mut client = online(config, CK5);
    client.publish(0, 2, b"");
    client.output();
    client.receive(b"\x34\x06\0\x01t\0\x07\0");
    client.output();
    client.disconnect();
    client.pass(20 * SECOND);
    connect(&mut client);
    client.receive(&connack5(1, &[]));
    assert_eq!(client.output()[..7], *b"\x3C\x06\0\x01t\0\x01", "the message it may have");
    client.receive(b"\x3C\x06\0\x01t\0\x07\0");
    assert_eq!(client.messages.len(), 1, "exactly once");
}

#[test]
fn a_session_without_expiry_is_not_resumed() {
    for adopt in [true, false] {
        let mut config = lasting(V5);
        config.adopt_session = adopt;
        let mut client = online(config, &connack5(0, &[0x11, 0, 0, 0, 0]));
        client.publish(0, 1, b"");
        client.output();
        client.disconnect();
        connect(&mut client);
        client.receive(&connack5(1, &[]));
        if adopt {
            assert_eq!(client.output()[0], 0x32, "a message of a session that is gone is new");
            let resumed = client.events.iter().rev().find_map(|event| match event {
                Event::Connected(connected) => Some(connected.resumed),
                _ => None,
            });
            assert_eq!(resumed, Some(false));
        } else {
            assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR, "[MQTT-3.2.2-4]");
        }
    }
}

#[test]
fn the_expiry_of_a_disconnect_counts_once_it_is_sent() {
    let success = ReasonCode::SUCCESS;
    let mut client = online(expiring(60), CK5);
    client.session.disconnect(client.now, success, expiry(10)).unwrap();
    client.output();
    client.disconnect();
    client.pass(11 * SECOND);
    assert_eq!(connect(&mut client) & 2, 2, "ended after 10 s");

    let mut client = online(expiring(60), CK5);
    client.session.disconnect(client.now, success, expiry(10)).unwrap();
    client.disconnect(); // The link went before the DISCONNECT.
    client.pass(11 * SECOND);
    assert_eq!(connect(&mut client) & 2, 0, "the broker knows of 60 s");

    let mut client = online(expiring(60), CK5);
    client.disconnect();
    client.session.disconnect(client.now, success, expiry(10)).unwrap();
    client.poll();
    client.pass(11 * SECOND);
    assert_eq!(connect(&mut client) & 2, 0, "nothing was said");
}

#[test]
fn an_expiry_stays_in_a_disconnect_that_has_to_be_short() {
    let mut client = online(expiring(60), &connack5(0, &[0x27, 0, 0, 0, 9]));
    let text = PropertyValue::Utf8("because");
    let properties = expiry(10).with(Property::ReasonString, text).unwrap();
    client.session.disconnect(client.now, ReasonCode::SUCCESS, properties).unwrap();
    assert_eq!(client.output(), [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 10]);
}

#[test]
fn the_expiry_of_connect_decides_what_disconnect_may_say() {
    // §3.14.2.2.2 speaks of CONNECT, whatever the broker made of it.
    let success = ReasonCode::SUCCESS;
    let mut client = online(expiring(0), &connack5(0, &[0x11, 0, 0, 0, 60]));
    let refused = client.session.disconnect(client.now, success, expiry(10)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::SessionExpiry);
    let mut client = online(expiring(60), &connack5(0, &[0x11, 0, 0, 0, 0]));
    client.session.disconnect(client.now, success, expiry(10)).unwrap();
}

#[test]
fn a_3_1_session_is_resumed_although_connack_cannot_say_so() {
    let mut client = online(lasting(V31), CK3);
    client.session.subscribe(client.now, Ticket::new(9), filters(&["a"])).unwrap();
    client.output();
    client.receive(&[0x90, 3, 0, 1, 0]);
    client.publish(0, 2, b"");
    client.output();
    client.receive(b"\x34\x05\0\x01t\0\x07");
    client.output();
    let again = reconnect(&mut client, CK3);
    assert_eq!(again, b"\x82\x06\0\x03\0\x01a\0\x3C\x05\0\x01t\0\x02");
    client.receive(b"\x3C\x05\0\x01t\0\x07");
    assert_eq!(client.messages.len(), 1);
    let Some(Event::Connected(connected)) =
        client.events.iter().rfind(|event| matches!(event, Event::Connected(_)))
    else {
        panic!()
    };
    assert!(connected.resumed && !connected.session_lost && !connected.session_present);

    let mut client = online(Config::new(V31), CK3);
    client.publish(0, 1, b"");
    client.output();
    assert_eq!(reconnect(&mut client, CK3)[0], 0x32, "a clean session ends with its link");
}

/// A client with one subscription, and with a QoS 2 message of the broker not released.
fn in_doubt(version: midge::codec::Version) -> Client {
    let v5 = version == V5;
    let mut client = online(lasting(version), if v5 { CK5 } else { CK3 });
    client.session.subscribe(client.now, Ticket::new(9), filters(&["a"])).unwrap();
    client.output();
    client.receive(if v5 { &[0x90, 4, 0, 1, 0, 0] } else { &[0x90, 3, 0, 1, 0] });
    client.receive(if v5 { b"\x34\x06\0\x01t\0\x07\0" } else { b"\x34\x05\0\x01t\0\x07" });
    client.output();
    client
}

#[test]
fn a_connack_that_was_lost_may_have_said_that_the_session_is_new() {
    for (version, options) in [(V3, 0), (V5, 0x10)] {
        let v5 = version == V5;
        let mut client = in_doubt(version);
        client.disconnect();
        connect(&mut client); // The broker makes a new session; its CONNACK does not arrive.
        let present: &[u8] = if v5 { &[0x20, 3, 1, 0, 0] } else { &[0x20, 2, 1, 0] };
        let sent = reconnect(&mut client, present);
        assert!(sent.ends_with(&[0, 1, b'a', options]), "asked for again: {sent:x?}");
        // Without DUP it is a new message of the new session.
        let publish = |first: u8| {
            let tail: &[u8] = if v5 { b"\x06\0\x01t\0\x07\0" } else { b"\x05\0\x01t\0\x07" };
            [&[first], tail].concat()
        };
        client.receive(&publish(0x34));
        assert_eq!(client.messages.len(), 2);
        client.receive(&publish(0x34));
        assert_eq!(client.messages.len(), 2, "on the same link it is the same");

        let mut client = in_doubt(version);
        client.disconnect();
        connect(&mut client);
        reconnect(&mut client, present);
        client.receive(&publish(0x3C));
        assert_eq!(client.messages.len(), 1, "with DUP it is the old one");

        let mut client = in_doubt(version);
        client.disconnect();
        connect(&mut client);
        client.receive(if v5 { &[0x20, 3, 0, 0x88, 0] } else { &[0x20, 2, 0, 3] });
        assert!(reconnect(&mut client, present).is_empty(), "a refusal leaves no doubt");
        client.receive(&publish(0x34));
        assert_eq!(client.messages.len(), 1, "not even without the DUP it should have");
    }
}

/// A session that goes on where another process left off with these changes, each for a QoS 2
/// message that was admitted.
fn restored(tickets: u64, changes: &[Change]) -> Client {
    let mut ledger = Ledger::new();
    for ticket in 1..=tickets {
        let mut message = message(b"");
        message.qos = 2.try_into().unwrap();
        ledger.admit(Ticket::new(ticket), message, None);
    }
    ledger.apply(Change::Connected { expiry: u32::MAX });
    for &change in changes {
        ledger.apply(change);
    }
    let mut config = lasting(V3);
    config.durable = true;
    let mut client = Client::new(config.clone());
    client.session = Session::restore(Arc::new(config), "c", 0, client.now, ledger);
    client
}

#[test]
fn mqtt_4_6_0_4_pubrels_of_an_earlier_process_stay_before_later_ones() {
    let ticket = Ticket::new;
    let mut changes = Vec::new();
    for n in 1..=6 {
        let packet_id = PacketId::new(n).unwrap();
        changes.push(Change::Sent { ticket: ticket(n.into()), packet_id });
    }
    changes.extend([6, 1, 2, 3, 5].map(|n| Change::Released { ticket: ticket(n) }));
    changes.extend([6, 1, 2, 3].map(|n| Change::Finished { ticket: ticket(n) }));
    let mut client = restored(6, &changes);
    let present = [0x20, 2, 1, 0];
    let again = reconnect(&mut client, &present);
    assert!(again.starts_with(b"\x62\x02\0\x05"), "{again:?}");
    client.receive(b"\x50\x02\0\x04");
    assert_eq!(client.output(), b"\x62\x02\0\x04");
    assert_eq!(reconnect(&mut client, &present), b"\x62\x02\0\x05\x62\x02\0\x04");
}

#[test]
fn what_was_sent_in_a_lost_session_does_not_expire_in_the_next_process() {
    let mut ledger = Ledger::new();
    let seconds = PropertyValue::FourByte(5);
    for ticket in [1, 2].map(Ticket::new) {
        let mut message = message(b"x");
        message.qos = QoS::AtLeastOnce;
        message.properties =
            Properties::default().with(Property::MessageExpiryInterval, seconds).unwrap();
        ledger.admit(ticket, message, Some(5 * SECOND));
    }
    ledger.apply(Change::Sent { ticket: Ticket::new(1), packet_id: PacketId::MIN });
    ledger.apply(Change::SessionLost);
    let config = Arc::new(lasting(V5));
    let mut client = Client::new(lasting(V5));
    client.session = Session::restore(config, "c", 0, client.now, ledger);
    client.pass(20 * SECOND);
    client.connect();
    client.output();
    client.receive(&connack5(0, &[]));
    // It goes as it was [MQTT-4.3.3-7]; the other was never sent, and is not any more.
    assert_eq!(client.output(), b"\x32\x0C\0\x01t\0\x02\x05\x02\0\0\0\x05x");
    assert_eq!(client.published(), [(2, false)]);
}
