//! Reason codes: ONE table of number, name and the packets each may stand in (§2.4).
//!
//! The return codes of a 3.x CONNACK become reason codes when they are decoded.

use std::fmt;

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::{PacketType, Role};

/// The result of an operation: below 0x80 it succeeded, from 0x80 on it failed.
///
/// Every byte is representable, for a peer may send a number that no table has.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(u8);

impl ReasonCode {
    /// "Normal disconnection", what 0x00 means in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::SUCCESS;
    /// "Granted QoS 0", what 0x00 means in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::SUCCESS;

    /// Returns the reason code of a number.
    #[inline]
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// Returns the number.
    #[inline]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Tells whether the code reports a failure.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// Returns the name in the specification's words, `Unknown reason code` where it has none.
    pub fn name(self) -> &'static str {
        self.row().map_or("Unknown reason code", |row| row.name)
    }

    /// Returns the reason code of a 3.x CONNACK return code, or `None` for a reserved one.
    pub const fn from_v3_connack(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::SUCCESS),
            1 => Some(Self::UNSUPPORTED_PROTOCOL_VERSION),
            2 => Some(Self::CLIENT_IDENTIFIER_NOT_VALID),
            3 => Some(Self::SERVER_UNAVAILABLE),
            4 => Some(Self::BAD_USER_NAME_OR_PASSWORD),
            5 => Some(Self::NOT_AUTHORIZED),
            _ => None,
        }
    }

    /// Returns the 3.x CONNACK return code, or `None` where 3.x has no number for this.
    pub const fn to_v3_connack(self) -> Option<u8> {
        match self {
            Self::SUCCESS => Some(0),
            Self::UNSUPPORTED_PROTOCOL_VERSION => Some(1),
            Self::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
            Self::SERVER_UNAVAILABLE => Some(3),
            Self::BAD_USER_NAME_OR_PASSWORD => Some(4),
            Self::NOT_AUTHORIZED => Some(5),
            _ => None,
        }
    }

    /// Tells whether 5.0 lets this code stand in a `packet` that `receiver` gets.
    ///
    /// Towards a client, a CONNACK and a DISCONNECT may also carry a failure that no table lists:
    /// both end the connection, and the number is all that a user has to go by.
    pub fn is_allowed(self, packet: PacketType, receiver: Role) -> bool {
        if receiver == Role::Client
            && self.is_error()
            && matches!(packet, PacketType::ConnAck | PacketType::Disconnect)
        {
            return true;
        }
        self.row().is_some_and(|row| {
            let packets = match receiver {
                Role::Client => row.to_client,
                Role::Server => row.to_server,
            };
            packets & bit(packet) != 0
        })
    }

    /// Refuses the code in a `packet` that `receiver` got.
    pub(super) fn check_received(
        self,
        packet: PacketType,
        receiver: Role,
    ) -> Result<Self, DecodeError> {
        if self.is_allowed(packet, receiver) {
            Ok(self)
        } else {
            Err(DecodeError::new(Rule::ReasonNotListed, "reason code").with_byte(self.0))
        }
    }

    /// Refuses the code in a `packet` to send, whichever end does.
    pub(super) fn check_sent(self, packet: PacketType) -> Result<Self, EncodeError> {
        if self.is_sendable(packet) {
            Ok(self)
        } else {
            Err(EncodeError::ReasonNotAllowed { packet, reason: self })
        }
    }

    /// Tells whether either end may send this code in a `packet`.
    pub(super) fn is_sendable(self, packet: PacketType) -> bool {
        self.is_allowed(packet, Role::Client) || self.is_allowed(packet, Role::Server)
    }

    fn row(self) -> Option<&'static Row> {
        let at = TABLE.binary_search_by_key(&self.0, |row| row.code).ok()?;
        TABLE.get(at)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), self.0)
    }
}

impl From<ReasonCode> for u8 {
    fn from(reason: ReasonCode) -> Self {
        reason.0
    }
}

impl From<u8> for ReasonCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

struct Row {
    code: u8,
    name: &'static str,
    /// The packets, as bits of [`PacketType`], in which a client may receive the code.
    to_client: u16,
    /// The packets in which a server may receive the code.
    to_server: u16,
}

const fn bit(packet: PacketType) -> u16 {
    1 << packet as u8
}

const NONE: u16 = 0;
const CONNACK: u16 = bit(PacketType::ConnAck);
const PUBACK: u16 = bit(PacketType::PubAck) | bit(PacketType::PubRec);
const PUBREL: u16 = bit(PacketType::PubRel) | bit(PacketType::PubComp);
const SUBACK: u16 = bit(PacketType::SubAck);
const UNSUBACK: u16 = bit(PacketType::UnsubAck);
const DISCONNECT: u16 = bit(PacketType::Disconnect);
const AUTH: u16 = bit(PacketType::Auth);

macro_rules! reason_codes {
    ($($constant:ident = $code:literal, $name:literal, $to_client:expr, $to_server:expr;)*) => {
        impl ReasonCode {
            $(
                #[doc = concat!("\"", $name, "\", ", stringify!($code), ".")]
                pub const $constant: Self = Self($code);
            )*
        }

        /// Ordered by code.
        static TABLE: &[Row] = &[
            $(Row { code: $code, name: $name, to_client: $to_client, to_server: $to_server },)*
        ];
    };
}

// A server has no business sending 0x00 in a DISCONNECT, but brokers do, and it harms nobody.
reason_codes! {
    SUCCESS = 0x00, "Success",
        CONNACK | PUBACK | PUBREL | SUBACK | UNSUBACK | DISCONNECT | AUTH,
        PUBACK | PUBREL | DISCONNECT;
    GRANTED_QOS_1 = 0x01, "Granted QoS 1", SUBACK, NONE;
    GRANTED_QOS_2 = 0x02, "Granted QoS 2", SUBACK, NONE;
    DISCONNECT_WITH_WILL = 0x04, "Disconnect with Will Message", NONE, DISCONNECT;
    NO_MATCHING_SUBSCRIBERS = 0x10, "No matching subscribers", PUBACK, PUBACK;
    NO_SUBSCRIPTION_EXISTED = 0x11, "No subscription existed", UNSUBACK, NONE;
    CONTINUE_AUTHENTICATION = 0x18, "Continue authentication", AUTH, AUTH;
    REAUTHENTICATE = 0x19, "Re-authenticate", NONE, AUTH;
    UNSPECIFIED_ERROR = 0x80, "Unspecified error",
        CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT, PUBACK | DISCONNECT;
    MALFORMED_PACKET = 0x81, "Malformed Packet", CONNACK | DISCONNECT, DISCONNECT;
    PROTOCOL_ERROR = 0x82, "Protocol Error", CONNACK | DISCONNECT, DISCONNECT;
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "Implementation specific error",
        CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT, PUBACK | DISCONNECT;
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "Unsupported Protocol Version", CONNACK, NONE;
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "Client Identifier not valid", CONNACK, NONE;
    BAD_USER_NAME_OR_PASSWORD = 0x86, "Bad User Name or Password", CONNACK, NONE;
    NOT_AUTHORIZED = 0x87, "Not authorized",
        CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT, PUBACK;
    SERVER_UNAVAILABLE = 0x88, "Server unavailable", CONNACK, NONE;
    SERVER_BUSY = 0x89, "Server busy", CONNACK | DISCONNECT, NONE;
    BANNED = 0x8A, "Banned", CONNACK, NONE;
    SERVER_SHUTTING_DOWN = 0x8B, "Server shutting down", DISCONNECT, NONE;
    BAD_AUTHENTICATION_METHOD = 0x8C, "Bad authentication method", CONNACK | DISCONNECT, NONE;
    KEEP_ALIVE_TIMEOUT = 0x8D, "Keep Alive timeout", DISCONNECT, NONE;
    SESSION_TAKEN_OVER = 0x8E, "Session taken over", DISCONNECT, NONE;
    TOPIC_FILTER_INVALID = 0x8F, "Topic Filter invalid", SUBACK | UNSUBACK | DISCONNECT, NONE;
    TOPIC_NAME_INVALID = 0x90, "Topic Name invalid",
        CONNACK | PUBACK | DISCONNECT, PUBACK | DISCONNECT;
    PACKET_IDENTIFIER_IN_USE = 0x91, "Packet Identifier in use",
        PUBACK | SUBACK | UNSUBACK, PUBACK;
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "Packet Identifier not found", PUBREL, PUBREL;
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "Receive Maximum exceeded", DISCONNECT, DISCONNECT;
    TOPIC_ALIAS_INVALID = 0x94, "Topic Alias invalid", DISCONNECT, DISCONNECT;
    PACKET_TOO_LARGE = 0x95, "Packet too large", CONNACK | DISCONNECT, DISCONNECT;
    MESSAGE_RATE_TOO_HIGH = 0x96, "Message rate too high", DISCONNECT, DISCONNECT;
    QUOTA_EXCEEDED = 0x97, "Quota exceeded",
        CONNACK | PUBACK | SUBACK | DISCONNECT, PUBACK | DISCONNECT;
    ADMINISTRATIVE_ACTION = 0x98, "Administrative action", DISCONNECT, DISCONNECT;
    PAYLOAD_FORMAT_INVALID = 0x99, "Payload format invalid",
        CONNACK | PUBACK | DISCONNECT, PUBACK | DISCONNECT;
    RETAIN_NOT_SUPPORTED = 0x9A, "Retain not supported", CONNACK | DISCONNECT, NONE;
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", CONNACK | DISCONNECT, NONE;
    USE_ANOTHER_SERVER = 0x9C, "Use another server", CONNACK | DISCONNECT, NONE;
    SERVER_MOVED = 0x9D, "Server moved", CONNACK | DISCONNECT, NONE;
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "Shared Subscriptions not supported",
        SUBACK | DISCONNECT, NONE;
    CONNECTION_RATE_EXCEEDED = 0x9F, "Connection rate exceeded", CONNACK | DISCONNECT, NONE;
    MAXIMUM_CONNECT_TIME = 0xA0, "Maximum connect time", DISCONNECT, NONE;
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "Subscription Identifiers not supported",
        SUBACK | DISCONNECT, NONE;
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "Wildcard Subscriptions not supported",
        SUBACK | DISCONNECT, NONE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered() {
        assert!(TABLE.windows(2).all(|rows| rows[0].code < rows[1].code));
    }

    #[test]
    fn return_codes_of_3x_go_there_and_back() {
        for code in 0..=5 {
            let reason = ReasonCode::from_v3_connack(code).unwrap();
            assert_eq!(reason.to_v3_connack(), Some(code));
        }
        assert_eq!(ReasonCode::from_v3_connack(6), None);
        assert_eq!(ReasonCode::BANNED.to_v3_connack(), None);
    }

    #[test]
    fn it_reads_as_name_and_number() {
        assert_eq!(ReasonCode::NOT_AUTHORIZED.to_string(), "Not authorized (0x87)");
        assert_eq!(ReasonCode::new(0x7F).to_string(), "Unknown reason code (0x7f)");
    }
}
