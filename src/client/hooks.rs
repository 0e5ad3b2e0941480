//! What an application can be called for: the trait [`Hooks`], and what is said in its methods.
//!
//! The same calls exist as closures, set one by one on the
//! [`ClientBuilder`](super::ClientBuilder) (`callbacks`).

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::codec::{Packet, PacketType, ReasonCode};
use crate::driver::Direction;
use crate::session::{Receipt, SubscribeReceipt, Ticket};

use super::attempt::Attempt;
use super::error::{ConnectError, PublishError, RequestError};
use super::handle::Handle;
use super::info::{ConnectInfo, DisconnectCause, DisconnectInfo};
use super::message::MessageRef;

/// Takes the calls of a client, for applications that keep what belongs to them in one place.
///
/// Each method has a closure of the same name on [`ClientBuilder`](super::ClientBuilder); where both
/// are set the closure is called first. All methods do nothing by default.
///
/// They are called one at a time by the task of the client, after the protocol engine has done its
/// step and with no lock held, and may call everything of the [`Handle`]. What takes long belongs
/// elsewhere: nothing is sent or received meanwhile. A panic is contained: no hook is called after
/// it, and the client disconnects with its will and ends with
/// [`CloseReason::HookPanicked`](super::CloseReason::HookPanicked). The message that `on_message`
/// panicked over is acknowledged, so that it does not come back to do the same again.
///
/// ```no_run
/// use midge::client::{ConnectInfo, Handle, Hooks, MessageRef};
/// use midge::{Client, Flow};
///
/// struct Meter {
///     received: usize,
/// }
///
/// impl Hooks for Meter {
///     fn on_connect(&mut self, _info: &ConnectInfo, handle: &Handle) {
///         let _ = handle.publish("meter/state", "up").try_enqueue();
///     }
///
///     fn on_message(&mut self, _message: &MessageRef<'_>, _handle: &Handle) -> Flow {
///         self.received += 1;
///         Flow::Taken
///     }
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, _inbox) =
///     Client::builder("mqtt://localhost")?.hooks(Meter { received: 0 }).start()?;
/// # Ok(())
/// # }
/// ```
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Hooks: Send + 'static {
    /// Called before each attempt to connect, which it may change.
    fn on_pre_connect(&mut self, attempt: &mut Attempt) {}

    /// Called before each attempt to connect, which it may change after some waiting: for a token,
    /// say. The attempt goes on with what the future yields; it has the connect timeout for that.
    /// An error fails the attempt with [`ConnectError::Hook`], and the next one follows as after any
    /// other failure that may pass.
    fn before_connect(&mut self, attempt: Attempt) -> BeforeConnect {
        Box::pin(std::future::ready(Ok(attempt)))
    }

    /// Called for each connection that the broker accepts.
    fn on_connect(&mut self, info: &ConnectInfo, handle: &Handle) {}

    /// Called for each attempt to connect that fails.
    fn on_connect_failure(&mut self, error: &ConnectError, handle: &Handle) {}

    /// Called for the end of each accepted connection.
    fn on_disconnect(&mut self, info: &DisconnectInfo, handle: &Handle) {}

    /// Called when an attempt to connect has failed or a connection was lost, with the delay of the
    /// next attempt, or `None` where the client would end. What it returns is done instead. Not
    /// called when the application itself ended the connection.
    fn on_retry(&mut self, failure: Failure<'_>, planned: Option<Duration>) -> Option<Duration> {
        planned
    }

    /// Called for each message received, before the streams get it.
    fn on_message(&mut self, message: &MessageRef<'_>, handle: &Handle) -> Flow {
        Flow::Continue
    }

    /// Called for the end of each publish, before its [`Delivery`](super::Delivery) knows.
    fn on_publish(
        &mut self,
        ticket: Ticket,
        result: &Result<Receipt, PublishError>,
        handle: &Handle,
    ) {
    }

    /// Called for the end of each subscribe, with one reason per filter.
    fn on_subscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
        handle: &Handle,
    ) {
    }

    /// Called for the end of each unsubscribe.
    fn on_unsubscribe(
        &mut self,
        ticket: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
        handle: &Handle,
    ) {
    }

    /// Called when all bytes received so far are handled and no more are waiting.
    fn on_idle(&mut self, handle: &Handle) {}

    /// Tells whether [`on_packet`](Self::on_packet) is to be called, for which every packet is
    /// decoded once more. Asked once, at the start.
    fn observes_packets(&self) -> bool {
        false
    }

    /// Called for each packet, sent or received, if [`observes_packets`](Self::observes_packets).
    fn on_packet(&mut self, direction: Direction, packet: PacketView<'_>) {}

    /// Tells up to which level [`on_log`](Self::on_log) is to be called. Asked once, at the start.
    fn log_level(&self) -> Option<LogLevel> {
        None
    }

    /// Called for what the client has to say of its work, up to [`log_level`](Self::log_level). The
    /// same goes to `tracing`, with more about it.
    fn on_log(&mut self, level: LogLevel, text: &str) {}
}

/// What [`Hooks::before_connect`] returns: the attempt as it is to be made.
pub type BeforeConnect =
    Pin<Box<dyn Future<Output = Result<Attempt, Box<dyn Error + Send + Sync>>> + Send>>;

/// Says what is to become of a message after [`on_message`](super::ClientBuilder::on_message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// It goes on to the streams, or to the inbox if no stream claims it.
    Continue,
    /// The hook has dealt with it: it is acknowledged, and no copy is made.
    Taken,
    /// The hook refuses it: it is acknowledged with this reason in 5.0, as
    /// [`AckHandle::reject`](super::AckHandle::reject) does, and no copy is made.
    Refused(ReasonCode),
}

/// Says what [`on_retry`](Hooks::on_retry) is asked about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// An attempt to connect failed.
    Connect(&'a ConnectError),
    /// A connection that the broker had accepted ended.
    Disconnect(&'a DisconnectCause),
}

/// Says how much somebody should care about what [`on_log`](Hooks::on_log) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// The client ends.
    Error,
    /// Somebody should look at it.
    Warn,
    /// A connection came or went.
    Info,
    /// What was decided.
    Debug,
    /// Each packet. Every packet is decoded once more for it.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        })
    }
}

/// Shows a packet to [`on_packet`](super::ClientBuilder::on_packet).
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    pub(super) packet: &'a Packet<'a>,
    pub(super) size: usize,
}

impl<'a> PacketView<'a> {
    /// Returns the type.
    pub fn packet_type(&self) -> PacketType {
        self.packet.packet_type()
    }

    /// Returns the decoded packet.
    pub fn packet(&self) -> &'a Packet<'a> {
        self.packet
    }

    /// Returns the size on the wire in bytes, the fixed header included.
    pub fn size(&self) -> usize {
        self.size
    }
}
