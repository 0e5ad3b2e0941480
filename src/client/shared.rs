//! What the handles and the driver task of one client share.

use std::fmt;

use tokio::sync::watch;

use crate::codec::Version;

use super::info::{Counters, State};
use super::mailbox::Mailbox;
use super::options::StreamLimits;
use super::store_file::Store;

pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    pub(super) state: watch::Sender<State>,
    pub(super) counters: Counters,
    pub(super) stream_limits: StreamLimits,
    pub(super) version: Version,
    pub(super) store: Option<Store>,
}

impl Shared {
    /// Whether a message is durable only some time after it was stored.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.store.as_ref().is_some_and(Store::waits_for_disk)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}
