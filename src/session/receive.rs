//! What a session does with each packet from the broker.

use std::sync::Arc;
use std::time::Instant;

use crate::codec::{
    self, ConnAck, Disconnect, Frame, Packet, PacketId, PacketType, Properties, PropertiesRef,
    Publish, ReasonCode, Role, Version,
};

use super::keepalive::KeepAlive;
use super::state::{Lifetime, State};
use super::traffic::{Traffic, traffic};
use super::{Change, Connected, End, Event, Inbox, Limits, ProtocolError, Received, Session};

/// The size of an acknowledgement with a reason code.
const LARGEST_ACK: u32 = 5;

impl Session {
    pub(super) fn handle_frame<I: Inbox>(
        &mut self,
        now: Instant,
        frame: Frame<'_>,
        inbox: &mut I,
    ) -> Result<(), ProtocolError> {
        let version = self.config.version;
        if let State::Connecting { since, lifetime } = self.state {
            let clean_start = self.config.clean_start && !lifetime.lasts(since);
            return self.handle_first_packet(now, clean_start, frame);
        }
        if frame.first >> 4 == PacketType::Publish as u8 {
            let publish = Publish::decode(version, frame)?;
            if publish.packet_id.is_none() && publish.properties.is_empty() {
                inbox.message(Received { publish, ack: None });
                return Ok(());
            }
            let config = Arc::clone(&self.config);
            let traffic = self.traffic();
            return traffic.incoming.handle_publish(publish, &config, inbox, &mut traffic.control);
        }
        let packet = codec::decode(version, Role::Client, frame)?;
        let packet_type = packet.packet_type();
        match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                self.check_problem_information(packet_type, ack.properties)?;
                let granted = self.granted.as_deref();
                let traffic =
                    traffic(&mut self.traffic, &self.state, granted, self.link, &self.config);
                let Traffic { outgoing, ids, control, .. } = traffic;
                outgoing.handle_ack(packet_type, ack, version, ids, &mut self.events, control)
            }
            Packet::PubRel(ack) => {
                self.check_problem_information(packet_type, ack.properties)?;
                let traffic = self.traffic();
                traffic.incoming.handle_pubrel(ack.packet_id, version, &mut traffic.control)
            }
            Packet::SubAck(answer) => {
                let reasons = answer.reasons().collect();
                self.handle_answer(packet_type, answer.packet_id, reasons, answer.properties)
            }
            Packet::UnsubAck(answer) => {
                let reasons = answer.reasons().collect();
                self.handle_answer(packet_type, answer.packet_id, reasons, answer.properties)
            }
            Packet::PingResp => {
                if let State::Online { keep_alive, .. } = &mut self.state
                    && let Some(rtt) = keep_alive.handle_pong(now)
                {
                    self.events.push_back(Event::Pong { rtt });
                }
                Ok(())
            }
            Packet::Disconnect(disconnect) => {
                self.handle_disconnect(disconnect);
                Ok(())
            }
            Packet::ConnAck(_) => Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.2.0-2",
                "a second CONNACK on one connection",
            )),
            Packet::Auth(auth) => self.handle_auth(auth),
            // The codec refuses what only a client may send.
            Packet::Publish(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => Ok(()),
        }
    }

    /// Takes what must be a CONNACK \[MQTT-3.2.0-1\].
    fn handle_first_packet(
        &mut self,
        now: Instant,
        clean_start: bool,
        frame: Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let packet = codec::decode(self.config.version, Role::Client, frame)?;
        let packet_type = packet.packet_type();
        let connect_sent = self.produced > 0;
        match packet {
            Packet::ConnAck(_) if !connect_sent => Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.1.0-1",
                "an answer to a CONNECT that was not sent",
            )),
            Packet::ConnAck(connack) => self.handle_connack(now, clean_start, &connack),
            // [MQTT-4.12.0-2]
            Packet::Auth(auth) if connect_sent => self.handle_auth(auth),
            // Not allowed before CONNACK [MQTT-3.14.0-1], but brokers do it, and it says why.
            Packet::Disconnect(disconnect) => {
                self.handle_disconnect(disconnect);
                Ok(())
            }
            _ => Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.2.0-1",
                "the first packet from a broker must be CONNACK",
            )),
        }
    }

    fn handle_connack(
        &mut self,
        now: Instant,
        clean_start: bool,
        connack: &ConnAck<'_>,
    ) -> Result<(), ProtocolError> {
        let breach = |clause, text| {
            Err(ProtocolError::new(PacketType::ConnAck, ReasonCode::PROTOCOL_ERROR, clause, text))
        };
        self.unanswered = self.unanswered.saturating_sub(1);
        if connack.reason.is_error() {
            let properties = Properties::from(connack.properties);
            self.close(End::Refused { reason: connack.reason, properties }, None);
            return Ok(());
        }
        if connack.session_present && clean_start {
            return breach("MQTT-3.2.2-2", "Session Present after a clean start");
        }
        // A session that should have expired and that the broker still has goes on: what it knows
        // of the messages in flight is better than having to guess.
        let known = self.state.lifetime() != Lifetime::Ended;
        if connack.session_present && !known && !self.config.adopt_session {
            return breach(
                "MQTT-3.2.2-4",
                "Session Present for a session that does not exist here",
            );
        }
        // CONNACK of 3.1 cannot tell, and one that was lost may have said that the session is new.
        // Repeating messages and subscriptions that the broker still has does no harm, while being
        // without them would.
        let silent = self.config.version == Version::V31;
        let in_doubt = silent || std::mem::take(&mut self.unanswered) > 0;
        let session_present = connack.session_present || (silent && !clean_start && known);
        self.check_authenticated(connack.properties)?;
        if self.client_id.is_empty()
            && let Some(assigned) = connack.properties.assigned_client_identifier()
        {
            self.client_id = assigned.into(); // [MQTT-3.2.2-16]
        }
        let limits = Limits::granted(&self.config, connack.properties);
        if limits.maximum_packet_size < LARGEST_ACK {
            return Err(ProtocolError::new(
                PacketType::ConnAck,
                ReasonCode::PACKET_TOO_LARGE,
                "MQTT-3.2.2-15",
                "a Maximum Packet Size that has no room for an acknowledgement",
            ));
        }
        let default = Limits::new(&self.config);
        self.granted = (limits != default).then(|| Box::new(limits));
        self.state = State::Online {
            keep_alive: KeepAlive::new(now, limits.keep_alive, self.spread, self.reading),
        };
        self.accepted = true;
        let connected_before = std::mem::replace(&mut self.connected_before, true);
        self.events.push_back(Event::Connected(Box::new(Connected {
            session_present: connack.session_present,
            resumed: session_present && known,
            session_lost: connected_before && !session_present,
            reason: connack.reason,
            properties: Properties::from(connack.properties),
        })));
        if !(session_present && known) {
            self.forget_messages();
        }
        if self.config.durable {
            let expiry = self.session_expiry();
            self.events.push_back(Event::Store(Change::Connected { expiry }));
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.outgoing.handle_connected(&limits);
            // The wish to be subscribed is not part of the session that is gone.
            if !connack.session_present || (in_doubt && self.config.resubscribe) {
                traffic.requests.handle_session_lost(self.config.resubscribe);
            }
            traffic.requests.resubscribe(self.config.version);
            traffic.incoming.handle_connected(&limits, in_doubt);
        }
        Ok(())
    }

    fn handle_answer(
        &mut self,
        packet_type: PacketType,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
        properties: PropertiesRef<'_>,
    ) -> Result<(), ProtocolError> {
        self.check_problem_information(packet_type, properties)?;
        let granted = self.granted.as_deref();
        let traffic = traffic(&mut self.traffic, &self.state, granted, self.link, &self.config);
        let Traffic { requests, ids, .. } = traffic;
        requests.handle_answer(packet_type, packet_id, reasons, properties, ids, &mut self.events)
    }

    fn handle_disconnect(&mut self, disconnect: Disconnect<'_>) {
        let properties = Properties::from(disconnect.properties);
        self.close(End::ServerDisconnect { reason: disconnect.reason, properties }, None);
    }

    /// Refuses problem information that this side has declined \[MQTT-3.1.2-29\].
    pub(super) fn check_problem_information(
        &self,
        packet_type: PacketType,
        properties: PropertiesRef<'_>,
    ) -> Result<(), ProtocolError> {
        let unwanted = !properties.is_empty()
            && (properties.reason_string().is_some()
                || properties.user_properties().next().is_some())
            && self.config.connect_properties.as_ref().request_problem_information() == Some(false);
        if unwanted {
            return Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.1.2-29",
                "problem information that this client has declined",
            ));
        }
        Ok(())
    }
}
