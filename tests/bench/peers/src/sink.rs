//! The server of the comparison: `sink.c`, compiled once and started for each measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A running server, ended when dropped.
pub struct Sink {
    child: Child,
    port: u16,
}

impl Sink {
    /// Starts a server that sends `blast` messages to whoever subscribes.
    pub fn start(blast: u64) -> Sink {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(compile);
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let mut child = Command::new(program)
                .args([port.to_string(), "0".to_owned(), blast.to_string(), "64".to_owned()])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line.trim() == "ready" {
                return Sink { child, port };
            }
            // Somebody else has taken the port meanwhile.
            let _ = child.wait();
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compile() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/sink.c");
    let program = std::env::current_exe().unwrap().with_file_name("sink");
    let _ = fs::remove_file(&program);
    let status =
        Command::new("cc").args(["-O2", "-w", "-o"]).arg(&program).arg(source).status().unwrap();
    assert!(status.success(), "cc failed");
    program
}
