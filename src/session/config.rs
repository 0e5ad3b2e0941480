//! What a client asks for: everything that goes into CONNECT and every limit of the engine.
//!
//! A [`Config`] is made once, checked once and shared by all the sessions of a group. What the
//! broker granted is in [`Limits`](super::Limits).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::codec::{
    Properties, Property, PropertyError, PropertyOwner, PropertyValue, QoS, TopicError, TopicName,
    Version,
};

use super::limits::LARGEST_PACKET;

/// Holds the settings of a group of sessions.
///
/// Sources: MQTT 5.0 §3.1 for all that goes into CONNECT; the time-outs and queue bounds are the
/// engine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Protocol version. Default 3.1.1.
    pub version: Version,
    /// Starts the first connection without an old session (Clean Start, Clean Session). Default
    /// `true`. A 5.0 session with an expiry resumes on the connections that follow.
    pub clean_start: bool,
    /// Longest time in seconds without a packet from this client; 0 turns keep alive off. Default
    /// 60.
    pub keep_alive: u16,
    /// User name, if any.
    pub username: Option<Box<str>>,
    /// Password, if any. MQTT 3.x allows it only with a user name.
    pub password: Option<Secret>,
    /// The message that the broker publishes when the connection is lost.
    pub will: Option<Will>,
    /// How long in seconds the session outlives the connection, 5.0 only; `u32::MAX` means for
    /// ever. Default 0.
    pub session_expiry: u32,
    /// How many unacknowledged QoS 1 and 2 messages the broker may have under way to this client,
    /// 1..=65,535. 5.0 only: announced when below 65,535, and enforced. Default 65,535.
    pub receive_maximum: u16,
    /// Largest packet accepted, in bytes, the whole packet counted. Announced in 5.0, enforced in
    /// every version. Default 16 MiB.
    pub maximum_packet_size: u32,
    /// How many topic aliases the broker may use, 5.0 only. Of their topics at most 16 MiB are
    /// kept; a broker that needs more is disconnected. Default 0.
    pub topic_alias_maximum: u16,
    /// Sends topic aliases as far as the broker takes them, 5.0 only. Default `false`.
    pub topic_aliases: bool,
    /// Further CONNECT properties, 5.0 only: user properties and those without a field of their
    /// own. An authentication method can be here, or be set for each link with
    /// [`Session::set_authentication`](super::Session::set_authentication).
    pub connect_properties: Properties,
    /// How many QoS 1 and 2 messages may be in flight to the broker, lowered by its Receive
    /// Maximum. 1..=65,535, default 100.
    pub max_inflight: u16,
    /// How many of them may be of QoS 2 in 3.x, where the broker cannot say how many it takes at a
    /// time. 1..=65,535, default 20: mosquitto closes the connection at the 21st, and loses it.
    pub max_inflight_exactly_once: u16,
    /// How many publishes may be queued or in flight. Default 100,000.
    pub max_queued_messages: usize,
    /// How many bytes of topic and payload may be queued or in flight. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Time from the transport being up to the CONNACK. Default 30 s.
    pub connack_timeout: Duration,
    /// Time to wait for a PINGRESP while nothing else arrives. Default: half the keep alive, at
    /// most 10 s.
    pub ping_timeout: Option<Duration>,
    /// Time for a packet that has begun to arrive to become whole. Default 60 s.
    pub packet_timeout: Duration,
    /// Time to wait for a SUBACK or UNSUBACK. Default 30 s.
    pub request_timeout: Duration,
    /// Subscribes again to the live filters when the broker has lost the session. Default `true`.
    pub resubscribe: bool,
    /// Accepts Session Present from a broker whose session this process does not know, as a
    /// restarted client meets it. With `false` the connection is closed \[MQTT-3.2.2-4\]. Default
    /// `true`.
    pub adopt_session: bool,
    /// What becomes of messages in flight when the broker has lost the session.
    pub on_session_loss: SessionLoss,
    /// Tells what the session's next process must know, with
    /// [`Event::Store`](super::Event::Store). Default `false`.
    pub durable: bool,
}

impl Config {
    /// Makes a configuration with the defaults for `version`.
    pub fn new(version: Version) -> Config {
        Config {
            version,
            clean_start: true,
            keep_alive: 60,
            username: None,
            password: None,
            will: None,
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: 16 << 20,
            topic_alias_maximum: 0,
            topic_aliases: false,
            connect_properties: Properties::default(),
            max_inflight: 100,
            max_inflight_exactly_once: 20,
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            connack_timeout: Duration::from_secs(30),
            ping_timeout: None,
            packet_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            resubscribe: true,
            adopt_session: true,
            on_session_loss: SessionLoss::default(),
            durable: false,
        }
    }

    /// Checks the settings against each other and against the protocol version, for a client
    /// with this identifier.
    ///
    /// # Errors
    ///
    /// The first setting that could not be sent or would contradict another, by name.
    pub fn check(&self, client_id: &str) -> Result<(), ConfigError> {
        let v5 = self.version == Version::V5;
        check_text("client identifier", client_id)?;
        if let Some(username) = &self.username {
            check_text("user name", username)?;
        }
        if let Some(password) = &self.password {
            if !v5 && self.username.is_none() {
                return Err(ConfigError::PasswordWithoutUserName); // [MQTT-3.1.2-22]
            }
            check_length("password", password.as_bytes().len())?;
        }
        if client_id.is_empty() && self.version == Version::V31 {
            return Err(ConfigError::ClientIdRequired("MQTT 3.1 has no empty client identifier"));
        }
        if client_id.is_empty() && !v5 && !self.clean_start {
            return Err(ConfigError::ClientIdRequired("a session that lasts belongs to one")); // [MQTT-3.1.3-7]
        }
        if let Some(will) = &self.will {
            check_length("will payload", will.payload.len())?;
            if !v5 && !will.properties.as_ref().is_empty() {
                return Err(ConfigError::OnlyV5("will properties"));
            }
            will.properties.check(PropertyOwner::Will)?;
        }
        if !v5 {
            if self.session_expiry != 0 {
                return Err(ConfigError::OnlyV5("session expiry"));
            }
            if !self.connect_properties.as_ref().is_empty() {
                return Err(ConfigError::OnlyV5("CONNECT properties"));
            }
        }
        for (what, value) in [
            ("receive maximum", self.receive_maximum),
            ("in-flight window", self.max_inflight),
            ("in-flight window for QoS 2", self.max_inflight_exactly_once),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(what));
            }
        }
        if self.maximum_packet_size == 0 {
            return Err(ConfigError::Zero("maximum packet size"));
        }
        for (property, field) in [
            (Property::SessionExpiryInterval, "session_expiry"),
            (Property::ReceiveMaximum, "receive_maximum"),
            (Property::MaximumPacketSize, "maximum_packet_size"),
            (Property::TopicAliasMaximum, "topic_alias_maximum"),
        ] {
            if self.connect_properties.as_ref().iter().any(|(p, _)| p == property) {
                return Err(ConfigError::HasField { property, field });
            }
        }
        self.connect_properties
            .check(PropertyOwner::Packet(crate::codec::PacketType::Connect))
            .map_err(ConfigError::from)
    }

    /// The CONNECT properties in all: those with a field of their own and the others.
    pub(super) fn announced(&self) -> Properties {
        let mut properties = Properties::default();
        if self.version != Version::V5 {
            return properties;
        }
        let fields = [
            (self.session_expiry != 0).then_some((
                Property::SessionExpiryInterval,
                PropertyValue::FourByte(self.session_expiry),
            )),
            (self.receive_maximum != u16::MAX).then_some((
                Property::ReceiveMaximum,
                PropertyValue::TwoByte(self.receive_maximum),
            )),
            (self.maximum_packet_size < LARGEST_PACKET).then_some((
                Property::MaximumPacketSize,
                PropertyValue::FourByte(self.maximum_packet_size),
            )),
            (self.topic_alias_maximum != 0).then_some((
                Property::TopicAliasMaximum,
                PropertyValue::TwoByte(self.topic_alias_maximum),
            )),
        ];
        for (property, value) in
            fields.into_iter().flatten().chain(self.connect_properties.as_ref().iter())
        {
            let pushed = properties.push(property, value);
            debug_assert!(pushed.is_ok(), "checked by Config::check");
        }
        properties
    }

    /// The PINGRESP deadline in force for this keep alive.
    pub(super) fn ping_timeout_for(&self, keep_alive: Duration) -> Duration {
        self.ping_timeout.unwrap_or_else(|| (keep_alive / 2).min(Duration::from_secs(10)))
    }
}

fn check_text(what: &'static str, text: &str) -> Result<(), ConfigError> {
    check_length(what, text.len())?;
    if text.contains('\0') {
        return Err(ConfigError::Nul(what)); // [MQTT-1.5.4-2]
    }
    Ok(())
}

fn check_length(what: &'static str, length: usize) -> Result<(), ConfigError> {
    if length > usize::from(u16::MAX) {
        return Err(ConfigError::TooLong { what, length });
    }
    Ok(())
}

/// Says why a [`Config`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// MQTT 3.x has no password without a user name.
    #[error("MQTT 3.x takes a password only together with a user name")]
    PasswordWithoutUserName,
    /// An identifier is needed and none was given.
    #[error("a client identifier is needed: {0}")]
    ClientIdRequired(&'static str),
    /// The setting exists in MQTT 5.0 only.
    #[error("{0} exist only in MQTT 5.0")]
    OnlyV5(&'static str),
    /// The setting must not be 0.
    #[error("the {0} must not be 0")]
    Zero(&'static str),
    /// The field is longer than a two-byte length can say.
    #[error("the {what} has {length} bytes, more than 65,535")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The text contains U+0000, which no MQTT string may.
    #[error("the {0} contains U+0000")]
    Nul(&'static str),
    /// The property has a field of its own.
    #[error("property {} is set by the field {field}", property.name())]
    HasField {
        /// The property.
        property: Property,
        /// The field of [`Config`].
        field: &'static str,
    },
    /// A property that does not belong there or has a wrong value.
    #[error(transparent)]
    Property(#[from] PropertyError),
}

/// Says what becomes of QoS 1 and 2 messages in flight when the broker has lost the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionLoss {
    /// Sends them again as new messages, in their order. A message that the broker had taken
    /// already arrives a second time.
    #[default]
    Republish,
    /// Reports them as [`PublishFailure::Lost`](super::PublishFailure::Lost).
    Fail,
}

/// Holds the message that the broker publishes when the connection ends without a DISCONNECT
/// (§3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published; at most 65,535 bytes.
    pub payload: Bytes,
    /// Its quality of service. Default 0.
    pub qos: QoS,
    /// Whether the broker keeps it as the retained message of the topic. Default `false`.
    pub retain: bool,
    /// Its properties, 5.0 only.
    pub properties: Properties,
}

impl Will {
    /// Makes a will with QoS 0, not retained and without properties.
    ///
    /// # Errors
    ///
    /// [`TopicError`] when `topic` is not a topic name.
    pub fn new(
        topic: impl TryInto<TopicName, Error = TopicError>,
        payload: impl Into<Bytes>,
    ) -> Result<Will, TopicError> {
        Ok(Will {
            topic: topic.try_into()?,
            payload: payload.into(),
            qos: QoS::default(),
            retain: false,
            properties: Properties::default(),
        })
    }

    /// Sets the quality of service.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Will {
        self.qos = qos;
        self
    }

    /// Sets whether the broker keeps the message.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Will {
        self.retain = retain;
        self
    }

    /// Sets how long the broker waits before it publishes the message, in whole seconds: a
    /// connection made again meanwhile keeps it back. 5.0 only; what
    /// [`properties`](Self::properties) sets replaces it.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Will {
        let seconds = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        let value = PropertyValue::FourByte(seconds);
        let pushed = self.properties.push(Property::WillDelayInterval, value);
        debug_assert!(pushed.is_ok(), "any number of seconds is allowed");
        self
    }

    /// Sets the properties.
    #[must_use]
    pub fn properties(mut self, properties: Properties) -> Will {
        self.properties = properties;
        self
    }
}

/// Holds a password: zeroed when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Secret {
        Secret::from(bytes.to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}
