//! Enhanced authentication in virtual time: whose turn it is, on which link, and for how long.

use crate::support::*;

const CONTINUE: &[u8] = b"\xF0\x0A\x18\x08\x15\0\x01M\x16\0\x01a";
const SUCCESS: &[u8] = b"\xF0\x0A\x00\x08\x15\0\x01M\x16\0\x01z";
const ACCEPTED: &[u8] = b"\x20\x07\x00\x00\x04\x15\0\x01M";

fn connecting() -> Client {
    let mut client = Client::new(Config::new(V5));
    client.session.set_authentication("M", Some(b"1"), Properties::new()).unwrap();
    client.connect();
    let connect = client.output();
    assert!(connect.windows(8).any(|window| window == b"\x15\0\x01M\x16\0\x011"));
    client
}

fn authenticated() -> Client {
    let mut client = connecting();
    client.receive(ACCEPTED);
    assert!(client.session.is_connected(), "{:?}", client.events);
    client
}

fn answer(client: &mut Client, data: &[u8]) -> Result<(), RefusedReason> {
    let answered = client.session.authenticate(client.now, Some(data), Properties::new());
    answered.map_err(|refused| refused.reason)
}

fn again(client: &mut Client) -> Result<(), RefusedReason> {
    let asked = client.session.reauthenticate(client.now, Some(b"1"), Properties::new());
    asked.map_err(|refused| refused.reason)
}

#[test]
fn mqtt_3_1_2_30_nothing_but_auth_comes_before_connack() {
    let mut client = connecting();
    client.session.publish(client.now, Ticket::new(1), message(b"x")).unwrap();
    client.session.subscribe(client.now, Ticket::new(2), filters(&["a"])).unwrap();
    client.receive(CONTINUE);
    assert!(matches!(client.events.last(), Some(Event::Authenticate { .. })));
    assert!(client.output().is_empty());
    answer(&mut client, b"2").unwrap();
    assert_eq!(client.output(), b"\xF0\x0A\x18\x08\x15\0\x01M\x16\0\x012");
    client.receive(ACCEPTED);
    assert!(!client.output().is_empty());
}

#[test]
fn all_steps_together_have_the_time_of_a_connack() {
    let mut config = Config::new(V5);
    config.connack_timeout = 10 * SECOND;
    let mut client = Client::new(config);
    client.session.set_authentication("M", None, Properties::new()).unwrap();
    client.connect();
    client.output();
    for _ in 0..4 {
        client.pass(2 * SECOND);
        client.receive(CONTINUE);
        answer(&mut client, b"2").unwrap();
        client.output();
    }
    assert_eq!(client.end(), None);
    client.pass(2 * SECOND);
    assert_eq!(client.end(), Some(&End::ConnAckTimeout));
}

#[test]
fn an_answer_has_its_turn() {
    let mut client = connecting();
    assert!(matches!(answer(&mut client, b"2"), Err(RefusedReason::Authentication(_))));
    client.receive(CONTINUE);
    answer(&mut client, b"2").unwrap();
    assert!(matches!(answer(&mut client, b"3"), Err(RefusedReason::Authentication(_))));
    client.output();
    client.receive(CONTINUE);
    // The broker does not wait for its turn.
    client.receive(CONTINUE);
    assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn mqtt_4_12_1_1_reauthentication_is_one_at_a_time() {
    let mut client = connecting();
    assert!(matches!(again(&mut client), Err(RefusedReason::Authentication(_))));
    client.receive(ACCEPTED);
    again(&mut client).unwrap();
    assert_eq!(client.output(), b"\xF0\x0A\x19\x08\x15\0\x01M\x16\0\x011");
    assert!(matches!(again(&mut client), Err(RefusedReason::Authentication(_))));
    client.receive(SUCCESS);
    assert!(matches!(client.events.last(), Some(Event::Reauthenticated { .. })));
    again(&mut client).unwrap();
    client.output();
    // It ends with its link, and the next one begins with CONNECT.
    client.disconnect();
    assert!(matches!(again(&mut client), Err(RefusedReason::Authentication(_))));
    client.session.set_authentication("M", Some(b"9"), Properties::new()).unwrap();
    client.connect();
    let connect = client.output();
    assert!(connect.windows(8).any(|window| window == b"\x15\0\x01M\x16\0\x019"));
    client.receive(ACCEPTED);
    again(&mut client).unwrap();
}

#[test]
fn what_was_not_sent_on_a_link_is_not_sent_on_the_next() {
    let mut client = authenticated();
    again(&mut client).unwrap();
    client.disconnect();
    client.connect();
    assert_eq!(client.output()[0], 0x10);
    client.receive(ACCEPTED);
    assert!(client.output().is_empty());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut old = Client::new(Config::new(V3));
    let refused = old.session.set_authentication("M", None, Properties::new());
    assert_eq!(refused, Err(RefusedReason::OnlyV5));
    let method = PropertyValue::Utf8("M");
    let with_method = Properties::new().with(Property::AuthenticationMethod, method).unwrap();
    let mut config = Config::new(V5);
    config.connect_properties = with_method.clone();
    let mut twice = Client::new(config);
    let refused = twice.session.set_authentication("M", None, Properties::new());
    assert!(matches!(refused, Err(RefusedReason::Property(_))), "{refused:?}");

    let mut client = connecting();
    client.receive(b"\x20\x0C\x00\x00\x09\x15\0\x01M\x27\0\0\0\x0C");
    let long = client.session.reauthenticate(client.now, Some(b"12"), Properties::new());
    let reason = long.unwrap_err().reason;
    assert_eq!(reason, RefusedReason::TooLarge { size: 13, max: 12 });
    let wrong = client.session.reauthenticate(client.now, None, with_method);
    assert!(matches!(wrong.unwrap_err().reason, RefusedReason::Property(_)));
    again(&mut client).unwrap();
}

#[test]
fn a_connection_without_method_has_nothing_to_repeat() {
    let mut client = online(Config::new(V5), CK5);
    assert!(matches!(again(&mut client), Err(RefusedReason::Authentication(_))));
}

#[test]
fn a_refusal_needs_no_method() {
    let mut client = connecting();
    client.receive(b"\x20\x03\x00\x8C\x00");
    assert!(matches!(client.end(), Some(End::Refused { .. })));
}
