//! midge_passwd as its users run it: the forms of its command line, files of every shape, bad
//! input, the prompt on a real terminal, races and crashes, and the entries at a real broker.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod broker;
mod crashes;
mod files;
mod forms;
mod prompt;
mod refusals;
#[path = "../support/mod.rs"]
mod support;
mod tool;
