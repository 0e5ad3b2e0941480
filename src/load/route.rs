//! The way to the target: how each client gets its stream.
//!
//! Plain TCP is dialled without any allocation, and on Linux without the runtime's knowledge. What
//! comes on top of TCP is negotiated in a box that is freed when the stream is there; proxies and
//! Unix sockets go through [`net::connect`] as a whole.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::io::Errno;

#[cfg(feature = "tls")]
use super::plan::ClientTls;
use super::{
    failure::FailureClass,
    ports::{Ports, UNCHOSEN},
};
#[cfg(not(target_os = "linux"))]
use crate::net::Dialing;
#[cfg(target_os = "linux")]
use crate::net::Unwatched;
use crate::net::{
    self, ConnectError, ConnectOptions, Connected, Endpoint, Scheme, Stream, Timings,
};

/// How often a chosen port may turn out to be taken before an attempt is given up.
const PORT_TRIES: u32 = 256;

/// How the clients of a load get to the targets, which they are dealt to in turn.
#[derive(Debug)]
pub(crate) struct Route {
    ways: Vec<Way>,
    /// All targets are inside this machine, where a connect has come about when it returns.
    local: bool,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

#[derive(Debug)]
struct Way {
    /// Where the endpoint was found; empty when whoever connects looks that up.
    addresses: Vec<SocketAddr>,
    to: Arc<(Endpoint, ConnectOptions)>,
    /// Nothing comes on top of TCP.
    bare: bool,
}

/// A connection under way.
pub(crate) enum Opening {
    #[cfg(target_os = "linux")]
    Bare(Option<Unwatched>),
    #[cfg(not(target_os = "linux"))]
    Bare(Dialing),
    Staged(Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>),
}

/// Why a connection did not come about.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) class: FailureClass,
    pub(crate) text: String,
    /// Whether the target, or a proxy, took the TCP connection.
    pub(crate) reached: bool,
}

impl Route {
    /// A way to nothing yet. All targets are inside this machine if `local`.
    pub(crate) fn new(local: bool) -> Self {
        Self {
            ways: Vec::new(),
            local,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Adds an endpoint that was found at these addresses, or that needs none.
    pub(crate) fn add(
        &mut self,
        endpoint: Endpoint,
        addresses: Vec<SocketAddr>,
        options: &ConnectOptions,
    ) {
        let bare = endpoint.scheme() == Scheme::Mqtt && !addresses.is_empty();
        // An idle client never has two small packets on their way: no need for the system call.
        let options = ConnectOptions { nodelay: !bare, ..options.clone() };
        self.ways.push(Way { addresses, to: Arc::new((endpoint, options)), bare });
    }

    /// Has the clients prove by certificates of their own who they are.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, tls: Option<ClientTls>) {
        self.tls = tls;
    }

    /// How many targets there are.
    pub(crate) fn target_count(&self) -> usize {
        self.ways.len()
    }

    /// Whether a connection has come about as soon as it was begun.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Begins the connection of client `g`, and returns the number of its port with it.
    pub(crate) fn open(
        &self,
        g: u32,
        ports: &mut Option<Ports>,
    ) -> Result<(Opening, u32), OpenError> {
        let turn = g as usize / self.ways.len().max(1);
        let way = self.ways.get(g as usize % self.ways.len().max(1)).ok_or_else(no_address)?;
        let options = &way.to.1;
        let Some(address) = way.addresses.get(turn % way.addresses.len().max(1)) else {
            let to = self.of_client(g, &way.to)?;
            let connecting = async move { net::connect(&to.0, &to.1).await };
            return Ok((Opening::Staged(Box::pin(connecting)), UNCHOSEN));
        };
        if way.bare {
            #[cfg(target_os = "linux")]
            let dial = |bind| Unwatched::dial(*address, bind, options).map(Some);
            #[cfg(not(target_os = "linux"))]
            let dial = |bind| net::dial(*address, bind, options);
            let (opening, port) = from_port(ports, dial)?;
            return Ok((Opening::Bare(opening), port));
        }
        let to = self.of_client(g, &way.to)?;
        // On the loopback interface, the connection comes about while it is dialled.
        let began = tokio::time::Instant::now();
        let (dialing, port) = from_port(ports, |bind| net::dial(*address, bind, options))?;
        let addr = *address;
        let climbing = async move { climb(began, dialing, addr, &to.0, &to.1).await };
        Ok((Opening::Staged(Box::pin(climbing)), port))
    }

    /// The options for client `g`.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unnecessary_wraps, reason = "no certificates"))]
    fn of_client(
        &self,
        g: u32,
        to: &Arc<(Endpoint, ConnectOptions)>,
    ) -> Result<Arc<(Endpoint, ConnectOptions)>, OpenError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let config = tls.of_client(g).map_err(|text| OpenError {
                class: FailureClass::Tls,
                text,
                reached: false,
            })?;
            let (endpoint, options) = &**to;
            let options = ConnectOptions { tls: Some(config), ..options.clone() };
            return Ok(Arc::new((endpoint.clone(), options)));
        }
        let _ = g;
        Ok(Arc::clone(to))
    }
}

/// Has `dial` connect from the next port that is free, or from whichever the kernel chooses.
fn from_port<T>(
    ports: &mut Option<Ports>,
    dial: impl Fn(Option<SocketAddr>) -> io::Result<T>,
) -> Result<(T, u32), OpenError> {
    let Some(ports) = ports else {
        return dial(None).map(|dialed| (dialed, UNCHOSEN)).map_err(dial_failed);
    };
    let mut last = io::Error::from(Errno::ADDRNOTAVAIL);
    for _ in 0..PORT_TRIES {
        let Some((number, local)) = ports.take() else { break };
        match dial(Some(local)) {
            Ok(dialed) => return Ok((dialed, number)),
            Err(error) => match Errno::from_io_error(&error) {
                // A listener has this port.
                Some(Errno::ADDRINUSE) => last = error,
                // An earlier connection from it is not forgotten yet.
                Some(Errno::ADDRNOTAVAIL) => {
                    ports.give_back(number);
                    last = error;
                }
                _ => {
                    ports.give_back(number);
                    return Err(dial_failed(error));
                }
            },
        }
    }
    Err(dial_failed(last))
}

/// Goes on from TCP to the transports above it.
async fn climb(
    began: tokio::time::Instant,
    dialing: net::Dialing,
    addr: SocketAddr,
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Connected, ConnectError> {
    let timeout = options.connect_timeout;
    let stream = match tokio::time::timeout_at(began + timeout, dialing).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(ConnectError::Dial { addr, tried: 1, source }),
        Err(_) => {
            let (target, stage) = (endpoint.address(), net::Stage::Dial);
            return Err(ConnectError::Timeout { target, stage, after: timeout });
        }
    };
    let tcp = began.elapsed();
    let left = timeout.saturating_sub(tcp).max(Duration::from_millis(1));
    let options = ConnectOptions { connect_timeout: left, ..options.clone() };
    let mut connected = net::negotiate(stream, endpoint, &options).await?;
    connected.timings.tcp = Some(tcp);
    Ok(connected)
}

impl Opening {
    /// Goes on with it. The timings are there where there are stages to time.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Stream, Option<Timings>), OpenError>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Bare(bare) => {
                let Some(socket) = bare.take() else { return Poll::Pending };
                match socket.poll_established() {
                    Poll::Pending => {
                        *bare = Some(socket);
                        Poll::Pending
                    }
                    Poll::Ready(Ok(())) => Poll::Ready(Ok((socket.into(), None))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(dial_failed(error))),
                }
            }
            #[cfg(not(target_os = "linux"))]
            Self::Bare(dialing) => Pin::new(dialing)
                .poll(cx)
                .map(|outcome| outcome.map(|stream| (stream, None)).map_err(dial_failed)),
            Self::Staged(connecting) => connecting.as_mut().poll(cx).map(|outcome| match outcome {
                Ok(connected) => Ok((connected.stream, Some(connected.timings))),
                Err(error) => Err(OpenError {
                    class: FailureClass::of_connect(&error),
                    text: chain(&error),
                    reached: !matches!(error.stage(), net::Stage::Resolve | net::Stage::Dial),
                }),
            }),
        }
    }

    /// The socket, if nobody else watches it.
    #[cfg(target_os = "linux")]
    pub(crate) fn unwatched(&mut self) -> Option<&mut Unwatched> {
        match self {
            Self::Bare(socket) => socket.as_mut(),
            Self::Staged(_) => None,
        }
    }

    /// Whether Tokio says when it goes on.
    pub(crate) fn is_watched_by_tokio(&self) -> bool {
        !cfg!(target_os = "linux") || matches!(self, Self::Staged(_))
    }

    /// Whether it ends by itself when its time is over.
    pub(crate) fn has_deadline(&self) -> bool {
        matches!(self, Self::Staged(_))
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_deadline() { "Staged" } else { "Bare" })
    }
}

fn no_address() -> OpenError {
    dial_failed(io::ErrorKind::AddrNotAvailable.into())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn dial_failed(error: io::Error) -> OpenError {
    OpenError { class: FailureClass::of_dial(&error), text: error.to_string(), reached: false }
}

/// Whether this machine, and not a proxy, looks up the name of the target.
pub(crate) fn needs_lookup(endpoint: &Endpoint, options: &ConnectOptions) -> bool {
    #[cfg(feature = "socks5")]
    if options.proxy.is_some() {
        return false;
    }
    let _ = options;
    endpoint.scheme() != Scheme::Unix
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Sources, ports::PortPlan};

    fn ports() -> Option<Ports> {
        let sources: Sources = "127.0.0.1".parse().unwrap();
        let plan = PortPlan::new(&sources, &[([127, 0, 0, 1], 1).into()], 10, 0).unwrap().unwrap();
        Some(Ports::new(Arc::new(plan), 0, 1))
    }

    #[test]
    fn ports_that_are_taken_are_passed_over() {
        let tries = std::cell::Cell::new(0);
        let dial = |bind: Option<SocketAddr>| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(Errno::ADDRINUSE.into()),
                2 => Err(Errno::ADDRNOTAVAIL.into()),
                _ => Ok(bind.unwrap().port()),
            }
        };
        let first = ports().unwrap().take().unwrap().1.port();
        let mut ports = ports();
        let (port, number) = from_port(&mut ports, dial).unwrap();
        assert_eq!((port, number), (first + 2, 2));
        // The one in TIME_WAIT has its turn again, the listener's has not.
        let rested = std::iter::from_fn(|| ports.as_mut()?.take()).last().unwrap();
        assert_eq!(rested.1.port(), first + 1);
    }

    #[test]
    fn other_errors_are_told_at_once_and_an_endless_shortage_in_the_end() {
        let error = from_port(&mut ports(), |_| Err::<(), _>(Errno::MFILE.into())).unwrap_err();
        assert_eq!(error.class, FailureClass::LocalDescriptors);
        let error = from_port(&mut ports(), |_| Err::<(), _>(Errno::ADDRINUSE.into())).unwrap_err();
        assert_eq!(error.class, FailureClass::LocalPorts);
    }
}
