//! CONNECT (§3.1): the client asks for a connection.

use std::fmt;

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::PacketType;
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::publish;
use super::qos::QoS;
use super::text;
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink};

/// A CONNECT packet. Its `Debug` shows the length of the password and not the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The protocol version: the packet says it and is written in it.
    pub version: Version,
    /// Whether to begin with an empty session (Clean Session in 3.x, Clean Start in 5.0).
    pub clean_start: bool,
    /// The most seconds between two packets of the client; 0 turns the keep alive off.
    pub keep_alive: u16,
    /// The client identifier. 3.1 forbids an empty one, 3.1.1 allows it with `clean_start`.
    pub client_id: &'a str,
    /// The message to publish when the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password. Only 5.0 allows it without a user name.
    pub password: Option<&'a [u8]>,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

/// The will message of a [`Connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message is to be retained.
    pub retain: bool,
    /// The will properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

const CLIENT_ID: &str = "client identifier";
const WILL_TOPIC: &str = "will topic";
const WILL_PAYLOAD: &str = "will payload";
const USER_NAME: &str = "user name";
const PASSWORD: &str = "password";
const FLAGS: &str = "connect flags";

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const HAS_PASSWORD: u8 = 0x40;
const HAS_USER_NAME: u8 = 0x80;

impl<'a> Connect<'a> {
    pub(super) fn read(mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let version = read_version(&mut body)?;
        let flags = body.u8(FLAGS)?;
        check_flags(version, flags)
            .map_err(|rule| DecodeError::new(rule, FLAGS).with_byte(flags))?;
        let clean_start = flags & CLEAN_START != 0;
        let keep_alive = body.u16("keep alive")?;
        let owner = PropertyOwner::Packet(PacketType::Connect);
        let properties = PropertiesRef::read(version, &mut body, owner)?;
        let client_id = body.string(CLIENT_ID)?;
        check_client_id(version, clean_start, client_id)
            .map_err(|rule| DecodeError::new(rule, CLIENT_ID))?;
        let will =
            if flags & WILL != 0 { Some(Will::read(version, flags, &mut body)?) } else { None };
        // 3.1 §3.1: the Remaining Length takes precedence over these two flags.
        let absent = |body: &Reader<'a>| version == Version::V31 && body.is_empty();
        let username = if flags & HAS_USER_NAME != 0 && !absent(&body) {
            Some(body.string(USER_NAME)?)
        } else {
            None
        };
        let password = if flags & HAS_PASSWORD != 0 && !absent(&body) {
            Some(body.binary(PASSWORD)?)
        } else {
            None
        };
        body.finish()?;
        Ok(Self {
            version,
            clean_start,
            keep_alive,
            client_id,
            will,
            username,
            password,
            properties,
        })
    }

    /// Appends the packet to `out`, in its own version.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the packet may not be sent as it stands; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        wire::encode(self, self.version, out)
    }

    /// Returns the size of the whole packet.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        wire::encoded_len(self, self.version)
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | u8::from(will.qos) << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.password.is_some() {
            flags |= HAS_PASSWORD;
        }
        if self.username.is_some() {
            flags |= HAS_USER_NAME;
        }
        flags
    }
}

impl Encode for Connect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Connect.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        check_flags(version, self.flags()).map_err(|rule| EncodeError::breach(rule, FLAGS))?;
        self.properties.check_in(version, PropertyOwner::Packet(PacketType::Connect))?;
        text::check(CLIENT_ID, self.client_id)?;
        check_client_id(version, self.clean_start, self.client_id)
            .map_err(|rule| EncodeError::breach(rule, CLIENT_ID))?;
        if let Some(will) = &self.will {
            will.properties.check_in(version, PropertyOwner::Will)?;
            publish::check_name(version, will.topic)
                .map_err(|rule| EncodeError::breach(rule, WILL_TOPIC))?;
        }
        self.username.map_or(Ok(()), |username| text::check(USER_NAME, username))
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.string("protocol name", version.protocol_name())?;
        sink.u8(version.level());
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        sink.properties(version, self.properties)?;
        sink.string(CLIENT_ID, self.client_id)?;
        if let Some(will) = &self.will {
            sink.properties(version, will.properties)?;
            sink.string(WILL_TOPIC, will.topic)?;
            sink.binary(WILL_PAYLOAD, will.payload)?;
        }
        if let Some(username) = self.username {
            sink.string(USER_NAME, username)?;
        }
        if let Some(password) = self.password {
            sink.binary(PASSWORD, password)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.map(Hidden))
            .field("properties", &self.properties)
            .finish()
    }
}

/// Shows how long a secret is.
struct Hidden<'a>(&'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> Will<'a> {
    fn read(version: Version, flags: u8, body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let qos = QoS::from_low_bits(flags >> WILL_QOS_SHIFT)
            .ok_or_else(|| DecodeError::new(Rule::WillQos, FLAGS).with_byte(flags))?;
        let properties = PropertiesRef::read(version, body, PropertyOwner::Will)?;
        let topic = body.string(WILL_TOPIC)?;
        publish::check_name(version, topic).map_err(|rule| DecodeError::new(rule, WILL_TOPIC))?;
        let payload = body.binary(WILL_PAYLOAD)?;
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }
}

fn read_version(body: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = body.binary("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::new(Rule::ProtocolName, "protocol name"));
    }
    let level = body.u8("protocol level")?;
    Version::from_level(level)
        .filter(|version| version.protocol_name().as_bytes() == name)
        .ok_or_else(|| DecodeError::new(Rule::ProtocolLevel, "protocol level").with_byte(level))
}

fn check_flags(version: Version, flags: u8) -> Result<(), Rule> {
    if flags & RESERVED != 0 {
        Err(Rule::ConnectReserved)
    } else if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        Err(Rule::WillWithoutFlag)
    } else if version != Version::V5 && flags & (HAS_USER_NAME | HAS_PASSWORD) == HAS_PASSWORD {
        Err(Rule::PasswordWithoutUserName)
    } else {
        Ok(())
    }
}

fn check_client_id(version: Version, clean_start: bool, client_id: &str) -> Result<(), Rule> {
    let empty_allowed = match version {
        Version::V31 => false,
        Version::V311 => clean_start,
        Version::V5 => true,
    };
    if client_id.is_empty() && !empty_allowed { Err(Rule::EmptyClientId) } else { Ok(()) }
}
