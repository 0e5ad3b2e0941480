//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use super::error::{DecodeError, EncodeError, Rule};
use super::packet::PacketType;
use super::packet_id::PacketId;
use super::properties::PropertiesRef;
use super::property::PropertyOwner;
use super::qos::QoS;
use super::reason::ReasonCode;
use super::topic;
use super::unsubscribe::{check_codes, write_filter};
use super::version::Version;
use super::wire::{Encode, Reader, Sink, encodable};

/// A SUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet identifier that the SUBACK will carry.
    pub packet_id: PacketId,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
    /// The topic filters, at least one, each with its options.
    pub filters: Vec<FilterRequest<'a>>,
}

/// One topic filter of a [`Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterRequest<'a> {
    /// The topic filter.
    pub filter: &'a str,
    /// What is asked for.
    pub options: SubscribeOptions,
}

/// The options of one subscription (§3.8.3.1). 3.x has only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// The highest QoS at which the server may send.
    pub qos: QoS,
    /// Whether the client's own messages stay away.
    pub no_local: bool,
    /// Whether messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a subscription receives the messages that are retained already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE.
    #[default]
    SendAtSubscribe = 0,
    /// At a SUBSCRIBE whose subscription does not exist yet.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

const OPTIONS: &str = "subscription options";
const FILTER: &str = "topic filter";
const QOS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RESERVED_IN_5: u8 = 0xC0;

impl<'a> Subscribe<'a> {
    pub(super) fn read(version: Version, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        let owner = PropertyOwner::Packet(PacketType::Subscribe);
        let properties = PropertiesRef::read(version, &mut body, owner)?;
        let mut filters = Vec::new();
        while !body.is_empty() {
            let filter = body.string(FILTER)?;
            topic::check_filter_for(version, filter)
                .map_err(|rule| DecodeError::new(rule, FILTER))?;
            let byte = body.u8(OPTIONS)?;
            let options = SubscribeOptions::from_byte(version, byte)
                .and_then(|options| check_no_local(version, filter, options).map(|()| options))
                .map_err(|rule| DecodeError::new(rule, OPTIONS).with_byte(byte))?;
            filters.push(FilterRequest { filter, options });
        }
        if filters.is_empty() {
            return Err(DecodeError::new(Rule::NoFilters, "packet"));
        }
        Ok(Self { packet_id, properties, filters })
    }
}

encodable!(Subscribe);

impl Encode for Subscribe<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Subscribe.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties.check_in(version, PropertyOwner::Packet(PacketType::Subscribe))?;
        if self.filters.is_empty() {
            return Err(EncodeError::breach(Rule::NoFilters, "packet"));
        }
        for request in &self.filters {
            topic::check_filter_for(version, request.filter)
                .map_err(|rule| EncodeError::breach(rule, FILTER))?;
            check_no_local(version, request.filter, request.options)
                .map_err(|rule| EncodeError::breach(rule, OPTIONS))?;
            if version != Version::V5 && !request.options.is_qos_only() {
                let what = "subscription options besides the QoS";
                return Err(EncodeError::NotInVersion { what, version });
            }
        }
        Ok(())
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.u16(self.packet_id.get());
        sink.properties(version, self.properties)?;
        for request in &self.filters {
            write_filter(sink, request.filter)?;
            sink.u8(request.options.to_byte());
        }
        Ok(())
    }
}

impl SubscribeOptions {
    fn from_byte(version: Version, byte: u8) -> Result<Self, Rule> {
        let reserved = if version == Version::V5 { RESERVED_IN_5 } else { !QOS };
        if byte & reserved != 0 {
            return Err(Rule::SubscribeReserved);
        }
        let retain_handling = match byte >> RETAIN_HANDLING_SHIFT & 0b11 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Rule::RetainHandling),
        };
        Ok(Self {
            qos: QoS::from_low_bits(byte).ok_or(Rule::SubscribeQos)?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn to_byte(self) -> u8 {
        u8::from(self.qos)
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
            | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }

    fn is_qos_only(self) -> bool {
        self == Self { qos: self.qos, ..Self::default() }
    }
}

impl From<QoS> for SubscribeOptions {
    fn from(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}

fn check_no_local(version: Version, filter: &str, options: SubscribeOptions) -> Result<(), Rule> {
    if version == Version::V5 && options.no_local && topic::is_shared(filter) {
        Err(Rule::NoLocalShared)
    } else {
        Ok(())
    }
}

/// A SUBACK packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The packet identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties; empty in 3.x.
    pub properties: PropertiesRef<'a>,
    /// One reason code per topic filter, in their order, at least one. 3.x has 0, 1, 2 and 0x80.
    pub codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    pub(super) fn read(version: Version, mut body: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        let owner = PropertyOwner::Packet(PacketType::SubAck);
        let properties = PropertiesRef::read(version, &mut body, owner)?;
        let codes = body.rest();
        check_codes(Rule::NoSubAckCodes, codes, |code| is_listed(version, code))?;
        Ok(Self { packet_id, properties, codes })
    }

    /// Returns the reason codes, one per topic filter of the SUBSCRIBE.
    pub fn reasons(&self) -> impl ExactSizeIterator<Item = ReasonCode> + 'a {
        self.codes.iter().copied().map(ReasonCode::new)
    }
}

encodable!(SubAck);

impl Encode for SubAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::SubAck.first_byte()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        self.properties.check_in(version, PropertyOwner::Packet(PacketType::SubAck))?;
        if self.codes.is_empty() {
            return Err(EncodeError::breach(Rule::NoSubAckCodes, "packet"));
        }
        match self.reasons().find(|reason| !is_listed(version, *reason)) {
            Some(reason) => {
                Err(EncodeError::ReasonNotAllowed { packet: PacketType::SubAck, reason })
            }
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

fn is_listed(version: Version, reason: ReasonCode) -> bool {
    match version {
        Version::V5 => reason.is_sendable(PacketType::SubAck),
        Version::V31 | Version::V311 => matches!(reason.code(), 0 | 1 | 2 | 0x80),
    }
}
