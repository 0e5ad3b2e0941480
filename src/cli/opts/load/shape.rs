//! The grammar of rates, ramps, steps, bursts and storms.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    cli::opts::value,
    load::{Comeback, Profile, Shard, Storm},
};

/// Parses a rate such as `500`, `500/s`, `30/m` or `100/h` into clients per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "must be a rate such as 500, 500/s, 30/m or 100/h".to_owned();
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    if number.is_finite() && number >= 0.0 { Ok(number / seconds) } else { Err(wrong()) }
}

/// Parses a rate that is not 0.
pub(super) fn positive_rate(text: &str) -> Result<f64, String> {
    match rate(text)? {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("must not be 0".to_owned()),
    }
}

pub(super) fn profile_of_rate(text: &str) -> Result<Profile, String> {
    Profile::rate(rate(text)?).map_err(|error| error.to_string())
}

/// Parses `FROM..TO/DURATION`, where `FROM` and `TO` may have units of their own.
pub(super) fn ramp(text: &str) -> Result<Profile, String> {
    let wrong = || "must be FROM..TO/DURATION, such as 10..1000/60s".to_owned();
    let (from, rest) = text.split_once("..").ok_or_else(wrong)?;
    let (to, duration) = rest.rsplit_once('/').ok_or_else(wrong)?;
    let duration = value::duration(duration)?;
    Profile::ramp(rate(from)?, rate(to)?, duration).map_err(|error| error.to_string())
}

/// Parses `RATE:DURATION,RATE:DURATION,RATE`; the last duration may be left out and means nothing.
pub(super) fn steps(text: &str) -> Result<Profile, String> {
    let mut steps = Vec::new();
    let words: Vec<_> = text.split(',').collect();
    let last = words.len() - 1;
    for (index, word) in words.into_iter().enumerate() {
        match word.split_once(':') {
            Some((number, duration)) => steps.push((rate(number)?, value::duration(duration)?)),
            None if index == last => {
                return Profile::steps(&steps, rate(word)?).map_err(|error| error.to_string());
            }
            None => return Err(format!("{word:?} needs a duration, such as {word}:30s")),
        }
    }
    let end = steps.last().map_or(0.0, |step| step.0);
    Profile::steps(&steps, end).map_err(|error| error.to_string())
}

/// Parses `COUNT/DURATION`.
pub(super) fn burst(text: &str) -> Result<Profile, String> {
    let wrong = || "must be COUNT/DURATION, such as 500/10s".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    let count: NonZeroU32 = count.parse().map_err(|_| wrong())?;
    let period = value::duration(period)?;
    if period.is_zero() {
        return Err("the bursts need time between them: the duration must not be 0".to_owned());
    }
    Ok(Profile::bursts(count, period))
}

/// Parses `drop=50%@30s`.
pub(super) fn storm(text: &str) -> Result<Storm, String> {
    let wrong = || "must be drop=PERCENT%@TIME, such as drop=50%@30s".to_owned();
    let (share, at) =
        text.strip_prefix("drop=").and_then(|rest| rest.split_once("%@")).ok_or_else(wrong)?;
    let percent: f64 = share.parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("a storm drops between 0% and 100% of the clients".to_owned());
    }
    Ok(Storm { at: value::duration(at)?, share: percent / 100.0 })
}

/// Parses `FIRST..MAX`.
pub(super) fn backoff(text: &str) -> Result<Comeback, String> {
    let wrong = || "must be FIRST..MAX, such as 1s..60s".to_owned();
    let (first, max) = text.split_once("..").ok_or_else(wrong)?;
    let (first, max) = (value::duration(first)?, value::duration(max)?);
    if first > max {
        return Err("the first wait must not be longer than the longest".to_owned());
    }
    Ok(Comeback { first, max, ..Comeback::default() })
}

/// Parses `INDEX/COUNT`.
pub(super) fn part(text: &str) -> Result<Shard, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(index, count)| Shard::new(index.parse().ok()?, count.parse().ok()?));
    numbers
        .ok_or_else(|| "must be INDEX/COUNT, with an index from 0 and below the count".to_owned())
}

/// Parses the time between two messages.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        period if period.is_zero() => Err("must be longer than 0".to_owned()),
        period => Ok(period),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rates_have_units() {
        for (text, per_second) in
            [("500", 500.0), ("0.5", 0.5), ("500/s", 500.0), ("30/m", 0.5), ("7200/h", 2.0)]
        {
            assert_eq!(rate(text), Ok(per_second), "{text}");
        }
        for text in ["", "/s", "5/d", "-1", "nan", "inf", "1e400", "5 /s", "5/"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(profile_of_rate("0").is_err());
        assert!(positive_rate("0/m").is_err());
    }

    #[test]
    fn ramps_have_two_ends_and_a_duration() {
        let same = |text: &str, from, to, seconds: u32| {
            assert_eq!(
                ramp(text),
                Ok(Profile::ramp(from, to, seconds * SECOND).unwrap()),
                "{text}"
            );
        };
        same("10..1000/60s", 10.0, 1_000.0, 60);
        same("0..5/s/1m", 0.0, 5.0, 60);
        same("60/m..120/m/10", 1.0, 2.0, 10);
        for text in ["10..1000", "10/60s", "..5/1s", "5../1s", "5..0/1s", "1..2/0s", "1..2/x"] {
            assert!(ramp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn steps_need_durations_but_for_the_last() {
        let two = Profile::steps(&[(100.0, 30 * SECOND)], 500.0).unwrap();
        assert_eq!(steps("100:30s,500"), Ok(two));
        let pause = [(100.0, SECOND), (0.0, SECOND), (5.0, SECOND)];
        assert_eq!(steps("100:1s,0:1s,5:1s"), Ok(Profile::steps(&pause, 5.0).unwrap()));
        assert_eq!(steps("7"), Ok(Profile::rate(7.0).unwrap()));
        for text in ["", "100,500", "100:1s,", "100:1s,0", "1:0s,2", "1:x,2"] {
            assert!(steps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bursts_and_storms_are_read() {
        let count = NonZeroU32::new(500).unwrap();
        assert_eq!(burst("500/10s"), Ok(Profile::bursts(count, 10 * SECOND)));
        for text in ["500", "0/1s", "5/0s", "-5/1s", "/1s"] {
            assert!(burst(text).is_err(), "{text}");
        }
        assert_eq!(storm("drop=50%@30s"), Ok(Storm { at: 30 * SECOND, share: 0.5 }));
        assert_eq!(storm("drop=0.5%@2m"), Ok(Storm { at: 120 * SECOND, share: 0.005 }));
        for text in ["50%@30s", "drop=50@30s", "drop=101%@1s", "drop=-1%@1s", "drop=x%@1s"] {
            assert!(storm(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_back_off_does_not_shrink() {
        let comeback = Comeback { first: SECOND, max: 60 * SECOND, ..Comeback::default() };
        assert_eq!(backoff("1s..60s"), Ok(comeback));
        assert!(backoff("2s..1s").is_err() && backoff("2s").is_err());
        assert!(period("0").is_err() && period("10ms").is_ok());
    }
}
