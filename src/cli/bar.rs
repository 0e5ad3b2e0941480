//! A bar at the end of standard error that shows how much of something is done.
//!
//! The bar of midge_conn is indicatif's, which estimates rates with the help of libm. midge_pub has
//! one that does without: libm takes 350 KB of memory, a tenth of what a program does that publishes
//! one message (`Rss` of /proc/PID/smaps, glibc 2.36).

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::stdio::terminal_size;

/// Standard error has one end: what is drawn there.
static DRAWN: Mutex<Option<String>> = Mutex::new(None);

/// A bar. What [`stdio::report`](super::stdio::report) writes stands above it. It is taken away when
/// this is dropped.
#[derive(Debug)]
pub struct Bar(());

impl Bar {
    /// Shows a bar in place of any other. Nothing is seen of it before it is drawn.
    pub fn show() -> Self {
        *drawn() = Some(String::new());
        Self(())
    }

    /// Draws it: `done` of `total`, and `text`, which is ASCII.
    pub fn draw(&self, done: u64, total: u64, text: &str) {
        let columns = terminal_size(io::stderr()).columns;
        if let Some(drawn) = &mut *drawn() {
            let line = line(columns, done, total, text);
            write(&[&erasure(drawn), &line]);
            *drawn = line;
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(drawn) = drawn().take() {
            write(&[&erasure(&drawn)]);
        }
    }
}

/// Writes `line` to standard error, above the bar if there is one.
pub fn write_above(line: &str) {
    match &*drawn() {
        Some(drawn) => write(&[&erasure(drawn), line, drawn]),
        None => write(&[line]),
    }
}

/// There is nobody left to tell when standard error itself fails.
fn write(parts: &[&str]) {
    let _ = io::stderr().lock().write_all(parts.concat().as_bytes());
}

/// Blanks in place of what is drawn.
fn erasure(drawn: &str) -> String {
    if drawn.is_empty() {
        return String::new();
    }
    format!("\r{:1$}\r", "", drawn.len())
}

/// The last column stays free: some terminals go to the next line behind it.
fn line(columns: usize, done: u64, total: u64, text: &str) -> String {
    let room = columns.saturating_sub(1);
    let width = room.saturating_sub(text.len() + "[] ".len());
    if width == 0 {
        return text.chars().take(room).collect();
    }
    let part = done.min(total) as f64 / total.max(1) as f64;
    let filled = (part * width as f64) as usize;
    let head = if filled < width { ">" } else { "" };
    format!("[{}{head:1$}] {text}", "=".repeat(filled), width - filled)
}

fn drawn() -> MutexGuard<'static, Option<String>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_the_line_but_for_one_column() {
        assert_eq!(line(20, 0, 4, "0/4 x"), "[>          ] 0/4 x");
        assert_eq!(line(20, 2, 4, "2/4 x"), "[=====>     ] 2/4 x");
        assert_eq!(line(20, 4, 4, "4/4 x"), "[===========] 4/4 x");
        // A file can grow while it is read, and an empty one has no parts.
        assert_eq!(line(20, 5, 4, "5/4 x"), line(20, 4, 4, "5/4 x"));
        assert_eq!(line(20, 0, 0, "0/0 x"), "[>          ] 0/0 x");
    }

    #[test]
    fn a_narrow_terminal_has_the_text_alone() {
        assert_eq!(line(10, 1, 2, "1/2 done"), "1/2 done");
        assert_eq!(line(6, 1, 2, "1/2 done"), "1/2 d");
        assert_eq!(line(0, 1, 2, "1/2 done"), "");
    }

    #[test]
    fn nothing_is_left_of_what_was_drawn() {
        assert_eq!(erasure("[>] 1"), "\r     \r");
        assert_eq!(erasure(""), "");
    }
}
