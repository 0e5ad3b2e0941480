//! The way to the target: how each client gets its stream.
//!
//! Plain TCP is dialled by [`net::dial`], which allocates nothing. Every other transport goes through
//! [`net::connect`], in a box that is freed when the stream is there.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use super::failure::FailureClass;
use crate::net::{
    self, ConnectError, ConnectOptions, Connected, Dialing, Endpoint, Resolver, Scheme, Stream,
    Timings,
};

/// How the clients of a load get to the target.
#[derive(Debug)]
pub(crate) enum Route {
    /// Over TCP and nothing else, to the addresses in turn, from wherever the system likes.
    Tcp { addresses: Vec<SocketAddr>, options: Box<ConnectOptions> },
    /// In any other way.
    Staged(Arc<(Endpoint, ConnectOptions)>),
}

impl Route {
    /// The way to one address, without anything in between.
    pub(crate) fn to_address(address: SocketAddr, options: &ConnectOptions) -> Self {
        Self::Tcp { addresses: vec![address], options: Box::new(idle(options)) }
    }

    /// The way to an endpoint that was found at these addresses, or that needs none.
    pub(crate) fn new(
        endpoint: &Endpoint,
        addresses: &[SocketAddr],
        options: &ConnectOptions,
    ) -> Self {
        let mut options = idle(options);
        let dialled = endpoint.scheme() == Scheme::Mqtt && options.bind.is_none();
        if dialled && needs_lookup(endpoint, &options) {
            return Self::Tcp { addresses: addresses.to_vec(), options: Box::new(options) };
        }
        if !addresses.is_empty() {
            options.resolver = in_turn(addresses.to_vec());
        }
        Self::Staged(Arc::new((endpoint.clone(), options)))
    }

    /// Begins the connection of client `g`.
    pub(crate) fn open(&self, g: u32) -> io::Result<Opening> {
        match self {
            Self::Tcp { addresses, options } => {
                let turn = g as usize % addresses.len().max(1);
                let address = *addresses.get(turn).ok_or(io::ErrorKind::AddrNotAvailable)?;
                net::dial(address, None, options).map(Opening::Dialing)
            }
            Self::Staged(target) => {
                let target = Arc::clone(target);
                let connecting = async move { net::connect(&target.0, &target.1).await };
                Ok(Opening::Staged(Box::pin(connecting)))
            }
        }
    }
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

/// An idle client never has two small packets on their way: no need for the system call.
fn idle(options: &ConnectOptions) -> ConnectOptions {
    ConnectOptions { nodelay: false, ..options.clone() }
}

/// Gives each connection another address first.
fn in_turn(addresses: Vec<SocketAddr>) -> Resolver {
    let turn = AtomicUsize::new(0);
    Resolver::new(move |_, _| {
        let mut addresses = addresses.clone();
        let first = turn.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(first);
        async move { Ok(addresses) }
    })
}

/// A connection under way.
pub(crate) enum Opening {
    Dialing(Dialing),
    Staged(Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>),
}

/// Why a connection did not come about.
pub(crate) struct OpenError {
    pub(crate) class: FailureClass,
    pub(crate) text: String,
    /// Whether the target, or a proxy, took the TCP connection.
    pub(crate) reached: bool,
}

impl Opening {
    /// Goes on with it. The timings are there where there are stages to time.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Stream, Option<Timings>), OpenError>> {
        match self {
            Self::Dialing(dialing) => Pin::new(dialing).poll(cx).map(|outcome| match outcome {
                Ok(stream) => Ok((stream, None)),
                Err(error) => Err(OpenError {
                    class: FailureClass::of_dial(&error),
                    text: error.to_string(),
                    reached: false,
                }),
            }),
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

    /// Whether it ends by itself when its time is over.
    pub(crate) fn has_deadline(&self) -> bool {
        matches!(self, Self::Staged(_))
    }
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
