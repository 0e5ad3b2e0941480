//! AUTH and enhanced authentication (§3.15, §4.12).

use crate::kit::*;

tests! {
    [] ["4.12.0-6"] authentication_that_was_not_asked_for_is_refused,
    [] ["4.12.0-7"] without_a_method_there_is_no_auth,
    [] ["3.15.1-1"] auth_has_no_flags,
    [] ["3.1.2-30"] nothing_but_auth_and_disconnect_comes_before_connack,
    [] ["3.15.2-1"] auth_has_a_reason_of_its_own,
    [] ["3.15.2-2", "3.15.2-3"] words_that_make_auth_too_large_are_left_out,
    [] ["4.12.0-2", "4.12.0-3"] a_challenge_is_answered_with_continue,
    [] ["4.12.0-5"] the_method_is_that_of_connect,
    [] ["4.12.1-1"] reauthentication_has_the_method_of_connect,
    [] ["4.12.1-2"] a_reauthentication_that_fails_ends_the_connection,
}

const CHALLENGE: &str = "F0 0A 18 08 15 0001 'm' 16 0001 'a'";
const ACCEPTED: &[u8] = b"\x20\x07\0\0\x04\x15\0\x01m";

/// A client whose CONNECT, with an authentication method, is sent.
fn authenticating() -> Client {
    let mut client = Client::new(Config::new(V5));
    client.session.set_authentication("m", Some(b"1"), Properties::new()).unwrap();
    client.connect();
    let connect = client.output();
    assert!(connect.windows(8).any(|window| window == b"\x15\0\x01m\x16\0\x011"));
    client
}

/// The same, with its connection accepted.
fn authenticated() -> Client {
    let mut client = authenticating();
    client.receive(ACCEPTED);
    assert!(client.session.is_connected());
    client
}

fn nothing_but_auth_and_disconnect_comes_before_connack(_: Version) {
    let mut client = authenticating();
    client.session.publish(client.now, Ticket::new(1), message(b"x")).unwrap();
    client.session.subscribe(client.now, Ticket::new(2), filters(&["a"])).unwrap();
    client.receive(&bytes(CHALLENGE));
    assert!(client.output().is_empty());
    client.session.authenticate(client.now, Some(b"2"), Properties::new()).unwrap();
    assert_eq!(client.output()[0], 0xF0);
    let reason = ReasonCode::UNSPECIFIED_ERROR;
    client.session.disconnect(client.now, reason, Properties::new()).unwrap();
    assert_eq!(client.output(), b"\xE0\x01\x80");
}

fn auth_has_a_reason_of_its_own(version: Version) {
    for reason in ["01", "19", "80", "87", "FF"] {
        let row = bytes(&format!("F0 06 {reason} 04 15 0001 'm'"));
        breach_in(version, authenticating, &row, 0x82);
        breach_in(version, authenticated, &row, 0x82);
    }
}

fn words_that_make_auth_too_large_are_left_out(_: Version) {
    let words = property(Property::ReasonString, PropertyValue::Utf8("why"))
        .with(Property::UserProperty, PropertyValue::Pair("k", "v"))
        .unwrap();
    for (maximum, words_fit) in [(25, true), (24, false)] {
        let mut client = authenticating();
        client.receive(&[b"\x20\x0C\0\0\x09\x15\0\x01m\x27\0\0\0".as_slice(), &[maximum]].concat());
        client.session.reauthenticate(client.now, Some(b"1"), words.clone()).unwrap();
        let auth = client.output();
        assert_eq!(auth.ends_with(b"v"), words_fit, "{auth:02X?}");
        assert_eq!(auth.len(), if words_fit { 25 } else { 12 });
    }
}

fn a_challenge_is_answered_with_continue(_: Version) {
    let mut client = authenticating();
    client.receive(&bytes(CHALLENGE));
    client.session.authenticate(client.now, Some(b"2"), Properties::new()).unwrap();
    assert_eq!(client.output(), bytes("F0 0A 18 08 15 0001 'm' 16 0001 '2'"));
}

fn the_method_is_that_of_connect(version: Version) {
    let accepted = |method: &str| bytes(&format!("20 07 00 00 04 15 0001 '{method}'"));
    breach_in(version, authenticating, &bytes("F0 0A 18 08 15 0001 'n' 16 0001 'a'"), 0x82);
    breach_in(version, authenticating, &bytes("F0 02 18 00"), 0x82);
    breach_in(version, authenticating, &accepted("n"), 0x82);
    breach_in(version, authenticating, &bytes("20 03 00 00 00"), 0x82);
    let mut client = authenticating();
    client.receive(&accepted("m"));
    assert!(client.session.is_connected());
}

fn reauthentication_has_the_method_of_connect(version: Version) {
    let mut client = authenticated();
    client.session.reauthenticate(client.now, Some(b"1"), Properties::new()).unwrap();
    assert_eq!(client.output(), bytes("F0 0A 19 08 15 0001 'm' 16 0001 '1'"));
    // The broker does not begin it.
    breach_in(version, authenticated, &bytes(CHALLENGE), 0x82);
}

fn a_reauthentication_that_fails_ends_the_connection(_: Version) {
    let mut client = authenticated();
    client.session.reauthenticate(client.now, Some(b"1"), Properties::new()).unwrap();
    client.receive(&bytes("E0 01 87"));
    assert!(matches!(client.end(), Some(End::ServerDisconnect { .. })));
    assert!(!client.session.is_connected());
}

fn authentication_that_was_not_asked_for_is_refused(version: Version) {
    for row in ["F0 00", "F0 02 18 00", "F0 06 18 04 15 0001 'm'"] {
        breach(version, row, 0x82);
        breach_in(version, || connecting(Config::new(version)), &bytes(row), 0x82);
    }
    let connack = connack5(0, b"\x15\0\x01m");
    breach_in(version, || connecting(Config::new(version)), &connack, 0x82);
}

fn without_a_method_there_is_no_auth(version: Version) {
    let mut client = connected(version);
    let none = Properties::new;
    assert!(client.session.reauthenticate(client.now, Some(b"1"), none()).is_err());
    assert!(client.session.authenticate(client.now, Some(b"1"), none()).is_err());
    assert!(client.output().is_empty());
    let data = property(Property::AuthenticationData, PropertyValue::Binary(b"d"));
    let config = Config { connect_properties: data, ..Config::new(version) };
    assert!(config.check("c").is_err(), "data without a method");
}

fn auth_has_no_flags(version: Version) {
    for flags in 1..16 {
        breach_in(version, || connected(version), &[0xF0 | flags, 0], 0x81);
    }
}
