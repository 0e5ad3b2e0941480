//! The way of messages to whoever works on them longer than the connection can wait: from the
//! message hook through the client's inbox, with a bound on what waits there.

use std::{future, sync::Arc};

use tokio::sync::watch;

use super::retained::Removals;
use crate::client::{Client, ClientBuilder, Handle, Inbox, Message};

/// With more messages, or more bytes of payload, waiting the socket is not read.
const MAX_WAITING: u64 = 1000;
const MAX_WAITING_BYTES: usize = 16 << 20;

/// Counts the messages on their way. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Backlog(Arc<watch::Sender<Progress>>);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    arrived: u64,
    taken: u64,
    done: u64,
    waiting_bytes: usize,
    paused: bool,
    /// No more than these are taken.
    end: Option<u64>,
}

impl Progress {
    fn is_full(&self) -> bool {
        self.arrived - self.taken > MAX_WAITING || self.waiting_bytes > MAX_WAITING_BYTES
    }

    fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.taken >= end)
    }
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Progress::default())))
    }

    /// Has the inbox hold whatever arrives: the backlog bounds it, without dropping anything.
    pub(super) fn bound(builder: ClientBuilder) -> ClientBuilder {
        builder.inbox_capacity(usize::MAX).inbox_bytes(usize::MAX)
    }

    /// A message goes to the inbox.
    pub(super) fn arrived(&self, bytes: usize, handle: &Handle) {
        self.0.send_modify(|progress| {
            progress.arrived += 1;
            progress.waiting_bytes += bytes;
            if progress.is_full() && !progress.paused {
                progress.paused = true;
                handle.pause_reading();
            }
        });
    }

    /// So many more messages are dealt with.
    fn done(&self, count: u64) {
        self.0.send_modify(|progress| progress.done += count);
    }

    /// What has arrived is the last.
    pub(super) fn end_here(&self) {
        self.0.send_modify(|progress| {
            progress.end.get_or_insert(progress.arrived);
        });
    }

    /// No further message is taken. Returns how many are being worked on.
    pub(super) fn stop(&self) -> u64 {
        self.0.send_modify(|progress| progress.end = Some(progress.taken));
        let progress = self.0.borrow();
        progress.taken - progress.done
    }

    /// Waits until everything that has arrived is dealt with.
    pub(super) async fn settled(&self) {
        // It cannot fail: this is a sender.
        let _ = self.0.subscribe().wait_for(|progress| progress.done >= progress.arrived).await;
    }
}

/// The taking end.
///
/// It borrows the inbox, which has to live as long as the client: what arrives when there is none is
/// acknowledged.
#[derive(Debug)]
pub(super) struct Intake<'i> {
    client: Client,
    inbox: &'i mut Inbox,
    backlog: Backlog,
    progress: watch::Receiver<Progress>,
    removals: Option<Removals>,
}

impl<'i> Intake<'i> {
    /// With `removals`, retained messages are removed from the broker once they are dealt with.
    pub(super) fn new(
        client: Client,
        inbox: &'i mut Inbox,
        backlog: Backlog,
        removals: Option<Removals>,
    ) -> Self {
        let progress = backlog.0.subscribe();
        Self { client, inbox, backlog, progress, removals }
    }

    /// The message was dealt with as it should.
    pub(super) fn succeeded(&self, message: &Message) {
        message.ack();
        if let Some(removals) = &self.removals
            && message.retain()
        {
            removals.begin(message.topic(), &self.client.handle());
        }
        self.backlog.done(1);
    }

    /// It was not; whether it is acknowledged is not decided here.
    pub(super) fn failed(&self) {
        self.backlog.done(1);
    }

    /// Waits for the next message; `None` when there are to be no more.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let message = tokio::select! {
            biased;
            _ = self.progress.wait_for(Progress::is_at_end) => return None,
            message = self.inbox.next() => message,
        };
        match message {
            Some(message) => {
                self.took(&message);
                Some(message)
            }
            // The client has ended, which is no end of the messages: whoever watches it says why.
            None => future::pending().await,
        }
    }

    /// Takes the next message if there is one.
    pub(super) fn try_next(&mut self) -> Option<Message> {
        if self.progress.borrow().is_at_end() {
            return None;
        }
        self.inbox.try_next().inspect(|message| self.took(message))
    }

    fn took(&self, message: &Message) {
        self.backlog.0.send_modify(|progress| {
            progress.taken += 1;
            progress.waiting_bytes = progress.waiting_bytes.saturating_sub(message.payload().len());
            if progress.paused && !progress.is_full() {
                progress.paused = false;
                self.client.resume_reading();
            }
        });
    }
}
