//! Lists of properties, kept as they stand on the wire.

use std::fmt;

use super::error::{DecodeError, EncodeError, Rule};
use super::property::{Property, PropertyError, PropertyOwner, PropertyType, PropertyValue, Seen};
use super::qos::QoS;
use super::text;
use super::version::Version;
use super::wire::{Reader, Sink};

/// A list of properties, borrowed. Empty in 3.x and by default.
///
/// Whatever is in it has the right type and a legal value; whether it may stand in a packet is
/// checked when that is encoded, and was checked when it was decoded.
///
/// Two lists are equal when they hold the same properties in the same order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PropertiesRef<'a>(&'a [u8]);

impl<'a> PropertiesRef<'a> {
    /// Takes the property length and the properties of `owner` off `body`; nothing in 3.x.
    #[inline]
    pub(super) fn read(
        version: Version,
        body: &mut Reader<'a>,
        owner: PropertyOwner,
    ) -> Result<Self, DecodeError> {
        if version != Version::V5 {
            return Ok(Self::default());
        }
        let len = body.variable("property length")?;
        let list = Self(body.bytes(len as usize, "property length")?);
        if !list.is_empty() {
            list.validate(owner)?;
        }
        Ok(list)
    }

    fn validate(self, owner: PropertyOwner) -> Result<(), DecodeError> {
        let mut reader = Reader::new(self.0);
        let mut seen = Seen::default();
        while !reader.is_empty() {
            let (property, value) = Raw::read(&mut reader)?;
            seen.note(property, owner)
                .and_then(|()| property.check_value(&value.decode()?))
                .map_err(|rule| DecodeError::new(rule, property.name()))?;
        }
        seen.check().map_err(|rule| DecodeError::new(rule, Property::AuthenticationData.name()))
    }

    /// Checks that `owner` may have these properties, and this often.
    ///
    /// # Errors
    ///
    /// [`PropertyError::NotAllowed`], [`PropertyError::Repeated`], and
    /// [`PropertyError::InvalidValue`] for authentication data without its method.
    pub fn check(self, owner: PropertyOwner) -> Result<(), PropertyError> {
        let mut seen = Seen::default();
        for (property, _) in self.raw() {
            seen.note(property, owner).map_err(|rule| match rule {
                Rule::PropertyRepeated => PropertyError::Repeated { property },
                _ => PropertyError::NotAllowed { property, owner },
            })?;
        }
        seen.check().map_err(|rule| invalid_value(rule, Property::AuthenticationData))
    }

    /// Checks that a packet of `version` may have these properties.
    #[inline]
    pub(super) fn check_in(
        self,
        version: Version,
        owner: PropertyOwner,
    ) -> Result<(), EncodeError> {
        if self.is_empty() {
            Ok(())
        } else if version == Version::V5 {
            Ok(self.check(owner)?)
        } else {
            Err(EncodeError::NotInVersion { what: "properties", version })
        }
    }

    /// Returns the bytes on the wire, without the property length.
    #[inline]
    pub(super) fn wire(self) -> &'a [u8] {
        self.0
    }

    /// Tells whether there is no property.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the size on the wire in bytes, without the property length before it.
    #[inline]
    pub const fn encoded_len(self) -> usize {
        self.0.len()
    }

    /// Returns the properties in their order.
    pub fn iter(self) -> Iter<'a> {
        Iter(self.raw())
    }

    /// Returns the first value of `property`.
    #[inline]
    pub fn find(self, property: Property) -> Option<PropertyValue<'a>> {
        self.raw().find(|(found, _)| *found == property)?.1.decode().ok()
    }

    #[inline]
    fn raw(self) -> RawIter<'a> {
        RawIter(Reader::new(self.0))
    }

    fn byte(self, property: Property) -> Option<u8> {
        match self.find(property)? {
            PropertyValue::Byte(value) => Some(value),
            _ => None,
        }
    }

    fn flag(self, property: Property) -> Option<bool> {
        self.byte(property).map(|value| value == 1)
    }

    fn two_byte(self, property: Property) -> Option<u16> {
        match self.find(property)? {
            PropertyValue::TwoByte(value) => Some(value),
            _ => None,
        }
    }

    fn four_byte(self, property: Property) -> Option<u32> {
        match self.find(property)? {
            PropertyValue::FourByte(value) => Some(value),
            _ => None,
        }
    }

    fn binary(self, property: Property) -> Option<&'a [u8]> {
        match self.find(property)? {
            PropertyValue::Binary(value) => Some(value),
            _ => None,
        }
    }

    fn utf8(self, property: Property) -> Option<&'a str> {
        match self.find(property)? {
            PropertyValue::Utf8(value) => Some(value),
            _ => None,
        }
    }

    fn qos(self, property: Property) -> Option<QoS> {
        self.byte(property).and_then(|value| QoS::try_from(value).ok())
    }
}

macro_rules! getters {
    ($($name:ident: $reader:ident($property:ident) -> $type:ty, $doc:literal;)*) => {
        impl<'a> PropertiesRef<'a> {
            $(
                #[doc = $doc]
                pub fn $name(self) -> Option<$type> {
                    self.$reader(Property::$property)
                }
            )*

            /// Returns the user properties, name and value, in their order.
            pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
                self.raw().filter_map(|(property, value)| match (property, value.decode()) {
                    (Property::UserProperty, Ok(PropertyValue::Pair(name, value))) => {
                        Some((name, value))
                    }
                    _ => None,
                })
            }

            /// Returns the subscription identifiers, in their order.
            pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> + use<'a> {
                self.raw().filter_map(|(property, value)| match (property, value) {
                    (Property::SubscriptionIdentifier, Raw::VariableByte(value)) => Some(value),
                    _ => None,
                })
            }
        }
    };
}

getters! {
    payload_format_indicator: flag(PayloadFormatIndicator) -> bool,
        "Tells whether the payload is UTF-8.";
    message_expiry_interval: four_byte(MessageExpiryInterval) -> u32,
        "Returns the life of the message in seconds.";
    content_type: utf8(ContentType) -> &'a str,
        "Returns what the payload is.";
    response_topic: utf8(ResponseTopic) -> &'a str,
        "Returns the topic name for a response.";
    correlation_data: binary(CorrelationData) -> &'a [u8],
        "Returns what ties a response to its request.";
    session_expiry_interval: four_byte(SessionExpiryInterval) -> u32,
        "Returns how many seconds the session outlives its connection; `u32::MAX` is for ever.";
    assigned_client_identifier: utf8(AssignedClientIdentifier) -> &'a str,
        "Returns the client identifier that the server chose.";
    server_keep_alive: two_byte(ServerKeepAlive) -> u16,
        "Returns the keep alive in seconds that replaces the client's.";
    authentication_method: utf8(AuthenticationMethod) -> &'a str,
        "Returns the name of the method of enhanced authentication.";
    authentication_data: binary(AuthenticationData) -> &'a [u8],
        "Returns the data of enhanced authentication.";
    request_problem_information: flag(RequestProblemInformation) -> bool,
        "Tells whether reason strings and user properties may accompany failures.";
    will_delay_interval: four_byte(WillDelayInterval) -> u32,
        "Returns how many seconds the server waits before it publishes the will.";
    request_response_information: flag(RequestResponseInformation) -> bool,
        "Tells whether the client would like a response information.";
    response_information: utf8(ResponseInformation) -> &'a str,
        "Returns what response topics are to be made of.";
    server_reference: utf8(ServerReference) -> &'a str,
        "Returns another server to use.";
    reason_string: utf8(ReasonString) -> &'a str,
        "Returns words for people about the reason code.";
    receive_maximum: two_byte(ReceiveMaximum) -> u16,
        "Returns how many QoS 1 and 2 messages the sender handles at once; never zero.";
    topic_alias_maximum: two_byte(TopicAliasMaximum) -> u16,
        "Returns the highest topic alias that the sender accepts.";
    topic_alias: two_byte(TopicAlias) -> u16,
        "Returns the number that stands for the topic name; never zero.";
    maximum_qos: qos(MaximumQos) -> QoS,
        "Returns the highest QoS at which the server takes messages, where it is not 2.";
    retain_available: flag(RetainAvailable) -> bool,
        "Tells whether the server retains messages.";
    maximum_packet_size: four_byte(MaximumPacketSize) -> u32,
        "Returns the largest packet in bytes that the sender takes; never zero.";
    wildcard_subscription_available: flag(WildcardSubscriptionAvailable) -> bool,
        "Tells whether the server takes wildcards in topic filters.";
    subscription_identifier_available: flag(SubscriptionIdentifierAvailable) -> bool,
        "Tells whether the server takes subscription identifiers.";
    shared_subscription_available: flag(SharedSubscriptionAvailable) -> bool,
        "Tells whether the server takes shared subscriptions.";
}

impl fmt::Debug for PropertiesRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (property, value) in self.iter() {
            let name = format_args!("{property}");
            match value {
                PropertyValue::Byte(value) => map.entry(&name, &value),
                PropertyValue::TwoByte(value) => map.entry(&name, &value),
                PropertyValue::FourByte(value) | PropertyValue::VariableByte(value) => {
                    map.entry(&name, &value)
                }
                // A secret is as likely here as in a password.
                PropertyValue::Binary(bytes) if property == Property::AuthenticationData => {
                    map.entry(&name, &format_args!("{} bytes", bytes.len()))
                }
                PropertyValue::Binary(bytes) => map.entry(&name, &bytes),
                PropertyValue::Utf8(text) => map.entry(&name, &text),
                PropertyValue::Pair(key, value) => map.entry(&name, &(key, value)),
            };
        }
        map.finish()
    }
}

impl<'a> IntoIterator for PropertiesRef<'a> {
    type Item = (Property, PropertyValue<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The properties of a [`PropertiesRef`], in their order.
pub struct Iter<'a>(RawIter<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (Property, PropertyValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (property, value) = self.0.next()?;
        Some((property, value.decode().ok()?))
    }
}

/// A list of properties to send.
///
/// It allocates nothing while it is empty.
///
/// ```
/// use midge::codec::{Properties, Property, PropertyValue};
///
/// let mut properties = Properties::new();
/// properties.push(Property::ContentType, PropertyValue::Utf8("text/plain"))?;
/// properties.push(Property::UserProperty, PropertyValue::Pair("unit", "kelvin"))?;
/// assert_eq!(properties.as_ref().content_type(), Some("text/plain"));
///
/// let zero = properties.push(Property::ReceiveMaximum, PropertyValue::TwoByte(0));
/// assert_eq!(zero.unwrap_err().to_string(), "receive-maximum is zero");
/// # Ok::<(), midge::codec::PropertyError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<u8>);

impl Properties {
    /// Returns an empty list.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a property.
    ///
    /// # Errors
    ///
    /// [`PropertyError`] when `value` has the wrong type, is too long, or is one that the protocol
    /// forbids. Whether the property may stand in a packet is checked by [`check`](Self::check)
    /// and when the packet is encoded.
    pub fn push(
        &mut self,
        property: Property,
        value: PropertyValue<'_>,
    ) -> Result<(), PropertyError> {
        let expected = property.data_type();
        if value.data_type() != expected {
            return Err(PropertyError::WrongType { property, expected });
        }
        check_text(&value)
            .and_then(|()| property.check_value(&value))
            .map_err(|rule| invalid_value(rule, property))?;
        let start = self.0.len();
        self.0.u8(property.id());
        write_value(&mut self.0, property, value).inspect_err(|_| self.0.truncate(start))
    }

    /// Appends a property and returns the list.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn with(
        mut self,
        property: Property,
        value: PropertyValue<'_>,
    ) -> Result<Self, PropertyError> {
        self.push(property, value)?;
        Ok(self)
    }

    /// Appends all properties of `other`.
    pub fn extend(&mut self, other: PropertiesRef<'_>) {
        self.0.extend_from_slice(other.0);
    }

    /// Checks that `owner` may have these properties, and this often.
    ///
    /// # Errors
    ///
    /// As [`PropertiesRef::check`].
    pub fn check(&self, owner: PropertyOwner) -> Result<(), PropertyError> {
        self.as_ref().check(owner)
    }

    /// Borrows the list.
    #[inline]
    pub fn as_ref(&self) -> PropertiesRef<'_> {
        PropertiesRef(&self.0)
    }

    /// Tells whether there is no property.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the properties in their order.
    pub fn iter(&self) -> Iter<'_> {
        self.as_ref().iter()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl From<PropertiesRef<'_>> for Properties {
    fn from(list: PropertiesRef<'_>) -> Self {
        Self(list.0.to_vec())
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = (Property, PropertyValue<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// A value within its bounds whose text has not been looked at.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Byte(u8),
    TwoByte(u16),
    FourByte(u32),
    VariableByte(u32),
    Binary(&'a [u8]),
    Utf8(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

impl<'a> Raw<'a> {
    /// Takes one property off `reader`.
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<(Property, Self), DecodeError> {
        // An identifier is a variable byte integer, but none is so large that it has two bytes.
        let id = reader.u8("property identifier")?;
        let property = Property::from_id(id).ok_or_else(|| {
            DecodeError::new(Rule::PropertyUnknown, "property identifier").with_byte(id)
        })?;
        let field = property.name();
        let value = match property.data_type() {
            PropertyType::Byte => Self::Byte(reader.u8(field)?),
            PropertyType::TwoByte => Self::TwoByte(reader.u16(field)?),
            PropertyType::FourByte => Self::FourByte(reader.u32(field)?),
            PropertyType::VariableByte => Self::VariableByte(reader.variable(field)?),
            PropertyType::Binary => Self::Binary(reader.binary(field)?),
            PropertyType::Utf8 => Self::Utf8(reader.binary(field)?),
            PropertyType::Pair => Self::Pair(reader.binary(field)?, reader.binary(field)?),
        };
        Ok((property, value))
    }

    #[inline]
    fn decode(self) -> Result<PropertyValue<'a>, Rule> {
        Ok(match self {
            Self::Byte(value) => PropertyValue::Byte(value),
            Self::TwoByte(value) => PropertyValue::TwoByte(value),
            Self::FourByte(value) => PropertyValue::FourByte(value),
            Self::VariableByte(value) => PropertyValue::VariableByte(value),
            Self::Binary(bytes) => PropertyValue::Binary(bytes),
            Self::Utf8(bytes) => PropertyValue::Utf8(text::decode(bytes)?),
            Self::Pair(name, value) => {
                PropertyValue::Pair(text::decode(name)?, text::decode(value)?)
            }
        })
    }
}

/// Goes through a list that was validated before, and ends where one that was not is broken.
struct RawIter<'a>(Reader<'a>);

impl<'a> Iterator for RawIter<'a> {
    type Item = (Property, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() { None } else { Raw::read(&mut self.0).ok() }
    }
}

fn check_text(value: &PropertyValue<'_>) -> Result<(), Rule> {
    let has_nul = match value {
        PropertyValue::Utf8(text) => text::has_nul(text),
        PropertyValue::Pair(name, value) => text::has_nul(name) || text::has_nul(value),
        _ => false,
    };
    if has_nul { Err(Rule::Nul) } else { Ok(()) }
}

fn write_value<S: Sink>(
    sink: &mut S,
    property: Property,
    value: PropertyValue<'_>,
) -> Result<(), PropertyError> {
    let field = property.name();
    let written = match value {
        PropertyValue::Byte(value) => {
            sink.u8(value);
            Ok(())
        }
        PropertyValue::TwoByte(value) => {
            sink.u16(value);
            Ok(())
        }
        PropertyValue::FourByte(value) => {
            sink.u32(value);
            Ok(())
        }
        PropertyValue::VariableByte(value) => sink.variable(value),
        PropertyValue::Binary(bytes) => sink.binary(field, bytes),
        PropertyValue::Utf8(text) => sink.string(field, text),
        PropertyValue::Pair(name, value) => {
            sink.string(field, name).and_then(|()| sink.string(field, value))
        }
    };
    written.map_err(|error| match error {
        EncodeError::FieldTooLong { len, .. } => PropertyError::TooLong { property, len },
        _ => PropertyError::InvalidValue { property, what: "is larger than 268435455" },
    })
}

fn invalid_value(rule: Rule, property: Property) -> PropertyError {
    PropertyError::InvalidValue { property, what: rule.words() }
}
