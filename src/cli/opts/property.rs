//! Properties of MQTT 5 packets: `-D PACKET PROPERTY VALUE`, and for user properties
//! `-D PACKET user-property NAME VALUE`.
//!
//! The words of one `-D` reach clap as one value with NUL bytes between ([`WORD_SEPARATOR`]), which
//! no word of a command line can hold. Whatever can be told from one `-D` alone is checked here.

use std::{fmt, str};

use clap::{ArgAction, Args};

use super::value;
use crate::codec::{
    PacketType, Properties, Property, PropertyError, PropertyOwner, PropertyType, PropertyValue,
};

/// The id of the option, for those who join its words.
pub const ID: &str = "properties";

/// What stands between the words of one value.
pub const WORD_SEPARATOR: &str = "\0";

/// A section of the manual page of every tool with `-D`.
pub const MANUAL: &str = "\
The properties that -D knows, by packet:

  connect      session-expiry-interval, receive-maximum,
               maximum-packet-size, topic-alias-maximum,
               request-problem-information,
               request-response-information,
               authentication-method, authentication-data
  publish      payload-format-indicator, message-expiry-interval,
               content-type, response-topic, correlation-data,
               topic-alias
  subscribe    subscription-identifier
  disconnect   session-expiry-interval, reason-string
  auth         authentication-data, reason-string
  will         payload-format-indicator, message-expiry-interval,
               content-type, response-topic, correlation-data,
               will-delay-interval

And user-property for all of these and unsubscribe, as often as is wanted.

With an authentication-method the broker may send challenges before it
accepts the connection. Each of them is answered with the properties of auth,
the same every time; without any, the program ends with an error.";

/// Options about properties.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "MQTT 5")]
pub struct PropertyOptions {
    /// Add a property to a packet; may be repeated, and means MQTT 5. PACKET is one of connect,
    /// publish, subscribe, unsubscribe, disconnect, auth and will, PROPERTY a name of the standard
    /// such as content-type. A user-property has two values, its name and its value. Numbers are
    /// decimal; correlation-data and authentication-data are the bytes of the word. Those of auth
    /// answer each challenge of the broker to an authentication-method of connect.
    #[arg(short = 'D', long = "property", value_name = "PACKET PROPERTY VALUE")]
    #[arg(action = ArgAction::Append, value_parser = value::hidden_bytes(PropertyOption::parse))]
    pub properties: Vec<PropertyOption>,
}

/// One `-D`.
#[derive(Clone, PartialEq, Eq)]
pub struct PropertyOption {
    /// Where it goes.
    pub owner: PropertyOwner,
    /// The property.
    pub property: Property,
    /// A list that holds it and nothing else.
    pub list: Properties,
}

/// How many words follow a `-D` whose first words these are.
pub fn word_count(property: &[u8]) -> usize {
    if property.eq_ignore_ascii_case(Property::UserProperty.name().as_bytes()) { 4 } else { 3 }
}

impl PropertyOption {
    fn parse(value: &[u8]) -> Result<Self, String> {
        let words: Vec<_> = value.split(|byte| WORD_SEPARATOR.as_bytes() == [*byte]).collect();
        let (&[packet, name, ..], values) = (words.as_slice(), words.get(2..).unwrap_or_default())
        else {
            return Err(format!("words are missing: it is {GRAMMAR}"));
        };
        if words.len() != word_count(name) {
            return Err(format!("there are {} words where it is {GRAMMAR}", words.len()));
        }
        let owner = owner(&String::from_utf8_lossy(packet).to_ascii_lowercase())?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let property = Property::from_name(&name)
            .ok_or_else(|| format!("there is no property called {name:?}"))?;
        if is_of_connect(owner, property) {
            return Err(format!("{property} is what -D connect says in AUTH too: leave it out"));
        }
        if !can_be_given(owner, property) {
            let allowed = Property::ALL.iter().filter(|other| can_be_given(owner, **other));
            let allowed: Vec<_> = allowed.map(|property| property.name()).collect();
            let place = place(owner);
            return Err(format!(
                "{place} cannot have the property {property}: it can have {}",
                allowed.join(", ")
            ));
        }
        let mut list = Properties::new();
        match push(&mut list, property, values) {
            Ok(()) => Ok(Self { owner, property, list }),
            Err(why) => Err(format!("{property} {why}")),
        }
    }
}

impl fmt::Debug for PropertyOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", place(self.owner), self.property)
    }
}

const GRAMMAR: &str = "-D PACKET PROPERTY VALUE, or -D PACKET user-property NAME VALUE";

/// What a packet is called on the command line.
pub fn place(owner: PropertyOwner) -> String {
    owner.to_string().to_ascii_lowercase()
}

fn owner(word: &str) -> Result<PropertyOwner, String> {
    const SET: [PacketType; 6] = [
        PacketType::Connect,
        PacketType::Publish,
        PacketType::Subscribe,
        PacketType::Unsubscribe,
        PacketType::Disconnect,
        PacketType::Auth,
    ];
    let owners = SET.map(PropertyOwner::Packet).into_iter().chain([PropertyOwner::Will]);
    if let Some(owner) = owners.into_iter().find(|owner| place(*owner) == word) {
        return Ok(owner);
    }
    let why = match word {
        "puback" | "pubrec" | "pubrel" | "pubcomp" => "acknowledgements have none from the tools",
        "connack" | "suback" | "unsuback" => "it is a packet of the broker",
        _ => "there is no such packet",
    };
    Err(format!(
        "{word:?}: {why}; PACKET is connect, publish, subscribe, unsubscribe, disconnect, auth or \
         will"
    ))
}

/// Whether a user may give the property.
fn can_be_given(owner: PropertyOwner, property: Property) -> bool {
    property.is_allowed_in(owner)
        && !is_for_servers(owner, property)
        && !is_of_connect(owner, property)
}

/// Whether it must be the one of CONNECT \[MQTT-4.12.0-5\].
fn is_of_connect(owner: PropertyOwner, property: Property) -> bool {
    owner == PropertyOwner::Packet(PacketType::Auth) && property == Property::AuthenticationMethod
}

/// Whether a server may send the property there and a client may not.
fn is_for_servers(owner: PropertyOwner, property: Property) -> bool {
    matches!(
        (owner, property),
        // [MQTT-3.3.4-6]
        (PropertyOwner::Packet(PacketType::Publish), Property::SubscriptionIdentifier)
            // §3.14.2.2.5
            | (PropertyOwner::Packet(PacketType::Disconnect), Property::ServerReference)
    )
}

/// Appends the property; the error goes on behind its name.
fn push(list: &mut Properties, property: Property, values: &[&[u8]]) -> Result<(), String> {
    let value = match (property.data_type(), values) {
        (PropertyType::Pair, [name, value]) => PropertyValue::Pair(text(name)?, text(value)?),
        (PropertyType::Byte, [value]) => PropertyValue::Byte(number(value, 1)?),
        (PropertyType::TwoByte, [value]) => PropertyValue::TwoByte(number(value, u16::MAX.into())?),
        (PropertyType::FourByte, [value]) => PropertyValue::FourByte(number(value, u32::MAX)?),
        (PropertyType::VariableByte, [value]) => {
            PropertyValue::VariableByte(number(value, 268_435_455)?)
        }
        (PropertyType::Binary, [value]) => PropertyValue::Binary(value),
        (PropertyType::Utf8, [value]) => PropertyValue::Utf8(text(value)?),
        _ => return Err(format!("has another number of values: it is {GRAMMAR}")),
    };
    list.push(property, value).map_err(|error| match error {
        PropertyError::TooLong { len, .. } => {
            format!("has {len} bytes, more than the 65535 that MQTT allows")
        }
        PropertyError::InvalidValue { what, .. } => what.to_owned(),
        error => error.to_string(),
    })
}

fn text(word: &[u8]) -> Result<&str, String> {
    str::from_utf8(word).map_err(|_| "must be UTF-8".to_owned())
}

/// Of the one-byte properties that a client sends, all are 0 or 1.
fn number<T: TryFrom<u32>>(word: &[u8], largest: u32) -> Result<T, String> {
    let digits = word.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(word).ok()).flatten();
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number <= largest)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("must be a number from 0 to {largest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<PropertyOption, String> {
        PropertyOption::parse(words.replace(' ', WORD_SEPARATOR).as_bytes())
    }

    #[test]
    fn every_property_of_a_client_can_be_given() {
        for (words, owner, property) in [
            ("connect receive-maximum 5", "CONNECT", Property::ReceiveMaximum),
            ("PUBLISH Content-Type a", "PUBLISH", Property::ContentType),
            ("publish payload-format-indicator 1", "PUBLISH", Property::PayloadFormatIndicator),
            ("subscribe subscription-identifier 7", "SUBSCRIBE", Property::SubscriptionIdentifier),
            ("unsubscribe user-property a b", "UNSUBSCRIBE", Property::UserProperty),
            ("disconnect reason-string bye", "DISCONNECT", Property::ReasonString),
            ("auth authentication-data a", "AUTH", Property::AuthenticationData),
            ("will will-delay-interval 4294967295", "will", Property::WillDelayInterval),
        ] {
            let option = parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!((option.owner.to_string().as_str(), option.property), (owner, property));
            assert_eq!(option.list.iter().count(), 1);
        }
        let option = PropertyOption::parse(b"publish\0correlation-data\0\xff\xfe").unwrap();
        assert_eq!(option.list.as_ref().correlation_data(), Some(&b"\xff\xfe"[..]));
        let option = PropertyOption::parse(b"publish\0user-property\0a b\0").unwrap();
        assert!(option.list.as_ref().user_properties().eq([("a b", "")]));
    }

    #[test]
    fn the_manual_has_every_property_that_can_be_given() {
        let mut listed = Vec::new();
        let mut packet = "";
        for line in MANUAL.lines().filter(|line| line.starts_with("  ")) {
            let (head, names) = line.split_at(15);
            packet = if head.trim().is_empty() { packet } else { head.trim() };
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            listed.extend(names.map(|name| (packet, name)));
        }
        listed.sort_unstable();
        let packets = ["auth", "connect", "disconnect", "publish", "subscribe", "will"];
        let mut known = Vec::new();
        for packet in packets {
            let owner = owner(packet).unwrap();
            let given = Property::ALL.iter().filter(|property| {
                can_be_given(owner, **property) && **property != Property::UserProperty
            });
            known.extend(given.map(|property| (packet, property.name())));
        }
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn what_is_wrong_with_one_is_told() {
        for (words, text) in [
            ("publish", "words are missing"),
            ("publish content-type", "there are 2 words"),
            ("publish user-property a", "there are 3 words"),
            ("pubish content-type a", "\"pubish\": there is no such packet; PACKET is connect, "),
            ("auth authentication-method a", "what -D connect says in AUTH too"),
            ("auth content-type a", "it can have authentication-data, reason-string, user-prop"),
            ("puback reason-string a", "acknowledgements"),
            ("connack reason-string a", "packet of the broker"),
            ("publish colour red", "there is no property called \"colour\""),
            ("publish will-delay-interval 1", "publish cannot have the property will-delay-int"),
            ("publish subscription-identifier 1", "it can have payload-format-indicator, "),
            ("disconnect server-reference a", "it can have session-expiry-interval, reason-s"),
            ("will reason-string a", "will cannot have the property reason-string"),
            ("publish topic-alias 0", "topic-alias is zero"),
            ("publish topic-alias 65536", "topic-alias must be a number from 0 to 65535"),
            ("publish topic-alias x", "topic-alias must be a number"),
            ("publish topic-alias +1", "topic-alias must be a number"),
            ("publish payload-format-indicator 2", "must be a number from 0 to 1"),
            ("publish message-expiry-interval -1", "must be a number from 0 to 4294967295"),
            ("subscribe subscription-identifier 268435456", "from 0 to 268435455"),
            ("publish response-topic a/#", "response-topic "),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(text), "{words}: {error}");
        }
        assert!(
            PropertyOption::parse(b"publish\0content-type\0\xff").unwrap_err().contains("UTF-8")
        );
        let long = format!("publish content-type {}", "x".repeat(65_536));
        assert!(parse(&long).unwrap_err().contains("65536 bytes"));
    }
}
