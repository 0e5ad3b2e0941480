//! Settings that clients which are set up alike have once between them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Remembers what the last client was set up with, for as long as a client has it.
pub(super) struct Alike<T>(Mutex<Weak<T>>);

impl<T: PartialEq> Alike<T> {
    pub(super) const fn new() -> Alike<T> {
        Alike(Mutex::new(Weak::new()))
    }

    /// Returns what the last client has, if it equals `settings`.
    pub(super) fn share(&self, settings: T) -> Arc<T> {
        // Nothing in here is left half done by a panic.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.upgrade()
            && *known == settings
        {
            return known;
        }
        let settings = Arc::new(settings);
        *last = Arc::downgrade(&settings);
        settings
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
