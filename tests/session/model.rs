//! A model of a broker, written against the specification alone: it shares no code with the
//! codec or the session, so that a fault of theirs cannot hide in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use midge::codec::Version;

/// A broker with one client, whose session it keeps unless told otherwise.
///
/// A message to it that ends in `!` is refused in 5.0. Where a payload has a colon, the part before
/// it must be the topic.
pub struct Broker {
    version: Version,
    /// Its Receive Maximum, 5.0 only; it checks that the client keeps to it.
    pub receive_maximum: u16,
    /// How many aliases it takes, 5.0 only.
    pub alias_maximum: u16,
    /// What the client's CONNECT says: how many messages it takes at a time.
    pub client_receive_maximum: usize,
    /// How many aliases it may use towards the client.
    pub client_alias_maximum: u16,
    /// Answers wait until [`Broker::answer`] is called.
    pub slow: bool,
    /// Refuses connections.
    pub closed: bool,
    /// How often a session was lost.
    pub losses: usize,
    session: bool,
    /// Identifiers of QoS 2 messages whose PUBREL has not come. Part of the session.
    received_ids: BTreeSet<u16>,
    outbound: VecDeque<Outbound>,
    next_id: u16,
    /// Messages published by the client, as the broker would hand them on.
    pub deliveries: Vec<(u8, Vec<u8>)>,
    /// Filters subscribed.
    pub subscriptions: BTreeSet<String>,
    /// Packet identifiers of the PUBLISH packets received on this link, with their DUP flag.
    pub published: Vec<(u16, bool)>,
    connected: bool,
    /// Acknowledgements that have not left, oldest first.
    answers: VecDeque<Vec<u8>>,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: Vec<String>,
    input: Vec<u8>,
    /// Bytes on their way to the client.
    pub output: Vec<u8>,
}

struct Outbound {
    id: u16,
    qos: u8,
    topic: String,
    payload: Vec<u8>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Unsent,
    Sent,
    Released,
}

impl Broker {
    pub fn new(version: Version) -> Broker {
        Broker {
            version,
            receive_maximum: u16::MAX,
            alias_maximum: 0,
            client_receive_maximum: usize::MAX,
            client_alias_maximum: 0,
            slow: false,
            closed: false,
            losses: 0,
            session: false,
            received_ids: BTreeSet::new(),
            outbound: VecDeque::new(),
            next_id: 0,
            deliveries: Vec::new(),
            subscriptions: BTreeSet::new(),
            published: Vec::new(),
            connected: false,
            answers: VecDeque::new(),
            aliases_in: BTreeMap::new(),
            aliases_out: Vec::new(),
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    fn v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Has a message for the client.
    pub fn publish(&mut self, qos: u8, topic: &str, payload: &[u8]) {
        self.next_id += 1;
        self.outbound.push_back(Outbound {
            id: self.next_id,
            qos,
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            phase: Phase::Unsent,
        });
    }

    /// Forgets the client's session, as a broker that restarts without persistence.
    pub fn forget(&mut self) {
        self.losses += usize::from(self.session);
        self.session = false;
        self.received_ids.clear();
        self.subscriptions.clear();
        for message in &mut self.outbound {
            message.phase = Phase::Unsent;
        }
    }

    /// Whether all its messages have been confirmed.
    pub fn is_done(&self) -> bool {
        self.outbound.is_empty() && self.answers.is_empty() && self.output.is_empty()
    }

    /// The link is gone, and with it what was on its way.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.input.clear();
        self.output.clear();
        self.published.clear();
        self.answers.clear();
        self.aliases_in.clear();
        self.aliases_out.clear();
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some((first, body)) = take_packet(&mut self.input) {
            self.packet(first, &body);
        }
        if !self.slow {
            self.answer(usize::MAX);
        }
    }

    /// Lets some answers go.
    pub fn answer(&mut self, count: usize) {
        for _ in 0..count {
            let Some(answer) = self.answers.pop_front() else { return };
            self.output.extend(answer);
        }
    }

    /// Sends what it has for a client that is connected.
    pub fn pump(&mut self) {
        if !self.connected {
            return;
        }
        let under_way = |m: &&Outbound| m.qos > 0 && m.phase != Phase::Unsent;
        let mut under_way = self.outbound.iter().filter(under_way).count();
        for index in 0..self.outbound.len() {
            let message = &mut self.outbound[index];
            if message.phase == Phase::Unsent && under_way < self.client_receive_maximum {
                message.phase = Phase::Sent;
                under_way += usize::from(message.qos > 0);
                self.send(index, false);
            }
        }
        self.outbound.retain(|m| m.qos > 0 || m.phase == Phase::Unsent);
    }

    /// Ends the connection from its side, 5.0 only.
    pub fn disconnect(&mut self) {
        self.output.extend([0xE0, 1, 0x8B]);
        self.connected = false;
    }

    fn send(&mut self, index: usize, dup: bool) {
        let message = &self.outbound[index];
        let mut topic = message.topic.as_str();
        let mut properties = Vec::new();
        if self.client_alias_maximum > 0 {
            let known = self.aliases_out.iter().position(|known| known == topic);
            let room = self.aliases_out.len() < usize::from(self.client_alias_maximum);
            if known.is_none() && room {
                self.aliases_out.push(topic.to_owned());
            }
            let alias = known.or(room.then(|| self.aliases_out.len() - 1));
            if let Some(alias) = alias {
                properties = vec![0x23, 0, alias as u8 + 1];
            }
            if known.is_some() {
                topic = "";
            }
        }
        let mut body = vec![0, topic.len() as u8];
        body.extend(topic.as_bytes());
        if message.qos > 0 {
            body.extend(message.id.to_be_bytes());
        }
        if self.v5() {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(&message.payload);
        self.output.push(0x30 | u8::from(dup) << 3 | message.qos << 1);
        self.output.push(body.len() as u8);
        self.output.extend(body);
    }

    fn packet(&mut self, first: u8, body: &[u8]) {
        if first >> 4 == 1 {
            assert!(!self.connected, "a second CONNECT");
            return self.connect(body);
        }
        if !self.connected {
            return; // It has ended the connection, or refused it, before it read this.
        }
        let id = id_of(body);
        let refused = body.get(2).is_some_and(|code| *code >= 0x80);
        match first >> 4 {
            3 => self.published(first, body),
            4 => {
                let index = self.outbound.iter().position(|m| m.id == id).expect("PUBACK unknown");
                assert_eq!(self.outbound[index].qos, 1, "PUBACK for QoS 2");
                assert!(self.outbound[index].phase == Phase::Sent);
                self.outbound.remove(index);
            }
            5 => {
                let known = self.outbound.iter_mut().find(|m| m.id == id);
                let message = known.expect("PUBREC unknown");
                assert_eq!(message.qos, 2, "PUBREC for QoS 1");
                if refused {
                    self.outbound.retain(|m| m.id != id);
                } else {
                    message.phase = Phase::Released;
                    self.answers.push_back(vec![0x62, 2, (id >> 8) as u8, id as u8]);
                }
            }
            6 => {
                assert_eq!(first, 0x62);
                let known = self.received_ids.remove(&id);
                let mut answer = vec![0x70, 2, (id >> 8) as u8, id as u8];
                if self.v5() && !known {
                    answer[1] = 3;
                    answer.push(0x92);
                }
                self.answers.push_back(answer);
            }
            7 => self.outbound.retain(|m| m.id != id),
            8 | 10 => self.request(first, body),
            12 => self.answers.push_back(vec![0xD0, 0]),
            14 => self.connected = false,
            other => panic!("packet type {other} from a client"),
        }
    }

    /// SUBSCRIBE or UNSUBSCRIBE.
    fn request(&mut self, first: u8, body: &[u8]) {
        let subscribe = first == 0x82;
        assert!(subscribe || first == 0xA2);
        let mut at = 2;
        if self.v5() {
            at += 1 + usize::from(body[2]);
        }
        let mut codes = Vec::new();
        while at < body.len() {
            let length = usize::from(body[at]) << 8 | usize::from(body[at + 1]);
            let filter = String::from_utf8(body[at + 2..at + 2 + length].to_vec()).unwrap();
            at += 2 + length;
            if subscribe {
                self.subscriptions.insert(filter);
                codes.push(body[at] & 3);
                at += 1;
            } else {
                self.subscriptions.remove(&filter);
                codes.push(0);
            }
        }
        let mut answer = vec![if subscribe { 0x90 } else { 0xB0 }, 0, body[0], body[1]];
        if self.v5() {
            answer.push(0);
        }
        if subscribe || self.v5() {
            answer.extend(codes);
        }
        answer[1] = answer.len() as u8 - 2;
        self.answers.push_back(answer);
    }

    fn connect(&mut self, body: &[u8]) {
        let name = usize::from(body[1]);
        assert_eq!(&body[2..2 + name], if name == 6 { &b"MQIsdp"[..] } else { b"MQTT" });
        assert_eq!(body[2 + name], self.version.level());
        if self.closed {
            let refusal: &[u8] = if self.v5() { &[0x20, 3, 0, 0x88, 0] } else { &[0x20, 2, 0, 3] };
            self.output.extend(refusal);
            return;
        }
        self.connected = true;
        if body[3 + name] & 2 != 0 {
            self.forget();
        }
        let present = std::mem::replace(&mut self.session, true);
        let mut answer = vec![u8::from(present && self.version != Version::V31), 0];
        if self.v5() {
            answer.push(6);
            answer.push(0x21);
            answer.extend(self.receive_maximum.to_be_bytes());
            answer.push(0x22);
            answer.extend(self.alias_maximum.to_be_bytes());
        }
        self.output.extend([0x20, answer.len() as u8]);
        self.output.extend(answer);
        for index in 0..self.outbound.len() {
            match self.outbound[index].phase {
                Phase::Unsent => {}
                Phase::Sent => self.send(index, true),
                Phase::Released => {
                    let id = self.outbound[index].id;
                    self.output.extend([0x62, 2, (id >> 8) as u8, id as u8]);
                }
            }
        }
    }

    fn published(&mut self, first: u8, body: &[u8]) {
        let qos = first >> 1 & 3;
        let mut at = 2 + (usize::from(body[0]) << 8 | usize::from(body[1]));
        let mut topic = String::from_utf8(body[2..at].to_vec()).unwrap();
        let id = if qos > 0 { id_of(&body[at..]) } else { 0 };
        if qos > 0 {
            at += 2;
            assert_ne!(id, 0);
            self.published.push((id, first & 8 != 0));
        }
        if self.v5() {
            let end = at + 1 + usize::from(body[at]);
            if let [0x23, high, low] = body[at + 1..end] {
                let alias = u16::from(high) << 8 | u16::from(low);
                assert!(alias >= 1 && alias <= self.alias_maximum);
                if topic.is_empty() {
                    topic = self.aliases_in[&alias].clone();
                } else {
                    self.aliases_in.insert(alias, topic.clone());
                }
            }
            at = end;
        }
        let payload = body[at..].to_vec();
        if let Some(colon) = payload.iter().position(|byte| *byte == b':') {
            assert_eq!(topic.as_bytes(), &payload[..colon]);
        }
        let refuse = self.v5() && payload.ends_with(b"!");
        let (length, code): (u8, &[u8]) = if refuse { (3, &[0x97]) } else { (2, &[]) };
        let answer = |packet: u8| [&[packet, length, (id >> 8) as u8, id as u8], code].concat();
        match qos {
            0 => self.deliveries.push((0, payload)),
            1 => {
                self.answers.push_back(answer(0x40));
                if !refuse {
                    self.deliveries.push((1, payload));
                }
            }
            2 => {
                self.answers.push_back(answer(0x50));
                if !refuse && self.received_ids.insert(id) {
                    self.deliveries.push((2, payload));
                }
            }
            _ => panic!("QoS 3"),
        }
        if qos > 0 {
            self.check_quota();
        }
    }

    /// Counts as the strictest of brokers: from PUBLISH until the PUBACK, PUBREC with an error or
    /// PUBCOMP leaves, over all links.
    fn check_quota(&self) {
        let answer = |answer: &&Vec<u8>| match answer[0] {
            0x40 | 0x70 => true,
            0x50 => answer[1] > 2,
            _ => false,
        };
        let used = self.received_ids.len() + self.answers.iter().filter(answer).count();
        assert!(used <= self.receive_maximum.into(), "{used} above Receive Maximum");
    }
}

fn id_of(body: &[u8]) -> u16 {
    match body {
        [high, low, ..] => u16::from(*high) << 8 | u16::from(*low),
        _ => 0,
    }
}

/// Takes one packet with a short Remaining Length off the front.
pub fn take_packet(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at, mut shift) = (0usize, 1, 0);
    loop {
        let byte = *input.get(at)?;
        length |= usize::from(byte & 127) << shift;
        shift += 7;
        at += 1;
        if byte < 128 {
            break;
        }
    }
    if input.len() < at + length {
        return None;
    }
    let first = input[0];
    let body = input[at..at + length].to_vec();
    input.drain(..at + length);
    Some((first, body))
}

/// How often each payload was delivered.
pub fn counts(deliveries: &[(u8, Vec<u8>)]) -> BTreeMap<(u8, Vec<u8>), usize> {
    let mut counts = BTreeMap::new();
    for delivery in deliveries {
        *counts.entry(delivery.clone()).or_default() += 1;
    }
    counts
}
