//! What the handles and the driver task of one client share.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use super::error::ConnectError;
use super::info::{CloseReason, ConnectInfo, Counter, Counters, State, Stats};
use super::mailbox::Mailbox;
use super::options::Settings;
use super::request::Requests;
use super::state::StateCell;
use super::store_file::Store;
use super::stream::{Bounds, Queue};
use super::timers::NO_PLACE;

pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    pub(super) state: StateCell,
    /// What no subscription claims.
    pub(super) inbox: Queue,
    pub(super) store: Option<Store>,
    /// How many connections the broker has accepted.
    pub(super) connects: Counter,
    /// Absent while there is nothing to count but connections.
    used: OnceLock<Box<Used>>,
    /// How many [`Client`](super::Client)s there are: the task ends after the last one.
    pub(super) clients: AtomicU32,
    /// Where its entry among the [`Timers`](super::timers::Timers) is, which alone use this.
    pub(super) timer_place: AtomicU32,
}

/// What a client has once it does more than to keep a connection.
#[derive(Default)]
struct Used {
    counters: Counters,
    /// Absent before the first request.
    requests: OnceLock<Requests>,
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>, inbox: Arc<Bounds>, store: Option<Store>) -> Shared {
        Shared {
            mailbox: Mailbox::new(settings),
            state: StateCell::new(State::Connecting { attempt: 1 }),
            inbox: Queue::new(inbox),
            store,
            connects: Counter::default(),
            used: OnceLock::new(),
            clients: AtomicU32::new(0),
            timer_place: AtomicU32::new(NO_PLACE),
        }
    }

    /// What the client was set up with.
    pub(super) fn settings(&self) -> &Settings {
        self.mailbox.settings()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.used.get_or_init(Box::default).counters
    }

    /// The counters as they are.
    pub(super) fn stats(&self) -> Stats {
        let stats = self.used.get().map(|used| used.counters.stats());
        Stats { connects: self.connects.value(), ..stats.unwrap_or_default() }
    }

    /// What the requests have between them, from the first one on.
    pub(super) fn requests(&self) -> &Requests {
        self.used.get_or_init(Box::default).requests.get_or_init(Requests::new)
    }

    /// The same, if there was a request.
    pub(super) fn requests_so_far(&self) -> Option<&Requests> {
        self.used.get()?.requests.get()
    }

    /// Whether a message is durable only some time after it was stored.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.store.as_ref().is_some_and(Store::waits_for_disk)
    }

    /// Waits until the broker has accepted the connection.
    pub(super) async fn connected(&self) -> Result<Arc<ConnectInfo>, ConnectError> {
        let settled = self.state.wait_for(|state| match state {
            State::Connected(info) => Some(Ok(Arc::clone(info))),
            State::Closed(reason) => Some(Err(match reason {
                CloseReason::ConnectFailed(error) => error.clone(),
                CloseReason::Disconnected(cause) => ConnectError::Ended(Some(cause.clone())),
                _ => ConnectError::Ended(None),
            })),
            _ => None,
        });
        settled.await.unwrap_or(Err(ConnectError::Ended(None)))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state.get()).finish_non_exhaustive()
    }
}
