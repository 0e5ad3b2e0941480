//! Which slots have something to do: one waker per slot, one list per worker.
//!
//! The wakers that the sockets keep push their slot's number on the list and wake the worker when
//! the list was empty. So a thousand sockets that become ready together cost one wake-up, and an
//! idle connection costs its 40-byte waker instead of a task.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

/// The numbers of the slots to look at.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<u32>,
    worker: Option<Waker>,
}

impl ReadyList {
    /// Says whom to wake when a slot becomes ready. What is on the list already is for the caller to
    /// [`take`](Self::take) afterwards.
    pub(crate) fn register(&self, worker: &Waker) {
        let mut inner = self.lock();
        if !inner.worker.as_ref().is_some_and(|known| known.will_wake(worker)) {
            inner.worker = Some(worker.clone());
        }
    }

    /// Exchanges the list for the empty vector `slots`, so that both keep their memory.
    pub(crate) fn take(&self, slots: &mut Vec<u32>) {
        slots.clear();
        std::mem::swap(&mut self.lock().slots, slots);
    }

    /// Wakes the worker although no slot is ready.
    pub(crate) fn wake_worker(&self) {
        let worker = self.lock().worker.clone();
        if let Some(worker) = worker {
            worker.wake();
        }
    }

    fn push(&self, slot: u32) {
        let mut inner = self.lock();
        inner.slots.push(slot);
        if inner.slots.len() == 1
            && let Some(worker) = &inner.worker
        {
            worker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A list is a list whether or not some thread panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one slot.
#[derive(Debug)]
pub(crate) struct SlotWaker {
    slot: u32,
    queued: AtomicBool,
    list: Arc<ReadyList>,
}

impl SlotWaker {
    /// The waker of slot `slot`, which puts it on `list`.
    pub(crate) fn new(slot: u32, list: &Arc<ReadyList>) -> Arc<Self> {
        Arc::new(Self { slot, queued: AtomicBool::new(false), list: Arc::clone(list) })
    }

    /// To be called before the slot is looked at: wakes from here on put it on the list again.
    pub(crate) fn taken(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.list.push(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_wakes_put_a_slot_on_the_list_once_and_wake_the_worker_once() {
        let list = Arc::new(ReadyList::default());
        let count = Arc::new(Count::default());
        list.register(&Arc::clone(&count).into());
        let slots = [SlotWaker::new(7, &list), SlotWaker::new(9, &list)];
        for _ in 0..3 {
            for slot in &slots {
                Waker::from(Arc::clone(slot)).wake_by_ref();
            }
        }
        let mut ready = Vec::new();
        list.take(&mut ready);
        assert_eq!(ready, [7, 9]);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);

        slots[0].taken();
        Waker::from(Arc::clone(&slots[0])).wake();
        Waker::from(Arc::clone(&slots[1])).wake();
        list.take(&mut ready);
        assert_eq!(ready, [7], "slot 9 was not looked at since, so it is still queued");
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
