//! A scripted server: one thread per connection, and a channel that tells what it has seen.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

/// CONNACK that accepts, in 3.1 and 3.1.1.
pub const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: u8 = 0xc0;
const PINGRESP: [u8; 2] = [0xd0, 0];
const DISCONNECT: u8 = 0xe0;
const SUBSCRIBE: u8 = 0x82;

/// What a server does with each connection.
#[derive(Clone, Debug)]
pub enum Script {
    /// Reads and never answers.
    Silence,
    /// Closes before anything was read.
    Close,
    /// Answers the CONNECT with these bytes, and nothing after.
    Answer(Vec<u8>),
    /// Answers the CONNECT with these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Accepts the client and answers its pings.
    Serve,
    /// Accepts the client and stays when it leaves.
    AnswerAndLinger,
    /// As `Serve`, but refuses every second client with this answer.
    RefuseHalf(Vec<u8>),
    /// As `Serve`, but refuses every subscription.
    RefuseSubscriptions,
    /// Accepts that many clients, and takes no connection after them.
    ServeAtMost(usize),
}

/// What a server has seen, with the number of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Connect(usize, Vec<u8>),
    Ping(usize),
    Disconnect(usize),
    Closed(usize),
}

/// A server on a free port of 127.0.0.1. Its threads end with their connections.
pub struct Server {
    pub address: SocketAddr,
    pub seen: mpsc::Receiver<Seen>,
}

impl Server {
    /// Waits until `count` clients have pinged, which they do only after they were accepted.
    pub fn wait_for_pings(&self, count: usize) {
        let mut pinged = std::collections::HashSet::new();
        while pinged.len() < count {
            if let Seen::Ping(number) = self.seen.recv().unwrap() {
                pinged.insert(number);
            }
        }
    }

    /// Waits for as many CONNECTs.
    pub fn wait_for_connects(&self, count: usize) {
        for _ in 0..count {
            while !matches!(self.seen.recv().unwrap(), Seen::Connect(..)) {}
        }
    }

    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::channel();
        let script = Arc::new(script);
        thread::spawn(move || {
            let most = if let Script::ServeAtMost(most) = *script { most } else { usize::MAX };
            for (number, stream) in listener.incoming().take(most).enumerate() {
                let (script, tell) = (Arc::clone(&script), tell.clone());
                thread::spawn(move || {
                    // A client that goes away in the middle ends the script.
                    let _ = serve(stream.unwrap(), &script, number, &tell);
                    let _ = tell.send(Seen::Closed(number));
                });
            }
        });
        Self { address, seen }
    }
}

fn serve(
    mut stream: TcpStream,
    script: &Script,
    number: usize,
    tell: &mpsc::Sender<Seen>,
) -> io::Result<()> {
    if matches!(script, Script::Close) {
        return Ok(());
    }
    let mut answered = false;
    loop {
        let packet = match read_packet(&mut stream) {
            Ok(packet) => packet,
            Err(_) if matches!(script, Script::AnswerAndLinger) => loop {
                // Keeps the connection half open until the test is over.
                thread::park();
            },
            Err(error) => return Err(error),
        };
        let packet_type = packet[0];
        match packet_type {
            0x10 => {
                let _ = tell.send(Seen::Connect(number, packet.clone()));
            }
            PINGREQ => {
                let _ = tell.send(Seen::Ping(number));
            }
            DISCONNECT => {
                let _ = tell.send(Seen::Disconnect(number));
            }
            _ => {}
        }
        match script {
            Script::Answer(bytes) | Script::AnswerAndClose(bytes) if !answered => {
                stream.write_all(bytes)?;
                if matches!(script, Script::AnswerAndClose(_)) {
                    return Ok(());
                }
            }
            Script::RefuseHalf(bytes) if !answered && number % 2 == 1 => stream.write_all(bytes)?,
            Script::Serve
            | Script::AnswerAndLinger
            | Script::RefuseHalf(_)
            | Script::RefuseSubscriptions
            | Script::ServeAtMost(_)
                if !answered =>
            {
                stream.write_all(&ACCEPTED)?
            }
            Script::RefuseSubscriptions if packet_type == SUBSCRIBE => {
                stream.write_all(&[0x90, 3, packet[2], packet[3], 0x80])?
            }
            Script::Serve | Script::RefuseSubscriptions if packet_type == PINGREQ => {
                stream.write_all(&PINGRESP)?;
            }
            _ => {}
        }
        answered = true;
    }
}

/// One packet of less than 128 bytes after its fixed header, as clients under test send them.
fn read_packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet)?;
    if packet[1] >= 0x80 {
        return Err(ErrorKind::InvalidData.into());
    }
    packet.resize(2 + usize::from(packet[1]), 0);
    stream.read_exact(&mut packet[2..])?;
    Ok(packet)
}
