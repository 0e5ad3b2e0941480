//! Where the password comes from: the command line, standard input, a file, or the prompt.

use std::fs::File;
use std::io;
use std::rc::Rc;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, Failure};
use crate::cli::opts::{Secret, SecretOptions};
use crate::cli::secret_input::{Prompt, Signals, Wording, read_secret};
use crate::passwd::{Password, PasswordError};

/// A password that is to be set: typed twice at the prompt.
pub(super) fn new_password(
    argument: Option<&Secret>,
    options: &SecretOptions,
    allow_empty: bool,
    signals: &Rc<Signals>,
) -> Result<Password, Failure> {
    let accept =
        |bytes| if allow_empty { Password::allowing_empty(bytes) } else { Password::new(bytes) };
    let given = match argument {
        Some(argument) => Some(Zeroizing::new(argument.as_bytes().to_vec())),
        None => read_given(options)?,
    };
    if let Some(bytes) = given {
        return Ok(accept(bytes).map_err(explain)?);
    }
    let prompt = Prompt::open(Rc::clone(signals), WORDING)?;
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
            let prompt = Prompt::open(Rc::clone(signals), WORDING)?;
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

const WORDING: Wording = Wording {
    secret: "password",
    instead: "--stdin or --password-file",
    consequence: ", nothing was changed",
};
