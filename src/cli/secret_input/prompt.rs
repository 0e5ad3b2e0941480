//! Asking for a secret on the terminal.
//!
//! The terminal is set to neither echo nor edit lines (the kernel would cut them at 4096 bytes),
//! while ^C, ^Z and ^\ still make signals; [`rpassword`] edits the line. Whatever ends the prompt,
//! the terminal gets its settings back: a signal is noted ([`Signals`]) and met here, at the one
//! place where the process waits.
//!
//! ```text
//!            ┌─ key ───────────────────────────▶ rpassword
//! wait ──────┼─ ^C, SIGTERM, SIGHUP, ^\ ───────▶ restore, fail
//!            ├─ ^Z ─▶ restore, stop; resumed ──▶ hide, prompt again, start the line over
//!            └─ SIGCONT ───────────────────────▶ hide, prompt again, start the line over
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::signals::{Held, Signals};

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// What the errors of a prompt call things.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// What is asked for.
    pub secret: &'static str,
    /// The options that can be used in place of the prompt.
    pub instead: &'static str,
    /// What follows when nothing is typed, with its comma.
    pub consequence: &'static str,
}

/// Why no secret was typed.
#[derive(Debug, Error)]
pub enum PromptError {
    /// The process has no terminal.
    #[error("no terminal to ask for the {} on; use {}", .wording.secret, .wording.instead)]
    NoTerminal {
        /// The names of things.
        wording: Wording,
        /// What the operating system said.
        source: io::Error,
    },
    /// A signal arrived.
    #[error("interrupted{}", .wording.consequence)]
    Interrupted {
        /// The names of things.
        wording: Wording,
        /// The number of the signal.
        signal: u8,
    },
    /// The terminal went away, or the line ended by ^D.
    #[error("no {} was typed{}", .0.secret, .0.consequence)]
    Closed(Wording),
    /// Something was typed that the prompt cannot take.
    #[error("the prompt takes no control characters; use {}", .0.instead)]
    ControlCharacter(Wording),
    /// What was typed is no text.
    #[error("the prompt takes only UTF-8; use {}", .0.instead)]
    NotUtf8(Wording),
    /// The terminal failed.
    #[error("the terminal failed")]
    Terminal(#[source] io::Error),
}

/// The terminal with echo off, until it is dropped.
#[derive(Debug)]
pub struct Prompt {
    terminal: Rc<Terminal>,
}

impl Prompt {
    /// Makes every later prompt of this process fail: it is not the one that somebody sits before,
    /// and would be stopped when it reads.
    pub fn forbid() {
        FORBIDDEN.store(true, Ordering::Relaxed);
    }

    /// Turns the echo of the controlling terminal off.
    ///
    /// # Errors
    /// [`PromptError::NoTerminal`] and [`PromptError::Terminal`].
    pub fn open(signals: Rc<Signals>, wording: Wording) -> Result<Self, PromptError> {
        let no_terminal = |source| PromptError::NoTerminal { wording, source };
        if FORBIDDEN.load(Ordering::Relaxed) {
            return Err(no_terminal(io::ErrorKind::Unsupported.into()));
        }
        let tty = OpenOptions::new().write(true).open(TERMINAL).map_err(no_terminal)?;
        // Reading must not wait: ^C throws away what was typed before it, so that a key which
        // `poll` has announced may be gone.
        let keys = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(TERMINAL)
            .map_err(no_terminal)?;
        let saved = tcgetattr(&tty).map_err(|errno| no_terminal(errno.into()))?;
        let terminal = Terminal { tty, keys, saved, _held: signals.hold(), signals, wording };
        terminal.hide().map_err(PromptError::Terminal)?;
        Ok(Self { terminal: Rc::new(terminal) })
    }

    /// Shows `prompt` and reads one line.
    ///
    /// # Errors
    /// Each [`PromptError`] but the first.
    pub fn ask(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
        let wording = self.terminal.wording;
        self.terminal.write(prompt).map_err(PromptError::Terminal)?;
        let (terminal, prompt) = (Rc::clone(&self.terminal), prompt.to_owned());
        let keys = Keys { terminal, prompt, previous: 0 };
        let config = rpassword::ConfigBuilder::new().input_reader(keys).output_discard().build();
        let typed = rpassword::read_password_with_config(config);
        let outcome = match typed.map(Zeroizing::new) {
            // In the place of what is not UTF-8.
            Ok(password) if password.contains('\u{fffd}') => Err(PromptError::NotUtf8(wording)),
            Ok(mut password) => Ok(std::mem::take(&mut *password).into_bytes().into()),
            Err(error) => Err(prompt_error(error, &self.terminal)),
        };
        // The newline that was typed was not shown either.
        let newline = self.terminal.write("\n");
        if outcome.is_err() {
            // The rest of what was typed must not end up in the shell.
            let _ = tcflush(&self.terminal.tty, QueueSelector::IFlush);
        }
        newline.map_err(PromptError::Terminal).and(outcome)
    }

    /// Restores the terminal, and fails if a signal asked the process to end since the last key.
    ///
    /// # Errors
    /// [`PromptError::Interrupted`].
    pub fn close(self) -> Result<(), PromptError> {
        let (signals, wording) = (Rc::clone(&self.terminal.signals), self.terminal.wording);
        drop(self);
        if signals.stop.take() { Err(interrupted(&signals, wording)) } else { Ok(()) }
    }
}

fn prompt_error(error: io::Error, terminal: &Terminal) -> PromptError {
    match error.kind() {
        // rpassword's own, for ^C and ^D.
        io::ErrorKind::Interrupted => interrupted(&terminal.signals, terminal.wording),
        io::ErrorKind::UnexpectedEof => PromptError::Closed(terminal.wording),
        _ => error.downcast().unwrap_or_else(PromptError::Terminal),
    }
}

fn interrupted(signals: &Signals, wording: Wording) -> PromptError {
    PromptError::Interrupted { wording, signal: signals.last_stop() }
}

#[derive(Debug)]
struct Terminal {
    wording: Wording,
    tty: File,
    keys: File,
    saved: Termios,
    signals: Rc<Signals>,
    // Let go only after the settings are back.
    _held: Held,
}

impl Terminal {
    fn hide(&self) -> io::Result<()> {
        let mut hidden = self.saved.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON);
        hidden.local_modes.insert(LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        Ok(tcsetattr(&self.tty, OptionalActions::Now, &hidden)?)
    }

    fn restore(&self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.saved);
    }

    fn write(&self, text: &str) -> io::Result<()> {
        (&self.tty).write_all(text.as_bytes())
    }

    /// Does what ^Z asks for, and comes back when the process is resumed.
    fn suspend(&self) -> io::Result<()> {
        self.restore();
        self.write("\n")?;
        // SIGTSTP is handled here and would not stop the process. Unlike SIGSTOP, SIGTTIN does
        // nothing where no shell is there to resume the process.
        Ok(kill_process(getpid(), Signal::TTIN)?)
    }

    /// Waits for a key or a signal.
    fn wait(&self) -> Result<Wake, PromptError> {
        let Signals { stop, suspend, resume, .. } = &*self.signals;
        let readable = PollFlags::IN;
        let mut fds = [
            PollFd::new(&stop.0, readable),
            PollFd::new(&suspend.0, readable),
            PollFd::new(&resume.0, readable),
            PollFd::new(&self.keys, readable),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(PromptError::Terminal(errno.into())),
        }
        let key = fds.last().is_some_and(|keys| !keys.revents().is_empty());
        if stop.take() {
            return Err(interrupted(&self.signals, self.wording));
        }
        if suspend.take() {
            return Ok(Wake::Suspend);
        }
        if resume.take() {
            return Ok(Wake::Resume);
        }
        Ok(if key { Wake::Key } else { Wake::Nothing })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

enum Wake {
    Key,
    Suspend,
    Resume,
    Nothing,
}

/// What rpassword reads the line from.
struct Keys {
    terminal: Rc<Terminal>,
    prompt: String,
    previous: u8,
}

impl Keys {
    fn next(&mut self) -> Result<u8, PromptError> {
        loop {
            match self.terminal.wait()? {
                Wake::Nothing => continue,
                Wake::Key => match self.key()? {
                    Some(key) => return Ok(key),
                    None => continue,
                },
                Wake::Suspend => {
                    self.terminal.suspend().map_err(PromptError::Terminal)?;
                    self.terminal.signals.resume.take();
                }
                Wake::Resume => {}
            }
            let shown = self.terminal.hide().and_then(|()| self.terminal.write(&self.prompt));
            shown.map_err(PromptError::Terminal)?;
            return Ok(CTRL_U);
        }
    }

    fn key(&mut self) -> Result<Option<u8>, PromptError> {
        let mut key = [0];
        let count = match (&self.terminal.keys).read(&mut key) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(PromptError::Terminal(error)),
        };
        let [key] = key;
        if count == 0 {
            // The terminal has gone away. rpassword would take that for the end of the line.
            return Err(PromptError::Closed(self.terminal.wording));
        }
        // rpassword drops control characters (C1 ones are `C2 80` to `C2 9F`) that edit nothing. A
        // password that lacks what was typed would be of no use.
        let is_c1 = self.previous == 0xc2 && (0x80..0xa0).contains(&key);
        if (key < b' ' && !EDITING_KEYS.contains(&key)) || is_c1 {
            return Err(PromptError::ControlCharacter(self.terminal.wording));
        }
        self.previous = key;
        Ok(Some(key))
    }
}

impl Read for Keys {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        *first = self.next().map_err(io::Error::other)?;
        Ok(1)
    }
}

const TERMINAL: &str = "/dev/tty";

/// Clears the line in rpassword.
const CTRL_U: u8 = 0x15;

/// ^C (where it makes no signal), ^D, backspace, newline, return, ^U, ^W and escape.
const EDITING_KEYS: [u8; 8] = [0x03, 0x04, 0x08, b'\n', b'\r', CTRL_U, 0x17, 0x1b];
