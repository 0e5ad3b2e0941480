//! The link is cut at every byte, in both directions: QoS 1 still arrives at least once, QoS 2
//! exactly once, in order, and every publish ends.

use std::collections::BTreeSet;

use midge::codec::{ReasonCode, Version};
use midge::session::Verdict;

use crate::harness::{Client, V3, V5, lasting};
use crate::model::{Broker, counts};

/// One client and one broker with messages for each other, on a link that breaks after given
/// numbers of bytes.
struct World {
    client: Client,
    broker: Broker,
    /// Bytes that still pass until the link breaks; counted over both directions.
    budgets: Vec<usize>,
    passed: usize,
    links: usize,
}

impl World {
    fn new(version: Version, hold: bool, window: u16, cuts: &[usize]) -> World {
        let mut config = lasting(version);
        config.max_inflight = window;
        let mut client = Client::new(config);
        client.verdict = if hold { Verdict::Hold } else { Verdict::Ack };
        let mut broker = Broker::new(version);
        for (ticket, qos) in [1, 2, 2, 1, 2].into_iter().enumerate() {
            client.publish(ticket as u64, qos, format!("up{ticket}").as_bytes());
            broker.publish(qos, "t", format!("down{ticket}").as_bytes());
        }
        let mut budgets = cuts.to_vec();
        budgets.reverse();
        World { client, broker, budgets, passed: 0, links: 0 }
    }

    /// Runs to the end and returns the number of bytes that have passed.
    fn run(&mut self) -> usize {
        for _ in 0..200 {
            self.links += 1;
            self.client.connect();
            if self.run_link() {
                return self.passed;
            }
            self.client.disconnect();
            self.broker.disconnected();
        }
        panic!("does not come to an end");
    }

    /// Runs one link; `true` when all is done, `false` when it broke.
    fn run_link(&mut self) -> bool {
        let mut budget = self.budgets.pop();
        loop {
            let up = self.client.take_output(budget.unwrap_or(usize::MAX));
            self.passed += up.len();
            self.broker.receive(&up);
            if self.client.session.is_connected() {
                self.broker.pump();
            }
            let mut down = std::mem::take(&mut self.broker.output);
            if let Some(budget) = &mut budget {
                *budget -= up.len();
                down.truncate(*budget);
                *budget -= down.len();
            }
            self.passed += down.len();
            self.client.receive(&down);
            self.client.ack_held(ReasonCode::SUCCESS);
            if budget == Some(0) {
                return false;
            }
            if up.is_empty() && down.is_empty() {
                return true;
            }
        }
    }

    fn check(&self, what: &str) {
        assert_eq!(self.client.session.unfinished_count(), 0, "{what}: unfinished");
        assert!(self.broker.is_done(), "{what}: the broker still waits");
        let mut tickets = self.client.published();
        tickets.sort_unstable();
        let expected: Vec<(u64, bool)> = (0..5).map(|ticket| (ticket, true)).collect();
        assert_eq!(tickets, expected, "{what}: every publish ends once");
        for (who, deliveries, prefix) in
            [("broker", &self.broker.deliveries, "up"), ("client", &self.client.messages, "down")]
        {
            let counts = counts(deliveries);
            assert_eq!(counts.len(), 5, "{what}: {who} has {counts:?}");
            for ((qos, payload), count) in &counts {
                assert!(*qos != 2 || *count == 1, "{what}: {who} got {payload:?} {count} times");
            }
            // First arrivals keep the order of sending.
            let mut seen = BTreeSet::new();
            let firsts: Vec<_> =
                deliveries.iter().filter(|d| seen.insert((*d).clone())).map(|d| &d.1).collect();
            let sent: Vec<Vec<u8>> = (0..5).map(|n| format!("{prefix}{n}").into_bytes()).collect();
            assert_eq!(firsts, sent.iter().collect::<Vec<_>>(), "{what}: {who}, order");
        }
    }
}

fn cut_everywhere(version: Version, hold: bool, window: u16) {
    let total = World::new(version, hold, window, &[]).run();
    assert!(total > 100, "the exchange has {total} bytes");
    for cut in 1..=total {
        let mut world = World::new(version, hold, window, &[cut]);
        world.run();
        world.check(&format!("{version} hold={hold} window={window} cut={cut}"));
        assert_eq!(world.links, 2);
    }
}

#[test]
fn once_in_3_1_1() {
    cut_everywhere(V3, false, 100);
    cut_everywhere(V3, true, 100);
}

#[test]
fn once_in_5() {
    cut_everywhere(V5, false, 100);
    cut_everywhere(V5, true, 100);
}

#[test]
fn once_with_a_window_of_one_and_two() {
    for window in [1, 2] {
        cut_everywhere(V3, false, window);
        cut_everywhere(V5, true, window);
    }
}

#[test]
fn twice_at_every_pair_of_bytes() {
    for (version, hold) in [(V3, false), (V5, true)] {
        let total = World::new(version, hold, 3, &[]).run();
        for first in 1..=total {
            for second in 1..=total {
                let mut world = World::new(version, hold, 3, &[first, second]);
                world.run();
                world.check(&format!("{version} hold={hold} cuts={first},{second}"));
            }
        }
    }
}

#[test]
fn every_resent_publish_carries_dup_and_its_old_identifier() {
    // [MQTT-3.3.1-1], [MQTT-4.4.0-1]
    for version in [V3, V5] {
        let mut client = Client::new(lasting(version));
        let mut broker = Broker::new(version);
        client.connect();
        broker.receive(&client.output());
        client.receive(&std::mem::take(&mut broker.output));
        for (ticket, qos) in [1, 2, 1].into_iter().enumerate() {
            client.publish(ticket as u64, qos, b"x");
        }
        broker.receive(&client.output());
        let first = std::mem::take(&mut broker.published);
        assert!(first.iter().all(|(_, dup)| !dup));
        client.disconnect();
        broker.disconnected();
        client.connect();
        broker.receive(&client.output());
        client.receive(&std::mem::take(&mut broker.output));
        broker.receive(&client.output());
        let again: Vec<(u16, bool)> = first.iter().map(|(id, _)| (*id, true)).collect();
        assert_eq!(broker.published, again);
    }
}
