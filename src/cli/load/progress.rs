//! How far a load has come, on standard error: a bar on a terminal, otherwise a line per second.

use std::{borrow::Cow, io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::{opts::load::ReportOptions, stdio},
    load::{Plan, Progress, Trouble, Update},
};

const CONNECTING: &str = "{prefix:10} [{bar:24}] {pos}/{len} {msg}";
const HOLDING: &str = "{prefix:10} [{bar:24}] {msg}";
const WAITING: &str = "{prefix:10} {spinner} {msg}";

/// Shows the updates of one load.
#[derive(Debug)]
pub(super) struct Display {
    tool: &'static str,
    clients: u32,
    hold: Option<Duration>,
    verbose: bool,
    style: Style,
}

#[derive(Debug)]
enum Style {
    Bar { bar: ProgressBar, holding: bool },
    Lines { next: Duration },
    Quiet,
}

impl Display {
    /// A display for a load that is about to start.
    pub(super) fn new(tool: &'static str, plan: &Plan, options: &ReportOptions) -> Self {
        let clients = plan.shard.share_of(plan.clients);
        let style = if options.quiet {
            Style::Quiet
        } else if std::io::stderr().is_terminal() {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(Some(clients.into()), target)
                .with_style(style(CONNECTING))
                .with_prefix("connecting");
            Style::Bar { bar, holding: false }
        } else {
            Style::Lines { next: Duration::from_secs(1) }
        };
        let (hold, verbose) = (plan.hold, options.verbose);
        Self { tool, clients, hold, verbose, style }
    }

    /// Shows one update.
    pub(super) fn show(&mut self, update: Update) {
        match update {
            Update::Progress(progress) => self.show_progress(progress),
            Update::Trouble(trouble) if self.verbose => self.show_trouble(&trouble),
            _ => {}
        }
    }

    fn show_progress(&mut self, progress: Progress) {
        let text = describe(self.hold, &progress);
        match &mut self.style {
            Style::Quiet => {}
            Style::Lines { next } => {
                if progress.elapsed >= *next {
                    *next = Duration::from_secs(progress.elapsed.as_secs() + 1);
                    let (at, done) = (seconds(progress.elapsed), done(&progress));
                    stdio::report(self.tool, &format!("{at} {done}/{} {text}", self.clients));
                }
            }
            Style::Bar { bar, holding } => {
                bar.set_message(text);
                match (progress.held, self.hold) {
                    (None, _) => bar.set_position(done(&progress)),
                    (Some(held), Some(hold)) => {
                        if !std::mem::replace(holding, true) {
                            bar.set_length(millis(hold));
                            bar.set_style(style(HOLDING));
                            bar.set_prefix("holding");
                        }
                        bar.set_position(millis(held.min(hold)));
                    }
                    (Some(_), None) => {
                        if !std::mem::replace(holding, true) {
                            bar.set_style(style(WAITING));
                            bar.set_prefix("holding");
                        }
                        bar.tick();
                    }
                }
            }
        }
    }

    fn show_trouble(&self, trouble: &Trouble) {
        let line = trouble.to_string();
        match &self.style {
            Style::Bar { bar, .. } => bar.suspend(|| stdio::report(self.tool, &line)),
            _ => stdio::report(self.tool, &line),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Style::Bar { bar, .. } = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn describe(hold: Option<Duration>, progress: &Progress) -> String {
    let counts = &progress.counts;
    let mut text = format!("open {}", counts.open());
    let rows =
        [(counts.pending(), "pending"), (counts.failed, "failed"), (counts.dropped, "dropped")];
    for (count, name) in rows {
        if count > 0 {
            text.push_str(&format!(", {count} {name}"));
        }
    }
    let state: Cow<'_, str> = match (progress.held, hold) {
        (None, _) => {
            let rate = f64::from(counts.connected) / progress.elapsed.as_secs_f64().max(0.001);
            format!(", {rate:.0}/s").into()
        }
        (Some(held), Some(hold)) => format!(", {} left", seconds(hold.saturating_sub(held))).into(),
        (Some(_), None) => ", Ctrl-C ends it".into(),
    };
    text.push_str(&state);
    if counts.pongs > 0 {
        text.push_str(&format!(", {} pings answered", counts.pongs));
    }
    text
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants that are well formed")
        .progress_chars("=> ")
}

fn done(progress: &Progress) -> u64 {
    u64::from(progress.counts.connected) + u64::from(progress.counts.failed)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
