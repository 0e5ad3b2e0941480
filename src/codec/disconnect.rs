//! DISCONNECT (§3.14): the end of a connection.

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::{PacketType, Role};
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{Encode, Reader, Sink, encodable};

/// A DISCONNECT packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why the connection ends; always NORMAL_DISCONNECTION in 3.x.
    pub reason: ReasonCode,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

const SESSION_EXPIRY: &str = "session-expiry-interval";
const OWNER: PropertyOwner = PropertyOwner::Packet(PacketType::Disconnect);

impl<'a> Disconnect<'a> {
    pub(super) fn read(
        version: Version,
        receiver: Role,
        mut body: Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let mut disconnect = Self::default();
        if version == Version::V5 && !body.is_empty() {
            let code = body.u8("reason code")?;
            disconnect.reason =
                ReasonCode::new(code).check_received(PacketType::Disconnect, receiver)?;
            if !body.is_empty() {
                disconnect.properties = PropertiesRef::read(version, &mut body, OWNER)?;
            }
            let from_server = receiver == Role::Client;
            if from_server && disconnect.properties.session_expiry_interval().is_some() {
                return Err(DecodeError::new(Rule::SessionExpirySent, SESSION_EXPIRY));
            }
        }
        body.finish()?;
        Ok(disconnect)
    }
}

encodable!(Disconnect);

impl Encode for Disconnect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        if version != Version::V5 && self.reason != ReasonCode::NORMAL_DISCONNECTION {
            return Err(EncodeError::NotInVersion { what: "reason code in a DISCONNECT", version });
        }
        self.reason.check_sent(PacketType::Disconnect)?;
        let from_server = !self.reason.is_allowed(PacketType::Disconnect, Role::Server);
        if from_server && self.properties.session_expiry_interval().is_some() {
            return Err(EncodeError::breach(Rule::SessionExpirySent, SESSION_EXPIRY));
        }
        self.properties.check_in(version, OWNER)
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        if !self.properties.is_empty() {
            sink.u8(self.reason.code());
            sink.properties(version, self.properties)
        } else {
            if self.reason != ReasonCode::NORMAL_DISCONNECTION {
                sink.u8(self.reason.code());
            }
            Ok(())
        }
    }
}
