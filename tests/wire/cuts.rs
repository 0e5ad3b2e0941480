//! Each accepted packet cut at each byte, extended, and with each byte changed to each other.

use midge::codec::{Cut, Frame, MAX_PACKET_SIZE, Packet, cut, decode};

use crate::accept::vectors;
use crate::support::*;

#[test]
fn no_beginning_of_a_packet_passes_for_one() {
    for vector in vectors() {
        let bytes = vector.bytes();
        for len in 0..bytes.len() {
            match cut(&bytes[..len], MAX_PACKET_SIZE) {
                Ok(Cut::Need(more)) => {
                    assert!(more > 0 && len + more <= bytes.len().max(2), "{}", vector.name);
                }
                other => panic!("{} cut at {len}: {other:?}", vector.name),
            }
        }
    }
}

#[test]
fn no_shorter_body_passes_for_the_packet() {
    for vector in vectors() {
        let bytes = vector.bytes();
        let whole = frame(&bytes).unwrap();
        for &version in vector.versions {
            for len in 0..whole.body.len() {
                let cut = Frame { body: &whole.body[..len], ..whole };
                let read = decode(version, vector.receiver, cut);
                assert_eq!(
                    read.is_ok(),
                    vector.also_whole.contains(&len),
                    "{} in {version} cut at {len}: {read:?}",
                    vector.name
                );
            }
        }
    }
}

#[test]
fn no_longer_body_passes_for_the_packet() {
    for vector in vectors() {
        let bytes = vector.bytes();
        let whole = frame(&bytes).unwrap();
        for &version in vector.versions {
            for byte in 0..=255 {
                let longer = [whole.body, &[byte]].concat();
                let read =
                    decode(version, vector.receiver, Frame { first: whole.first, body: &longer });
                let grows = match &vector.packet {
                    Packet::Publish(_) => true,
                    // One more reason code, or the one that the short form leaves out.
                    Packet::SubAck(_) => read.is_ok(),
                    Packet::UnsubAck(_) => version == V5 && read.is_ok(),
                    Packet::PubAck(_)
                    | Packet::PubRec(_)
                    | Packet::PubRel(_)
                    | Packet::PubComp(_) => {
                        version == V5
                            && read.is_ok()
                            && (whole.body.len() == 2 || byte == 0)
                            && whole.body.len() < 4
                    }
                    Packet::Disconnect(_) => {
                        version == V5
                            && read.is_ok()
                            && (whole.body.is_empty() || byte == 0)
                            && whole.body.len() < 2
                    }
                    Packet::ConnAck(_) => {
                        // The refusal of 3.x becomes the cut one of 5.0 that it is not.
                        version == V5 && whole.body.len() == 2 && read.is_ok()
                    }
                    _ => false,
                };
                assert_eq!(
                    read.is_ok(),
                    grows,
                    "{} in {version} and 0x{byte:02x}: {read:?}",
                    vector.name
                );
            }
        }
    }
}

#[test]
fn each_byte_may_become_any_other() {
    for vector in vectors() {
        let bytes = vector.bytes();
        for &version in vector.versions {
            for at in 0..bytes.len() {
                for byte in 0..=255 {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    crate::fuzz::law::stream(version, vector.receiver, &changed);
                }
            }
        }
    }
}
