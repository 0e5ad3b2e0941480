//! What is wrong with a packet: ONE table of the rules a receiver enforces, and the errors made
//! from it.
//!
//! Clause numbers are those of 5.0; a rule that only 3.x has carries its 3.1.1 number and says so.

use std::fmt;

use super::packet::PacketType;
use super::property::PropertyError;
use super::reason::ReasonCode;
use super::version::Version;

/// The error of bytes that are not a packet the peer may send.
///
/// It ends the connection: after it nothing on the stream can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    field: &'static str,
    rule: Rule,
    packet: Option<PacketType>,
    byte: Option<u8>,
}

impl DecodeError {
    #[cold]
    pub(super) fn new(rule: Rule, field: &'static str) -> Self {
        Self { field, rule, packet: None, byte: None }
    }

    /// Adds the offending byte.
    pub(super) fn with_byte(mut self, byte: u8) -> Self {
        self.byte = Some(byte);
        self
    }

    /// Adds the kind of packet in which it happened.
    #[cold]
    pub(super) fn in_packet(mut self, packet: PacketType) -> Self {
        self.packet = Some(packet);
        self
    }

    /// Returns the kind of packet that was wrong, or `None` where not even that is known.
    pub fn packet(&self) -> Option<PacketType> {
        self.packet
    }

    /// Returns the reason code with which a 5.0 endpoint should disconnect.
    pub fn reason(&self) -> ReasonCode {
        self.rule.row().0
    }

    /// Returns the clause that was broken, as `MQTT-3.3.1-4` or `§2.1.2`.
    pub fn clause(&self) -> &'static str {
        self.rule.row().1
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({self})")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, clause, what) = self.rule.row();
        if let Some(packet) = self.packet {
            write!(f, "{packet}: ")?;
        }
        write!(f, "{} {what}", self.field)?;
        if let Some(byte) = self.byte {
            write!(f, " (0x{byte:02x})")?;
        }
        write!(f, " [{clause}]")
    }
}

impl std::error::Error for DecodeError {}

/// The error of a packet that must not be sent as it stands. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is longer than the 65,535 bytes its length prefix can say.
    #[error("{field} has {len} bytes, the protocol allows 65535")]
    FieldTooLong {
        /// What was too long, in the specification's words.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The packet is longer than the 268,435,455 bytes after its header that MQTT can express.
    #[error("the packet would have {size} bytes after its header, the protocol allows 268435455")]
    PacketTooLarge {
        /// The bytes after the fixed header.
        size: u64,
    },
    /// The packet says something that its version of the protocol has no bytes for.
    #[error("MQTT {version} has no {what}")]
    NotInVersion {
        /// What cannot be said.
        what: &'static str,
        /// The version it was to be said in.
        version: Version,
    },
    /// The properties may not stand in this packet.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// The reason code may not stand in this packet.
    #[error("{packet} cannot carry the reason code {reason}")]
    ReasonNotAllowed {
        /// The packet.
        packet: PacketType,
        /// The reason code.
        reason: ReasonCode,
    },
    /// A packet was to be written as an acknowledgement of a PUBLISH that it is not.
    #[error("{packet} is not PUBACK, PUBREC, PUBREL or PUBCOMP")]
    NotAnAck {
        /// The packet.
        packet: PacketType,
    },
    /// A field breaks a rule of the protocol that the peer would disconnect for.
    #[error("{field} {what} [{clause}]")]
    Breach {
        /// The field, in the specification's words.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
        /// The clause it breaks.
        clause: &'static str,
    },
}

impl EncodeError {
    #[cold]
    pub(super) fn breach(rule: Rule, field: &'static str) -> Self {
        let (_, clause, what) = rule.row();
        Self::Breach { field, what, clause }
    }
}

macro_rules! rules {
    ($($rule:ident: $reason:ident, $clause:literal, $what:literal;)*) => {
        /// A rule of the protocol that one packet can break by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Rule {
            $(#[doc = concat!($clause, ": ", $what)] $rule,)*
        }

        impl Rule {
            /// Returns the reason code to disconnect with, the clause, and the words.
            fn row(self) -> (ReasonCode, &'static str, &'static str) {
                match self {
                    $(Self::$rule => (ReasonCode::$reason, $clause, $what),)*
                }
            }

            /// Returns what to say of a field that breaks the rule.
            pub(super) fn words(self) -> &'static str {
                self.row().2
            }
        }
    };
}

rules! {
    // The frame.
    ReservedType: MALFORMED_PACKET, "§2.1.2", "is of a reserved packet type";
    ReservedFlags: MALFORMED_PACKET, "MQTT-2.1.3-1", "has reserved flags set";
    WrongDirection: PROTOCOL_ERROR, "§2.1.2", "is not a packet for this end of the connection";
    IntegerTooLong: MALFORMED_PACKET, "§1.5.5", "has more than four bytes";
    IntegerNotMinimal: MALFORMED_PACKET, "MQTT-1.5.5-1", "has more bytes than its value needs";
    PacketTooLarge: PACKET_TOO_LARGE, "MQTT-3.1.2-24", "is larger than the maximum packet size";
    CutShort: MALFORMED_PACKET, "§2.1.4", "is cut short";
    TrailingBytes: MALFORMED_PACKET, "§2.1.4", "has bytes after its last field";

    // Fields of several packets.
    NotUtf8: MALFORMED_PACKET, "MQTT-1.5.4-1", "is not well-formed UTF-8";
    Nul: MALFORMED_PACKET, "MQTT-1.5.4-2", "contains U+0000";
    ZeroPacketId: MALFORMED_PACKET, "MQTT-2.2.1-3", "is zero";
    ReasonNotListed: PROTOCOL_ERROR, "§2.4", "is not a reason code of this packet";
    TopicEmpty: PROTOCOL_ERROR, "MQTT-4.7.3-1", "is empty";
    TopicWildcard: MALFORMED_PACKET, "MQTT-3.3.2-2", "contains a wildcard";
    TopicTooLongFor31: MALFORMED_PACKET, "3.1 §2.5", "has more than 32767 characters";
    FilterMultiLevel: MALFORMED_PACKET, "MQTT-4.7.1-1", "has # not alone in its last level";
    FilterSingleLevel: MALFORMED_PACKET, "MQTT-4.7.1-2", "has + not alone in its level";
    ShareName: MALFORMED_PACKET, "MQTT-4.8.2-1", "lacks a share name or a filter after $share/";
    ShareNameWildcard: MALFORMED_PACKET, "MQTT-4.8.2-2", "has a wildcard in its share name";
    NoFilters: PROTOCOL_ERROR, "MQTT-3.8.3-2", "has no topic filter";
    NoFiltersToUnsubscribe: PROTOCOL_ERROR, "MQTT-3.10.3-2", "has no topic filter";
    NoSubAckCodes: PROTOCOL_ERROR, "MQTT-3.8.4-6", "has no reason code";
    NoUnsubAckCodes: PROTOCOL_ERROR, "MQTT-3.11.3-1", "has no reason code";

    // Properties.
    PropertyUnknown: MALFORMED_PACKET, "§2.2.2.2", "is not a property";
    PropertyNotAllowed: PROTOCOL_ERROR, "§2.2.2.2", "is a property that this packet cannot have";
    PropertyRepeated: PROTOCOL_ERROR, "§2.2.2.2", "is a property that may stand only once";
    NotZeroOrOne: PROTOCOL_ERROR, "§2.2.2.2", "is neither 0 nor 1";
    MaximumQos: PROTOCOL_ERROR, "MQTT-3.2.2-11", "is neither 0 nor 1";
    ZeroReceiveMaximum: PROTOCOL_ERROR, "§3.1.2.11.3", "is zero";
    ZeroMaximumPacketSize: PROTOCOL_ERROR, "§3.1.2.11.4", "is zero";
    ZeroSubscriptionIdentifier: PROTOCOL_ERROR, "§3.8.2.1.2", "is zero";
    ZeroTopicAlias: TOPIC_ALIAS_INVALID, "MQTT-3.3.2-8", "is zero";
    ResponseTopic: PROTOCOL_ERROR, "MQTT-3.3.2-14", "is not a topic name";
    AuthenticationData: PROTOCOL_ERROR, "§3.1.2.11.10", "stands without authentication-method";

    // CONNECT.
    ProtocolName: UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1", "is not known";
    ProtocolLevel: UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2", "is not known";
    ConnectReserved: MALFORMED_PACKET, "MQTT-3.1.2-3", "have the reserved bit set";
    WillWithoutFlag: MALFORMED_PACKET, "MQTT-3.1.2-11", "say QoS or retain without a will";
    WillQos: MALFORMED_PACKET, "MQTT-3.1.2-12", "say QoS 3 for the will";
    PasswordWithoutUserName: MALFORMED_PACKET, "3.1.1 MQTT-3.1.2-22", "announce a password without user name";
    EmptyClientId: CLIENT_IDENTIFIER_NOT_VALID, "3.1.1 MQTT-3.1.3-7", "is empty";

    // CONNACK.
    ConnAckFlags: MALFORMED_PACKET, "§3.2.2.1", "have a reserved bit set";
    ConnAckReturnCode: PROTOCOL_ERROR, "MQTT-3.2.2-8", "is reserved";
    SessionPresentRefused: PROTOCOL_ERROR, "MQTT-3.2.2-6", "is set in a refusal";

    // PUBLISH.
    PublishQos: MALFORMED_PACKET, "MQTT-3.3.1-4", "is 3";
    PublishDup: MALFORMED_PACKET, "MQTT-3.3.1-2", "is set at QoS 0";
    PacketIdMissing: MALFORMED_PACKET, "MQTT-2.2.1-3", "is missing above QoS 0";
    PacketIdAtQos0: MALFORMED_PACKET, "MQTT-2.2.1-2", "is present at QoS 0";
    SubscriptionIdentifierSent: PROTOCOL_ERROR, "MQTT-3.3.4-6", "cannot come from a client";

    NotPublish: PROTOCOL_ERROR, "§2.1.2", "is not a PUBLISH";

    // SUBSCRIBE.
    SubscribeReserved: MALFORMED_PACKET, "MQTT-3.8.3-5", "have reserved bits set";
    SubscribeQos: PROTOCOL_ERROR, "§3.8.3.1", "ask for QoS 3";
    RetainHandling: PROTOCOL_ERROR, "§3.8.3.1", "ask for retain handling 3";
    NoLocalShared: PROTOCOL_ERROR, "MQTT-3.8.3-4", "say no-local on a shared subscription";

    // DISCONNECT.
    SessionExpirySent: PROTOCOL_ERROR, "MQTT-3.14.2-2", "cannot come from a server";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_decoding_is_small() {
        assert!(size_of::<DecodeError>() <= 32);
    }
}
