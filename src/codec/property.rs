//! The properties of 5.0: ONE table of identifier, name, type, value rule, the packets that may
//! have each, and where it may be repeated (§2.2.2.2).

use std::fmt;

use super::error::Rule;
use super::packet::PacketType;
use super::topic;

/// Where properties stand: in a packet, or in the will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertyOwner {
    /// The properties of a packet.
    Packet(PacketType),
    /// The will properties of a CONNECT.
    Will,
}

impl PropertyOwner {
    const fn bit(self) -> u16 {
        match self {
            Self::Will => WILL,
            Self::Packet(packet) => 1 << packet as u8,
        }
    }
}

impl fmt::Display for PropertyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(packet) => packet.fmt(f),
            Self::Will => f.pad("will"),
        }
    }
}

/// The data types of properties (§2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertyType {
    /// One byte.
    Byte,
    /// An unsigned integer of two bytes.
    TwoByte,
    /// An unsigned integer of four bytes.
    FourByte,
    /// An integer of one to four bytes, at most 268,435,455.
    VariableByte,
    /// Up to 65,535 bytes of any kind.
    Binary,
    /// A UTF-8 encoded string.
    Utf8,
    /// A name and a value, both UTF-8 encoded strings.
    Pair,
}

impl fmt::Display for PropertyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Byte => "a byte",
            Self::TwoByte => "a two byte integer",
            Self::FourByte => "a four byte integer",
            Self::VariableByte => "a variable byte integer",
            Self::Binary => "binary data",
            Self::Utf8 => "a string",
            Self::Pair => "a pair of strings",
        })
    }
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyValue<'a> {
    /// One byte.
    Byte(u8),
    /// An unsigned integer of two bytes.
    TwoByte(u16),
    /// An unsigned integer of four bytes.
    FourByte(u32),
    /// An integer of at most 268,435,455.
    VariableByte(u32),
    /// Up to 65,535 bytes of any kind.
    Binary(&'a [u8]),
    /// A string of up to 65,535 bytes.
    Utf8(&'a str),
    /// A name and a value, each of up to 65,535 bytes.
    Pair(&'a str, &'a str),
}

impl PropertyValue<'_> {
    /// Returns the data type of the value.
    pub const fn data_type(&self) -> PropertyType {
        match self {
            Self::Byte(_) => PropertyType::Byte,
            Self::TwoByte(_) => PropertyType::TwoByte,
            Self::FourByte(_) => PropertyType::FourByte,
            Self::VariableByte(_) => PropertyType::VariableByte,
            Self::Binary(_) => PropertyType::Binary,
            Self::Utf8(_) => PropertyType::Utf8,
            Self::Pair(..) => PropertyType::Pair,
        }
    }

    fn as_integer(&self) -> Option<u32> {
        match *self {
            Self::Byte(value) => Some(value.into()),
            Self::TwoByte(value) => Some(value.into()),
            Self::FourByte(value) | Self::VariableByte(value) => Some(value),
            Self::Binary(_) | Self::Utf8(_) | Self::Pair(..) => None,
        }
    }
}

/// The error of a property that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// The value has another type than the property.
    #[error("{property} is {expected}")]
    WrongType {
        /// The property.
        property: Property,
        /// The type that its value must have.
        expected: PropertyType,
    },
    /// The value is longer than the 65,535 bytes that its length prefix can say.
    #[error("{property} has {len} bytes, the protocol allows 65535")]
    TooLong {
        /// The property.
        property: Property,
        /// The length in bytes.
        len: usize,
    },
    /// The value is one that the protocol forbids.
    #[error("{property} {what}")]
    InvalidValue {
        /// The property.
        property: Property,
        /// What is wrong with the value.
        what: &'static str,
    },
    /// The property may not stand here.
    #[error("{owner} cannot have the property {property}")]
    NotAllowed {
        /// The property.
        property: Property,
        /// Where it stands.
        owner: PropertyOwner,
    },
    /// The property stands more than once where it may stand only once.
    #[error("{property} stands more than once")]
    Repeated {
        /// The property.
        property: Property,
    },
}

/// What a value must obey beyond its type.
#[derive(Clone, Copy)]
enum Value {
    Any,
    ZeroOrOne(Rule),
    NotZero(Rule),
    TopicName,
}

/// A row of the table.
struct Row {
    name: &'static str,
    data_type: PropertyType,
    value: Value,
    /// Bits of [`PropertyOwner`].
    owners: u16,
    /// Those of the owners that may have it more than once.
    repeatable: u16,
}

impl Property {
    /// Returns the identifier on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Returns the name in lower case with dashes, as `content-type`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns the type that its values have.
    pub fn data_type(self) -> PropertyType {
        self.row().data_type
    }

    /// Tells whether `owner` may have the property.
    pub fn is_allowed_in(self, owner: PropertyOwner) -> bool {
        self.row().owners & owner.bit() != 0
    }

    /// Tells whether `owner` may have the property more than once.
    pub fn is_repeatable_in(self, owner: PropertyOwner) -> bool {
        self.row().repeatable & owner.bit() != 0
    }

    /// Returns the property called `name` in lower case with dashes.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|property| property.name() == name)
    }

    /// Refuses a value, of the right type, that the protocol forbids.
    pub(super) fn check_value(self, value: &PropertyValue<'_>) -> Result<(), Rule> {
        let integer = value.as_integer();
        match self.row().value {
            Value::ZeroOrOne(rule) if integer.is_some_and(|integer| integer > 1) => Err(rule),
            Value::NotZero(rule) if integer == Some(0) => Err(rule),
            Value::TopicName => match *value {
                PropertyValue::Utf8(name) if topic::check_name_characters(name).is_err() => {
                    Err(Rule::ResponseTopic)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which properties were seen so far in one list, to find those that may stand only once.
#[derive(Default)]
pub(super) struct Seen(u64);

impl Seen {
    /// Takes note of a `property` of `owner`, or refuses it.
    pub(super) fn note(&mut self, property: Property, owner: PropertyOwner) -> Result<(), Rule> {
        if !property.is_allowed_in(owner) {
            return Err(Rule::PropertyNotAllowed);
        }
        if self.has(property) && !property.is_repeatable_in(owner) {
            return Err(Rule::PropertyRepeated);
        }
        self.0 |= 1 << property.id();
        Ok(())
    }

    /// Refuses a whole list in which something is missing.
    pub(super) fn check(&self) -> Result<(), Rule> {
        if self.has(Property::AuthenticationData) && !self.has(Property::AuthenticationMethod) {
            return Err(Rule::AuthenticationData);
        }
        Ok(())
    }

    fn has(&self, property: Property) -> bool {
        self.0 & 1 << property.id() != 0
    }
}

macro_rules! properties {
    ($($property:ident = $id:literal, $name:literal, $data_type:ident, $value:expr,
       $owners:expr, $repeatable:expr, $doc:literal;)*) => {
        /// The properties of 5.0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Property {
            $(#[doc = $doc] $property = $id,)*
        }

        impl Property {
            /// All properties, in the order of their identifiers.
            pub const ALL: &'static [Self] = &[$(Self::$property,)*];

            /// Returns the property with the identifier `id`.
            #[inline]
            pub const fn from_id(id: u8) -> Option<Self> {
                match id {
                    $($id => Some(Self::$property),)*
                    _ => None,
                }
            }

            #[inline]
            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$property => {
                        const ROW: Row = Row {
                            name: $name,
                            data_type: PropertyType::$data_type,
                            value: $value,
                            owners: $owners,
                            repeatable: $repeatable,
                        };
                        &ROW
                    })*
                }
            }
        }
    };
}

const NONE: u16 = 0;
const WILL: u16 = 1;
const CONNECT: u16 = bit(PacketType::Connect);
const CONNACK: u16 = bit(PacketType::ConnAck);
const PUBLISH: u16 = bit(PacketType::Publish);
const MESSAGE: u16 = PUBLISH | WILL;
const ACKS: u16 = bit(PacketType::PubAck)
    | bit(PacketType::PubRec)
    | bit(PacketType::PubRel)
    | bit(PacketType::PubComp)
    | bit(PacketType::SubAck)
    | bit(PacketType::UnsubAck);
const SUBSCRIBE: u16 = bit(PacketType::Subscribe);
const UNSUBSCRIBE: u16 = bit(PacketType::Unsubscribe);
const DISCONNECT: u16 = bit(PacketType::Disconnect);
const AUTH: u16 = bit(PacketType::Auth);
const ANY: u16 = CONNECT | CONNACK | MESSAGE | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH;

const fn bit(packet: PacketType) -> u16 {
    PropertyOwner::Packet(packet).bit()
}

const FLAG: Value = Value::ZeroOrOne(Rule::NotZeroOrOne);

properties! {
    PayloadFormatIndicator = 0x01, "payload-format-indicator", Byte, FLAG, MESSAGE, NONE,
        "Whether the payload is bytes (0) or UTF-8 (1).";
    MessageExpiryInterval = 0x02, "message-expiry-interval", FourByte, Value::Any, MESSAGE, NONE,
        "The life of the message in seconds.";
    ContentType = 0x03, "content-type", Utf8, Value::Any, MESSAGE, NONE,
        "What the payload is, in words that the applications agree on.";
    ResponseTopic = 0x08, "response-topic", Utf8, Value::TopicName, MESSAGE, NONE,
        "The topic name for a response.";
    CorrelationData = 0x09, "correlation-data", Binary, Value::Any, MESSAGE, NONE,
        "What ties a response to its request.";
    SubscriptionIdentifier = 0x0B, "subscription-identifier", VariableByte,
        Value::NotZero(Rule::ZeroSubscriptionIdentifier), PUBLISH | SUBSCRIBE, PUBLISH,
        "The number of the subscriptions that a message matched: 1 to 268,435,455.";
    SessionExpiryInterval = 0x11, "session-expiry-interval", FourByte, Value::Any,
        CONNECT | CONNACK | DISCONNECT, NONE,
        "How many seconds the session outlives its connection; 0xFFFFFFFF is for ever.";
    AssignedClientIdentifier = 0x12, "assigned-client-identifier", Utf8, Value::Any, CONNACK, NONE,
        "The client identifier that the server chose.";
    ServerKeepAlive = 0x13, "server-keep-alive", TwoByte, Value::Any, CONNACK, NONE,
        "The keep alive in seconds that replaces the client's.";
    AuthenticationMethod = 0x15, "authentication-method", Utf8, Value::Any,
        CONNECT | CONNACK | AUTH, NONE,
        "The name of the method of enhanced authentication.";
    AuthenticationData = 0x16, "authentication-data", Binary, Value::Any,
        CONNECT | CONNACK | AUTH, NONE,
        "The data of enhanced authentication; needs the method beside it.";
    RequestProblemInformation = 0x17, "request-problem-information", Byte, FLAG, CONNECT, NONE,
        "Whether reason strings and user properties may accompany failures.";
    WillDelayInterval = 0x18, "will-delay-interval", FourByte, Value::Any, WILL, NONE,
        "How many seconds the server waits before it publishes the will.";
    RequestResponseInformation = 0x19, "request-response-information", Byte, FLAG, CONNECT, NONE,
        "Whether the client would like a response information.";
    ResponseInformation = 0x1A, "response-information", Utf8, Value::Any, CONNACK, NONE,
        "What response topics are to be made of.";
    ServerReference = 0x1C, "server-reference", Utf8, Value::Any, CONNACK | DISCONNECT, NONE,
        "Another server to use.";
    ReasonString = 0x1F, "reason-string", Utf8, Value::Any,
        CONNACK | ACKS | DISCONNECT | AUTH, NONE,
        "Words for people about the reason code.";
    ReceiveMaximum = 0x21, "receive-maximum", TwoByte, Value::NotZero(Rule::ZeroReceiveMaximum),
        CONNECT | CONNACK, NONE,
        "How many QoS 1 and 2 messages the sender of this handles at once; not zero.";
    TopicAliasMaximum = 0x22, "topic-alias-maximum", TwoByte, Value::Any, CONNECT | CONNACK, NONE,
        "The highest topic alias that the sender of this accepts.";
    TopicAlias = 0x23, "topic-alias", TwoByte, Value::NotZero(Rule::ZeroTopicAlias), PUBLISH, NONE,
        "A number that stands for the topic name; not zero.";
    MaximumQos = 0x24, "maximum-qos", Byte, Value::ZeroOrOne(Rule::MaximumQos), CONNACK, NONE,
        "The highest QoS at which the server takes messages, where it is not 2.";
    RetainAvailable = 0x25, "retain-available", Byte, FLAG, CONNACK, NONE,
        "Whether the server retains messages.";
    UserProperty = 0x26, "user-property", Pair, Value::Any, ANY, ANY,
        "A name and a value of the application's own.";
    MaximumPacketSize = 0x27, "maximum-packet-size", FourByte,
        Value::NotZero(Rule::ZeroMaximumPacketSize), CONNECT | CONNACK, NONE,
        "The largest packet in bytes that the sender of this takes; not zero.";
    WildcardSubscriptionAvailable = 0x28, "wildcard-subscription-available", Byte, FLAG,
        CONNACK, NONE,
        "Whether the server takes wildcards in topic filters.";
    SubscriptionIdentifierAvailable = 0x29, "subscription-identifier-available", Byte, FLAG,
        CONNACK, NONE,
        "Whether the server takes subscription identifiers.";
    SharedSubscriptionAvailable = 0x2A, "shared-subscription-available", Byte, FLAG,
        CONNACK, NONE,
        "Whether the server takes shared subscriptions.";
}
