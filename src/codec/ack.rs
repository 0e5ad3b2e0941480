//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7): four packets of one shape.

use super::error::{DecodeError, EncodeError};
use super::packet::{PacketType, Role};
use super::packet_id::PacketId;
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::version::Version;
use super::wire::{self, Encode, Reader, Sink};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// The outcome; always SUCCESS in 3.x.
    pub reason: ReasonCode,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
}

impl<'a> Ack<'a> {
    /// Returns the acknowledgement that all went well.
    pub fn success(packet_id: PacketId) -> Self {
        Self::new(packet_id, ReasonCode::SUCCESS)
    }

    /// Returns an acknowledgement without properties.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: PropertiesRef::default() }
    }

    pub(super) fn read(
        packet: PacketType,
        version: Version,
        receiver: Role,
        mut body: Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::success(body.packet_id()?);
        if version == Version::V5 && !body.is_empty() {
            let code = body.u8("reason code")?;
            ack.reason = ReasonCode::new(code).check_received(packet, receiver)?;
            if !body.is_empty() {
                let owner = PropertyOwner::Packet(packet);
                ack.properties = PropertiesRef::read(version, &mut body, owner)?;
            }
        }
        body.finish()?;
        Ok(ack)
    }

    /// Appends the packet to `out` as the `packet` it is to be, in the shortest form.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when `packet` is another kind of packet, or may not be sent as it stands;
    /// `out` is then unchanged.
    pub fn encode(
        &self,
        packet: PacketType,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        wire::encode(&Typed { ack: self, packet }, version, out)
    }

    /// Returns the size of the whole packet.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encoded_len(&self, packet: PacketType, version: Version) -> Result<usize, EncodeError> {
        wire::encoded_len(&Typed { ack: self, packet }, version)
    }
}

struct Typed<'a> {
    ack: &'a Ack<'a>,
    packet: PacketType,
}

impl Encode for Typed<'_> {
    fn first_byte(&self) -> u8 {
        self.packet.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let (ack, packet) = (self.ack, self.packet);
        if !matches!(
            packet,
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp
        ) {
            return Err(EncodeError::NotAnAck { packet });
        }
        if version != Version::V5 && ack.reason != ReasonCode::SUCCESS {
            return Err(EncodeError::NotInVersion {
                what: "reason code in an acknowledgement",
                version,
            });
        }
        ack.reason.check_sent(packet)?;
        ack.properties.check_in(version, PropertyOwner::Packet(packet))
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        let ack = self.ack;
        sink.u16(ack.packet_id.get());
        if ack.properties.is_empty() {
            if ack.reason != ReasonCode::SUCCESS {
                sink.u8(ack.reason.code());
            }
            return Ok(());
        }
        sink.u8(ack.reason.code());
        sink.properties(version, ack.properties)
    }
}
