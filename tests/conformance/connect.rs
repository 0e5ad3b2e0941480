//! CONNECT (§3.1).

use midge::client::{CloseReason, ConnectError, PublishError};
use midge::session::Will;

use crate::kit::*;

tests! {
    ["3.1.0-1"] ["3.1.0-1"] connect_is_the_first_packet,
    ["3.1.0-2"] ["3.1.0-2"] a_connection_has_one_connect,
    ["3.1.2-1"] ["3.1.2-1"] the_protocol_has_its_name,
    ["3.1.2-2"] ["3.1.2-2"] the_level_is_named_and_its_refusal_understood,
    ["3.1.2-3"] ["3.1.2-3"] the_reserved_connect_flag_is_zero,
    ["3.1.2-4", "3.1.2-6"] ["3.1.2-4"] a_clean_start_begins_without_state,
    ["3.1.2-9"] ["3.1.2-9"] a_will_has_topic_and_payload,
    ["3.1.2-11", "3.1.2-13", "3.1.2-15"] ["3.1.2-11", "3.1.2-13"] no_will_leaves_its_flags_zero,
    ["3.1.2-14"] ["3.1.2-12"] the_qos_of_a_will_is_0_1_or_2,
    ["3.1.2-18", "3.1.2-19", "3.1.2-20", "3.1.2-21"]
        ["3.1.2-16", "3.1.2-17", "3.1.2-18", "3.1.2-19"] credentials_are_there_when_flagged,
    ["3.1.2-22"] [] a_password_needs_a_user_name_before_5,
    ["3.1.2-23"] ["3.1.2-20"] something_is_sent_within_the_keep_alive,
    [] ["3.1.2-21", "3.2.2-21"] the_brokers_keep_alive_replaces_ours,
    [] ["3.1.2-23"] the_session_outlives_the_connection_by_its_expiry,
    [] ["3.1.2-26", "3.1.2-27", "3.3.2-11"] aliases_beyond_our_maximum_are_refused,
    [] ["3.1.2-28"] response_information_that_was_not_asked_for_is_tolerated,
    [] ["3.1.2-29"] problem_information_that_was_declined_is_refused,
    ["3.1.3-1", "3.1.3-3"] ["3.1.3-1", "3.1.3-3"] the_fields_stand_in_order,
    ["3.1.3-2"] ["3.1.3-2"] the_client_identifier_names_the_session,
    ["3.1.3-4", "3.1.3-10", "3.1.3-11"] ["3.1.3-4", "3.1.3-11", "3.1.3-12"] strings_of_connect_are_checked,
    ["3.1.3-7"] ["§3.1.3.1"] an_empty_client_identifier_needs_a_clean_session_before_5,
    ["3.1.3-8", "3.1.3-9"] ["3.1.3-8"] a_refused_client_identifier_is_told,
    ["§3.1.4"] ["3.1.4-6"] what_was_queued_behind_a_refused_connect_is_not_sent,
}

fn will(payload: &str) -> Option<Will> {
    Some(Will::new("w", payload.to_owned()).unwrap())
}

/// A CONNECT without properties.
fn plain(version: Version) -> Config {
    Config { maximum_packet_size: 268_435_460, ..Config::new(version) }
}

/// Where the connect flags stand.
fn flags_at(version: Version) -> usize {
    if version == V31 { 11 } else { 9 }
}

fn flags(config: Config) -> u8 {
    let version = config.version;
    connect_of(config)[flags_at(version)]
}

fn connect_is_the_first_packet(version: Version) {
    let mut client = Client::new(Config::new(version));
    client.publish(0, 1, b"early");
    subscribe(&mut client, 1, filters(&["a"]));
    client.connect();
    assert_eq!(kinds(&client.output()), [0x10]);
    client.pass(SECOND);
    assert_eq!(client.output(), b"", "and nothing follows it before CONNACK");
    client.receive(accepting(version));
    assert_eq!(kinds(&client.output()), [0x82, 0x32]);
    // A CONNACK that answers nothing.
    let unasked = || {
        let mut client = Client::new(Config::new(version));
        client.session.handle_connected(client.now);
        client
    };
    let mut client = unasked();
    let mut nobody = |_: midge::session::Received<'_>| Verdict::Ack;
    client.session.handle_bytes(client.now, accepting(version), &mut nobody);
    client.poll();
    assert_eq!(protocol_error(&client).code(), 0x82);
}

fn a_connection_has_one_connect(version: Version) {
    let mut config = Config::new(version);
    config.keep_alive = 5;
    let mut client = Client::new(config);
    client.connect();
    let mut sent = client.output();
    client.receive(accepting(version));
    for ticket in 0..3 {
        client.publish(ticket, 0, b"");
        client.pass(5 * SECOND);
        sent.extend(client.output());
        client.receive(b"\xD0\0");
    }
    assert_eq!(kinds(&sent).iter().filter(|kind| **kind == 0x10).count(), 1);
}

fn the_protocol_has_its_name(version: Version) {
    let name = match version {
        Version::V31 => "0006 'MQIsdp' 03",
        Version::V311 => "0004 'MQTT' 04",
        _ => "0004 'MQTT' 05",
    };
    let name = bytes(name);
    assert_eq!(connect_of(Config::new(version))[2..2 + name.len()], name);
}

fn the_level_is_named_and_its_refusal_understood(version: Version) {
    the_protocol_has_its_name(version);
    // A broker without 5.0 answers in the shape that it knows.
    let refusals: &[&str] = pick(version, &["20 02 00 01"], &["20 02 00 01", "20 03 00 84 00"]);
    for refusal in refusals {
        block_on(async {
            let script = Script::listen().await;
            let (client, _inbox) = builder(&script, version).start().unwrap();
            let mut peer = script.accept_with(refusal).await;
            peer.expect_end().await;
            drop(peer);
            let error = client.connected().await.unwrap_err();
            assert!(error.to_string().contains("Unsupported Protocol Version"), "{error}");
            assert!(!error.is_retryable());
        });
    }
}

fn the_reserved_connect_flag_is_zero(version: Version) {
    for config in [
        plain(version),
        Config { will: will("x"), clean_start: false, ..plain(version) },
        Config { username: Some("u".into()), password: Some(b"p"[..].into()), ..plain(version) },
    ] {
        assert_eq!(flags(config) & 1, 0);
    }
    let mut level = connect_of(plain(version));
    assert_eq!(level.remove(flags_at(version) - 1) & 0xF8, 0, "nor is this a bridge");
}

fn a_clean_start_begins_without_state(version: Version) {
    // A clean session: what was in flight means nothing to the next connection.
    let config = Config { on_session_loss: SessionLoss::Fail, ..Config::new(version) };
    let mut client = online(config, accepting(version));
    client.publish(0, 1, b"");
    client.receive(&publish(version, 0x34, "t", 7, b"first"));
    client.output();
    assert_eq!(reconnect(&mut client, accepting(version)), b"");
    assert_eq!(outcome(&client, 0), Some(&Err(PublishFailure::Lost { maybe_delivered: true })));
    client.receive(&publish(version, 0x34, "t", 7, b"second"));
    assert_eq!(client.messages.len(), 2, "the identifier of a new session");
    // One that lasts: all of it goes on.
    let mut client = kept(version);
    client.publish(0, 1, b"");
    client.receive(&publish(version, 0x34, "t", 7, b"first"));
    client.output();
    assert_eq!(kinds(&reconnect(&mut client, resuming(version))), [0x3A]);
    client.receive(&publish(version, 0x3C, "t", 7, b"first"));
    assert_eq!(client.messages.len(), 1);
    let clean = |config| flags(config) & 2 == 2;
    assert!(clean(Config::new(version)) && !clean(lasting(version)));
}

fn a_will_has_topic_and_payload(version: Version) {
    let sent = connect_of(Config { will: will("x"), ..plain(version) });
    let fields = pick(version, "0001 'c' 0001 'w' 0001 'x'", "0001 'c' 00 0001 'w' 0001 'x'");
    assert!(sent.ends_with(&bytes(fields)));
    assert_eq!(sent[flags_at(version)], 0b0000_0110);
    let sent = connect_of(Config { will: will(""), ..plain(version) });
    assert!(sent.ends_with(&bytes("0001 'w' 0000")), "a payload of no bytes");
}

fn no_will_leaves_its_flags_zero(version: Version) {
    let sent = connect_of(plain(version));
    assert_eq!(sent[flags_at(version)], 2);
    assert!(sent.ends_with(&bytes("0001 'c'")));
}

fn the_qos_of_a_will_is_0_1_or_2(version: Version) {
    for qos in 0..3_u8 {
        for retain in [false, true] {
            let will = will("x").map(|will| will.qos(qos.try_into().unwrap()).retain(retain));
            let expected = 0b0000_0110 | qos << 3 | u8::from(retain) << 5;
            assert_eq!(flags(Config { will, ..plain(version) }), expected);
        }
    }
    assert!(QoS::try_from(3).is_err());
}

fn credentials_are_there_when_flagged(version: Version) {
    let config = |username: Option<&str>, password: Option<&[u8]>| Config {
        username: username.map(Into::into),
        password: password.map(Into::into),
        ..plain(version)
    };
    for (username, password, flags, end) in [
        (None, None, 0x00, "0001 'c'"),
        (Some("u"), None, 0x80, "0001 'c' 0001 'u'"),
        (Some(""), None, 0x80, "0001 'c' 0000"),
        (Some("u"), Some(&b"\xFF\0"[..]), 0xC0, "0001 'c' 0001 'u' 0002 FF00"),
        (Some("u"), Some(b""), 0xC0, "0001 'c' 0001 'u' 0000"),
    ] {
        let sent = connect_of(config(username, password));
        assert_eq!(sent[flags_at(version)] & 0xC0, flags);
        assert!(sent.ends_with(&bytes(end)), "{sent:02X?}");
    }
    if v5(version) {
        let sent = connect_of(config(None, Some(b"p")));
        assert_eq!(sent[9], 0x42);
        assert!(sent.ends_with(&bytes("0001 'c' 0001 'p'")));
    }
}

fn a_password_needs_a_user_name_before_5(version: Version) {
    let config = Config { password: Some(b"p"[..].into()), ..plain(version) };
    assert!(config.check("c").is_err());
    assert_eq!(Config { version: V5, ..config.clone() }.check("c"), Ok(()));
    block_on(async {
        let script = Script::listen().await;
        builder(&script, version).password("p").start().unwrap_err();
    });
}

fn something_is_sent_within_the_keep_alive(version: Version) {
    let keep = |seconds| Config { keep_alive: seconds, ..Config::new(version) };
    // Ten seconds after the last packet sent, whatever arrives meanwhile.
    let mut client = online(keep(10), accepting(version));
    let mut silent = Duration::ZERO;
    let mut pings = 0;
    for _ in 0..600 {
        client.receive(&publish(version, 0x30, "t", 0, b"x"));
        client.pass(SECOND / 10);
        silent += SECOND / 10;
        let sent = client.output();
        if !sent.is_empty() {
            assert_eq!(sent, b"\xC0\0");
            client.receive(b"\xD0\0");
            (silent, pings) = (Duration::ZERO, pings + 1);
        }
        assert!(silent <= 10 * SECOND);
    }
    assert_eq!(pings, 6);
    // Other packets do as well.
    for ticket in 0..20 {
        client.publish(ticket, 0, b"");
        assert_eq!(kinds(&client.output()), [0x30]);
        client.receive(&publish(version, 0x30, "t", 0, b"x"));
        client.pass(9 * SECOND);
    }
    assert_eq!(client.output(), b"");
    let mut client = online(keep(0), accepting(version));
    client.pass(3600 * SECOND);
    assert_eq!(client.output(), b"", "0 turns it off");
    let mut client = online(keep(u16::MAX), accepting(version));
    client.pass(65_535 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
}

fn the_brokers_keep_alive_replaces_ours(version: Version) {
    let config = Config { keep_alive: 60, ..Config::new(version) };
    let mut client = online(config.clone(), &connack5(0, b"\x13\0\x03"));
    for _ in 0..5 {
        client.pass(3 * SECOND);
        assert_eq!(client.output(), b"\xC0\0");
        client.receive(b"\xD0\0");
    }
    // Also where we had none, and where it is none.
    let off = Config { keep_alive: 0, ..config.clone() };
    let mut client = online(off, &connack5(0, b"\x13\0\x03"));
    client.pass(3 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
    let mut client = online(config.clone(), &connack5(0, b"\x13\0\0"));
    client.pass(3600 * SECOND);
    assert_eq!(client.output(), b"");
    // It holds for its connection.
    assert_eq!(reconnect(&mut client, accepting(version)), b"");
    client.pass(60 * SECOND);
    assert_eq!(client.output(), b"\xC0\0");
}

fn the_session_outlives_the_connection_by_its_expiry(version: Version) {
    let clean_start = |expiry: u32, away: u32| {
        let mut client =
            online(Config { session_expiry: expiry, ..Config::new(version) }, accepting(version));
        client.publish(0, 1, b"");
        client.output();
        client.disconnect();
        client.pass(Duration::from_secs(away.into()));
        client.connect();
        client.output()[flags_at(version)] & 2 == 2
    };
    assert!(clean_start(0, 0), "it ends with the connection");
    assert!(!clean_start(100, 99), "it lasts");
    assert!(clean_start(100, 101), "it has expired");
    assert!(!clean_start(u32::MAX, 1_000_000_000), "it lasts for ever");
}

fn aliases_beyond_our_maximum_are_refused(version: Version) {
    for maximum in [0_u16, 1, 10] {
        let config = Config { topic_alias_maximum: maximum, ..Config::new(version) };
        let make = || online(config.clone(), accepting(version));
        let with = |alias: u16| [&[0x23], &alias.to_be_bytes()[..]].concat();
        for alias in [0, maximum + 1, u16::MAX] {
            let row = publish_with(version, 0x30, "a", 0, &with(alias), b"bad");
            breach_in(version, make, &row, 0x94);
        }
        for alias in 1..=maximum {
            let row = publish_with(version, 0x30, "a", 0, &with(alias), b"good");
            taken_in(version, make, &row, b"");
        }
    }
}

fn response_information_that_was_not_asked_for_is_tolerated(version: Version) {
    // The broker's breach harms nobody, and the text may be of use.
    let mut client = online(Config::new(version), &connack5(0, b"\x1A\0\x01r"));
    client.publish(0, 0, b"");
    assert_eq!(kinds(&client.output()), [0x30]);
    let Some(Event::Connected(connected)) = client.events.first() else { panic!() };
    assert_eq!(connected.properties.as_ref().response_information(), Some("r"));
}

fn problem_information_that_was_declined_is_refused(version: Version) {
    let declined = property(Property::RequestProblemInformation, PropertyValue::Byte(0));
    let config = Config { connect_properties: declined, ..Config::new(version) };
    let make = || online(config.clone(), accepting(version));
    for text in ["04 1F 0001 'r'", "07 26 0001 'k' 0001 'v'"] {
        let length = bytes(text).len() as u8;
        let with = |first: u8, before: &str, after: &str| {
            framed(first, &[bytes(before), bytes(text), bytes(after)].concat())
        };
        for (first, before, after) in [
            (0x40, "0001 00", ""),
            (0x50, "0001 00", ""),
            (0x62, "0001 00", ""),
            (0x70, "0001 00", ""),
            (0x90, "0001", "00"),
            (0xB0, "0001", "00"),
        ] {
            breach_in(version, make, &with(first, before, after), 0x82);
        }
        let repeating = || {
            let mut client = Client::new(config.clone());
            client.session.set_authentication("M", None, Properties::new()).unwrap();
            client.connect();
            client.output();
            client.receive(&connack5(0, b"\x15\0\x01M"));
            client.session.reauthenticate(client.now, None, Properties::new()).unwrap();
            client
        };
        let explained = [b"\x15\0\x01M", &bytes(text)[1..]].concat();
        let auth = framed(0xF0, &[&[0x18, explained.len() as u8], &explained[..]].concat());
        breach_in(version, repeating, &auth, 0x82);
        // Allowed in these three whatever was asked for.
        let connack = framed(0x20, &[&[0, 0], &bytes(text)[..]].concat());
        assert!(online(config.clone(), &connack).session.is_connected());
        if length == 8 {
            taken_in(version, make, &with(0x30, "0001 'a'", "'x'"), b"");
        }
        let mut client = make();
        client.receive(&with(0xE0, "8B", ""));
        assert!(matches!(client.end(), Some(End::ServerDisconnect { .. })));
    }
}

fn the_fields_stand_in_order(version: Version) {
    let config = Config {
        will: will("x"),
        username: Some("u".into()),
        password: Some(b"p"[..].into()),
        keep_alive: 0x1234,
        ..plain(version)
    };
    let fields = "0001 'c' 0001 'w' 0001 'x' 0001 'u' 0001 'p'";
    let expected = match version {
        Version::V31 => format!("10 1B 0006 'MQIsdp' 03 C6 1234 {fields}"),
        Version::V311 => format!("10 19 0004 'MQTT' 04 C6 1234 {fields}"),
        _ => format!("10 1B 0004 'MQTT' 05 C6 1234 00 {}", fields.replacen("'c'", "'c' 00", 1)),
    };
    assert_eq!(connect_of(config), bytes(&expected));
}

fn the_client_identifier_names_the_session(version: Version) {
    let mut client = kept(version);
    for _ in 0..2 {
        client.disconnect();
        client.connect();
        assert!(client.output().ends_with(b"\0\x01c"), "the same on each connection");
        client.receive(resuming(version));
    }
    if v5(version) {
        // Also where the broker has chosen it.
        let config = std::sync::Arc::new(lasting(version));
        let mut client = kept(version);
        client.session = midge::session::Session::new(config, "", 0);
        client.connect();
        assert!(client.output().ends_with(b"\0\0"));
        client.receive(&connack5(0, b"\x12\0\x03abc"));
        assert_eq!(client.session.client_id(), "abc");
        client.disconnect();
        client.connect();
        assert!(client.output().ends_with(b"\0\x03abc"));
    }
}

fn strings_of_connect_are_checked(version: Version) {
    // The types are those of strings: what is not UTF-8 cannot be said. The rest is refused where
    // the options are given.
    let config = Config::new(version);
    for text in ["a\0b", &*"a".repeat(65_536)] {
        assert!(config.check(text).is_err());
        assert!(Config { username: Some(text.into()), ..config.clone() }.check("c").is_err());
        assert!(Will::new(text, "").is_err());
    }
    for topic in ["", "a/#", "+", "a+b"] {
        assert!(Will::new(topic, "").is_err(), "{topic}");
    }
    // Password and will payload are bytes.
    let binary = Config {
        username: Some("u".into()),
        password: Some(b"\xFF\0"[..].into()),
        will: Some(Will::new("w", &b"\xFE\0"[..]).unwrap()),
        ..config
    };
    assert_eq!(binary.check("c"), Ok(()));
    assert!(connect_of(binary).ends_with(b"\0\x02\xFE\0\0\x01u\0\x02\xFF\0"));
}

fn an_empty_client_identifier_needs_a_clean_session_before_5(version: Version) {
    let clean = Config::new(version);
    let lasting = Config { clean_start: false, ..Config::new(version) };
    match version {
        Version::V31 => {
            assert!(clean.check("").is_err());
            assert!(lasting.check("").is_err());
        }
        Version::V311 => {
            assert_eq!(clean.check(""), Ok(()));
            assert!(lasting.check("").is_err());
        }
        _ => {
            assert_eq!(clean.check(""), Ok(()));
            assert_eq!(lasting.check(""), Ok(()));
        }
    }
}

fn a_refused_client_identifier_is_told(version: Version) {
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept_with(pick(version, "20 02 00 02", "20 03 00 85 00")).await;
        peer.expect_end().await;
        drop(peer);
        let error = client.connected().await.unwrap_err();
        let ConnectError::Refused { reason, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*reason, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        assert!(!error.is_retryable());
    });
}

fn what_was_queued_behind_a_refused_connect_is_not_sent(version: Version) {
    block_on(async {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let deliveries: Vec<_> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .map(|qos| client.publish("t", "x").qos(qos).try_enqueue().unwrap())
            .into();
        let mut peer = script.accept_with(pick(version, "20 02 00 05", "20 03 00 87 00")).await;
        peer.expect_end().await;
        drop(peer);
        for delivery in deliveries {
            let error = delivery.await.unwrap_err();
            assert!(matches!(error, PublishError::Closed { maybe_delivered: false }), "{error:?}");
        }
        assert!(matches!(client.closed().await, CloseReason::ConnectFailed(_)));
    });
}
