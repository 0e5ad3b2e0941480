//! HdrHistogram interval logs: the distribution of each phase in each second, with the phase as its
//! tag. HistogramLogAnalyzer and HistogramLogProcessor read them.
//!
//! Values are in microseconds, the maximum in front of each histogram in seconds. The last line is a
//! comment that tells which run and shard the log belongs to, so that logs can be merged.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{
    Deserializer, V2DeflateSerializer,
    interval_log::{
        IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, LogIteratorError, Tag,
    },
};

use crate::load::{Distribution, Interval, Phase, Report, Shard};

/// Microseconds in the unit of the maximum.
const MICROS_PER_SECOND: f64 = 1e6;
const RUN: &str = "midge_conn run ";

/// What the writer of a log takes.
#[derive(Debug)]
pub(super) enum Entry {
    /// A second is over.
    Interval(Interval),
    /// The load is over.
    End(RunName),
}

/// Which run and shard a log belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunName {
    id: String,
    plan_hash: String,
    shard: (u32, u32),
}

impl std::fmt::Display for RunName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {}/{} of run {}", self.shard.0, self.shard.1, self.id)
    }
}

impl RunName {
    /// The name of the run that `report` is about.
    pub(super) fn of(report: &Report) -> Self {
        let run = &report.run;
        let shard = (run.shard.index, run.shard.count);
        Self { id: run.id.clone(), plan_hash: run.plan_hash.clone(), shard }
    }

    fn comment(&self) -> String {
        let (index, count) = self.shard;
        format!("{RUN}{} plan {} shard {index}/{count}", self.id, self.plan_hash)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix('#')?.trim_start().strip_prefix(RUN)?.split(' ');
        let id = words.next()?.to_owned();
        let plan_hash = words.nth(1)?.to_owned();
        let (index, count) = words.nth(1)?.split_once('/')?;
        Some(Self { id, plan_hash, shard: (index.parse().ok()?, count.parse().ok()?) })
    }
}

/// Writes what comes until there is no more. To be called on a thread of its own.
///
/// # Errors
/// What writing meets.
pub(super) fn write(
    entries: impl IntoIterator<Item = Entry>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut entries = entries.into_iter().peekable();
    let Some(Entry::Interval(first)) = entries.peek() else { return Ok(()) };
    let start = SystemTime::now().checked_sub(first.to).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = begin(start).begin_log_with(out, &mut serializer)?;
    for entry in entries {
        match entry {
            Entry::Interval(interval) => {
                let took = interval.to.saturating_sub(interval.from);
                for (phase, durations) in &interval.phases {
                    log.write_histogram(durations, interval.from, took, Tag::new(phase.name()))
                        .map_err(|error| io::Error::other(format!("{error:?}")))?;
                }
            }
            Entry::End(run) => log.write_comment(&run.comment())?,
        }
    }
    Ok(())
}

/// The head of a log whose load started at `start`.
fn begin(start: SystemTime) -> IntervalLogWriterBuilder {
    let mut head = IntervalLogWriterBuilder::new();
    head.add_comment("durations in microseconds, maxima in seconds; the tag is the phase")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MICROS_PER_SECOND);
    head
}

/// A log that was read.
#[derive(Debug)]
pub(super) struct Log {
    /// Which run it belongs to.
    pub(super) run: RunName,
    /// When the load started, since 1970.
    base: Duration,
    intervals: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    phase: Phase,
    from: Duration,
    took: Duration,
    durations: Distribution,
}

impl Log {
    /// Reads a log that [`write`] has written to its end.
    ///
    /// # Errors
    /// When it is not such a log.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let run = text
            .split(|byte| *byte == b'\n')
            .rev()
            .find_map(|line| RunName::parse(std::str::from_utf8(line).ok()?))
            .context("the log has no end: the load that wrote it was killed")?;
        let mut base = None;
        let mut intervals = Vec::new();
        for entry in IntervalLogIterator::new(text) {
            match entry {
                Ok(LogEntry::BaseTime(time)) => base = Some(time),
                Ok(LogEntry::StartTime(_)) => {}
                Ok(LogEntry::Interval(interval)) => {
                    let tag = interval.tag().context("an interval has no tag")?;
                    let phase = Phase::from_name(tag.as_str())
                        .with_context(|| format!("{} is not a phase", tag.as_str()))?;
                    let bytes = STANDARD
                        .decode(interval.encoded_histogram())
                        .context("a histogram is not in base 64")?;
                    let durations = Deserializer::new()
                        .deserialize(&mut bytes.as_slice())
                        .context("a histogram is damaged")?;
                    let (from, took) = (interval.start_timestamp(), interval.duration());
                    intervals.push(Line { phase, from, took, durations });
                }
                Err(LogIteratorError::ParseError { offset }) => {
                    bail!("not an HdrHistogram log, from byte {offset} on")
                }
            }
        }
        let base = base.context("the log does not say when it begins")?;
        Ok(Self { run, base, intervals })
    }

    /// Writes one log of several: each second has what all of them measured in it.
    ///
    /// # Errors
    /// What writing meets.
    pub(super) fn merge(logs: &[Self], report: &Report, out: &mut impl Write) -> Result<()> {
        let Some(base) = logs.iter().map(|log| log.base).min() else { return Ok(()) };
        let mut seconds: BTreeMap<(u64, usize), Line> = BTreeMap::new();
        for log in logs {
            let offset = log.base.saturating_sub(base);
            for line in &log.intervals {
                let from = line.from.saturating_add(offset);
                let order = Phase::ALL.iter().position(|phase| *phase == line.phase);
                let key = (from.as_secs_f64().round() as u64, order.unwrap_or_default());
                match seconds.get_mut(&key) {
                    Some(sum) => {
                        let end = sum.from.saturating_add(sum.took);
                        let end = end.max(from.saturating_add(line.took));
                        sum.from = sum.from.min(from);
                        sum.took = end.saturating_sub(sum.from);
                        sum.durations.auto(true);
                        sum.durations.add(&line.durations).context("cannot add a histogram")?;
                    }
                    None => {
                        let Line { phase, took, durations, .. } = line;
                        let (phase, took, durations) = (*phase, *took, durations.clone());
                        seconds.insert(key, Line { phase, from, took, durations });
                    }
                }
            }
        }
        let start = SystemTime::UNIX_EPOCH.checked_add(base);
        let start = start.context("a log begins at a time that cannot be")?;
        let mut serializer = V2DeflateSerializer::new();
        let mut log = begin(start).begin_log_with(out, &mut serializer)?;
        for line in seconds.values() {
            log.write_histogram(&line.durations, line.from, line.took, Tag::new(line.phase.name()))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        log.write_comment(&RunName::of(report).comment())?;
        Ok(())
    }

    /// Whether the log is of one of these runs, or of a run that was merged into one.
    pub(super) fn belongs_to(&self, report: &Report) -> bool {
        let shard = |shard: &Shard| (shard.index, shard.count);
        let run = &report.run;
        (run.id == self.run.id && shard(&run.shard) == self.run.shard)
            || run.parts.iter().any(|part| part.id == self.run.id)
    }
}
