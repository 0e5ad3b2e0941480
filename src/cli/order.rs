//! The order of the options on the command line, where a later one overrides an earlier one.

use clap::{ArgMatches, parser::ValueSource};

/// Where each option stands.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a>(pub &'a ArgMatches);

impl Order<'_> {
    /// Whether `first` stands behind the last `second`; an option left out stands before all.
    pub fn is_later(self, first: &str, second: &str) -> bool {
        self.place(first) > self.place(second)
    }

    /// The last of `options`, or `None` when none is given.
    pub fn last<'o>(self, options: &[&'o str]) -> Option<&'o str> {
        let given = options.iter().filter(|id| self.place(id).is_some());
        given.max_by_key(|id| self.place(id)).copied()
    }

    /// How many values of `first` stand before the last `second`.
    pub fn count_before(self, first: &str, second: &str) -> usize {
        let indices = match self.place(first) {
            Some(_) => self.0.indices_of(first),
            None => None,
        };
        let end = self.place(second);
        indices.into_iter().flatten().filter(|index| Some(*index) < end).count()
    }

    fn place(self, id: &str) -> Option<usize> {
        let matches = self.0;
        // An option that this tool does not have is one that is not given.
        let source = matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id));
        if source == Some(ValueSource::CommandLine) {
            matches.indices_of(id).and_then(Iterator::last)
        } else {
            None
        }
    }
}
