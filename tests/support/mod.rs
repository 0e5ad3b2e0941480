//! What several test binaries share. A binary takes it in with `mod support;` or
//! `#[path = "../support/mod.rs"] mod support;`.
#![allow(dead_code, unused_imports, reason = "no test binary uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod broker;
pub mod microsocks;
#[cfg(feature = "tls")]
pub mod pki;
pub mod script;

pub use broker::Broker;
pub use script::{Peer, Script};
