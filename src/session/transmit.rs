//! Output on its way to the socket: small things copied together, large payloads by reference.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Collects what sessions have to say and keeps it until the kernel has taken it.
///
/// Headers and small payloads are copied into one buffer, so that many packets leave in one
/// system call; payloads of 16 KiB and more stay where they are and are written from there.
#[derive(Debug)]
pub struct Transmit {
    copied: Vec<u8>,
    /// How much of `copied` has been taken.
    taken: usize,
    /// Payloads by reference, in order.
    shared: VecDeque<Shared>,
    shared_bytes: usize,
    budget: usize,
}

#[derive(Debug)]
struct Shared {
    /// The payload follows this many bytes of `copied`.
    after: usize,
    payload: Bytes,
}

/// Payloads of at least this many bytes are not copied: below it a copy is cheaper than another
/// entry in the vector of a write.
const SHARE_FROM: usize = 16 << 10;

/// What is taken is dropped from the buffer once it is more than this, and more than the rest: where
/// output never runs dry the buffer would grow for ever.
const COMPACT_FROM: usize = 64 << 10;

impl Transmit {
    /// Makes an empty one that asks for about 64 KiB at a time.
    pub fn new() -> Transmit {
        Transmit::with_budget(64 << 10)
    }

    /// Makes an empty one that asks for about `bytes` at a time, at least for one. A single packet
    /// may go beyond.
    pub fn with_budget(bytes: usize) -> Transmit {
        Transmit {
            copied: Vec::new(),
            taken: 0,
            shared: VecDeque::new(),
            shared_bytes: 0,
            budget: bytes.max(1),
        }
    }

    /// Number of bytes waiting.
    pub fn len(&self) -> usize {
        self.copied.len() - self.taken + self.shared_bytes
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether as much is waiting as was asked for.
    pub fn is_full(&self) -> bool {
        self.len() >= self.budget
    }

    /// Fills `slices` with the bytes waiting, in order, and says how many of them it filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut at = self.taken;
        let mut shared = self.shared.iter();
        let mut slots = slices.iter_mut();
        loop {
            let next = shared.next();
            let end = next.map_or(self.copied.len(), |shared| shared.after);
            if let Some(copied) = self.copied.get(at..end).filter(|copied| !copied.is_empty()) {
                let Some(slot) = slots.next() else { return filled };
                *slot = IoSlice::new(copied);
                filled += 1;
            }
            at = end;
            let Some(next) = next else { return filled };
            let Some(slot) = slots.next() else { return filled };
            *slot = IoSlice::new(&next.payload);
            filled += 1;
        }
    }

    /// Drops the first `bytes` of what is waiting: the kernel has them.
    pub fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let end = self.shared.front().map_or(self.copied.len(), |shared| shared.after);
            let step = bytes.min(end.saturating_sub(self.taken));
            self.taken += step;
            bytes -= step;
            if bytes == 0 {
                break;
            }
            let Some(front) = self.shared.front_mut() else { break };
            let step = bytes.min(front.payload.len());
            front.payload.advance(step);
            self.shared_bytes -= step;
            bytes -= step;
            if front.payload.is_empty() {
                self.shared.pop_front();
            }
        }
        if self.is_empty() {
            self.clear();
        } else if self.taken > COMPACT_FROM && self.taken > self.copied.len() / 2 {
            self.copied.drain(..self.taken);
            for shared in &mut self.shared {
                shared.after -= self.taken;
            }
            self.taken = 0;
        }
    }

    /// Drops everything and keeps the buffer for what comes next.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.taken = 0;
        self.shared.clear();
        self.shared_bytes = 0;
    }

    /// Takes what is waiting away, in a `Transmit` of its own; `None` when nothing is.
    pub fn take_rest(&mut self) -> Option<Box<Transmit>> {
        if self.is_empty() {
            return None;
        }
        let taken = std::mem::take(&mut self.taken);
        let rest = Transmit {
            copied: self.copied.get(taken..).unwrap_or_default().to_vec(),
            taken: 0,
            shared: self
                .shared
                .drain(..)
                .map(|shared| Shared { after: shared.after - taken, ..shared })
                .collect(),
            shared_bytes: std::mem::take(&mut self.shared_bytes),
            budget: self.budget,
        };
        self.copied.clear();
        Some(Box::new(rest))
    }

    /// The buffer to encode into.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Appends a payload.
    pub(super) fn payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARE_FROM {
            self.copied.extend_from_slice(payload);
        } else {
            self.shared_bytes += payload.len();
            self.shared.push_back(Shared { after: self.copied.len(), payload: payload.clone() });
        }
    }
}

impl Default for Transmit {
    fn default() -> Transmit {
        Transmit::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a `Transmit` would write.
    fn content(transmit: &Transmit) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = transmit.io_slices(&mut slices);
        slices[..filled].iter().map(|slice| &**slice).collect::<Vec<_>>().concat()
    }

    fn sample() -> (Transmit, Vec<u8>) {
        let mut transmit = Transmit::new();
        let mut expected = Vec::new();
        for n in 0..5u8 {
            transmit.buffer().extend_from_slice(&[n; 10]);
            expected.extend_from_slice(&[n; 10]);
            let payload = vec![n + 100; if n % 2 == 0 { SHARE_FROM } else { 7 }];
            transmit.payload(&Bytes::from(payload.clone()));
            expected.extend_from_slice(&payload);
        }
        transmit.buffer().push(9);
        expected.push(9);
        (transmit, expected)
    }

    #[test]
    fn bytes_leave_in_order_however_the_kernel_takes_them() {
        for step in [13, 1000, SHARE_FROM, SHARE_FROM + 11] {
            let (mut transmit, expected) = sample();
            let mut seen = Vec::new();
            while !transmit.is_empty() {
                let bytes = content(&transmit);
                assert_eq!(bytes.len(), transmit.len());
                let n = step.min(bytes.len());
                seen.extend_from_slice(&bytes[..n]);
                transmit.advance(n);
            }
            assert!(seen == expected, "step {step}");
        }
    }

    #[test]
    fn the_rest_is_taken_whole_after_any_advance() {
        for at in [0, 3, 10, 11, SHARE_FROM + 9, SHARE_FROM + 10, SHARE_FROM + 12] {
            let (mut transmit, expected) = sample();
            transmit.advance(at);
            let rest = transmit.take_rest().unwrap();
            assert!(content(&rest) == expected[at..], "after {at}");
            assert!(transmit.is_empty());
            assert!(content(&transmit).is_empty());
        }
        assert!(Transmit::new().take_rest().is_none());
    }

    #[test]
    fn what_is_taken_is_not_kept_while_more_is_added() {
        let (mut transmit, mut expected) = (Transmit::new(), Vec::new());
        let mut seen = Vec::new();
        for n in 0..2000u32 {
            let mut add = |bytes: Vec<u8>, shared: bool| {
                expected.extend_from_slice(&bytes);
                if shared {
                    transmit.payload(&Bytes::from(bytes));
                } else {
                    transmit.buffer().extend_from_slice(&bytes);
                }
            };
            add(n.to_be_bytes().repeat(500), false);
            if n % 50 == 0 {
                add(n.to_be_bytes().repeat(SHARE_FROM / 4), true);
            }
            let take = (transmit.len() - 1).min(2400);
            seen.extend_from_slice(&content(&transmit)[..take]);
            transmit.advance(take);
            assert!(transmit.copied.len() < 1 << 20, "{}", transmit.copied.len());
        }
        seen.extend(content(&transmit));
        assert!(seen == expected);
    }

    #[test]
    fn no_budget_still_lets_one_packet_through() {
        assert!(!Transmit::with_budget(0).is_full());
    }

    #[test]
    fn few_slots_are_filled_with_the_first_bytes() {
        let (transmit, expected) = sample();
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(transmit.io_slices(&mut slices), 2);
        let bytes = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        assert!(expected.starts_with(&bytes));
    }
}
