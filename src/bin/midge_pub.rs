//! Publishes messages to an MQTT broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    midge::cli::main(&midge::cli::PUB, std::env::args_os())
}
