//! One report of several: of the shards of a plan, or of the processes that shared the work of one.
//!
//! Distributions are added up, so that a percentile of the whole is that of all clients and not an
//! average. Times are moved to count from the start of the earliest part.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;

use super::{
    Counts, Plan, Report, Shard, Slo,
    report::{
        Distribution, ErrorRow, Host, Latencies, Outcome, Part, Rate, Run, Second, Totals, achieved,
    },
    stats::widest,
    verdict::LOST,
};

/// Why reports cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("there is no report to merge")]
    Nothing,
    /// Two reports are of different plans.
    #[error("the reports of {first} and {second} are of different plans: {difference}")]
    Mixed {
        /// One of them.
        first: PartName,
        /// The other.
        second: PartName,
        /// A field in which they differ, with its two values.
        difference: String,
    },
    /// The same clients are in two reports.
    #[error("shard {shard} was restarted, or its report is given twice: {first} and {second}")]
    Restarted {
        /// Which clients.
        shard: Shard,
        /// One of them.
        first: PartName,
        /// The other.
        second: PartName,
    },
    /// Two reports share some of their clients.
    #[error("{first} and {second} have clients in common")]
    Overlap {
        /// One of them.
        first: PartName,
        /// The other.
        second: PartName,
    },
    /// Some of the clients are in no report.
    #[error("missing: {}", shards(.0))]
    Missing(Vec<Shard>),
    /// A report holds something that cannot be right.
    #[error("the report of {part} is damaged: {what}")]
    Damaged {
        /// Which one.
        part: PartName,
        /// What is wrong.
        what: String,
    },
}

/// How a report is called in an error: by its shard, its run, and when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartName(String);

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartName {
    fn of(report: &Report) -> Self {
        let Run { id, shard, started, .. } = &report.run;
        Self(format!("shard {shard} (run {id}, started {started})"))
    }
}

/// What is known of the clients of a process that ended without a report.
#[derive(Clone, Debug)]
pub struct Lost {
    /// What it had told last.
    pub counts: Counts,
    /// When that was, in seconds since the start of the load.
    pub at_s: f64,
    /// The index of one of its clients.
    pub sample: u32,
    /// How it ended.
    pub text: String,
}

impl Lost {
    /// The counts after its end: who was connecting has failed, and who was connected is dropped.
    pub fn gone(counts: Counts) -> Counts {
        Counts {
            failed: counts.failed + counts.pending(),
            dropped: counts.dropped + counts.open(),
            ..counts
        }
    }
}

/// Several reports and what follows from their being of one plan.
struct Merge {
    parts: Vec<Report>,
    shard: Shard,
    /// When each part started, in seconds after the first.
    offsets: Vec<f64>,
}

impl Report {
    /// Merges the reports of the shards of one plan.
    ///
    /// Together they must hold each client of one share of the plan (all of it as a rule) exactly
    /// once. Objectives are evaluated anew, over the whole.
    ///
    /// # Errors
    /// [`MergeError`] when they do not belong together, or not all of them are there.
    pub fn merge(parts: Vec<Self>) -> Result<Self, MergeError> {
        let shards: Vec<_> = parts.iter().map(|part| part.run.shard.clone()).collect();
        check(&parts)?;
        let shard = Shard::union(&shards).map_err(MergeError::Missing)?;
        Merge::new(parts, shard)?.report()
    }

    /// Merges as [`merge`](Self::merge) does, and lets shards be missing: the clients of theirs
    /// count as not started.
    ///
    /// # Errors
    /// [`MergeError`] when the reports do not belong together.
    pub fn merge_incomplete(parts: Vec<Self>) -> Result<Self, MergeError> {
        check(&parts)?;
        Merge::new(parts, Shard::default())?.report()
    }

    /// Merges the reports of the processes that shared the work of `plan`, some of which are `lost`.
    ///
    /// # Errors
    /// [`MergeError`] when there is no report at all, or they do not belong together.
    pub fn merge_processes(
        plan: &Plan,
        parts: Vec<Self>,
        lost: &[Lost],
    ) -> Result<Self, MergeError> {
        check(&parts)?;
        let mut merged = Merge::new(parts, plan.shard.clone())?.report()?;
        merged.ceiling.clone_from(&plan.ceiling);
        if !lost.is_empty() {
            merged.add_lost(plan, lost);
        }
        Ok(merged)
    }

    fn add_lost(&mut self, plan: &Plan, all: &[Lost]) {
        let totals = &mut self.totals;
        for lost in all {
            let counts = Lost::gone(lost.counts);
            totals.attempted += counts.attempted;
            totals.connected += counts.connected;
            totals.failed += counts.failed;
            totals.dropped += counts.dropped;
            totals.left += counts.left;
            totals.returned += counts.returned;
            totals.return_failed += counts.return_failed;
            totals.pongs += counts.pongs;
            totals.published += counts.published;
            totals.received += counts.received;
        }
        totals.not_started = totals.planned.saturating_sub(totals.attempted);
        let count = |lost: &Lost| u64::from(lost.counts.pending() + lost.counts.open());
        let first = all.iter().min_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let row = first.map(|first| ErrorRow {
            class: LOST.into(),
            code: None,
            count: all.iter().map(count).sum(),
            first_s: first.at_s,
            last_s: all.iter().map(|lost| lost.at_s).fold(first.at_s, f64::max),
            sample_client: plan.identity.client_id(plan.seed, first.sample),
            sample_error: first.text.clone(),
            remedy:
                "look for what ended the process: the kernel when it was out of memory (dmesg), \
                     or somebody's kill"
                    .into(),
        });
        self.errors.splice(0..0, row);
        self.rate.intended = plan.intended_rate();
        self.rate.achieved = achieved(&self.totals, self.rate.intended, self.rate.last_connack_s);
        self.outcome = self.outcome.max(Outcome::Failures);
        self.judge(&plan.objectives);
    }

    /// By how much the parts of a merged report did not start at the same time, in seconds; 0 for
    /// one that is not merged.
    pub fn start_skew_s(&self) -> f64 {
        let starts: Vec<Timestamp> =
            self.run.parts.iter().filter_map(|part| part.started.parse().ok()).collect();
        match (starts.iter().min(), starts.iter().max()) {
            (Some(first), Some(last)) => seconds_between(*first, *last),
            _ => 0.0,
        }
    }
}

/// Whether the reports are of one plan, and have no client in common.
fn check(parts: &[Report]) -> Result<(), MergeError> {
    let Some(first) = parts.first() else { return Err(MergeError::Nothing) };
    for (index, second) in parts.iter().enumerate().skip(1) {
        if let Some(difference) = difference(first, second) {
            let (first, second) = (PartName::of(first), PartName::of(second));
            return Err(MergeError::Mixed { first, second, difference });
        }
        for first in parts.iter().take(index) {
            let (a, b) = (&first.run.shard, &second.run.shard);
            let (first, second) = (PartName::of(first), PartName::of(second));
            if (a.index, a.count) == (b.index, b.count) {
                return Err(MergeError::Restarted { shard: a.clone(), first, second });
            }
            if a.overlaps(b) {
                return Err(MergeError::Overlap { first, second });
            }
        }
    }
    Ok(())
}

/// The first field in which two plans differ.
fn difference(a: &Report, b: &Report) -> Option<String> {
    if a.run.plan_hash == b.run.plan_hash {
        return None;
    }
    let facts = |report: &Report| {
        let mut fields = vec![
            ("target.url".to_owned(), report.target.url.clone()),
            ("target.mqtt_version".to_owned(), report.target.mqtt_version.clone()),
            ("run.seed".to_owned(), report.run.seed.to_string()),
        ];
        if let Ok(serde_json::Value::Object(plan)) = serde_json::to_value(&report.plan) {
            fields.extend(plan.into_iter().map(|(k, v)| (format!("plan.{k}"), v.to_string())));
        }
        fields
    };
    let differing = facts(a)
        .into_iter()
        .zip(facts(b))
        .filter(|((name, _), _)| name != "plan.workers" && name != "plan.in_progress_max")
        .find(|(a, b)| a != b)
        .map(|((name, a), (_, b))| format!("{name} is {a} and {b}"));
    Some(
        differing.unwrap_or_else(|| {
            format!("run.plan_hash is {} and {}", a.run.plan_hash, b.run.plan_hash)
        }),
    )
}

impl Merge {
    fn new(parts: Vec<Report>, shard: Shard) -> Result<Self, MergeError> {
        let starts: Vec<Timestamp> = parts
            .iter()
            .map(|part| {
                part.run.started.parse().map_err(|error: jiff::Error| MergeError::Damaged {
                    part: PartName::of(part),
                    what: format!("run.started: {error}"),
                })
            })
            .collect::<Result<_, _>>()?;
        let earliest = starts.iter().min().copied().unwrap_or_default();
        let offsets = starts.iter().map(|start| seconds_between(earliest, *start)).collect();
        Ok(Self { parts, shard, offsets })
    }

    fn report(&self) -> Result<Report, MergeError> {
        let Some(first) = self.parts.first() else { return Err(MergeError::Nothing) };
        let series_1s = self.series();
        let totals = self.totals(&series_1s);
        let mut merged = Report {
            schema: first.schema.clone(),
            run: self.run(&first.run),
            target: first.target.clone(),
            plan: first.plan.clone(),
            totals,
            rate: self.rate(&totals),
            phases: self.phases()?,
            errors: self.errors(),
            series_1s,
            host: self.host(&first.host),
            // Several machines together have none that was measured.
            ceiling: first.ceiling.clone().filter(|_| self.is_one_machine()),
            outcome: self.outcome(&totals),
            slo: Vec::new(),
            verdict: first.verdict.clone(),
        };
        for part in &self.parts {
            for address in &part.target.resolved {
                if !merged.target.resolved.contains(address) {
                    merged.target.resolved.push(address.clone());
                }
            }
        }
        // What each machine does it with, and whether in several processes, is its own affair.
        merged.plan.workers = self.parts.iter().map(|part| part.plan.workers).sum();
        merged.plan.in_progress_max = self.parts.iter().map(|part| part.plan.in_progress_max).sum();
        // The objectives of all parts; they were objectives when the parts were made.
        let mut objectives: Vec<Slo> = Vec::new();
        for row in self.parts.iter().flat_map(|part| &part.slo) {
            match row.expr.parse::<Slo>() {
                Ok(slo) if !objectives.contains(&slo) => objectives.push(slo),
                _ => {}
            }
        }
        merged.judge(&objectives);
        self.add_limits(&mut merged, &objectives);
        Ok(merged)
    }

    /// A part that was limited is not less so in company.
    fn add_limits(&self, merged: &mut Report, objectives: &[Slo]) {
        for part in &self.parts {
            for limit in &part.verdict.limited_by {
                if !merged.verdict.limited_by.iter().any(|known| known.what == limit.what) {
                    let mut limit = limit.clone();
                    limit.detail = format!("shard {}: {}", part.run.shard, limit.detail);
                    merged.host.limits.push(limit);
                }
            }
        }
        if !merged.host.limits.is_empty() {
            merged.judge(objectives);
        }
    }

    fn run(&self, first: &Run) -> Run {
        let parts: Vec<_> = self
            .parts
            .iter()
            .flat_map(|report| match report.run.parts.as_slice() {
                [] => vec![Part {
                    id: report.run.id.clone(),
                    shard: report.run.shard.clone(),
                    started: report.run.started.clone(),
                    host: report.host.name.clone(),
                }],
                parts => parts.to_vec(),
            })
            .collect();
        // RFC 3339 in UTC, as all of them are, sorts by time except within one second.
        let times = |of: fn(&Run) -> &String| {
            self.parts.iter().filter_map(move |part| of(&part.run).parse::<Timestamp>().ok())
        };
        Run {
            started: times(|run| &run.started).min().unwrap_or_default().to_string(),
            ended: times(|run| &run.ended).max().unwrap_or_default().to_string(),
            clock_synced: self.parts.iter().map(|part| part.run.clock_synced).min().flatten(),
            shard: self.shard.clone(),
            parts,
            ..first.clone()
        }
    }

    fn is_one_machine(&self) -> bool {
        let names = self.parts.iter().map(|part| &part.host.name);
        self.parts.first().is_some_and(|first| names.clone().all(|name| *name == first.host.name))
    }

    fn totals(&self, series: &[Second]) -> Totals {
        let sum = |of: fn(&Totals) -> u32| {
            self.parts.iter().map(|part| of(&part.totals)).fold(0, u32::saturating_add)
        };
        let planned = self.parts.first().map_or(0, |first| self.shard.share_of(first.plan.clients));
        let attempted = sum(|totals| totals.attempted);
        // The peaks of the parts need not coincide: what was open together shows in the seconds.
        let together = series.iter().map(|second| second.open).max().unwrap_or(0);
        let alone = self.parts.iter().map(|part| part.totals.peak_open).max().unwrap_or(0);
        Totals {
            planned,
            attempted,
            connected: sum(|totals| totals.connected),
            failed: sum(|totals| totals.failed),
            pending: sum(|totals| totals.pending),
            not_started: planned.saturating_sub(attempted),
            dropped: sum(|totals| totals.dropped),
            left: sum(|totals| totals.left),
            returned: sum(|totals| totals.returned),
            return_failed: sum(|totals| totals.return_failed),
            pongs: self.parts.iter().map(|part| part.totals.pongs).sum(),
            published: self.parts.iter().map(|part| part.totals.published).sum(),
            received: self.parts.iter().map(|part| part.totals.received).sum(),
            open: sum(|totals| totals.open),
            peak_open: together.max(alone),
            late_starts: self.parts.iter().map(|part| part.totals.late_starts).sum(),
        }
    }

    fn rate(&self, totals: &Totals) -> Rate {
        let rates = || self.parts.iter().map(|part| &part.rate).zip(&self.offsets);
        let latest = |of: fn(&Rate) -> f64| {
            rates().map(|(rate, offset)| of(rate) + offset).fold(0.0, f64::max)
        };
        let last_connack_s = latest(|rate| rate.last_connack_s);
        let intended = rates().map(|(rate, _)| rate.intended).sum();
        Rate {
            intended,
            achieved: achieved(totals, intended, last_connack_s),
            ramp_s: latest(|rate| rate.ramp_s),
            last_connack_s,
            held_s: rates().map(|(rate, _)| rate.held_s).fold(0.0, f64::max),
        }
    }

    fn phases(&self) -> Result<Vec<(super::Phase, Latencies)>, MergeError> {
        let mut phases = Vec::new();
        for phase in super::Phase::ALL {
            let mut sum: Option<Distribution> = None;
            for part in &self.parts {
                let Some(latencies) = part.phase(phase) else { continue };
                let distribution = latencies.distribution().map_err(|error| {
                    let what = format!("phases.{}: {error}", phase.name());
                    MergeError::Damaged { part: PartName::of(part), what }
                })?;
                let sum = sum.get_or_insert_with(widest);
                sum.add(&distribution).map_err(|error| MergeError::Damaged {
                    part: PartName::of(part),
                    what: format!("phases.{}: {error}", phase.name()),
                })?;
            }
            phases.extend(sum.map(|sum| (phase, Latencies::new(&sum))));
        }
        Ok(phases)
    }

    fn errors(&self) -> Vec<ErrorRow> {
        let mut merged: Vec<ErrorRow> = Vec::new();
        for (part, offset) in self.parts.iter().zip(&self.offsets) {
            for row in &part.errors {
                let (first_s, last_s) = (row.first_s + offset, row.last_s + offset);
                let row = ErrorRow { first_s, last_s, ..row.clone() };
                let same =
                    |known: &&mut ErrorRow| known.class == row.class && known.code == row.code;
                match merged.iter_mut().find(same) {
                    None => merged.push(row),
                    Some(known) => {
                        let (count, last_s) =
                            (known.count + row.count, known.last_s.max(row.last_s));
                        if row.first_s < known.first_s {
                            *known = row;
                        }
                        (known.count, known.last_s) = (count, last_s);
                    }
                }
            }
        }
        merged.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.first_s.total_cmp(&b.first_s)));
        merged
    }

    /// The seconds of the whole: what each part had counted by then.
    fn series(&self) -> Vec<Second> {
        let mut by_second: Vec<BTreeMap<u64, Second>> = Vec::new();
        for (part, offset) in self.parts.iter().zip(&self.offsets) {
            let seconds = part.series_1s.iter();
            by_second.push(seconds.map(|s| ((s.t + offset).ceil() as u64, *s)).collect());
        }
        let all: BTreeSet<u64> = by_second.iter().flat_map(|part| part.keys()).copied().collect();
        let mut series = Vec::new();
        for t in all {
            let mut sum = Second { t: t as f64, ..Second::default() };
            let mut retransmits = PerMachine::default();
            for (part, report) in by_second.iter().zip(&self.parts) {
                let Some((&at, second)) = part.range(..=t).next_back() else { continue };
                let is_over = at < t && part.keys().last() == Some(&at);
                sum.attempted = sum.attempted.saturating_add(second.attempted);
                sum.connected = sum.connected.saturating_add(second.connected);
                sum.failed = sum.failed.saturating_add(second.failed);
                sum.dropped = sum.dropped.saturating_add(second.dropped);
                if !is_over {
                    sum.open = sum.open.saturating_add(second.open);
                    sum.rss_bytes = add(sum.rss_bytes, second.rss_bytes);
                }
                if at == t {
                    sum.cpu = add(sum.cpu, second.cpu);
                    retransmits.add(&report.host, second.retransmits);
                }
                if let [only] = self.parts.as_slice()
                    && !only.series_1s.is_empty()
                {
                    (sum.p50_us, sum.p99_us) = (second.p50_us, second.p99_us);
                }
            }
            sum.retransmits = retransmits.sum();
            series.push(sum);
        }
        series
    }

    fn host(&self, first: &Host) -> Host {
        let hosts = || self.parts.iter().map(|part| &part.host);
        // Processes of one machine share its processors.
        let mut machines: BTreeMap<&str, usize> = BTreeMap::new();
        for host in hosts() {
            machines.insert(&host.name, host.cpus);
        }
        let names: Vec<_> = machines.keys().copied().collect();
        let open: u64 = self.parts.iter().map(|part| u64::from(part.totals.open)).sum();
        let weighted: Option<u64> = self
            .parts
            .iter()
            .map(|part| part.host.rss_bytes_per_client?.checked_mul(part.totals.open.into()))
            .sum();
        Host {
            name: names.join(" "),
            cpus: machines.values().sum(),
            threads: hosts().map(|host| host.threads).sum(),
            nofile: hosts().filter_map(|host| host.nofile).min(),
            rss_bytes: hosts().map(|host| host.rss_bytes).sum(),
            rss_bytes_per_client: weighted.and_then(|sum| sum.checked_div(open)),
            cpu_mean: hosts().map(|host| host.cpu_mean).sum(),
            cpu_peak: hosts().map(|host| host.cpu_peak).sum(),
            loop_stall_max_us: hosts().map(|host| host.loop_stall_max_us).max().unwrap_or(0),
            retransmits: PerMachine::of(hosts(), |host| host.retransmits),
            syn_retransmits: PerMachine::of(hosts(), |host| host.syn_retransmits),
            ..first.clone()
        }
    }

    /// The worst that happened to a part.
    fn outcome(&self, totals: &Totals) -> Outcome {
        let outcomes = || self.parts.iter().map(|part| part.outcome);
        let worst = outcomes().max().unwrap_or(Outcome::Complete);
        match worst {
            // The others reached it.
            Outcome::Unreachable if outcomes().any(|outcome| outcome != Outcome::Unreachable) => {
                Outcome::Failures
            }
            Outcome::Complete if totals.connected < totals.planned => Outcome::Failures,
            worst => worst,
        }
    }
}

/// Counts of whole machines: each part on a machine tells the same one, as far as it lasted.
#[derive(Default)]
struct PerMachine<'a>(BTreeMap<&'a str, u64>);

impl<'a> PerMachine<'a> {
    fn of(
        hosts: impl Iterator<Item = &'a Host>,
        count: impl Fn(&Host) -> Option<u64>,
    ) -> Option<u64> {
        let mut all = Self::default();
        hosts.for_each(|host| all.add(host, count(host)));
        all.sum()
    }

    fn add(&mut self, host: &'a Host, count: Option<u64>) {
        if let Some(count) = count {
            let known = self.0.entry(&host.name).or_default();
            *known = count.max(*known);
        }
    }

    /// `None` when no machine tells.
    fn sum(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.values().sum())
    }
}

fn add<T: std::ops::Add<Output = T>>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    from.duration_until(to).as_secs_f64()
}

fn shards(missing: &[Shard]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<_> = missing.iter().take(SHOWN).map(|s| format!("shard {s}")).collect();
    if missing.len() > SHOWN {
        names.push(format!("and {} more", missing.len() - SHOWN));
    }
    names.join(", ")
}
