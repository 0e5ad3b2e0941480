//! Any packet, legal or not: `cargo +nightly fuzz run --fuzz-dir tests/fuzz round_trip`.
#![no_main]

#[path = "../law.rs"]
#[allow(dead_code, reason = "each target uses its own law")]
mod law;

libfuzzer_sys::fuzz_target!(|data: &[u8]| law::round_trip(data));
