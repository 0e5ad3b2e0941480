//! CONNACK (§3.2).

use crate::kit::*;

tests! {
    ["3.2.0-1"] ["3.2.0-1", "3.14.0-1"] connack_is_the_brokers_first_packet,
    [] ["3.2.0-2"] a_connection_has_one_connack,
    ["§3.2.2.1"] ["3.2.2-1"] reserved_acknowledge_flags_are_refused,
    ["3.2.2-1"] ["3.2.2-2"] a_clean_start_has_no_session_present,
    ["3.2.2-2", "3.2.2-3"] ["3.2.2-3"] session_present_says_whether_there_is_state,
    ["§3.2.2.2"] ["3.2.2-4"] a_session_that_is_not_known_here_is_refused,
    ["§3.2.2.2"] ["3.2.2-5"] a_session_that_the_broker_lost_is_lost_here_too,
    ["3.2.2-4", "3.2.2-5"] ["3.2.2-6", "3.2.2-7"] a_refusal_ends_the_connection,
    ["3.2.2-6"] ["3.2.2-8"] every_code_is_understood_or_refused,
    [] ["3.2.2-9", "3.2.2-11"] nothing_is_published_above_the_maximum_qos,
    [] ["3.2.2-12", "3.2.2-13"] a_refused_will_is_told,
    [] ["3.2.2-14"] nothing_is_retained_where_that_is_not_available,
    [] ["3.2.2-16"] an_assigned_client_identifier_is_adopted,
    [] ["3.2.2-17", "3.2.2-18", "3.3.2-9"] aliases_stay_within_the_brokers_maximum,
    [] ["§3.2.2.3"] unavailable_subscriptions_are_not_asked_for,
    [] ["§3.2.2.3.2"] the_brokers_session_expiry_replaces_ours,
}

fn connack_is_the_brokers_first_packet(version: Version) {
    let make = || connecting(Config::new(version));
    let suback = framed(0x90, &[b"\0\x01", none(version), &[0]].concat());
    for first in [
        publish(version, 0x30, "t", 0, b"bad"),
        publish(version, 0x32, "t", 1, b"bad"),
        b"\xD0\0".to_vec(),
        suback,
        ack(0x40, 1),
        ack(0x62, 1),
    ] {
        breach_in(version, make, &first, 0x82);
    }
    if v5(version) {
        // Not allowed, and yet the best explanation that there is: it is told, not blamed.
        let mut client = make();
        client.receive(b"\xE0\x01\x8B");
        let Some(End::ServerDisconnect { reason, .. }) = client.end() else { panic!() };
        assert_eq!(*reason, ReasonCode::SERVER_SHUTTING_DOWN);
        assert_eq!(client.output(), b"");
        breach_in(version, make, b"\xF0\0", 0x82);
    } else {
        breach_in(version, make, b"\xE0\0", 0x82);
    }
    // Silence is not an answer either.
    let mut client = make();
    client.pass(31 * SECOND);
    assert_eq!(client.end(), Some(&End::ConnAckTimeout));
}

fn a_connection_has_one_connack(version: Version) {
    breach_in(version, || connected(version), accepting(version), 0x82);
    breach_in(V3, || connected(V3), accepting(V3), 0x82);
    breach_in(version, || connected(version), b"\x20\x03\0\x87\0", 0x82);
}

fn reserved_acknowledge_flags_are_refused(version: Version) {
    for bit in 1..8 {
        let mut connack = accepting(version).to_vec();
        connack[2] = 1 << bit;
        let make = || connecting(Config::new(version));
        if version == V31 {
            // 3.1 §3.2 reserves the whole byte without giving it a value.
            let mut client = make();
            client.receive(&connack);
            assert!(client.session.is_connected());
        } else {
            breach_in(version, make, &connack, 0x81);
        }
    }
}

fn a_clean_start_has_no_session_present(version: Version) {
    if version != V31 {
        breach_in(version, || connecting(Config::new(version)), resuming(version), 0x82);
    }
}

fn connected_event(client: &Client) -> &midge::session::Connected {
    let found = client.events.iter().rev().find_map(|event| match event {
        Event::Connected(connected) => Some(&**connected),
        _ => None,
    });
    found.unwrap()
}

fn session_present_says_whether_there_is_state(version: Version) {
    let mut client = kept(version);
    let event = connected_event(&client);
    assert_eq!((event.session_present, event.session_lost), (false, false));
    reconnect(&mut client, resuming(version));
    let event = connected_event(&client);
    assert_eq!((event.session_present, event.resumed), (version != V31, true));
    if version != V31 {
        reconnect(&mut client, accepting(version));
        let event = connected_event(&client);
        assert_eq!((event.session_present, event.session_lost), (false, true));
    }
}

fn a_session_that_is_not_known_here_is_refused(version: Version) {
    if version == V31 {
        return; // Its CONNACK cannot say that there is one.
    }
    let config = |adopt_session| Config { adopt_session, ..lasting(version) };
    breach_in(version, || connecting(config(false)), resuming(version), 0x82);
    // A tool that was started again means to go on with what the broker kept: it says so.
    let mut client = connecting(config(true));
    client.receive(resuming(version));
    assert!(client.session.is_connected());
    assert!(!connected_event(&client).resumed);
    client.receive(&publish(version, 0x3A, "t", 1, b"kept"));
    assert_eq!(client.messages, [(1, b"kept".to_vec())]);
}

fn a_session_that_the_broker_lost_is_lost_here_too(version: Version) {
    if version == V31 {
        return;
    }
    for on_session_loss in [SessionLoss::Fail, SessionLoss::Republish] {
        let config = Config { on_session_loss, ..lasting(version) };
        let mut client = online(config, accepting(version));
        subscribe(&mut client, 0, filters(&["a"]));
        let id = id_of(&client.output());
        client.receive(&framed(0x90, &[&id.to_be_bytes(), none(version), &[0]].concat()));
        client.publish(1, 1, b"one");
        client.publish(2, 2, b"two");
        let two = id_of(&packets(&client.output())[1]);
        client.receive(&ack(0x50, two));
        client.receive(&publish(version, 0x34, "t", 9, b"in"));
        client.output();
        let sent = reconnect(&mut client, accepting(version));
        assert!(connected_event(&client).session_lost);
        match on_session_loss {
            SessionLoss::Fail => {
                assert_eq!(kinds(&sent), [0x82], "subscribed again, and nothing is sent again");
                let lost = Some(&Err(PublishFailure::Lost { maybe_delivered: true }));
                assert_eq!((outcome(&client, 1), outcome(&client, 2)), (lost, lost));
            }
            _ => assert_eq!(kinds(&sent), [0x82, 0x32, 0x34], "as new messages"),
        }
        client.receive(&publish(version, 0x34, "t", 9, b"in"));
        assert_eq!(client.messages.len(), 2, "an identifier of another session");
    }
}

fn a_refusal_ends_the_connection(version: Version) {
    for refusal in pick(
        version,
        [[0x20, 2, 0, 5, 0], [0x20, 2, 1, 5, 0]],
        [[0x20, 3, 0, 0x87, 0], [0x20, 3, 1, 0x87, 0]],
    ) {
        let length = usize::from(refusal[1]) + 2;
        let mut client = connecting(Config::new(version));
        client.receive(&refusal[..length]);
        let Some(End::Refused { reason, .. }) = client.end() else { panic!("{:?}", client.end()) };
        assert_eq!(*reason, ReasonCode::NOT_AUTHORIZED);
        assert_eq!(client.end().unwrap().initiator(), Initiator::Remote);
        assert_eq!(client.output(), b"", "nothing is said to who has refused to listen");
    }
    // Whether the broker closes or not, the client does.
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept_with(pick(version, "20 02 00 05", "20 03 00 87 00")).await;
        peer.expect_end().await;
        drop(peer);
        client.connected().await.unwrap_err();
    });
}

fn every_code_is_understood_or_refused(version: Version) {
    for code in 0..=255_u8 {
        let mut client = connecting(Config::new(version));
        let mut connack = accepting(version).to_vec();
        connack[3] = code;
        client.receive(&connack);
        let end = client.end();
        match code {
            0 => assert!(client.session.is_connected()),
            1..=5 if !v5(version) => {
                let Some(End::Refused { reason, .. }) = end else { panic!("{code}: {end:?}") };
                let translated = [0, 0x84, 0x85, 0x88, 0x86, 0x87][usize::from(code)];
                assert_eq!(reason.code(), translated, "the code of the same meaning");
            }
            0x80.. if v5(version) => {
                let Some(End::Refused { reason, .. }) = end else { panic!("{code}: {end:?}") };
                assert_eq!(reason.code(), code, "told as it is, known or not");
            }
            _ => assert_eq!(protocol_error(&client).code(), 0x82, "{code}"),
        }
    }
}

fn nothing_is_published_above_the_maximum_qos(version: Version) {
    for maximum in [0_u8, 1] {
        let mut client = online(Config::new(version), &connack5(0, &[0x24, maximum]));
        for qos in 0..3 {
            client.publish(qos.into(), qos, b"");
        }
        let sent = client.output();
        assert_eq!(kinds(&sent), [0x30, 0x32][..usize::from(maximum) + 1]);
        let max = maximum.try_into().unwrap();
        let refused = Some(&Err(PublishFailure::QosNotSupported { max }));
        assert_eq!(outcome(&client, 2), refused);
        // Subscribing is another matter [MQTT-3.2.2-10].
        let options = SubscribeOptions::from(QoS::ExactlyOnce);
        let filter = TopicFilter::try_from("a").unwrap();
        let request = SubscribeRequest { filters: vec![(filter, options)], ..filters(&[]) };
        subscribe(&mut client, 9, request);
        assert!(client.output().ends_with(b"\0\x01a\x02"));
    }
    for value in [2, 255] {
        let make = || connecting(Config::new(version));
        breach_in(version, make, &connack5(0, &[0x24, value]), 0x82);
    }
    // What was admitted before is held to it on the next connection.
    let mut client = kept(version);
    client.publish(0, 2, b"");
    client.output();
    assert_eq!(reconnect(&mut client, &connack5(1, &[0x24, 1])), b"");
    assert!(matches!(outcome(&client, 0), Some(Err(PublishFailure::QosNotSupported { .. }))));
}

fn a_refused_will_is_told(version: Version) {
    for (code, text) in [(0x9B, "QoS not supported"), (0x9A, "Retain not supported")] {
        let mut client = connecting(Config::new(version));
        client.receive(&[0x20, 3, 0, code, 0]);
        let end = client.end().unwrap();
        assert_eq!(end.reason().code(), code);
        assert!(end.to_string().contains(text), "{end}");
    }
}

fn nothing_is_retained_where_that_is_not_available(version: Version) {
    let mut client = online(Config::new(version), &connack5(0, &[0x25, 0]));
    let mut retained = message(b"");
    retained.retain = true;
    client.session.publish(client.now, Ticket::new(0), retained.clone()).unwrap();
    client.publish(1, 0, b"");
    assert_eq!(kinds(&client.output()), [0x30]);
    assert_eq!(outcome(&client, 0), Some(&Err(PublishFailure::RetainNotSupported)));
    let mut client = online(Config::new(version), &connack5(0, &[0x25, 1]));
    client.session.publish(client.now, Ticket::new(0), retained).unwrap();
    assert_eq!(kinds(&client.output()), [0x31]);
    breach_in(version, || connecting(Config::new(version)), &connack5(0, &[0x25, 2]), 0x82);
}

fn an_assigned_client_identifier_is_adopted(version: Version) {
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).client_id("").start().unwrap();
        let _peer = script.accept_with("20 09 00 00 06 12 0003 'abc'").await;
        assert_eq!(&*client.connected().await.unwrap().client_id, "abc");
    });
    // A broker that assigns nothing, or to one who has a name, is left its ways.
    let mut client = connecting(Config::new(version));
    client.receive(&connack5(0, b"\x12\0\x03abc"));
    assert_eq!(client.session.client_id(), "c");
}

fn aliases_stay_within_the_brokers_maximum(version: Version) {
    let aliases = |connack: &[u8]| {
        let config = Config { topic_aliases: true, ..Config::new(version) };
        let mut client = online(config, connack);
        let mut used = Vec::new();
        for (ticket, topic) in ["first", "second", "third", "first", "third"].iter().enumerate() {
            let mut message = message(b"");
            message.topic = (*topic).try_into().unwrap();
            client.session.publish(client.now, Ticket::new(ticket as u64), message).unwrap();
            let sent = client.output();
            let properties = 4 + usize::from(sent[3]);
            let alias = (sent[properties] > 0).then(|| sent[properties + 3]);
            used.push((usize::from(sent[3]), alias));
        }
        used
    };
    let expected = [(5, Some(1)), (6, Some(2)), (5, None), (0, Some(1)), (5, None)];
    assert_eq!(aliases(&connack5(0, b"\x22\0\x02")), expected);
    let without = [(5, None), (6, None), (5, None), (5, None), (5, None)];
    assert_eq!(aliases(&connack5(0, b"\x22\0\0")), without);
    assert_eq!(aliases(accepting(version)), without);
    // Nobody else gives them out.
    let mut message = message(b"");
    message.properties = property(Property::TopicAlias, PropertyValue::TwoByte(9));
    let mut client = connected(version);
    let refused = client.session.publish(client.now, Ticket::new(0), message).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::TopicAlias);
}

fn unavailable_subscriptions_are_not_asked_for(version: Version) {
    let identifier = property(Property::SubscriptionIdentifier, PropertyValue::VariableByte(1));
    for (id, filter, properties) in [
        (0x28, "a/+", Properties::default()),
        (0x28, "#", Properties::default()),
        (0x29, "a", identifier),
        (0x2A, "$share/g/a", Properties::default()),
    ] {
        let request = SubscribeRequest { properties, ..filters(&[filter]) };
        let mut client = online(Config::new(version), &connack5(0, &[id, 0]));
        subscribe(&mut client, 0, request.clone());
        assert_eq!(client.output(), b"", "{filter}");
        assert!(matches!(answer(&client, 0), Some(Err(RequestFailure::NotSupported(_)))));
        let mut client = online(Config::new(version), &connack5(0, &[id, 1]));
        subscribe(&mut client, 0, request);
        assert_eq!(kinds(&client.output()), [0x82]);
        let make = || connecting(Config::new(version));
        breach_in(version, make, &connack5(0, &[id, 2]), 0x82);
    }
}

fn the_brokers_session_expiry_replaces_ours(version: Version) {
    let mut client = online(lasting(version), &connack5(0, b"\x11\0\0\0\0"));
    client.publish(0, 1, b"");
    client.output();
    client.disconnect();
    client.connect();
    assert_eq!(client.output()[9] & 2, 0, "as it was configured");
    client.receive(accepting(version));
    assert_eq!(kinds(&client.output()), [0x32], "published as new: nothing was kept");
}
