//! Subscribes to topics of an MQTT broker and prints their messages.

use std::process::ExitCode;

fn main() -> ExitCode {
    midge::cli::main(&midge::cli::SUB, std::env::args_os())
}
