//! `midge_conn`: a connection load tester for MQTT brokers.

use std::process::ExitCode;

use midge::cli;

fn main() -> ExitCode {
    cli::main(&cli::CONN, std::env::args_os())
}
