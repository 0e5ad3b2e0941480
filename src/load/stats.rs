//! What a worker measures: one histogram per phase, the failures by class, and the counters that
//! the progress display reads while the load runs.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::failure::FailureClass;

/// One step in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// From the intended start to the actual one.
    ScheduleLag,
    /// From the actual start to the established TCP connection.
    Tcp,
    /// The handshake of a proxy.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The HTTP upgrade to WebSocket.
    WebSocket,
    /// From the established connection, handshakes included, to the CONNACK that accepts the client.
    ConnAck,
    /// From the intended start to the CONNACK that accepts the client.
    Total,
    /// From a PINGREQ to its PINGRESP.
    PingResp,
}

impl Phase {
    /// All phases in the order of a connection's life.
    pub const ALL: [Self; 8] = [
        Self::ScheduleLag,
        Self::Tcp,
        Self::Proxy,
        Self::Tls,
        Self::WebSocket,
        Self::ConnAck,
        Self::Total,
        Self::PingResp,
    ];

    /// The phase's name in the machine-readable report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScheduleLag => "schedule_lag",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::ConnAck => "connack",
            Self::Total => "total",
            Self::PingResp => "pingresp",
        }
    }
}

/// Durations in microseconds, from 1 µs to one hour with three significant digits; longer ones
/// count as one hour.
pub(crate) type Durations = Histogram<u32>;

/// What one worker measured.
#[derive(Debug)]
pub(crate) struct Stats {
    phases: [Durations; Phase::ALL.len()],
    failures: Vec<FailureCount>,
}

/// How often one class of failure was seen, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailureCount {
    pub(crate) class: FailureClass,
    pub(crate) count: u64,
    /// Since the start of the load.
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// The client that met it first.
    pub(crate) sample: u32,
    /// What that client's error said.
    pub(crate) text: String,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self { phases: std::array::from_fn(|_| durations()), failures: Vec::new() }
    }

    #[expect(clippy::indexing_slicing, reason = "one histogram per variant, in their order")]
    pub(crate) fn record(&mut self, phase: Phase, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.phases[phase as usize].saturating_record(micros);
    }

    /// Notes that client `g` met `class` at `at`, counted from the start of the load; `text` gives
    /// the error's own words.
    pub(crate) fn record_failure(&mut self, class: FailureClass, g: u32, at: Duration, text: &str) {
        match self.failures.iter_mut().find(|known| known.class == class) {
            None => self.failures.push(FailureCount {
                class,
                count: 1,
                first: at,
                last: at,
                sample: g,
                text: text.to_owned(),
            }),
            Some(known) => {
                known.count += 1;
                known.last = at;
            }
        }
    }

    /// Adds what another worker measured.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        for theirs in &other.failures {
            match self.failures.iter_mut().find(|known| known.class == theirs.class) {
                None => self.failures.push(theirs.clone()),
                Some(known) => known.merge(theirs),
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "one histogram per variant, in their order")]
    pub(crate) fn phase(&self, phase: Phase) -> &Durations {
        &self.phases[phase as usize]
    }

    /// The failures, the most frequent class first.
    pub(crate) fn failures(&self) -> Vec<FailureCount> {
        let mut failures = self.failures.clone();
        failures.sort_by_key(|failure| (std::cmp::Reverse(failure.count), failure.first));
        failures
    }
}

impl FailureCount {
    fn merge(&mut self, other: &Self) {
        let (count, last) = (self.count + other.count, self.last.max(other.last));
        if other.first < self.first {
            self.clone_from(other);
        }
        self.count = count;
        self.last = last;
    }
}

fn durations() -> Durations {
    const LONGEST_MICROS: u64 = 3_600_000_000;
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
        .expect("the bounds are constants that the histogram takes")
}

/// What a worker counts, readable by other threads at any time.
///
/// Only the worker writes, so each counter is exact; together they are a moment's picture.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    started: AtomicU32,
    connected: AtomicU32,
    failed: AtomicU32,
    dropped: AtomicU32,
    pongs: AtomicU64,
}

impl Counters {
    pub(crate) fn count_started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_connected(&self) {
        self.connected.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_pong(&self) {
        self.pongs.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters of all workers, added up.
    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Counts {
        let mut sum = Counts::default();
        for counters in all {
            // Read against the order in which they are written: what has ended, has begun.
            sum.dropped += counters.dropped.load(Ordering::Acquire);
            sum.failed += counters.failed.load(Ordering::Acquire);
            sum.connected += counters.connected.load(Ordering::Acquire);
            sum.attempted += counters.started.load(Ordering::Relaxed);
            sum.pongs += counters.pongs.load(Ordering::Relaxed);
        }
        sum
    }
}

/// How many clients have come how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Clients that have started to connect: `connected + failed + pending`.
    pub attempted: u32,
    /// Clients that were accepted, whether or not they are still connected.
    pub connected: u32,
    /// Clients that could not connect.
    pub failed: u32,
    /// Clients that were accepted and lost their connection.
    pub dropped: u32,
    /// Answers to pings, of all clients.
    pub pongs: u64,
}

impl Counts {
    /// Clients whose outcome is not known yet.
    pub fn pending(&self) -> u32 {
        self.attempted.saturating_sub(self.connected).saturating_sub(self.failed)
    }

    /// Clients that are connected.
    pub fn open(&self) -> u32 {
        self.connected.saturating_sub(self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn phases_are_indexed_by_their_own_order() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index);
        }
    }

    #[test]
    fn durations_are_kept_in_microseconds_and_saturate() {
        let mut stats = Stats::new();
        stats.record(Phase::Tcp, Duration::from_micros(150));
        stats.record(Phase::Tcp, Duration::MAX);
        stats.record(Phase::Tcp, Duration::ZERO);
        let tcp = stats.phase(Phase::Tcp);
        assert_eq!((tcp.len(), tcp.min(), tcp.value_at_quantile(0.5)), (3, 0, 150));
        assert!(tcp.max() >= 3_600_000_000);
        assert_eq!(stats.phase(Phase::ConnAck).len(), 0);
    }

    #[test]
    fn merging_adds_and_keeps_the_first_and_the_last() {
        let (mut a, mut b) = (Stats::new(), Stats::new());
        a.record(Phase::Total, ms(1));
        b.record(Phase::Total, ms(2));
        a.record_failure(FailureClass::TcpRefused, 10, ms(500), "a");
        b.record_failure(FailureClass::TcpRefused, 11, ms(300), "b");
        b.record_failure(FailureClass::TcpRefused, 12, ms(900), "c");
        b.record_failure(FailureClass::ConnAckTimeout, 13, ms(100), "d");
        a.merge(&b);
        assert_eq!(a.phase(Phase::Total).len(), 2);
        let failures = a.failures();
        assert_eq!(
            failures[0],
            FailureCount {
                class: FailureClass::TcpRefused,
                count: 3,
                first: ms(300),
                last: ms(900),
                sample: 11,
                text: "b".into(),
            }
        );
        assert_eq!(failures[1].class, FailureClass::ConnAckTimeout);
    }

    #[test]
    fn counts_add_up() {
        let workers = [Counters::default(), Counters::default()];
        for worker in &workers {
            for _ in 0..5 {
                worker.count_started();
            }
            worker.count_connected();
            worker.count_connected();
            worker.count_dropped();
            worker.count_failed();
        }
        let counts = Counters::sum(&workers);
        assert_eq!(counts.attempted, counts.connected + counts.failed + counts.pending());
        assert_eq!((counts.attempted, counts.pending(), counts.open()), (10, 4, 2));
    }
}
