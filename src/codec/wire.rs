//! The data representations of §1.5: a reader that cannot leave its bytes, and one way of writing
//! that both counts and fills.

use super::error::{DecodeError, EncodeError, Rule};
use super::frame::MAX_REMAINING_LENGTH;
use super::packet_id::PacketId;
use super::properties::PropertiesRef;
use super::text;
use super::version::Version;

/// Takes fields off the front of a packet's body.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes everything that is left.
    #[inline]
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Takes `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| cut_short(field))?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// Takes a variable byte integer of 5.0, which must be as short as its value allows.
    #[inline]
    pub(super) fn variable(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match Variable::read(self.rest) {
            Variable::Whole { value, len } if len == variable_len(value) => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Ok(value)
            }
            Variable::Whole { .. } => Err(DecodeError::new(Rule::IntegerNotMinimal, field)),
            Variable::Unfinished => Err(cut_short(field)),
            Variable::TooLong => Err(DecodeError::new(Rule::IntegerTooLong, field)),
        }
    }

    #[inline]
    pub(super) fn bytes(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| cut_short(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes a length of two bytes and as many bytes (§1.5.6).
    #[inline]
    pub(super) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.bytes(usize::from(len), field)
    }

    /// Takes a UTF-8 encoded string (§1.5.4).
    #[inline]
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        text::decode(bytes).map_err(|rule| DecodeError::new(rule, field))
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let id = self.u16("packet identifier")?;
        PacketId::new(id).ok_or_else(|| DecodeError::new(Rule::ZeroPacketId, "packet identifier"))
    }

    /// Refuses whatever follows the last field.
    #[inline]
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::new(Rule::TrailingBytes, "packet"))
        }
    }
}

#[cold]
fn cut_short(field: &'static str) -> DecodeError {
    DecodeError::new(Rule::CutShort, field)
}

/// A variable byte integer at the head of some bytes (§1.5.5).
pub(super) enum Variable {
    Whole { value: u32, len: usize },
    Unfinished,
    TooLong,
}

impl Variable {
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut value = 0;
        for (at, &byte) in bytes.iter().take(4).enumerate() {
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Self::Whole { value, len: at + 1 };
            }
        }
        if bytes.len() < 4 { Self::Unfinished } else { Self::TooLong }
    }
}

/// Returns how many bytes the variable byte integer of `value` takes.
#[inline]
pub(super) const fn variable_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Where fields are written: into a buffer, or into a count of bytes.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn variable(&mut self, value: u32) -> Result<(), EncodeError> {
        let [a, b, c, d] = [value, value >> 7, value >> 14, value >> 21].map(|v| (v & 0x7F) as u8);
        match variable_len(remaining_length(value.into())?) {
            1 => self.put(&[a]),
            2 => self.put(&[a | 0x80, b]),
            3 => self.put(&[a | 0x80, b | 0x80, c]),
            _ => self.put(&[a | 0x80, b | 0x80, c | 0x80, d]),
        }
        Ok(())
    }

    #[inline]
    fn binary(&mut self, field: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
        let len = bytes.len();
        let prefix = u16::try_from(len).map_err(|_| EncodeError::FieldTooLong { field, len })?;
        self.u16(prefix);
        self.put(bytes);
        Ok(())
    }

    #[inline]
    fn string(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        self.binary(field, text.as_bytes())
    }

    /// Writes the property length and the properties, which only 5.0 has.
    #[inline]
    fn properties(
        &mut self,
        version: Version,
        properties: PropertiesRef<'_>,
    ) -> Result<(), EncodeError> {
        if version == Version::V5 {
            let bytes = properties.wire();
            self.variable(remaining_length(bytes.len() as u64)?)?;
            self.put(bytes);
        }
        Ok(())
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Count(u64);

impl Sink for Count {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

#[inline]
fn remaining_length(size: u64) -> Result<u32, EncodeError> {
    u32::try_from(size)
        .ok()
        .filter(|size| *size <= MAX_REMAINING_LENGTH)
        .ok_or(EncodeError::PacketTooLarge { size })
}

/// A packet that can be written.
pub(super) trait Encode {
    /// Returns the first byte of the fixed header.
    fn first_byte(&self) -> u8;

    /// Refuses what may not be sent in `version`, lengths excepted.
    fn check(&self, version: Version) -> Result<(), EncodeError>;

    /// Writes what stands between the fixed header and [`payload`](Self::payload).
    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError>;

    /// Returns the bytes that end the packet and need no copy to be sent.
    #[inline]
    fn payload(&self) -> &[u8] {
        &[]
    }
}

/// Gives a packet its public methods of writing.
macro_rules! encodable {
    ($packet:ident) => {
        impl $packet<'_> {
            /// Appends the whole packet to `out`, in its shortest form.
            ///
            /// # Errors
            ///
            /// [`EncodeError`] when the packet may not be sent as it stands; `out` is then
            /// unchanged.
            #[inline]
            pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                $crate::codec::wire::encode(self, version, out)
            }

            /// Returns how many bytes [`encode`](Self::encode) appends.
            ///
            /// # Errors
            ///
            /// As [`encode`](Self::encode).
            #[inline]
            pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
                $crate::codec::wire::encoded_len(self, version)
            }
        }
    };
}

pub(super) use encodable;

/// Checks a packet and returns its Remaining Length.
#[inline]
fn measure<E: Encode>(packet: &E, version: Version) -> Result<u32, EncodeError> {
    packet.check(version)?;
    count(packet, version)
}

/// Returns the Remaining Length of a packet.
#[inline]
fn count<E: Encode>(packet: &E, version: Version) -> Result<u32, EncodeError> {
    let mut count = Count(packet.payload().len() as u64);
    packet.write(version, &mut count)?;
    remaining_length(count.0)
}

/// Returns the size of the whole packet.
#[inline]
pub(super) fn encoded_len<E: Encode>(packet: &E, version: Version) -> Result<usize, EncodeError> {
    let remaining = measure(packet, version)?;
    Ok(1 + variable_len(remaining) + remaining as usize)
}

/// Appends the whole packet to `out`, or nothing.
#[inline]
pub(super) fn encode<E: Encode>(
    packet: &E,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let remaining = measure(packet, version)?;
    out.reserve(5 + remaining as usize);
    put_head(packet, version, remaining, out)?;
    out.put(packet.payload());
    Ok(())
}

/// Appends everything before the payload of a packet that was checked to `out`, or nothing.
#[inline]
pub(super) fn encode_head<E: Encode>(
    packet: &E,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let remaining = count(packet, version)?;
    out.reserve(5 + remaining as usize - packet.payload().len());
    put_head(packet, version, remaining, out)
}

#[inline]
fn put_head<E: Encode>(
    packet: &E,
    version: Version,
    remaining: u32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.u8(packet.first_byte());
    let written = out.variable(remaining).and_then(|()| packet.write(version, out));
    if written.is_err() {
        out.truncate(start);
    }
    written
}
