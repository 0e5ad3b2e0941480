//! Every numbered statement of the MQTT standards that binds a client, as a test of its own.
//!
//! Each file has the tests of a chapter and a table of the numbers that they stand for. The engine
//! is tested in virtual time with bytes written by hand; where the handle or the socket matters, the
//! client talks to a scripted broker. `docs/conformance.md` is the report.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, unused_imports, reason = "not all that other test binaries share is used here")]

#[path = "../session/harness.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod peers;
#[path = "../session/support.rs"]
mod support;
#[path = "../wire/support.rs"]
mod wire;

mod acks;
mod authentication;
mod connack;
mod connect;
mod data;
mod ending;
mod flows;
mod headers;
mod identifiers;
mod kit;
mod publish;
mod registry;
mod sessions;
mod subscribe;
mod topics;
mod transport;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let tests: Vec<_> = [
        data::TESTS,
        headers::TESTS,
        identifiers::TESTS,
        connect::TESTS,
        connack::TESTS,
        publish::TESTS,
        acks::TESTS,
        subscribe::TESTS,
        ending::TESTS,
        authentication::TESTS,
        sessions::TESTS,
        flows::TESTS,
        topics::TESTS,
        transport::TESTS,
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut trials: Vec<_> = registry::trials(&tests)
        .into_iter()
        .map(|(name, test, versions)| {
            Trial::test(name, move || {
                for &version in versions {
                    (test.run)(version);
                }
                Ok(())
            })
        })
        .collect();
    trials.push(Trial::test("every_number_is_accounted_for", {
        let tests = tests.clone();
        move || {
            registry::every_number_is_accounted_for(&tests);
            Ok(())
        }
    }));
    trials.push(Trial::test("the_report_is_current", move || {
        registry::the_report_is_current(&tests);
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
