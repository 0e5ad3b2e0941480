//! Signals while a secret is typed or a file is replaced.
//!
//! Elsewhere they act as if nobody handled them. At the prompt they are noted, so that the
//! terminal is restored first; while a file is replaced they wait for the few milliseconds that
//! takes, so that no temporary file is left behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
use signal_hook::{SigId, flag, low_level};

/// The signals of this process, as far as they concern secrets.
#[derive(Debug)]
pub struct Signals {
    act_by_default: Arc<AtomicBool>,
    /// The handlers of the signals that a tool may handle itself.
    handlers: Vec<SigId>,
    /// Readable after a signal that ends the process.
    pub(super) stop: Noted,
    /// The number of the last one of those.
    last_stop: Arc<AtomicUsize>,
    /// Readable after ^Z.
    pub(super) suspend: Noted,
    /// Readable when the process goes on after it was stopped.
    pub(super) resume: Noted,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn install() -> io::Result<Self> {
        let act_by_default = Arc::new(AtomicBool::new(true));
        // ^C is also a key, where it makes no signal.
        let last_stop = Arc::new(AtomicUsize::new(SIGINT.unsigned_abs() as usize));
        for signal in STOPS {
            // Before `stop`, so that the number is there when that is readable: handlers run in
            // their order.
            let number = signal.unsigned_abs() as usize;
            flag::register_usize(signal, Arc::clone(&last_stop), number)?;
        }
        let mut handlers = Vec::new();
        let mut note = |signals: &[i32]| -> io::Result<Noted> {
            let (reader, writer) = UnixStream::pair()?;
            for &signal in signals {
                low_level::pipe::register(signal, writer.try_clone()?)?;
                if signal != SIGCONT {
                    let act_by_default = Arc::clone(&act_by_default);
                    let id = flag::register_conditional_default(signal, act_by_default)?;
                    if [SIGINT, SIGTERM].contains(&signal) {
                        handlers.push(id);
                    }
                }
            }
            reader.set_nonblocking(true)?;
            Ok(Noted(File::from(OwnedFd::from(reader))))
        };
        let stop = note(&STOPS)?;
        let suspend = note(&[SIGTSTP])?;
        let resume = note(&[SIGCONT])?;
        // Its default is to end the process; handled, it leaves the error of the write.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self { stop, last_stop, suspend, resume, act_by_default, handlers })
    }

    /// The number of the last signal that was to end the process.
    pub(super) fn last_stop(&self) -> u8 {
        u8::try_from(self.last_stop.load(Ordering::SeqCst)).unwrap_or(u8::MAX)
    }

    /// Notes signals instead of letting them act, until the guard is dropped.
    pub fn hold(&self) -> Held {
        self.act_by_default.store(false, Ordering::SeqCst);
        Held(Arc::clone(&self.act_by_default))
    }
}

impl Drop for Signals {
    /// Leaves SIGINT and SIGTERM to the rest of the tool. The others keep acting by default: without a
    /// handler they would do nothing any more.
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
    }
}

const STOPS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Ends [`Signals::hold`].
#[derive(Debug)]
pub struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Becomes readable when a signal arrives.
#[derive(Debug)]
pub(super) struct Noted(pub(super) File);

impl Noted {
    /// Forgets the signals noted so far, and tells whether there were any.
    pub(super) fn take(&self) -> bool {
        let mut buffer = [0; 64];
        let mut any = false;
        while matches!((&self.0).read(&mut buffer), Ok(1..)) {
            any = true;
        }
        any
    }
}
