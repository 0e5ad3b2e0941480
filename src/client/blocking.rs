//! The client for programs without an async runtime: one thread does the work, and calls wait.
//!
//! [`start`] starts a client on a thread of its own making, which all such clients of the process
//! share, and [`Wait`] waits for what the methods of a client return. Everything else is as in
//! async programs: the same types, the same methods, the same options.
//!
//! ```no_run
//! use midge::blocking::{self, Wait};
//! use midge::{Client, QoS};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, _inbox) = blocking::start(Client::builder("mqtt://localhost")?)?;
//! let mut orders = client.subscribe("lamp/set").qos(QoS::AtLeastOnce).wait()?;
//! client.publish("lamp/state", "off").qos(QoS::AtLeastOnce).retain(true).wait()?;
//! for order in std::iter::from_fn(|| orders.next().wait()) {
//!     client.publish("lamp/state", order.into_payload()).retain(true).enqueue().wait()?;
//! }
//! client.disconnect().wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # In hooks
//!
//! A hook runs on the thread that does the work, so that what it waits for would never come. A wait
//! in a hook, or in a handler of [`serve`](super::Client::serve) that runs on that thread, does not
//! begin: it returns the `WouldBlock` of its error at once, and a stream yields `None`. What does
//! not wait, as [`try_enqueue`](super::Publish::try_enqueue) and
//! [`try_next`](super::Inbox::try_next), can be used anywhere.

use std::cell::Cell;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Handle};

use super::error::{
    AuthenticateError, BuildError, ConnectError, DisconnectError, EnqueueError, PublishError,
    RequestError, ResponseError,
};
use super::info::CloseReason;
use super::{Client, ClientBuilder, Inbox, Message, TooLate};

/// Starts a client without a runtime of the caller's: as [`ClientBuilder::start`], which has to be
/// called within one.
///
/// # Errors
///
/// [`BuildError`], before anything is sent.
pub fn start(builder: ClientBuilder) -> Result<(Client, Inbox), BuildError> {
    let _context = runtime()?.enter();
    builder.start()
}

/// Waits for what a method of a client returns.
pub trait Wait: IntoFuture<Output: Outcome> + Sized {
    /// Waits until it is ready, on this thread.
    ///
    /// Where waiting would never end, as in a hook, it returns at once
    /// ([module documentation](self)).
    fn wait(self) -> Self::Output {
        wait_until(self, None).unwrap_or_else(Outcome::would_block)
    }

    /// Waits until it is ready, and no longer than `timeout`; `None` when the time was up. What that
    /// means for the operation is in its documentation under "Cancel safety".
    fn wait_timeout(self, timeout: Duration) -> Option<Self::Output> {
        if would_block() {
            return Some(Outcome::would_block());
        }
        wait_until(self, Some(timeout))
    }
}

impl<F: IntoFuture<Output: Outcome>> Wait for F {}

/// What can be waited for. It is implemented for all that a client's methods yield.
pub trait Outcome: sealed::Sealed {
    /// Returns what stands for a wait that would never end.
    fn would_block() -> Self;
}

macro_rules! outcomes {
    ($($error:ty => $value:expr;)*) => {$(
        impl<T> sealed::Sealed for Result<T, $error> {}

        impl<T> Outcome for Result<T, $error> {
            fn would_block() -> Self {
                Err($value)
            }
        }
    )*};
}

outcomes! {
    AuthenticateError => AuthenticateError::WouldBlock;
    ConnectError => ConnectError::WouldBlock;
    DisconnectError => DisconnectError::WouldBlock;
    EnqueueError => EnqueueError::WouldBlock;
    PublishError => PublishError::WouldBlock;
    RequestError => RequestError::WouldBlock;
    ResponseError => ResponseError::WouldBlock;
    CloseReason => CloseReason::WouldBlock;
    TooLate => TooLate;
}

impl sealed::Sealed for Option<Message> {}

impl Outcome for Option<Message> {
    fn would_block() -> Self {
        None
    }
}

impl sealed::Sealed for CloseReason {}

impl Outcome for CloseReason {
    fn would_block() -> Self {
        CloseReason::WouldBlock
    }
}

/// `None` when it takes too long, or would never end.
fn wait_until<F: IntoFuture>(future: F, timeout: Option<Duration>) -> Option<F::Output> {
    if would_block() {
        return None;
    }
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future.into_future());
    loop {
        // Some of the futures keep an eye on the time, with the clock of the runtime.
        let polled = {
            let _context = runtime().ok()?.enter();
            future.as_mut().poll(&mut Context::from_waker(&waker))
        };
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        match until {
            None => thread::park(),
            Some(until) => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return None,
            },
        }
    }
}

thread_local! {
    /// Whether this thread has work to do for what it would wait for.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Takes note of whether this thread is in a hook. Returns what was noted before.
pub(super) fn set_busy(busy: bool) -> bool {
    BUSY.replace(busy)
}

fn would_block() -> bool {
    BUSY.get()
}

/// The runtime of all clients that were started here, on its thread.
fn runtime() -> Result<Handle, BuildError> {
    static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);
    let mut started = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*started {
        return Ok(handle.clone());
    }
    let built = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = built.map_err(BuildError::NoThread)?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("midge".into())
        .spawn(move || {
            set_busy(true);
            runtime.block_on(std::future::pending::<()>())
        })
        .map_err(BuildError::NoThread)?;
    Ok(started.insert(handle).clone())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

mod sealed {
    pub trait Sealed {}
}
