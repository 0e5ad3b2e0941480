//! TCP: non-blocking connects, and the race between the addresses of a host (RFC 8305).

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::{BindAddress, ConnectError, ConnectOptions, Resolver, Stream};

/// Begins a plain TCP connection and returns the future of its completion.
///
/// Of `options`, the socket options count (`nodelay`, `keepalive`, `user_timeout`); the local address
/// is `bind`, whose port may be 0, and no deadline is set. This is the cheap way to very many
/// connections: the non-blocking `connect` is issued before the function returns, nothing is looked
/// up and nothing is allocated but what the runtime keeps per socket.
///
/// # Errors
///
/// The operating system's errors of `socket`, `setsockopt`, `bind` and `connect`, notably
/// [`io::ErrorKind::AddrNotAvailable`] when the local ports are used up and `EMFILE` when the file
/// descriptors are.
///
/// # Panics
///
/// Outside a Tokio runtime with I/O enabled.
pub fn dial(
    addr: SocketAddr,
    bind: Option<SocketAddr>,
    options: &ConnectOptions,
) -> io::Result<Dialing> {
    Ok(Dialing { tcp: Some(TcpStream::from_std(begin(addr, bind, options)?.into())?) })
}

/// Makes the socket of [`dial`] and begins to connect it.
pub(super) fn begin(
    addr: SocketAddr,
    bind: Option<SocketAddr>,
    options: &ConnectOptions,
) -> io::Result<Socket> {
    let socket = nonblocking(Domain::for_address(addr))?;
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(time) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if let Some(local) = bind {
        if local.port() != 0 {
            // A chosen port may be one whose previous connection is in TIME_WAIT.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&SockAddr::from(local))?;
    }
    match socket.connect(&SockAddr::from(addr)) {
        Ok(()) => {}
        Err(error) if is_in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(socket)
}

fn nonblocking(domain: Domain) -> io::Result<Socket> {
    // Made so in one system call where there is such a call.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    return Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(libc::EINPROGRESS);
    #[cfg(not(unix))]
    return error.kind() == io::ErrorKind::WouldBlock;
}

/// A TCP connection under way, made by [`dial`]. Dropping it closes the socket.
///
/// # Cancel safety
///
/// Polling may stop and go on at any time; nothing is lost between two polls.
#[must_use = "a connection completes only while it is polled"]
pub struct Dialing {
    tcp: Option<TcpStream>,
}

impl Future for Dialing {
    type Output = io::Result<Stream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let tcp = self.tcp.take().expect("a future is not polled after it returned Ready");
        // A socket becomes writable when its connect has come to an end, good or bad.
        match tcp.poll_write_ready(cx) {
            Poll::Pending => {
                self.tcp = Some(tcp);
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(match tcp.take_error()? {
                None => Ok(Stream::from_tcp(tcp)),
                Some(error) => Err(error),
            }),
        }
    }
}

impl fmt::Debug for Dialing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialing").finish_non_exhaustive()
    }
}

/// Connects to whichever address answers first: each is given [`ATTEMPT_DELAY`] before the next is
/// tried beside it (RFC 8305 §5), and a failure brings the next at once.
pub(super) async fn race(
    addrs: &[SocketAddr],
    options: &ConnectOptions,
) -> Result<(SocketAddr, Stream), ConnectError> {
    let candidates = match &options.bind {
        None => addrs.iter().map(|addr| (*addr, None)).collect(),
        Some(bind) => bindable(addrs, bind, &options.resolver).await?,
    };
    let mut race = Race {
        waiting: candidates.into_iter(),
        under_way: Vec::new(),
        next_attempt: Box::pin(tokio::time::sleep(ATTEMPT_DELAY)),
        tried: 0,
        failure: None,
        options,
    };
    poll_fn(|cx| race.poll(cx)).await
}

/// Pairs each address with the local address of its family; addresses of another family are left out.
async fn bindable(
    addrs: &[SocketAddr],
    bind: &BindAddress,
    resolver: &Resolver,
) -> Result<Vec<Candidate>, ConnectError> {
    let bind_error = |source| ConnectError::Bind { bind: bind.to_string(), source };
    let locals = match bind {
        BindAddress::Ip(ip) => vec![SocketAddr::new(*ip, 0)],
        BindAddress::Host(host) => resolver.lookup(host, 0).await.map_err(bind_error)?,
    };
    let candidates: Vec<_> = addrs
        .iter()
        .filter_map(|addr| {
            let local = locals.iter().find(|local| local.is_ipv4() == addr.is_ipv4())?;
            Some((*addr, Some(*local)))
        })
        .collect();
    if candidates.is_empty() {
        let text = "the broker has no address of the same family, IPv4 or IPv6";
        return Err(bind_error(io::Error::new(io::ErrorKind::AddrNotAvailable, text)));
    }
    Ok(candidates)
}

type Candidate = (SocketAddr, Option<SocketAddr>);

struct Race<'a> {
    waiting: std::vec::IntoIter<Candidate>,
    under_way: Vec<(Candidate, Dialing)>,
    next_attempt: Pin<Box<Sleep>>,
    tried: usize,
    failure: Option<(Candidate, io::Error)>,
    options: &'a ConnectOptions,
}

impl Race<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(SocketAddr, Stream), ConnectError>> {
        loop {
            let mut failed = false;
            let mut index = 0;
            while let Some((candidate, dialing)) = self.under_way.get_mut(index) {
                match Pin::new(dialing).poll(cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok((candidate.0, stream))),
                    Poll::Ready(Err(error)) => {
                        let (candidate, _) = self.under_way.remove(index);
                        self.note_failure(candidate, error);
                        failed = true;
                    }
                }
            }
            let wait = !self.under_way.is_empty() && !failed;
            if wait && self.next_attempt.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.waiting.next() {
                Some(candidate) => self.begin(candidate),
                None if self.under_way.is_empty() => return Poll::Ready(Err(self.defeat())),
                None => return Poll::Pending,
            }
        }
    }

    fn begin(&mut self, candidate: Candidate) {
        let (addr, local) = candidate;
        self.tried += 1;
        match dial(addr, local, self.options) {
            Ok(dialing) => {
                self.under_way.push((candidate, dialing));
                self.next_attempt.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
            }
            Err(error) => self.note_failure(candidate, error),
        }
    }

    /// Keeps the first failure, unless it only says that this machine has no route of that family.
    fn note_failure(&mut self, candidate: Candidate, error: io::Error) {
        let tells_little = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        };
        if self.failure.as_ref().is_none_or(|(_, kept)| tells_little(kept)) {
            self.failure = Some((candidate, error));
        }
    }

    fn defeat(&mut self) -> ConnectError {
        let ((addr, local), source) =
            self.failure.take().expect("the race is lost only by at least one failure");
        match (&self.options.bind, local) {
            (Some(bind), Some(_)) if is_bind_error(&source) => {
                ConnectError::Bind { bind: bind.to_string(), source }
            }
            _ => ConnectError::Dial { addr, tried: self.tried, source },
        }
    }
}

/// Tells the errors of `bind` from those of `connect`.
fn is_bind_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// The connection attempt delay that RFC 8305 §8 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
