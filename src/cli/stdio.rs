//! Standard output and standard error: all writing of the tools goes through here.
//!
//! A reader that closes standard output ends a tool normally ([`StdoutError::Closed`] becomes exit
//! code 0 without a text). Text from the wire can carry terminal control sequences; it is escaped
//! when it goes to a terminal, and always on standard error.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use thiserror::Error;

use super::bar;

/// Why standard output took no more.
#[derive(Debug, Error)]
pub enum StdoutError {
    /// Whoever read the other end has gone.
    #[error("standard output is closed")]
    Closed,
    /// Writing failed, as on a full disk.
    #[error("cannot write to standard output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for StdoutError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Standard output.
#[derive(Debug)]
pub struct Stdout {
    stream: io::Stdout,
    is_terminal: bool,
}

impl Stdout {
    /// Standard output of this process.
    #[expect(clippy::new_without_default, reason = "a handle to the process, not a value")]
    pub fn new() -> Self {
        let stream = io::stdout();
        Self { is_terminal: stream.is_terminal(), stream }
    }

    /// Whether a person reads along.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes `block` as it is and hands it to the kernel.
    ///
    /// # Errors
    /// [`StdoutError::Closed`] when the reader has gone; [`StdoutError::Failed`] otherwise.
    pub fn write(&mut self, block: &[u8]) -> Result<(), StdoutError> {
        let mut stream = self.stream.lock();
        stream.write_all(block)?;
        stream.flush()?;
        Ok(())
    }

    /// Writes `text` and a newline; on a terminal, control sequences in `text` are escaped.
    ///
    /// # Errors
    /// As [`Stdout::write`].
    pub fn line(&mut self, text: &str) -> Result<(), StdoutError> {
        let mut line = Vec::with_capacity(text.len() + 1);
        if self.is_terminal {
            escape_for_terminal(text.as_bytes(), &mut line);
        } else {
            line.extend_from_slice(text.as_bytes());
        }
        line.push(b'\n');
        self.write(&line)
    }
}

/// More of a text than this many characters is not worth reading: a peer may send 64 KiB of it.
const MAX_REPORT_CHARS: usize = 1000;

/// Writes `NAME: TEXT` as one line to standard error. Control characters are escaped, and what is
/// very long is cut. There is nobody left to tell when standard error itself fails.
pub fn report(name: &str, text: &str) {
    bar::write_above(&format!("{name}: {}\n", shortened(&single_line(text))));
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters of a line.
    pub columns: usize,
}

impl Size {
    /// Where it cannot be told.
    const USUAL: Self = Self { rows: 24, columns: 80 };
}

/// The size of `terminal`.
#[cfg(unix)]
pub fn terminal_size(terminal: impl std::os::fd::AsFd) -> Size {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            Size { rows: size.ws_row.into(), columns: size.ws_col.into() }
        }
        _ => Size::USUAL,
    }
}

/// The usual size.
#[cfg(not(unix))]
pub fn terminal_size<T>(_terminal: T) -> Size {
    Size::USUAL
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_REPORT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// `text` fit for one line of standard error or of a progress bar: control characters, newlines
/// among them, are escaped.
pub fn single_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| needs_escape(c) || c == '\n') {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            c if needs_escape(c) => escape_char(c, &mut line),
            c => line.push(c),
        }
    }
    Cow::Owned(line)
}

/// Appends `bytes` to `out` with everything escaped that could steer a terminal: control
/// characters except newline and tab, bytes that are not UTF-8, and characters that reorder or
/// break lines.
pub fn escape_for_terminal(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let mut plain = chunk.valid();
        while let Some((at, c)) = plain.char_indices().find(|&(_, c)| needs_escape(c)) {
            let (before, after) = plain.split_at(at);
            out.extend_from_slice(before.as_bytes());
            let mut escaped = String::new();
            escape_char(c, &mut escaped);
            out.extend_from_slice(escaped.as_bytes());
            plain = after.get(c.len_utf8()..).unwrap_or("");
        }
        out.extend_from_slice(plain.as_bytes());
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// `\x1b` for control characters, `\u{202e}` for the rest.
fn escape_char(c: char, out: &mut String) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ =
        if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{{{code:x}}}") };
}

/// Whether a terminal would act on the character instead of showing it.
pub fn needs_escape(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // C0, DEL and C1.
        c if c.is_control() => true,
        // Line and paragraph separators, and the characters that change the writing direction.
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape_for_terminal(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_is_left_alone() {
        assert_eq!(escaped("grüße\t☃\n".as_bytes()), "grüße\t☃\n");
        assert!(matches!(single_line("grüße ☃"), Cow::Borrowed(_)));
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(escaped(b"\x1b]0;title\x07"), "\\x1b]0;title\\x07");
        assert_eq!(escaped(b"\x9b31m \x90q"), "\\x9b31m \\x90q");
        assert_eq!(escaped("\u{9b}31m".as_bytes()), "\\x9b31m");
        assert_eq!(escaped(b"safe\revil\x08\x7f"), "safe\\x0devil\\x08\\x7f");
        assert_eq!(
            escaped("a\u{202e}b\u{2028}c\u{2069}".as_bytes()),
            "a\\u{202e}b\\u{2028}c\\u{2069}"
        );
        assert_eq!(escaped(b"\xe2\x82"), "\\xe2\\x82");
        for byte in 0..=255u8 {
            let text = escaped(&[byte]);
            assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{byte}");
        }
    }

    #[test]
    fn a_report_is_one_line() {
        assert_eq!(single_line("a\nb\x1b[2J"), "a\\nb\\x1b[2J");
        assert_eq!(shortened(&"é".repeat(MAX_REPORT_CHARS)).chars().count(), MAX_REPORT_CHARS);
        assert_eq!(shortened(&"é".repeat(70_000)), format!("{}…", "é".repeat(MAX_REPORT_CHARS)));
    }

    #[test]
    fn a_broken_pipe_is_a_closed_reader() {
        let error = StdoutError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(error, StdoutError::Closed));
    }
}
