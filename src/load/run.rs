//! Carries a plan out: starts the workers, watches over the stages of the load, and puts the report
//! together.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval_at},
};

use super::{
    Plan, StartError, Target,
    alarm::Alarm,
    descriptors,
    pace::Pace,
    ready::ReadyList,
    report::{Course, EndedBy, Host, Report, Second, TargetFacts},
    route::{Route, needs_lookup},
    sink::Sink,
    stats::{Counters, Counts, Stats},
    worker::{Control, Job, Outcome, Trouble, Worker},
};
use crate::{
    driver,
    net::{self, ConnectOptions},
};

/// How often the progress is told.
const TICK: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Below this many connections, memory per connection would mostly be something else.
const FEWEST_FOR_MEMORY: u32 = 100;

/// What [`run()`] tells while a load runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// How far it has come: at least ten times a second.
    Progress(Progress),
    /// A client failed or lost its connection.
    Trouble(Trouble),
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
    let nofile = descriptors::provide(plan.clients, if embedded { 2 } else { 1 })?;
    tokio::pin!(interrupt);
    let connect = driver::connect_options(
        plan.session.version,
        ConnectOptions { connect_timeout: plan.connect_timeout, ..plan.connect.clone() },
    );
    let (sink, addresses, lookup, route) = match &plan.target {
        Target::Embedded => {
            let sink = Sink::start().map_err(StartError::Worker)?;
            let (address, connect) = (sink.address(), ConnectOptions::default());
            (Some(sink), vec![address], None, Route::to_address(address, &connect))
        }
        Target::Broker(endpoint) => {
            let (addresses, lookup) = tokio::select! {
                biased;
                located = locate(endpoint, &connect) => located?,
                () = &mut interrupt => return Err(StartError::Interrupted),
            };
            let route = Route::new(endpoint, &addresses, &connect);
            (None, addresses, lookup, route)
        }
    };
    let target = TargetFacts::new(&plan, &addresses, lookup);
    let started = jiff::Timestamp::now();
    let rss_before = resident_bytes();
    let plan = Arc::new(plan);
    let mut crew = Crew::start(&plan, Arc::new(route)).map_err(StartError::Worker)?;

    let mut watch = Watch::new(&crew, plan.clients);
    let ended_by = loop {
        if let Some(end) = watch.look(&mut crew, plan.hold, &mut observe) {
            break end;
        }
        tokio::select! {
            () = &mut interrupt => break EndedBy::Interrupt,
            () = crew.control.changed.notified() => {}
            _ = watch.next_tick.tick() => {}
        }
    };

    let held = watch.settled_at.map_or(Duration::ZERO, |at| at.elapsed());
    let rss = watch.rss.or_else(resident_bytes);
    crew.stop();
    let outcomes = crew.outcomes().await;
    drop(sink);
    crew.tell_troubles(&mut observe);
    let counts = crew.counts();
    watch.push_second(counts, crew.start.elapsed());

    let mut stats = Stats::new();
    for outcome in &outcomes {
        stats.merge(&outcome.stats);
    }
    let latest = |time: fn(&Outcome) -> Duration| outcomes.iter().map(time).max();
    let open = counts.open();
    let added = rss.zip(rss_before).map(|(now, before)| now.saturating_sub(before));
    let host = Host {
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        nofile: (nofile != u64::MAX).then_some(nofile),
        rss_bytes: rss,
        rss_bytes_per_client: added
            .filter(|_| open >= FEWEST_FOR_MEMORY)
            .and_then(|added| added.checked_div(u64::from(open))),
    };
    let course = Course {
        target,
        started,
        counts,
        peak_open: crew.control.peak_open(),
        ramp: latest(|outcome| outcome.last_outcome).unwrap_or_default(),
        last_connack: latest(|outcome| outcome.last_connack).unwrap_or_default(),
        held,
        series: watch.series,
        host,
        ended_by,
    };
    Ok(Report::new(&plan, &stats, course))
}

/// The addresses of the target that take connections, and how long a name lookup took.
///
/// A name with several addresses, such as `localhost` with an IPv6 and an IPv4 one, often has a
/// listener on some of them only. One connection to each tells, so that the others do not fail half
/// of the clients.
async fn locate(
    endpoint: &net::Endpoint,
    options: &ConnectOptions,
) -> Result<(Vec<SocketAddr>, Option<Duration>), StartError> {
    if !needs_lookup(endpoint, options) {
        return Ok((Vec::new(), None));
    }
    let began = Instant::now();
    let addresses = net::resolve(endpoint, options).await.map_err(StartError::Resolve)?;
    let is_literal = endpoint.host().parse::<std::net::IpAddr>().is_ok();
    let lookup = (!is_literal).then(|| began.elapsed());
    if addresses.len() < 2 {
        return Ok((addresses, lookup));
    }
    let count = addresses.len();
    let dials: Vec<_> =
        addresses.into_iter().map(|address| (address, net::dial(address, None, options))).collect();
    let give_up = tokio::time::Instant::now() + options.connect_timeout;
    let mut taking = Vec::new();
    let mut refusal = io::Error::from(io::ErrorKind::TimedOut);
    for (address, dialing) in dials {
        let outcome = match dialing {
            Ok(dialing) => match tokio::time::timeout_at(give_up, dialing).await {
                Ok(outcome) => outcome.map(drop),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => taking.push(address),
            Err(error) => refusal = error,
        }
    }
    if taking.is_empty() {
        let host = endpoint.host().to_owned();
        return Err(StartError::Unreachable { host, count, source: refusal });
    }
    Ok((taking, lookup))
}

/// The worker threads. Dropping it ends them.
struct Crew {
    control: Arc<Control>,
    start: Instant,
    /// At most one per client, so it needs no bound.
    troubles: mpsc::UnboundedReceiver<Trouble>,
    workers: Vec<Hand>,
}

/// One worker thread.
struct Hand {
    counters: Arc<Counters>,
    ready: Arc<ReadyList>,
    thread: Option<JoinHandle<()>>,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

impl Crew {
    fn start(plan: &Arc<Plan>, route: Arc<Route>) -> io::Result<Self> {
        // More workers than clients would have nothing to do, and each needs an attempt in progress.
        let count = plan.workers.get().min(plan.clients).min(plan.in_progress.get());
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let mut session = (*plan.session).clone();
        session.connack_timeout = plan.connect_timeout;
        let session = Arc::new(session);
        let runtimes: Vec<_> = (0..count.get())
            .map(|_| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let alarm = {
                    let _guard = runtime.enter();
                    Alarm::new()?
                };
                Ok((runtime, alarm))
            })
            .collect::<io::Result<_>>()?;
        let start = Instant::now();
        let (troubled, troubles) = mpsc::unbounded_channel();
        let mut crew = Self { control: Arc::default(), start, troubles, workers: Vec::new() };
        for (index, (runtime, alarm)) in (0..).zip(runtimes) {
            let job = Job {
                plan: Arc::clone(plan),
                session: Arc::clone(&session),
                route: Arc::clone(&route),
                start,
                pace: Pace::new(start, plan.interval, plan.clients, index, count),
                in_progress: share(plan.in_progress.get(), index, count),
                counters: Arc::default(),
                ready: Arc::default(),
                control: Arc::clone(&crew.control),
                troubles: troubled.clone(),
            };
            let (counters, ready) = (Arc::clone(&job.counters), Arc::clone(&job.ready));
            let (tell, outcome) = oneshot::channel();
            let work = move || {
                let mut worker = Worker::new(job, alarm);
                // Tokio's cooperative budget would only interrupt the one task there is.
                runtime.block_on(tokio::task::unconstrained(poll_fn(|cx| worker.poll(cx))));
                // Nobody waits for it when the load was dropped.
                let _ = tell.send(worker.outcome());
            };
            let name = format!("midge-load-{index}");
            let thread = Some(std::thread::Builder::new().name(name).spawn(work)?);
            crew.workers.push(Hand { counters, ready, thread, outcome: Some(outcome) });
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

    fn stop(&self) {
        self.control.stopping.store(true, Ordering::Release);
        for hand in &self.workers {
            hand.ready.wake_worker();
        }
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
    clients: u32,
    start: Instant,
    next_tick: tokio::time::Interval,
    next_second: Duration,
    settled_at: Option<Instant>,
    rss: Option<u64>,
    series: Vec<Second>,
}

impl Watch {
    fn new(crew: &Crew, clients: u32) -> Self {
        let mut next_tick = interval_at((crew.start + TICK).into(), TICK);
        next_tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            clients,
            start: crew.start,
            next_tick,
            next_second: SECOND,
            settled_at: None,
            rss: None,
            series: Vec::new(),
        }
    }

    /// Looks at what the workers have come to, and says why the load is to end, if it is.
    fn look(
        &mut self,
        crew: &mut Crew,
        hold: Option<Duration>,
        observe: &mut impl FnMut(Update),
    ) -> Option<EndedBy> {
        let now = Instant::now();
        let counts = crew.counts();
        if crew.control.unreachable.load(Ordering::Acquire) {
            return Some(EndedBy::Unreachable);
        }
        if self.settled_at.is_none() && counts.attempted == self.clients && counts.pending() == 0 {
            self.settled_at = Some(now);
            self.rss = resident_bytes();
        }
        let held = self.settled_at.map(|at| now.saturating_duration_since(at));
        let elapsed = now.saturating_duration_since(self.start);
        crew.tell_troubles(observe);
        observe(Update::Progress(Progress { elapsed, counts, held }));
        if elapsed >= self.next_second {
            self.next_second += SECOND;
            self.push_second(counts, elapsed);
        }
        let is_over =
            held.is_some_and(|held| counts.open() == 0 || hold.is_some_and(|hold| held >= hold));
        is_over.then_some(EndedBy::Plan)
    }

    fn push_second(&mut self, counts: Counts, elapsed: Duration) {
        let Counts { attempted, connected, failed, .. } = counts;
        let t = elapsed.as_secs_f64();
        self.series.push(Second { t, attempted, connected, failed, open: counts.open() });
    }
}

/// Worker `index`'s part of `total`, at least one.
fn share(total: u32, index: u32, workers: NonZeroU32) -> u32 {
    (total / workers + u32::from(index < total % workers)).max(1)
}

/// The resident memory of this process, where the system tells it as Linux does.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_none_is_empty() {
        for (total, workers) in [(64, 3), (5, 4), (7, 7)] {
            let workers = NonZeroU32::new(workers).unwrap();
            let shares: Vec<_> = (0..workers.get()).map(|i| share(total, i, workers)).collect();
            assert_eq!(shares.iter().sum::<u32>(), total);
            assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_the_resident_memory() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
