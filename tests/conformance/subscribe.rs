//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (§3.8 to §3.11).

use midge::codec::RetainHandling;

use crate::kit::*;
use crate::peers::Broker;

tests! {
    ["3.8.1-1"] ["3.8.1-1"] subscribe_has_its_flags,
    ["3.8.3-1"] ["3.8.3-1"] filters_are_strings,
    ["3.8.3-3"] ["3.8.3-2"] subscribe_has_a_filter,
    [] ["3.8.3-3"] no_local_keeps_own_messages_away,
    [] ["3.8.3-4"] no_local_is_not_for_shared_subscriptions,
    ["3.8.3-4"] ["3.8.3-5"] options_have_no_reserved_bits,
    [] ["§3.8.2.1.2"] a_subscription_identifier_is_not_zero,
    ["3.8.4-2", "3.9.3-1"] ["3.8.4-2", "3.9.3-1"] codes_are_those_of_the_filters_in_their_order,
    ["3.8.4-3"] ["3.8.4-3", "3.8.4-4"] a_subscription_is_replaced,
    ["3.8.4-5"] ["3.8.4-6"] there_is_one_code_for_each_filter,
    ["3.9.3-2"] ["3.9.3-2"] suback_has_listed_codes,
    [] ["3.9.2-1", "3.9.2-2", "3.11.2-1", "3.11.2-2"] what_is_too_large_is_refused_with_its_text,
    ["§3.8.4"] ["§3.8.4"] messages_before_suback_are_taken,
    ["3.10.1-1"] ["3.10.1-1"] unsubscribe_has_its_flags,
    ["3.10.3-1", "3.10.3-2"] ["3.10.3-1", "3.10.3-2"] unsubscribe_has_a_filter_that_is_a_string,
    ["3.10.4-1"] ["3.10.4-1"] a_filter_is_unsubscribed_as_it_was_subscribed,
    ["3.10.4-3"] ["3.10.4-3"] what_has_begun_is_finished_after_unsuback,
    ["3.10.4-4", "3.10.4-5"] ["3.10.4-4", "3.10.4-5"] unsuback_answers_its_request,
    [] ["3.11.3-1", "3.11.3-2"] unsuback_has_a_listed_code_for_each_filter,
}

/// A client whose request has gone out, as identifier 1.
fn asked(version: Version, names: &[&str]) -> Client {
    let mut client = connected(version);
    subscribe(&mut client, 0, filters(names));
    client.output();
    client
}

fn unasked(version: Version, names: &[&str]) -> Client {
    let mut client = connected(version);
    let filters = names.iter().map(|name| TopicFilter::try_from(*name).unwrap()).collect();
    let request = UnsubscribeRequest { filters, properties: Properties::default() };
    client.session.unsubscribe(client.now, Ticket::new(0), request).unwrap();
    client.output();
    client
}

fn suback(version: Version, codes: &[u8]) -> Vec<u8> {
    framed(0x90, &[b"\0\x01", none(version), codes].concat())
}

fn unsuback(version: Version, codes: &[u8]) -> Vec<u8> {
    framed(0xB0, &[b"\0\x01", none(version), codes].concat())
}

fn subscribe_has_its_flags(version: Version) {
    let mut client = connected(version);
    subscribe(&mut client, 0, filters(&["a"]));
    assert_eq!(client.output()[0], 0x82);
}

fn filters_are_strings(version: Version) {
    for filter in ["", "a\0b", &*"a".repeat(65_536)] {
        assert!(TopicFilter::try_from(filter).is_err());
    }
    let mut client = connected(version);
    subscribe(&mut client, 0, filters(&["é/\u{1F980}"]));
    let sent = client.output();
    assert!(sent.windows(9).any(|bytes| bytes == "\0\u{7}é/\u{1F980}".as_bytes()));
}

fn subscribe_has_a_filter(version: Version) {
    let mut client = connected(version);
    let refused = client.session.subscribe(client.now, Ticket::new(0), filters(&[])).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NoFilter);
    assert_eq!(client.output(), b"");
}

fn no_local_keeps_own_messages_away(version: Version) {
    let no_local =
        SubscribeOptions { no_local: true, qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let filter = TopicFilter::try_from("a").unwrap();
    let mut client = connected(version);
    subscribe(
        &mut client,
        0,
        SubscribeRequest { filters: vec![(filter, no_local)], ..filters(&[]) },
    );
    assert!(client.output().ends_with(b"\0\x01a\x05"));
    let Some(broker) = Broker::with_config("allow_anonymous true\nset_tcp_nodelay true\n") else {
        return;
    };
    block_on(async {
        let connect = |id: &str| {
            let builder = midge::Client::builder(&broker.url()).unwrap().version(version);
            builder.client_id(id).start().unwrap()
        };
        let ((client, _inbox), (other, _other_inbox)) = (connect("one"), connect("two"));
        let mut stream = client.subscribe("a").options(no_local).await.unwrap();
        client.publish("a", "own").qos(QoS::AtLeastOnce).await.unwrap();
        other.publish("a", "other").qos(QoS::AtLeastOnce).await.unwrap();
        assert_eq!(stream.next().await.unwrap().payload(), "other");
    });
}

fn no_local_is_not_for_shared_subscriptions(version: Version) {
    let options = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    let filter = TopicFilter::try_from("$share/g/a").unwrap();
    let mut client = connected(version);
    let request = SubscribeRequest { filters: vec![(filter.clone(), options)], ..filters(&[]) };
    let refused = client.session.subscribe(client.now, Ticket::new(0), request).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NoLocalShared(filter));
    assert_eq!(client.output(), b"");
}

fn options_have_no_reserved_bits(version: Version) {
    let option = |client: &mut Client, options| {
        let filter = TopicFilter::try_from("a").unwrap();
        let request = SubscribeRequest { filters: vec![(filter, options)], ..filters(&[]) };
        subscribe(client, 0, request);
        *client.output().last().unwrap()
    };
    for qos in 0..3_u8 {
        let options = SubscribeOptions::from(QoS::try_from(qos).unwrap());
        assert_eq!(option(&mut connected(version), options), qos);
        if !v5(version) {
            continue;
        }
        let handling =
            [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        for (bits, retain_handling) in handling.into_iter().enumerate() {
            for (no_local, retain_as_published) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let expected = qos
                    | u8::from(no_local) << 2
                    | u8::from(retain_as_published) << 3
                    | (bits as u8) << 4;
                let options =
                    SubscribeOptions { no_local, retain_as_published, retain_handling, ..options };
                assert_eq!(option(&mut connected(version), options), expected);
            }
        }
    }
}

fn a_subscription_identifier_is_not_zero(version: Version) {
    let zero = PropertyValue::VariableByte(0);
    assert!(Properties::default().push(Property::SubscriptionIdentifier, zero).is_err());
    let row = publish_with(version, 0x30, "t", 0, b"\x0B\0", b"bad");
    breach_in(version, || connected(version), &row, 0x82);
    // A SUBSCRIBE has one of them.
    let value = PropertyValue::VariableByte(1);
    let two = property(Property::SubscriptionIdentifier, value)
        .with(Property::SubscriptionIdentifier, value);
    let Ok(properties) = two else { return };
    let request = SubscribeRequest { properties, ..filters(&["a"]) };
    let mut client = connected(version);
    client.session.subscribe(client.now, Ticket::new(0), request).unwrap_err();
}

fn codes_are_those_of_the_filters_in_their_order(version: Version) {
    let codes = [0, 0x80, 2];
    let mut client = asked(version, &["a", "b", "c"]);
    client.receive(&suback(version, &codes));
    assert_eq!(answer(&client, 0), Some(Ok(codes.to_vec())));
    // The refused one is not asked for again when the session is lost.
    let sent = reconnect(&mut client, accepting(version));
    let again = packets(&sent);
    assert_eq!(again.len(), 1);
    assert!(again[0].windows(3).any(|bytes| bytes == b"\0\x01a"));
    assert!(again[0].windows(3).any(|bytes| bytes == b"\0\x01c"));
    assert!(!again[0].windows(3).any(|bytes| bytes == b"\0\x01b"));
}

fn a_subscription_is_replaced(version: Version) {
    let mut client = asked(version, &["a"]);
    client.receive(&suback(version, &[0]));
    client.receive(&publish(version, 0x31, "a", 0, b"retained"));
    let filter = TopicFilter::try_from("a").unwrap();
    let request =
        SubscribeRequest { filters: vec![(filter, QoS::ExactlyOnce.into())], ..filters(&[]) };
    subscribe(&mut client, 1, request);
    let id = id_of(&client.output());
    client.receive(&framed(0x90, &[&id.to_be_bytes(), none(version), &[2]].concat()));
    client.receive(&publish(version, 0x31, "a", 0, b"retained"));
    assert_eq!(client.messages.len(), 2, "retained messages may come again");
    let sent = reconnect(&mut client, accepting(version));
    let last = *sent.last().unwrap();
    assert_eq!((packets(&sent).len(), last & 3), (1, 2), "the latest options count");
}

fn there_is_one_code_for_each_filter(version: Version) {
    let three = || asked(version, &["a", "b", "c"]);
    for count in [0, 1, 2, 4, 100] {
        breach_in(version, three, &suback(version, &vec![0; count]), 0x82);
    }
}

fn suback_has_listed_codes(version: Version) {
    let listed: &[u8] = pick(
        version,
        &[0, 1, 2, 0x80],
        &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
    );
    for code in 0..=255 {
        if listed.contains(&code) {
            // A grant above what was asked for is the broker's affair.
            let mut client = asked(version, &["a"]);
            client.receive(&suback(version, &[code]));
            assert_eq!(answer(&client, 0), Some(Ok(vec![code])));
            assert!(client.session.is_connected());
        } else {
            breach_in(version, || asked(version, &["a"]), &suback(version, &[code]), 0x82);
        }
    }
}

fn what_is_too_large_is_refused_with_its_text(version: Version) {
    // A broker leaves reason string and user properties out where they do not fit.
    let config = Config { maximum_packet_size: 32, ..Config::new(version) };
    let make = || {
        let mut client = online(config.clone(), accepting(version));
        subscribe(&mut client, 0, filters(&["a"]));
        client.output();
        client
    };
    for first in [0x90, 0xB0] {
        for text in [
            [b"\x1F\0\x20", &[b'x'; 32][..]].concat(),
            [b"\x26\0\x01k\0\x20", &[b'x'; 32][..]].concat(),
        ] {
            let body = [b"\0\x01", &[text.len() as u8][..], &text, &[0]].concat();
            breach_in(version, make, &framed(first, &body), 0x95);
        }
    }
    let mut client = make();
    client.receive(b"\x90\x08\0\x01\x04\x1F\0\x01r\0");
    assert_eq!(answer(&client, 0), Some(Ok(vec![0])));
}

fn messages_before_suback_are_taken(version: Version) {
    let mut client = asked(version, &["a"]);
    client.receive(&publish(version, 0x32, "a", 7, b"early"));
    assert_eq!(client.output(), ack(0x40, 7));
    client.receive(&suback(version, &[1]));
    assert_eq!(client.messages, [(1, b"early".to_vec())]);
    assert_eq!(answer(&client, 0), Some(Ok(vec![1])));
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        let subscribed = tokio::spawn({
            let client = client.clone();
            async move { client.subscribe("a").await.unwrap() }
        });
        let id = id_of(&peer.expect_packet(0x82).await);
        peer.send_bytes(&publish(version, 0x30, "a", 0, b"early")).await;
        let body = [&id.to_be_bytes(), none(version), &[0][..]].concat();
        peer.send_bytes(&framed(0x90, &body)).await;
        assert_eq!(subscribed.await.unwrap().next().await.unwrap().payload(), "early");
    });
}

fn unsubscribe_has_its_flags(version: Version) {
    let mut client = connected(version);
    unsubscribe(&mut client, 0, "a");
    assert_eq!(client.output()[0], 0xA2);
}

fn unsubscribe_has_a_filter_that_is_a_string(version: Version) {
    filters_are_strings(version);
    let mut client = connected(version);
    let none = UnsubscribeRequest::default();
    let refused = client.session.unsubscribe(client.now, Ticket::new(0), none).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::NoFilter);
    assert_eq!(client.output(), b"");
}

fn a_filter_is_unsubscribed_as_it_was_subscribed(version: Version) {
    for filter in ["a//b", "/a", "a/", "A", "é", "e\u{301}", "$share/g/a", " "] {
        let mut client = connected(version);
        subscribe(&mut client, 0, filters(&[filter]));
        unsubscribe(&mut client, 1, filter);
        let sent = packets(&client.output());
        let field = prefixed(filter.as_bytes());
        assert!(sent[0][..sent[0].len() - 1].ends_with(&field), "{filter}");
        assert!(sent[1].ends_with(&field), "{filter}");
    }
}

fn what_has_begun_is_finished_after_unsuback(version: Version) {
    let mut client = asked(version, &["a"]);
    client.receive(&suback(version, &[2]));
    client.receive(&publish(version, 0x34, "a", 7, b"x"));
    client.publish(5, 2, b"up");
    unsubscribe(&mut client, 1, "a");
    let sent = packets(&client.output());
    let id = id_of(sent.iter().find(|packet| packet[0] == 0xA2).unwrap());
    let up = id_of(sent.iter().find(|packet| packet[0] == 0x34).unwrap());
    let codes = pick(version, &b""[..], &[0]);
    client.receive(&framed(0xB0, &[&id.to_be_bytes(), none(version), codes].concat()));
    client.receive(&ack(0x62, 7));
    client.receive(&ack(0x50, up));
    assert_eq!(client.output(), [ack(0x70, 7), ack(0x62, up)].concat());
    client.receive(&ack(0x70, up));
    assert_eq!(client.published(), [(5, true)]);
}

fn unsuback_answers_its_request(version: Version) {
    let mut client = unasked(version, &["a"]);
    client.receive(&unsuback(version, pick(version, &[], &[0x11])));
    assert_eq!(answer(&client, 0), Some(Ok(pick(version, vec![], vec![0x11]))));
    if !v5(version) {
        // Its body is two bytes, no more.
        breach_in(version, || unasked(version, &["a"]), b"\xB0\x03\0\x01\0", 0x81);
    }
    breach_in(version, || unasked(version, &["a"]), b"\xB0\x01\x01", 0x81);
}

fn unsuback_has_a_listed_code_for_each_filter(version: Version) {
    let listed = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    for code in 0..=255 {
        let row = unsuback(version, &[0, code]);
        if listed.contains(&code) {
            let mut client = unasked(version, &["a", "b"]);
            client.receive(&row);
            assert_eq!(answer(&client, 0), Some(Ok(vec![0, code])));
        } else {
            breach_in(version, || unasked(version, &["a", "b"]), &row, 0x82);
        }
    }
    for count in [0, 1, 3] {
        let row = unsuback(version, &vec![0; count]);
        breach_in(version, || unasked(version, &["a", "b"]), &row, 0x82);
    }
    // One that the broker refused stays subscribed.
    let mut client = asked(version, &["a"]);
    client.receive(&suback(version, &[0]));
    unsubscribe(&mut client, 1, "a");
    let id = id_of(&client.output());
    client.receive(&framed(0xB0, &[&id.to_be_bytes()[..], &[0, 0x87]].concat()));
    assert_eq!(kinds(&reconnect(&mut client, accepting(version))), [0x82]);
}
