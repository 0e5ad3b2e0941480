//! The quality of service of a message (§4.3).

use std::fmt;

/// How hard a message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once and not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged by a PUBACK, may arrive more than once.
    AtLeastOnce = 1,
    /// QoS 2: acknowledged in two steps, arrives once.
    ExactlyOnce = 2,
}

impl QoS {
    /// Reads the lowest two bits of `bits`, or returns `None` for the forbidden 3.
    #[inline]
    pub(super) const fn from_low_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", u8::from(*self))
    }
}

impl From<QoS> for u8 {
    #[inline]
    fn from(qos: QoS) -> Self {
        qos as Self
    }
}

impl TryFrom<u8> for QoS {
    type Error = InvalidQoS;

    fn try_from(value: u8) -> Result<Self, InvalidQoS> {
        match value {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(InvalidQoS(value)),
        }
    }
}

/// The error of a number that is no QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("QoS {0} does not exist, only 0, 1 and 2 do")]
pub struct InvalidQoS(pub u8);
