//! A scripted broker: says what bytes it expects and what it answers, and knows nothing of the
//! crate under test. Framing is its own; bytes are written in hexadecimal, with text in quotes.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Nothing that is waited for here takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A CONNACK that accepts, for 3.1 and 3.1.1.
pub const CONNACK_3: &str = "20 02 00 00";
/// A CONNACK that accepts, for 5.0.
pub const CONNACK_5: &str = "20 03 00 00 00";

/// Listens on a free port of 127.0.0.1.
pub struct Script {
    listener: TcpListener,
}

/// One connection of a client.
pub struct Peer {
    stream: TcpStream,
    /// Received and not yet looked at.
    received: Vec<u8>,
}

impl Script {
    pub async fn listen() -> Script {
        Script { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> Peer {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("no client connects").unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream, received: Vec::new() }
    }

    /// Waits for the next connection, takes its CONNECT and answers with `connack`.
    pub async fn accept_with(&self, connack: &str) -> Peer {
        let mut peer = self.accept().await;
        peer.expect_packet(0x10).await;
        peer.send(connack).await;
        peer
    }
}

impl Peer {
    /// Sends bytes at once.
    pub async fn send(&mut self, hex: &str) {
        self.send_bytes(&bytes(hex)).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client closed the connection");
    }

    /// Sends bytes one at a time, and stops where the client does not want any more.
    pub async fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits for exactly these bytes.
    #[track_caller]
    pub fn expect(&mut self, hex: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let expected = bytes(hex);
            let complete = self.fill(expected.len()).await;
            let seen = &self.received[..expected.len().min(self.received.len())];
            assert!(
                complete && seen == expected,
                "{caller}: expected {}, got {}",
                show(&expected),
                show(&self.received)
            );
            self.received.drain(..expected.len());
        }
    }

    /// Waits for one whole packet.
    pub async fn packet(&mut self) -> Vec<u8> {
        let mut wanted = 2;
        loop {
            assert!(self.fill(wanted).await, "cut off in a packet: {}", show(&self.received));
            match packet_length(&self.received) {
                Some(length) if self.received.len() >= length => {
                    return self.received.drain(..length).collect();
                }
                Some(length) => wanted = length,
                None => wanted += 1,
            }
        }
    }

    /// Waits for one whole packet with this first byte.
    #[track_caller]
    pub fn expect_packet(&mut self, first: u8) -> impl Future<Output = Vec<u8>> {
        let caller = std::panic::Location::caller();
        async move {
            let packet = self.packet().await;
            assert_eq!(packet[0], first, "{caller}: got {}", show(&packet));
            packet
        }
    }

    /// Waits for the client to close the connection, and for nothing else.
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let more = self.fill(self.received.len() + 1).await;
            assert!(!more, "{caller}: expected the end, got {}", show(&self.received));
        }
    }

    /// Asserts that the client has sent nothing that was not looked at.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        let mut buffer = [0; 1024];
        // The kernel is asked: Tokio answers by what it was told when it last waited.
        let read = (&*socket2::SockRef::from(&self.stream)).read(&mut buffer);
        self.received.extend_from_slice(&buffer[..read.unwrap_or(0)]);
        assert!(self.received.is_empty(), "expected silence, got {}", show(&self.received));
    }

    /// Closes this side, and reads what the client still says.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Breaks the connection: the client gets a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads until `length` bytes are there; false if the client closes before.
    async fn fill(&mut self, length: usize) -> bool {
        while self.received.len() < length {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            match read.unwrap_or_else(|_| panic!("waiting after {}", show(&self.received))) {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }
}

/// The bytes that `hex` describes: hexadecimal digits with any white space, and text in single
/// quotes.
pub fn bytes(hex: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in hex.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<_> = part.chars().filter(|digit| !digit.is_whitespace()).collect();
        assert!(digits.len() % 2 == 0, "an odd number of digits in {hex:?}");
        bytes.extend(digits.chunks(2).map(|pair| {
            let text: String = pair.iter().collect();
            u8::from_str_radix(&text, 16).unwrap_or_else(|_| panic!("{text:?} in {hex:?}"))
        }));
    }
    bytes
}

pub fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.get(1..)?.iter().enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(2 + index + length);
        }
    }
    None
}

fn show(bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().take(100).map(|byte| format!("{byte:02X}")).collect();
    format!("[{}] ({} bytes)", hex.join(" "), bytes.len())
}
