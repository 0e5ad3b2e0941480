//! What a client is doing, for those who ask and those who wait for it to change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::alike::Alike;
use super::info::{ConnectInfo, State};

/// Holds the state of a client. The channel that tells of changes has 416 bytes on the heap, four
/// tenths of an idle client: it exists while somebody watches.
pub(super) struct StateCell(Mutex<Inner>);

struct Inner {
    state: Compact,
    changes: Option<watch::Sender<State>>,
}

/// A state that takes little room where a client spends its life.
enum Compact {
    Connected {
        client_id: Box<str>,
        /// All but the client identifier. The clients of one broker mostly have that in common.
        info: Arc<ConnectInfo>,
    },
    Other(Box<State>),
}

impl From<State> for Compact {
    fn from(state: State) -> Compact {
        static INFO: Alike<ConnectInfo> = Alike::new();
        match state {
            State::Connected(info) => {
                let ConnectInfo { client_id, .. } = &*info;
                let rest = ConnectInfo { client_id: "".into(), ..ConnectInfo::clone(&info) };
                Compact::Connected { client_id: client_id.clone(), info: INFO.share(rest) }
            }
            other => Compact::Other(Box::new(other)),
        }
    }
}

impl Compact {
    fn state(&self) -> State {
        match self {
            Compact::Connected { client_id, info } => {
                let client_id = client_id.clone();
                State::Connected(Arc::new(ConnectInfo { client_id, ..ConnectInfo::clone(info) }))
            }
            Compact::Other(state) => State::clone(state),
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
    use crate::codec::{Properties, ReasonCode, Version};
    use crate::session::{Config, Session};

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

    #[test]
    fn clients_of_one_broker_share_what_they_know_of_it() {
        let connected = |client_id: &str, attempts| {
            let config = Config::new(Version::V5);
            let info = ConnectInfo {
                client_id: client_id.into(),
                session_present: false,
                session_lost: false,
                reason: ReasonCode::SUCCESS,
                properties: Properties::default(),
                limits: Session::new(Arc::new(config), client_id, 0).limits(),
                attempts,
                peer: None,
            };
            let cell = StateCell::new(State::Connected(Arc::new(info.clone())));
            assert!(matches!(cell.get(), State::Connected(known) if *known == info));
            cell
        };
        let shared = |cell: &StateCell| match &cell.lock().state {
            Compact::Connected { info, .. } => Arc::clone(info),
            Compact::Other(other) => panic!("{other:?}"),
        };
        let (a, b, c) = (connected("a", 7), connected("b", 7), connected("c", 8));
        assert!(Arc::ptr_eq(&shared(&a), &shared(&b)));
        assert!(!Arc::ptr_eq(&shared(&b), &shared(&c)));
    }
}
