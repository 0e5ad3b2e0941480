//! What the handles and the driver task of one client share.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use crate::codec::Version;

use super::error::ConnectError;
use super::info::{CloseReason, ConnectInfo, Counters, State};
use super::mailbox::Mailbox;
use super::options::StreamLimits;
use super::request::Requests;
use super::state::StateCell;
use super::store_file::Store;

pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    pub(super) state: StateCell,
    pub(super) counters: Counters,
    pub(super) stream_limits: StreamLimits,
    pub(super) version: Version,
    pub(super) store: Option<Store>,
    /// Absent before the first request.
    pub(super) requests: OnceLock<Box<Requests>>,
    /// How many [`Client`](super::Client)s there are: the task ends after the last one.
    pub(super) clients: AtomicUsize,
}

impl Shared {
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
