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

/// A client with granted subscriptions to these filters.
fn subscribed(config: Config, connack: &[u8], names: &[&str]) -> Client {
    let mut client = online(config, connack);
    client.session.subscribe(client.now, Ticket::new(1000), filters(names)).unwrap();
    let sent = client.output();
    let id = if sent[1] < 128 { [sent[2], sent[3]] } else { [sent[3], sent[4]] };
    let v5 = client.session.config().version == V5;
    let mut suback = vec![0x90, 2 + u8::from(v5) + names.len() as u8, id[0], id[1]];
    suback.extend(v5.then_some(0));
    suback.extend(names.iter().map(|_| 0));
    client.receive(&suback);
    assert_eq!(client.session.unfinished_count(), 0);
    client
}

#[test]
fn subscriptions_that_could_not_be_restored_are_restored_on_the_next_link() {
    for written in [true, false] {
        let mut client = subscribed(lasting(V3), CK3, &["a"]);
        client.disconnect();
        client.connect();
        client.output();
        client.receive(CK3); // The broker has lost the session, and the link goes before SUBACK.
        if written {
            assert_eq!(client.output()[..2], [0x82, 6]);
        }
        // It has a session all the same, though one without subscriptions.
        let again = reconnect(&mut client, &[0x20, 2, 1, 0]);
        assert_eq!(again.get(4..), Some(&b"\0\x01a\0"[..]), "still deaf");
        client.receive(&[0x90, 3, again[2], again[3], 0]);
        assert!(reconnect(&mut client, &[0x20, 2, 1, 0]).is_empty(), "once is enough");
    }
}

#[test]
fn a_restored_subscription_that_timed_out_is_tried_again_on_the_next_link() {
    let mut client = subscribed(lasting(V3), CK3, &["a"]);
    reconnect(&mut client, CK3);
    client.pass(30 * SECOND);
    assert!(matches!(client.events.last(), Some(Event::Resubscribed { reasons })
        if reasons[0].1.is_error()));
    assert_eq!(reconnect(&mut client, &[0x20, 2, 1, 0])[0], 0x82);
}

#[test]
fn restored_subscriptions_are_split_as_the_broker_needs_it() {
    let names: Vec<String> = (0..10).map(|n| format!("filter/{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["x/+"]).collect();
    let mut client = subscribed(lasting(V5), CK5, &names);
    let again = reconnect(&mut client, &connack5(0, &[0x27, 0, 0, 0, 40, 0x28, 0]));
    let mut rest = &again[..];
    let mut asked = 0;
    while let [0x82, length, tail @ ..] = rest {
        assert!(*length <= 38);
        let (packet, tail) = tail.split_at(usize::from(*length));
        asked += (packet.len() - 3) / 11;
        rest = tail;
    }
    assert_eq!((asked, rest.len()), (10, 0), "all but the wildcard");
    let Some(Event::Resubscribed { reasons }) = client.events.last() else { panic!() };
    assert_eq!(reasons.len(), 1);
    assert_eq!(&*reasons[0].0, "x/+");
}

#[test]
fn an_unsubscribe_outlives_the_session_it_was_meant_for() {
    let mut client = subscribed(lasting(V3), CK3, &["a", "b"]);
    let request = UnsubscribeRequest {
        filters: vec![TopicFilter::try_from("a").unwrap()],
        ..UnsubscribeRequest::default()
    };
    client.session.unsubscribe(client.now, Ticket::new(2), request).unwrap();
    client.output();
    let mut again = filters(&["b"]);
    again.filters[0].1.qos = QoS::AtLeastOnce;
    client.session.subscribe(client.now, Ticket::new(3), again).unwrap();
    client.output();
    // Neither is answered; the session is lost: first what was, then what is wished.
    let sent = reconnect(&mut client, CK3);
    let ids = [[sent[2], sent[3]], [sent[14], sent[15]], [sent[21], sent[22]]];
    assert_eq!(sent[4..12], *b"\0\x01a\0\0\x01b\0");
    assert_eq!(sent[12..14], [0xA2, 5]);
    assert_eq!(sent[16..19], *b"\0\x01a");
    assert_eq!(sent[23..], *b"\0\x01b\x01");
    client.receive(&[0x90, 4, ids[0][0], ids[0][1], 0, 0]);
    client.receive(&[0xB0, 2, ids[1][0], ids[1][1], 0x90, 3, ids[2][0], ids[2][1], 1]);
    assert_eq!(client.session.unfinished_count(), 0);
    let sent = reconnect(&mut client, CK3);
    assert_eq!(sent[4..], *b"\0\x01b\x01", "only what is wished for");
}

#[test]
fn answers_in_any_order_find_their_requests() {
    let mut client = online(Config::new(V3), CK3);
    for ticket in 0..2000 {
        client.session.subscribe(client.now, Ticket::new(ticket), filters(&["a"])).unwrap();
    }
    client.output();
    for id in (1..=2000u16).rev() {
        let [high, low] = id.to_be_bytes();
        client.receive(&[0x90, 3, high, low, 0]);
    }
    let expected: Vec<_> = (0..2000).rev().map(|ticket| (ticket, Ok(vec![0]))).collect();
    assert_eq!(answers(&client), expected);
}
