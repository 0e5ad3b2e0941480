//! The protocol versions and what a CONNECT calls them (3.1.1 and 5.0 §3.1.2).

use std::fmt;

/// A version of the MQTT protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, the document of 2010 with the protocol name `MQIsdp`.
    V31 = 3,
    /// MQTT 3.1.1, the OASIS standard of 2014.
    #[default]
    V311 = 4,
    /// MQTT 5.0, the OASIS standard of 2019.
    V5 = 5,
}

impl Version {
    /// Returns the Protocol Level byte of a CONNECT.
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// Returns the version of a Protocol Level byte, or `None` for one that is unknown.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            3 => Some(Self::V31),
            4 => Some(Self::V311),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// Returns the Protocol Name of a CONNECT: `MQIsdp` in 3.1, `MQTT` since.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}
