//! The time at which a message is printed.
//!
//! Whatever of it is no finer than a second is rendered once per second: a flood of messages costs
//! no calendar.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{
    Timestamp,
    fmt::strtime::{BrokenDownTime, Config, PosixCustom},
    tz::TimeZone,
};

use super::TimeIndex;

/// A point in time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// Since 1970.
    pub(super) second: i64,
    /// Within the second.
    pub(super) nanosecond: u32,
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => {
                Self { second: seconds(since.as_secs()), nanosecond: since.subsec_nanos() }
            }
            Err(before) => match before.duration() {
                until if until.subsec_nanos() == 0 => {
                    Self { second: -seconds(until.as_secs()), nanosecond: 0 }
                }
                until => Self {
                    second: -1 - seconds(until.as_secs()),
                    nanosecond: 1_000_000_000 - until.subsec_nanos(),
                },
            },
        }
    }
}

/// Local time by the patterns of a format.
#[derive(Debug)]
pub(super) struct LocalClock {
    zone: TimeZone,
    patterns: Vec<String>,
    /// The second that the texts are for.
    second: Option<i64>,
    /// A text for each pattern.
    texts: Vec<String>,
}

impl LocalClock {
    pub(super) fn new(zone: TimeZone, patterns: Vec<String>) -> Self {
        Self { zone, patterns, second: None, texts: Vec::new() }
    }

    /// Puts the clock forward, or back.
    #[inline]
    pub(super) fn set(&mut self, second: i64) {
        if self.second != Some(second) {
            self.render(second);
            self.second = Some(second);
        }
    }

    /// What the pattern gives at the time that the clock is set to.
    #[inline]
    pub(super) fn text(&self, TimeIndex(at): TimeIndex) -> &[u8] {
        self.texts.get(at).map_or(&[], |text| text.as_bytes())
    }

    #[cold]
    fn render(&mut self, second: i64) {
        let bound = if second < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let timestamp = Timestamp::from_second(second).unwrap_or(bound);
        let local = BrokenDownTime::from(&timestamp.to_zoned(self.zone.clone()));
        // mosquitto_sub never leaves the C locale either.
        let config = Config::new().custom(PosixCustom::new()).lenient(true);
        self.texts.clear();
        for pattern in &self.patterns {
            let text = local.to_string_with_config(&config, pattern);
            // Lenient rendering has no errors: what it cannot do, it copies.
            self.texts.push(text.unwrap_or_default());
        }
    }
}

/// The zone of this process, and UTC if the system does not say.
pub(super) fn system_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_before_1970_counts_its_nanoseconds_forward() {
        let moment = |time| {
            let Moment { second, nanosecond } = Moment::from(time);
            (second, nanosecond)
        };
        let nanosecond = Duration::from_nanos(1);
        assert_eq!(moment(UNIX_EPOCH + nanosecond), (0, 1));
        assert_eq!(moment(UNIX_EPOCH), (0, 0));
        assert_eq!(moment(UNIX_EPOCH - nanosecond), (-1, 999_999_999));
        assert_eq!(moment(UNIX_EPOCH - Duration::from_secs(1)), (-1, 0));
    }

    #[test]
    fn a_clock_shows_the_second_it_is_set_to() {
        let mut clock = LocalClock::new(TimeZone::UTC, vec!["%S".into(), "%c".into()]);
        clock.set(1);
        assert_eq!(clock.text(TimeIndex(0)), b"01");
        clock.set(62);
        assert_eq!(clock.text(TimeIndex(0)), b"02");
        assert_eq!(clock.text(TimeIndex(1)), b"Thu Jan  1 00:01:02 1970");
        // Beyond the last moment there is, the clock stands still at it.
        clock.set(i64::MAX);
        assert!(clock.text(TimeIndex(1)).ends_with(b" 9999"));
    }
}
