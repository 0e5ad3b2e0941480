//! The client library against a real mosquitto.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod examples;
mod incoming;
mod kills;
mod others;
