//! Compares two reports: not two numbers, but two distributions, with the uncertainty that comes from
//! having measured only so many clients.
//!
//! A quantile of `n` measurements lies, with 95 % confidence, between two of them whose ranks follow
//! from the binomial distribution, whatever the shape of the distribution is. A shift counts as a
//! regression when it is larger than the threshold and when its interval does not reach down to zero.

use super::{
    Distribution, Phase, Report,
    report::{DistributionError, quantile},
};

/// The quantiles that are compared, with their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// Two intervals of this many standard errors that touch each other are 95 % apart, where the errors
/// of both are about the same: 1.96 / √2.
const Z_EACH: f64 = 1.386;
const Z_95: f64 = 1.96;
/// Distributions are called different below this probability of being the same.
const SIGNIFICANT: f64 = 0.01;

/// What came of comparing two reports.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The phases that both reports have.
    pub phases: Vec<PhaseComparison>,
    /// Shares and rates.
    pub counts: Vec<Shift>,
}

/// How the distribution of one phase changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PhaseComparison {
    /// The phase.
    pub phase: Phase,
    /// How many were measured in each report.
    pub n: (u64, u64),
    /// Its quantiles, as far as there were enough measurements in both reports.
    pub quantiles: Vec<Shift>,
    /// The largest distance between the two distribution functions (Kolmogorov and Smirnov).
    pub ks: f64,
    /// The probability of such a distance between two samples of one distribution.
    pub ks_p: f64,
}

/// How one figure changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Shift {
    /// Its name.
    pub name: &'static str,
    /// Its values: microseconds, a fraction, or a rate.
    pub values: (f64, f64),
    /// The second minus the first, as a fraction of the first; for shares the plain difference.
    pub shift: f64,
    /// The interval in which the shift lies with 95 % confidence, where there is one.
    pub interval: Option<(f64, f64)>,
    /// What to think of it.
    pub change: Change,
}

/// What to think of a [`Shift`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is smaller than the threshold, or may be chance.
    None,
    /// It became better.
    Improvement,
    /// It became worse.
    Regression,
}

impl Comparison {
    /// Compares `b` with `a`; a change of more than the fraction `threshold` matters.
    ///
    /// # Errors
    /// [`DistributionError`] when a distribution is damaged.
    pub fn new(a: &Report, b: &Report, threshold: f64) -> Result<Self, DistributionError> {
        let mut phases = Vec::new();
        for phase in Phase::ALL {
            let (Some(of_a), Some(of_b)) = (a.phase(phase), b.phase(phase)) else { continue };
            let (of_a, of_b) = (of_a.distribution()?, of_b.distribution()?);
            phases.push(PhaseComparison::new(phase, &of_a, &of_b, threshold));
        }
        let (of_a, of_b) = (&a.totals, &b.totals);
        let failed = [(of_a.failed, of_a.attempted), (of_b.failed, of_b.attempted)];
        let dropped = [(of_a.dropped, of_a.connected), (of_b.dropped, of_b.connected)];
        let counts = vec![
            share("fail.rate", failed),
            share("hold.drop_rate", dropped),
            rate("rate.achieved", a.rate.achieved, b.rate.achieved, threshold),
        ];
        Ok(Self { phases, counts })
    }

    /// What became worse: phase, if it is of one, and figure.
    pub fn regressions(&self) -> impl Iterator<Item = (Option<Phase>, &Shift)> {
        let of_phases = self
            .phases
            .iter()
            .flat_map(|phase| phase.quantiles.iter().map(|shift| (Some(phase.phase), shift)));
        of_phases
            .chain(self.counts.iter().map(|shift| (None, shift)))
            .filter(|(_, shift)| shift.change == Change::Regression)
    }
}

impl PhaseComparison {
    fn new(phase: Phase, a: &Distribution, b: &Distribution, threshold: f64) -> Self {
        // The lag is the generator's, and one lookup is no distribution.
        let is_judged = !matches!(phase, Phase::ScheduleLag | Phase::GeneratorLag | Phase::Dns);
        let quantiles = QUANTILES
            .into_iter()
            .filter(|(_, q)| is_enough(a.len(), *q) && is_enough(b.len(), *q))
            .map(|(name, q)| {
                let mut shift = quantile_shift(name, a, b, q, threshold);
                if !is_judged {
                    shift.change = Change::None;
                }
                shift
            })
            .collect();
        let ks = largest_distance(a, b);
        Self { phase, n: (a.len(), b.len()), quantiles, ks, ks_p: ks_probability(ks, a, b) }
    }

    /// Whether the two distributions differ, rather than the luck of two samples of one.
    pub fn is_different(&self) -> bool {
        self.ks_p < SIGNIFICANT
    }
}

fn is_enough(n: u64, q: f64) -> bool {
    n as f64 * (1.0 - q) >= 9.999_999
}

fn quantile_shift(
    name: &'static str,
    a: &Distribution,
    b: &Distribution,
    q: f64,
    threshold: f64,
) -> Shift {
    let values = (quantile(a, q) as f64, quantile(b, q) as f64);
    let ((a_low, a_high), (b_low, b_high)) = (bounds(a, q), bounds(b, q));
    let interval = (relative(a_high, b_low), relative(a_low, b_high));
    let shift = relative(values.0, values.1);
    let change = if interval.0 > 0.0 && shift >= threshold {
        Change::Regression
    } else if interval.1 < 0.0 && -shift >= threshold {
        Change::Improvement
    } else {
        Change::None
    };
    Shift { name, values, shift, interval: Some(interval), change }
}

/// The measurements between which the quantile lies.
fn bounds(durations: &Distribution, q: f64) -> (f64, f64) {
    let n = durations.len() as f64;
    let spread = Z_EACH * (q * (1.0 - q) / n).sqrt();
    let at = |q: f64| quantile(durations, q.clamp(0.0, 1.0)) as f64;
    (at(q - spread), at(q + spread))
}

/// By which fraction `to` is more than `from`. Durations are whole microseconds: 0 is less than one.
fn relative(from: f64, to: f64) -> f64 {
    (to - from) / from.max(1.0)
}

fn share(name: &'static str, [(a, of_a), (b, of_b)]: [(u32, u32); 2]) -> Shift {
    let (a, of_a, b, of_b) = (f64::from(a), f64::from(of_a), f64::from(b), f64::from(of_b));
    let fraction = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let values = (fraction(a, of_a), fraction(b, of_b));
    let shift = values.1 - values.0;
    // Agresti and Caffo: one success and one failure more in each sample.
    let adjusted = |part: f64, whole: f64| (part + 1.0) / (whole + 2.0);
    let (p, q) = (adjusted(a, of_a), adjusted(b, of_b));
    let error = (p * (1.0 - p) / (of_a + 2.0) + q * (1.0 - q) / (of_b + 2.0)).sqrt();
    let interval = (q - p - Z_95 * error, q - p + Z_95 * error);
    let change = if interval.0 > 0.0 {
        Change::Regression
    } else if interval.1 < 0.0 {
        Change::Improvement
    } else {
        Change::None
    };
    Shift { name, values, shift, interval: Some(interval), change }
}

/// A rate was measured once in each report: there is nothing to tell its uncertainty from.
fn rate(name: &'static str, a: f64, b: f64, threshold: f64) -> Shift {
    let shift = if a > 0.0 { (b - a) / a } else { 0.0 };
    let change = if -shift > threshold {
        Change::Regression
    } else if shift > threshold {
        Change::Improvement
    } else {
        Change::None
    };
    Shift { name, values: (a, b), shift, interval: None, change }
}

fn largest_distance(a: &Distribution, b: &Distribution) -> f64 {
    let mut points: Vec<u64> =
        a.iter_recorded().chain(b.iter_recorded()).map(|value| value.value_iterated_to()).collect();
    points.sort_unstable();
    points.dedup();
    let mut steps = (a.iter_recorded().peekable(), b.iter_recorded().peekable());
    let mut counted = (0u64, 0u64);
    let share = |part: u64, whole: u64| if whole > 0 { part as f64 / whole as f64 } else { 0.0 };
    let mut largest: f64 = 0.0;
    for point in points {
        while let Some(value) = steps.0.next_if(|value| value.value_iterated_to() <= point) {
            counted.0 += value.count_since_last_iteration();
        }
        while let Some(value) = steps.1.next_if(|value| value.value_iterated_to() <= point) {
            counted.1 += value.count_since_last_iteration();
        }
        largest = largest.max((share(counted.0, a.len()) - share(counted.1, b.len())).abs());
    }
    largest
}

/// Kolmogorov's asymptotic distribution, in Stephens' approximation for finite samples.
fn ks_probability(distance: f64, a: &Distribution, b: &Distribution) -> f64 {
    const TERMS: i32 = 100;
    let (n, m) = (a.len() as f64, b.len() as f64);
    if n == 0.0 || m == 0.0 {
        return 1.0;
    }
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (1..=TERMS).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` durations, evenly spread over the quantiles of an exponential distribution.
    fn exponential(n: u64, mean_micros: f64) -> Distribution {
        let mut durations = Distribution::new(3).unwrap();
        for k in 0..n {
            let quantile = (k as f64 + 0.5) / n as f64;
            durations.record((-(1.0 - quantile).ln() * mean_micros) as u64).unwrap();
        }
        durations
    }

    fn compare(a: &Distribution, b: &Distribution) -> PhaseComparison {
        PhaseComparison::new(Phase::ConnAck, a, b, 0.05)
    }

    fn changes(comparison: &PhaseComparison) -> Vec<(&str, Change)> {
        comparison.quantiles.iter().map(|shift| (shift.name, shift.change)).collect()
    }

    #[test]
    fn the_same_is_no_change() {
        let a = exponential(10_000, 1000.0);
        let comparison = compare(&a, &a);
        assert!(changes(&comparison).iter().all(|(_, change)| *change == Change::None));
        assert_eq!((comparison.ks, comparison.ks_p), (0.0, 1.0));
        assert!(!comparison.is_different());
    }

    #[test]
    fn a_shift_of_the_whole_is_found_at_every_quantile() {
        let (a, b) = (exponential(100_000, 1000.0), exponential(100_000, 1200.0));
        let worse = compare(&a, &b);
        let expected = ["p50", "p90", "p99", "p99.9"].map(|name| (name, Change::Regression));
        assert_eq!(changes(&worse), expected);
        for shift in &worse.quantiles {
            let (low, high) = shift.interval.unwrap();
            assert!(low < 0.2 && 0.2 < high, "{shift:?}");
            assert!((shift.shift - 0.2).abs() < 0.01, "{shift:?}");
        }
        assert!(worse.is_different());
        let better = compare(&b, &a);
        assert!(changes(&better).iter().all(|(_, change)| *change == Change::Improvement));
    }

    #[test]
    fn a_tail_alone_is_found_where_it_is() {
        let a = exponential(100_000, 1000.0);
        let mut b = exponential(99_500, 1000.0);
        b.record_n(1_000_000, 500).unwrap();
        let comparison = compare(&a, &b);
        let expected = [
            ("p50", Change::None),
            ("p90", Change::None),
            // 0.5 % more lie beyond: what was p99 is p99.5 of the rest.
            ("p99", Change::Regression),
            ("p99.9", Change::Regression),
        ];
        assert_eq!(changes(&comparison), expected);
    }

    #[test]
    fn few_measurements_prove_little() {
        let (a, b) = (exponential(100, 1000.0), exponential(100, 1150.0));
        let comparison = compare(&a, &b);
        assert_eq!(changes(&comparison), [("p50", Change::None), ("p90", Change::None)]);
        assert!(!comparison.is_different());
    }

    #[test]
    fn a_change_below_the_threshold_does_not_matter() {
        let (a, b) = (exponential(1_000_000, 1000.0), exponential(1_000_000, 1030.0));
        let comparison = compare(&a, &b);
        assert!(changes(&comparison).iter().all(|(_, change)| *change == Change::None));
        // It is there, though.
        assert!(comparison.is_different());
    }

    #[test]
    fn the_lag_of_the_generator_is_not_judged() {
        let (a, b) = (exponential(100_000, 1000.0), exponential(100_000, 2000.0));
        let lag = PhaseComparison::new(Phase::GeneratorLag, &a, &b, 0.05);
        assert!(changes(&lag).iter().all(|(_, change)| *change == Change::None));
    }

    #[test]
    fn shares_are_compared_with_their_uncertainty() {
        let change = |a, b| share("fail.rate", [a, b]).change;
        assert_eq!(change((0, 10_000), (0, 10_000)), Change::None);
        assert_eq!(change((0, 10_000), (3, 10_000)), Change::None);
        assert_eq!(change((0, 10_000), (30, 10_000)), Change::Regression);
        assert_eq!(change((30, 10_000), (0, 10_000)), Change::Improvement);
        assert_eq!(change((0, 0), (0, 0)), Change::None);
        assert_eq!(rate("rate.achieved", 100.0, 90.0, 0.05).change, Change::Regression);
        assert_eq!(rate("rate.achieved", 100.0, 96.0, 0.05).change, Change::None);
        assert_eq!(rate("rate.achieved", 0.0, 96.0, 0.05).change, Change::None);
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        // For large samples, 5 % of the distances exceed 1.358 · √((n + m) / (n · m)).
        let durations = exponential(20_000, 1000.0);
        let distance = 1.358 * (2.0f64 / 20_000.0).sqrt();
        let p = ks_probability(distance, &durations, &durations);
        assert!((p - 0.05).abs() < 0.002, "{p}");
    }
}
