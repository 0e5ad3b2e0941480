//! DISCONNECT (§3.14): the end of a connection.

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::{PacketType, Role};
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink};

/// A DISCONNECT packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why the connection ends; always NORMAL_DISCONNECTION in 3.x.
    pub reason: ReasonCode,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

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
            disconnect.reason = ReasonCode::new(code);
            if !disconnect.reason.is_allowed(PacketType::Disconnect, receiver) {
                return Err(DecodeError::new(Rule::ReasonNotListed, "reason code").with_byte(code));
            }
            if !body.is_empty() {
                disconnect.properties = PropertiesRef::read(version, &mut body, OWNER)?;
            }
            let from_server = receiver == Role::Client;
            if from_server && disconnect.properties.session_expiry_interval().is_some() {
                let field = "session-expiry-interval";
                return Err(DecodeError::new(Rule::SessionExpirySent, field));
            }
        }
        body.finish()?;
        Ok(disconnect)
    }

    /// Appends the packet to `out`, in the shortest form.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the packet may not be sent as it stands; `out` is then unchanged.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        wire::encode(self, version, out)
    }

    /// Returns the size of the whole packet.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        wire::encoded_len(self, version)
    }
}

impl Encode for Disconnect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        if version != Version::V5 && self.reason != ReasonCode::NORMAL_DISCONNECTION {
            return Err(EncodeError::NotInVersion { what: "reason code in a DISCONNECT", version });
        }
        if !self.reason.is_sendable(PacketType::Disconnect) {
            let packet = PacketType::Disconnect;
            return Err(EncodeError::ReasonNotAllowed { packet, reason: self.reason });
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
