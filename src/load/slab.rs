//! Numbered places for the connections of one thread.
//!
//! Places come in chunks that never move: growing costs one allocation and no copying. At most one
//! chunk is unused, and the part of it that nothing was put in yet takes no memory of the machine.

const CHUNK: usize = 1024;

/// Values by number. A number is used again after its value was removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: u32,
}

impl<T> Slab<T> {
    /// No places yet.
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The numbers that may hold a value are below this one.
    pub(crate) fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        (full + self.chunks.last().map_or(0, Vec::len)) as u32
    }

    /// Puts the value that `make` returns for its number into a free place.
    pub(crate) fn insert(&mut self, make: impl FnOnce(u32) -> T) -> u32 {
        self.len += 1;
        if let Some(number) = self.free.pop()
            && let Some(place) = self.place(number)
        {
            *place = Some(make(number));
            return number;
        }
        let number = self.end();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Some(make(number))),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(Some(make(number)));
                self.chunks.push(chunk);
            }
        }
        number
    }

    /// The value with this number.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)?.as_ref()
    }

    /// The value with this number, to be changed.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)?.as_mut()
    }

    /// Takes the value with this number out.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.place(number)?.take()?;
        self.free.push(number);
        self.len -= 1;
        Some(value)
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<T>> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_used_again() {
        let mut slab = Slab::new();
        let numbers: Vec<_> = (0..2600).map(|_| slab.insert(|number| number * 2)).collect();
        assert_eq!(numbers, (0..2600).collect::<Vec<_>>());
        assert_eq!((slab.len(), slab.end()), (2600, 2600));
        assert_eq!(slab.get_mut(2599), Some(&mut 5198));
        assert_eq!((slab.get(0), slab.get(2600)), (Some(&0), None));
        assert_eq!(slab.remove(300), Some(600));
        assert_eq!((slab.remove(300), slab.get_mut(300)), (None, None));
        assert_eq!((slab.len(), slab.end()), (2599, 2600));
        assert_eq!(slab.insert(|_| 7), 300);
        assert_eq!(slab.insert(|number| number), 2600);
        assert_eq!(slab.get_mut(2601), None);
        assert_eq!(slab.get_mut(u32::MAX), None);
    }

    #[test]
    fn an_empty_slab_has_no_places() {
        let mut slab = Slab::<u8>::new();
        assert_eq!((slab.len(), slab.end(), slab.remove(0)), (0, 0, None));
        assert_eq!(slab.get_mut(0), None);
    }
}
