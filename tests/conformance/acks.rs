//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7).

use crate::kit::*;

tests! {
    [] ["3.4.2-1"] puback_has_a_listed_code,
    [] ["3.5.2-1"] pubrec_has_a_listed_code,
    [] ["3.6.2-1"] pubrel_has_a_listed_code,
    [] ["3.7.2-1"] pubcomp_has_a_listed_code,
    [] ["3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3", "3.6.2-2", "3.6.2-3", "3.7.2-2", "3.7.2-3"]
        acknowledgements_fit_the_smallest_packet,
    [] ["§3.4.2.1"] short_forms_are_understood,
    ["3.6.1-1"] ["3.6.1-1"] pubrel_has_its_flags,
}

/// The codes of §3.4.2.1 and §3.5.2.1, and of §3.6.2.1 and §3.7.2.1.
const RECEIVED: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASED: [u8; 2] = [0x00, 0x92];

/// Sends each of the 256 codes in such a packet, to a client that waits for it: those of the list
/// are taken, the others end the connection.
fn codes(version: Version, first: u8, listed: &[u8], make: impl Fn() -> Client) {
    for code in 0..=255 {
        for row in [&[first, 3, 0, 1, code][..], &[first, 4, 0, 1, code, 0]] {
            let mut client = make();
            client.receive(row);
            if listed.contains(&code) {
                assert!(client.session.is_connected(), "{row:02X?}: {:?}", client.end());
                let is_failure = code >= 0x80 && matches!(first, 0x40 | 0x50);
                match outcome(&client, 0) {
                    Some(Err(PublishFailure::Rejected { reason, .. })) if is_failure => {
                        assert_eq!(reason.code(), code);
                    }
                    outcome => {
                        let is_success = !matches!(outcome, Some(Err(_)));
                        assert!(is_success && !is_failure, "{row:02X?}: {outcome:?}");
                    }
                }
            } else {
                breach_in(version, &make, row, 0x82);
            }
        }
    }
}

/// A client with a message of this QoS in flight.
fn waiting(version: Version, qos: u8) -> Client {
    let mut client = connected(version);
    client.publish(0, qos, b"");
    client.output();
    client
}

fn puback_has_a_listed_code(version: Version) {
    codes(version, 0x40, &RECEIVED, || waiting(version, 1));
    answers(version, 0x32, 0x40);
}

fn pubrec_has_a_listed_code(version: Version) {
    codes(version, 0x50, &RECEIVED, || waiting(version, 2));
    answers(version, 0x34, 0x50);
}

/// Whatever the application answers a message with, what is sent is of the list.
fn answers(version: Version, first: u8, answer: u8) {
    for code in 0..=255 {
        let mut client = connected(version);
        client.verdict = Verdict::Reject(ReasonCode::new(code));
        client.receive(&publish(version, first, "t", 1, b""));
        let sent = client.output();
        assert_eq!(sent[0], answer);
        let told = sent.get(4).copied().unwrap_or(0);
        assert!(RECEIVED.contains(&told), "{code:02X} became {told:02X}");
        assert_eq!(told >= 0x80, code >= 0x80, "{code:02X} became {told:02X}");
        if RECEIVED.contains(&code) {
            assert_eq!(told, code);
        }
    }
}

fn pubrel_has_a_listed_code(version: Version) {
    codes(version, 0x62, &RELEASED, || {
        let mut client = connected(version);
        client.receive(&publish(version, 0x34, "t", 1, b""));
        client.output();
        client
    });
    let mut client = waiting(version, 2);
    client.receive(b"\x50\x03\0\x01\x10");
    assert_eq!(client.output(), b"\x62\x02\0\x01");
    client.receive(&ack(0x50, 9));
    assert_eq!(client.output(), b"\x62\x03\0\x09\x92");
}

fn pubcomp_has_a_listed_code(version: Version) {
    let released = || {
        let mut client = waiting(version, 2);
        client.receive(&ack(0x50, 1));
        client.output();
        client
    };
    codes(version, 0x70, &RELEASED, released);
    // The broker had taken the message: that it has forgotten so is no failure.
    let mut client = released();
    client.receive(b"\x70\x03\0\x01\x92");
    assert_eq!(client.published(), [(0, true)]);
    client.receive(&ack(0x62, 9));
    assert_eq!(client.output(), b"\x70\x03\0\x09\x92");
}

fn acknowledgements_fit_the_smallest_packet(version: Version) {
    // What only explains is left out where it does not fit.
    let text = || property(Property::ReasonString, PropertyValue::Utf8("full"));
    for (size, rest) in [(13, &b"\x97\x07\x1F\0\x04full"[..]), (12, b"\x97"), (5, b"\x97")] {
        let mut client = online(Config::new(version), &connack5(0, &[0x27, 0, 0, 0, size]));
        client.verdict = Verdict::Hold;
        client.receive(&publish(version, 0x32, "t", 1, b""));
        client.receive(&publish(version, 0x34, "t", 2, b""));
        for handle in std::mem::take(&mut client.held) {
            let (now, reason) = (client.now, ReasonCode::QUOTA_EXCEEDED);
            client.session.ack_with(now, handle, reason, text()).unwrap();
        }
        let expected = [(0x40, 1), (0x50, 2)]
            .map(|(first, id)| framed(first, &[&[0, id], rest].concat()))
            .concat();
        assert_eq!(client.output(), expected, "{size}");
    }
    // PUBREL and PUBCOMP never say more than their code.
    let mut client = online(Config::new(version), &connack5(0, b"\x27\0\0\0\x05"));
    client.verdict = Verdict::Reject(ReasonCode::QUOTA_EXCEEDED);
    client.receive(&publish(version, 0x32, "t", 1, b""));
    client.receive(&publish(version, 0x34, "t", 2, b""));
    client.receive(&ack(0x50, 9));
    client.receive(&ack(0x62, 9));
    let sent = packets(&client.output());
    let expected: [&[u8]; 4] = [
        b"\x40\x03\0\x01\x97",
        b"\x50\x03\0\x02\x97",
        b"\x62\x03\0\x09\x92",
        b"\x70\x03\0\x09\x92",
    ];
    assert_eq!(sent, expected);
    assert!(sent.iter().all(|packet| packet.len() <= 5));
    // A broker with no room for them cannot be talked to.
    let make = || connecting(Config::new(version));
    breach_in(version, make, &connack5(0, b"\x27\0\0\0\x04"), 0x95);
}

fn short_forms_are_understood(version: Version) {
    for row in ["40 02 0001", "40 03 0001 00", "40 03 0001 10", "40 04 0001 00 00"] {
        let mut client = waiting(version, 1);
        client.receive(&bytes(row));
        assert_eq!(client.published(), [(0, true)], "{row}");
    }
    for row in ["50 02 0001", "50 03 0001 10", "50 04 0001 00 00"] {
        let mut client = waiting(version, 2);
        client.receive(&bytes(row));
        assert_eq!(client.output(), b"\x62\x02\0\x01", "{row}");
    }
    for row in ["E0 00", "E0 01 00", "E0 02 00 00"] {
        let mut client = connected(version);
        client.receive(&bytes(row));
        let Some(End::ServerDisconnect { reason, .. }) = client.end() else { panic!("{row}") };
        assert_eq!(*reason, ReasonCode::SUCCESS);
    }
}

fn pubrel_has_its_flags(version: Version) {
    for flags in [0, 1, 3, 4, 6, 8, 12, 15] {
        breach_in(version, || connected(version), &ack(0x60 | flags, 1), 0x81);
    }
    if version == V31 {
        taken(version, "6A 02 0001", "70 02 0001");
    }
    let mut client = waiting(version, 2);
    client.receive(&ack(0x50, 1));
    assert_eq!(client.output(), ack(0x62, 1));
}
