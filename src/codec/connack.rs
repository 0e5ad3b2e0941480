//! CONNACK (§3.2): the server answers a CONNECT.

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::{PacketType, Role};
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{Encode, Reader, Sink, encodable};

/// A CONNACK packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server kept a session of this client; always false in 3.1 and in a refusal.
    pub session_present: bool,
    /// Success, or why the connection is refused. A 3.x return code becomes the reason code of
    /// the same meaning.
    pub reason: ReasonCode,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

const FLAGS: &str = "connect acknowledge flags";
const CODE: &str = "return code";
const SESSION_PRESENT: u8 = 0x01;
const OWNER: PropertyOwner = PropertyOwner::Packet(PacketType::ConnAck);

impl<'a> ConnAck<'a> {
    pub(super) fn read(version: Version, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let flags = body.u8(FLAGS)?;
        // 3.1 §3.2 reserves this byte without giving it a value.
        if version != Version::V31 && flags & !SESSION_PRESENT != 0 {
            return Err(DecodeError::new(Rule::ConnAckFlags, FLAGS).with_byte(flags));
        }
        let code = body.u8(CODE)?;
        let session_present = version != Version::V31
            && flags == SESSION_PRESENT
            && code == ReasonCode::SUCCESS.code();
        // A server without 5.0 refuses it in the shape that it knows [MQTT-3.1.2-2].
        let (reason, properties) = if version != Version::V5 || is_v3_refusal(code, &body) {
            let reason = ReasonCode::from_v3_connack(code)
                .ok_or_else(|| DecodeError::new(Rule::ConnAckReturnCode, CODE).with_byte(code))?;
            (reason, PropertiesRef::default())
        } else {
            let reason = ReasonCode::new(code).check_received(PacketType::ConnAck, Role::Client)?;
            (reason, PropertiesRef::read(version, &mut body, OWNER)?)
        };
        body.finish()?;
        Ok(Self { session_present, reason, properties })
    }

    fn code(&self, version: Version) -> Result<u8, EncodeError> {
        let (packet, reason) = (PacketType::ConnAck, self.reason);
        if version == Version::V5 {
            reason.check_sent(packet).map(ReasonCode::code)
        } else {
            reason.to_v3_connack().ok_or(EncodeError::ReasonNotAllowed { packet, reason })
        }
    }
}

fn is_v3_refusal(code: u8, rest: &Reader<'_>) -> bool {
    matches!(code, 1..=5) && rest.is_empty()
}

encodable!(ConnAck);

impl Encode for ConnAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::ConnAck.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        if self.session_present && version == Version::V31 {
            return Err(EncodeError::NotInVersion { what: "session present", version });
        }
        if self.session_present && self.reason.is_error() {
            return Err(EncodeError::breach(Rule::SessionPresentRefused, "session present"));
        }
        self.properties.check_in(version, OWNER)
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.u8(u8::from(self.session_present));
        sink.u8(self.code(version)?);
        sink.properties(version, self.properties)
    }
}
