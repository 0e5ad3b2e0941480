//! The lines of `-d`: one for each packet sent and received, worded as the mosquitto tools do.

use std::io::Write;

use super::stdio::single_line;
use crate::{
    client::Direction,
    codec::{Ack, Packet, PacketType, ReasonCode, SubscribeOptions, Version},
};

/// Words the packets of one client.
#[derive(Debug)]
pub struct PacketLog {
    version: Version,
    /// As sent, or as the broker has chosen it; empty while it has not.
    client_id: String,
    /// Whether the granted qualities of service are a line of their own.
    tells_grants: bool,
}

impl PacketLog {
    /// For a client of this version that asks for this identifier.
    pub fn new(version: Version, client_id: &str) -> Self {
        Self { version, client_id: single_line(client_id).into_owned(), tells_grants: false }
    }

    /// Has the granted qualities of service told behind each SUBACK, as mosquitto_sub does.
    #[must_use]
    pub fn with_grants(mut self, tells_grants: bool) -> Self {
        self.tells_grants = tells_grants;
        self
    }

    /// Appends the line, or lines, of `packet` to `out`.
    pub fn line(&mut self, direction: Direction, packet: &Packet<'_>, out: &mut Vec<u8>) {
        if let (Direction::Received, Packet::ConnAck(connack)) = (direction, packet)
            && let Some(id) = connack.properties.assigned_client_identifier()
        {
            self.client_id = single_line(id).into_owned();
        }
        // Writing to a Vec cannot fail.
        let _ = self.write(direction, packet, out);
    }

    fn write(
        &self,
        direction: Direction,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let client = match self.client_id.as_str() {
            "" => "(null)",
            id => id,
        };
        let packet_type = packet.packet_type();
        let verb = match direction {
            Direction::Sent => "sending",
            Direction::Received => "received",
        };
        match packet {
            // The lines of one SUBSCRIBE and UNSUBSCRIBE are one per filter.
            Packet::Subscribe(subscribe) => {
                for request in &subscribe.filters {
                    let filter = single_line(request.filter);
                    let (id, qos) = (subscribe.packet_id, request.options.qos);
                    let options = option_bits(request.options);
                    writeln!(
                        out,
                        "Client {client} {verb} SUBSCRIBE (Mid: {id}, Topic: {filter}, \
                         QoS: {qos}, Options: 0x{options:02x})"
                    )?;
                }
                return Ok(());
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.filters {
                    let (id, filter) = (unsubscribe.packet_id, single_line(filter));
                    writeln!(
                        out,
                        "Client {client} {verb} UNSUBSCRIBE (Mid: {id}, Topic: {filter})"
                    )?;
                }
                return Ok(());
            }
            Packet::Disconnect(disconnect) if direction == Direction::Received => {
                return writeln!(out, "Received DISCONNECT ({})", disconnect.reason.code());
            }
            _ => write!(out, "Client {client} {verb} {packet_type}")?,
        }
        match packet {
            Packet::ConnAck(connack) => write!(out, " ({})", self.connack_code(connack.reason))?,
            Packet::Publish(publish) => write!(
                out,
                " (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
                u8::from(publish.dup),
                publish.qos,
                u8::from(publish.retain),
                publish.packet_id.map_or(0, |id| id.get()),
                single_line(publish.topic),
                publish.payload.len(),
            )?,
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => write_ack(direction, packet_type, ack, out)?,
            _ => {}
        }
        writeln!(out)?;
        if let Packet::SubAck(suback) = packet
            && self.tells_grants
        {
            write!(out, "Subscribed (mid: {}):", suback.packet_id)?;
            for (at, code) in suback.codes.iter().enumerate() {
                write!(out, "{} {code}", if at == 0 { "" } else { "," })?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The number that was on the wire.
    fn connack_code(&self, reason: ReasonCode) -> u8 {
        match self.version {
            Version::V5 => reason.code(),
            _ => reason.to_v3_connack().unwrap_or(reason.code()),
        }
    }
}

/// The subscription options beside the quality of service, as they are on the wire (§3.8.3.1).
fn option_bits(options: SubscribeOptions) -> u8 {
    u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

/// mosquitto words the four acknowledgements differently, each way.
fn write_ack(
    direction: Direction,
    packet_type: PacketType,
    ack: &Ack<'_>,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (id, code) = (ack.packet_id, ack.reason.code());
    match (direction, packet_type) {
        (Direction::Sent, PacketType::PubAck | PacketType::PubRec) => {
            write!(out, " (m{id}, rc{code})")
        }
        (Direction::Sent, _) => write!(out, " (m{id})"),
        (Direction::Received, PacketType::PubAck | PacketType::PubComp) => {
            write!(out, " (Mid: {id}, RC:{code})")
        }
        (Direction::Received, _) => write!(out, " (Mid: {id})"),
    }
}
