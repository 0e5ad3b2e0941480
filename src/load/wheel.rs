//! The timer wheel of a worker: one deadline per slot, 12 bytes each.
//!
//! Time is cut into ticks of 100 ms. A deadline is kept in the bucket of the first tick that does
//! not lie before it, so a slot never expires too early for that reason; it may expire early because
//! its deadline is further away than the wheel reaches, or was put off after it had been armed.
//! Whoever is told that a slot expired therefore looks at what the slot is really waiting for.

use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);
const BUCKETS: u32 = 4096;
/// How many ticks ahead a slot can be armed. The other half of the wheel is for slots that are late.
const REACH: u32 = BUCKETS / 2;
/// The end of a list, and the tick of a slot that is not armed.
const NONE: u32 = u32::MAX;

/// A hashed timer wheel over slots that are numbered from zero.
#[derive(Debug)]
pub(crate) struct Wheel {
    origin: Instant,
    /// All buckets up to and including this tick have been emptied.
    current: u32,
    /// The last tick that time is known to have reached; nothing is armed for it any more, so that
    /// a slot that is armed again while slots expire cannot expire twice.
    reached: u32,
    heads: Box<[u32]>,
    /// One bit per bucket that is not empty.
    occupied: [u64; (BUCKETS / 64) as usize],
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    next: u32,
    previous: u32,
    tick: u32,
}

impl Wheel {
    /// An empty wheel whose ticks count from `origin`.
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            current: 0,
            reached: 0,
            heads: vec![NONE; BUCKETS as usize].into_boxed_slice(),
            occupied: [0; (BUCKETS / 64) as usize],
            entries: Vec::new(),
        }
    }

    /// Has `slot` expire at `deadline`, or earlier; `None` when it is waiting for nothing.
    ///
    /// A slot that is armed for an earlier tick stays there, which saves moving it each time the
    /// deadline is put off.
    pub(crate) fn arm(&mut self, slot: u32, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return self.disarm(slot) };
        let tick = self.tick_of(deadline);
        let armed = self.entry(slot).tick;
        if armed != NONE && armed <= tick {
            return;
        }
        self.unlink(slot);
        self.link(slot, tick);
    }

    /// Forgets the deadline of `slot`.
    pub(crate) fn disarm(&mut self, slot: u32) {
        self.unlink(slot);
    }

    /// Takes one slot that has expired by `now`, or `None` when no more have.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<u32> {
        let elapsed = self.elapsed_ticks(now);
        self.reached = self.reached.max(elapsed);
        while let Some(tick) = self.next_tick().filter(|&tick| tick <= elapsed) {
            let head = self.heads.get(bucket_of(tick)).copied().unwrap_or(NONE);
            if head != NONE {
                self.unlink(head);
                // The bucket may hold more; it stays next until it is empty.
                self.current = tick.saturating_sub(1).max(self.current);
                return Some(head);
            }
        }
        self.current = self.current.max(elapsed);
        None
    }

    /// When the next slot expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        Some(self.origin + TICK * self.next_tick()?)
    }

    /// The tick of the first bucket after `current` that is not empty.
    fn next_tick(&self) -> Option<u32> {
        let from = self.current.wrapping_add(1) % BUCKETS;
        let words = self.occupied.len() as u32;
        // The first word is looked at twice: its high bits at first, its low bits at last.
        (0..=words).find_map(|step| {
            let index = (from / 64 + step) % words;
            let mut word = self.occupied.get(index as usize).copied().unwrap_or(0);
            if step == 0 {
                word &= u64::MAX << (from % 64);
            } else if step == words {
                word &= !(u64::MAX << (from % 64));
            }
            let bucket = index * 64 + word.trailing_zeros();
            let ahead = (bucket + BUCKETS - from) % BUCKETS;
            (word != 0).then(|| self.current + 1 + ahead)
        })
    }

    /// The tick at which a deadline expires: not passed yet, and within reach of the wheel.
    fn tick_of(&self, deadline: Instant) -> u32 {
        let since = deadline.saturating_duration_since(self.origin).as_nanos();
        let tick = u32::try_from(since.div_ceil(TICK.as_nanos())).unwrap_or(NONE - 1);
        tick.clamp(self.reached + 1, self.reached + REACH).min(self.current + BUCKETS)
    }

    /// How many ticks have passed. After a pause in which the wheel would have gone round more than
    /// once, everything has expired: the time beyond is left out of the count, so that there stays
    /// room ahead for what is armed again.
    fn elapsed_ticks(&mut self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let elapsed = u32::try_from(since / TICK.as_nanos()).unwrap_or(NONE - BUCKETS - 1);
        let most = self.current + BUCKETS - 1;
        self.origin += TICK * elapsed.saturating_sub(most);
        elapsed.min(most)
    }

    fn entry(&mut self, slot: u32) -> &mut Entry {
        let index = slot as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry { next: NONE, previous: NONE, tick: NONE });
        }
        #[expect(clippy::indexing_slicing, reason = "resized to hold the index just above")]
        &mut self.entries[index]
    }

    fn link(&mut self, slot: u32, tick: u32) {
        let bucket = bucket_of(tick);
        let Some(head) = self.heads.get_mut(bucket) else { return };
        let next = std::mem::replace(head, slot);
        *self.entry(slot) = Entry { next, previous: NONE, tick };
        if next != NONE {
            self.entry(next).previous = slot;
        }
        if let Some(word) = self.occupied.get_mut(bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let empty = Entry { next: NONE, previous: NONE, tick: NONE };
        let Entry { next, previous, tick } = std::mem::replace(self.entry(slot), empty);
        if tick == NONE {
            return;
        }
        if next != NONE {
            self.entry(next).previous = previous;
        }
        if previous != NONE {
            self.entry(previous).next = next;
            return;
        }
        let bucket = bucket_of(tick);
        if let Some(head) = self.heads.get_mut(bucket) {
            *head = next;
        }
        if next == NONE
            && let Some(word) = self.occupied.get_mut(bucket / 64)
        {
            *word &= !(1 << (bucket % 64));
        }
    }
}

fn bucket_of(tick: u32) -> usize {
    (tick % BUCKETS) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn all_expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut slots: Vec<_> = std::iter::from_fn(|| wheel.expired(now)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_slot_expires_at_the_first_tick_after_its_deadline() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        wheel.arm(3, Some(origin + ms(250)));
        assert_eq!(wheel.next_expiry(), Some(origin + ms(300)));
        assert_eq!(wheel.expired(origin + ms(299)), None);
        assert_eq!(wheel.expired(origin + ms(300)), Some(3));
        assert_eq!(wheel.expired(origin + ms(300)), None);
        assert_eq!(wheel.next_expiry(), None);
    }

    #[test]
    fn a_deadline_in_the_past_expires_at_the_next_tick() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        assert_eq!(wheel.expired(origin + ms(1000)), None);
        wheel.arm(0, Some(origin));
        assert_eq!(wheel.expired(origin + ms(1000)), None);
        assert_eq!(wheel.expired(origin + ms(1100)), Some(0));
    }

    #[test]
    fn an_earlier_deadline_moves_a_slot_and_a_later_one_does_not() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        wheel.arm(1, Some(origin + ms(500)));
        wheel.arm(1, Some(origin + ms(900)));
        assert_eq!(wheel.next_expiry(), Some(origin + ms(500)));
        wheel.arm(1, Some(origin + ms(200)));
        assert_eq!(wheel.next_expiry(), Some(origin + ms(200)));
        assert_eq!(all_expired(&mut wheel, origin + ms(1000)), [1]);
    }

    #[test]
    fn a_disarmed_slot_does_not_expire() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        for slot in 0..5 {
            wheel.arm(slot, Some(origin + ms(100)));
        }
        wheel.disarm(2);
        wheel.arm(4, None);
        wheel.disarm(77);
        assert_eq!(all_expired(&mut wheel, origin + ms(100)), [0, 1, 3]);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_expires_early_and_can_be_armed_again() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        let deadline = origin + Duration::from_secs(65_535);
        wheel.arm(0, Some(deadline));
        let mut rounds = 0;
        let mut now = origin;
        while now < deadline {
            now = wheel.next_expiry().unwrap();
            assert_eq!(wheel.expired(now), Some(0));
            wheel.arm(0, Some(deadline));
            rounds += 1;
        }
        assert_eq!(now, deadline);
        assert!(rounds <= 655_350 / (REACH - 1) + 1, "{rounds}");
    }

    #[test]
    fn slots_armed_while_expiring_wait_for_a_later_tick() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        wheel.arm(0, Some(origin + ms(100)));
        wheel.arm(1, Some(origin + ms(100)));
        wheel.arm(2, Some(origin + ms(100)));
        let now = origin + ms(550);
        let mut seen = Vec::new();
        while let Some(slot) = wheel.expired(now) {
            wheel.arm(slot, Some(origin + ms(u64::from(slot) * 300)));
            seen.push(slot);
            assert!(seen.len() <= 3, "{seen:?}");
        }
        assert_eq!(all_expired(&mut wheel, origin + ms(600)), [0, 1, 2]);
    }

    #[test]
    fn a_long_pause_of_the_process_loses_nothing() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        for slot in 0..100 {
            wheel.arm(slot, Some(origin + ms(u64::from(slot) * 5_000)));
        }
        let now = origin + Duration::from_secs(86_400);
        let mut seen = 0;
        while let Some(slot) = wheel.expired(now) {
            wheel.arm(slot, Some(now));
            seen += 1;
            assert!(seen < 1000);
        }
        assert_eq!(seen, 100);
        assert_eq!(all_expired(&mut wheel, now + 2 * TICK).len(), 100);
    }

    proptest! {
        /// Against a list of deadlines: nothing is lost, nothing is late, nothing is early.
        #[test]
        fn agrees_with_a_plain_list(
            steps in prop::collection::vec((0u32..20, 0u64..600_000, 0u64..20_000), 1..200)
        ) {
            let origin = Instant::now();
            let mut wheel = Wheel::new(origin);
            let mut plain = [None::<Instant>; 20];
            let mut armed_at = [origin; 20];
            let mut now = origin;
            for (slot, deadline, step) in steps {
                let deadline = now + ms(deadline);
                wheel.disarm(slot);
                wheel.arm(slot, Some(deadline));
                plain[slot as usize] = Some(deadline);
                armed_at[slot as usize] = now;
                now += ms(step);
                for slot in all_expired(&mut wheel, now) {
                    let deadline = plain[slot as usize].take().unwrap();
                    if deadline > now {
                        // Only one that was out of reach when it was armed may be early.
                        prop_assert!(deadline > armed_at[slot as usize] + REACH * TICK);
                        armed_at[slot as usize] = now;
                        wheel.arm(slot, Some(deadline));
                        plain[slot as usize] = Some(deadline);
                    }
                }
                for deadline in plain.iter().flatten() {
                    prop_assert!(*deadline + TICK > now || wheel.next_expiry().is_some());
                    prop_assert!(*deadline + 2 * TICK > now);
                }
            }
        }
    }
}
