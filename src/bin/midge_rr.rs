//! Publishes a request to an MQTT broker and prints the answer.

use std::process::ExitCode;

fn main() -> ExitCode {
    midge::cli::main(&midge::cli::RR, std::env::args_os())
}
