//! What the handles and the driver task of one client share.

use std::fmt;

use tokio::sync::watch;

use super::info::{Counters, State};
use super::mailbox::Mailbox;
use super::options::StreamLimits;

pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    pub(super) state: watch::Sender<State>,
    pub(super) counters: Counters,
    pub(super) stream_limits: StreamLimits,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}
