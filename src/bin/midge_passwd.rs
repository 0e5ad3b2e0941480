//! Manages the password files of MQTT brokers.
use std::process::ExitCode;

use midge::cli;

fn main() -> ExitCode {
    cli::main(&cli::PASSWD, std::env::args_os())
}
