//! Any stream of bytes: `cargo +nightly fuzz run --fuzz-dir tests/fuzz decode`.
#![no_main]

#[path = "../law.rs"]
#[allow(dead_code, reason = "each target uses its own law")]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::chosen(data));
