//! Signals while a password is typed or a file is replaced.
//!
//! Elsewhere they act as if nobody handled them. At the prompt they are noted, so that the
//! terminal is restored first; while a file is replaced they wait for the few milliseconds that
//! takes, so that no temporary file is left behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};

/// The signals of this process, as far as they concern passwords.
#[derive(Debug)]
pub(super) struct Signals {
    act_by_default: Arc<AtomicBool>,
    /// Readable after a signal that ends the process.
    pub(super) stop: Noted,
    /// Readable after ^Z.
    pub(super) suspend: Noted,
    /// Readable when the process goes on after it was stopped.
    pub(super) resume: Noted,
}

impl Signals {
    /// Takes the signals over.
    pub(super) fn install() -> io::Result<Self> {
        let act_by_default = Arc::new(AtomicBool::new(true));
        let note = |signals: &[i32]| -> io::Result<Noted> {
            let (reader, writer) = UnixStream::pair()?;
            for &signal in signals {
                pipe::register(signal, writer.try_clone()?)?;
                if signal != SIGCONT {
                    flag::register_conditional_default(signal, Arc::clone(&act_by_default))?;
                }
            }
            reader.set_nonblocking(true)?;
            Ok(Noted(File::from(OwnedFd::from(reader))))
        };
        // Its default is to end the process; handled, it leaves the error of the write.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self {
            stop: note(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT])?,
            suspend: note(&[SIGTSTP])?,
            resume: note(&[SIGCONT])?,
            act_by_default,
        })
    }

    /// Notes signals instead of letting them act, until the guard is dropped.
    pub(super) fn hold(&self) -> Held {
        self.act_by_default.store(false, Ordering::SeqCst);
        Held(Arc::clone(&self.act_by_default))
    }
}

/// Ends [`Signals::hold`].
#[derive(Debug)]
pub(super) struct Held(Arc<AtomicBool>);

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
