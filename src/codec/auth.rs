//! AUTH (§3.15): one step of enhanced authentication, in 5.0.

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::{PacketType, Role};
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink};

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
        // §3.15.2.1: reason code and property length are left out together or not at all.
        let code = if body.is_empty() { None } else { Some(body.u8("reason code")?) };
        let reason = code.map_or(ReasonCode::SUCCESS, ReasonCode::new);
        if !reason.is_allowed(PacketType::Auth, receiver) {
            let error = DecodeError::new(Rule::ReasonNotListed, "reason code");
            return Err(error.with_byte(reason.code()));
        }
        let properties = match code {
            Some(_) => PropertiesRef::read(Version::V5, &mut body, OWNER)?,
            None => PropertiesRef::default(),
        };
        body.finish()?;
        Ok(Self { reason, properties })
    }

    /// Appends the packet to `out`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the packet may not be sent as it stands, in 3.x always; `out` is then
    /// unchanged.
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

impl Encode for Auth<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        if version != Version::V5 {
            return Err(EncodeError::NotInVersion { what: "AUTH packet", version });
        }
        if !self.reason.is_sendable(PacketType::Auth) {
            let packet = PacketType::Auth;
            return Err(EncodeError::ReasonNotAllowed { packet, reason: self.reason });
        }
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
