//! `midge_conn calibrate`: how many connections per second this machine can make at most.
//!
//! The load runs against the null broker inside this process, as fast as possible. What comes of it
//! is an upper limit: no broker can be measured beyond it. It is kept for the reports of later runs.

use std::{
    fs,
    future::pending,
    num::NonZeroU32,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Command};
use jiff::Timestamp;
use tokio::runtime;

use crate::{
    cli::{
        exit::{Exit, Failure},
        opts::load::CalibrateOptions,
        stdio::Stdout,
    },
    codec::Version,
    load::{self, Ceiling, Plan, Profile, Target},
    session::Config,
};

const FILE: &str = "ceiling.json";

/// The options of the verb.
pub(super) fn command() -> Command {
    CalibrateOptions::augment_args(Command::new("calibrate"))
        .about("Measure how many connections per second this machine can make at most")
        .long_about(
            "Connects to a null broker inside this process as fast as possible, several times, and \
             keeps the median for the reports of later runs on this machine: a broker that seems to \
             take no more than this may well take more.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
}

/// Measures, prints and keeps the ceiling.
///
/// # Errors
/// When the load cannot start, clients fail, or the result cannot be kept.
pub(super) fn run(options: &CalibrateOptions) -> Result<Exit, Failure> {
    let not_started = |error| Failure::new(Exit::NotStarted, error);
    let ceiling = measure(options).map_err(not_started)?;
    let text = format!(
        "{:.0} connections per second, with {:.0} us of processor time each ({})\n",
        ceiling.connects_per_s, ceiling.cpu_us_per_connect, ceiling.method
    );
    Stdout::new().write(text.as_bytes())?;
    let path = path().ok_or_else(|| anyhow!("neither XDG_STATE_HOME nor HOME is set"));
    let kept = path.and_then(|path| keep(&path, &ceiling));
    kept.context("cannot keep the result").map_err(not_started)?;
    Ok(Exit::Success)
}

fn measure(options: &CalibrateOptions) -> Result<Ceiling> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let mut plan = Plan::new(Target::Embedded, Config::new(Version::V311));
        plan.clients = options.count;
        plan.profile = Profile::interval(Duration::ZERO);
        plan.hold = Some(Duration::ZERO);
        let processors = || available_parallelism().ok()?.try_into().ok();
        plan.workers = options.parallel.or_else(processors).unwrap_or(NonZeroU32::MIN);
        let workers = plan.workers;
        let report = runtime.block_on(load::run(plan, pending(), |_| {}))?;
        if report.totals.connected != options.count {
            return Err(anyhow!("{} of {} clients failed", report.totals.failed, options.count));
        }
        let busy = report.host.cpu_mean.unwrap_or_default();
        let cpu = busy * report.rate.ramp_s * 1e6 / f64::from(options.count);
        rounds.push((report.rate.achieved, cpu, workers));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (connects_per_s, cpu_us_per_connect, workers) =
        *rounds.get(rounds.len() / 2).context("there was no round")?;
    Ok(Ceiling {
        connects_per_s,
        cpu_us_per_connect,
        method: format!(
            "median of {} times {} clients, {workers} threads, against the null broker in the same \
             process",
            options.rounds, options.count
        ),
        when: Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What was measured last on this machine, if anything was.
pub(super) fn known() -> Option<Ceiling> {
    serde_json::from_slice(&fs::read(path()?).ok()?).ok()
}

fn keep(path: &Path, ceiling: &Ceiling) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut text = serde_json::to_vec_pretty(ceiling)?;
    text.push(b'\n');
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("midge_conn").join(FILE))
}
