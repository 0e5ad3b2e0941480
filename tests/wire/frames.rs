//! The fixed header: flags, Remaining Length and the limit on the size.

use midge::codec::{Cut, Frame, MAX_PACKET_SIZE, PacketType, ReasonCode, cut, decode};

use crate::support::*;

#[test]
fn bytes_are_asked_for_one_header_byte_at_a_time_and_then_all_at_once() {
    for (digits, need) in [
        ("", 2),
        ("30", 1),
        ("30 80", 1),
        ("30 8080", 1),
        ("30 808080", 1),
        ("30 02", 2),
        ("30 02 00", 1),
        ("30 8001", 128),
        ("30 FFFFFF7F", 268_435_455),
        ("30 FFFFFF7F 00", 268_435_454),
    ] {
        assert_eq!(cut(&hex(digits), MAX_PACKET_SIZE), Ok(Cut::Need(need)), "{digits}");
    }
}

#[test]
fn one_packet_is_cut_and_the_next_is_left() {
    let bytes = hex("D0 00 30 03 0001 61 FF");
    let first = Cut::Frame { frame: Frame { first: 0xD0, body: &[] }, len: 2 };
    assert_eq!(cut(&bytes, MAX_PACKET_SIZE), Ok(first));
    let second = Cut::Frame { frame: Frame { first: 0x30, body: &[0, 1, 0x61] }, len: 5 };
    assert_eq!(cut(&bytes[2..], MAX_PACKET_SIZE), Ok(second));
}

#[test]
fn remaining_length_has_its_boundaries() {
    for (digits, len) in [
        ("00", 0),
        ("7F", 127),
        ("8001", 128),
        ("FF7F", 16_383),
        ("808001", 16_384),
        ("FFFF7F", 2_097_151),
        ("80808001", 2_097_152),
    ] {
        let header = [&[0x30], &hex(digits)[..]].concat();
        let mut bytes = header.clone();
        bytes.resize(header.len() + len, 0);
        match cut(&bytes, MAX_PACKET_SIZE) {
            Ok(Cut::Frame { frame, len: whole }) => {
                assert_eq!((frame.body.len(), whole), (len, bytes.len()));
            }
            other => panic!("{digits}: {other:?}"),
        }
    }
}

#[test]
fn a_fifth_length_byte_is_not_waited_for() {
    for digits in ["30 80808080", "30 FFFFFFFF", "30 FFFFFFFF 7F", "30 8080808001"] {
        let error = cut(&hex(digits), MAX_PACKET_SIZE).unwrap_err();
        assert_eq!(error.reason(), ReasonCode::MALFORMED_PACKET, "{digits}");
        assert_eq!(error.packet(), Some(PacketType::Publish));
    }
}

/// 5.0 binds only the encoder to the shortest form [MQTT-1.5.5-1], and this one harms nobody.
#[test]
fn a_remaining_length_may_be_longer_than_it_need_be() {
    for digits in ["D0 8000", "D0 808000", "D0 80808000"] {
        let bytes = hex(digits);
        let whole = Cut::Frame { frame: Frame { first: 0xD0, body: &[] }, len: bytes.len() };
        assert_eq!(cut(&bytes, MAX_PACKET_SIZE), Ok(whole), "{digits}");
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    let header = hex("30 3E");
    assert_eq!(cut(&header, 64), Ok(Cut::Need(62)));
    let error = cut(&header, 63).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(error.packet(), Some(PacketType::Publish));
    assert!(cut(&hex("30 FFFFFF7F"), MAX_PACKET_SIZE - 1).is_err());
}

#[test]
fn a_first_byte_that_no_version_knows_is_not_waited_on() {
    // The answer of a web server.
    let error = cut(b"H", MAX_PACKET_SIZE).unwrap_err();
    assert_eq!(error.reason(), ReasonCode::MALFORMED_PACKET);
    for first in 0..=255_u8 {
        let known = cut(&[first], MAX_PACKET_SIZE).is_ok();
        let allowed = ALL.iter().any(|version| flags(*version, first >> 4).contains(&(first & 15)));
        assert_eq!(known, allowed, "0x{first:02x}");
    }
}

#[test]
fn reserved_flags_are_refused_for_each_packet_and_version() {
    for &version in ALL {
        for first in 0..=255_u8 {
            let allowed = flags(version, first >> 4).contains(&(first & 15));
            for receiver in [Client, Server] {
                // The body of some packet or other: only the flags matter here.
                let refused_for_flags = match decode(version, receiver, Frame { first, body: &[] })
                {
                    Err(error) => ["MQTT-2.1.3-1", "MQTT-3.3.1-4"].contains(&error.clause()),
                    Ok(_) => false,
                };
                let reserved_type = first >> 4 == 0 || (first >> 4 == 15 && version != V5);
                assert_eq!(
                    refused_for_flags,
                    !allowed && !reserved_type,
                    "0x{first:02x} in {version}"
                );
            }
        }
    }
}

/// The flags of table 2.2 that a packet type may have.
fn flags(version: midge::codec::Version, packet_type: u8) -> &'static [u8] {
    match packet_type {
        0 => &[],
        3 => &[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13],
        6 | 8 | 10 if version == V31 => &[2, 10],
        6 | 8 | 10 => &[2],
        15 if version != V5 => &[],
        _ => &[0],
    }
}
