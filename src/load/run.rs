//! Carries a plan out: starts the workers, watches over the stages of the load, and puts the report
//! together.

use std::{
    future::{Future, poll_fn},
    io,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use super::{
    Plan, StartError, Target,
    alarm::Alarm,
    descriptors, host,
    life::Fate,
    locate::{self, Located},
    pace::Pace,
    poller::Queue,
    ports::{PortPlan, Ports},
    ready::ReadyList,
    report::{Course, EndedBy, Host, Report, Second, TargetFacts, Totals, per_second, quantile},
    route::Route,
    sink::Sink,
    slo::{Measured, Statistic, statistic_of},
    stats::{Counters, Counts, Distributions, Failures, Outbox, Phase, Sample},
    worker::{Control, Job, Outcome, Trouble, Worker},
};
/// How often the progress is told while clients connect.
const TICK: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Below this many connections, memory per connection would mostly be something else.
const FEWEST_FOR_MEMORY: u32 = 1_000;

/// What [`run()`] tells while a load runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// How far it has come: at least ten times a second while clients connect, and once a second
    /// after that.
    Progress(Progress),
    /// A client failed or lost its connection, or something it asked for was refused or late.
    Trouble(Trouble),
    /// A second is over, or the load is.
    Second(Interval),
}

/// What was measured in one second of a load.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Interval {
    /// When it began, since the start of the load.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// The counters at its end.
    pub second: Second,
    /// The durations that were measured in it, in microseconds, of each phase that was met.
    pub phases: Vec<(Phase, Histogram<u32>)>,
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// How many clients have come how far.
    pub counts: Counts,
    /// How long the connections have been held; `None` while clients are still connecting.
    pub held: Option<Duration>,
}

/// Carries `plan` out and returns its report.
///
/// Every client of the plan connects, or fails; then the connections are held. `observe` is told how
/// far it has come, and of each client that failed. The load ends when the hold is over, when no
/// connection is left to hold, when `interrupt` becomes ready, or at once when the target turns out
/// to take no TCP connections at all. All connections are then closed with a DISCONNECT.
///
/// The clients run on threads of their own; this future only watches, so it may share its thread
/// with other work.
///
/// # Errors
/// [`StartError`], before any client has started.
///
/// # Cancel safety
/// Dropping the future ends the load: the clients disconnect, and there is no report.
///
/// # Panics
/// Outside a Tokio runtime with I/O and time enabled.
pub async fn run(
    plan: Plan,
    interrupt: impl Future<Output = ()>,
    mut observe: impl FnMut(Update),
) -> Result<Report, StartError> {
    plan.check()?;
    let embedded = plan.target == Target::Embedded;
    let nofile = descriptors::provide(plan.share(), plan.descriptors_per_client())?;
    descriptors::make_room(descriptors::needed(plan.share(), plan.descriptors_per_client()));
    tokio::pin!(interrupt);
    let (sink, located) = match &plan.target {
        Target::Embedded => {
            let sink = Sink::start().map_err(StartError::Worker)?;
            let located = Located::at(sink.address());
            (Some(sink), located)
        }
        Target::Brokers(endpoints) => {
            let located = tokio::select! {
                biased;
                located = locate::all(endpoints, &plan) => located?,
                () = &mut interrupt => return Err(StartError::Interrupted),
            };
            (None, located)
        }
    };
    let Located { route, found, lookup } = located;
    let clients = plan.share().saturating_mul(plan.process.count);
    let ports = PortPlan::new(&plan.sources, &found, clients, plan.port_seed())?;
    if let Some(ports) = &ports {
        ports.check()?;
    }
    let target = TargetFacts::new(&plan, &found, lookup);
    let (started, start) = match plan.start_at {
        None => (Timestamp::now(), Instant::now()),
        Some(at) => tokio::select! {
            start = instant_of(at) => (at, start?),
            () = &mut interrupt => return Err(StartError::Interrupted),
        },
    };
    let own_before = host::own_bytes();
    let plan = Arc::new(plan);
    let ways = (Arc::new(route), ports.map(Arc::new));
    let mut crew = Crew::start(&plan, ways, start).map_err(StartError::Worker)?;
    let threads = crew.workers.len() as u32 + u32::from(embedded);

    let mut watch = Watch::new(&crew, Arc::clone(&plan), lookup);
    let ended_by = loop {
        if let Some(end) = watch.look(&mut crew, &mut observe) {
            break end;
        }
        tokio::select! {
            () = &mut interrupt => break EndedBy::Interrupt,
            () = crew.control.changed.notified() => {}
            () = sleep_until(watch.next_look().into()) => {}
        }
    };

    let held = watch.settled_at.map_or(Duration::ZERO, |at| at.elapsed());
    let rss = watch.rss.or_else(host::resident_bytes);
    let own = watch.own.or_else(host::own_bytes);
    watch.machine.stop();
    crew.stop();
    let outcomes = crew.outcomes().await;
    drop(sink);
    crew.tell_troubles(&mut observe);
    let counts = crew.counts();
    watch.collect(&crew);
    watch.end_second(counts, crew.start.elapsed(), &mut observe);

    let longest = |time: fn(&Outcome) -> Duration| outcomes.iter().map(time).max();
    let ramp = longest(|outcome| outcome.last_outcome).unwrap_or_default();
    let last_connack = longest(|outcome| outcome.last_connack).unwrap_or_default();
    let stall = longest(|outcome| outcome.longest_turn).unwrap_or_default();
    let mut failures = Failures::default();
    for outcome in outcomes {
        failures.merge(outcome.failures);
    }
    let open = counts.open();
    let added = own.zip(own_before).map(|(now, before)| now.saturating_sub(before));
    let host = Host {
        name: host::name(),
        kernel: host::kernel(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        threads,
        port_range: host::port_range(),
        nofile: (nofile != u64::MAX).then_some(nofile),
        rss_bytes: rss,
        rss_bytes_per_client: added
            .filter(|_| open >= FEWEST_FOR_MEMORY)
            .and_then(|added| added.checked_div(u64::from(open))),
        cpu_mean: watch.machine.cpu_mean(crew.start),
        cpu_peak: watch.series.iter().filter_map(|second| second.cpu).reduce(f64::max),
        loop_stall_max_us: u64::try_from(stall.as_micros()).unwrap_or(u64::MAX),
        retransmits: watch.machine.since_start(|moment| moment.retransmits),
        syn_retransmits: watch.machine.since_start(|moment| moment.syn_retransmits),
        limits: Vec::new(),
    };
    let course = Course {
        target,
        started,
        counts,
        distributions: watch.distributions,
        failures,
        peak_open: crew.control.peak_open(),
        ramp,
        last_connack,
        held,
        series: watch.series,
        host,
        ended_by,
    };
    Ok(Report::new(&plan, course))
}

/// Waits until shortly before `at`, and returns it in the clock of the workers.
async fn instant_of(at: Timestamp) -> Result<Instant, StartError> {
    /// What the workers take to get ready.
    const HEAD_START: Duration = Duration::from_millis(50);
    let left = Timestamp::now().duration_until(at);
    let Ok(left) = Duration::try_from(left) else {
        let late_ms = -i64::try_from(left.as_millis()).unwrap_or(i64::MIN + 1);
        return Err(StartError::TooLate { at, late_ms });
    };
    let start = Instant::now() + left;
    tokio::time::sleep_until((start - HEAD_START.min(left)).into()).await;
    // The two clocks may have drifted apart, or been set.
    let left = Duration::try_from(Timestamp::now().duration_until(at)).unwrap_or_default();
    Ok(Instant::now() + left)
}

/// The worker threads. Dropping it ends them.
struct Crew {
    control: Arc<Control>,
    start: Instant,
    /// One per attempt, ping or message at most, and taken several times a second.
    troubles: mpsc::UnboundedReceiver<Trouble>,
    workers: Vec<Hand>,
}

/// One worker thread.
struct Hand {
    counters: Arc<Counters>,
    outbox: Arc<Outbox>,
    ready: Arc<ReadyList>,
    thread: Option<JoinHandle<()>>,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

impl Crew {
    fn start(
        plan: &Arc<Plan>,
        (route, ports): (Arc<Route>, Option<Arc<PortPlan>>),
        start: Instant,
    ) -> io::Result<Self> {
        // More workers than clients would have nothing to do, and each needs an attempt in progress.
        let count = plan.workers.get().min(plan.share()).min(plan.in_progress.get());
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let mut session = (*plan.session).clone();
        session.connack_timeout = plan.connect_timeout;
        let session = Arc::new(session);
        let runtimes: Vec<_> = (0..count.get())
            .map(|_| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let guard = runtime.enter();
                let (alarm, queue) = (Alarm::new()?, Queue::new()?);
                drop(guard);
                Ok((runtime, alarm, queue))
            })
            .collect::<io::Result<_>>()?;
        let shard = &plan.shard;
        let stride = count.saturating_mul(NonZeroU32::new(shard.count).unwrap_or(NonZeroU32::MIN));
        let (troubled, troubles) = mpsc::unbounded_channel();
        let mut crew = Self { control: Arc::default(), start, troubles, workers: Vec::new() };
        for (index, (runtime, alarm, queue)) in (0..).zip(runtimes) {
            let first = shard.index.saturating_add(shard.count.saturating_mul(index));
            let job = Job {
                plan: Arc::clone(plan),
                session: Arc::clone(&session),
                route: Arc::clone(&route),
                start,
                ports: ports.clone().map(|ports| {
                    let process = &plan.process;
                    let first = process.index.saturating_add(process.count.saturating_mul(index));
                    Ports::new(ports, first, process.count.saturating_mul(count.get()))
                }),
                pace: Pace::new(start, plan.profile.clone(), plan.clients, first, stride),
                fate: Fate::new(&plan.life, first, stride.get()),
                in_progress: share(plan.in_progress.get(), index, count),
                counters: Arc::default(),
                outbox: Arc::default(),
                ready: Arc::default(),
                control: Arc::clone(&crew.control),
                troubles: troubled.clone(),
            };
            let (counters, ready) = (Arc::clone(&job.counters), Arc::clone(&job.ready));
            let outbox = Arc::clone(&job.outbox);
            let (tell, outcome) = oneshot::channel();
            let work = move || {
                let mut worker = Worker::new(job, alarm, queue);
                // Tokio's cooperative budget would only interrupt the one task there is.
                runtime.block_on(tokio::task::unconstrained(poll_fn(|cx| worker.poll(cx))));
                // Nobody waits for it when the load was dropped.
                let _ = tell.send(worker.outcome());
            };
            let name = format!("midge-load-{index}");
            let thread = Some(std::thread::Builder::new().name(name).spawn(work)?);
            crew.workers.push(Hand { counters, outbox, ready, thread, outcome: Some(outcome) });
        }
        Ok(crew)
    }

    fn counts(&self) -> Counts {
        Counters::sum(self.workers.iter().map(|hand| &*hand.counters))
    }

    fn tell_troubles(&mut self, observe: &mut impl FnMut(Update)) {
        while let Ok(trouble) = self.troubles.try_recv() {
            observe(Update::Trouble(trouble));
        }
    }

    /// Tells the workers that the ramp is over.
    fn hold_from(&self, now: Instant) {
        if self.control.hold.set(now).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        for hand in &self.workers {
            hand.ready.wake_worker();
        }
    }

    fn stop(&self) {
        self.control.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits for the workers to end. To be called once, after [`stop`](Self::stop).
    async fn outcomes(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for hand in &mut self.workers {
            if let Some(outcome) = hand.outcome.take()
                && let Ok(outcome) = outcome.await
            {
                outcomes.push(outcome);
            }
            if let Some(Err(panic)) = hand.thread.take().map(JoinHandle::join) {
                std::panic::resume_unwind(panic);
            }
        }
        outcomes
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the owner of the workers keeps in mind while the load runs.
struct Watch {
    plan: Arc<Plan>,
    start: Instant,
    next_second: Duration,
    settled_at: Option<Instant>,
    rss: Option<u64>,
    own: Option<u64>,
    series: Vec<Second>,
    /// What was measured since the start.
    distributions: Distributions,
    /// What was measured since the last second was over, and when that was.
    latest: Distributions,
    second_began: Duration,
    machine: Machine,
    /// Since when an objective has been missed.
    missed_since: Option<Duration>,
}

impl Watch {
    fn new(crew: &Crew, plan: Arc<Plan>, lookup: Option<Duration>) -> Self {
        let mut watch = Self {
            plan,
            start: crew.start,
            next_second: SECOND,
            settled_at: None,
            rss: None,
            own: None,
            series: Vec::new(),
            distributions: Distributions::widest(),
            latest: Distributions::default(),
            second_began: Duration::ZERO,
            machine: Machine::new(),
            missed_since: None,
        };
        if let Some(took) = lookup {
            watch.record(Sample::new(Phase::Dns, took));
        }
        watch
    }

    /// When to look again. Idle connections need watching once a second.
    fn next_look(&self) -> Instant {
        let Some(settled_at) = self.settled_at else { return Instant::now() + TICK };
        let second = self.start.checked_add(self.next_second);
        let end = self.plan.hold.and_then(|hold| settled_at.checked_add(hold));
        let soonest = [second, end].into_iter().flatten().min();
        soonest.unwrap_or_else(|| Instant::now() + SECOND)
    }

    /// Looks at what the workers have come to, and says why the load is to end, if it is.
    fn look(&mut self, crew: &mut Crew, observe: &mut impl FnMut(Update)) -> Option<EndedBy> {
        let now = Instant::now();
        let counts = crew.counts();
        if crew.control.unreachable.load(Ordering::Acquire) {
            return Some(EndedBy::Unreachable);
        }
        let is_settled = counts.attempted == self.plan.share() && counts.pending() == 0;
        if self.settled_at.is_none() && is_settled {
            self.settled_at = Some(now);
            (self.rss, self.own) = (host::resident_bytes(), host::own_bytes());
            crew.hold_from(now);
        }
        let held = self.settled_at.map(|at| now.saturating_duration_since(at));
        let elapsed = now.saturating_duration_since(self.start);
        crew.tell_troubles(observe);
        self.collect(crew);
        observe(Update::Progress(Progress { elapsed, counts, held }));
        if elapsed >= self.next_second {
            self.next_second += SECOND;
            self.end_second(counts, elapsed, observe);
            if self.has_missed_for_too_long(counts, elapsed) {
                return Some(EndedBy::Objective);
            }
        }
        let nobody = counts.open() == 0 && !self.plan.life.brings_back();
        let is_over =
            held.is_some_and(|held| nobody || self.plan.hold.is_some_and(|hold| held >= hold));
        is_over.then_some(EndedBy::Plan)
    }

    /// Takes the samples of the workers.
    fn collect(&mut self, crew: &Crew) {
        for sample in crew.workers.iter().flat_map(|hand| hand.outbox.take()) {
            self.record(sample);
        }
    }

    fn record(&mut self, sample: Sample) {
        self.distributions.record(sample);
        self.latest.record(sample);
    }

    fn end_second(&mut self, counts: Counts, to: Duration, observe: &mut impl FnMut(Update)) {
        let Counts { attempted, connected, failed, dropped, .. } = counts;
        let latest = std::mem::take(&mut self.latest);
        let total = latest.phase(Phase::Total);
        let (cpu, retransmits) = self.machine.since_last();
        let second = Second {
            t: to.as_secs_f64(),
            attempted,
            connected,
            failed,
            dropped,
            open: counts.open(),
            p50_us: total.map(|total| quantile(total, 0.5)),
            p99_us: total.map(|total| quantile(total, 0.99)),
            cpu,
            rss_bytes: host::resident_bytes(),
            retransmits,
        };
        self.series.push(second);
        let from = std::mem::replace(&mut self.second_began, to);
        observe(Update::Second(Interval { from, to, second, phases: latest.into_met() }));
    }

    fn has_missed_for_too_long(&mut self, counts: Counts, elapsed: Duration) -> bool {
        let Some(patience) = self.plan.abort_after else { return false };
        let so_far = SoFar { watch: self, counts, elapsed };
        let is_missed = self.plan.objectives.iter().any(|slo| {
            // Nothing measured yet is no reason to give up.
            slo.is_upper_bound() && {
                let row = slo.evaluate(&so_far);
                row.value.is_some() && !row.ok
            }
        });
        if !is_missed {
            self.missed_since = None;
            return false;
        }
        let since = *self.missed_since.get_or_insert(elapsed);
        elapsed.saturating_sub(since) >= patience
    }
}

/// What has been measured while the load runs.
struct SoFar<'a> {
    watch: &'a Watch,
    counts: Counts,
    elapsed: Duration,
}

impl Measured for SoFar<'_> {
    fn statistic(&self, phase: Phase, statistic: Statistic) -> Option<(u64, f64)> {
        statistic_of(self.watch.distributions.phase(phase), statistic)
    }

    fn totals(&self) -> Totals {
        let counts = self.counts;
        Totals {
            attempted: counts.attempted,
            connected: counts.connected,
            failed: counts.failed,
            pending: counts.pending(),
            dropped: counts.dropped,
            open: counts.open(),
            peak_open: counts.open(),
            ..Totals::default()
        }
    }

    fn achieved(&self) -> f64 {
        per_second(self.counts.connected, self.elapsed.as_secs_f64())
    }
}

/// What the load costs this machine, up to its end.
///
/// All connections are closed at once then, without any regard for the machine: what that takes says
/// nothing about the load, nor do the probes that TCP sends while the peers do not come to answering.
struct Machine {
    start: Moment,
    last: Moment,
    end: Option<Moment>,
}

/// The counters of the process and the machine at one moment.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    cpu: Duration,
    retransmits: Option<u64>,
    syn_retransmits: Option<u64>,
}

impl Moment {
    fn take() -> Self {
        Self {
            at: Instant::now(),
            cpu: host::cpu_time(),
            retransmits: host::retransmits(),
            syn_retransmits: host::syn_retransmits(),
        }
    }
}

impl Machine {
    fn new() -> Self {
        let start = Moment::take();
        Self { start, last: start, end: None }
    }

    /// Leaves everything from here on out of account.
    fn stop(&mut self) {
        self.end = Some(Moment::take());
    }

    /// Processors used, and segments retransmitted, since the last time. A short time says nothing
    /// about processors.
    fn since_last(&mut self) -> (Option<f64>, Option<u64>) {
        const LEAST: Duration = Duration::from_millis(500);
        let now = self.end.unwrap_or_else(Moment::take);
        let then = std::mem::replace(&mut self.last, now);
        let took = now.at.saturating_duration_since(then.at);
        let busy = now.cpu.saturating_sub(then.cpu).as_secs_f64() / took.as_secs_f64();
        let more =
            now.retransmits.zip(then.retransmits).map(|(now, then)| now.saturating_sub(then));
        ((took >= LEAST).then_some(busy), more)
    }

    fn cpu_mean(&self, start: Instant) -> Option<f64> {
        let took = self.last.at.saturating_duration_since(start);
        let used = self.last.cpu.saturating_sub(self.start.cpu);
        (!took.is_zero()).then(|| used.as_secs_f64() / took.as_secs_f64())
    }

    fn since_start(&self, count: impl Fn(&Moment) -> Option<u64>) -> Option<u64> {
        let both = count(&self.last).zip(count(&self.start));
        both.map(|(now, then)| now.saturating_sub(then))
    }
}

/// Worker `index`'s part of `total`, at least one.
fn share(total: u32, index: u32, workers: NonZeroU32) -> u32 {
    (total / workers + u32::from(index < total % workers)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_closing_costs_is_no_part_of_the_load() {
        let mut machine = Machine::new();
        let start = machine.start.at;
        std::thread::sleep(Duration::from_millis(20));
        machine.stop();
        let (ended, mean) = (Instant::now(), machine.last.cpu);
        let used = host::cpu_time();
        while host::cpu_time() - used < Duration::from_millis(20) {
            std::hint::black_box(mean);
        }
        machine.since_last();
        assert!(machine.last.at <= ended && machine.last.cpu <= used);
        assert!(machine.cpu_mean(start).is_some());
        assert_eq!(machine.since_last(), (None, machine.last.retransmits.map(|_| 0)));
    }

    #[test]
    fn shares_add_up_and_none_is_empty() {
        for (total, workers) in [(64, 3), (5, 4), (7, 7)] {
            let workers = NonZeroU32::new(workers).unwrap();
            let shares: Vec<_> = (0..workers.get()).map(|i| share(total, i, workers)).collect();
            assert_eq!(shares.iter().sum::<u32>(), total);
            assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
        }
    }
}
