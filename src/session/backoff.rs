//! How long to wait before the next attempt to connect.

use std::time::{Duration, Instant};

/// Yields waiting times with full jitter: each uniform between 0 and a bound that doubles from
/// attempt to attempt, so that the clients of a broker that went away do not come back at once.
///
/// The bound starts again only after a connection has lasted for a while: a broker that accepts
/// and drops keeps the clients away just as one that refuses.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    stable_after: Duration,
    attempts: u32,
    connected_at: Option<Instant>,
    random: SplitMix64,
}

impl Backoff {
    /// Makes a back-off whose bound begins at `first`, doubles up to `max` and starts again after
    /// a connection has lasted for `stable_after`.
    pub fn new(first: Duration, max: Duration, stable_after: Duration, seed: u64) -> Backoff {
        Backoff {
            first,
            max: max.max(first),
            stable_after,
            attempts: 0,
            connected_at: None,
            random: SplitMix64(seed),
        }
    }

    /// The time to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.next_bound();
        // Rounding up to a whole factor would overflow the longest of durations.
        Duration::try_from_secs_f64(bound.as_secs_f64() * self.random.unit()).unwrap_or(bound)
    }

    /// The time to wait before the next attempt at a broker that has asked to be left alone: as if
    /// four attempts had failed already, and no less than half of the bound.
    pub fn next_slow_delay(&mut self) -> Duration {
        self.attempts = self.attempts.max(SLOW_FROM);
        let half = self.next_bound() / 2;
        let rest = half.as_secs_f64() * self.random.unit();
        half.saturating_add(Duration::try_from_secs_f64(rest).unwrap_or(half))
    }

    fn next_bound(&mut self) -> Duration {
        let bound = 1u32
            .checked_shl(self.attempts)
            .and_then(|factor| self.first.checked_mul(factor))
            .map_or(self.max, |bound| bound.min(self.max));
        self.attempts = self.attempts.saturating_add(1);
        bound
    }

    /// Notes that a connection was accepted.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// Notes that the connection has ended.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if let Some(since) = self.connected_at.take()
            && now.saturating_duration_since(since) >= self.stable_after
        {
            self.attempts = 0;
        }
    }
}

/// So many failed attempts a broker counts for that wants to be left alone.
const SLOW_FROM: u32 = 4;

/// SplitMix64 (Steele, Lea and Flood 2014): eight bytes of state are enough to spread clients.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    /// Uniform in (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_fill_the_doubling_bound_and_stay_below_the_maximum() {
        let mut longest = [Duration::ZERO; 10];
        let mut shortest = [Duration::MAX; 10];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(SECOND, 60 * SECOND, 30 * SECOND, seed);
            for n in 0..10 {
                let delay = backoff.next_delay();
                assert!(delay <= (SECOND * (1 << n)).min(60 * SECOND) + Duration::from_millis(1));
                longest[n] = longest[n].max(delay);
                shortest[n] = shortest[n].min(delay);
            }
        }
        assert!(longest[0] > SECOND * 9 / 10 && shortest[0] < SECOND / 10);
        assert!(longest[9] > 54 * SECOND && shortest[9] < 6 * SECOND);
    }

    #[test]
    fn only_a_stable_connection_starts_the_bound_again() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SECOND, 3600 * SECOND, 30 * SECOND, 1);
        for _ in 0..8 {
            backoff.next_delay();
            backoff.handle_connected(start);
            backoff.handle_disconnected(start + 29 * SECOND);
        }
        assert_eq!(backoff.attempts, 8);
        backoff.handle_connected(start);
        backoff.handle_disconnected(start + 30 * SECOND);
        assert!(backoff.next_delay() <= SECOND + Duration::from_millis(1));
    }
}
