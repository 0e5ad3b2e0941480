//! Random and mutated bytes in every state: nothing panics, and nothing is taken in after an error.

use std::collections::BTreeMap;

use midge::codec::Version;

use crate::random::Random;
use crate::support::*;

/// A packet that a broker might send, about one of a few identifiers.
fn packet(random: &mut Random, v5: bool) -> Vec<u8> {
    let rare = random.one_in(20);
    let id = [0, if rare { 0 } else { 1 + random.below(8) as u8 }];
    let code =
        if rare { random.below(256) as u8 } else { [0, 0, 0, 0x80, 0x87, 0x97][random.below(6)] };
    let properties: &[u8] = [
        &[0][..],
        &[0],
        &[0],
        &[5, 0x1F, 0, 2, b'n', b'o'],
        &[7, 0x26, 0, 1, b'k', 0, 1, b'v'],
        &[3, 0x23, 0, 1],
        &[3, 0x21, 0, 1],
        &[5, 0x27, 0, 0, 0, 9],
        &[5, 0x11, 0, 0, 0, 1],
        &[2, 0x0B, 7],
        &[0xFF, 0xFF, 0xFF, 0x7F],
    ][if rare { random.below(11) } else { 0 }];
    let properties = if v5 { properties } else { &[] };
    let publish = |first: u8, id: &[u8], topic: &[u8]| {
        (first, [&[0, topic.len() as u8], topic, id, properties, b"payload"].concat())
    };
    let dup = (random.below(2) as u8) << 3;
    let (first, body) = match if rare { random.below(16) } else { 1 + random.below(14) } {
        0 => (0x20, [&[random.below(2) as u8, code][..], properties].concat()),
        1 => publish(0x30, &[], b"t"),
        2 => publish(0x32 | dup, &id, b"t"),
        3 | 4 => publish(0x34 | dup, &id, b"topic"),
        5 if rare => publish(0x30, &[], b""),
        6 if rare => publish(0x30 | random.below(16) as u8, &id, b"t"),
        5 | 6 => (0x62, id.to_vec()),
        7 => (0x40 | (random.below(2) as u8) << 4, id.to_vec()),
        8 | 9 if rare => {
            ([0x40, 0x50, 0x62, 0x70][random.below(4)], [&id[..], &[code], properties].concat())
        }
        10 => (0x62, id.to_vec()),
        11 => (0x70, id.to_vec()),
        8 => (0x40, id.to_vec()),
        9 => (0x50, id.to_vec()),
        12 => (
            0x90,
            [&id[..], properties, &[code.max(0x80), 0][..if rare { random.below(3) } else { 2 }]]
                .concat(),
        ),
        13 => (0xB0, [&id[..], properties, &[code][..usize::from(v5)]].concat()),
        14 => (0xD0, Vec::new()),
        _ => ([0xE0, 0xF0, 0x10, 0xC0][random.below(4)], [&[code][..], properties].concat()),
    };
    let mut packet = vec![first, body.len() as u8];
    packet.extend(body);
    packet
}

fn mutate(random: &mut Random, packet: &mut Vec<u8>) {
    let at = random.below(packet.len());
    match random.below(6) {
        0 => packet[at] = random.below(256) as u8,
        1 => packet[at] ^= 1 << random.below(8),
        2 => packet.truncate(at),
        3 => packet.insert(at, random.below(256) as u8),
        4 => packet[1] = packet[1].wrapping_add(random.below(5) as u8).wrapping_sub(2),
        _ => packet.extend((0..random.below(20)).map(|_| random.below(256) as u8)),
    }
}

struct Attack {
    random: Random,
    client: Client,
    tickets: u64,
    v5: bool,
}

impl Attack {
    fn new(seed: u64) -> Attack {
        let mut random = Random(seed);
        let version = [Version::V31, V3, V5, V5][random.below(4)];
        let mut config = lasting(version);
        config.clean_start = random.one_in(3);
        config.topic_alias_maximum = random.below(3) as u16;
        config.receive_maximum = 1 + random.below(4) as u16;
        config.maximum_packet_size = 100;
        config.on_session_loss =
            if random.one_in(2) { SessionLoss::Fail } else { SessionLoss::Republish };
        Attack { random, client: Client::new(config), tickets: 0, v5: version == V5 }
    }

    fn command(&mut self) {
        let ticket = self.tickets;
        let (session, now) = (&mut self.client.session, self.client.now);
        let taken = match self.random.below(8) {
            0..=2 => {
                let mut message = message(&[b'x'; 40][..self.random.below(40)]);
                message.qos = (self.random.below(3) as u8).try_into().unwrap();
                session.publish(now, Ticket::new(ticket), message).is_ok()
            }
            3 => session.subscribe(now, Ticket::new(ticket), filters(&["a", "+/b"])).is_ok(),
            4 => {
                let filters = vec![TopicFilter::try_from("a").unwrap()];
                let request = UnsubscribeRequest { filters, ..UnsubscribeRequest::default() };
                session.unsubscribe(now, Ticket::new(ticket), request).is_ok()
            }
            5 => {
                self.client.ack_held(ReasonCode::new(self.random.below(256) as u8));
                false
            }
            6 if self.random.one_in(5) => {
                let reason = ReasonCode::new(self.random.below(256) as u8);
                let _ = session.disconnect(now, reason, Properties::default());
                false
            }
            _ => {
                self.client.pass(Duration::from_millis(self.random.below(20_000) as u64));
                false
            }
        };
        self.tickets += u64::from(taken);
    }

    fn closing(&self) -> bool {
        self.client.events.iter().any(|event| matches!(event, Event::Closing(_)))
    }

    /// One link from its beginning to its end.
    fn link(&mut self, ended: &mut BTreeMap<u64, usize>) {
        if self.random.one_in(20) {
            self.client.session.handle_connected(self.client.now);
        } else {
            self.client.connect();
        }
        let connack: &[u8] = match (self.random.below(8), self.v5) {
            (0, _) => &[],
            (1, true) => &[0x20, 9, 1, 0, 6, 0x21, 0, 1, 0x22, 0, 1],
            (2, true) => &[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 30],
            (n, true) => &[0x20, 3, (n & 1) as u8, 0, 0],
            (n, false) => &[0x20, 2, (n & 1) as u8, 0],
        };
        if self.random.one_in(8) {
            self.client.receive(connack);
        } else {
            self.client.output();
            self.client.receive(connack);
        }
        for _ in 0..30 {
            self.client.verdict = match self.random.below(3) {
                0 => Verdict::Hold,
                1 => Verdict::Reject(ReasonCode::new(self.random.below(256) as u8)),
                _ => Verdict::Ack,
            };
            let over = self.closing();
            let messages = self.client.messages.len();
            let mut bytes = packet(&mut self.random, self.v5);
            if self.random.one_in(40) {
                mutate(&mut self.random, &mut bytes);
            }
            self.client.receive(&bytes);
            assert!(!over || messages == self.client.messages.len(), "delivered after the end");
            if self.random.one_in(2) {
                self.command();
            }
            if self.random.one_in(3) {
                let sent = self.client.take_output([3, usize::MAX][self.random.below(2)]);
                let limit = 64 << 10;
                assert!(sent.len() < limit, "{} bytes in one go", sent.len());
            }
            if self.random.one_in(60) || (over && self.random.one_in(4)) {
                break;
            }
        }
        self.client.disconnect();
        self.collect(ended);
    }

    fn collect(&mut self, ended: &mut BTreeMap<u64, usize>) {
        for event in self.client.events.drain(..) {
            let (Event::Published { ticket, .. }
            | Event::Subscribed { ticket, .. }
            | Event::Unsubscribed { ticket, .. }) = event
            else {
                continue;
            };
            *ended.entry(ticket.get()).or_default() += 1;
        }
    }
}

fn attack(seed: u64) {
    let mut attack = Attack::new(seed);
    let mut ended = BTreeMap::new();
    for _ in 0..6 {
        attack.link(&mut ended);
        attack.client.receive(&packet(&mut Random(seed), attack.v5)); // Nobody is there.
    }
    attack.client.session.abandon();
    attack.client.poll();
    attack.collect(&mut ended);
    assert_eq!(attack.client.session.unfinished_count(), 0);
    let once: BTreeMap<u64, usize> = (0..attack.tickets).map(|ticket| (ticket, 1)).collect();
    assert_eq!(ended, once);
}

#[test]
fn no_bytes_make_a_session_lose_its_mind() {
    for seed in crate::random::seeds(0..4000) {
        if let Err(panic) = std::panic::catch_unwind(|| attack(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn noise_is_refused_in_every_state() {
    let mut random = Random(1);
    for round in 0..20_000 {
        let noise: Vec<u8> = (0..random.below(60)).map(|_| random.below(256) as u8).collect();
        let mut client = match round % 4 {
            0 => Client::new(Config::new(V5)),
            1 => {
                let mut client = Client::new(Config::new(V3));
                client.connect();
                client
            }
            2 => online(Config::new(V3), CK3),
            _ => online(Config::new(V5), CK5),
        };
        client.receive(&noise);
        if client.end().is_some() {
            let messages = client.messages.len();
            client.output();
            client.receive(b"\x30\x05\0\x01t\0x");
            assert_eq!(client.messages.len(), messages);
            assert!(client.output().is_empty());
        }
    }
}
