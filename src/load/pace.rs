//! When each client is meant to start: an open-loop schedule.
//!
//! The intended instants depend on the plan alone, never on how the clients before fared. Latencies
//! count from them, so that a target that stalls cannot make its own figures look better by slowing
//! the clients down (coordinated omission).

use std::{
    fmt,
    iter::FusedIterator,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// How fast the clients start: a rate, and how it changes.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
///
/// use midge::load::Profile;
///
/// let profile = Profile::ramp(0.0, 100.0, Duration::from_secs(10)).unwrap();
/// // 500 clients start during the ramp, the others at 100 per second.
/// assert_eq!(profile.offset(500), Duration::from_secs(10));
/// assert_eq!(profile.offset(600), Duration::from_secs(11));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Client `g` starts at `g` times this.
    Interval(Duration),
    /// One after the other; the last one has no end.
    Stages(Box<[Stage]>),
    Bursts {
        count: NonZeroU32,
        period: Duration,
    },
}

/// A time in which the rate is constant, or rises or falls steadily.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stage {
    /// When it begins, in seconds since the start.
    begins: f64,
    /// How many clients have started by then.
    before: f64,
    /// Clients per second at its beginning.
    from: f64,
    /// By how much that changes in each second.
    slope: f64,
}

/// Why a rate cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A rate is negative or no number.
    #[error("a rate must be a number of clients per second, and not negative")]
    Rate,
    /// The last rate is zero.
    #[error("the last rate must not be 0, or the clients after it would never start")]
    EndsAtZero,
    /// There is no rate.
    #[error("at least one rate is needed")]
    Empty,
    /// A stage other than the last one takes no time.
    #[error("a step or ramp must last longer than 0")]
    NoTime,
}

impl Profile {
    /// One client after each `interval`; zero starts all as fast as possible.
    pub fn interval(interval: Duration) -> Self {
        Self { kind: Kind::Interval(interval) }
    }

    /// `rate` clients per second.
    ///
    /// # Errors
    /// When the rate is not a positive number.
    pub fn rate(rate: f64) -> Result<Self, ProfileError> {
        Self::stages(&[], rate)
    }

    /// A rate that goes from `from` to `to` clients per second within `duration`, and stays there.
    ///
    /// # Errors
    /// When a rate is negative, the last one zero, or the duration zero.
    pub fn ramp(from: f64, to: f64, duration: Duration) -> Result<Self, ProfileError> {
        Self::stages(&[(from, to, duration)], to)
    }

    /// One rate after the other, each for its time; the last one stays.
    ///
    /// # Errors
    /// When a rate is negative, the last one zero, or a duration zero.
    pub fn steps(steps: &[(f64, Duration)], last: f64) -> Result<Self, ProfileError> {
        let stages: Vec<_> = steps.iter().map(|&(rate, time)| (rate, rate, time)).collect();
        Self::stages(&stages, last)
    }

    /// `count` clients at once, and again after each `period`.
    pub fn bursts(count: NonZeroU32, period: Duration) -> Self {
        Self { kind: Kind::Bursts { count, period } }
    }

    fn stages(stages: &[(f64, f64, Duration)], last: f64) -> Result<Self, ProfileError> {
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        let (mut begins, mut before) = (0.0, 0.0);
        let mut all = Vec::new();
        for &(from, to, duration) in stages {
            if !is_rate(from) || !is_rate(to) {
                return Err(ProfileError::Rate);
            }
            let seconds = duration.as_secs_f64();
            if seconds <= 0.0 {
                return Err(ProfileError::NoTime);
            }
            all.push(Stage { begins, before, from, slope: (to - from) / seconds });
            begins += seconds;
            before += (from + to) / 2.0 * seconds;
        }
        if !is_rate(last) {
            return Err(ProfileError::Rate);
        }
        if last == 0.0 {
            return Err(ProfileError::EndsAtZero);
        }
        all.push(Stage { begins, before, from: last, slope: 0.0 });
        Ok(Self { kind: Kind::Stages(all.into()) })
    }

    /// When client `g` starts, since the start of the load.
    pub fn offset(&self, g: u32) -> Duration {
        match &self.kind {
            Kind::Interval(interval) => scaled(*interval, g),
            Kind::Bursts { count, period } => scaled(*period, g / count.get()),
            Kind::Stages(stages) => {
                let g = f64::from(g);
                let stage = stages.iter().rev().find(|stage| stage.before <= g);
                let seconds = stage.or(stages.first()).map_or(0.0, |stage| stage.instant_of(g));
                Duration::try_from_secs_f64(seconds).map_or(LONGEST, |at| at.min(LONGEST))
            }
        }
    }

    /// The time between two starts when that is always the same.
    pub fn constant_interval(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Interval(interval) => Some(*interval),
            Kind::Stages(stages) => match &**stages {
                [only] => Duration::try_from_secs_f64(only.from.recip()).ok(),
                _ => None,
            },
            Kind::Bursts { .. } => None,
        }
    }

    /// The mean rate of `clients` starts, in clients per second; `None` for as fast as possible.
    pub fn mean_rate(&self, clients: u32) -> Option<f64> {
        if let Some(interval) = self.constant_interval() {
            return (!interval.is_zero()).then(|| interval.as_secs_f64().recip());
        }
        let last = self.offset(clients.saturating_sub(1));
        (!last.is_zero()).then(|| f64::from(clients) / last.as_secs_f64())
    }

    /// The highest rate that it comes to within `clients` starts, in clients per second; `None` for
    /// as fast as possible, if only in bursts.
    pub fn peak_rate(&self, clients: u32) -> Option<f64> {
        match &self.kind {
            Kind::Stages(stages) => {
                let met = stages.iter().filter(|stage| stage.before < f64::from(clients));
                let from = met.clone().map(|stage| stage.from).fold(0.0, f64::max);
                let rising = met.filter(|stage| stage.slope > 0.0);
                let to = rising.map(|stage| {
                    let end = stage.instant_of(f64::from(clients));
                    let next = stages.iter().find(|next| next.begins > stage.begins);
                    let end = next.map_or(end, |next| next.begins.min(end));
                    stage.from + stage.slope * (end - stage.begins)
                });
                Some(to.fold(from, f64::max))
            }
            Kind::Interval(_) => self.mean_rate(clients),
            Kind::Bursts { .. } => None,
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::interval(Duration::from_millis(10))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Interval(interval) if interval.is_zero() => f.write_str("as fast as possible"),
            Kind::Interval(interval) => write!(f, "one every {interval:?}"),
            Kind::Bursts { count, period } => write!(f, "{count} at once every {period:?}"),
            Kind::Stages(stages) => {
                for (stage, next) in stages.iter().zip(stages.iter().skip(1)) {
                    let seconds = next.begins - stage.begins;
                    write!(f, "{}/s", stage.from)?;
                    if stage.slope != 0.0 {
                        write!(f, " to {}/s", (stage.from + stage.slope * seconds).round())?;
                    }
                    write!(f, " for {seconds}s, then ")?;
                }
                stages.last().map_or(Ok(()), |last| write!(f, "{}/s", last.from))
            }
        }
    }
}

impl Stage {
    /// When the client starts that `g` clients start before, in seconds since the start.
    fn instant_of(&self, g: f64) -> f64 {
        let count = g - self.before;
        if count <= 0.0 {
            return self.begins;
        }
        // The root of slope/2 t² + from t = count, in the form that loses no digits to a small slope.
        let root = (self.from * self.from + 2.0 * self.slope * count).max(0.0).sqrt();
        self.begins + 2.0 * count / (self.from + root)
    }
}

/// Some of the clients, each with the instant at which it is meant to start: client `first` and every
/// `stride`th after it, so that each share is as smooth as the whole.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    start: Instant,
    profile: Profile,
    next: Option<u32>,
    clients: u32,
    stride: NonZeroU32,
}

impl Pace {
    /// The share of clients `first`, `first + stride`, … below `clients`.
    pub(crate) fn new(
        start: Instant,
        profile: Profile,
        clients: u32,
        first: u32,
        stride: NonZeroU32,
    ) -> Self {
        Self { start, profile, next: Some(first), clients, stride }
    }

    /// The client that is next, and when, without taking it.
    pub(crate) fn peek(&self) -> Option<(u32, Instant)> {
        let client = self.next.filter(|&client| client < self.clients)?;
        Some((client, self.start + self.profile.offset(client)))
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

/// Some thousand years: `Instant` overflows beyond.
const LONGEST: Duration = Duration::from_secs(1 << 36);

fn scaled(interval: Duration, count: u32) -> Duration {
    interval.checked_mul(count).map_or(LONGEST, |total| total.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stride(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    fn every(interval: Duration) -> Profile {
        Profile::interval(interval)
    }

    /// How many clients start in each of the first seconds.
    fn per_second(profile: &Profile, seconds: usize) -> Vec<u32> {
        let mut counts = vec![0; seconds];
        for g in 0.. {
            match counts.get_mut(profile.offset(g).as_secs() as usize) {
                Some(count) => *count += 1,
                None => break,
            }
        }
        counts
    }

    #[test]
    fn instants_are_multiples_of_the_interval() {
        let start = Instant::now();
        let pace = Pace::new(start, every(Duration::from_millis(10)), 4, 0, stride(1));
        let starts: Vec<_> = pace.map(|(g, at)| (g, (at - start).as_millis())).collect();
        assert_eq!(starts, [(0, 0), (1, 10), (2, 20), (3, 30)]);
    }

    #[test]
    fn no_drift_over_a_long_ramp() {
        let start = Instant::now();
        let interval = Duration::from_nanos(333_333);
        let last = Pace::new(start, every(interval), 1_000_000, 0, stride(1)).last().unwrap();
        assert_eq!(last, (999_999, start + interval * 999_999));
    }

    #[test]
    fn shares_are_dealt_in_turn() {
        let start = Instant::now();
        let profile = Profile::ramp(5.0, 50.0, SECOND).unwrap();
        let mut all = Vec::new();
        for first in 0..3 {
            all.extend(Pace::new(start, profile.clone(), 8, first, stride(3)));
        }
        all.sort_unstable();
        assert_eq!(all, Pace::new(start, profile, 8, 0, stride(1)).collect::<Vec<_>>());
    }

    #[test]
    fn a_share_without_clients_has_nothing_to_do() {
        let mut pace = Pace::new(Instant::now(), every(Duration::ZERO), 2, 2, stride(3));
        assert_eq!((pace.peek(), pace.next()), (None, None));
    }

    #[test]
    fn peeking_does_not_take() {
        let mut pace = Pace::new(Instant::now(), every(Duration::ZERO), 1, 0, stride(1));
        assert_eq!(pace.peek(), pace.next());
        assert_eq!(pace.peek(), None);
    }

    #[test]
    fn a_stopped_pace_ends() {
        let mut pace = Pace::new(Instant::now(), every(Duration::ZERO), 10, 0, stride(1));
        assert!(pace.next().is_some());
        pace.stop();
        assert_eq!((pace.peek(), pace.next()), (None, None));
    }

    #[test]
    fn extreme_plans_do_not_overflow() {
        let start = Instant::now();
        let slow = Profile::rate(f64::MIN_POSITIVE).unwrap();
        for profile in [every(Duration::MAX), slow] {
            let mut pace = Pace::new(start, profile, u32::MAX, u32::MAX - 1, stride(u32::MAX));
            let (client, at) = pace.next().unwrap();
            assert_eq!(client, u32::MAX - 1);
            assert!(at > start);
            assert_eq!(pace.next(), None);
        }
    }

    #[test]
    fn a_rate_is_kept_from_the_first_second() {
        assert_eq!(per_second(&Profile::rate(7.0).unwrap(), 3), [7, 7, 7]);
        assert_eq!(Profile::rate(0.5).unwrap().offset(3), 6 * SECOND);
        let fast = Profile::rate(1e6).unwrap();
        assert_eq!(fast.offset(10_000_000), 10 * SECOND);
        assert_eq!(fast.constant_interval(), Some(Duration::from_micros(1)));
    }

    #[test]
    fn a_ramp_rises_second_by_second_and_stays() {
        let up = Profile::ramp(0.0, 100.0, 10 * SECOND).unwrap();
        assert_eq!(per_second(&up, 12), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 100, 100]);
        let down = Profile::ramp(100.0, 20.0, 4 * SECOND).unwrap();
        assert_eq!(per_second(&down, 6), [90, 70, 50, 30, 20, 20]);
        assert_eq!(up.peak_rate(10_000), Some(100.0));
        assert_eq!(up.peak_rate(125).map(f64::round), Some(50.0));
        assert_eq!(down.peak_rate(10), Some(100.0));
        assert_eq!(up.constant_interval(), None);
    }

    #[test]
    fn steps_follow_each_other_and_may_pause() {
        let steps = [(10.0, SECOND), (0.0, 2 * SECOND), (30.0, SECOND)];
        let profile = Profile::steps(&steps, 5.0).unwrap();
        assert_eq!(per_second(&profile, 6), [10, 0, 0, 30, 5, 5]);
        assert_eq!(profile.offset(10), 3 * SECOND);
        assert_eq!(profile.peak_rate(10), Some(10.0));
        assert_eq!(profile.peak_rate(11), Some(30.0));
    }

    #[test]
    fn bursts_come_at_once_and_again() {
        let profile = Profile::bursts(stride(3), 2 * SECOND);
        assert_eq!(per_second(&profile, 5), [3, 0, 3, 0, 3]);
        assert_eq!(profile.peak_rate(100), None);
        assert_eq!(profile.mean_rate(6), Some(3.0));
    }

    #[test]
    fn profiles_are_told_in_words() {
        let ramp = Profile::ramp(0.0, 100.0, 10 * SECOND).unwrap();
        assert_eq!(ramp.to_string(), "0/s to 100/s for 10s, then 100/s");
        let steps = Profile::steps(&[(5.0, SECOND)], 2.5).unwrap();
        assert_eq!(steps.to_string(), "5/s for 1s, then 2.5/s");
        assert_eq!(Profile::default().to_string(), "one every 10ms");
        assert_eq!(every(Duration::ZERO).to_string(), "as fast as possible");
        assert_eq!(Profile::bursts(stride(3), SECOND).to_string(), "3 at once every 1s");
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for rate in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Profile::rate(rate), Err(ProfileError::Rate));
            assert_eq!(Profile::ramp(rate, 1.0, SECOND), Err(ProfileError::Rate));
        }
        assert_eq!(Profile::rate(0.0), Err(ProfileError::EndsAtZero));
        assert_eq!(Profile::ramp(5.0, 0.0, SECOND), Err(ProfileError::EndsAtZero));
        assert_eq!(Profile::ramp(1.0, 2.0, Duration::ZERO), Err(ProfileError::NoTime));
    }

    proptest! {
        /// Whatever the stages: clients start in their order, and as many as the rates say.
        #[test]
        fn offsets_never_go_back(
            stages in prop::collection::vec((0u32..1000, 1u64..5000), 0..5),
            last in 1u32..1000,
        ) {
            let steps: Vec<_> = stages
                .iter()
                .map(|&(rate, ms)| (f64::from(rate), Duration::from_millis(ms)))
                .collect();
            let profile = Profile::steps(&steps, f64::from(last)).unwrap();
            let offsets: Vec<_> = (0..2_000).map(|g| profile.offset(g)).collect();
            prop_assert!(offsets.is_sorted());
            let end: Duration = steps.iter().map(|step| step.1).sum();
            let due: f64 = steps.iter().map(|step| step.0 * step.1.as_secs_f64()).sum();
            if due < 1_999.0 {
                let started = offsets.iter().filter(|&&at| at < end).count() as f64;
                prop_assert!((started - due).abs() <= 1.0, "{started} of {due}");
            }
        }
    }
}
