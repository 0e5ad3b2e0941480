//! The fixed header (§2.1): cutting one packet off a stream of bytes.

use super::error::{DecodeError, Rule};
use super::packet::PacketType;
use super::version::Version;
use super::wire::Variable;

/// The largest Remaining Length that MQTT can express.
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// The size of the largest packet that MQTT can express, its fixed header included.
pub const MAX_PACKET_SIZE: u32 = MAX_REMAINING_LENGTH + 5;

/// The bytes of one whole packet, not yet understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte of the fixed header: packet type and flags.
    pub first: u8,
    /// What follows the fixed header: as many bytes as its Remaining Length says.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Returns the packet type, or `None` for the reserved type 0.
    #[inline]
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_nibble(self.first >> 4)
    }
}

/// What [`cut`] found at the head of the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole packet.
    Frame {
        /// The packet.
        frame: Frame<'a>,
        /// How many bytes of the input it takes.
        len: usize,
    },
    /// The beginning of a packet: at least so many more bytes are needed.
    Need(usize),
}

/// Finds the packet at the head of `input`.
///
/// Nothing is allocated. What is wrong with a header is found as soon as its bytes are there: a
/// first byte that no version knows, a Remaining Length of more than four bytes, and a size,
/// header included, above `max_packet_size` are refused without waiting for the body. A Remaining
/// Length that is longer than it need be is accepted: only 5.0 forbids it, to senders.
///
/// # Errors
///
/// [`DecodeError`] with the reason MALFORMED_PACKET or PACKET_TOO_LARGE.
///
/// # Examples
///
/// ```
/// use midge::codec::{Cut, MAX_PACKET_SIZE, cut};
///
/// assert_eq!(cut(&[0xD0], MAX_PACKET_SIZE), Ok(Cut::Need(1)));
/// let Ok(Cut::Frame { frame, len }) = cut(&[0xD0, 0x00, 0x30], MAX_PACKET_SIZE) else {
///     unreachable!()
/// };
/// assert_eq!((frame.first, frame.body, len), (0xD0, &[][..], 2));
/// ```
#[inline]
pub fn cut(input: &[u8], max_packet_size: u32) -> Result<Cut<'_>, DecodeError> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(Cut::Need(2));
    };
    // 3.1 knows all that the later versions do.
    if !has_known_flags(Version::V31, first) {
        return Err(bad_first_byte(first));
    }
    let (remaining, header) = match Variable::read(rest) {
        Variable::Whole { value, len } => (value, 1 + len),
        Variable::Unfinished => return Ok(Cut::Need(1)),
        Variable::TooLong => {
            return Err(in_packet(first, Rule::IntegerTooLong, "remaining length"));
        }
    };
    let len = header + remaining as usize;
    if len as u64 > u64::from(max_packet_size) {
        return Err(in_packet(first, Rule::PacketTooLarge, "packet"));
    }
    match input.get(header..len) {
        Some(body) => Ok(Cut::Frame { frame: Frame { first, body }, len }),
        None => Ok(Cut::Need(len - input.len())),
    }
}

/// Checks packet type and flags of `first` against `version`.
#[inline]
pub(super) fn packet_type(version: Version, first: u8) -> Result<PacketType, DecodeError> {
    match PacketType::from_nibble(first >> 4) {
        Some(PacketType::Auth) if version != Version::V5 => {
            Err(DecodeError::new(Rule::ReservedType, "fixed header").with_byte(first))
        }
        Some(packet) if has_known_flags(version, first) => Ok(packet),
        _ => Err(bad_first_byte(first)),
    }
}

/// Tells whether `version` knows a packet of the type of `first` with these flags.
#[inline]
const fn has_known_flags(version: Version, first: u8) -> bool {
    let flags = first & 0x0F;
    match first >> 4 {
        0 => false,
        3 => flags & 0b0110 != 0b0110,
        // 3.1 marks the re-delivery of these with DUP (3.1 §3.6, §3.8, §3.10).
        6 | 8 | 10 => flags == 0b0010 || (flags == 0b1010 && matches!(version, Version::V31)),
        _ => flags == 0,
    }
}

#[cold]
fn bad_first_byte(first: u8) -> DecodeError {
    match PacketType::from_nibble(first >> 4) {
        None => DecodeError::new(Rule::ReservedType, "fixed header").with_byte(first),
        Some(PacketType::Publish) => in_packet(first, Rule::PublishQos, "QoS").with_byte(first),
        Some(_) => in_packet(first, Rule::ReservedFlags, "fixed header").with_byte(first),
    }
}

#[cold]
fn in_packet(first: u8, rule: Rule, field: &'static str) -> DecodeError {
    let error = DecodeError::new(rule, field);
    match PacketType::from_nibble(first >> 4) {
        Some(packet) => error.in_packet(packet),
        None => error,
    }
}
