//! Messages from the broker: deduplication of QoS 2, acknowledgements in order of arrival, and the
//! bound that Receive Maximum sets (§4.3, §4.6, §4.9).

use std::collections::{BTreeMap, VecDeque};

use crate::codec::{
    Ack, PacketId, PacketType, Properties, PropertiesRef, Publish, QoS, ReasonCode, Role, Version,
};

use super::alias::AliasReceiver;
use super::traffic::put_away;
use super::{AckHandle, Change, Config, Inbox, Limits, ProtocolError, Received, Verdict};

/// Holds the receiving half of a session.
#[derive(Debug)]
pub(super) struct Incoming {
    aliases: AliasReceiver,
    /// QoS 2 messages handed over whose PUBREL has not come. Part of the session state.
    exactly_once: BTreeMap<PacketId, ExactlyOnce>,
    /// Messages of this link that are not acknowledged yet, oldest first.
    unacknowledged: VecDeque<Unacknowledged>,
    /// Serial number of the first of them.
    first_serial: u32,
    /// Number of the link; handles of an earlier one are stale.
    link: u16,
    /// QoS 1 and 2 messages of this link that count against Receive Maximum.
    quota_used: u32,
    /// Whether the broker may have begun a new session unnoticed.
    in_doubt: bool,
    /// The largest packet the broker takes, in bytes.
    largest_packet: u32,
    /// Changes that the next process must know, if anybody is to be told.
    changes: Option<Vec<Change>>,
}

#[derive(Debug)]
struct Unacknowledged {
    packet_id: PacketId,
    qos: QoS,
    /// `None` until the application has decided.
    answer: Option<Answer>,
}

/// What the application has decided about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    reason: ReasonCode,
    /// Reason string and user properties, which hardly any answer has.
    properties: Option<Box<Properties>>,
}

impl From<ReasonCode> for Answer {
    fn from(reason: ReasonCode) -> Answer {
        Answer { reason, properties: None }
    }
}

/// A QoS 2 message between PUBLISH and PUBREL.
#[derive(Debug)]
struct ExactlyOnce {
    phase: Phase,
    /// The link on which it was last seen, and counted.
    link: u16,
    /// Its number among the messages of that link that are not acknowledged yet.
    waiting: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Handed over; the application holds the acknowledgement, which it knows by this handle.
    Held(AckHandle),
    /// Handed over, and nobody will acknowledge it: when it comes on another link, it is handed over
    /// again.
    Forsaken,
    /// The application has decided before the link was lost, or while it was down: answer the
    /// redelivery with this.
    Decided(Answer),
    /// PUBREC was sent.
    Received,
}

impl Incoming {
    pub(super) fn new(link: u16, durable: bool) -> Incoming {
        Incoming {
            aliases: AliasReceiver::default(),
            exactly_once: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            first_serial: 0,
            link,
            quota_used: 0,
            in_doubt: false,
            largest_packet: u32::MAX,
            changes: durable.then(Vec::new),
        }
    }

    /// Takes over what an earlier process received and did not complete.
    pub(super) fn restore(&mut self, packet_id: PacketId, reason: ReasonCode, version: Version) {
        // A refusal ends the exchange when it is sent: it was not. Anything else may have been.
        let refused = reason.is_error() && version == Version::V5;
        let phase = if refused { Phase::Decided(reason.into()) } else { Phase::Received };
        // The link is none that there will be.
        let link = self.link.wrapping_sub(1);
        let known = ExactlyOnce { phase, link, waiting: None };
        self.exactly_once.insert(packet_id, known);
    }

    /// Takes the changes away that the next process must know.
    pub(super) fn take_changes(&mut self) -> impl Iterator<Item = Change> {
        self.changes.iter_mut().flat_map(|changes| changes.drain(..))
    }

    fn tell(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    /// The broker has accepted the connection. With `in_doubt`, an identifier from before may stand
    /// for a message of a new session.
    pub(super) fn handle_connected(&mut self, limits: &Limits, in_doubt: bool) {
        self.largest_packet = limits.maximum_packet_size;
        self.in_doubt = in_doubt;
    }

    /// Takes a PUBLISH: hands it over unless it is a QoS 2 message seen before, and answers.
    pub(super) fn handle_publish<I: Inbox>(
        &mut self,
        publish: Publish<'_>,
        config: &Config,
        inbox: &mut I,
        control: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        if !publish.properties.is_empty() {
            self.aliases.learn(&publish, config.topic_alias_maximum)?;
        }
        let (qos, publish) =
            (publish.qos, Publish { topic: self.aliases.topic(&publish)?, ..publish });
        let Some(packet_id) = publish.packet_id else {
            inbox.message(Received { publish, ack: None });
            return Ok(());
        };
        let mut replaces = false;
        if qos == QoS::ExactlyOnce
            && let Some(known) = self.exactly_once.get(&packet_id)
        {
            // A message that was sent on an earlier link has DUP [MQTT-3.3.1-1].
            if !(self.in_doubt && !publish.dup && known.link != self.link) {
                return self.handle_repeated(packet_id, config, control);
            }
            replaces = true;
        }
        self.quota_used = self.more_quota(config)?;
        if replaces {
            // Another process must not take the new message for the old one.
            self.exactly_once.remove(&packet_id);
            self.changes.iter_mut().for_each(|all| all.push(Change::Completed { packet_id }));
        }
        let serial = self.next_serial();
        let handle = AckHandle { serial, link: self.link, packet_id };
        let reason = match inbox.message(Received { publish, ack: Some(handle) }) {
            Verdict::Ack => Some(ReasonCode::SUCCESS),
            Verdict::Reject(reason) => Some(reason),
            Verdict::Hold => None,
        };
        if qos == QoS::ExactlyOnce {
            let (phase, waiting) = (Phase::Held(handle), Some(serial));
            self.exactly_once.insert(packet_id, ExactlyOnce { phase, link: self.link, waiting });
        }
        match reason {
            Some(reason) if self.unacknowledged.is_empty() => {
                self.first_serial = self.first_serial.wrapping_add(1);
                self.answer(packet_id, qos, &reason.into(), config.version, control);
            }
            reason => {
                let answer = reason.map(Answer::from);
                self.unacknowledged.push_back(Unacknowledged { packet_id, qos, answer });
            }
        }
        Ok(())
    }

    /// Takes a QoS 2 PUBLISH whose message was handed over before: it is acknowledged again, not
    /// delivered again \[MQTT-4.3.3-10\].
    fn handle_repeated(
        &mut self,
        packet_id: PacketId,
        config: &Config,
        control: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let (serial, more_quota) = (self.next_serial(), self.more_quota(config));
        let Some(known) = self.exactly_once.get_mut(&packet_id) else { return Ok(()) };
        if known.link != self.link {
            self.quota_used = more_quota?;
            known.link = self.link;
            known.waiting = None;
        }
        if known.waiting.is_some() {
            return Ok(()); // Its turn will come; repeating it does not make it come twice.
        }
        let answer = match &known.phase {
            Phase::Received => Some(ReasonCode::SUCCESS.into()),
            Phase::Decided(answer) => Some(answer.clone()),
            Phase::Held(_) | Phase::Forsaken => None,
        };
        known.waiting = Some(serial);
        let qos = QoS::ExactlyOnce;
        self.unacknowledged.push_back(Unacknowledged { packet_id, qos, answer });
        self.flush(config.version, control);
        Ok(())
    }

    /// Takes a PUBREL and answers it, whether its identifier is known or not \[MQTT-4.3.3-11\].
    pub(super) fn handle_pubrel(
        &mut self,
        packet_id: PacketId,
        version: Version,
        control: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let reason = match self.exactly_once.get(&packet_id) {
            None => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            Some(ExactlyOnce { phase: Phase::Received, .. }) => ReasonCode::SUCCESS,
            Some(_) => {
                return Err(ProtocolError::new(
                    PacketType::PubRel,
                    ReasonCode::PROTOCOL_ERROR,
                    "MQTT-4.3.3-4",
                    "PUBREL for a message that PUBREC has not acknowledged",
                ));
            }
        };
        if let Some(done) = self.exactly_once.remove(&packet_id) {
            if done.link == self.link {
                self.quota_used = self.quota_used.saturating_sub(1);
            }
            self.tell(Change::Completed { packet_id });
        }
        encode_ack(PacketType::PubComp, packet_id, reason, version, control);
        Ok(())
    }

    /// Acknowledges a message that was held back.
    pub(super) fn ack(
        &mut self,
        handle: AckHandle,
        reason: ReasonCode,
        properties: Properties,
        version: Version,
        control: &mut Vec<u8>,
    ) {
        let properties = Some(properties).filter(|list| !list.is_empty()).map(Box::new);
        let answer = Answer { reason, properties };
        let serial = if handle.link == self.link {
            handle.serial
        } else {
            // QoS 1: the broker delivers it again. QoS 2: it must not reach the application twice.
            let Some(message) = self.exactly_once.get_mut(&handle.packet_id) else { return };
            if message.phase != Phase::Held(handle) {
                return;
            }
            match message.waiting {
                Some(serial) if message.link == self.link => serial,
                _ => {
                    let reason = answer.reason;
                    message.phase = Phase::Decided(answer);
                    self.tell(Change::Received { packet_id: handle.packet_id, reason });
                    return;
                }
            }
        };
        let index = serial.wrapping_sub(self.first_serial) as usize;
        if let Some(waiting) = self.unacknowledged.get_mut(index) {
            waiting.answer.get_or_insert(answer);
            self.flush(version, control);
        }
    }

    /// Nobody will acknowledge a message. One of QoS 1 is delivered again in any case.
    pub(super) fn forsake(&mut self, handle: AckHandle) {
        let Some(message) = self.exactly_once.get_mut(&handle.packet_id) else { return };
        if message.phase != Phase::Held(handle) {
            return;
        }
        if message.link == self.link {
            message.phase = Phase::Forsaken;
        } else {
            self.exactly_once.remove(&handle.packet_id);
        }
    }

    /// The link is gone: what it had not acknowledged will be delivered again. `link` is the number
    /// of the next one.
    pub(super) fn handle_disconnected(&mut self, link: u16) {
        self.aliases = AliasReceiver::default();
        let mut decided = Vec::new();
        for waiting in self.unacknowledged.drain(..) {
            // The application has said its word, and will not be asked again.
            if let (QoS::ExactlyOnce, Some(answer)) = (waiting.qos, waiting.answer)
                && let Some(message) = self.exactly_once.get_mut(&waiting.packet_id)
                && let Phase::Held(_) = message.phase
            {
                let (packet_id, reason) = (waiting.packet_id, answer.reason);
                message.phase = Phase::Decided(answer);
                decided.push(Change::Received { packet_id, reason });
            }
        }
        decided.into_iter().for_each(|change| self.tell(change));
        self.exactly_once.retain(|_, message| message.phase != Phase::Forsaken);
        self.first_serial = 0;
        self.link = link;
        self.quota_used = 0;
    }

    /// The session is gone, on either side.
    pub(super) fn forget_session(&mut self) {
        self.exactly_once.clear();
    }

    /// Whether nothing would be lost with this half.
    pub(super) fn is_idle(&self) -> bool {
        self.exactly_once.is_empty()
            && self.unacknowledged.is_empty()
            && self.aliases.is_empty()
            && self.changes.as_ref().is_none_or(Vec::is_empty)
    }

    /// Frees the buffers of what is empty.
    pub(super) fn put_away(&mut self) {
        put_away(&mut self.unacknowledged);
        // An emptied map keeps its last node.
        if self.exactly_once.is_empty() {
            self.exactly_once = BTreeMap::new();
        }
    }

    /// The serial number of the message that is to be acknowledged next.
    fn next_serial(&self) -> u32 {
        self.first_serial.wrapping_add(self.unacknowledged.len() as u32)
    }

    /// What is used of Receive Maximum with one message more.
    fn more_quota(&self, config: &Config) -> Result<u32, ProtocolError> {
        // In 3.x the broker is told of no maximum: it has as many as there are identifiers.
        let maximum = match config.version {
            Version::V5 => config.receive_maximum,
            Version::V31 | Version::V311 => u16::MAX,
        };
        if self.quota_used >= maximum.into() {
            return Err(ProtocolError::new(
                PacketType::Publish,
                ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                "MQTT-3.3.4-9",
                "more unacknowledged messages than the announced Receive Maximum",
            ));
        }
        Ok(self.quota_used + 1)
    }

    /// Sends the acknowledgements that no older message holds back \[MQTT-4.6.0-2\].
    fn flush(&mut self, version: Version, control: &mut Vec<u8>) {
        while let Some(next) = self.unacknowledged.front_mut()
            && let Some(answer) = next.answer.take()
        {
            let Unacknowledged { packet_id, qos, .. } = *next;
            self.unacknowledged.pop_front();
            self.first_serial = self.first_serial.wrapping_add(1);
            self.answer(packet_id, qos, &answer, version, control);
        }
    }

    fn answer(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        answer: &Answer,
        version: Version,
        control: &mut Vec<u8>,
    ) {
        let reason = answer.reason;
        let reason = if reason.is_allowed(PacketType::PubAck, Role::Server) {
            reason
        } else if reason.is_error() {
            ReasonCode::UNSPECIFIED_ERROR
        } else {
            ReasonCode::SUCCESS
        };
        // 3.x has no negative acknowledgement: the message counts as taken.
        let refused = reason.is_error() && version == Version::V5;
        if qos == QoS::ExactlyOnce {
            if refused {
                self.exactly_once.remove(&packet_id); // [MQTT-4.3.3-9]
                self.tell(Change::Completed { packet_id });
            } else if let Some(message) = self.exactly_once.get_mut(&packet_id) {
                let repeated = message.phase == Phase::Received;
                message.phase = Phase::Received;
                message.waiting = None;
                if !repeated {
                    self.tell(Change::Received { packet_id, reason });
                }
            }
        }
        let packet_type =
            if qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
        let properties = answer.properties.as_deref().filter(|_| version == Version::V5);
        let explained = properties.is_some_and(|properties| {
            let ack = Ack { packet_id, reason, properties: properties.as_ref() };
            // What only explains is left out where it makes the packet too large [MQTT-3.4.2-2].
            let length = ack.encoded_len(packet_type, version);
            length.is_ok_and(|length| length <= self.largest_packet as usize)
                && ack.encode(packet_type, version, control).is_ok()
        });
        if !explained {
            encode_ack(packet_type, packet_id, reason, version, control);
        }
        if qos == QoS::AtLeastOnce || refused {
            self.quota_used = self.quota_used.saturating_sub(1);
        }
    }
}

/// Appends an acknowledgement without properties. In 3.x it has no reason code either.
pub(super) fn encode_ack(
    packet_type: PacketType,
    packet_id: PacketId,
    reason: ReasonCode,
    version: Version,
    control: &mut Vec<u8>,
) {
    let reason = if version == Version::V5 { reason } else { ReasonCode::SUCCESS };
    let ack = Ack { packet_id, reason, properties: PropertiesRef::default() };
    let encoded = ack.encode(packet_type, version, control);
    debug_assert!(encoded.is_ok(), "an acknowledgement has at most 5 bytes");
}
