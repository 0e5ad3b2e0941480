//! One stream type for every transport: nothing above `net` knows which it is.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(feature = "psk")]
use tokio_openssl::SslStream;
#[cfg(feature = "tls")]
use tokio_rustls::client::TlsStream;

#[cfg(all(feature = "load", target_os = "linux"))]
use super::Unwatched;
#[cfg(feature = "tls")]
use super::tls::explain;
#[cfg(feature = "websocket")]
use super::websocket::WebSocket;

/// What carries the bytes of a [`Stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls,
    /// WebSocket over TCP.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// WebSocket over TLS over TCP.
    #[cfg(all(feature = "tls", feature = "websocket"))]
    SecureWebSocket,
    /// A Unix domain socket.
    Unix,
    /// Whatever was given to [`Stream::from_io`].
    Custom,
}

/// A connected byte stream to a broker.
///
/// An idle stream over TCP or a Unix socket holds no buffer of its own: a read goes from the kernel to
/// the caller's buffer. What was written counts as sent only after a flush, which the sockets have no
/// need of and the other transports do.
///
/// The end of the bytes is told apart from a cut: over TLS, a peer that closes without saying so gives
/// [`io::ErrorKind::UnexpectedEof`], as does a WebSocket peer that closes without a close frame.
pub struct Stream {
    io: Io,
}

enum Io {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(feature = "psk")]
    Psk(Box<SslStream<TcpStream>>),
    #[cfg(feature = "websocket")]
    WebSocket(Box<WebSocket>),
    #[cfg(unix)]
    /// Boxed, so that the kind of a stream takes no room beside that of a TCP socket.
    Unix(Box<UnixStream>),
    #[cfg(all(feature = "load", target_os = "linux"))]
    Unwatched(Unwatched),
    Custom(Box<dyn Custom>),
}

trait Custom: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Custom for T {}

impl Stream {
    /// Wraps a connected TCP stream.
    pub fn from_tcp(tcp: TcpStream) -> Stream {
        Stream { io: Io::Tcp(tcp) }
    }

    /// Wraps a connected Unix domain socket.
    #[cfg(unix)]
    pub fn from_unix(unix: UnixStream) -> Stream {
        Stream { io: Io::Unix(Box::new(unix)) }
    }

    #[cfg(feature = "tls")]
    pub(super) fn from_tls(tls: TlsStream<TcpStream>) -> Stream {
        Stream { io: Io::Tls(Box::new(tls)) }
    }

    #[cfg(feature = "psk")]
    pub(super) fn from_psk(tls: SslStream<TcpStream>) -> Stream {
        Stream { io: Io::Psk(Box::new(tls)) }
    }

    #[cfg(feature = "websocket")]
    pub(super) fn from_websocket(websocket: WebSocket) -> Stream {
        Stream { io: Io::WebSocket(Box::new(websocket)) }
    }

    #[cfg(all(feature = "load", target_os = "linux"))]
    pub(super) fn from_unwatched(unwatched: Unwatched) -> Stream {
        Stream { io: Io::Unwatched(unwatched) }
    }

    /// The connection that its owner watches, if it is one.
    #[cfg(all(feature = "load", target_os = "linux"))]
    pub(crate) fn unwatched(&mut self) -> Option<&mut Unwatched> {
        match &mut self.io {
            Io::Unwatched(unwatched) => Some(unwatched),
            _ => None,
        }
    }

    /// Wraps any byte stream, such as a transport of the application's own or a duplex pipe in a test.
    pub fn from_io<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T) -> Stream {
        Stream { io: Io::Custom(Box::new(io)) }
    }

    /// Returns what carries the bytes.
    pub fn transport(&self) -> Transport {
        match &self.io {
            Io::Tcp(_) => Transport::Tcp,
            #[cfg(all(feature = "load", target_os = "linux"))]
            Io::Unwatched(_) => Transport::Tcp,
            #[cfg(feature = "tls")]
            Io::Tls(_) => Transport::Tls,
            #[cfg(feature = "psk")]
            Io::Psk(_) => Transport::Tls,
            #[cfg(feature = "websocket")]
            Io::WebSocket(websocket) => match websocket.inner().transport() {
                #[cfg(feature = "tls")]
                Transport::Tls => Transport::SecureWebSocket,
                _ => Transport::WebSocket,
            },
            #[cfg(unix)]
            Io::Unix(_) => Transport::Unix,
            Io::Custom(_) => Transport::Custom,
        }
    }

    /// Returns the address of the other end of the TCP connection underneath, if there is one. Behind
    /// a proxy that is the proxy.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.tcp().and_then(|tcp| tcp.peer_addr().ok())
    }

    /// Returns the local address of the TCP connection underneath, if there is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Returns the TCP stream inside, or the stream itself when it is not a bare TCP stream.
    ///
    /// # Errors
    ///
    /// The stream, unchanged.
    pub fn into_tcp(self) -> Result<TcpStream, Stream> {
        match self.io {
            Io::Tcp(tcp) => Ok(tcp),
            io => Err(Stream { io }),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(tcp) => Some(tcp),
            #[cfg(feature = "tls")]
            Io::Tls(tls) => Some(tls.get_ref().0),
            #[cfg(feature = "psk")]
            Io::Psk(tls) => Some(tls.get_ref()),
            #[cfg(feature = "websocket")]
            Io::WebSocket(websocket) => websocket.inner().tcp(),
            #[cfg(unix)]
            Io::Unix(_) => None,
            #[cfg(all(feature = "load", target_os = "linux"))]
            Io::Unwatched(_) => None,
            Io::Custom(_) => None,
        }
    }
}

/// Calls one method on whichever stream is inside.
macro_rules! delegate {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Tcp($stream) => $call,
            #[cfg(feature = "tls")]
            Io::Tls($stream) => $call,
            #[cfg(feature = "psk")]
            Io::Psk($stream) => $call,
            #[cfg(feature = "websocket")]
            Io::WebSocket($stream) => $call,
            #[cfg(unix)]
            Io::Unix($stream) => $call,
            #[cfg(all(feature = "load", target_os = "linux"))]
            Io::Unwatched($stream) => $call,
            Io::Custom($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = &mut self.get_mut().io;
        #[cfg(feature = "tls")]
        if let Io::Tls(tls) = io {
            return Pin::new(tls).poll_read(cx, buf).map_err(explain);
        }
        delegate!(io, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(&mut self.get_mut().io, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(&mut self.get_mut().io, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(&self.io, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.get_mut().io, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut self.get_mut().io, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("transport", &self.transport())
            .field("peer_addr", &self.peer_addr())
            .finish_non_exhaustive()
    }
}
