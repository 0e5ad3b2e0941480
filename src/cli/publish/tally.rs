//! What became of the lines: each one is confirmed, or told and counted.

use std::{
    cell::Cell,
    collections::VecDeque,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::anyhow;

use crate::{
    cli::{
        Tool, connect,
        exit::{Exit, Failure},
        stdio,
    },
    client::{PublishError, Ticket},
};

/// Lines beyond these many that come to nothing are counted and not told of.
const MAX_TOLD: u64 = 10;
/// More places than there can be messages that are not confirmed.
const MAX_PLACES: usize = 4096;

/// Counts lines, their messages and what became of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    quiet: bool,
    /// Lines that were read and are not blank.
    read: AtomicU64,
    /// Messages of lines beyond the first one of each.
    more: AtomicU64,
    /// Messages that are in the spool until they are settled, those of an earlier run among them.
    kept: AtomicU64,
    confirmed: AtomicU64,
    /// Messages that were admitted and came to nothing.
    failed: AtomicU64,
    /// Messages that could not be published.
    unpublished: AtomicU64,
    told: AtomicU64,
    /// The exit code of the first failure, and its text if it was not told.
    first: Mutex<Option<Failure>>,
    places: Mutex<Places>,
}

/// A line and its messages, whose tickets follow on from each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// That of the first message.
    pub(super) ticket: u64,
    pub(super) line: u64,
    /// How many messages the line makes.
    pub(super) count: u64,
}

/// Finds the line of a message by its ticket: both count up, so that only the places are kept
/// where one of them makes a leap.
#[derive(Debug, Default)]
struct Places(VecDeque<Place>);

impl Tally {
    /// Tells of failures unless `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    /// So many lines were read.
    pub(super) fn read(&self, lines: u64) {
        self.read.fetch_add(lines, Ordering::Relaxed);
    }

    /// So many messages are left from an earlier run.
    pub(super) fn left(&self, messages: u64) {
        self.read(messages);
        self.kept.fetch_add(messages, Ordering::Relaxed);
    }

    /// A line that was read stands for no message.
    pub(super) fn blank(&self) {
        self.read.fetch_sub(1, Ordering::Relaxed);
    }

    /// A line that was read makes so many messages.
    pub(super) fn fans_out(&self, count: u64) {
        if count > 1 {
            self.more.fetch_add(count - 1, Ordering::Relaxed);
        }
    }

    /// The first message of a line was admitted; `last` has the place of the line before.
    pub(super) fn place(&self, place: Place, last: &Cell<Place>) {
        let before = last.replace(place);
        let follows = place.ticket == before.ticket + before.count
            && place.line == before.line + 1
            && place.count == before.count;
        if !follows {
            self.places().leap(place);
        }
    }

    /// A message is in the spool.
    pub(super) fn keep(&self) {
        self.kept.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was confirmed.
    pub(super) fn confirm(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages were confirmed, and how many lines read.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.confirmed.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed))
    }

    /// A message that was admitted came to nothing.
    pub(super) fn fail(&self, ticket: Ticket, error: &PublishError) {
        let failure = connect::publish_failure(error.clone());
        if matches!(error, PublishError::Lost { .. } | PublishError::Closed { .. }) {
            return self.note(failure);
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let line = self.places().line(ticket.get());
        self.tell(line, failure);
    }

    /// A line, or a message of it, cannot be published.
    pub(super) fn skip(&self, line: u64, failure: impl Into<Failure>) {
        self.unpublished.fetch_add(1, Ordering::Relaxed);
        self.tell(Some(line), failure.into());
    }

    /// Tells of the first few failures as they happen: the end may be days away.
    fn tell(&self, line: Option<u64>, failure: Failure) {
        let told = self.told.fetch_add(1, Ordering::Relaxed);
        if told <= MAX_TOLD && !self.quiet {
            let text = failure.text().unwrap_or_default();
            let text = match line {
                _ if told == MAX_TOLD => "more lines failed; they are only counted".to_owned(),
                Some(line) => format!("line {line}: {text}"),
                None => text,
            };
            stdio::report(Tool::Pub.name(), &text);
        }
        self.note(Failure::silent(failure.exit()));
    }

    fn note(&self, failure: Failure) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, given how the work did: not well if a message is missing. What is kept is in
    /// the spool.
    pub(super) fn verdict(
        &self,
        outcome: Result<Exit, Failure>,
        spool: Option<&Path>,
    ) -> Result<Exit, Failure> {
        // That standard output is closed is a good end of what prints, but lines are left here.
        let outcome = outcome.map_err(|failure| match failure.exit() {
            Exit::Success => Failure::new(Exit::Failure, anyhow!("standard output is closed")),
            _ => failure,
        });
        let (confirmed, read) = self.counts();
        let more = self.more.load(Ordering::Relaxed);
        let total = read + more;
        let missing = total.saturating_sub(confirmed);
        if missing == 0 {
            return outcome;
        }
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (exit, cause) = match outcome {
            Err(failure) => (failure.exit(), failure.text()),
            Ok(_) => first.map_or((Exit::Failure, None), |first| (first.exit(), first.text())),
        };
        let what = if more == 0 { "lines read" } else { "messages" };
        let done = match self.unpublished.load(Ordering::Relaxed) {
            unpublished if unpublished == missing => "published",
            _ => "confirmed",
        };
        let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
        let kept = spool.map_or(String::new(), |dir| {
            let settled = confirmed + self.failed.load(Ordering::Relaxed);
            let kept = self.kept.load(Ordering::Relaxed).saturating_sub(settled);
            format!("; {kept} are kept in {}", dir.display())
        });
        let text = format!("{missing} of {total} {what} were not {done}{kept}{cause}");
        Err(Failure::new(exit, anyhow!(text)))
    }
}

impl Places {
    fn leap(&mut self, place: Place) {
        if self.0.len() == MAX_PLACES {
            self.0.pop_front();
        }
        self.0.push_back(place);
    }

    fn line(&self, ticket: u64) -> Option<u64> {
        let behind = self.0.partition_point(|place| place.ticket <= ticket);
        let place = self.0.get(behind.checked_sub(1)?)?;
        Some(place.line + (ticket - place.ticket) / place.count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_its_ticket() {
        let (tally, last) = (Tally::new(true), Cell::default());
        let admit = |ticket, line, count| tally.place(Place { ticket, line, count }, &last);
        admit(5, 1, 2);
        admit(7, 2, 2);
        admit(9, 4, 2);
        admit(20, 5, 2);
        admit(22, 6, 1);
        admit(23, 7, 1);
        let line = |ticket| tally.places().line(ticket);
        let tickets = [5, 6, 7, 8, 9, 10, 20, 21, 22, 23];
        assert_eq!(tickets.map(line), [1, 1, 2, 2, 4, 4, 5, 5, 6, 7].map(Some));
        assert_eq!(line(4), None);
        assert_eq!(tally.places().0.len(), 4);
        let count = 2 * MAX_PLACES as u64;
        for n in 0..count {
            admit(100 + 3 * n, 10 + n, 2);
        }
        assert_eq!(tally.places().0.len(), MAX_PLACES);
        assert_eq!(line(100), None);
        assert_eq!(line(100 + 3 * (count - 1)), Some(9 + count));
    }
}
