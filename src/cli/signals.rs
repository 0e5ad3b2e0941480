//! SIGINT and SIGTERM, which ask a tool to disconnect and end.

use std::io;

use crate::cli::exit::Exit;

/// The signals that end a tool. From the moment this exists they no longer kill the process.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal and returns the exit that tells of it.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal is not lost.
    pub async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Signal(2),
            _ = self.terminate.recv() => Exit::Signal(15),
        }
    }
}

/// Ctrl-C, which ends a tool.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals(());

#[cfg(not(unix))]
impl Signals {
    /// Takes Ctrl-C over.
    ///
    /// # Errors
    /// None on this system.
    pub fn new() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Waits for Ctrl-C.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Exit {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Exit::Signal(2),
            Err(_) => std::future::pending().await,
        }
    }
}
