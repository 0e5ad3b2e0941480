//! The options of the tools: one group per topic, flattened into the tools that have it.

mod general;

pub use general::GeneralOptions;
