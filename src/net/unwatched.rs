//! A TCP connection that no runtime watches: its owner watches the socket and says what it is ready
//! for.
//!
//! A runtime keeps some hundred bytes for each socket that it watches. An owner of very many, which
//! has a table of them anyway, does without.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ConnectOptions, Stream, tcp};

/// A plain TCP connection, under way or established.
///
/// What is pending wakes nobody. The owner is expected to be told by the kernel whenever the socket
/// becomes readable or writable (edge-triggered: a short read counts as having emptied the socket)
/// and when the peer has sent its end, to pass that on with [`set_readable`](Self::set_readable), and to poll again.
#[derive(Debug)]
pub(crate) struct Unwatched {
    tcp: TcpStream,
    readable: bool,
    /// The peer has sent its last byte, or the connection is broken: there is no further edge.
    at_end: bool,
}

impl Unwatched {
    /// Begins a connection, as [`dial`](super::dial) does.
    pub(crate) fn dial(
        addr: SocketAddr,
        bind: Option<SocketAddr>,
        options: &ConnectOptions,
    ) -> io::Result<Self> {
        let socket = tcp::begin(addr, bind, options)?;
        Ok(Self { tcp: socket.into(), readable: false, at_end: false })
    }

    /// Whether the connection has come about. To be asked until it has, each time that the socket
    /// may have become writable.
    pub(crate) fn poll_established(&self) -> Poll<io::Result<()>> {
        match self.tcp.peer_addr() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                match self.tcp.take_error() {
                    Ok(None) => Poll::Pending,
                    Ok(Some(error)) | Err(error) => Poll::Ready(Err(error)),
                }
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Takes note that there is something to read. `at_end` says that the end has come in, which
    /// then can be read behind it.
    pub(crate) fn set_readable(&mut self, at_end: bool) {
        self.readable = true;
        self.at_end |= at_end;
    }

    /// Has the kernel reset the connection instead of closing it, as when a device loses its power.
    pub(crate) fn reset_on_drop(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO))
    }
}

impl From<Unwatched> for Stream {
    fn from(unwatched: Unwatched) -> Stream {
        Stream::from_unwatched(unwatched)
    }
}

impl AsFd for Unwatched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl AsyncRead for Unwatched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.readable {
            return Poll::Pending;
        }
        let room = buf.initialize_unfilled();
        let wanted = room.len();
        match ready(self.tcp.read(room)) {
            Poll::Ready(Ok(length)) => {
                self.readable = length == wanted || self.at_end;
                buf.advance(length);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.readable = false;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Unwatched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready(self.tcp.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready(self.tcp.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.tcp.shutdown(Shutdown::Write))
    }
}

fn ready<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::task::Waker;

    use super::*;

    fn connected() -> (Unwatched, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let ours = Unwatched::dial(addr, None, &ConnectOptions::default()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        assert!(matches!(ours.poll_established(), Poll::Ready(Ok(()))));
        (ours, theirs)
    }

    fn read(stream: &mut Unwatched, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(room);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(stream).poll_read(&mut cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    #[test]
    fn nothing_is_read_before_the_owner_says_so() {
        let (mut ours, mut theirs) = connected();
        theirs.write_all(b"abc").unwrap();
        let mut room = [0; 8];
        assert!(read(&mut ours, &mut room).is_pending());
        ours.set_readable(false);
        assert!(matches!(read(&mut ours, &mut room), Poll::Ready(Ok(3))));
        // A short read has emptied the socket: the next one asks the kernel nothing.
        theirs.write_all(b"d").unwrap();
        assert!(read(&mut ours, &mut room).is_pending());
    }

    #[test]
    fn the_end_is_read_behind_the_last_bytes_and_as_often_as_it_is_asked_for() {
        let (mut ours, mut theirs) = connected();
        theirs.write_all(b"bye").unwrap();
        drop(theirs);
        ours.set_readable(true);
        let mut room = [0; 8];
        assert!(matches!(read(&mut ours, &mut room), Poll::Ready(Ok(3))));
        assert!(matches!(read(&mut ours, &mut room), Poll::Ready(Ok(0))));
        assert!(matches!(read(&mut ours, &mut room), Poll::Ready(Ok(0))));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let addr = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap()
        };
        let error = match Unwatched::dial(addr, None, &ConnectOptions::default()) {
            Err(error) => error,
            Ok(stream) => match stream.poll_established() {
                Poll::Ready(Err(error)) => error,
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
