//! Processes that are killed at any moment, between any two steps, against the model of a broker:
//! what the ledger holds is enough to keep every promise.

use std::collections::BTreeMap;
use std::sync::Arc;

use midge::session::{Change, Ledger, Session, Stage};

use crate::model::{Broker, counts};
use crate::random::{Random, seeds};
use crate::support::*;

/// A client whose process is killed now and then, its store, and its broker.
struct World {
    seed: u64,
    random: Random,
    config: Arc<Config>,
    client: Client,
    broker: Broker,
    linked: bool,
    /// What is on disk.
    ledger: Ledger,
    /// Changes that are told and not on disk yet.
    unstored: Vec<Change>,
    /// Events looked at.
    seen: usize,
    next_ticket: u64,
    sent: BTreeMap<u64, (u8, Vec<u8>)>,
    down: Vec<(u8, Vec<u8>)>,
    /// How often the application has taken a message without the store knowing at the end.
    unnoted: usize,
    crashes: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let version = [V31, V3, V5, V5][random.below(4)];
        let mut config = lasting(version);
        config.durable = true;
        config.max_inflight = 1 + random.below(6) as u16;
        config.keep_alive = 0;
        let mut broker = Broker::new(version);
        broker.slow = random.one_in(2);
        if version == V5 {
            config.topic_aliases = random.one_in(2);
            broker.alias_maximum = random.below(3) as u16;
            broker.receive_maximum = 1 + random.below(6) as u16;
        }
        World {
            seed,
            random,
            client: Client::new(config.clone()),
            config: Arc::new(config),
            broker,
            linked: false,
            ledger: Ledger::new(),
            unstored: Vec::new(),
            seen: 0,
            next_ticket: 0,
            sent: BTreeMap::new(),
            down: Vec::new(),
            unnoted: 0,
            crashes: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=3 => self.publish(),
            4 | 5 => {
                let qos = 1 + self.random.below(2) as u8;
                let payload = format!("t:down{}", self.down.len()).into_bytes();
                self.broker.publish(qos, "t", &payload);
                self.down.push((qos, payload));
            }
            6 if self.random.one_in(3) => self.cancel(),
            7 if self.linked && self.random.one_in(4) => self.cut(),
            8 if !self.linked && self.random.one_in(20) => self.broker.forget(),
            9 | 10 if self.random.one_in(4) => self.crash(),
            11 => self.store(usize::MAX),
            _ if self.linked => self.exchange(),
            _ => {
                self.linked = true;
                self.client.connect();
            }
        }
        self.look();
    }

    fn publish(&mut self) {
        self.next_ticket += 1;
        let (ticket, qos) = (Ticket::new(self.next_ticket), 1 + self.random.below(2) as u8);
        let payload = format!("t:{}", self.next_ticket).into_bytes();
        let mut message = message(&payload);
        message.qos = qos.try_into().unwrap();
        self.ledger.admit(ticket, message.clone(), None);
        self.sent.insert(self.next_ticket, (qos, payload));
        // Killed between the two.
        if self.random.one_in(30) {
            return self.crash();
        }
        self.client.session.publish(self.client.now, ticket, message).unwrap();
    }

    fn cancel(&mut self) {
        let ticket = self.random.below(self.next_ticket as usize + 1) as u64;
        if self.client.session.cancel(Ticket::new(ticket)).is_some() {
            assert!(self.sent.remove(&ticket).is_some(), "seed {}: cancelled", self.seed);
            self.look();
            self.store(usize::MAX);
        }
    }

    fn cut(&mut self) {
        self.linked = false;
        self.client.disconnect();
        self.broker.disconnected();
    }

    /// Ends the process, and starts another with what is on disk.
    fn crash(&mut self) {
        self.crashes += 1;
        self.look();
        let stored = self.random.below(self.unstored.len() + 1);
        self.store(stored);
        let taken = |change: &&Change| matches!(change, Change::Received { .. });
        self.unnoted += self.unstored.iter().filter(taken).count();
        self.unstored.clear();
        if std::mem::take(&mut self.linked) {
            self.broker.disconnected();
        }
        let ledger = self.reopened();
        let (config, now) = (Arc::clone(&self.config), self.client.now);
        let mut next = Client::new((*self.config).clone());
        next.session = Session::restore(config, "c", self.seed, now, ledger);
        next.now = now;
        next.messages = std::mem::take(&mut self.client.messages);
        next.topics = std::mem::take(&mut self.client.topics);
        self.client = next;
        self.seen = 0;
    }

    /// What another process makes of the store, which may have been compacted.
    fn reopened(&mut self) -> Ledger {
        if self.random.one_in(2) {
            let mut compact = Ledger::new();
            for (&ticket, entry) in &self.ledger.messages {
                compact.admit(ticket, entry.message.clone(), None);
            }
            for change in self.ledger.changes() {
                compact.apply(change);
            }
            assert_eq!(shape(&compact), shape(&self.ledger), "seed {}", self.seed);
            self.ledger = compact;
        }
        self.ledger.clone()
    }

    /// Stores the oldest of the changes.
    fn store(&mut self, count: usize) {
        for change in self.unstored.drain(..count.min(self.unstored.len())) {
            self.ledger.apply(change);
        }
    }

    /// Lets some bytes pass in both directions; those to the broker only once all changes before
    /// them are stored.
    fn exchange(&mut self) {
        let limit = [1, 7, 50, usize::MAX][self.random.below(4)];
        self.client.poll();
        self.look();
        self.store(usize::MAX);
        let up = self.client.take_output(limit);
        self.broker.receive(&up);
        self.broker.answer(self.random.below(4));
        self.broker.pump();
        let waiting = self.broker.output.len();
        let chunk = if self.random.one_in(2) { waiting } else { self.random.below(waiting + 1) };
        let down: Vec<u8> = self.broker.output.drain(..chunk).collect();
        self.client.receive(&down);
    }

    fn look(&mut self) {
        self.client.poll();
        for event in &self.client.events[self.seen..] {
            match event {
                Event::Store(change) => self.unstored.push(*change),
                Event::Closing(end) => panic!("seed {}: {end}", self.seed),
                Event::Published { ticket, result: Err(failure) } => {
                    panic!("seed {}: {ticket:?}: {failure}", self.seed);
                }
                _ => {}
            }
        }
        self.seen = self.client.events.len();
    }

    fn finish(&mut self) {
        self.broker.slow = false;
        for _ in 0..10_000 {
            let done = self.client.session.unfinished_count() == 0 && self.broker.is_done();
            if done && self.client.session.is_connected() {
                self.store(usize::MAX);
                return;
            }
            if !self.linked {
                self.linked = true;
                self.client.connect();
            }
            self.exchange();
            self.look();
        }
        panic!("seed {}: does not come to an end: {:?}", self.seed, self.client.session);
    }

    fn check(&self) {
        let seed = self.seed;
        let kept = self.broker.losses == 0;
        assert!(self.ledger.messages.is_empty(), "seed {seed}: {:?}", self.ledger);
        assert!(self.ledger.received.is_empty(), "seed {seed}: {:?}", self.ledger);
        assert!(self.ledger.taken.is_empty(), "seed {seed}: {:?}", self.ledger);
        let delivered = counts(&self.broker.deliveries);
        for (ticket, (qos, payload)) in &self.sent {
            let count = delivered.get(&(*qos, payload.clone())).copied().unwrap_or(0);
            let what = format!("seed {seed}: ticket {ticket}, QoS {qos}: {count} times");
            assert!(count >= 1, "{what}");
            assert!(count == 1 || *qos == 1 || !kept, "{what}");
        }
        let sent: usize = self.broker.deliveries.iter().filter(|(qos, _)| *qos == 2).count();
        let wanted = self.sent.values().filter(|(qos, _)| *qos == 2).count();
        assert!(sent == wanted || !kept, "seed {seed}: {sent} for {wanted}");
        let delivered = counts(&self.client.messages);
        let mut again = 0;
        for message in &self.down {
            let count = delivered.get(message).copied().unwrap_or(0);
            assert!(count >= 1, "seed {seed}: {message:?} {count} times");
            again += if message.0 == 2 { count - 1 } else { 0 };
        }
        assert!(again <= self.unnoted || !kept, "seed {seed}: {again} again, {}", self.unnoted);
    }
}

/// A ledger, without what is only a count.
fn shape(ledger: &Ledger) -> impl PartialEq + std::fmt::Debug {
    let mut released: Vec<_> = ledger
        .messages
        .iter()
        .filter_map(|(ticket, entry)| match entry.stage {
            Stage::Released(_, order) => Some((order, *ticket)),
            _ => None,
        })
        .collect();
    released.sort_unstable();
    let released: Vec<_> = released.into_iter().map(|(_, ticket)| ticket).collect();
    let messages: Vec<_> = ledger
        .messages
        .iter()
        .map(|(ticket, entry)| {
            (*ticket, entry.message.clone(), entry.stage.packet_id(), entry.sent_before)
        })
        .collect();
    let rest = (ledger.taken.clone(), ledger.received.clone(), ledger.session_expiry);
    (messages, released, rest, ledger.last_packet_id)
}

fn run(seed: u64) -> usize {
    let mut world = World::new(seed);
    for _ in 0..200 {
        world.step();
    }
    world.finish();
    world.check();
    world.crashes
}

#[test]
fn a_process_that_is_killed_at_any_moment_breaks_no_promise() {
    let crashes: usize = seeds(0..2000).map(run).sum();
    assert!(crashes > 1000, "{crashes}");
}
