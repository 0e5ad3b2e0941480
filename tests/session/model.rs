//! A model of a broker, written against the specification alone: it shares no code with the
//! codec or the session, so that a fault of theirs cannot hide in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A broker with one client, whose session it keeps unless told otherwise.
#[derive(Default)]
pub struct Broker {
    pub v5: bool,
    /// Properties of the CONNACK in wire form, without their length.
    pub connack_properties: Vec<u8>,
    session: bool,
    /// Everything below up to `deliveries` belongs to the session.
    received_ids: BTreeSet<u16>,
    outbound: VecDeque<Outbound>,
    next_id: u16,
    /// Messages published by the client, as the broker would hand them on.
    pub deliveries: Vec<(u8, Vec<u8>)>,
    /// Filters subscribed, in order of arrival.
    pub subscribed: Vec<String>,
    /// First bytes of the packets received on this link.
    pub seen: Vec<u8>,
    /// Packet identifiers of the PUBLISH packets received on this link, with their DUP flag.
    pub published: Vec<(u16, bool)>,
    pub connects: usize,
    pub clean: bool,
    input: Vec<u8>,
    /// Bytes on their way to the client.
    pub output: Vec<u8>,
}

struct Outbound {
    id: u16,
    qos: u8,
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
    pub fn new(v5: bool) -> Broker {
        Broker { v5, ..Broker::default() }
    }

    /// Has a message for the client.
    pub fn publish(&mut self, qos: u8, payload: &[u8]) {
        self.next_id += 1;
        let payload = payload.to_vec();
        self.outbound.push_back(Outbound { id: self.next_id, qos, payload, phase: Phase::Unsent });
    }

    /// Forgets the client's session, as a broker that restarts without persistence.
    pub fn forget(&mut self) {
        self.session = false;
        self.received_ids.clear();
        self.subscribed.clear();
    }

    /// Whether all its messages have been confirmed.
    pub fn is_done(&self) -> bool {
        self.outbound.is_empty()
    }

    /// The link is gone, and with it what was on its way.
    pub fn disconnected(&mut self) {
        self.input.clear();
        self.output.clear();
        self.seen.clear();
        self.published.clear();
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some((first, body)) = take_packet(&mut self.input) {
            self.seen.push(first);
            self.packet(first, &body);
        }
    }

    /// Sends what it has for a client that is connected.
    pub fn pump(&mut self) {
        let v5 = self.v5;
        for message in &mut self.outbound {
            if message.phase == Phase::Unsent {
                message.phase = Phase::Sent;
                self.output.extend(publish(v5, message, false));
            }
        }
    }

    fn packet(&mut self, first: u8, body: &[u8]) {
        match first >> 4 {
            1 => self.connect(body),
            3 => self.published(first, body),
            4 => {
                let id = id_of(body);
                let index = self.outbound.iter().position(|m| m.id == id).expect("PUBACK unknown");
                assert_eq!(self.outbound[index].qos, 1, "PUBACK for QoS 2");
                self.outbound.remove(index);
            }
            5 => {
                let id = id_of(body);
                if let Some(message) = self.outbound.iter_mut().find(|m| m.id == id) {
                    assert_eq!(message.qos, 2, "PUBREC for QoS 1");
                    message.phase = Phase::Released;
                }
                self.output.extend([0x62, 2, (id >> 8) as u8, id as u8]);
            }
            6 => {
                assert_eq!(first, 0x62);
                let id = id_of(body);
                self.received_ids.remove(&id);
                self.output.extend([0x70, 2, (id >> 8) as u8, id as u8]);
            }
            7 => {
                let id = id_of(body);
                self.outbound.retain(|m| m.id != id);
            }
            8 => {
                assert_eq!(first, 0x82);
                let id = id_of(body);
                let mut at = 2;
                if self.v5 {
                    at += 1 + usize::from(body[2]);
                }
                let mut codes = Vec::new();
                while at < body.len() {
                    let length = usize::from(body[at]) << 8 | usize::from(body[at + 1]);
                    let filter = &body[at + 2..at + 2 + length];
                    self.subscribed.push(String::from_utf8(filter.to_vec()).unwrap());
                    codes.push(body[at + 2 + length] & 3);
                    at += 3 + length;
                }
                let mut answer = vec![(id >> 8) as u8, id as u8];
                if self.v5 {
                    answer.push(0);
                }
                answer.extend(codes);
                self.output.extend([0x90, answer.len() as u8]);
                self.output.extend(answer);
            }
            12 => self.output.extend([0xD0, 0]),
            14 => {}
            other => panic!("packet type {other} from a client"),
        }
    }

    fn connect(&mut self, body: &[u8]) {
        assert_eq!(&body[..6], b"\0\x04MQTT");
        assert_eq!(body[6], if self.v5 { 5 } else { 4 });
        self.connects += 1;
        self.clean = body[7] & 2 != 0;
        if self.clean {
            self.forget();
        }
        let present = std::mem::replace(&mut self.session, true);
        let mut answer = vec![u8::from(present), 0];
        if self.v5 {
            answer.push(self.connack_properties.len() as u8);
            answer.extend(&self.connack_properties);
        }
        self.output.extend([0x20, answer.len() as u8]);
        self.output.extend(answer);
        for message in &mut self.outbound {
            match message.phase {
                Phase::Unsent => {}
                Phase::Sent if present => self.output.extend(publish(self.v5, message, true)),
                Phase::Released if present => {
                    self.output.extend([0x62, 2, (message.id >> 8) as u8, message.id as u8]);
                }
                Phase::Sent | Phase::Released => message.phase = Phase::Unsent,
            }
        }
    }

    fn published(&mut self, first: u8, body: &[u8]) {
        let qos = first >> 1 & 3;
        let mut at = 2 + (usize::from(body[0]) << 8 | usize::from(body[1]));
        let id = id_of(&body[at..]);
        if qos > 0 {
            at += 2;
            assert_ne!(id, 0);
            self.published.push((id, first & 8 != 0));
        }
        if self.v5 {
            at += 1 + usize::from(body[at]);
        }
        let payload = body[at..].to_vec();
        match qos {
            0 => self.deliveries.push((0, payload)),
            1 => {
                self.deliveries.push((1, payload));
                self.output.extend([0x40, 2, (id >> 8) as u8, id as u8]);
            }
            2 => {
                if self.received_ids.insert(id) {
                    self.deliveries.push((2, payload));
                }
                self.output.extend([0x50, 2, (id >> 8) as u8, id as u8]);
            }
            _ => panic!("QoS 3"),
        }
    }
}

fn publish(v5: bool, message: &Outbound, dup: bool) -> Vec<u8> {
    let mut body = vec![0, 1, b't', (message.id >> 8) as u8, message.id as u8];
    if v5 {
        body.push(0);
    }
    body.extend(&message.payload);
    let mut packet = vec![0x30 | u8::from(dup) << 3 | message.qos << 1, body.len() as u8];
    packet.extend(body);
    packet
}

fn id_of(body: &[u8]) -> u16 {
    u16::from(body[0]) << 8 | u16::from(body[1])
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
