//! The embedded null broker: answers what it must and keeps nothing.
//!
//! It accepts every client, acknowledges every publish and subscription, answers pings, and forwards
//! no message. It serves to try the load tester with nothing installed and to measure what a machine
//! can do at most, so it does as little as the protocol allows: one thread, one buffer, and per
//! connection a socket and a waker. A client that does not read its answers is disconnected; keep
//! alive times are not enforced.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread::JoinHandle,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::{
    ready::{ReadyList, SlotWaker},
    slab::Slab,
};
use crate::codec::{
    self, Ack, ConnAck, Cut, EncodeError, Packet, PropertiesRef, QoS, ReasonCode, Role, SubAck,
    UnsubAck, Version,
};

/// Connections that may wait to be accepted, as far as `net.core.somaxconn` allows.
const BACKLOG: i32 = 4096;
/// Connections accepted before those that are open get their turn.
const ACCEPTS_PER_TURN: usize = 64;
const READ_BYTES: usize = 64 << 10;
/// The largest packet taken; a larger one ends the connection.
const MAXIMUM_PACKET_SIZE: u32 = 1 << 20;

/// A null broker on a thread of its own. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Control {
    ready: Arc<ReadyList>,
    stopping: AtomicBool,
}

impl Sink {
    /// Starts a null broker on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// Those of the operating system, when it grants no socket or no thread.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(BACKLOG)?;
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(socket.into())?
        };
        let address = listener.local_addr()?;
        let control = Arc::new(Control::default());
        let mut server = Server::new(listener, Arc::clone(&control));
        let thread =
            std::thread::Builder::new().name("midge-sink".to_owned()).spawn(move || {
                let serve = tokio::task::unconstrained(poll_fn(|cx| server.poll(cx)));
                runtime.block_on(serve);
            })?;
        Ok(Self { address, control, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.control.stopping.store(true, Ordering::Release);
        self.control.ready.wake_worker();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its panic hook.
            let _ = thread.join();
        }
    }
}

struct Server {
    listener: TcpListener,
    control: Arc<Control>,
    peers: Slab<Peer>,
    turn: Vec<u32>,
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener, control: Arc<Control>) -> Self {
        Self {
            listener,
            control,
            peers: Slab::new(),
            turn: Vec::new(),
            input: vec![0; READ_BYTES].into_boxed_slice(),
            output: Vec::new(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.control.ready.register(cx.waker());
        if self.control.stopping.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut turn = std::mem::take(&mut self.turn);
        self.control.ready.take(&mut turn);
        for &number in &turn {
            self.serve(number);
        }
        self.turn = turn;
        self.accept(cx);
        Poll::Pending
    }

    fn accept(&mut self, cx: &mut Context<'_>) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, _))) => {
                    let number = self.peers.insert(|number| {
                        Peer::new(stream, SlotWaker::new(number, &self.control.ready))
                    });
                    self.serve(number);
                }
                // Out of descriptors: the client stays in the queue until a connection has ended,
                // which makes the next turn.
                Poll::Ready(Err(error)) if is_exhausted(&error) => return,
                // The client has gone again.
                Poll::Ready(Err(_)) => {}
            }
        }
        cx.waker().wake_by_ref();
    }

    fn serve(&mut self, number: u32) {
        if let Some(peer) = self.peers.get_mut(number)
            && peer.serve(&mut self.input, &mut self.output).is_err()
        {
            self.peers.remove(number);
        }
    }
}

/// The connection is to be closed, for whatever reason.
struct Close;

struct Peer {
    stream: TcpStream,
    waker: Arc<SlotWaker>,
    /// Known from the CONNECT on.
    version: Option<Version>,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream, waker: Arc<SlotWaker>) -> Self {
        Self { stream, waker, version: None, partial: Vec::new() }
    }

    fn serve(&mut self, input: &mut [u8], output: &mut Vec<u8>) -> Result<(), Close> {
        self.waker.taken();
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut cx = Context::from_waker(&waker);
        loop {
            let mut buffer = ReadBuf::new(input);
            match Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Err(Close),
            }
            output.clear();
            let outcome = self.answer(buffer.filled(), output);
            self.write(&mut cx, output)?;
            outcome?;
        }
    }

    /// Answers the packets of `received`, and keeps what is left of it.
    fn answer(&mut self, received: &[u8], output: &mut Vec<u8>) -> Result<(), Close> {
        let mut partial = std::mem::take(&mut self.partial);
        let whole = if partial.is_empty() {
            received
        } else {
            partial.extend_from_slice(received);
            &partial
        };
        let mut rest = whole;
        while let Cut::Frame { frame, len } =
            codec::cut(rest, MAXIMUM_PACKET_SIZE).map_err(|_| Close)?
        {
            let version = self.version.unwrap_or_default();
            let packet = codec::decode(version, Role::Server, frame).map_err(|_| Close)?;
            self.handle(&packet, output)?;
            rest = rest.get(len..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
        Ok(())
    }

    fn handle(&mut self, packet: &Packet<'_>, output: &mut Vec<u8>) -> Result<(), Close> {
        let Some(version) = self.version else {
            let Packet::Connect(connect) = packet else { return Err(Close) };
            self.version = Some(connect.version);
            let accepted = ConnAck {
                session_present: false,
                reason: ReasonCode::SUCCESS,
                properties: PropertiesRef::default(),
            };
            return encoded(accepted.encode(connect.version, output));
        };
        let success = |packet_id| Ack {
            packet_id,
            reason: ReasonCode::SUCCESS,
            properties: PropertiesRef::default(),
        };
        let answer = match packet {
            Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(packet_id)) => Packet::PubAck(success(packet_id)),
                (QoS::ExactlyOnce, Some(packet_id)) => Packet::PubRec(success(packet_id)),
                _ => return Ok(()),
            },
            Packet::PubRel(release) => Packet::PubComp(success(release.packet_id)),
            Packet::Subscribe(subscribe) => {
                let codes: Vec<u8> =
                    subscribe.filters.iter().map(|filter| filter.options.qos.into()).collect();
                let granted = SubAck {
                    packet_id: subscribe.packet_id,
                    properties: PropertiesRef::default(),
                    codes: &codes,
                };
                return encoded(granted.encode(version, output));
            }
            Packet::Unsubscribe(unsubscribe) => {
                let count = if version == Version::V5 { unsubscribe.filters.len() } else { 0 };
                let codes = vec![0; count];
                let done = UnsubAck {
                    packet_id: unsubscribe.packet_id,
                    properties: PropertiesRef::default(),
                    codes: &codes,
                };
                return encoded(done.encode(version, output));
            }
            Packet::PingReq => Packet::PingResp,
            _ => return Err(Close),
        };
        encoded(answer.encode(version, output))
    }

    fn write(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Result<(), Close> {
        if output.is_empty() {
            return Ok(());
        }
        match Pin::new(&mut self.stream).poll_write(cx, output) {
            Poll::Ready(Ok(written)) if written == output.len() => Ok(()),
            _ => Err(Close),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn encoded(result: Result<(), EncodeError>) -> Result<(), Close> {
    result.map_err(|_| Close)
}
