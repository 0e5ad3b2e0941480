//! An open WebSocket as a byte stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::NORMAL_CLOSURE;
use super::frame::{Control, Deframer, Ending, Kind, append_frame};
use super::random::random_bytes;
use crate::net::Stream;

/// A WebSocket over any other stream.
///
/// Each write becomes one frame (of up to [`MAX_PAYLOAD_BYTES`]). It counts as taken when it is
/// encoded; the next write waits until it is gone, so that at most one is held.
pub(in crate::net) struct WebSocket {
    inner: Stream,
    deframer: Deframer,
    /// What came behind the HTTP response in the same read.
    unread: Vec<u8>,
    /// Encoded frames and how much of them is written.
    out: Vec<u8>,
    written: usize,
    /// The payload of the latest ping: only that needs an answer (RFC 6455 §5.5.3).
    ping: Option<Vec<u8>>,
    closing: Closing,
    /// Who waits to write. A reader that helps writing must not take its place.
    writer: Option<Waker>,
}

/// Our own close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// To be sent, with a code or without.
    Due(Option<u16>),
    Sent,
}

impl WebSocket {
    pub(super) fn new(inner: Stream, unread: Vec<u8>) -> WebSocket {
        WebSocket {
            inner,
            deframer: Deframer::default(),
            unread,
            out: Vec::new(),
            written: 0,
            ping: None,
            closing: Closing::No,
            writer: None,
        }
    }

    /// Returns the stream underneath.
    pub(in crate::net) fn inner(&self) -> &Stream {
        &self.inner
    }

    /// Reads raw bytes to the end of `buf`, and `false` at the end of the connection.
    fn poll_read_raw(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.unread.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
            return Poll::Ready(Ok(buf.filled().len() > before));
        }
        let count = self.unread.len().min(buf.remaining());
        let rest = self.unread.split_off(count);
        buf.put_slice(&std::mem::replace(&mut self.unread, rest));
        Poll::Ready(Ok(true))
    }

    /// Writes all that is encoded, and the answers that are due.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest @ [_, ..]) = self.out.get(self.written..) {
                match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.written += count,
                }
            }
            // Gives the memory back: most connections are idle most of the time.
            self.out = Vec::new();
            self.written = 0;
            if self.closing == Closing::Sent {
                return Poll::Ready(Ok(()));
            }
            if let Some(payload) = self.ping.take() {
                self.append(Kind::Pong, &[IoSlice::new(&payload)])?;
            } else if let Closing::Due(code) = self.closing {
                let code = code.map(u16::to_be_bytes);
                let payload = code.as_ref().map_or(&[][..], |code| code);
                self.append(Kind::Close, &[IoSlice::new(payload)])?;
                self.closing = Closing::Sent;
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn append(&mut self, kind: Kind, payload: &[IoSlice<'_>]) -> io::Result<()> {
        let parts = payload.iter().map(|part| &**part);
        append_frame(&mut self.out, kind, random_bytes()?, parts);
        Ok(())
    }

    /// As [`poll_drain`](Self::poll_drain), on behalf of a writer.
    fn poll_drain_for_writer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let drained = self.poll_drain(cx);
        self.writer = match &drained {
            Poll::Ready(_) => None,
            Poll::Pending => Some(cx.waker().clone()),
        };
        drained
    }

    /// As [`poll_drain`](Self::poll_drain), on behalf of a reader, who learns of a broken connection
    /// by reading.
    fn drain_for_reader(&mut self, cx: &mut Context<'_>) {
        let writer = self.writer.clone();
        let waker = writer.as_ref().unwrap_or(cx.waker());
        let _ = self.poll_drain(&mut Context::from_waker(waker));
    }

    fn is_answer_due(&self) -> bool {
        !self.out.is_empty() || self.ping.is_some() || matches!(self.closing, Closing::Due(_))
    }

    fn begin_closing(&mut self, code: Option<u16>) {
        if self.closing == Closing::No {
            self.closing = Closing::Due(code);
        }
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.is_answer_due() {
                this.drain_for_reader(cx);
            }
            match this.deframer.ending() {
                Some(Ending::Closed) => return Poll::Ready(Ok(())),
                Some(Ending::Failed(error)) => return Poll::Ready(Err(error.clone().into())),
                None if buf.remaining() == 0 => return Poll::Ready(Ok(())),
                None => {}
            }
            let before = buf.filled().len();
            if !ready!(this.poll_read_raw(cx, buf))? {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended the connection without closing the WebSocket",
                )));
            }
            let (_, raw) = buf.filled_mut().split_at_mut(before);
            let (ping, closing) = (&mut this.ping, &mut this.closing);
            let count = this.deframer.deframe(raw, |control| match control {
                Control::Ping(payload) => *ping = Some(payload),
                Control::Close { code } if *closing == Closing::No => {
                    *closing = Closing::Due(code);
                }
                Control::Close { .. } => {}
            });
            buf.set_filled(before + count);
            if let Some(Ending::Failed(error)) = this.deframer.ending() {
                let code = error.close_code();
                this.begin_closing(Some(code));
            }
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.closing != Closing::No {
            let text = "the WebSocket is closed";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)));
        }
        ready!(this.poll_drain_for_writer(cx))?;
        let mut count = 0;
        let mut parts = Vec::with_capacity(bufs.len());
        for buf in bufs {
            let part = buf.get(..buf.len().min(MAX_PAYLOAD_BYTES - count)).unwrap_or_default();
            count += part.len();
            parts.push(IoSlice::new(part));
        }
        if count > 0 {
            this.append(Kind::Binary, &parts)?;
            if let Poll::Ready(Err(error)) = this.poll_drain_for_writer(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain_for_writer(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    /// Sends a close frame and ends the connection below. The server's close frame is not waited for:
    /// MQTT has its own farewell.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.begin_closing(Some(NORMAL_CLOSURE));
        ready!(this.poll_drain_for_writer(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// Bounds what a single write copies.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
