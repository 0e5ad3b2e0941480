//! What befalls the clients after they have connected: reconnecting, churn and storms.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// How the lives of the clients go on after their CONNACK.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// Whether a client connects again after it has lost its connection, or failed to connect.
    /// Clients that the plan itself disconnects come back in any case. Default `false`.
    pub reconnect: bool,
    /// How long clients wait before they connect again.
    pub comeback: Comeback,
    /// How many connections per second are closed in an orderly way and made again, while the
    /// connections are held. Default none.
    pub churn: Option<f64>,
    /// Moments at which many clients lose their connections at once.
    pub storms: Vec<Storm>,
}

impl Life {
    /// Whether a connection that ended may come back.
    pub(crate) fn brings_back(&self) -> bool {
        self.reconnect || self.churn.is_some() || !self.storms.is_empty()
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.reconnect {
            words.push("reconnect".to_owned());
        }
        if let Some(rate) = self.churn {
            words.push(format!("churn {rate}/s"));
        }
        for Storm { at, share } in &self.storms {
            words.push(format!("storm of {}% at {at:?}", share * 100.0));
        }
        if self.reconnect || !self.storms.is_empty() {
            let Comeback { first, max, .. } = self.comeback;
            words.push(format!("back-off {first:?} to {max:?}"));
        }
        f.write_str(&words.join(", "))
    }
}

/// The back-off of clients that come back: each waits a random time, uniform between 0 and a bound
/// that doubles from attempt to attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comeback {
    /// The bound of the first wait. Default 1 s.
    pub first: Duration,
    /// The largest bound. Default 60 s.
    pub max: Duration,
    /// How long a connection has to last for the bound to begin again at `first`. Default 30 s.
    pub stable_after: Duration,
}

impl Comeback {
    /// A back-off whose bound goes from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, stable_after: Duration::from_secs(30) }
    }
}

impl Default for Comeback {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// A moment at which a part of the clients loses its connections, without a DISCONNECT, as after a
/// power cut. They come back by their back-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    /// When, since the start of the load.
    pub at: Duration,
    /// The part of the clients, in 0..=1. Which ones depends on the seed alone.
    pub share: f64,
}

impl Storm {
    /// Whether this storm, the `index`th of the plan, hits the client with this seed.
    pub(super) fn hits(self, seed: u64, index: usize) -> bool {
        let mixed = (seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 11) as f64) < self.share * (1u64 << 53) as f64
    }
}

/// What happens to the clients of one worker, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    /// Seconds between two replacements, over all workers.
    churn_interval: Option<f64>,
    /// Number of this worker's next replacement, over all workers.
    next_churn: u64,
    stride: u64,
    storms: Vec<Storm>,
    next_storm: usize,
}

impl Fate {
    /// The share of worker `first` of `stride`.
    pub(crate) fn new(life: &Life, first: u32, stride: u32) -> Self {
        let mut storms = life.storms.clone();
        storms.sort_by_key(|storm| storm.at);
        let churn = life.churn.filter(|rate| *rate > 0.0);
        Self {
            churn_interval: churn.map(f64::recip),
            next_churn: first.into(),
            stride: stride.into(),
            storms,
            next_storm: 0,
        }
    }

    /// When the next connection is to be replaced, in a load that is held since `hold`.
    pub(crate) fn churn_due(&self, hold: Option<Instant>) -> Option<Instant> {
        let seconds = self.churn_interval? * (self.next_churn + 1) as f64;
        hold?.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    }

    /// Takes note that one was replaced.
    pub(crate) fn churn(&mut self) {
        self.next_churn += self.stride;
    }

    /// Takes the next storm if it has come, with its number.
    pub(crate) fn storm(&mut self, start: Instant, now: Instant) -> Option<(usize, Storm)> {
        let storm = *self.storms.get(self.next_storm)?;
        if start.checked_add(storm.at)? > now {
            return None;
        }
        self.next_storm += 1;
        Some((self.next_storm - 1, storm))
    }

    /// When something happens next.
    pub(crate) fn next(&self, start: Instant, hold: Option<Instant>) -> Option<Instant> {
        let storm = self.storms.get(self.next_storm);
        let storm = storm.and_then(|storm| start.checked_add(storm.at));
        [storm, self.churn_due(hold)].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Seed;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn workers_share_the_churn_in_turn() {
        let start = Instant::now();
        let life = Life { churn: Some(10.0), ..Life::default() };
        let mut all = Vec::new();
        for worker in 0..3 {
            let mut fate = Fate::new(&life, worker, 3);
            assert_eq!(fate.churn_due(None), None, "not before the hold");
            for _ in 0..5 {
                all.push((fate.churn_due(Some(start)).unwrap() - start).as_millis());
                fate.churn();
            }
        }
        all.sort_unstable();
        assert_eq!(all, (1..=15).map(|k| k * 100).collect::<Vec<_>>());
    }

    #[test]
    fn storms_come_in_order_and_once() {
        let start = Instant::now();
        let storm = |seconds| Storm { at: seconds * SECOND, share: 0.5 };
        let life = Life { storms: vec![storm(30), storm(5)], ..Life::default() };
        let mut fate = Fate::new(&life, 0, 1);
        assert_eq!(fate.next(start, None), Some(start + 5 * SECOND));
        assert_eq!(fate.storm(start, start + 4 * SECOND), None);
        assert_eq!(fate.storm(start, start + 6 * SECOND), Some((0, storm(5))));
        assert_eq!(fate.storm(start, start + 6 * SECOND), None);
        assert_eq!(fate.next(start, None), Some(start + 30 * SECOND));
        assert_eq!(fate.storm(start, start + 30 * SECOND), Some((1, storm(30))));
        assert_eq!(fate.next(start, None), None);
    }

    #[test]
    fn a_storm_hits_its_share_and_another_one_hits_others() {
        let hit = |share, index| {
            let storm = Storm { at: SECOND, share };
            (0..10_000).filter(|&g| storm.hits(Seed(3).session_seed(g), index)).collect::<Vec<_>>()
        };
        assert_eq!(hit(1.0, 0).len(), 10_000);
        assert_eq!(hit(0.0, 0).len(), 0);
        let (first, second) = (hit(0.3, 0), hit(0.3, 1));
        assert!((2_800..3_200).contains(&first.len()), "{}", first.len());
        let both = first.iter().filter(|g| second.contains(g)).count();
        assert!((700..1_100).contains(&both), "{both}");
        assert_eq!(first, hit(0.3, 0));
    }
}
