//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::PacketType;
use super::packet_id::PacketId;
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::reason::ReasonCode;
use super::topic;
use super::version::Version;
use super::wire::{Encode, Reader, Sink, encodable};

/// An UNSUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier that the UNSUBACK will carry.
    pub packet_id: PacketId,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
    /// The topic filters, at least one, as they were subscribed.
    pub filters: Vec<&'a str>,
}

const FILTER: &str = "topic filter";

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(version: Version, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        let owner = PropertyOwner::Packet(PacketType::Unsubscribe);
        let properties = PropertiesRef::read(version, &mut body, owner)?;
        let mut filters = Vec::new();
        while !body.is_empty() {
            let filter = body.string(FILTER)?;
            topic::check_filter_for(version, filter)
                .map_err(|rule| DecodeError::new(rule, FILTER))?;
            filters.push(filter);
        }
        if filters.is_empty() {
            return Err(DecodeError::new(Rule::NoFiltersToUnsubscribe, "packet"));
        }
        Ok(Self { packet_id, properties, filters })
    }
}

encodable!(Unsubscribe);

impl Encode for Unsubscribe<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Unsubscribe.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties.check_in(version, PropertyOwner::Packet(PacketType::Unsubscribe))?;
        if self.filters.is_empty() {
            return Err(EncodeError::breach(Rule::NoFiltersToUnsubscribe, "packet"));
        }
        for filter in &self.filters {
            topic::check_filter_for(version, filter)
                .map_err(|rule| EncodeError::breach(rule, FILTER))?;
        }
        Ok(())
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.u16(self.packet_id.get());
        sink.properties(version, self.properties)?;
        for filter in &self.filters {
            write_filter(sink, filter)?;
        }
        Ok(())
    }
}

/// Writes one topic filter of a SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn write_filter<S: Sink>(sink: &mut S, filter: &str) -> Result<(), EncodeError> {
    sink.string(FILTER, filter)
}

/// An UNSUBACK packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The packet identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
    /// One reason code per topic filter, in their order; empty in 3.x.
    pub codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    pub(super) fn read(version: Version, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        if version != Version::V5 {
            body.finish()?;
            return Ok(Self { packet_id, properties: PropertiesRef::default(), codes: &[] });
        }
        let owner = PropertyOwner::Packet(PacketType::UnsubAck);
        let properties = PropertiesRef::read(version, &mut body, owner)?;
        let codes = body.rest();
        check_codes(Rule::NoUnsubAckCodes, codes, |reason| {
            reason.is_sendable(PacketType::UnsubAck)
        })?;
        Ok(Self { packet_id, properties, codes })
    }

    /// Returns the reason codes, one per topic filter of the UNSUBSCRIBE; none in 3.x.
    pub fn reasons(&self) -> impl ExactSizeIterator<Item = ReasonCode> + 'a {
        self.codes.iter().copied().map(ReasonCode::new)
    }
}

encodable!(UnsubAck);

impl Encode for UnsubAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::UnsubAck.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let packet = PacketType::UnsubAck;
        self.properties.check_in(version, PropertyOwner::Packet(packet))?;
        if version != Version::V5 {
            return if self.codes.is_empty() {
                Ok(())
            } else {
                Err(EncodeError::NotInVersion { what: "reason codes in an UNSUBACK", version })
            };
        }
        if self.codes.is_empty() {
            return Err(EncodeError::breach(Rule::NoUnsubAckCodes, "packet"));
        }
        match self.reasons().find(|reason| !reason.is_sendable(packet)) {
            Some(reason) => Err(EncodeError::ReasonNotAllowed { packet, reason }),
            None => Ok(()),
        }
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.u16(self.packet_id.get());
        sink.properties(version, self.properties)?;
        sink.put(self.codes);
        Ok(())
    }
}

/// Checks the reason codes of a SUBACK or UNSUBACK, of which `none` breaks a rule too; whether there are as many as topic filters,
/// only their sender knows.
pub(super) fn check_codes(
    none: Rule,
    codes: &[u8],
    is_listed: impl Fn(ReasonCode) -> bool,
) -> Result<(), DecodeError> {
    if codes.is_empty() {
        return Err(DecodeError::new(none, "packet"));
    }
    match codes.iter().find(|code| !is_listed(ReasonCode::new(**code))) {
        Some(code) => Err(DecodeError::new(Rule::ReasonNotListed, "reason code").with_byte(*code)),
        None => Ok(()),
    }
}
