//! The tools as their users run them: as processes, with their output and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod authentication;
mod bad_input;
mod connecting;
mod cookbook;
mod credentials;
mod format;
mod interop;
mod lines;
mod option_files;
mod options;
mod output;
mod publish;
mod replay;
mod request;
mod run;
mod server;
mod signals;
mod spool;
mod subscribe;
#[cfg(all(feature = "socks5", feature = "tls", feature = "websocket"))]
mod transcripts;
mod watcher;
mod wire;
