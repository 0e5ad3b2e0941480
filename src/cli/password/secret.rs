//! Where the password comes from: the command line, standard input, a file, or the prompt.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use super::prompt::Prompt;
use super::signals::Signals;
use crate::cli::exit::{Exit, Failure};
use crate::cli::opts::SecretOptions;
use crate::passwd::{Password, PasswordError};

/// A password that is to be set: typed twice at the prompt.
pub(super) fn new_password(
    argument: Option<OsString>,
    options: &SecretOptions,
    allow_empty: bool,
    signals: &Rc<Signals>,
) -> Result<Password, Failure> {
    let accept =
        |bytes| if allow_empty { Password::allowing_empty(bytes) } else { Password::new(bytes) };
    let given = match argument {
        Some(argument) => Some(argument.into_vec().into()),
        None => read_given(options)?,
    };
    if let Some(bytes) = given {
        return Ok(accept(bytes).map_err(explain)?);
    }
    let prompt = Prompt::open(Rc::clone(signals))?;
    let password = accept(prompt.ask("Password: ")?).map_err(explain)?;
    let again = prompt.ask("Reenter password: ")?;
    prompt.close()?;
    if password.as_bytes() != again.as_slice() {
        return Err(Failure::new(Exit::PasswordMismatch, anyhow!("the passwords do not match")));
    }
    Ok(password)
}

/// A password that is to be verified: typed once, and possibly empty.
pub(super) fn known_password(
    options: &SecretOptions,
    signals: &Rc<Signals>,
) -> Result<Password, Failure> {
    let bytes = match read_given(options)? {
        Some(bytes) => bytes,
        None => {
            let prompt = Prompt::open(Rc::clone(signals))?;
            let typed = prompt.ask("Password: ")?;
            prompt.close()?;
            typed
        }
    };
    Ok(Password::allowing_empty(bytes)?)
}

fn explain(error: PasswordError) -> anyhow::Error {
    match error {
        PasswordError::Empty => anyhow!("{error}; --allow-empty accepts it"),
        error => error.into(),
    }
}

fn read_given(options: &SecretOptions) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let bytes = if options.stdin {
        read_secret(io::stdin().lock()).context("cannot read the password from standard input")?
    } else if let Some(path) = &options.password_file {
        File::open(path)
            .and_then(read_secret)
            .with_context(|| format!("cannot read the password from '{}'", path.display()))?
    } else {
        return Ok(None);
    };
    Ok(Some(bytes))
}

/// Reads to the end and drops one final newline. What is too long for a password is read far
/// enough to tell.
fn read_secret(mut source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
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

/// The longest password, `\r\n`, and one byte too many.
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
        assert_eq!(
            Password::new(read_secret(io::repeat(b'x')).unwrap()).unwrap_err(),
            PasswordError::TooLong { bytes: MAX_SECRET_BYTES }
        );
    }
}
