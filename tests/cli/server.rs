//! A server for one connection, which says what a test wants it to say.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    process::Command,
    thread::{self, JoinHandle},
};

use crate::run::{Outcome, run_with};

/// A server for one connection, played by a closure.
pub struct Server {
    port: u16,
    thread: JoinHandle<()>,
}

impl Server {
    pub fn new(play: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || play(listener.accept().unwrap().0));
        Self { port, thread }
    }

    /// Runs `tool` against it and waits for both to end.
    #[track_caller]
    pub fn against(self, tool: Command, args: &[&str]) -> Outcome {
        self.against_with(tool, args, b"")
    }

    /// Runs `tool` against it with `input` as its standard input and waits for both to end.
    #[track_caller]
    pub fn against_with(self, mut tool: Command, args: &[&str], input: &[u8]) -> Outcome {
        let port = self.port.to_string();
        let outcome = run_with(tool.args(["-h", "127.0.0.1", "-p", &port]).args(args), input);
        self.thread.join().unwrap();
        outcome
    }
}

/// Reads one whole packet: the tests send nothing but short ones.
pub fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert!(head[1] < 0x80, "a short packet");
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).unwrap();
    [head.to_vec(), body].concat()
}

/// Reads until the other side closes.
pub fn read_to_close(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}
