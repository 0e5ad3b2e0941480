//! Keep alive in both directions (§3.1.2.10): when a PINGREQ is due, and when the peer is dead.

use std::time::{Duration, Instant};

/// Watches the silence on one link.
///
/// A ping is due when *either* direction has been silent for the interval: the broker must hear
/// from this side, and this side must learn that the broker still answers. Whatever arrives counts
/// as a sign of life, so a PINGRESP stuck behind a large message does not end the connection; and
/// while a PINGREQ itself is stuck behind one, so does whatever the kernel can send of it.
#[derive(Debug)]
pub(super) struct KeepAlive {
    last_sent: Instant,
    last_received: Instant,
    /// The ping whose answer is waited for: none for most of the time.
    ping: Option<Box<Ping>>,
    /// Zero turns it off.
    interval_millis: u32,
    reading: bool,
    /// A PINGREQ is to be sent.
    ping_wanted: bool,
}

#[derive(Debug)]
struct Ping {
    /// Since when the answer is waited for.
    since: Instant,
    /// How long it is waited for while nothing else arrives.
    timeout: Duration,
    /// Position in the output at which the ping ends; 0 once it is written.
    end: u64,
}

impl KeepAlive {
    /// Starts on a connection that was accepted at `now`. `keep_alive` is what the broker was
    /// told; `spread` in 0..=255 makes the first ping up to half an interval early, so that the
    /// pings of clients that connected together do not come together.
    pub(super) fn new(now: Instant, keep_alive: Duration, spread: u8, reading: bool) -> Self {
        // A ping is sent a little early, so that a timer's lateness does not break the promise of
        // [MQTT-3.1.2-20].
        let interval = keep_alive - (keep_alive / 20).min(Duration::from_millis(500));
        let early = interval / 512 * u32::from(spread);
        let last_sent = now.checked_sub(early).unwrap_or(now);
        // Each client has this on its hands: whole milliseconds are what such an interval has.
        KeepAlive {
            interval_millis: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            last_sent,
            last_received: now,
            ping: None,
            reading,
            ping_wanted: false,
        }
    }

    /// Takes note that the output is written up to `position`.
    pub(super) fn handle_written(&mut self, now: Instant, position: u64) {
        self.last_sent = now;
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.end > 0) {
            ping.since = now;
            if position >= ping.end {
                ping.end = 0;
            }
        }
    }

    pub(super) fn handle_received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Has a PINGREQ sent.
    pub(super) fn handle_ping_due(&mut self, now: Instant, timeout: Duration) {
        self.last_sent = now;
        let ping = || Box::new(Ping { since: now, timeout, end: u64::MAX });
        self.ping.get_or_insert_with(ping);
        self.ping_wanted = true;
    }

    /// Whether a PINGREQ is to be encoded; not again once it was asked.
    pub(super) fn take_ping_wanted(&mut self) -> bool {
        std::mem::take(&mut self.ping_wanted)
    }

    /// Takes note that the output up to `position` contains that PINGREQ.
    pub(super) fn handle_ping_encoded(&mut self, position: u64) {
        if let Some(ping) = self.ping.as_mut().filter(|ping| ping.end == u64::MAX) {
            ping.end = position;
        }
    }

    /// Takes a PINGRESP; `None` when no ping was waiting for one.
    pub(super) fn handle_pong(&mut self, now: Instant) -> Option<Duration> {
        self.ping.take().map(|ping| now.saturating_duration_since(ping.since))
    }

    /// Stops the clock of the peer while nothing is read from it.
    pub(super) fn set_reading(&mut self, now: Instant, reading: bool) {
        self.reading = reading;
        self.last_received = now;
    }

    /// When the next PINGREQ is due.
    pub(super) fn ping_due(&self) -> Option<Instant> {
        if self.interval_millis == 0 {
            return None;
        }
        let silent_since = match self.ping {
            // One ping is enough to learn about the peer; further ones keep the promise to it.
            Some(_) => self.last_sent,
            None if self.reading => self.last_sent.min(self.last_received),
            None => self.last_sent,
        };
        silent_since.checked_add(Duration::from_millis(self.interval_millis.into()))
    }

    /// When the peer counts as dead.
    pub(super) fn pong_due(&self) -> Option<Instant> {
        let ping = self.ping.as_ref().filter(|_| self.reading)?;
        ping.since.max(self.last_received).checked_add(ping.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn receiving_alone_does_not_hold_back_the_ping() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(start, seconds(10), 0, true);
        keep_alive.handle_received(start + seconds(9));
        let due = keep_alive.ping_due().unwrap();
        assert!(due > start + seconds(9) && due <= start + seconds(10));
    }

    #[test]
    fn sending_alone_does_not_hide_a_dead_peer() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(start, seconds(10), 0, true);
        keep_alive.handle_written(start + seconds(9), 1);
        assert!(keep_alive.ping_due().unwrap() <= start + seconds(10));
    }

    #[test]
    fn a_sign_of_life_extends_the_deadline_and_the_promise_is_still_kept() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(start, seconds(10), 0, true);
        keep_alive.handle_ping_due(start + seconds(10), seconds(5));
        assert_eq!(keep_alive.pong_due(), Some(start + seconds(15)));
        keep_alive.handle_received(start + seconds(14));
        assert_eq!(keep_alive.pong_due(), Some(start + seconds(19)));
        assert!(keep_alive.ping_due().unwrap() <= start + seconds(20));
    }

    #[test]
    fn a_peer_that_is_not_read_from_cannot_be_late() {
        let start = Instant::now();
        let mut keep_alive = KeepAlive::new(start, seconds(10), 0, true);
        keep_alive.handle_ping_due(start + seconds(10), seconds(5));
        keep_alive.set_reading(start + seconds(11), false);
        assert_eq!(keep_alive.pong_due(), None);
        keep_alive.set_reading(start + seconds(100), true);
        assert_eq!(keep_alive.pong_due(), Some(start + seconds(105)));
    }

    #[test]
    fn the_first_ping_is_spread_over_half_an_interval() {
        let start = Instant::now();
        let first = |spread| KeepAlive::new(start, seconds(60), spread, true).ping_due();
        assert!(first(255).unwrap() < start + seconds(31));
        assert!(first(128).unwrap() < start + seconds(46));
        assert!(first(0).unwrap() > start + seconds(59));
        assert_eq!(KeepAlive::new(start, Duration::ZERO, 9, true).ping_due(), None);
    }
}
