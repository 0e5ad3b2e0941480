//! Random commands, chunks and link cuts against the model of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use midge::codec::Version;
use midge::session::AckHandle;

use crate::model::{Broker, counts};
use crate::support::*;

const TOPICS: [&str; 3] = ["t", "topic/1", "topic/2"];

/// SplitMix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One client, one broker and everything that was asked of them.
struct World {
    seed: u64,
    random: Random,
    client: Client,
    broker: Broker,
    linked: bool,
    /// Events looked at.
    seen: usize,
    next_ticket: u64,
    /// QoS and payload of each publish that was not cancelled.
    sent: BTreeMap<u64, (u8, Vec<u8>)>,
    requests: BTreeSet<u64>,
    wished: BTreeSet<&'static str>,
    down: Vec<(u8, Vec<u8>)>,
    /// Whether the application refuses messages, and whether it keeps acknowledgements back.
    refuses: bool,
    holds: bool,
    /// At the end, everything is taken.
    calm: bool,
    old_handles: Vec<AckHandle>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let version = [Version::V31, V3, V5, V5][random.below(4)];
        let mut config = lasting(version);
        config.max_inflight = 1 + random.below(6) as u16;
        config.keep_alive = [0, 10, 60][random.below(3)];
        config.request_timeout = Duration::from_secs(1 << 20);
        if version == V3 {
            config.clean_start = random.one_in(4);
        }
        let mut broker = Broker::new(version);
        broker.slow = random.one_in(2);
        if version == V5 {
            config.receive_maximum = 1 + random.below(6) as u16;
            broker.client_receive_maximum = config.receive_maximum.into();
            config.topic_alias_maximum = random.below(3) as u16;
            broker.client_alias_maximum = config.topic_alias_maximum;
            config.topic_aliases = random.one_in(2);
            broker.alias_maximum = random.below(3) as u16;
            broker.receive_maximum = 1 + random.below(6) as u16;
        }
        let mut client = Client::new(config);
        client.verdict = Verdict::Ack;
        World {
            seed,
            refuses: random.one_in(3),
            holds: random.one_in(2),
            calm: false,
            random,
            client,
            broker,
            linked: false,
            seen: 0,
            next_ticket: 0,
            sent: BTreeMap::new(),
            requests: BTreeSet::new(),
            wished: BTreeSet::new(),
            down: Vec::new(),
            old_handles: Vec::new(),
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=2 => self.publish(),
            3 | 4 => {
                let (qos, topic) = (self.random.below(3) as u8, TOPICS[self.random.below(3)]);
                let payload = format!("{topic}:down{}", self.down.len()).into_bytes();
                self.broker.publish(qos, topic, &payload);
                self.down.push((qos, payload));
            }
            5 => self.request(),
            6 => self.ack(),
            7 if self.random.one_in(3) => {
                let ticket = self.random.below(self.next_ticket as usize + 1) as u64;
                if self.client.session.cancel(Ticket::new(ticket)).is_some() {
                    assert!(self.sent.remove(&ticket).is_some(), "seed {}: cancelled", self.seed);
                }
            }
            8 if self.linked && self.random.one_in(4) => self.cut(),
            9 if !self.linked && self.random.one_in(6) => self.broker.forget(),
            10 => self.client.pass(Duration::from_millis(self.random.below(3000) as u64)),
            11 if self.linked && self.random.one_in(20) && self.broker_speaks_5() => {
                self.broker.disconnect();
            }
            12 if !self.linked => {
                self.broker.closed = self.random.one_in(4);
                self.connect();
            }
            _ if self.linked => self.exchange(),
            _ => self.connect(),
        }
        self.look();
    }

    fn broker_speaks_5(&self) -> bool {
        self.client.session.config().version == V5 && self.client.session.is_connected()
    }

    fn publish(&mut self) {
        let (ticket, qos) = (self.ticket(), self.random.below(3) as u8);
        let topic = TOPICS[self.random.below(3)];
        let refused = if self.random.one_in(8) { "!" } else { "" };
        let payload = format!("{topic}:{ticket}{refused}").into_bytes();
        let mut message = message(&payload);
        message.qos = qos.try_into().unwrap();
        message.topic = TopicName::try_from(topic).unwrap();
        self.client.session.publish(self.client.now, Ticket::new(ticket), message).unwrap();
        self.sent.insert(ticket, (qos, payload));
    }

    fn request(&mut self) {
        let (ticket, name) = (self.ticket(), ["a", "b/+", "c/#", "d"][self.random.below(4)]);
        let (session, now) = (&mut self.client.session, self.client.now);
        if self.random.one_in(3) {
            self.wished.remove(name);
            let filters = vec![TopicFilter::try_from(name).unwrap()];
            let request = UnsubscribeRequest { filters, ..UnsubscribeRequest::default() };
            session.unsubscribe(now, Ticket::new(ticket), request).unwrap();
        } else {
            self.wished.insert(name);
            session.subscribe(now, Ticket::new(ticket), filters(&[name])).unwrap();
        }
        self.requests.insert(ticket);
    }

    /// Acknowledges some message that was held back, or one that was acknowledged before.
    fn ack(&mut self) {
        let count = self.client.held.len();
        let handle = match count {
            0 => None,
            _ => self.client.held.remove(self.random.below(count)),
        };
        let old = self.random.one_in(4).then(|| self.old_handles.last().copied()).flatten();
        self.old_handles.extend(handle);
        let refuse = self.refuses && self.random.one_in(3);
        let reason = if refuse { ReasonCode::QUOTA_EXCEEDED } else { ReasonCode::SUCCESS };
        for handle in old.into_iter().chain(handle) {
            self.client.session.ack(self.client.now, handle, reason);
        }
    }

    fn connect(&mut self) {
        self.linked = true;
        self.client.connect();
    }

    fn cut(&mut self) {
        self.linked = false;
        self.client.disconnect();
        self.broker.disconnected();
    }

    /// Lets some bytes pass in both directions.
    fn exchange(&mut self) {
        let limit = [1, 7, 50, usize::MAX][self.random.below(4)];
        let up = self.client.take_output(limit);
        self.broker.receive(&up);
        self.broker.answer(self.random.below(4));
        self.broker.pump();
        let waiting = self.broker.output.len();
        let chunk = if self.random.one_in(2) { waiting } else { self.random.below(waiting + 1) };
        let down: Vec<u8> = self.broker.output.drain(..chunk).collect();
        self.client.verdict = match self.random.below(4) {
            _ if self.calm => Verdict::Ack,
            0 if self.refuses => Verdict::Reject(ReasonCode::QUOTA_EXCEEDED),
            0 | 1 if self.holds => Verdict::Hold,
            _ => Verdict::Ack,
        };
        self.client.receive(&down);
    }

    /// Looks at what has happened; the broker keeps to the protocol, so nothing may be its fault.
    fn look(&mut self) {
        let mut closing = false;
        for event in &self.client.events[self.seen..] {
            if let Event::Closing(end) = event {
                closing = true;
                let ends = matches!(
                    **end,
                    End::Refused { .. } | End::ServerDisconnect { .. } | End::PingTimeout
                ) || matches!(**end, End::PacketTimeout | End::ConnAckTimeout);
                assert!(ends, "seed {}: {end}", self.seed);
            }
        }
        self.seen = self.client.events.len();
        if closing {
            self.broker.receive(&self.client.output());
            self.cut();
        }
    }

    /// Lets everything come to its end on links that hold.
    fn finish(&mut self) {
        (self.broker.closed, self.broker.slow) = (false, false);
        self.calm = true;
        for _ in 0..10_000 {
            let done = self.client.session.unfinished_count() == 0 && self.broker.is_done();
            if done && self.client.session.is_connected() {
                return;
            }
            if !self.linked {
                self.connect();
            }
            self.exchange();
            for handle in self.client.held.drain(..) {
                self.client.session.ack(self.client.now, handle, ReasonCode::SUCCESS);
            }
            self.look();
        }
        panic!("seed {}: does not come to an end: {:?}", self.seed, self.client.session);
    }

    fn check(&self) {
        let seed = self.seed;
        let kept = self.broker.losses == 0;
        let v5 = self.client.session.config().version == V5;
        let mut ended = BTreeMap::new();
        let mut answered = BTreeSet::new();
        for event in &self.client.events {
            match event {
                Event::Published { ticket, result } => {
                    let twice = ended.insert(ticket.get(), result.clone()).is_some();
                    assert!(!twice, "seed {seed}: {ticket:?} ended twice");
                }
                Event::Subscribed { ticket, result } | Event::Unsubscribed { ticket, result } => {
                    assert!(result.is_ok(), "seed {seed}: {ticket:?} {result:?}");
                    assert!(answered.insert(ticket.get()), "seed {seed}: {ticket:?} twice");
                }
                _ => {}
            }
        }
        let tickets = |ended: &BTreeMap<u64, _>| ended.keys().copied().collect::<Vec<u64>>();
        assert!(ended.keys().eq(self.sent.keys()), "seed {seed}: {:?}", tickets(&ended));
        assert_eq!(answered, self.requests, "seed {seed}");
        let wished: BTreeSet<String> = self.wished.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(self.broker.subscriptions, wished, "seed {seed}");

        let delivered = counts(&self.broker.deliveries);
        for (ticket, (qos, payload)) in &self.sent {
            let count = delivered.get(&(*qos, payload.clone())).copied().unwrap_or(0);
            let refused = v5 && payload.ends_with(b"!") && *qos > 0;
            let what = format!("seed {seed}: ticket {ticket}, QoS {qos}: {count} times");
            match (&ended[ticket], *qos) {
                (Ok(_), 0) | (Err(PublishFailure::Lost { .. }), 0) => assert!(count <= 1, "{what}"),
                (Err(PublishFailure::Rejected { .. }), _) => {
                    assert!(refused && count == 0, "{what}")
                }
                (Ok(_), _) if refused => panic!("{what}"),
                (Ok(_), 2) if kept => assert_eq!(count, 1, "{what}"),
                (Ok(_), _) => assert!(count >= 1, "{what}"),
                (failure, _) => panic!("{what}: {failure:?}"),
            }
        }
        let sent: Vec<_> = self.sent.values().cloned().collect();
        check_order(seed, "broker", &self.broker.deliveries, &sent);

        let delivered = counts(&self.client.messages);
        for message in &self.down {
            let count = delivered.get(message).copied().unwrap_or(0);
            let what = format!("seed {seed}: {message:?} {count} times");
            match message.0 {
                0 => assert!(count <= 1, "{what}"),
                2 if kept && !self.refuses => assert_eq!(count, 1, "{what}"),
                _ => assert!(count >= 1, "{what}"),
            }
        }
        check_order(seed, "client", &self.client.messages, &self.down);
        for ((_, payload), topic) in self.client.messages.iter().zip(&self.client.topics) {
            assert!(payload.starts_with(format!("{topic}:").as_bytes()), "seed {seed}: {topic}");
        }
    }

    /// Ends the subscriptions and sees that the session then holds nothing any more.
    fn check_leaks(&mut self) {
        for name in std::mem::take(&mut self.wished) {
            let filters = vec![TopicFilter::try_from(name).unwrap()];
            let request = UnsubscribeRequest { filters, ..UnsubscribeRequest::default() };
            let ticket = Ticket::new(self.ticket());
            self.client.session.unsubscribe(self.client.now, ticket, request).unwrap();
        }
        self.finish();
        if self.client.session.config().keep_alive == 0 {
            return;
        }
        // Aliases live as long as the link.
        self.cut();
        self.finish();
        let interval = self.client.session.limits().keep_alive;
        self.client.pass(interval);
        self.finish();
        let state = format!("{:?}", self.client.session);
        assert!(state.contains("traffic: None"), "seed {}: {state}", self.seed);
    }
}

/// First arrivals of QoS 1 and 2 keep the order of sending.
fn check_order(seed: u64, who: &str, deliveries: &[(u8, Vec<u8>)], sent: &[(u8, Vec<u8>)]) {
    let mut seen = BTreeSet::new();
    let firsts =
        deliveries.iter().filter(|(qos, _)| *qos > 0).filter(|d| seen.insert((*d).clone()));
    let mut rest = sent.iter();
    for first in firsts {
        assert!(rest.any(|sent| sent == first), "seed {seed}: {who}: {first:?} out of order");
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..150 {
        world.step();
    }
    world.finish();
    world.check();
    world.check_leaks();
}

/// The seeds to run: these, or those that `MIDGE_SEEDS` asks for, as in `17..18`.
pub fn seeds(default: Range<u64>) -> Range<u64> {
    let Ok(asked) = std::env::var("MIDGE_SEEDS") else { return default };
    let (first, end) = asked.split_once("..").expect("a range of seeds");
    first.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn whatever_happens_every_promise_is_kept() {
    seeds(0..3000).for_each(run);
}
