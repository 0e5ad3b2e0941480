//! One load in several processes of this program, where one may not have as many open files as it
//! takes.
//!
//! Each process is given every Nth client, as a shard of the load, and runs with `--part`. It tells
//! what comes of it in lines of JSON on its standard output:
//!
//! ```text
//! parent                       process
//!   | -------- starts ----------> |   checks the plan
//!   | <------- ready ------------ |
//!   | -------- go INSTANT ------> |   all start at the same instant
//!   | <------- progress, second   |
//!   | -------- stop ------------> |   (when the load is interrupted)
//!   | <------- report ----------- |   ends
//! ```
//!
//! A process whose standard input ends has lost its parent, and ends at once.

use std::{
    collections::VecDeque,
    ffi::OsString,
    future::{Future, pending},
    num::NonZeroU32,
    os::unix::ffi::OsStringExt,
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2Serializer},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        plan::ASKED,
        stdio::{self, Stdout},
    },
    load::{
        self, Counts, Interval, Lost, Outcome, Phase, Plan, Progress, Report, Second, Shard,
        StartError, Trouble, Update,
    },
};

/// Time for all processes to get from `go` to the instant at which they start.
const HEAD_START: SignedDuration = SignedDuration::from_millis(500);
/// A process whose counters stand still tells so this often.
const IDLE_TELL: Duration = Duration::from_secs(1);

/// What a process tells its parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ready,
    Progress {
        elapsed: Duration,
        counts: Counts,
        held: Option<Duration>,
    },
    Second {
        from: Duration,
        to: Duration,
        second: Second,
        phases: Vec<(String, String)>,
    },
    Trouble(Trouble),
    Report(Box<Report>),
    /// The load did not start.
    Refused {
        exit: u8,
        text: String,
    },
}

/// Runs the load in as many processes as it needs, and reports as one.
///
/// `inputs` are the files that the plan was made from, which each process reads for itself. A password
/// that was `asked` for on the terminal is not asked for again.
///
/// # Errors
/// Whatever keeps the load from starting.
pub(super) async fn run(
    plan: Plan,
    inputs: &[&Path],
    asked: bool,
    processes: Option<u32>,
    interrupt: impl Future<Output = ()>,
    observe: impl FnMut(Update),
) -> Result<Result<Report, StartError>, Failure> {
    let count = match processes {
        Some(count) => count.min(plan.clients).max(1),
        None => match plan.processes() {
            Ok(count) => count,
            Err(error) => return Ok(Err(error.into())),
        },
    };
    if count < 2 {
        return Ok(load::run(plan, interrupt, observe).await);
    }
    if let Some(stream) = inputs.iter().find(|path| path.metadata().is_ok_and(|it| !it.is_file())) {
        let error = anyhow!(
            "{} can be read once only, and the load takes {count} processes that read it: use a file",
            stream.display()
        );
        return Err(Failure::new(Exit::Usage, error));
    }
    let mut family = Family::start(&plan, asked, count).map_err(not_started)?;
    family.run(&plan, interrupt, observe).await
}

/// The processes of one load.
struct Family {
    members: Vec<Member>,
    told: mpsc::Receiver<(usize, Option<Told>)>,
}

/// One process, as its parent sees it.
struct Member {
    child: Child,
    input: Option<ChildStdin>,
    reader: JoinHandle<()>,
    progress: Option<Progress>,
    seconds: VecDeque<Interval>,
    /// The second that was shown last.
    last: Option<Second>,
    report: Option<Report>,
    /// How it ended, where that was without a report.
    lost: Option<String>,
    ended: bool,
}

impl Family {
    fn start(plan: &Plan, asked: bool, count: u32) -> anyhow::Result<Self> {
        // Progress that nobody has looked at yet: processes wait when there is more.
        const WAITING: usize = 1_024;
        let (tell, told) = mpsc::channel(WAITING);
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut members = Vec::new();
        for index in 0..count {
            let mut child = Command::new(&program)
                .args(arguments(plan, index, count))
                .envs(password(plan).filter(|_| asked))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // A signal of the terminal is for the parent, which passes it on in its own way.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start process {index} of {count}"))?;
            let output = child.stdout.take().context("a process has no output")?;
            let reader = tokio::spawn(read(members.len(), output, tell.clone()));
            members.push(Member {
                input: child.stdin.take(),
                child,
                reader,
                progress: None,
                seconds: VecDeque::new(),
                last: None,
                report: None,
                lost: None,
                ended: false,
            });
        }
        Ok(Self { members, told })
    }

    async fn run(
        &mut self,
        plan: &Plan,
        interrupt: impl Future<Output = ()>,
        mut observe: impl FnMut(Update),
    ) -> Result<Result<Report, StartError>, Failure> {
        tokio::pin!(interrupt);
        tokio::select! {
            ready = self.all_ready() => ready?,
            () = &mut interrupt => return Ok(Err(StartError::Interrupted)),
        }
        let at = match plan.start_at {
            Some(at) => at,
            None => Timestamp::now().checked_add(HEAD_START).unwrap_or(Timestamp::MAX),
        };
        self.say(&format!("go {at}\n")).await;
        let mut stopped = false;
        while self.members.iter().any(|member| !member.ended) {
            let told = tokio::select! {
                told = self.told.recv() => told,
                () = &mut interrupt, if !stopped => {
                    stopped = true;
                    self.say("stop\n").await;
                    continue;
                }
            };
            let Some((index, told)) = told else { break };
            match told {
                Some(Told::Refused { .. }) if stopped => return Ok(Err(StartError::Interrupted)),
                Some(Told::Refused { exit, text }) => return Err(refused(exit, text)),
                Some(Told::Trouble(trouble)) => observe(Update::Trouble(trouble)),
                Some(told) => {
                    if self.take(index, told) && !stopped {
                        stopped = true;
                        self.say("stop\n").await;
                    }
                    self.tell(&mut observe);
                }
                None => {
                    self.lost(index).await;
                    self.tell(&mut observe);
                }
            }
        }
        let reports: Vec<_> =
            self.members.iter_mut().filter_map(|member| member.report.take()).collect();
        // The process that gave up says why; the others were only told to stop.
        let given_up = reports.iter().map(|report| report.outcome).find(|it| gives_up(*it));
        let merged = Report::merge_processes(plan, reports, &self.all_lost(plan))
            .context("cannot put the reports of the processes together");
        let mut merged = merged.map_err(not_started)?;
        if let Some(outcome) = given_up {
            merged.outcome = outcome;
            merged.judge(&plan.objectives);
        }
        Ok(Ok(merged))
    }

    /// What is known of the processes that ended without a report.
    fn all_lost(&self, plan: &Plan) -> Vec<Lost> {
        (0..)
            .zip(&self.members)
            .filter_map(|(index, member)| {
                let text = member.lost.clone()?;
                let (counts, elapsed) =
                    member.progress.map(|it| (it.counts, it.elapsed)).unwrap_or_default();
                let part = plan.shard.part(index, self.members.len() as u32);
                let sample = part.map_or(0, |part| part.index);
                Some(Lost { counts, at_s: elapsed.as_secs_f64(), sample, text })
            })
            .collect()
    }

    /// Waits until every process has checked the plan.
    async fn all_ready(&mut self) -> Result<(), Failure> {
        let mut waiting = self.members.len();
        while waiting > 0 {
            match self.told.recv().await {
                Some((_, Some(Told::Ready))) => waiting -= 1,
                Some((_, Some(Told::Refused { exit, text }))) => return Err(refused(exit, text)),
                Some((_, Some(_))) => {}
                Some((_, None)) | None => {
                    return Err(not_started(anyhow!("a process of the load ended too early")));
                }
            }
        }
        Ok(())
    }

    /// Takes what process `index` tells, and says whether the others are to stop.
    fn take(&mut self, index: usize, told: Told) -> bool {
        let Some(member) = self.members.get_mut(index) else { return false };
        match told {
            Told::Progress { elapsed, counts, held } => {
                member.progress = Some(Progress { elapsed, counts, held });
            }
            Told::Second { from, to, second, phases } => {
                let phases = phases.iter().filter_map(|(name, text)| decode(name, text)).collect();
                member.seconds.push_back(Interval { from, to, second, phases });
            }
            Told::Report(report) => {
                let gives_up =
                    matches!(report.outcome, load::Outcome::Unreachable | load::Outcome::Aborted);
                member.report = Some(*report);
                return gives_up;
            }
            Told::Ready | Told::Refused { .. } | Told::Trouble(_) => {}
        }
        false
    }

    /// Accounts for the end of a process.
    async fn lost(&mut self, index: usize) {
        let count = self.members.len();
        let Some(member) = self.members.get_mut(index) else { return };
        member.ended = true;
        member.input = None;
        let status = member.child.wait().await;
        if member.report.is_none() {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let text = format!("process {index} of {count} ended without a report ({how})");
            stdio::report(Tool::Conn.name(), &text);
            member.lost = Some(text);
        }
    }

    /// Tells how far all of them together have come.
    fn tell(&mut self, observe: &mut impl FnMut(Update)) {
        let told: Vec<_> = self.members.iter().filter_map(|member| member.progress).collect();
        if told.len() == self.members.len() {
            let elapsed = told.iter().map(|progress| progress.elapsed).max().unwrap_or_default();
            let counts = self.members.iter().filter_map(Member::counts);
            let counts = counts.fold(Counts::default(), Counts::plus);
            // The clock of a process that was lost stands still.
            let members = self.members.iter().filter(|member| member.lost.is_none());
            let held = members.filter_map(|member| Some(member.progress?.held)).min().flatten();
            observe(Update::Progress(Progress { elapsed, counts, held }));
        }
        while self.members.iter().all(|member| member.ended || !member.seconds.is_empty()) {
            let (mut seconds, mut left_behind) = (Vec::new(), Vec::new());
            for member in &mut self.members {
                match member.next_second() {
                    Some(second) => seconds.push(second),
                    None => left_behind.extend(member.left_behind()),
                }
            }
            let Some(mut interval) = together(seconds) else { return };
            left_behind.iter().for_each(|second| count_in(&mut interval.second, second));
            observe(Update::Second(interval));
        }
    }

    /// Says something to all processes that listen.
    async fn say(&mut self, line: &str) {
        for member in &mut self.members {
            if let Some(input) = &mut member.input {
                // A process that has ended needs no telling.
                let _ = input.write_all(line.as_bytes()).await;
                let _ = input.flush().await;
            }
        }
    }
}

impl Member {
    /// What it has come to.
    fn counts(&self) -> Option<Counts> {
        let counts = self.progress?.counts;
        Some(if self.lost.is_some() { Lost::gone(counts) } else { counts })
    }

    /// Takes its next second, if there is one.
    fn next_second(&mut self) -> Option<Interval> {
        let interval = self.seconds.pop_front()?;
        self.last = Some(interval.second);
        Some(interval)
    }

    /// What is left of it in the seconds that it has no part in: its end came before theirs.
    fn left_behind(&self) -> Option<Second> {
        if self.lost.is_none() {
            return self.last;
        }
        let counts = self.counts()?;
        Some(Second {
            attempted: counts.attempted,
            connected: counts.connected,
            failed: counts.failed,
            dropped: counts.dropped,
            open: counts.open(),
            ..Second::default()
        })
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for member in &self.members {
            member.reader.abort();
        }
    }
}

/// Whether one process gives the load of all of them up.
fn gives_up(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Unreachable | Outcome::Aborted)
}

/// The arguments of process `index`: those of this one, and its part.
fn arguments(plan: &Plan, index: u32, count: u32) -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    arguments.push(format!("--part={index}/{count}").into());
    arguments.push(format!("--seed={}", plan.seed.0).into());
    arguments
}

/// The variable of the environment with the password.
fn password(plan: &Plan) -> Option<(&'static str, OsString)> {
    let password = plan.session.password.as_ref()?;
    Some((ASKED, OsString::from_vec(password.as_bytes().to_vec())))
}

/// Passes on what a process writes, and its end.
async fn read(index: usize, output: ChildStdout, tell: mpsc::Sender<(usize, Option<Told>)>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A line that is not of this protocol would be a fault of this program; the report that is
        // then missing shows it.
        if let Ok(told) = serde_json::from_str(&line)
            && tell.send((index, Some(told))).await.is_err()
        {
            return;
        }
    }
    let _ = tell.send((index, None)).await;
}

/// The same second of all processes as one.
fn together(seconds: Vec<Interval>) -> Option<Interval> {
    seconds.into_iter().reduce(|mut sum, more| {
        sum.from = sum.from.min(more.from);
        sum.to = sum.to.max(more.to);
        let (all, one) = (&mut sum.second, more.second);
        count_in(all, &one);
        all.cpu = all.cpu.zip(one.cpu).map(|(a, b)| a + b);
        all.rss_bytes = all.rss_bytes.zip(one.rss_bytes).map(|(a, b)| a + b);
        all.retransmits = all.retransmits.max(one.retransmits);
        for (phase, durations) in more.phases {
            match sum.phases.iter_mut().find(|(known, _)| *known == phase) {
                // Both grow as far as they have to.
                Some((_, known)) => drop(known.add(durations)),
                None => sum.phases.push((phase, durations)),
            }
        }
        let total = sum.phases.iter().find(|(phase, _)| *phase == Phase::Total);
        let total = total.map(|(_, durations)| durations).filter(|total| !total.is_empty());
        sum.second.p50_us = total.map(|total| total.value_at_quantile(0.5));
        sum.second.p99_us = total.map(|total| total.value_at_quantile(0.99));
        sum
    })
}

/// Adds the clients of another process.
fn count_in(all: &mut Second, one: &Second) {
    all.attempted += one.attempted;
    all.connected += one.connected;
    all.failed += one.failed;
    all.dropped += one.dropped;
    all.open += one.open;
}

fn encode((phase, durations): &(Phase, Histogram<u32>)) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(durations, &mut bytes).ok()?;
    Some((phase.name().to_owned(), STANDARD.encode(bytes)))
}

fn decode(name: &str, text: &str) -> Option<(Phase, Histogram<u32>)> {
    let bytes = STANDARD.decode(text).ok()?;
    let mut durations: Histogram<u32> = Deserializer::new().deserialize(&mut &bytes[..]).ok()?;
    durations.auto(true);
    Some((Phase::from_name(name)?, durations))
}

fn not_started(error: anyhow::Error) -> Failure {
    Failure::new(Exit::NotStarted, error)
}

fn refused(exit: u8, text: String) -> Failure {
    let exit = [Exit::Usage, Exit::Unreachable].into_iter().find(|known| known.code() == exit);
    Failure::new(exit.unwrap_or(Exit::NotStarted), anyhow!(text))
}

/// Runs part `index` of `count` of the load, as a process that [`run`] has started.
///
/// # Errors
/// None that the parent has not been told of.
pub(super) async fn serve(plan: Result<Plan, Failure>, part: &Shard) -> Result<Exit, Failure> {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let (mut plan, shard) = match plan {
        Ok(plan) => {
            let shard = plan.shard.part(part.index, part.count);
            (plan, shard.ok_or_else(|| not_started(anyhow!("too many shards and processes")))?)
        }
        Err(failure) => return refuse(&failure),
    };
    plan.shard = shard;
    plan.process = part.clone();
    let in_progress = plan.in_progress.get().div_ceil(part.count.max(1));
    plan.in_progress = NonZeroU32::new(in_progress).unwrap_or(NonZeroU32::MIN);
    let workers = plan.workers.get().div_ceil(part.count.max(1));
    plan.workers = NonZeroU32::new(workers).unwrap_or(NonZeroU32::MIN);
    tell(&Told::Ready)?;
    let Ok(Some(line)) = input.next_line().await else { return Ok(Exit::NotStarted) };
    plan.start_at = line.strip_prefix("go ").and_then(|instant| instant.parse().ok());
    let (interrupt, interrupted) = oneshot::channel::<()>();
    tokio::spawn(listen(input, interrupt));
    let running = load::run(
        plan,
        async {
            if interrupted.await.is_err() {
                pending::<()>().await;
            }
        },
        teller(),
    );
    match running.await {
        Ok(report) => {
            tell(&Told::Report(Box::new(report)))?;
            Ok(Exit::Success)
        }
        Err(error) => refuse(&super::start::start_failure(error)),
    }
}

/// Passes the updates of a load on to the parent.
fn teller() -> impl FnMut(Update) {
    let mut last: Option<Progress> = None;
    move |update| {
        let told = match update {
            Update::Progress(Progress { elapsed, counts, held }) => {
                let news = last.is_none_or(|last| {
                    last.counts != counts
                        || last.held.is_some() != held.is_some()
                        || elapsed.saturating_sub(last.elapsed) >= IDLE_TELL
                });
                if !news {
                    return;
                }
                last = Some(Progress { elapsed, counts, held });
                Told::Progress { elapsed, counts, held }
            }
            Update::Second(Interval { from, to, second, phases }) => {
                let phases = phases.iter().filter_map(encode).collect();
                Told::Second { from, to, second, phases }
            }
            Update::Trouble(trouble) => Told::Trouble(trouble),
        };
        // A parent that is gone has closed the input, too, which ends this process.
        let _ = tell(&told);
    }
}

/// Waits for `stop`; without the parent, ends the process.
async fn listen(mut input: Lines<BufReader<tokio::io::Stdin>>, interrupt: oneshot::Sender<()>) {
    let mut interrupt = Some(interrupt);
    while let Ok(Some(line)) = input.next_line().await {
        if line == "stop"
            && let Some(interrupt) = interrupt.take()
        {
            let _ = interrupt.send(());
        }
    }
    std::process::exit(Exit::Signal(15).code().into());
}

fn refuse(failure: &Failure) -> Result<Exit, Failure> {
    tell(&Told::Refused { exit: failure.exit().code(), text: failure.text().unwrap_or_default() })?;
    Ok(failure.exit())
}

fn tell(told: &Told) -> Result<(), Failure> {
    let line = serde_json::to_string(told).context("cannot put this in JSON");
    let mut line = line.map_err(not_started)?;
    line.push('\n');
    Stdout::new().write(line.as_bytes()).map_err(|error| not_started(anyhow!(error)))
}
