//! Service level objectives: what a load has to reach, such as `connack.p99<50ms`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    Phase, Report,
    report::{Totals, quantile},
    stats::Durations,
};

/// An objective: a measure, a comparison and a bound.
///
/// ```
/// use midge::load::Slo;
///
/// let slo: Slo = "connack.p99 < 50ms".parse()?;
/// assert_eq!(slo.to_string(), "connack.p99<50ms");
/// assert!("connack.p99<50".parse::<Slo>().is_err());
/// # Ok::<(), midge::load::SloError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    text: String,
    measure: Measure,
    comparison: Comparison,
    bound: f64,
}

/// What came of an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SloRow {
    /// The objective.
    pub expr: String,
    /// What was measured: microseconds, a fraction of 1, a count, or a rate per second; `None` when
    /// nothing was.
    pub value: Option<f64>,
    /// The same for people.
    pub text: String,
    /// Whether the objective was met. One without a measurement was not.
    pub ok: bool,
    /// What else there is to say about it.
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    Phase(Phase, Statistic),
    FailRate,
    FailCount,
    Drops,
    DropRate,
    Achieved,
    Connected,
    PeakOpen,
    LateStarts,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    Quantile(f64),
    Min,
    Max,
    Mean,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The dimension of a measure, which decides the units of its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Time,
    Fraction,
    Count,
    PerSecond,
}

/// Why a text is no objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SloError {
    /// There is no comparison in it.
    #[error("must be a measure, one of < <= > >= == !=, and a bound, such as connack.p99<50ms")]
    Shape,
    /// The measure is unknown.
    #[error(
        "{0:?} is not a measure: it must be a phase ({phases}) with .pNN, .min, .max, .mean or .n, \
         or one of {MEASURES}",
        phases = phase_names()
    )]
    Measure(String),
    /// The bound is not a number with a unit that fits the measure.
    #[error("the bound {bound:?} must be {expected}")]
    Bound {
        /// The bound.
        bound: String,
        /// What it must be.
        expected: &'static str,
    },
}

const MEASURES: &str = "fail.rate, fail.count, hold.drops, hold.drop_rate, rate.achieved, \
                        connected.count, open.peak, late.starts";

/// What an objective is compared with.
pub(crate) trait Measured {
    /// How many durations were measured in `phase`, and the statistic of them.
    fn statistic(&self, phase: Phase, statistic: Statistic) -> Option<(u64, f64)>;
    fn totals(&self) -> Totals;
    /// Accepted clients per second.
    fn achieved(&self) -> f64;
}

impl Measured for Report {
    fn statistic(&self, phase: Phase, statistic: Statistic) -> Option<(u64, f64)> {
        let distribution = self.phase(phase)?.distribution().ok()?;
        Some((distribution.len(), statistic.of(&distribution)))
    }

    fn totals(&self) -> Totals {
        self.totals
    }

    fn achieved(&self) -> f64 {
        self.rate.achieved
    }
}

impl Statistic {
    pub(crate) fn of<C: hdrhistogram::Counter>(
        self,
        durations: &hdrhistogram::Histogram<C>,
    ) -> f64 {
        match self {
            Self::Quantile(q) => quantile(durations, q) as f64,
            Self::Min => durations.min() as f64,
            Self::Max => durations.max() as f64,
            Self::Mean => durations.mean(),
            Self::Count => durations.len() as f64,
        }
    }
}

impl Slo {
    /// Compares what `measured` says with the bound.
    pub(crate) fn evaluate(&self, measured: &impl Measured) -> SloRow {
        let (value, note) = self.value(measured);
        SloRow {
            expr: self.to_string(),
            value,
            text: value.map_or("nothing measured".to_owned(), |value| self.dimension().text(value)),
            ok: value.is_some_and(|value| self.comparison.holds(value, self.bound)),
            note,
        }
    }

    fn value(&self, measured: &impl Measured) -> (Option<f64>, Option<String>) {
        let totals = measured.totals();
        let of = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
        let value = match self.measure {
            Measure::Phase(phase, statistic) => return self.statistic(measured, phase, statistic),
            Measure::FailRate => of(totals.failed, totals.attempted),
            Measure::FailCount => Some(totals.failed.into()),
            Measure::Drops => Some(totals.dropped.into()),
            Measure::DropRate => of(totals.dropped, totals.connected),
            Measure::Achieved => Some(measured.achieved()),
            Measure::Connected => Some(totals.connected.into()),
            Measure::PeakOpen => Some(totals.peak_open.into()),
            Measure::LateStarts => Some(totals.late_starts as f64),
        };
        (value, None)
    }

    /// Where too few durations were measured for a quantile, the longest stands for it: whatever the
    /// quantile is, it is not longer.
    fn statistic(
        &self,
        measured: &impl Measured,
        phase: Phase,
        statistic: Statistic,
    ) -> (Option<f64>, Option<String>) {
        let Some((n, value)) = measured.statistic(phase, statistic) else { return (None, None) };
        match statistic {
            Statistic::Quantile(q) if q < 1.0 && n as f64 * (1.0 - q) < 9.999_999 => {
                let needed = (10.0 / (1.0 - q)).round();
                let note = format!("the maximum, for {n} were measured of the {needed} it takes");
                let longest = measured.statistic(phase, Statistic::Max);
                (longest.map(|(_, longest)| longest), Some(note))
            }
            _ => (Some(value), None),
        }
    }

    /// Whether more of the same can only make it worse, so that it can be given up early.
    pub(crate) fn is_upper_bound(&self) -> bool {
        matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual)
            || (self.comparison == Comparison::Equal && self.bound == 0.0)
    }

    fn dimension(&self) -> Dimension {
        self.measure.dimension()
    }
}

impl Measure {
    fn dimension(self) -> Dimension {
        match self {
            Self::Phase(_, Statistic::Count) => Dimension::Count,
            Self::Phase(..) => Dimension::Time,
            Self::FailRate | Self::DropRate => Dimension::Fraction,
            Self::Achieved => Dimension::PerSecond,
            Self::FailCount | Self::Drops | Self::Connected | Self::PeakOpen | Self::LateStarts => {
                Dimension::Count
            }
        }
    }
}

impl FromStr for Measure {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        Ok(match text {
            "fail.rate" => Self::FailRate,
            "fail.count" => Self::FailCount,
            "hold.drops" => Self::Drops,
            "hold.drop_rate" => Self::DropRate,
            "rate.achieved" => Self::Achieved,
            "connected.count" => Self::Connected,
            "open.peak" => Self::PeakOpen,
            "late.starts" => Self::LateStarts,
            _ => phase_measure(text).ok_or_else(|| SloError::Measure(text.to_owned()))?,
        })
    }
}

fn phase_measure(text: &str) -> Option<Measure> {
    let (phase, statistic) = text.split_once('.')?;
    let statistic = match statistic {
        "min" => Statistic::Min,
        "max" => Statistic::Max,
        "mean" => Statistic::Mean,
        "n" => Statistic::Count,
        other => Statistic::Quantile(percentile(other.strip_prefix('p')?)?),
    };
    Some(Measure::Phase(Phase::from_name(phase)?, statistic))
}

/// `50`, `99.9`, or `999` for 99.9, as a fraction.
fn percentile(digits: &str) -> Option<f64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = match digits.split_at_checked(2) {
        Some((whole, rest))
            if digits.starts_with('9') && !rest.is_empty() && !digits.contains('.') =>
        {
            format!("{whole}.{rest}").parse().ok()?
        }
        _ => digits.parse().ok()?,
    };
    (is_number && percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
}

impl Dimension {
    fn expected(self) -> &'static str {
        match self {
            Self::Time => "a time with its unit: us, ms, s or m",
            Self::Fraction => "a percentage such as 0.1%, or a fraction of 1",
            Self::Count => "a number",
            Self::PerSecond => "a number of clients per second, such as 100/s",
        }
    }

    fn parse(self, text: &str) -> Option<f64> {
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().ok()?;
        let factor = match (self, unit.trim_start()) {
            (Self::Time, "us" | "µs") => 1.0,
            (Self::Time, "ms") => 1e3,
            (Self::Time, "s") => 1e6,
            (Self::Time, "m") => 60e6,
            (Self::Fraction, "%") => 0.01,
            (Self::Fraction | Self::Count, "") | (Self::PerSecond, "" | "/s") => 1.0,
            _ => return None,
        };
        Some(number * factor)
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Time if value < 1e3 => format!("{value:.0}us"),
            Self::Time if value < 1e6 => format!("{:.1}ms", value / 1e3),
            Self::Time => format!("{:.2}s", value / 1e6),
            Self::Fraction => format!("{:.3}%", value * 100.0),
            Self::Count => format!("{value}"),
            Self::PerSecond => format!("{value:.1}/s"),
        }
    }
}

impl Comparison {
    /// Longer signs first: each is looked for in this order.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
        }
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let (measure, comparison, sign, bound) = Comparison::ALL
            .into_iter()
            .find_map(|(sign, comparison)| {
                let (measure, bound) = text.split_once(sign)?;
                Some((measure.trim(), comparison, sign, bound.trim()))
            })
            .ok_or(SloError::Shape)?;
        let parsed: Measure = measure.parse()?;
        let dimension = parsed.dimension();
        let wrong = || SloError::Bound { bound: bound.to_owned(), expected: dimension.expected() };
        let number = dimension.parse(bound).ok_or_else(wrong)?;
        let text = format!("{measure}{sign}{bound}");
        Ok(Self { text, measure: parsed, comparison, bound: number })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn phase_names() -> String {
    Phase::ALL.map(Phase::name).join(" ")
}

/// The statistic of what was measured so far.
pub(crate) fn statistic_of(
    durations: Option<&Durations>,
    statistic: Statistic,
) -> Option<(u64, f64)> {
    durations.map(|durations| (durations.len(), statistic.of(durations)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Durations, Totals);

    impl Measured for Fake {
        fn statistic(&self, phase: Phase, statistic: Statistic) -> Option<(u64, f64)> {
            statistic_of((phase == Phase::ConnAck).then_some(&self.0), statistic)
        }

        fn totals(&self) -> Totals {
            self.1
        }

        fn achieved(&self) -> f64 {
            123.4
        }
    }

    /// 1000 durations of 1 ms to 1000 ms; of 2000 clients 2 failed, and of the others 1 was lost.
    fn fake() -> Fake {
        let mut durations = Durations::new(3).unwrap();
        (1..=1000).for_each(|ms| durations.record(ms * 1000).unwrap());
        let totals = Totals {
            attempted: 2000,
            connected: 1998,
            failed: 2,
            dropped: 1,
            peak_open: 1998,
            ..Totals::default()
        };
        Fake(durations, totals)
    }

    fn evaluate(slo: &str) -> SloRow {
        slo.parse::<Slo>().unwrap().evaluate(&fake())
    }

    #[test]
    fn objectives_are_compared_with_what_was_measured() {
        for (slo, ok) in [
            ("connack.p99<1s", true),
            ("connack.p99<0.9s", false),
            ("connack.p50 <= 501ms", true),
            ("connack.p50>501ms", false),
            ("connack.min>=900us", true),
            ("connack.max<2s", true),
            ("connack.mean<1m", true),
            ("connack.n==1000", true),
            ("fail.rate<=0.1%", true),
            ("fail.rate<0.001", false),
            ("fail.count!=0", true),
            ("hold.drops==0", false),
            ("hold.drop_rate<1%", true),
            ("rate.achieved>=100/s", true),
            ("connected.count>=1998", true),
            ("open.peak>1998", false),
            ("late.starts==0", true),
            // Nothing was measured in this phase.
            ("tls.p50<1s", false),
        ] {
            assert_eq!(evaluate(slo).ok, ok, "{slo}: {:?}", evaluate(slo));
        }
    }

    #[test]
    fn a_quantile_of_too_few_is_judged_by_the_maximum() {
        let row = evaluate("connack.p99.9<1s");
        assert!(!row.ok);
        assert_eq!(row.text, "1.00s");
        let note = "the maximum, for 1000 were measured of the 10000 it takes";
        assert_eq!(row.note.as_deref(), Some(note));
        assert_eq!(evaluate("connack.p99<1s").note, None);
        assert_eq!(evaluate("connack.p100<2s").note, None);
    }

    #[test]
    fn percentiles_have_two_spellings() {
        for (text, fraction) in [("50", 0.5), ("9", 0.09), ("99.9", 0.999), ("999", 0.999)] {
            let parsed: f64 = percentile(text).unwrap();
            assert!((parsed - fraction).abs() < 1e-12, "{text}: {parsed}");
        }
        assert_eq!(percentile("100"), Some(1.0));
        for wrong in ["", "0", "101", "1000", "-5", "x", "99.9.9", "1e1", "inf"] {
            assert_eq!(percentile(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_objective_is_refused() {
        for shape in ["", "connack.p99", "connack.p99 50ms"] {
            assert_eq!(shape.parse::<Slo>(), Err(SloError::Shape), "{shape}");
        }
        for measure in ["p99<1s", "conn.p99<1s", "connack<1s", "connack.q9<1s", "fail<1", "<1"] {
            let error = measure.parse::<Slo>().unwrap_err();
            assert!(matches!(error, SloError::Measure(_)), "{measure}: {error}");
        }
        for bound in [
            "connack.p99<50",
            "connack.p99<-1ms",
            "connack.p99<1h",
            "connack.p99<",
            "fail.rate<1ms",
            "hold.drops==0%",
            "rate.achieved>1/m",
            "connack.n<nan",
        ] {
            let error = bound.parse::<Slo>().unwrap_err();
            assert!(matches!(error, SloError::Bound { .. }), "{bound}: {error}");
        }
    }

    #[test]
    fn values_are_shown_with_their_units() {
        assert_eq!(evaluate("fail.rate<1%").text, "0.100%");
        assert_eq!(evaluate("rate.achieved>1").text, "123.4/s");
        assert_eq!(evaluate("connack.min<1s").text, "1.0ms");
        assert_eq!(evaluate("ws.max<1s").text, "nothing measured");
    }
}
