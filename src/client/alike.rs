//! What clients that are alike have once between them: settings, and what is known of a broker.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Remembers what the last client has, for as long as a client has it.
pub(super) struct Alike<T>(Mutex<Weak<T>>);

impl<T: PartialEq> Alike<T> {
    pub(super) const fn new() -> Alike<T> {
        Alike(Mutex::new(Weak::new()))
    }

    /// Returns what the last client has, if it equals `value`.
    pub(super) fn share(&self, value: T) -> Arc<T> {
        // Nothing in here is left half done by a panic.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.upgrade()
            && *known == value
        {
            return known;
        }
        let value = Arc::new(value);
        *last = Arc::downgrade(&value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_are_shared_while_somebody_has_them() {
        let alike = Alike::new();
        let first = alike.share("a");
        assert!(Arc::ptr_eq(&first, &alike.share("a")));
        let other = alike.share("b");
        assert_eq!((*first, *other), ("a", "b"));
        drop(other);
        assert_eq!(*alike.share("a"), "a");
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
