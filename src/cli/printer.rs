//! Standard output for a flood of messages.
//!
//! The connection appends to one buffer; a thread of its own takes the whole buffer at a time and
//! writes it, so that a slow reader never stops the connection from answering pings. The thread is
//! woken when a block is full or [`Printer::flush`] says that no more is coming for the moment.
//! When the reader falls behind, [`Fill::Full`] asks to stop reading from the broker until
//! [`Printer::room`].

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::Notify;

use super::stdio::{Stdout, StdoutError, escape_for_terminal};

/// A waiting block of this size is written without waiting for a flush.
const BLOCK_BYTES: usize = 64 * 1024;
/// More than this waiting is more than the reader keeps up with.
const FULL_BYTES: usize = 1024 * 1024;

/// Whether more should be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fill {
    /// There is room.
    Room,
    /// The reader is behind: append nothing new until [`Printer::room`].
    Full,
}

/// A handle on the buffer and its thread; clones share them.
#[derive(Clone, Debug)]
pub struct Printer {
    shared: Arc<Shared>,
    is_terminal: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// There is room again after [`Fill::Full`].
    room: Notify,
    /// The thread has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    flush: bool,
    close: bool,
    full: bool,
    thread_sleeps: bool,
    ended: bool,
    error: Option<StdoutError>,
}

impl Printer {
    /// Starts the thread that writes to standard output.
    pub fn start() -> Self {
        let mut stdout = Stdout::new();
        Self::start_with(stdout.is_terminal(), move |block: &[u8]| stdout.write(block))
    }

    fn start_with(
        is_terminal: bool,
        write: impl FnMut(&[u8]) -> Result<(), StdoutError> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Notify::new(),
            ended: Notify::new(),
        });
        // Not joined: `finish` waits for its end where that is wanted, and a reader that never
        // reads again must not keep the process.
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(write)
        });
        Self { shared, is_terminal }
    }

    /// Whether control sequences from the wire must be escaped, because a terminal shows them.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Appends what `format` writes, escaped for a terminal.
    pub fn append(&self, format: impl FnOnce(&mut Vec<u8>)) -> Fill {
        if !self.is_terminal {
            return self.append_raw(format);
        }
        self.append_raw(|out| {
            let mut text = Vec::new();
            format(&mut text);
            escape_for_terminal(&text, out);
        })
    }

    /// Appends what `format` writes as it is.
    pub fn append_raw(&self, format: impl FnOnce(&mut Vec<u8>)) -> Fill {
        let mut state = self.shared.lock();
        format(&mut state.waiting);
        let waiting_bytes = state.waiting.len();
        if waiting_bytes >= BLOCK_BYTES {
            self.shared.wake(&mut state);
        }
        state.full = waiting_bytes >= FULL_BYTES;
        if state.full { Fill::Full } else { Fill::Room }
    }

    /// Whether the last append was told [`Fill::Full`], and there is no room yet.
    pub fn is_full(&self) -> bool {
        self.shared.lock().full
    }

    /// Whether something appended before is not taken to be written yet.
    pub fn is_behind(&self) -> bool {
        !self.shared.lock().waiting.is_empty()
    }

    /// Has everything appended so far written without waiting for more.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        if !state.waiting.is_empty() {
            state.flush = true;
            self.shared.wake(&mut state);
        }
    }

    /// Waits until there is room again after [`Fill::Full`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn room(&self) {
        self.shared.room.notified().await;
    }

    /// Waits until standard output takes no more, and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn failed(&self) -> StdoutError {
        loop {
            let ended = self.shared.ended.notified();
            if let Some(error) = self.shared.lock().error.take() {
                return error;
            }
            ended.await;
        }
    }

    /// Writes everything appended so far and ends the thread.
    ///
    /// # Errors
    /// What standard output answered, unless [`Printer::failed`] has told it already.
    ///
    /// # Cancel safety
    /// The thread ends even when this is dropped.
    pub async fn finish(&self) -> Result<(), StdoutError> {
        {
            let mut state = self.shared.lock();
            state.close = true;
            self.shared.wake(&mut state);
        }
        loop {
            let ended = self.shared.ended.notified();
            {
                let mut state = self.shared.lock();
                if state.ended {
                    return state.error.take().map_or(Ok(()), Err);
                }
            }
            ended.await;
        }
    }
}

impl Shared {
    /// The state stays whole when a holder panics: every change of it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A condition variable enters the kernel for every notification: only for a sleeper.
    fn wake(&self, state: &mut State) {
        if mem::take(&mut state.thread_sleeps) {
            self.work.notify_one();
        }
    }

    fn run(&self, mut write: impl FnMut(&[u8]) -> Result<(), StdoutError>) {
        let mut block = Vec::new();
        let mut error = None;
        while error.is_none() && self.next_block(&mut block) {
            error = write(&block).err();
            block.clear();
        }
        let mut state = self.lock();
        state.ended = true;
        state.error = error;
        drop(state);
        self.ended.notify_one();
    }

    /// Waits for something to write and swaps it with the empty `block`; false at the end.
    fn next_block(&self, block: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        while !(state.close || state.flush || state.waiting.len() >= BLOCK_BYTES) {
            state.thread_sleeps = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.thread_sleeps = false;
        state.flush = false;
        mem::swap(&mut state.waiting, block);
        if mem::take(&mut state.full) {
            self.room.notify_one();
        }
        !block.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_flush_writes_what_waits_and_finish_the_rest() {
        let (sender, written) = mpsc::channel();
        let printer = Printer::start_with(false, move |block: &[u8]| {
            sender.send(block.to_vec()).unwrap();
            Ok(())
        });
        assert_eq!(printer.append(|out| out.extend_from_slice(b"a\n")), Fill::Room);
        printer.flush();
        assert_eq!(written.recv().unwrap(), b"a\n");
        assert_eq!(printer.append(|out| out.extend_from_slice(b"b\n")), Fill::Room);
        runtime().block_on(printer.finish()).unwrap();
        assert_eq!(written.recv().unwrap(), b"b\n");
    }

    #[test]
    fn a_flood_goes_out_in_blocks_and_a_stalled_reader_is_reported() {
        let (go, gate) = mpsc::channel::<()>();
        let (sender, written) = mpsc::channel();
        let printer = Printer::start_with(false, move |block: &[u8]| {
            let _ = gate.recv();
            sender.send(block.len()).unwrap();
            Ok(())
        });
        let mut appended = 0;
        while printer.append(|out| out.extend_from_slice(&[b'x'; 1000])) == Fill::Room {
            appended += 1000;
        }
        appended += 1000;
        drop(go);
        runtime().block_on(async {
            printer.room().await;
            printer.finish().await.unwrap();
        });
        let blocks: Vec<usize> = written.iter().collect();
        assert_eq!(blocks.iter().sum::<usize>(), appended);
        assert!(blocks.len() <= 3 && blocks[0] >= BLOCK_BYTES, "{blocks:?}");
    }

    #[test]
    fn a_terminal_gets_escaped_text() {
        let (sender, written) = mpsc::channel();
        let printer = Printer::start_with(true, move |block: &[u8]| {
            sender.send(block.to_vec()).unwrap();
            Ok(())
        });
        assert_eq!(printer.append(|out| out.extend_from_slice(b"\x1b[2J\n")), Fill::Room);
        runtime().block_on(printer.finish()).unwrap();
        assert_eq!(written.recv().unwrap(), b"\\x1b[2J\n");
    }

    #[test]
    fn the_end_of_the_reader_is_told() {
        let printer = Printer::start_with(false, |_: &[u8]| Err(StdoutError::Closed));
        assert_eq!(printer.append(|out| out.push(b'x')), Fill::Room);
        printer.flush();
        let error = runtime().block_on(printer.failed());
        assert!(matches!(error, StdoutError::Closed));
        runtime().block_on(printer.finish()).unwrap();
    }
}
