//! `midge_conn`: a connection load tester for MQTT brokers.

use std::process::ExitCode;

use midge::cli::{self, Tool};

fn main() -> ExitCode {
    cli::main(Tool::Conn, std::env::args_os())
}
