//! What a client is doing, for those who ask and those who wait for it to change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::info::{CloseReason, ConnectInfo, State};

/// Holds the state of a client. The channel that tells of changes has 416 bytes on the heap, a
/// sixth of an idle client: it exists while somebody watches.
pub(super) struct StateCell(Mutex<Inner>);

struct Inner {
    state: Compact,
    changes: Option<watch::Sender<State>>,
}

/// A state without the room for the reason of an end.
enum Compact {
    Connecting { attempt: u32 },
    Connected(Arc<ConnectInfo>),
    Waiting { delay: Duration, attempt: u32 },
    Closed(Box<CloseReason>),
}

impl From<State> for Compact {
    fn from(state: State) -> Compact {
        match state {
            State::Connecting { attempt } => Compact::Connecting { attempt },
            State::Connected(info) => Compact::Connected(info),
            State::Waiting { delay, attempt } => Compact::Waiting { delay, attempt },
            State::Closed(reason) => Compact::Closed(Box::new(reason)),
        }
    }
}

impl Compact {
    fn state(&self) -> State {
        match self {
            Compact::Connecting { attempt } => State::Connecting { attempt: *attempt },
            Compact::Connected(info) => State::Connected(Arc::clone(info)),
            Compact::Waiting { delay, attempt } => {
                State::Waiting { delay: *delay, attempt: *attempt }
            }
            Compact::Closed(reason) => State::Closed(CloseReason::clone(reason)),
        }
    }
}

impl StateCell {
    pub(super) fn new(state: State) -> StateCell {
        StateCell(Mutex::new(Inner { state: state.into(), changes: None }))
    }

    /// Returns the state as it is.
    pub(super) fn get(&self) -> State {
        self.lock().state.state()
    }

    /// Changes the state and tells those who watch. Only the driver task does.
    pub(super) fn set(&self, state: State) {
        let mut inner = self.lock();
        inner.tidy();
        let changes = inner.changes.clone();
        let before = std::mem::replace(&mut inner.state, state.clone().into());
        // Neither a waker nor a destructor runs with the lock held.
        drop(inner);
        drop(before);
        if let Some(changes) = changes {
            changes.send_replace(state);
        }
    }

    /// Watches the state.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        let Inner { state, changes } = &mut *self.lock();
        changes.get_or_insert_with(|| watch::channel(state.state()).0).subscribe()
    }

    /// Waits for a state of which there is something to tell.
    pub(super) async fn wait_for<T>(&self, mut tell: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let state = self.get();
        if let Some(told) = tell(&state) {
            return Some(told);
        }
        let mut told = None;
        let mut changes = self.watch();
        let waited = changes.wait_for(|state| {
            told = tell(state);
            told.is_some()
        });
        // It lasts as long as this cell.
        drop(waited.await);
        drop(changes);
        self.lock().tidy();
        told
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops a channel that nobody listens to.
    fn tidy(&mut self) {
        self.changes.take_if(|changes| changes.receiver_count() == 0);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn attempt(state: &State) -> Option<u32> {
        match state {
            State::Connecting { attempt } if *attempt > 1 => Some(*attempt),
            _ => None,
        }
    }

    #[test]
    fn who_waits_is_told_of_the_change() {
        let cell = StateCell::new(State::Connecting { attempt: 1 });
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting = pin!(cell.wait_for(attempt));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        cell.set(State::Connecting { attempt: 1 });
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        cell.set(State::Connecting { attempt: 2 });
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
        let mut at_once = pin!(cell.wait_for(attempt));
        assert_eq!(at_once.as_mut().poll(&mut cx), Poll::Ready(Some(2)));
    }

    #[test]
    fn the_channel_goes_with_its_last_receiver() {
        let cell = StateCell::new(State::Connecting { attempt: 1 });
        let mut watch = cell.watch();
        cell.set(State::Connecting { attempt: 2 });
        assert_eq!(attempt(&watch.borrow_and_update()), Some(2));
        assert!(cell.lock().changes.is_some());
        drop(watch);
        cell.set(State::Connecting { attempt: 3 });
        assert!(cell.lock().changes.is_none());
        // Also where a wait was given up.
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(cell.wait_for(|_| None::<()>)).as_mut().poll(&mut cx).is_pending());
        cell.set(State::Connecting { attempt: 4 });
        assert!(cell.lock().changes.is_none());
        assert_eq!(attempt(&cell.get()), Some(4));
    }
}
