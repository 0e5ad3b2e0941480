//! What a worker measures: samples, which its owner puts into one histogram per phase, the failures
//! by class, and the counters that the progress display reads while the load runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

use super::failure::FailureClass;

/// One step in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// From the intended start to the actual one.
    ScheduleLag,
    /// The part of the schedule lag that the generator itself is to blame for: from when the client
    /// was due and an attempt could be made to its actual start.
    GeneratorLag,
    /// The name lookup, one for the whole load.
    Dns,
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
    /// As [`Total`](Self::Total), with the clients that failed: each counts with the time until it
    /// failed, or with the connect timeout after its intended start where that is longer.
    TotalAll,
    /// From a SUBSCRIBE to its SUBACK.
    SubAck,
    /// From the intended moment of a PUBLISH to its PUBACK or PUBCOMP, or to when the kernel took it.
    PubAck,
    /// From a PINGREQ to its PINGRESP.
    PingResp,
    /// From the loss of a connection to the CONNACK of the next one.
    Return,
}

impl Phase {
    /// All phases in the order of a connection's life.
    pub const ALL: [Self; 14] = [
        Self::ScheduleLag,
        Self::GeneratorLag,
        Self::Dns,
        Self::Tcp,
        Self::Proxy,
        Self::Tls,
        Self::WebSocket,
        Self::ConnAck,
        Self::Total,
        Self::TotalAll,
        Self::SubAck,
        Self::PubAck,
        Self::PingResp,
        Self::Return,
    ];

    /// The phase's name in the machine-readable report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScheduleLag => "schedule_lag",
            Self::GeneratorLag => "generator_lag",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::ConnAck => "connack",
            Self::Total => "total",
            Self::TotalAll => "total_all",
            Self::SubAck => "suback",
            Self::PubAck => "puback",
            Self::PingResp => "pingresp",
            Self::Return => "return",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// The longest duration that is told from longer ones.
const LONGEST_MICROS: u32 = 3_600_000_000;

/// Durations in microseconds with three significant digits; it grows with the longest of them.
pub(crate) type Durations = Histogram<u32>;

/// One measured duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    phase: Phase,
    micros: u32,
}

impl Sample {
    /// Longer durations than an hour count as one.
    pub(crate) fn new(phase: Phase, took: Duration) -> Self {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).min(LONGEST_MICROS);
        Self { phase, micros }
    }
}

/// The samples of one worker on their way to the owner of the load.
///
/// The worker appends the samples of one turn at a time, so that the lock is free nearly always and
/// nobody is woken.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Vec<Sample>>);

impl Outbox {
    fn append(&self, samples: &mut Vec<Sample>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(samples);
    }

    /// What has come in. The memory goes with it: it is needed while clients connect only.
    pub(crate) fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one worker measures.
#[derive(Debug)]
pub(crate) struct Stats {
    samples: Vec<Sample>,
    outbox: Arc<Outbox>,
    failures: Failures,
    longest_turn: Duration,
}

impl Stats {
    /// Measures that go out through `outbox`.
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            samples: Vec::new(),
            outbox,
            failures: Failures::default(),
            longest_turn: Duration::ZERO,
        }
    }

    pub(crate) fn record(&mut self, phase: Phase, took: Duration) {
        self.samples.push(Sample::new(phase, took));
    }

    /// Notes that client `g` met `class` at `at`, counted from the start of the load; `text` gives
    /// the error's own words.
    pub(crate) fn record_failure(&mut self, class: FailureClass, g: u32, at: Duration, text: &str) {
        self.failures.record(class, g, at, text);
    }

    /// To be called at the end of each turn of the worker, with how long it took: hands the samples
    /// over.
    pub(crate) fn end_turn(&mut self, took: Duration) {
        self.longest_turn = self.longest_turn.max(took);
        if !self.samples.is_empty() {
            self.outbox.append(&mut self.samples);
        }
    }

    /// The failures, and the longest turn of the worker.
    pub(crate) fn finish(mut self) -> (Failures, Duration) {
        self.end_turn(Duration::ZERO);
        (self.failures, self.longest_turn)
    }
}

/// One histogram per phase that was met.
#[derive(Clone, Debug)]
pub(crate) struct Distributions([Option<Durations>; Phase::ALL.len()]);

impl Default for Distributions {
    fn default() -> Self {
        Self(std::array::from_fn(|_| None))
    }
}

impl Distributions {
    /// One that does not grow: what it costs does not depend on what is measured, nor does how it
    /// is written.
    pub(crate) fn widest() -> Self {
        Self(std::array::from_fn(|_| Some(widest())))
    }

    #[expect(clippy::indexing_slicing, reason = "one place per variant, in their order")]
    pub(crate) fn record(&mut self, sample: Sample) {
        let durations = self.0[sample.phase as usize].get_or_insert_with(durations);
        durations.record(sample.micros.into()).expect("it grows as far as it has to");
    }

    /// What was measured in `phase`, if anything.
    #[expect(clippy::indexing_slicing, reason = "one place per variant, in their order")]
    pub(crate) fn phase(&self, phase: Phase) -> Option<&Durations> {
        self.0[phase as usize].as_ref().filter(|durations| !durations.is_empty())
    }

    /// The phases that were met, with what was measured in them.
    pub(crate) fn into_met(self) -> Vec<(Phase, Durations)> {
        Phase::ALL.into_iter().zip(self.0).filter_map(|(phase, d)| Some((phase, d?))).collect()
    }

    /// The phases that were met.
    pub(crate) fn met(&self) -> impl Iterator<Item = (Phase, &Durations)> {
        let all = Phase::ALL.into_iter().zip(&self.0);
        all.filter_map(|(phase, d)| Some((phase, d.as_ref().filter(|d| !d.is_empty())?)))
    }
}

/// The failures of a load by class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(Vec<FailureCount>);

impl Failures {
    fn record(&mut self, class: FailureClass, g: u32, at: Duration, text: &str) {
        match self.0.iter_mut().find(|known| known.class == class) {
            None => self.0.push(FailureCount {
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

    /// Adds what another worker met.
    pub(crate) fn merge(&mut self, other: Self) {
        for theirs in other.0 {
            match self.0.iter_mut().find(|known| known.class == theirs.class) {
                None => self.0.push(theirs),
                Some(known) => known.merge(&theirs),
            }
        }
    }

    /// The failures, the most frequent class first.
    pub(crate) fn into_rows(mut self) -> Vec<FailureCount> {
        self.0.sort_by_key(|failure| (std::cmp::Reverse(failure.count), failure.first));
        self.0
    }
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
    Histogram::new(3).expect("three digits are possible")
}

/// An empty distribution with room for the longest duration: sums of such do not depend on the order
/// of what is added.
pub(crate) fn widest<C: Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(1, LONGEST_MICROS.into(), 3).expect("the bounds are far apart")
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
    left: AtomicU32,
    returned: AtomicU32,
    return_failed: AtomicU32,
    pongs: AtomicU64,
    published: AtomicU64,
    received: AtomicU64,
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

    pub(crate) fn count_left(&self) {
        self.left.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_returned(&self) {
        self.returned.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count_return_failed(&self) {
        self.return_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_pong(&self) {
        self.pongs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters of all workers, added up.
    pub(crate) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Counts {
        let mut sum = Counts::default();
        for counters in all {
            // Read against the order in which they are written: what has ended, has begun.
            sum.dropped += counters.dropped.load(Ordering::Acquire);
            sum.left += counters.left.load(Ordering::Acquire);
            sum.returned += counters.returned.load(Ordering::Acquire);
            sum.failed += counters.failed.load(Ordering::Acquire);
            sum.connected += counters.connected.load(Ordering::Acquire);
            sum.attempted += counters.started.load(Ordering::Relaxed);
            sum.return_failed += counters.return_failed.load(Ordering::Relaxed);
            sum.pongs += counters.pongs.load(Ordering::Relaxed);
            sum.published += counters.published.load(Ordering::Relaxed);
            sum.received += counters.received.load(Ordering::Relaxed);
        }
        sum
    }
}

/// How many clients have come how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Clients that have started to connect: `connected + failed + pending`.
    pub attempted: u32,
    /// Clients that were accepted, whether or not they are still connected.
    pub connected: u32,
    /// Clients that could not connect.
    pub failed: u32,
    /// How often an accepted client lost its connection.
    pub dropped: u32,
    /// How often the plan ended a connection, by churn or a storm.
    pub left: u32,
    /// How often a client was accepted again.
    pub returned: u32,
    /// How often an attempt to come back failed.
    pub return_failed: u32,
    /// Answers to pings, of all clients.
    pub pongs: u64,
    /// Messages that were published: for QoS 0 the kernel took them, else they were acknowledged.
    pub published: u64,
    /// Messages that were received.
    pub received: u64,
}

impl Counts {
    /// The sum with those of another part of the load.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            attempted: self.attempted + other.attempted,
            connected: self.connected + other.connected,
            failed: self.failed + other.failed,
            dropped: self.dropped + other.dropped,
            left: self.left + other.left,
            returned: self.returned + other.returned,
            return_failed: self.return_failed + other.return_failed,
            pongs: self.pongs + other.pongs,
            published: self.published + other.published,
            received: self.received + other.received,
        }
    }

    /// Clients whose outcome is not known yet.
    pub fn pending(&self) -> u32 {
        self.attempted.saturating_sub(self.connected).saturating_sub(self.failed)
    }

    /// Clients that are connected.
    pub fn open(&self) -> u32 {
        (self.connected + self.returned).saturating_sub(self.dropped).saturating_sub(self.left)
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

    fn measured(stats: &mut Stats) -> Distributions {
        stats.end_turn(Duration::ZERO);
        let mut distributions = Distributions::default();
        stats.outbox.take().into_iter().for_each(|sample| distributions.record(sample));
        distributions
    }

    #[test]
    fn durations_are_kept_in_microseconds_and_saturate() {
        let mut stats = Stats::new(Arc::default());
        stats.record(Phase::Tcp, Duration::from_micros(150));
        stats.record(Phase::Tcp, Duration::MAX);
        stats.record(Phase::Tcp, Duration::ZERO);
        let distributions = measured(&mut stats);
        let tcp = distributions.phase(Phase::Tcp).unwrap();
        assert_eq!((tcp.len(), tcp.min(), tcp.value_at_quantile(0.5)), (3, 0, 150));
        assert!(tcp.max() >= 3_600_000_000);
        assert!(distributions.phase(Phase::ConnAck).is_none());
    }

    #[test]
    fn the_longest_turn_is_kept() {
        let mut stats = Stats::new(Arc::default());
        stats.end_turn(ms(3));
        stats.end_turn(ms(2));
        assert_eq!(stats.finish().1, ms(3));
    }

    #[test]
    fn merging_adds_and_keeps_the_first_and_the_last() {
        let (mut a, mut b) = (Failures::default(), Failures::default());
        a.record(FailureClass::TcpRefused, 10, ms(500), "a");
        b.record(FailureClass::TcpRefused, 11, ms(300), "b");
        b.record(FailureClass::TcpRefused, 12, ms(900), "c");
        b.record(FailureClass::ConnAckTimeout, 13, ms(100), "d");
        a.merge(b);
        let failures = a.into_rows();
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
