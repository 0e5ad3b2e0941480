//! Shorthand of the vectors.

use midge::codec::{
    Cut, DecodeError, EncodeError, Frame, MAX_PACKET_SIZE, Packet, PacketId, Properties,
    PropertiesRef, Property, PropertyValue, Role, Version, cut, decode,
};

pub use midge::codec::{
    Role::{Client, Server},
    Version::{V5, V31, V311},
};

pub const ALL: &[Version] = &[V31, V311, V5];
pub const V3: &[Version] = &[V31, V311];
pub const FROM_311: &[Version] = &[V311, V5];
pub const ONLY_31: &[Version] = &[V31];
pub const ONLY_311: &[Version] = &[V311];
pub const ONLY_5: &[Version] = &[V5];

/// Reads hexadecimal digits, two to a byte, with spaces anywhere between bytes.
pub fn hex(digits: &str) -> Vec<u8> {
    digits
        .split_whitespace()
        .flat_map(|group| {
            assert!(group.len() % 2 == 0, "half a byte in {group}");
            (0..group.len()).step_by(2).map(move |at| {
                u8::from_str_radix(&group[at..at + 2], 16).unwrap_or_else(|_| panic!("{group}"))
            })
        })
        .collect()
}

/// Cuts the one packet that `bytes` are.
pub fn frame(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    match cut(bytes, MAX_PACKET_SIZE)? {
        Cut::Frame { frame, len } => {
            assert_eq!(len, bytes.len(), "bytes after the packet {bytes:02x?}");
            Ok(frame)
        }
        Cut::Need(more) => panic!("{more} bytes missing from {bytes:02x?}"),
    }
}

/// Cuts and decodes the one packet that `bytes` are.
pub fn read(version: Version, receiver: Role, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    decode(version, receiver, frame(bytes)?)
}

/// Encodes a packet and checks that its announced length is true.
pub fn write(version: Version, packet: &Packet<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut out = b"before".to_vec();
    let written = packet.encode(version, &mut out);
    assert!(out.starts_with(b"before"));
    let bytes = out.split_off(6);
    match written {
        Ok(()) => assert_eq!(packet.encoded_len(version), Ok(bytes.len())),
        Err(ref error) => {
            assert_eq!(packet.encoded_len(version).as_ref(), Err(error));
            assert!(bytes.is_empty(), "{error} and yet {bytes:02x?}");
        }
    }
    written.map(|()| bytes)
}

/// Puts a fixed header before a body, without the help of the codec.
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_variable(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Appends a variable byte integer, without the help of the codec.
pub fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let more = value >= 128;
        out.push((value % 128) as u8 + if more { 128 } else { 0 });
        value /= 128;
        if !more {
            return;
        }
    }
}

/// Puts a length of two bytes before `bytes`.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes()[..], bytes].concat()
}

pub fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// Makes a list of properties that lasts as long as the tests.
pub fn list(values: &[(Property, PropertyValue<'_>)]) -> PropertiesRef<'static> {
    let mut list = Properties::new();
    for (property, value) in values {
        list.push(*property, *value).unwrap();
    }
    Box::leak(Box::new(list)).as_ref()
}
