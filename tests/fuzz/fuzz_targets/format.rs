//! Any format and payload: `cargo +nightly fuzz run --fuzz-dir tests/fuzz format`.
#![no_main]

#[path = "../format_law.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::formats(data));
