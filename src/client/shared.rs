//! What the handles and the driver task of one client share.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::codec::Version;

use super::error::ConnectError;
use super::info::{CloseReason, ConnectInfo, Counters, State};
use super::mailbox::Mailbox;
use super::options::StreamLimits;
use super::request::Requests;
use super::store_file::Store;

pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    pub(super) state: watch::Sender<State>,
    pub(super) counters: Counters,
    pub(super) stream_limits: StreamLimits,
    pub(super) version: Version,
    pub(super) store: Option<Store>,
    /// Absent before the first request.
    pub(super) requests: OnceLock<Box<Requests>>,
}

impl Shared {
    /// Whether a message is durable only some time after it was stored.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.store.as_ref().is_some_and(Store::waits_for_disk)
    }

    /// Waits until the broker has accepted the connection.
    pub(super) async fn connected(&self) -> Result<Arc<ConnectInfo>, ConnectError> {
        let mut state = self.state.subscribe();
        let settled = state
            .wait_for(|state| matches!(state, State::Connected(_) | State::Closed(_)))
            .await
            .map(|state| state.clone());
        match settled {
            Ok(State::Connected(info)) => Ok(info),
            Ok(State::Closed(CloseReason::ConnectFailed(error))) => Err(error),
            Ok(State::Closed(CloseReason::Disconnected(cause))) => {
                Err(ConnectError::Ended(Some(cause)))
            }
            _ => Err(ConnectError::Ended(None)),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}
