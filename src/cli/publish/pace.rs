//! When a recorded message is due again: `--speed`.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How fast a recording is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Without a pause.
    Max,
    /// So many times as fast as it was recorded; a positive number.
    Times(f64),
}

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Self::Times(factor)),
            _ => Err("must be a number above 0, or max"),
        }
    }
}

/// Turns the times of a recording into times of this run: the first message sets both clocks.
#[derive(Debug)]
pub(super) struct Pace {
    speed: Speed,
    began: Option<(Timestamp, Instant)>,
}

impl Pace {
    pub(super) fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    /// When the message recorded `at` is due; `None` for at once, as where the clock of the
    /// recording went back.
    pub(super) fn due(&mut self, at: Timestamp, now: Instant) -> Option<Instant> {
        let Speed::Times(factor) = self.speed else { return None };
        let &mut (first, began) = self.began.get_or_insert((at, now));
        let offset = at.duration_since(first).max(SignedDuration::ZERO).as_secs_f64() / factor;
        // A pause beyond what can be waited for is as good as for ever.
        let offset = Duration::try_from_secs_f64(offset).unwrap_or(FOR_EVER).min(FOR_EVER);
        began.checked_add(offset).filter(|due| *due > now)
    }
}

/// The longest pause.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn pauses_are_kept_or_scaled() {
        for (speed, due) in [("1", 3000), ("10", 300), ("0.5", 6000)] {
            let now = Instant::now();
            let mut pace = Pace::new(speed.parse().unwrap());
            assert_eq!(pace.due(at(0), now), None);
            assert_eq!(pace.due(at(3000), now), Some(now + Duration::from_millis(due)), "{speed}");
            assert_eq!(pace.due(at(3000), now + Duration::from_secs(9)), None, "it is late");
            assert_eq!(pace.due(at(-1), now), None, "the clock went back");
        }
        let mut pace = Pace::new(Speed::Max);
        assert_eq!(
            (pace.due(at(0), Instant::now()), pace.due(at(9), Instant::now())),
            (None, None)
        );
    }

    #[test]
    fn no_pause_is_too_long_to_compute() {
        let mut pace = Pace::new("1e-300".parse().unwrap());
        let now = Instant::now();
        pace.due(Timestamp::MIN, now);
        assert!(pace.due(Timestamp::MAX, now).is_some());
    }

    #[test]
    fn a_speed_is_a_positive_number_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        for bad in ["0", "-1", "inf", "nan", "", "fast", "MAX"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
