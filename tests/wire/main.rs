//! The codec against the wire: packets it must accept, packets it must refuse, and laws that hold
//! for any bytes and any packet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the modules of a test binary are all its own")]

mod accept;
mod advisories;
mod cuts;
mod encode;
mod fields;
mod frames;
mod fuzz;
mod properties;
mod reasons;
mod refuse;
mod round_trip;
mod support;
mod topics;
