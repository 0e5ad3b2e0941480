//! Manages the password files of MQTT brokers.
use std::process::ExitCode;

use midge::cli::{Tool, main as run};

fn main() -> ExitCode {
    run(Tool::Passwd, std::env::args_os())
}
