//! Which of the received messages count: -R, -T, --retained-only, --random-filter and -C, in the
//! order that mosquitto_sub has them in.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use crate::{cli::plan::SelectionPlan, client::MessageRef};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It counts.
    Take {
        /// Whether it is printed too.
        shown: bool,
        /// Whether it is the last one.
        last: bool,
    },
    /// It does not count: it is acknowledged and forgotten.
    Leave,
    /// It ends the run without belonging to it.
    End,
    /// It comes after the end: it is left for another time, unacknowledged.
    Late,
}

/// Chooses among the messages of one run.
#[derive(Debug)]
pub(super) struct Selection {
    plan: SelectionPlan,
    /// How many more there are to be.
    wanted: Option<u64>,
    ended: bool,
    /// The topics that empty retained messages were published to. On 3.x the broker sends those
    /// back to their sender, as live messages.
    removed: HashSet<Box<str>>,
    chance: Chance,
}

impl Selection {
    pub(super) fn new(plan: SelectionPlan) -> Self {
        Self {
            wanted: plan.count,
            ended: false,
            removed: HashSet::new(),
            chance: Chance::new(plan.random_share),
            plan,
        }
    }

    pub(super) fn choose(&mut self, message: &MessageRef<'_>) -> Choice {
        let retain = message.retain();
        if self.ended {
            return Choice::Late;
        }
        if self.plan.retained_only && !retain {
            if message.payload().is_empty() && self.removed.contains(message.topic()) {
                return Choice::Leave;
            }
            self.ended = true;
            return Choice::End;
        }
        if self.plan.no_retained && retain {
            return Choice::Leave;
        }
        let topic = message.topic();
        if self.plan.filter_out.iter().any(|filter| filter.matches(topic)) {
            return Choice::Leave;
        }
        let last = match &mut self.wanted {
            Some(wanted) => {
                *wanted = wanted.saturating_sub(1);
                *wanted == 0
            }
            None => false,
        };
        self.ended |= last;
        Choice::Take { shown: self.chance.comes_true(), last }
    }

    /// Whether this message, which counts, is to be removed from the broker.
    pub(super) fn removes(&mut self, message: &MessageRef<'_>) -> bool {
        let removes = self.plan.remove_retained && message.retain();
        if removes && self.plan.retained_only {
            self.removed.insert(message.topic().into());
        }
        removes
    }
}

/// Comes true in a share of the cases.
#[derive(Debug)]
struct Chance {
    /// Of 2^64.
    threshold: Option<u64>,
    state: u64,
}

impl Chance {
    fn new(share: Option<f64>) -> Self {
        // A share of 1 and more becomes the largest number.
        let threshold = share.map(|share| (share * 2f64.powi(64)) as u64);
        Self { threshold, state: RandomState::new().hash_one("random filter") | 1 }
    }

    fn comes_true(&mut self) -> bool {
        let Some(threshold) = self.threshold else { return true };
        // xorshift64*: no message shall depend on the one before, and that is all.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) <= threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_comes_true_as_often_as_it_says() {
        for (share, expected) in [(0.5, 50_000), (0.001, 100), (1.0, 100_000)] {
            let mut chance = Chance::new(Some(share));
            let count = (0..100_000).filter(|_| chance.comes_true()).count();
            // Six standard deviations: once in 500 million runs.
            let deviation = f64::from(expected) * (1.0 - share);
            let difference = (count as f64 - f64::from(expected)).abs();
            assert!(difference <= 6.0 * deviation.sqrt(), "{count} of 100,000 at {share}");
        }
        assert!((0..1000).all(|_| Chance::new(None).comes_true()));
    }
}
