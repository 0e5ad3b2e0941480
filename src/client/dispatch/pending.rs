//! What is admitted and not finished, by ticket.

use std::collections::VecDeque;

use crate::session::Ticket;

/// Everything that is not finished, and the room it takes. Without any there is nothing but a
/// pointer: most clients are idle most of the time.
pub(super) struct Outstanding<T>(Option<Box<Entries<T>>>);

struct Entries<T> {
    by_ticket: ByTicket<T>,
    /// What is in it takes this much room.
    bytes: usize,
    /// Room to be given back, in one go.
    freed_messages: usize,
    freed_bytes: usize,
}

impl<T> Default for Outstanding<T> {
    fn default() -> Outstanding<T> {
        Outstanding(None)
    }
}

impl<T> Outstanding<T> {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.by_ticket.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much room it takes.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.bytes)
    }

    /// Adds an entry that takes so much room.
    #[inline]
    pub(super) fn insert(&mut self, ticket: Ticket, bytes: usize, value: T) {
        let entries = self.entries();
        entries.bytes += bytes;
        entries.by_ticket.insert(ticket, value);
    }

    /// Puts another entry in the place of one that was removed and whose room was not freed.
    pub(super) fn replace(&mut self, ticket: Ticket, value: T) {
        self.entries().by_ticket.insert(ticket, value);
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.0.as_mut()?.by_ticket.get_mut(ticket)
    }

    /// Removes an entry; its room stays taken until it is freed.
    #[inline]
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.0.as_mut()?.by_ticket.remove(ticket)
    }

    /// Frees the room of an entry.
    pub(super) fn free(&mut self, bytes: usize) {
        if let Some(entries) = &mut self.0 {
            entries.bytes -= bytes;
            entries.freed_messages += 1;
            entries.freed_bytes += bytes;
        }
    }

    /// How many entries have given how much room back since the last call.
    pub(super) fn take_freed(&mut self) -> Option<(usize, usize)> {
        let entries = self.0.as_mut().filter(|entries| entries.freed_messages > 0)?;
        let freed = (entries.freed_messages, entries.freed_bytes);
        (entries.freed_messages, entries.freed_bytes) = (0, 0);
        Some(freed)
    }

    /// Gives back the memory of a past burst.
    pub(super) fn shrink(&mut self) {
        let Some(entries) = &mut self.0 else { return };
        if entries.by_ticket.is_empty() && entries.bytes == 0 && entries.freed_messages == 0 {
            self.0 = None;
        } else {
            entries.by_ticket.shrink();
        }
    }

    fn entries(&mut self) -> &mut Entries<T> {
        self.0.get_or_insert_with(|| {
            let by_ticket = ByTicket::new();
            Box::new(Entries { by_ticket, bytes: 0, freed_messages: 0, freed_bytes: 0 })
        })
    }
}

/// Finds what belongs to a ticket.
///
/// Tickets come in ascending order, and what they name ends in about that order: a queue serves
/// where a map would hash. What is taken out leaves a gap until it is the oldest; where one entry
/// outlives very many others, the gaps are closed when they are more than the entries.
struct ByTicket<T> {
    /// In the order of the tickets.
    slots: VecDeque<(Ticket, Option<T>)>,
    count: usize,
}

/// Fewer gaps than this are not worth closing.
const GAPS: usize = 64;

impl<T> ByTicket<T> {
    fn new() -> ByTicket<T> {
        ByTicket { slots: VecDeque::new(), count: 0 }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry. It costs the least with a ticket that is above all others.
    #[inline]
    fn insert(&mut self, ticket: Ticket, value: T) {
        if self.slots.back().is_none_or(|&(last, _)| last < ticket) {
            self.slots.push_back((ticket, Some(value)));
            self.count += 1;
        } else {
            self.insert_within(ticket, value);
        }
    }

    fn insert_within(&mut self, ticket: Ticket, value: T) {
        let index = self.slots.partition_point(|&(before, _)| before < ticket);
        match self.slots.get_mut(index) {
            Some((at, slot)) if *at == ticket => {
                self.count += usize::from(slot.replace(value).is_none());
            }
            _ => {
                self.slots.insert(index, (ticket, Some(value)));
                self.count += 1;
            }
        }
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.slot(ticket)?.as_mut()
    }

    #[inline]
    fn remove(&mut self, ticket: Ticket) -> Option<T> {
        // The oldest is never a gap.
        let removed = match self.slots.front() {
            Some(&(first, _)) if first == ticket => {
                let (_, oldest) = self.slots.pop_front()?;
                while let Some((_, None)) = self.slots.front() {
                    self.slots.pop_front();
                }
                oldest
            }
            _ => self.remove_within(ticket),
        };
        self.count -= usize::from(removed.is_some());
        removed
    }

    /// Takes out an entry that is not the oldest.
    fn remove_within(&mut self, ticket: Ticket) -> Option<T> {
        let value = self.slot(ticket)?.take()?;
        if self.slots.len() > 2 * self.count + GAPS {
            self.slots.retain(|(_, slot)| slot.is_some());
        }
        Some(value)
    }

    /// Gives back the memory of a past burst.
    fn shrink(&mut self) {
        self.slots.shrink_to_fit();
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Option<T>> {
        let &(first, _) = self.slots.front()?;
        // Where no number was left out, that is the place.
        let distance = usize::try_from(ticket.get().checked_sub(first.get())?).ok()?;
        let index = match self.slots.get(distance) {
            Some(&(at, _)) if at == ticket => distance,
            _ => self.slots.binary_search_by_key(&ticket, |&(at, _)| at).ok()?,
        };
        self.slots.get_mut(index).map(|(_, slot)| slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_whatever_is_added_and_taken_in_which_order(
            steps in prop::collection::vec((0..3u8, 0..200u64), 0..600),
        ) {
            let (mut entries, mut model) = (ByTicket::new(), BTreeMap::new());
            let mut last = 0;
            for (value, (kind, number)) in steps.into_iter().enumerate() {
                // Above all others, with a number left out now and then; or anywhere.
                last += 1 + u64::from(number % 7 == 0);
                let number = if kind == 0 { last } else { number };
                let ticket = Ticket::new(number);
                if kind == 2 {
                    prop_assert_eq!(entries.remove(ticket), model.remove(&number));
                } else {
                    last = last.max(number);
                    entries.insert(ticket, value);
                    model.insert(number, value);
                }
                prop_assert_eq!(entries.get_mut(ticket), model.get_mut(&number));
                prop_assert_eq!((entries.len(), entries.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }

    #[test]
    fn nothing_is_held_for_what_has_ended_and_given_its_room_back() {
        let mut outstanding = Outstanding::default();
        let is_absent = |outstanding: &mut Outstanding<()>| {
            outstanding.shrink();
            outstanding.0.is_none()
        };
        outstanding.insert(Ticket::new(1), 10, ());
        assert!(!is_absent(&mut outstanding));
        assert_eq!((outstanding.len(), outstanding.bytes()), (1, 10));
        assert_eq!(outstanding.remove(Ticket::new(1)), Some(()));
        assert!(!is_absent(&mut outstanding), "its room is taken");
        outstanding.free(10);
        assert!(!is_absent(&mut outstanding), "its room was not given back");
        assert_eq!(outstanding.take_freed(), Some((1, 10)));
        assert_eq!(outstanding.take_freed(), None);
        assert!(is_absent(&mut outstanding));
        assert_eq!((outstanding.len(), outstanding.bytes()), (0, 0));
    }

    #[test]
    fn an_entry_that_never_ends_does_not_make_it_grow() {
        let mut entries = ByTicket::new();
        entries.insert(Ticket::new(0), 0);
        for number in 1..100_000 {
            entries.insert(Ticket::new(number), number);
            assert_eq!(entries.remove(Ticket::new(number)), Some(number));
        }
        assert_eq!(entries.get_mut(Ticket::new(0)), Some(&mut 0));
        assert!(entries.slots.capacity() <= 4 * GAPS, "{}", entries.slots.capacity());
    }
}
