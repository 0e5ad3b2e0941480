//! A session on disk: [`FileStore`] keeps what a client must not forget when its process ends.
//!
//! Not here: what that is, which the [session](crate::session) tells.

mod log;
mod record;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::codec::{EncodeError, Version};
use crate::session::{Change, Message, Ticket};

use self::log::Log;
pub(super) use self::log::Restored;

/// Keeps a client's session in a file, so that it outlives the process.
///
/// In the file are the QoS 1 and 2 messages that are admitted and not finished, how far each has
/// come, and the identifiers of the QoS 2 messages received: what MQTT calls the session state of
/// the client (§4.1). A process that is killed at any moment loses no message that was admitted,
/// and no QoS 2 message arrives twice because of it, as long as the broker keeps its part of the
/// session; what becomes of the messages in flight when it has not is decided by
/// [`on_session_loss`](super::ClientBuilder::on_session_loss). QoS 0 messages are not kept.
///
/// A message that was received is in the store once the application has acknowledged it, before
/// the broker is told so. If the process is killed between its own work on a message and that, the
/// broker delivers the message again.
///
/// The client that is started with the store publishes the messages it holds: they count for
/// [`flush`](super::Client::flush) and reach [`on_publish`](super::ClientBuilder::on_publish). The
/// messages that are not confirmed when a client ends stay in the store.
///
/// The file is an append-only log with a checksum for each record, readable and writable by its
/// owner alone. It is compacted as it is used, by way of a second file beside it with `.new` at
/// the end of its name. One process at a time can have it open.
///
/// ```no_run
/// use midge::client::FileStore;
/// use midge::{Client, QoS};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FileStore::open("/var/lib/meter/session")?;
/// println!("{} messages are left from before", store.pending());
/// let (client, _inbox) =
///     Client::builder("mqtt://localhost")?.client_id("meter").store(store).start()?;
/// // On disk when `enqueue` returns, whether or not there is a connection.
/// let delivery = client.publish("meter/1", "17").qos(QoS::ExactlyOnce).enqueue().await?;
/// delivery.await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a store does nothing until a client is started with it"]
pub struct FileStore {
    log: Log,
    restored: Restored,
    durability: Durability,
    sync_file: SyncFile,
}

/// How a file is brought to the disk: a test has a disk of its own.
type SyncFile = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// Says what an admitted message must survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, however sudden: the operating system has the message.
    #[default]
    Process,
    /// A power failure too: the disk has it. Everything that is admitted or changes while the disk
    /// is at work goes with the next request to it, so that the rate does not suffer where many
    /// messages are under way; a single one waits for the disk.
    Power,
}

/// Says why a store cannot be used, or did not take a message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused something: no space, no permission, a failing disk.
    #[error("cannot {doing} the session log {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was refused.
        doing: &'static str,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another client has it open, in this process or another.
    #[error("the session log {} is in use", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else, or of a version of this library to come. It is left alone.
    #[error("{} is not a session log", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// The file was damaged after it was written. [`FileStore::salvage`] saves what is in front of
    /// the damage.
    #[error("the session log {} is damaged at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins, in bytes.
        offset: u64,
        /// What is damaged.
        what: &'static str,
    },
    /// The session in the file belongs to another client identifier.
    #[error("the session log {} belongs to the client \"{stored}\"", path.display())]
    OtherClient {
        /// The file.
        path: PathBuf,
        /// The client identifier in the file.
        stored: Box<str>,
    },
    /// Messages in the file have properties, which MQTT 3.x cannot send.
    #[error("the session log {} has messages with properties, which only MQTT 5.0 can send", path.display())]
    OnlyV5 {
        /// The file.
        path: PathBuf,
    },
    /// The message cannot be written down.
    #[error(transparent)]
    Message(EncodeError),
    /// The client has ended, and the file is closed.
    #[error("the session log is closed")]
    Closed,
}

impl StoreError {
    fn io(path: &Path, doing: &'static str, error: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), doing, source: Arc::new(error) }
    }
}

impl FileStore {
    /// Opens the store in the file at `path`, or makes it, and reads what is in it. This blocks.
    ///
    /// A record at the end that was not written whole is cut off: it is of something that nobody
    /// was told to have happened.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(path: impl AsRef<Path>) -> Result<FileStore, StoreError> {
        FileStore::read(path.as_ref(), false)
    }

    /// Opens a store that is [`Corrupt`](StoreError::Corrupt): cuts the log off where the damage
    /// begins and goes on with what is in front of it. Messages that were admitted after that are
    /// lost, and some that were finished may be sent again. This blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn salvage(path: impl AsRef<Path>) -> Result<FileStore, StoreError> {
        FileStore::read(path.as_ref(), true)
    }

    fn read(path: &Path, salvage: bool) -> Result<FileStore, StoreError> {
        let log = Log::open(path, salvage)?;
        let restored = log.restore()?;
        let (durability, sync_file) = (Durability::default(), Box::new(File::sync_data));
        Ok(FileStore { log, restored, durability, sync_file })
    }

    /// Sets what an admitted message must survive. Default [`Durability::Process`].
    pub fn durability(mut self, durability: Durability) -> FileStore {
        self.durability = durability;
        self
    }

    /// Returns how many messages are not finished.
    pub fn pending(&self) -> usize {
        self.log.message_count()
    }

    /// Returns the identifier of the client whose session it is; `None` if it is new.
    pub fn client_id(&self) -> Option<&str> {
        self.log.client_id()
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        self.log.path()
    }

    /// Returns how many bytes were cut off when it was opened.
    pub fn cut_bytes(&self) -> u64 {
        self.log.cut_bytes()
    }

    /// Makes it the store of a client.
    pub(super) fn start(
        mut self,
        client_id: &str,
        version: Version,
    ) -> Result<(Store, Restored), StoreError> {
        self.log.check_client_id(client_id)?;
        let mut messages = self.restored.ledger.messages.values();
        if messages.any(|entry| entry.message.check(version).is_err()) {
            return Err(StoreError::OnlyV5 { path: self.log.path().to_owned() });
        }
        self.log.set_client_id(client_id);
        self.log.flush()?;
        Ok((Store::new(self.log, self.durability, self.sync_file)?, self.restored))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path())
            .field("pending", &self.pending())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// A store in use, by the handles and the driver task of one client.
pub(super) struct Store(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Tells the thread that brings the log to the disk of work, or of the end.
    work: Condvar,
    durability: Durability,
    sync_file: SyncFile,
}

struct State {
    log: Log,
    /// How much of the log is known to be on the disk.
    synced: u64,
    /// How much of it is to be.
    wanted: u64,
    /// Who waits for how much of it.
    waiters: Vec<(u64, Waker)>,
    /// The disk failed: what it has of the file is not known any more.
    broken: Option<StoreError>,
    closed: bool,
}

/// How much of the log must be durable for a message to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u64);

impl Store {
    fn new(log: Log, durability: Durability, sync_file: SyncFile) -> Result<Store, StoreError> {
        let path = log.path().to_owned();
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                log,
                synced: 0,
                wanted: 0,
                waiters: Vec::new(),
                broken: None,
                closed: false,
            }),
            work: Condvar::new(),
            durability,
            sync_file,
        });
        if durability == Durability::Power {
            // The file itself must be found again.
            let directory = path.parent().unwrap_or(Path::new(""));
            log::sync_directory(directory)
                .map_err(|error| StoreError::io(&path, "sync the directory of", error))?;
            let syncing = Arc::clone(&inner);
            thread::Builder::new()
                .name("midge-store".into())
                .spawn(move || syncing.sync())
                .map_err(|error| StoreError::io(&path, "start a thread for", error))?;
        }
        Ok(Store(inner))
    }

    /// Writes a message of QoS 1 or 2 down. On an error it is not in the store.
    pub(super) fn admit(
        &self,
        ticket: Ticket,
        deadline: Option<Duration>,
        message: &Message,
    ) -> Result<Position, StoreError> {
        let mut state = self.0.lock();
        state.check()?;
        state.log.admit(ticket, deadline, message)?;
        Ok(self.0.want(&mut state))
    }

    /// Whether what is written is not durable yet.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.0.durability == Durability::Power
    }

    /// Refuses to be the store of another client.
    pub(super) fn check_client_id(&self, client_id: &str) -> Result<(), StoreError> {
        self.0.lock().log.check_client_id(client_id)
    }

    /// Notes whose session it is.
    pub(super) fn set_client_id(&self, client_id: &str) {
        self.0.lock().log.set_client_id(client_id);
    }

    /// Notes a change.
    pub(super) fn append(&self, change: Change) {
        self.0.lock().log.append(change);
    }

    /// Writes what is noted, if the disk lets it; it is written later otherwise.
    pub(super) fn write(&self) {
        let mut state = self.0.lock();
        if let Err(error) = state.check().and_then(|()| state.log.flush()) {
            tracing::debug!(%error, "changes are stored later");
        }
    }

    /// Writes what is noted, and waits until it is durable.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        let mut state = self.0.lock();
        state.check()?;
        state.log.flush()?;
        let mut durable = Vec::new();
        if state.log.wants_compaction() {
            durable = self.0.compact(&mut state);
        }
        let position = self.0.want(&mut state);
        let polled = self.0.poll_durable(&mut state, cx, position);
        drop(state);
        durable.into_iter().for_each(Waker::wake);
        polled
    }

    /// Waits until a position is durable.
    pub(super) fn poll_durable(
        &self,
        cx: &mut Context<'_>,
        position: Position,
    ) -> Poll<Result<(), StoreError>> {
        self.0.poll_durable(&mut self.0.lock(), cx, position)
    }

    /// Writes what is noted, as the last thing, and lets others open the file.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        if let Err(error) = state.log.flush() {
            tracing::warn!(%error, "the last changes are not in the session log");
        }
        let file = (self.0.durability == Durability::Power).then(|| state.log.file()).flatten();
        match file.map(|file| (self.0.sync_file)(&file)) {
            Some(Ok(())) if state.broken.is_none() => state.synced = state.log.written(),
            Some(Err(error)) => tracing::warn!(%error, "the last changes may not be on the disk"),
            Some(Ok(())) | None => {}
        }
        state.closed = true;
        state.log.close();
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        self.0.work.notify_all();
        waiters.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Why the store will never work again, if so.
    pub(super) fn broken(&self) -> Option<StoreError> {
        self.0.lock().broken.clone()
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None if self.closed => Err(StoreError::Closed),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two steps leaves at most a record unwritten that is noted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for what is written to be made durable, and says how much that is.
    fn want(&self, state: &mut State) -> Position {
        let written = state.log.written();
        if self.durability == Durability::Power && state.wanted < written {
            state.wanted = written;
            self.work.notify_one();
        }
        Position(written)
    }

    fn poll_durable(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
        position: Position,
    ) -> Poll<Result<(), StoreError>> {
        if self.durability == Durability::Process || state.synced >= position.0 {
            return Poll::Ready(Ok(()));
        }
        state.check()?;
        let known = state
            .waiters
            .iter()
            .any(|(at, waker)| *at == position.0 && waker.will_wake(cx.waker()));
        if !known {
            state.waiters.push((position.0, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// Returns whom to wake once the lock is not held.
    fn compact(&self, state: &mut State) -> Vec<Waker> {
        let sync = self.durability == Durability::Power;
        match state.log.compact(sync) {
            Ok(None) if sync => {
                state.synced = state.log.written();
                state.wanted = state.synced;
                return state.waiters.drain(..).map(|(_, waker)| waker).collect();
            }
            Ok(None) => {}
            // As with the file itself, trying again could seem to succeed.
            Ok(Some(error)) => {
                tracing::error!(%error, "the session log is broken");
                state.broken = Some(error);
                state.wanted = state.synced;
                return state.waiters.drain(..).map(|(_, waker)| waker).collect();
            }
            Err(error) => tracing::warn!(%error, "the session log is not compacted"),
        }
        Vec::new()
    }

    /// Brings the log to the disk as it grows: the life of the thread.
    fn sync(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(file) = state.log.file().filter(|_| state.wanted > state.synced) else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let target = state.log.written();
            drop(state);
            let result = (self.sync_file)(&file);
            drop(file);
            state = self.lock();
            match result {
                Ok(()) => state.synced = state.synced.max(target),
                // The system may have dropped what it could not write: trying again could seem to
                // succeed.
                Err(error) => {
                    let error = StoreError::io(state.log.path(), "sync", error);
                    tracing::error!(%error, "the session log is broken");
                    state.broken = Some(error);
                    state.wanted = state.synced;
                }
            }
            let (synced, broken) = (state.synced, state.broken.is_some());
            let ready = state.waiters.extract_if(.., |(at, _)| broken || *at <= synced);
            let ready: Vec<_> = ready.collect();
            drop(state);
            ready.into_iter().for_each(|(_, waker)| waker.wake());
            state = self.lock();
        }
    }
}

#[cfg(test)]
mod tests;
