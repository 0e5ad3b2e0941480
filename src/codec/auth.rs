//! AUTH (§3.15): one step of enhanced authentication, in 5.0.

use super::error::{DecodeError, EncodeError};
use super::packet::{PacketType, Role};
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{Encode, Reader, Sink, encodable};

/// An AUTH packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// CONTINUE_AUTHENTICATION, REAUTHENTICATE from a client, or SUCCESS from a server.
    pub reason: ReasonCode,
    /// The properties, with the authentication method and data.
    pub properties: PropertiesRef<'a>,
}

const OWNER: PropertyOwner = PropertyOwner::Packet(PacketType::Auth);

impl<'a> Auth<'a> {
    pub(super) fn read(receiver: Role, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let (mut reason, mut properties) = (ReasonCode::SUCCESS, PropertiesRef::default());
        // §3.15.2.1: reason code and property length are left out together or not at all.
        if !body.is_empty() {
            reason = ReasonCode::new(body.u8("reason code")?);
            properties = PropertiesRef::read(Version::V5, &mut body, OWNER)?;
        }
        reason.check_received(PacketType::Auth, receiver)?;
        body.finish()?;
        Ok(Self { reason, properties })
    }
}

encodable!(Auth);

impl Encode for Auth<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        if version != Version::V5 {
            return Err(EncodeError::NotInVersion { what: "AUTH packet", version });
        }
        self.reason.check_sent(PacketType::Auth)?;
        self.properties.check_in(version, OWNER)
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        if self.reason == ReasonCode::SUCCESS && self.properties.is_empty() {
            return Ok(());
        }
        sink.u8(self.reason.code());
        sink.properties(version, self.properties)
    }
}
