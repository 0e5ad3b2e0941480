//! Every transport against a real mosquitto: the library in every version of MQTT, the tools beside
//! mosquitto's own, and what the tools say where trust fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../cli/run.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod run;

mod bad_input;
mod library;
mod listeners;
mod old_certificates;
mod tools;
