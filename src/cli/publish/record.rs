//! A message as `midge_sub -F %j` and `%J` print it, read back for `--jsonl`.
//!
//! Read are the members that say what was published; `docs/json.md` has the whole form. What
//! belonged to the connection that recorded it (`mid`, `topic-alias`, `subscription-identifier`)
//! and members of other names are passed over. mosquitto's forms are read too: `retain` as 0 or 1,
//! and user properties as one object.

use std::{borrow::Cow, fmt};

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::codec::{
    PacketType, Properties, Property, PropertyOwner, PropertyType, PropertyValue, QoS, TopicName,
};

/// One message of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it was published, if the record says so.
    pub(super) topic: Option<TopicName>,
    pub(super) payload: Bytes,
    /// `None` if the record does not say.
    pub(super) qos: Option<QoS>,
    pub(super) retain: bool,
    pub(super) properties: Properties,
    /// When it was recorded, if the record says so.
    pub(super) at: Option<Timestamp>,
}

impl Record {
    /// Reads one line.
    ///
    /// # Errors
    /// What is not such an object, and what MQTT does not allow.
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        // serde reads an array as the members in their order.
        if !line.trim_ascii_start().starts_with(b"{") {
            bail!("not a JSON object");
        }
        let members: Members<'_> = serde_json::from_slice(line).map_err(json_error)?;
        let topic = members.topic.as_deref().map(|topic| {
            TopicName::try_from(topic).with_context(|| format!("{topic:?} is not a topic name"))
        });
        Ok(Self {
            topic: topic.transpose()?,
            payload: members.payload()?,
            qos: members.qos.map(|Number(qos)| qos),
            retain: members.retain.is_some_and(|Flag(retain)| retain),
            properties: members.properties.map_or_else(Properties::default, |Listed(list)| list),
            at: members.tst.as_deref().map(timestamp).transpose()?,
        })
    }
}

/// serde's text with the column, which is where in the line; the line is always 1.
fn json_error(error: serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => anyhow!("{what}"),
        column => anyhow!("{what} (column {column})"),
    }
}

/// `2026-11-20T11:30:25.336538+0000`; mosquitto 2.0.11 and earlier have a `Z` before the offset.
fn timestamp(text: &str) -> Result<Timestamp> {
    let repaired: Cow<'_, str> = match text.split_once('Z') {
        Some((time, offset)) if !offset.is_empty() => format!("{time}{offset}").into(),
        Some((time, _)) => format!("{time}+0000").into(),
        None => text.into(),
    };
    Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", &*repaired)
        .or_else(|_| repaired.parse())
        .map_err(|_| anyhow!("tst {text:?} is not a time such as 2026-11-20T11:30:25.336538+0000"))
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    tst: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    qos: Option<Number>,
    retain: Option<Flag>,
    payloadlen: Option<u64>,
    properties: Option<Listed>,
    /// `None` also for `null`.
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

impl Members<'_> {
    fn payload(&self) -> Result<Bytes> {
        if let Some(text) = &self.payload_base64 {
            if self.payload.is_some() {
                bail!("there are both payload and payload_base64");
            }
            let bytes = STANDARD.decode(&**text).context("payload_base64 is not base64")?;
            return self.checked(bytes);
        }
        let Some(value) = self.payload else {
            // %j and %J print an empty payload as null, and %J the payload `null` too.
            return match self.payloadlen {
                Some(4) => Ok(Bytes::from_static(b"null")),
                _ => self.checked(Vec::new()),
            };
        };
        let raw = value.get();
        if !raw.starts_with('"') {
            // %J: the payload was JSON. Its white space was not kept, so neither was its length.
            return Ok(Bytes::copy_from_slice(raw.as_bytes()));
        }
        let text: String = serde_json::from_str(raw)?;
        // %J prints the payload `"a"`, with its quotes, as %j prints the payload `a`.
        if self.payloadlen == Some(raw.len() as u64) && text.len() != raw.len() {
            return Ok(Bytes::copy_from_slice(raw.as_bytes()));
        }
        self.checked(text.into_bytes())
    }

    /// mosquitto cuts a payload at its first NUL: what is not whole is not published.
    fn checked(&self, payload: Vec<u8>) -> Result<Bytes> {
        match self.payloadlen {
            Some(recorded) if recorded != payload.len() as u64 => bail!(
                "the payload has {} bytes where payloadlen says {recorded}: it was not recorded whole",
                payload.len()
            ),
            _ => Ok(payload.into()),
        }
    }
}

/// A quality of service.
struct Number(QoS);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let qos = u8::try_from(number).ok().and_then(|number| QoS::try_from(number).ok());
        qos.map(Number).ok_or_else(|| D::Error::custom("qos must be 0, 1 or 2"))
    }
}

/// `true`, `false`, 1 or 0.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                match value {
                    0 | 1 => Ok(Flag(value == 1)),
                    _ => Err(E::custom("retain must be true or false")),
                }
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

/// The properties that can be published again, in the order of the object.
struct Listed(Properties);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
                let mut list = Properties::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    read_property(&name, &mut map, &mut list)?;
                }
                list.check(PropertyOwner::Packet(PacketType::Publish)).map_err(A::Error::custom)?;
                Ok(Listed(list))
            }
        }
        deserializer.deserialize_map(ListVisitor)
    }
}

fn read_property<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
    list: &mut Properties,
) -> Result<(), A::Error> {
    if name == "user-properties" {
        return map.next_value_seed(UserProperties(list));
    }
    let (plain, base64) = match name.strip_suffix("_base64") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let Some(property) = Property::from_name(plain) else {
        return Err(A::Error::custom(format_args!("{name:?} is not a property")));
    };
    if matches!(property, Property::TopicAlias | Property::SubscriptionIdentifier) {
        return map.next_value::<de::IgnoredAny>().map(drop);
    }
    let text;
    let bytes;
    let value = match property.data_type() {
        PropertyType::Byte => PropertyValue::Byte(map.next_value()?),
        PropertyType::TwoByte => PropertyValue::TwoByte(map.next_value()?),
        PropertyType::FourByte => PropertyValue::FourByte(map.next_value()?),
        PropertyType::VariableByte => PropertyValue::VariableByte(map.next_value()?),
        PropertyType::Binary => {
            text = map.next_value::<Cow<'de, str>>()?;
            bytes = if base64 {
                STANDARD.decode(&*text).map_err(|error| {
                    A::Error::custom(format_args!("{name} is not base64: {error}"))
                })?
            } else {
                text.as_bytes().to_vec()
            };
            PropertyValue::Binary(&bytes)
        }
        PropertyType::Utf8 => {
            text = map.next_value::<Cow<'de, str>>()?;
            PropertyValue::Utf8(&text)
        }
        // Only user properties are pairs.
        PropertyType::Pair => return Err(A::Error::custom("a user property stands by itself")),
    };
    list.push(property, value).map_err(A::Error::custom)
}

/// Appends user properties: an array of objects, or one object.
struct UserProperties<'l>(&'l mut Properties);

impl<'de> DeserializeSeed<'de> for UserProperties<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UserProperties<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("user properties")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(UserProperties(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? {
            let pair = PropertyValue::Pair(&name, &value);
            self.0.push(Property::UserProperty, pair).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        Record::parse(line.as_bytes()).unwrap()
    }

    fn refused(line: &str) -> String {
        format!("{:#}", Record::parse(line.as_bytes()).unwrap_err())
    }

    #[test]
    fn everything_that_was_published_is_read() {
        let record = record(
            r#"{"tst":"2026-11-20T11:30:25.336538+0100","topic":"a/b","qos":2,"retain":true,
            "payloadlen":3,"mid":7,"properties":{"payload-format-indicator":1,
            "message-expiry-interval":60,"topic-alias":3,"subscription-identifier":[1,2],
            "correlation-data_base64":"/wA=","response-topic":"r","content-type":"",
            "user-properties":[{"k":"v"},{"k":"w"},{"":""}]},"payload":"x\ny"}"#,
        );
        assert_eq!((record.topic.as_deref(), &*record.payload), (Some("a/b"), b"x\ny".as_slice()));
        assert_eq!((record.qos, record.retain), (Some(QoS::ExactlyOnce), true));
        assert_eq!(record.at.unwrap().to_string(), "2026-11-20T10:30:25.336538Z");
        let properties = record.properties.as_ref();
        assert_eq!(properties.payload_format_indicator(), Some(true));
        assert_eq!(properties.message_expiry_interval(), Some(60));
        assert_eq!(properties.correlation_data(), Some([0xff, 0].as_slice()));
        assert_eq!((properties.response_topic(), properties.content_type()), (Some("r"), Some("")));
        let pairs: Vec<_> = properties.user_properties().collect();
        assert_eq!(pairs, [("k", "v"), ("k", "w"), ("", "")]);
        assert_eq!(properties.topic_alias(), None);
        assert_eq!(properties.subscription_identifiers().count(), 0);
    }

    #[test]
    fn what_mosquitto_prints_is_read_too() {
        let record = record(
            r#"{"tst":"2026-11-20T11:30:25.336538Z+0000","topic":"a","qos":0,"retain":0,
            "payloadlen":1,"properties":{"user-properties":{"k":"v","k":"w"}},"payload":"x"}"#,
        );
        let pairs: Vec<_> = record.properties.as_ref().user_properties().collect();
        assert_eq!(pairs, [("k", "v"), ("k", "w")]);
        assert_eq!(record.at.unwrap().to_string(), "2026-11-20T11:30:25.336538Z");
    }

    #[test]
    fn a_record_says_only_what_it_says() {
        let expected = Record {
            topic: None,
            payload: Bytes::new(),
            qos: None,
            retain: false,
            properties: Properties::default(),
            at: None,
        };
        assert_eq!(record("{}"), expected);
        assert_eq!(record(r#"{"tst":null,"topic":null,"payload":null,"more":[{}]}"#), expected);
    }

    #[test]
    fn payloads_of_both_conversions_come_back() {
        for (members, payload) in [
            (r#""payloadlen":0,"payload":null"#, ""),
            (r#""payloadlen":4,"payload":null"#, "null"),
            (r#""payloadlen":1,"payload":"a""#, "a"),
            (r#""payloadlen":3,"payload":"a""#, "\"a\""),
            (r#""payloadlen":2,"payload":"""#, "\"\""),
            (r#""payload":"a""#, "a"),
            (
                r#""payloadlen":99,"payload":{"b": [1e400,12345678901234567890]}"#,
                r#"{"b": [1e400,12345678901234567890]}"#,
            ),
            (r#""payload":false"#, "false"),
            (r#""payload":"\u0000\ud83d\ude00""#, "\0😀"),
            (r#""payloadlen":2,"payload_base64":"YWI=""#, "ab"),
        ] {
            assert_eq!(record(&format!("{{{members}}}")).payload, payload, "{members}");
        }
    }

    #[test]
    fn what_is_not_whole_or_not_allowed_is_refused() {
        for (line, why) in [
            ("", "not a JSON object"),
            ("[\"2026-11-20T11:30:25+0000\",\"a\"]", "not a JSON object"),
            ("{\"topic\":\"a\"", "EOF while parsing an object (column 12)"),
            (r#"{"topic":"a"} x"#, "trailing characters (column 15)"),
            (r#"{"topic":"a/+"}"#, "\"a/+\" is not a topic name: "),
            (r#"{"topic":""}"#, "\"\" is not a topic name: "),
            (r#"{"qos":3}"#, "qos must be 0, 1 or 2 (column"),
            (r#"{"qos":-1}"#, "invalid value: integer `-1`"),
            (r#"{"retain":2}"#, "retain must be true or false"),
            (r#"{"retain":"x"}"#, "invalid type: string \"x\", expected true or false"),
            (r#"{"tst":"yesterday"}"#, "tst \"yesterday\" is not a time such as "),
            (
                r#"{"payloadlen":5,"payload":"a"}"#,
                "the payload has 1 bytes where payloadlen says 5",
            ),
            (r#"{"payloadlen":5}"#, "the payload has 0 bytes where payloadlen says 5"),
            (r#"{"payload":"a","payload_base64":"YQ=="}"#, "there are both"),
            (r#"{"payload_base64":"a"}"#, "payload_base64 is not base64"),
            (r#"{"properties":{"qos":1}}"#, "\"qos\" is not a property"),
            (r#"{"properties":{"receive-maximum":1}}"#, "PUBLISH cannot have the property"),
            (r#"{"properties":{"content-type":1}}"#, "invalid type: integer `1`"),
            (r#"{"properties":{"response-topic":"a/#"}}"#, "response-topic"),
            (r#"{"properties":{"content-type":"a","content-type":"b"}}"#, "more than once"),
            (r#"{"properties":{"payload-format-indicator":256}}"#, "invalid value: integer `256`"),
            (r#"{"properties":{"user-property":"a"}}"#, "a user property stands by itself"),
        ] {
            let text = refused(line);
            assert!(text.contains(why), "{line}: {text}");
        }
        assert!(Record::parse(b"{\"topic\":\"\xff\"}").is_err());
    }
}
