//! The Packet Identifier (§2.2.1).

use std::fmt;
use std::num::NonZeroU16;

/// The number that ties an acknowledgement to what it acknowledges: 1 to 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest packet identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The largest packet identifier.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// Returns the packet identifier `id`, or `None` for zero, which the protocol forbids.
    #[inline]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
