//! One session over one stream: the only place where a clock, a socket and a session meet.
//!
//! A [`Link`] moves bytes and passes events; it decides nothing about the protocol. It holds no
//! buffer while its connection is idle: bytes are read into the [`Scratch`] of the worker that
//! polls it, packets are handled where they lie, and only the beginning of a packet that is not
//! whole, or output that the kernel refused, is kept.
//!
//! The owner connects the stream, calls [`Session::handle_connected`] and
//! [`Session::handle_disconnected`], and wakes at [`Session::poll_timeout`] and
//! [`Link::poll_timeout`]; with that a link needs no task of its own.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::codec::{self, Cut, Packet, Role, Version};
#[cfg(feature = "websocket")]
use crate::net::SubProtocol;
use crate::net::{ConnectOptions, Stream};
use crate::session::{Event, Inbox, Session, Transmit};

/// Takes what a [`Link`] has to tell: messages (by [`Inbox`]), events and, if wanted, packets.
pub trait LinkInbox: Inbox {
    /// Takes an event of the session. Commands may be given to `session` in answer.
    fn event(&mut self, session: &mut Session, event: Event);

    /// Learns that all bytes received so far are handled and that no more are waiting.
    fn idle(&mut self) {}

    /// Whether more may be read from the socket. While the answer is no, writing and the pings go
    /// on; at most one [`Scratch`] of input is still handed over. When it becomes yes, the link
    /// must be polled.
    fn wants_input(&self) -> bool {
        true
    }

    /// Whether all changes that the events so far have told are stored, so that output may be
    /// written; when the answer is no, the link must be polled once it is yes. Only asked with
    /// [`Config::durable`](crate::session::Config::durable).
    fn poll_stored(&mut self, cx: &mut Context<'_>) -> bool {
        let _ = cx;
        true
    }

    /// Whether [`packet`](Self::packet) is to be called: every packet is then decoded once more.
    fn observes_packets(&self) -> bool {
        false
    }

    /// Sees a packet of `size` bytes, before it is handled or written.
    fn packet(&mut self, direction: Direction, packet: &Packet<'_>, size: usize) {
        let _ = (direction, packet, size);
    }
}

/// The way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the broker.
    Sent,
    /// From the broker.
    Received,
}

/// Drives one [`Session`] over one [`Stream`], until either of them ends.
pub struct Link {
    stream: Stream,
    /// Absent while the connection is idle.
    kept: Option<Box<Kept>>,
    phase: Phase,
    /// Whether the socket is read, as the session was told.
    reading: bool,
    unflushed: bool,
    /// Bytes have arrived since [`LinkInbox::idle`].
    fresh: bool,
}

/// What a link keeps from one poll to the next.
#[derive(Default)]
struct Kept {
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
    /// Output that the kernel refused.
    unsent: Option<Box<Transmit>>,
    /// When the current phase of closing is given up.
    close_by: Option<Instant>,
}

/// ```text
/// Open --Event::Closing--> Finishing --all written, FIN sent--> Lingering --FIN--> Closed
///   \--FIN or error--> ClosedByPeer, Failed       \--FIN seen before-----------------^
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The session has ended: its last output is written, input is discarded.
    Finishing {
        eof: bool,
    },
    /// FIN was sent. Closing the socket with unread input would reset the connection, and the peer
    /// might never see the last packets: input is discarded until the peer closes too.
    Lingering,
}

/// Tells how a link ended. The stream is of no more use.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The session asked for it with [`Event::Closing`], and its last output was written.
    Closed,
    /// The peer closed the connection.
    ClosedByPeer {
        /// How many bytes of a packet had arrived without its end.
        partial_bytes: usize,
    },
    /// Reading or writing failed.
    Failed(io::Error),
}

/// Holds the buffers that all links of one worker share, each only while it is polled.
pub struct Scratch {
    /// [`HEADROOM`] for a partial packet, then room for one read.
    input: Box<[u8]>,
    output: Transmit,
}

impl Link {
    /// Makes a link over a connected stream.
    pub fn new(stream: Stream) -> Link {
        Link {
            stream,
            kept: None,
            phase: Phase::Open,
            reading: true,
            unflushed: false,
            fresh: false,
        }
    }

    /// Returns the stream underneath.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream underneath, to be told what its socket is ready for.
    #[cfg(all(feature = "load", target_os = "linux"))]
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Whether output waits for the stream to take more.
    #[cfg(all(feature = "load", target_os = "linux"))]
    pub(crate) fn is_blocked(&self) -> bool {
        self.has_unsent()
    }

    /// When [`poll`](Self::poll) must be called again at the latest. There is such a moment only
    /// while the link is closing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.kept.as_ref()?.close_by
    }

    /// Moves bytes both ways and passes on what comes of it.
    ///
    /// Call it when the waker says so, and after every command to the session and every
    /// [`Session::handle_timeout`]. One call does a bounded amount of work and wakes itself when
    /// there is more. After `Ready` the link is to be dropped and
    /// [`Session::handle_disconnected`] to be called.
    pub fn poll<I: LinkInbox>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        session: &mut Session,
        scratch: &mut Scratch,
        inbox: &mut I,
    ) -> Poll<LinkEnd> {
        let mut work = 0;
        loop {
            let written = match self.write(cx, now, session, scratch, inbox) {
                Ok(written) => written,
                Err(error) => return Poll::Ready(LinkEnd::Failed(error)),
            };
            let events = self.pass_events(now, session, inbox);
            let read = if self.phase == Phase::Open {
                self.read(cx, now, session, scratch, inbox)
            } else {
                if written == 0
                    && let Poll::Ready(end) = self.poll_closing(cx, now)
                {
                    return Poll::Ready(end);
                }
                self.discard(cx, scratch)
            };
            let read = match read {
                Ok(read) => read,
                Err(end) => return Poll::Ready(end),
            };
            if !events && written == 0 && read == 0 {
                return Poll::Pending;
            }
            work += written + read;
            if work >= WORK_PER_POLL {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn pass_events<I: LinkInbox>(
        &mut self,
        now: Instant,
        session: &mut Session,
        inbox: &mut I,
    ) -> bool {
        let mut any = false;
        while let Some(event) = session.poll_event() {
            any = true;
            if matches!(event, Event::Closing(_)) && self.phase == Phase::Open {
                self.phase = Phase::Finishing { eof: false };
                let kept = self.kept();
                kept.close_by = now.checked_add(FINISH_TIMEOUT);
                kept.partial = Vec::new();
            }
            inbox.event(session, event);
        }
        any
    }

    /// Writes one transmit's worth of output and returns how many bytes the stream took.
    fn write<I: LinkInbox>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        session: &mut Session,
        scratch: &mut Scratch,
        inbox: &mut I,
    ) -> io::Result<usize> {
        let durable = session.config().durable;
        if !self.has_unsent() {
            if session.poll_transmit(now, &mut scratch.output) {
                if inbox.observes_packets() {
                    observe_sent(session, &scratch.output, inbox);
                }
                if durable {
                    self.pass_events(now, session, inbox);
                }
            } else {
                return self.flush(cx).map(|()| 0);
            }
        }
        if durable && !inbox.poll_stored(cx) {
            if let Some(rest) = scratch.output.take_rest() {
                self.kept().unsent = Some(rest);
            }
            return self.flush(cx).map(|()| 0);
        }
        let unsent = self.kept.as_mut().and_then(|kept| kept.unsent.as_deref_mut());
        let output = unsent.unwrap_or(&mut scratch.output);
        let written = match write_out(&mut self.stream, cx, output) {
            Ok(written) => written,
            Err(error) => {
                scratch.output.clear();
                return Err(error);
            }
        };
        if written > 0 {
            self.unflushed = true;
            session.handle_written(now, written);
        }
        if !self.has_unsent() {
            if let Some(rest) = scratch.output.take_rest() {
                self.kept().unsent = Some(rest);
            }
        } else if let Some(kept) = &mut self.kept {
            kept.unsent.take_if(|unsent| unsent.is_empty());
            self.tidy();
        }
        Ok(written)
    }

    fn has_unsent(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.unsent.is_some())
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// Frees what is kept if that is nothing.
    fn tidy(&mut self) {
        self.kept.take_if(|kept| {
            kept.partial.is_empty() && kept.unsent.is_none() && kept.close_by.is_none()
        });
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.unflushed = false;
            flushed?;
        }
        Ok(())
    }

    /// Reads once, handles what has become whole, and returns how many bytes arrived.
    fn read<I: LinkInbox>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        session: &mut Session,
        scratch: &mut Scratch,
        inbox: &mut I,
    ) -> Result<usize, LinkEnd> {
        // A peer that takes nothing and asks for ever more answers must not fill the memory.
        let reading = inbox.wants_input() && session.unsent_control_bytes() < MAX_UNSENT_CONTROL;
        if reading != self.reading {
            self.reading = reading;
            session.set_reading(now, reading);
        }
        if !reading {
            return Ok(0);
        }
        let (headroom, room) = scratch.input.split_at_mut(HEADROOM);
        let mut buffer = ReadBuf::new(room);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => {
                if std::mem::take(&mut self.fresh) {
                    inbox.idle();
                }
                return Ok(0);
            }
            Poll::Ready(Err(error)) => return Err(LinkEnd::Failed(error)),
            Poll::Ready(Ok(())) => {}
        }
        let received = buffer.filled();
        let length = received.len();
        if length == 0 {
            return Err(LinkEnd::ClosedByPeer { partial_bytes: self.partial_bytes() });
        }
        self.fresh = true;
        let kept = self.kept.as_mut();
        let mut partial = kept.map(|kept| std::mem::take(&mut kept.partial)).unwrap_or_default();
        if partial.len() > HEADROOM {
            partial.extend_from_slice(received);
            let handled = self.handle(now, session, inbox, &partial);
            partial.drain(..handled);
            if partial.len() <= HEADROOM {
                partial.shrink_to_fit();
            }
        } else {
            let from = HEADROOM - partial.len();
            if let Some(space) = headroom.get_mut(from..) {
                space.copy_from_slice(&partial);
            }
            let input = scratch.input.get(from..HEADROOM + length).unwrap_or_default();
            let handled = self.handle(now, session, inbox, input);
            partial.clear();
            partial.extend_from_slice(input.get(handled..).unwrap_or_default());
        }
        if partial.is_empty() {
            self.tidy();
        } else {
            self.kept().partial = partial;
        }
        Ok(length)
    }

    fn partial_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.partial.len())
    }

    /// Gives `input` to the session, with the events in their places, and returns how many bytes
    /// are done with.
    fn handle<I: LinkInbox>(
        &mut self,
        now: Instant,
        session: &mut Session,
        inbox: &mut I,
        input: &[u8],
    ) -> usize {
        let mut handled = 0;
        let mut observed = 0;
        while let Some(mut rest) = input.get(handled..).filter(|rest| !rest.is_empty()) {
            if inbox.observes_packets() {
                if observed <= handled {
                    observed = handled + observe_received(session, rest, inbox);
                }
                rest = rest.get(..observed - handled).unwrap_or(rest);
            }
            let step = session.handle_bytes(now, rest, inbox);
            handled += step;
            let events = self.pass_events(now, session, inbox);
            if self.phase != Phase::Open {
                return input.len();
            }
            if step == 0 && !events {
                break;
            }
        }
        handled
    }

    /// Reads and forgets, after the session has ended.
    fn discard(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<usize, LinkEnd> {
        if self.phase == (Phase::Finishing { eof: true }) {
            return Ok(0);
        }
        let mut buffer = ReadBuf::new(&mut scratch.input);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        match (read, self.phase) {
            (Poll::Pending, _) => Ok(0),
            (Poll::Ready(Ok(())), _) if !buffer.filled().is_empty() => Ok(buffer.filled().len()),
            (Poll::Ready(_), Phase::Lingering) => Err(LinkEnd::Closed),
            (Poll::Ready(_), _) => {
                self.phase = Phase::Finishing { eof: true };
                Ok(0)
            }
        }
    }

    /// Takes the last steps, once all output is written or the time for it is up.
    fn poll_closing(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<LinkEnd> {
        let late = self.poll_timeout().is_some_and(|close_by| now >= close_by);
        match self.phase {
            Phase::Open => Poll::Pending,
            Phase::Finishing { eof } if !self.has_unsent() && !self.unflushed => {
                match Pin::new(&mut self.stream).poll_shutdown(cx) {
                    Poll::Ready(_) if eof => Poll::Ready(LinkEnd::Closed),
                    Poll::Ready(Ok(())) => {
                        self.phase = Phase::Lingering;
                        self.kept().close_by = now.checked_add(LINGER_TIMEOUT);
                        Poll::Pending
                    }
                    // The peer was faster: there is nobody left to say anything to.
                    Poll::Ready(Err(_)) => Poll::Ready(LinkEnd::Closed),
                    Poll::Pending if late => Poll::Ready(LinkEnd::Failed(late_error())),
                    Poll::Pending => Poll::Pending,
                }
            }
            Phase::Finishing { .. } if late => Poll::Ready(LinkEnd::Failed(late_error())),
            Phase::Lingering if late => Poll::Ready(LinkEnd::Closed),
            Phase::Finishing { .. } | Phase::Lingering => Poll::Pending,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("stream", &self.stream)
            .field("phase", &self.phase)
            .field("partial_bytes", &self.partial_bytes())
            .field("blocked", &self.has_unsent())
            .finish_non_exhaustive()
    }
}

impl Scratch {
    /// Allocates the buffers.
    pub fn new() -> Scratch {
        Scratch {
            input: vec![0; HEADROOM + READ_BYTES].into_boxed_slice(),
            output: Transmit::with_budget(WRITE_BYTES),
        }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("input_bytes", &self.input.len()).finish_non_exhaustive()
    }
}

/// Writes until `output` is empty or the stream takes no more.
fn write_out(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    output: &mut Transmit,
) -> io::Result<usize> {
    let mut written = 0;
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let filled = output.io_slices(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        match Pin::new(&mut *stream).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(taken)) => {
                output.advance(taken);
                written += taken;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(written)
}

/// Shows the first packet of `input` if it is whole, and returns how much of `input` the session
/// is to be given at once.
fn observe_received<I: LinkInbox>(session: &Session, input: &[u8], inbox: &mut I) -> usize {
    let config = session.config();
    match codec::cut(input, config.maximum_packet_size) {
        Ok(Cut::Frame { frame, len }) => {
            // What cannot be decoded is the session's to complain about.
            if let Ok(packet) = codec::decode(config.version, Role::Client, frame) {
                inbox.packet(Direction::Received, &packet, len);
            }
            len
        }
        Ok(Cut::Need(_)) | Err(_) => input.len(),
    }
}

fn observe_sent<I: LinkInbox>(session: &Session, output: &Transmit, inbox: &mut I) {
    let mut bytes = Vec::with_capacity(output.len());
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let filled = output.io_slices(&mut slices);
    for slice in slices.iter().take(filled) {
        bytes.extend_from_slice(slice);
    }
    let mut rest = bytes.as_slice();
    while let Ok(Cut::Frame { frame, len }) = codec::cut(rest, u32::MAX) {
        if let Ok(packet) = codec::decode(session.config().version, Role::Server, frame) {
            inbox.packet(Direction::Sent, &packet, len);
        }
        rest = rest.get(len..).unwrap_or_default();
    }
}

fn late_error() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer did not take the last packets")
}

/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;
/// A partial packet of up to this size is put before the bytes that complete it; a longer one
/// is where the bytes that complete it are appended.
const HEADROOM: usize = 4 << 10;
/// How much output is gathered for one write.
const WRITE_BYTES: usize = 64 << 10;
/// How many pieces one write may consist of.
const WRITE_SLICES: usize = 16;
/// Bytes moved in one poll before other tasks get their turn.
const WORK_PER_POLL: usize = 256 << 10;
/// Acknowledgements and the like that may wait for a peer that does not read; beyond it the link
/// does not read either.
const MAX_UNSENT_CONTROL: usize = 64 << 10;
/// How long the last packets may take to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to close its side.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// Has a WebSocket offer the sub-protocol of a version of MQTT [MQTT-6.0.0-3]; 3.1 has a name of its
/// own.
#[cfg_attr(
    not(feature = "websocket"),
    expect(unused_mut, unused_variables, reason = "no WebSocket")
)]
pub(crate) fn connect_options(version: Version, mut options: ConnectOptions) -> ConnectOptions {
    #[cfg(feature = "websocket")]
    options.websocket.set_sub_protocol(match version {
        Version::V31 => SubProtocol::MqttV31,
        _ => SubProtocol::Mqtt,
    });
    options
}

#[cfg(test)]
mod tests;
