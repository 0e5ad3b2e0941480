//! How far midge_pub has come: a bar on standard error, if a terminal shows it.

use std::{
    convert::Infallible,
    io::{self, IsTerminal},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{self, Instant, MissedTickBehavior};

use super::tally::Tally;
use crate::cli::{bar::Bar, opts::LogOptions};

/// What is over sooner shows no bar.
const DELAY: Duration = Duration::from_millis(300);
const INTERVAL: Duration = Duration::from_millis(100);

/// What there is to do, and how much of it is done.
#[derive(Debug)]
pub(super) struct Progress {
    done: AtomicU64,
    total: Total,
}

#[derive(Clone, Copy, Debug)]
enum Total {
    /// There is no bar.
    Hidden,
    /// Of `--repeat`.
    Rounds(u64),
    /// Of a file on standard input.
    Bytes(u64),
}

impl Progress {
    /// For a message that is published this often.
    pub(super) fn of_rounds(rounds: u64, log: LogOptions) -> Self {
        let shown = rounds > 1 && is_shown(log);
        Self::new(if shown { Total::Rounds(rounds) } else { Total::Hidden })
    }

    /// For the lines of standard input, if it is a file.
    pub(super) fn of_input(log: LogOptions) -> Self {
        let size = is_shown(log).then(input_size).flatten();
        Self::new(size.map_or(Total::Hidden, Total::Bytes))
    }

    fn new(total: Total) -> Self {
        Self { done: AtomicU64::new(0), total }
    }

    /// Whether there is a bar.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.total, Total::Hidden)
    }

    /// So many more rounds or bytes are done.
    pub(super) fn add(&self, more: u64) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Does the work and shows the bar meanwhile.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = T>,
        tally: Option<&Tally>,
    ) -> T {
        tokio::select! {
            outcome = work => outcome,
            never = self.show(tally) => match never {},
        }
    }

    async fn show(&self, tally: Option<&Tally>) -> Infallible {
        let total = match self.total {
            Total::Hidden => return std::future::pending().await,
            Total::Rounds(total) | Total::Bytes(total) => total,
        };
        time::sleep(DELAY).await;
        let begin = Instant::now() - DELAY;
        let bar = Bar::show();
        let mut ticks = time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let done = self.done.load(Ordering::Relaxed);
            let seconds = begin.elapsed().as_secs_f64();
            let message = match tally.map(Tally::counts) {
                Some((confirmed, read)) => {
                    let rate = confirmed as f64 / seconds;
                    format!("{confirmed} confirmed of {read} read, {rate:.0}/s")
                }
                None => format!("{:.1}/s", done as f64 / seconds),
            };
            let share = match self.total {
                Total::Bytes(_) => format!("{:>3}%", percent(done, total)),
                _ => format!("{done}/{total}"),
            };
            bar.draw(done, total, &format!("{share} {message}"));
        }
    }
}

fn percent(done: u64, total: u64) -> u64 {
    done.min(total).saturating_mul(100) / total.max(1)
}

/// The packets of `-d` would run through the bar.
fn is_shown(log: LogOptions) -> bool {
    !log.quiet && !log.debug && io::stderr().is_terminal()
}

/// The bytes that are left of the file on standard input, if it is one.
#[cfg(unix)]
fn input_size() -> Option<u64> {
    let stat = rustix::fs::fstat(io::stdin()).ok()?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let at = rustix::fs::tell(io::stdin()).unwrap_or(0);
    let size = u64::try_from(stat.st_size).ok()?;
    Some(size.saturating_sub(at)).filter(|&left| is_file && left > 0)
}

/// The bytes that are left of the file on standard input, if it is one.
#[cfg(not(unix))]
fn input_size() -> Option<u64> {
    None
}
