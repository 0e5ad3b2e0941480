//! All 256 reason codes in each packet that has one, against the tables of the specification.

use midge::codec::{ReasonCode, Role, Version};

use crate::support::*;

/// A first byte, what of the body stands before the code and after it, who receives the packet,
/// and the codes it may have.
type Table = (u8, &'static str, &'static str, Role, &'static str);

const PUBLISH_CODES: &str = "00 10 80 83 87 90 91 97 99";
const RELEASE_CODES: &str = "00 92";
const SUBSCRIBE_CODES: &str = "00 01 02 80 83 87 8F 91 97 9E A1 A2";
const UNSUBSCRIBE_CODES: &str = "00 11 80 83 87 8F 91";
const CLIENT_DISCONNECT_CODES: &str = "00 04 80 81 82 83 90 93 94 95 96 97 98 99";

const OF_5: &[Table] = &[
    (0x40, "0001", "00", Client, PUBLISH_CODES),
    (0x40, "0001", "", Server, PUBLISH_CODES),
    (0x50, "0001", "00", Server, PUBLISH_CODES),
    (0x50, "0001", "", Client, PUBLISH_CODES),
    (0x62, "0001", "00", Client, RELEASE_CODES),
    (0x62, "0001", "", Server, RELEASE_CODES),
    (0x70, "0001", "00", Client, RELEASE_CODES),
    (0x70, "0001", "", Server, RELEASE_CODES),
    (0x90, "0001 00", "", Client, SUBSCRIBE_CODES),
    (0x90, "0001 00 00", "", Client, SUBSCRIBE_CODES),
    (0xB0, "0001 00", "", Client, UNSUBSCRIBE_CODES),
    (0xE0, "", "", Server, CLIENT_DISCONNECT_CODES),
    (0xE0, "", "00", Server, CLIENT_DISCONNECT_CODES),
    (0xF0, "", "00", Client, "00 18"),
    (0xF0, "", "00", Server, "18 19"),
];

#[test]
fn only_listed_codes_stand_in_a_packet_of_5() {
    for &(first, before, after, receiver, listed) in OF_5 {
        check(V5, first, before, after, receiver, |code| hex(listed).contains(&code));
    }
}

/// A refusal or a farewell with a number of no table is still one, and says so best itself.
#[test]
fn any_failure_stands_in_a_connack_and_in_a_disconnect_from_a_server() {
    check(V5, 0x20, "00", "00", Client, |code| code == 0 || code >= 0x80);
    check(V5, 0xE0, "", "00", Client, |code| code == 0 || code >= 0x80);
    check(V5, 0xE0, "", "", Client, |code| code == 0 || code >= 0x80);
}

#[test]
fn only_listed_codes_stand_in_a_packet_of_3() {
    for version in [V31, V311] {
        check(version, 0x20, "00", "", Client, |code| code <= 5);
        check(version, 0x90, "0001", "", Client, |code| [0, 1, 2, 0x80].contains(&code));
        check(version, 0x90, "0001 00", "", Client, |code| [0, 1, 2, 0x80].contains(&code));
    }
}

fn check(
    version: Version,
    first: u8,
    before: &str,
    after: &str,
    receiver: Role,
    is_listed: impl Fn(u8) -> bool,
) {
    for code in 0..=255 {
        let bytes = framed(first, &[hex(before), vec![code], hex(after)].concat());
        match read(version, receiver, &bytes) {
            Ok(packet) => {
                assert!(is_listed(code), "{packet:?} in {version}");
                // What may be received may be sent, too, by the other end.
                assert!(write(version, &packet).is_ok(), "{packet:?} in {version}");
            }
            Err(error) => {
                assert!(!is_listed(code), "{bytes:02x?} in {version}: {error}");
                assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR, "{bytes:02x?}: {error}");
            }
        }
    }
}
