//! One timer for all clients of a runtime.
//!
//! A timer of Tokio's own takes 96 bytes on the heap, a tenth of an idle client. Here a client has an
//! entry of 16 bytes in a heap, whose earliest entry one task waits for. The task holds nothing alive
//! and ends with the last client of its runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::time::Sleep;

use super::shared::Shared;
use super::task::now;

/// Wakes one client, by way of its mailbox.
pub(super) struct Alarm {
    timers: Arc<Timers>,
    /// When they wake the client.
    wakes_at: Option<Instant>,
}

impl Alarm {
    pub(super) fn new(timers: Arc<Timers>) -> Alarm {
        Alarm { timers, wakes_at: None }
    }

    /// Waits for a time. The mailbox must have been told whom to wake before the clock was read for
    /// `now`: an entry that has woken nobody until then is due by this clock.
    pub(super) fn poll(&mut self, client: &Arc<Shared>, now: Instant, at: Instant) -> Poll<()> {
        if at <= now {
            return Poll::Ready(());
        }
        // An entry that is early is left alone: it wakes in vain once, where moving it would cost
        // something at each packet.
        if self.wakes_at.is_none_or(|wakes_at| at < wakes_at || wakes_at <= now) {
            self.wakes_at = Some(at);
            self.timers.set(client, at);
        }
        Poll::Pending
    }

    /// Lets go of the client.
    pub(super) fn stop(&mut self, client: &Shared) {
        self.timers.remove(client);
    }
}

/// Wakes the clients of one runtime, each at its time.
pub(super) struct Timers {
    /// What the times of the entries count from.
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// A binary heap: each entry is at its time or after that of the entry above it.
    entries: Vec<Entry>,
    /// When the task wakes by itself.
    next: Nanos,
    /// Wakes the task before.
    task: Option<Waker>,
    /// The task is gone, and with it the runtime.
    stopped: bool,
}

struct Entry {
    at: Nanos,
    /// It knows the place of the entry: see [`Shared::timer_place`].
    client: Arc<Shared>,
}

/// Nanoseconds since the start of the timers, enough for 584 years.
type Nanos = u64;

/// Where a client is that has no entry.
pub(super) const NO_PLACE: u32 = u32::MAX;

impl Timers {
    /// The timers of a runtime, which begin with its first client.
    pub(super) fn of(runtime: &runtime::Handle) -> Arc<Timers> {
        static ALL: Mutex<Vec<(runtime::Id, Weak<Timers>)>> = Mutex::new(Vec::new());
        // Nothing in here is left half done by a panic.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, timers)| timers.strong_count() > 0);
        let id = runtime.id();
        let known = all.iter().filter(|(of, _)| *of == id).find_map(|(_, timers)| timers.upgrade());
        // A runtime may have the number of one that is gone, some of whose clients are not.
        if let Some(timers) = known.filter(|timers| !timers.lock().stopped) {
            return timers;
        }
        let timers = Arc::new(Timers::new());
        all.retain(|(of, _)| *of != id);
        all.push((id, Arc::downgrade(&timers)));
        let mut wait = Wait { timers: Arc::downgrade(&timers), sleep: None };
        runtime.spawn(poll_fn(move |cx| wait.poll(cx)));
        timers
    }

    fn new() -> Timers {
        let state = State { entries: Vec::new(), next: Nanos::MAX, task: None, stopped: false };
        Timers { start: now(), state: Mutex::new(state) }
    }

    /// Wakes a client at a time, and not at the one that was set before.
    fn set(&self, client: &Arc<Shared>, at: Instant) {
        let at = self.nanos(at);
        let mut state = self.lock();
        let place = client.timer_place.load(Ordering::Relaxed);
        if place == NO_PLACE {
            state.push(Entry { at, client: Arc::clone(client) });
        } else if let Some(entry) = state.entries.get_mut(place as usize) {
            entry.at = at;
            state.settle(place as usize);
        }
        let sooner = state.first().is_some_and(|first| first < state.next);
        let task = if sooner { state.task.take() } else { None };
        drop(state);
        task.inspect(Waker::wake_by_ref);
    }

    /// Forgets a client.
    fn remove(&self, client: &Shared) {
        let mut state = self.lock();
        let place = client.timer_place.load(Ordering::Relaxed);
        let removed = if place == NO_PLACE { None } else { state.take(place as usize) };
        drop(state);
        // Neither a waker nor a destructor runs with the lock held.
        drop(removed);
    }

    /// Wakes the clients whose time has come, and says when that of the next one will have.
    fn fire(&self, task: &Waker) -> Option<Instant> {
        let now = self.nanos(now());
        let mut state = self.lock();
        let mut due = Vec::new();
        while state.first().is_some_and(|first| first <= now) {
            due.extend(state.take(0));
        }
        let next = state.first();
        state.next = next.unwrap_or(Nanos::MAX);
        state.task = Some(task.clone());
        drop(state);
        due.iter().for_each(|entry| entry.client.mailbox.wake());
        next.and_then(|next| self.start.checked_add(Duration::from_nanos(next)))
    }

    fn nanos(&self, at: Instant) -> Nanos {
        let since_start = at.saturating_duration_since(self.start);
        Nanos::try_from(since_start.as_nanos()).unwrap_or(Nanos::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        // The task finds that there is nothing left to wait for.
        let task = self.lock().task.take();
        task.inspect(Waker::wake_by_ref);
    }
}

impl State {
    fn first(&self) -> Option<Nanos> {
        self.entries.first().map(|entry| entry.at)
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            // Many clients begin once and stay: to double the room would leave half of it empty.
            self.entries.reserve_exact(self.entries.len() / 8 + 16);
        }
        self.entries.push(entry);
        self.settle(self.entries.len() - 1);
    }

    fn take(&mut self, place: usize) -> Option<Entry> {
        if place >= self.entries.len() {
            return None;
        }
        let entry = self.entries.swap_remove(place);
        entry.client.timer_place.store(NO_PLACE, Ordering::Relaxed);
        if place < self.entries.len() {
            self.settle(place);
        }
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to(self.entries.len() + self.entries.len() / 8 + 16);
        }
        Some(entry)
    }

    /// Moves the entry at a place to where it belongs by its time.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let child = if self.is_before(right, left) { right } else { left };
            if !self.is_before(child, place) {
                break;
            }
            self.swap(child, place);
            place = child;
        }
        self.note(place);
    }

    /// Whether there is an entry at one place that is due before that at another.
    fn is_before(&self, place: usize, other: usize) -> bool {
        match (self.entries.get(place), self.entries.get(other)) {
            (Some(entry), Some(other)) => entry.at < other.at,
            _ => false,
        }
    }

    /// Has the entries at two places change them.
    fn swap(&mut self, place: usize, other: usize) {
        self.entries.swap(place, other);
        self.note(place);
        self.note(other);
    }

    fn note(&self, place: usize) {
        if let Some(entry) = self.entries.get(place) {
            entry.client.timer_place.store(place as u32, Ordering::Relaxed);
        }
    }
}

/// The task that waits for the first of the times.
struct Wait {
    timers: Weak<Timers>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(timers) = self.timers.upgrade() else { return Poll::Ready(()) };
            let next = timers.fire(cx.waker());
            drop(timers);
            let Some(next) = next else {
                self.sleep = None;
                return Poll::Pending;
            };
            let next = tokio::time::Instant::from_std(next);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(timers) = self.timers.upgrade() {
            timers.lock().stopped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::acks::Acks;
    use super::super::mailbox::tests::Count;
    use super::super::options::{OutgoingQueue, Settings, StreamLimits};
    use super::super::stream::{Bounds, Slow};
    use super::*;
    use crate::codec::Version;

    /// A client that counts how often it is woken.
    struct Client {
        shared: Arc<Shared>,
        woken: Arc<Count>,
    }

    fn shared() -> Arc<Shared> {
        let limits = StreamLimits { messages: 1, bytes: 1 };
        let outgoing = OutgoingQueue::default();
        let settings = Settings { version: Version::V5, outgoing, streams: limits };
        let bounds = Bounds { limits, acks: Acks::default(), slow: Slow::default() };
        Arc::new(Shared::new(Arc::new(settings), Arc::new(bounds), None))
    }

    impl Client {
        fn new() -> Client {
            let client = Client { shared: shared(), woken: Arc::default() };
            client.watch();
            client
        }

        fn watch(&self) {
            let waker = Arc::clone(&self.woken).into();
            self.shared.mailbox.watch(&mut Context::from_waker(&waker));
        }

        /// How often it was woken since the last call.
        fn take_woken(&self) -> usize {
            self.watch();
            self.woken.0.swap(0, Ordering::Relaxed)
        }
    }

    fn runtime() -> runtime::Runtime {
        runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    proptest! {
        #[test]
        fn each_client_is_woken_at_its_last_time_and_never_else(
            steps in prop::collection::vec((0..40usize, 0..5u8, 1..100u32), 0..300),
        ) {
            runtime().block_on(async {
                let timers = Timers::new();
                let clients: Vec<_> = (0..40).map(|_| Client::new()).collect();
                let mut model = BTreeSet::new();
                for (number, kind, seconds) in steps {
                    model.retain(|&(_, of)| kind == 0 || of != number);
                    match kind {
                        0 => tokio::time::advance(seconds * SECOND / 20).await,
                        1 => timers.remove(&clients[number].shared),
                        _ => {
                            let at = now() + seconds * SECOND;
                            timers.set(&clients[number].shared, at);
                            model.insert((at, number));
                        }
                    }
                    let next = timers.fire(Waker::noop());
                    let (now, mut due) = (now(), BTreeSet::new());
                    while model.first().is_some_and(|&(at, _)| at <= now) {
                        due.extend(model.pop_first().map(|(_, number)| number));
                    }
                    for (number, client) in clients.iter().enumerate() {
                        assert_eq!(client.take_woken(), usize::from(due.contains(&number)));
                    }
                    assert_eq!(next, model.first().map(|&(at, _)| at));
                    assert_eq!(timers.lock().entries.len(), model.len());
                }
            });
        }
    }

    #[test]
    fn the_task_waits_for_the_first_and_ends_with_the_last() {
        runtime().block_on(async {
            let runtime = runtime::Handle::current();
            let timers = Timers::of(&runtime);
            assert!(Arc::ptr_eq(&timers, &Timers::of(&runtime)));
            let (a, b) = (Client::new(), Client::new());
            let start = now();
            timers.set(&a.shared, start + 60 * SECOND);
            tokio::task::yield_now().await;
            timers.set(&b.shared, start + 10 * SECOND);
            tokio::time::sleep_until((start + 11 * SECOND).into()).await;
            assert_eq!((a.take_woken(), b.take_woken()), (0, 1));
            timers.set(&b.shared, start + 100 * SECOND);
            tokio::time::sleep_until((start + 61 * SECOND).into()).await;
            assert_eq!((a.take_woken(), b.take_woken()), (1, 0));
            timers.remove(&b.shared);
            assert_eq!(Arc::strong_count(&b.shared), 1);
            assert_eq!(runtime.metrics().num_alive_tasks(), 1);
            drop(timers);
            tokio::task::yield_now().await;
            assert_eq!(runtime.metrics().num_alive_tasks(), 0);
        });
    }

    #[test]
    fn an_entry_that_wakes_nobody_is_due_for_who_looks_after_that() {
        runtime().block_on(async {
            let client = Client::new();
            let timers = Arc::new(Timers::new());
            let mut alarm = Alarm::new(Arc::clone(&timers));
            let at = now() + SECOND;
            assert!(alarm.poll(&client.shared, now(), at).is_pending());
            client.shared.mailbox.wake();
            tokio::time::advance(SECOND).await;
            assert_eq!(timers.fire(Waker::noop()), None);
            assert_eq!(client.take_woken(), 1);
            assert!(alarm.poll(&client.shared, now(), at).is_ready());
            assert!(alarm.poll(&client.shared, now(), at + SECOND).is_pending());
            assert_eq!(timers.fire(Waker::noop()), Some(at + SECOND));
        });
    }

    /// Waits for many times, each a moment after the one before, as a driver task does. Each time it
    /// wakes another client before that one's time.
    async fn wait_often(timers: Arc<Timers>, clients: Arc<[Arc<Shared>]>, number: usize) {
        let client = &clients[number];
        let mut times = 300;
        let mut alarm = Alarm::new(timers);
        let mut at = now();
        poll_fn(|cx| {
            loop {
                client.mailbox.take(cx, &mut Vec::new());
                let now = now();
                if alarm.poll(client, now, at).is_pending() {
                    return Poll::Pending;
                }
                if times == 0 {
                    return Poll::Ready(());
                }
                times -= 1;
                clients[(number + times) % clients.len()].mailbox.wake();
                at = now + Duration::from_micros(100 * (times as u64 % 30));
            }
        })
        .await;
        alarm.stop(client);
    }

    #[test]
    fn nobody_is_forgotten_whatever_the_threads_do_at_the_same_time() {
        let mut runtime = runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(4).enable_time().build().unwrap();
        runtime.block_on(async {
            let timers = Timers::of(&runtime::Handle::current());
            let clients: Arc<[_]> = (0..100).map(|_| shared()).collect();
            let wait = |number| wait_often(Arc::clone(&timers), Arc::clone(&clients), number);
            let waits: Vec<_> = (0..100).map(|number| tokio::spawn(wait(number))).collect();
            for wait in waits {
                tokio::time::timeout(60 * SECOND, wait).await.unwrap().unwrap();
            }
        });
    }

    #[test]
    fn runtimes_have_timers_of_their_own_that_stop_with_them() {
        let (one, other) = (runtime(), runtime());
        let of_one = one.block_on(async { Timers::of(&runtime::Handle::current()) });
        let of_other = other.block_on(async { Timers::of(&runtime::Handle::current()) });
        assert!(!Arc::ptr_eq(&of_one, &of_other));
        drop(one);
        assert!(of_one.lock().stopped && !of_other.lock().stopped);
    }
}
