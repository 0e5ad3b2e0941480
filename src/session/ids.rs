//! The packet identifiers of this side: one owner, one space for PUBLISH, SUBSCRIBE and
//! UNSUBSCRIBE \[MQTT-2.2.1-3\].

use crate::codec::PacketId;

/// Gives out unused identifiers, round robin over 1..=65,535 so that an identifier rests as long
/// as possible, and keeps for each one in use what it stands for.
///
/// The table has pages that exist only while an identifier in them is in use: a client with a
/// small window needs one or two of them, whatever number the identifiers have reached.
#[derive(Debug)]
pub(super) struct PacketIds<T> {
    pages: Vec<Option<Box<Page<T>>>>,
    used: usize,
    last: u16,
}

#[derive(Debug)]
struct Page<T> {
    used: u16,
    slots: [Option<T>; PAGE],
}

/// Identifiers per page.
const PAGE: usize = 256;

impl<T: Copy> PacketIds<T> {
    pub(super) fn new() -> PacketIds<T> {
        PacketIds { pages: Vec::new(), used: 0, last: 0 }
    }

    /// Takes an unused identifier for `value`; `None` when all 65,535 are in use.
    pub(super) fn allocate(&mut self, value: T) -> Option<PacketId> {
        if self.used == usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            let (page, slot) = place(self.last);
            if page >= self.pages.len() {
                self.pages.resize_with(page + 1, || None);
            }
            let page = self.pages.get_mut(page)?;
            let page = page.get_or_insert_with(|| Box::new(Page { used: 0, slots: [None; PAGE] }));
            let entry = page.slots.get_mut(slot)?;
            if entry.is_none() {
                *entry = Some(value);
                page.used += 1;
                self.used += 1;
                return PacketId::new(self.last);
            }
        }
    }

    /// Takes a certain identifier for `value`, if it is unused; the next ones follow on from it.
    pub(super) fn take(&mut self, id: PacketId, value: T) {
        if self.find(id).is_none() {
            self.last = id.get().checked_sub(1).unwrap_or(u16::MAX);
            let taken = self.allocate(value);
            debug_assert_eq!(taken, Some(id), "it is unused");
        }
    }

    /// Makes the identifiers go on from `id`.
    pub(super) fn continue_after(&mut self, id: PacketId) {
        self.last = id.get();
    }

    /// What an identifier in use stands for.
    pub(super) fn find(&self, id: PacketId) -> Option<T> {
        let (page, slot) = place(id.get());
        *self.pages.get(page)?.as_ref()?.slots.get(slot)?
    }

    /// Changes what an identifier in use stands for.
    pub(super) fn set(&mut self, id: PacketId, value: T) {
        let (page, slot) = place(id.get());
        let page = self.pages.get_mut(page).and_then(Option::as_mut);
        if let Some(Some(old)) = page.and_then(|page| page.slots.get_mut(slot)) {
            *old = value;
        }
    }

    /// Makes an identifier unused again.
    pub(super) fn release(&mut self, id: PacketId) -> Option<T> {
        let (page, slot) = place(id.get());
        let holder = self.pages.get_mut(page)?;
        let page = holder.as_mut()?;
        let value = page.slots.get_mut(slot)?.take()?;
        page.used -= 1;
        self.used -= 1;
        if page.used == 0 {
            *holder = None;
        }
        Some(value)
    }

    /// Makes the identifiers unused that do not stand for what is to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(T) -> bool) {
        for holder in &mut self.pages {
            let Some(page) = holder else { continue };
            for slot in &mut page.slots {
                if slot.is_some_and(|value| !keep(value)) {
                    *slot = None;
                    page.used -= 1;
                    self.used -= 1;
                }
            }
            if page.used == 0 {
                *holder = None;
            }
        }
    }

    /// Frees the table while no identifier is in use.
    pub(super) fn put_away(&mut self) {
        if self.used == 0 {
            self.pages = Vec::new();
        }
    }

    /// Makes all identifiers unused. The next ones follow on from them all the same.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.used = 0;
    }

    /// How many identifiers are in use.
    pub(super) fn used_count(&self) -> usize {
        self.used
    }
}

fn place(id: u16) -> (usize, usize) {
    (usize::from(id) / PAGE, usize::from(id) % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_is_given_out_once_and_none_is_zero() {
        let mut ids = PacketIds::new();
        let mut seen = vec![false; 65_536];
        for n in 0..65_535u32 {
            let id = ids.allocate(n).unwrap();
            assert!(!std::mem::replace(&mut seen[usize::from(id.get())], true), "{id} twice");
            assert_eq!(ids.find(id), Some(n));
        }
        assert!(!seen[0]);
        assert_eq!(ids.allocate(0), None, "a 65,536th identifier does not exist");
        let id = PacketId::new(40_000).unwrap();
        assert_eq!(ids.release(id), Some(39_999));
        assert_eq!(ids.release(id), None);
        assert_eq!(ids.allocate(7), Some(id));
    }

    #[test]
    fn an_identifier_held_over_the_wrap_is_skipped() {
        let mut ids = PacketIds::new();
        let held = ids.allocate(0).unwrap();
        for _ in 0..200_000 {
            let id = ids.allocate(1).unwrap();
            assert_ne!(id, held);
            ids.release(id);
        }
        assert_eq!(ids.used_count(), 1);
    }

    #[test]
    fn pages_without_an_identifier_in_use_are_freed() {
        let mut ids = PacketIds::new();
        for _ in 0..65_535 {
            let id = ids.allocate(()).unwrap();
            ids.release(id);
        }
        assert!(ids.pages.iter().all(Option::is_none));
    }
}
