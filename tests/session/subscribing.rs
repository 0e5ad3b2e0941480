//! SUBSCRIBE, UNSUBSCRIBE and the live subscriptions.

use crate::support::*;

fn answers(client: &Client) -> Vec<(u64, Result<Vec<u8>, RequestFailure>)> {
    let answers = client.events.iter().filter_map(|event| match event {
        Event::Subscribed { ticket, result } | Event::Unsubscribed { ticket, result } => {
            let codes = result.clone().map(|r| r.reasons.iter().map(|c| c.code()).collect());
            Some((ticket.get(), codes))
        }
        _ => None,
    });
    answers.collect()
}

#[test]
fn each_filter_gets_its_code() {
    let mut client = online(Config::new(V3), CK3);
    let request = filters(&["a", "b", "c"]);
    client.session.subscribe(client.now, Ticket::new(5), request).unwrap();
    assert_eq!(client.output(), b"\x82\x0e\0\x01\0\x01a\0\0\x01b\0\0\x01c\0");
    client.receive(&[0x90, 5, 0, 9, 0, 0, 0]);
    assert!(answers(&client).is_empty(), "the answer to something else");
    client.receive(&[0x90, 5, 0, 1, 0, 0x80, 2]);
    assert_eq!(answers(&client), [(5, Ok(vec![0, 0x80, 2]))]);
}

#[test]
fn not_one_code_per_filter_is_a_breach() {
    for codes in [&[0][..], &[0, 0, 0]] {
        let mut client = online(Config::new(V3), CK3);
        client.session.subscribe(client.now, Ticket::new(5), filters(&["a", "b"])).unwrap();
        client.output();
        let mut suback = vec![0x90, 2 + codes.len() as u8, 0, 1];
        suback.extend(codes);
        client.receive(&suback);
        assert_eq!(protocol_error(&client), ReasonCode::PROTOCOL_ERROR);
        assert!(answers(&client).is_empty());
    }
}

#[test]
fn an_unanswered_request_fails_in_time_and_its_late_answer_does_no_harm() {
    let mut client = online(Config::new(V3), CK3);
    client.session.subscribe(client.now, Ticket::new(5), filters(&["a"])).unwrap();
    client.output();
    client.pass(30 * SECOND);
    assert_eq!(answers(&client), [(5, Err(RequestFailure::Timeout))]);
    client.receive(&[0x90, 3, 0, 1, 0]);
    assert_eq!(answers(&client).len(), 1);
    assert!(client.end().is_none());
}

#[test]
fn granted_filters_are_subscribed_again_when_the_session_is_lost() {
    let mut client = online(lasting(V3), CK3);
    client.session.subscribe(client.now, Ticket::new(1), filters(&["a", "b", "c"])).unwrap();
    client.output();
    client.receive(&[0x90, 5, 0, 1, 0, 0x80, 2]);
    let request = UnsubscribeRequest {
        filters: vec![TopicFilter::try_from("c").unwrap()],
        ..UnsubscribeRequest::default()
    };
    client.session.unsubscribe(client.now, Ticket::new(2), request).unwrap();
    assert_eq!(client.output(), b"\xA2\x05\0\x02\0\x01c");
    client.receive(&[0xB0, 2, 0, 2]);
    client.publish(3, 1, b"");
    assert!(reconnect(&mut client, &[0x20, 2, 1, 0])[0] == 0x3A, "kept: nothing to do");
    let again = reconnect(&mut client, CK3);
    assert_eq!(again[..8], *b"\x82\x06\0\x04\0\x01a\0", "{again:x?}");
    assert_eq!(again[8], 0x32, "before the messages");
    client.receive(&[0x90, 3, 0, 4, 0]);
    assert!(matches!(client.events.last(), Some(Event::Resubscribed { reasons })
        if reasons[0].1 == ReasonCode::SUCCESS));
    assert_eq!(answers(&client).len(), 2);
}

#[test]
fn a_request_without_an_answer_is_asked_again_on_the_next_link() {
    let mut client = online(lasting(V3), CK3);
    client.session.subscribe(client.now, Ticket::new(1), filters(&["a"])).unwrap();
    client.output();
    let again = reconnect(&mut client, &[0x20, 2, 1, 0]);
    assert_eq!(again, b"\x82\x06\0\x02\0\x01a\0");
    client.receive(&[0x90, 3, 0, 2, 1]);
    assert_eq!(answers(&client), [(1, Ok(vec![1]))]);
}

#[test]
fn what_the_broker_does_not_have_is_not_asked_for() {
    let client = &mut online(Config::new(V5), &connack5(0, &[0x28, 0, 0x29, 0, 0x2A, 0]));
    for (ticket, filter) in ["a/+", "$share/g/a"].into_iter().enumerate() {
        let ticket = Ticket::new(ticket as u64);
        client.session.subscribe(client.now, ticket, filters(&[filter])).unwrap();
    }
    let mut request = filters(&["a"]);
    let value = PropertyValue::VariableByte(7);
    request.properties.push(Property::SubscriptionIdentifier, value).unwrap();
    client.session.subscribe(client.now, Ticket::new(2), request).unwrap();
    assert!(client.output().is_empty());
    assert!(answers(client).iter().all(|(_, r)| matches!(r, Err(RequestFailure::NotSupported(_)))));
    assert_eq!(answers(client).len(), 3);
}

#[test]
fn wrong_requests_are_given_back() {
    let mut client = Client::new(Config::new(V5));
    let refused = client.session.subscribe(client.now, Ticket::new(0), filters(&[]));
    assert_eq!(refused.unwrap_err().reason, RefusedReason::NoFilter);
    let mut request = filters(&["$share/g/a"]);
    request.filters[0].1.no_local = true;
    let refused = client.session.subscribe(client.now, Ticket::new(0), request);
    assert!(matches!(refused.unwrap_err().reason, RefusedReason::NoLocalShared(_)));
}
