//! When each client is meant to start: an open-loop schedule.
//!
//! The intended instants depend on the plan alone, never on how the clients before fared. Latencies
//! count from them, so that a target that stalls cannot make its own figures look better by slowing
//! the clients down (coordinated omission).

use std::{
    iter::FusedIterator,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// The clients of one worker, each with the instant at which it is meant to start.
///
/// Client `g` starts at `start + g * interval`. The clients are dealt to the workers in turn, so
/// that each worker's share is as smooth as the whole.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    start: Instant,
    interval: Duration,
    next: Option<u32>,
    clients: u32,
    stride: NonZeroU32,
}

impl Pace {
    /// The share of worker `worker` out of `workers`.
    pub(crate) fn new(
        start: Instant,
        interval: Duration,
        clients: u32,
        worker: u32,
        workers: NonZeroU32,
    ) -> Self {
        Self { start, interval, next: Some(worker), clients, stride: workers }
    }

    /// The client that is next, and when, without taking it.
    pub(crate) fn peek(&self) -> Option<(u32, Instant)> {
        let client = self.next.filter(|&client| client < self.clients)?;
        Some((client, self.start + scaled(self.interval, client)))
    }

    /// Gives up the clients that have not started.
    pub(crate) fn stop(&mut self) {
        self.next = None;
    }
}

impl Iterator for Pace {
    type Item = (u32, Instant);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.peek()?;
        self.next = item.0.checked_add(self.stride.get());
        Some(item)
    }
}

impl FusedIterator for Pace {}

/// `interval * count`, at most some thousand years: `Instant` overflows beyond.
fn scaled(interval: Duration, count: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(1 << 36);
    interval.checked_mul(count).map_or(LONGEST, |total| total.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn instants_are_multiples_of_the_interval() {
        let start = Instant::now();
        let pace = Pace::new(start, Duration::from_millis(10), 4, 0, workers(1));
        let starts: Vec<_> = pace.map(|(g, at)| (g, (at - start).as_millis())).collect();
        assert_eq!(starts, [(0, 0), (1, 10), (2, 20), (3, 30)]);
    }

    #[test]
    fn no_drift_over_a_long_ramp() {
        let start = Instant::now();
        let interval = Duration::from_nanos(333_333);
        let last = Pace::new(start, interval, 1_000_000, 0, workers(1)).last().unwrap();
        assert_eq!(last, (999_999, start + interval * 999_999));
    }

    #[test]
    fn workers_share_the_clients_in_turn() {
        let start = Instant::now();
        let interval = Duration::from_millis(1);
        let mut all = Vec::new();
        for worker in 0..3 {
            all.extend(Pace::new(start, interval, 8, worker, workers(3)));
        }
        all.sort_unstable();
        assert_eq!(all, Pace::new(start, interval, 8, 0, workers(1)).collect::<Vec<_>>());
    }

    #[test]
    fn a_worker_without_clients_has_nothing_to_do() {
        let mut pace = Pace::new(Instant::now(), Duration::ZERO, 2, 2, workers(3));
        assert_eq!((pace.peek(), pace.next()), (None, None));
    }

    #[test]
    fn peeking_does_not_take() {
        let mut pace = Pace::new(Instant::now(), Duration::ZERO, 1, 0, workers(1));
        assert_eq!(pace.peek(), pace.next());
        assert_eq!(pace.peek(), None);
    }

    #[test]
    fn a_stopped_pace_ends() {
        let mut pace = Pace::new(Instant::now(), Duration::ZERO, 10, 0, workers(1));
        assert!(pace.next().is_some());
        pace.stop();
        assert_eq!((pace.peek(), pace.next()), (None, None));
    }

    #[test]
    fn extreme_plans_do_not_overflow() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::MAX, u32::MAX, u32::MAX - 1, workers(u32::MAX));
        let (client, at) = pace.next().unwrap();
        assert_eq!(client, u32::MAX - 1);
        assert!(at > start);
        assert_eq!(pace.next(), None);
    }
}
