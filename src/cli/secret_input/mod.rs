//! Secrets that are read from a file, or typed at a prompt.

use std::io::{self, Read};

use zeroize::Zeroizing;

mod prompt;
mod signals;

pub use prompt::{Prompt, PromptError, Wording};
pub use signals::{Held, Signals};

/// Reads to the end and drops one final newline. What is too long for a secret is read far
/// enough to tell.
///
/// # Errors
/// Those of `source`.
pub fn read_secret(mut source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // One buffer from the start: a vector that grows leaves copies behind.
    let mut buffer = Zeroizing::new(vec![0; MAX_SECRET_BYTES]);
    let mut length = 0;
    while let Some(free) = buffer.get_mut(length..).filter(|free| !free.is_empty()) {
        match source.read(free) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let newline_bytes = match buffer.get(..length) {
        Some([.., b'\r', b'\n']) => 2,
        Some([.., b'\n']) => 1,
        _ => 0,
    };
    buffer.truncate(length - newline_bytes);
    Ok(buffer)
}

/// The longest password of MQTT, `\r\n`, and one byte too many.
const MAX_SECRET_BYTES: usize = 65_535 + 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_final_newline_is_dropped_and_nothing_else() {
        for (given, password) in [
            (&b"secret\n"[..], &b"secret"[..]),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b"secret\r", b"secret\r"),
            (b" se\ncret\0\xff", b" se\ncret\0\xff"),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(read_secret(given).unwrap().as_slice(), password);
        }
    }

    #[test]
    fn endless_input_is_not_read_to_its_end() {
        assert_eq!(read_secret(io::repeat(b'x')).unwrap().len(), MAX_SECRET_BYTES);
        let secret = read_secret(io::repeat(b'x')).unwrap();
        let error = crate::passwd::Password::new(secret).unwrap_err();
        assert_eq!(error, crate::passwd::PasswordError::TooLong { bytes: MAX_SECRET_BYTES });
    }
}
