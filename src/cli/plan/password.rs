//! The password of the client: from the command line, a file, the terminal or the environment.

use std::{env, fs::File, path::PathBuf, rc::Rc};

use anyhow::{Context, Result};

use crate::cli::{
    opts::{PasswordOptions, Secret},
    secret_input::{Prompt, Signals, Wording, read_secret},
};

/// The environment variable with the password.
const VARIABLE: &str = "MIDGE_PASSWORD";
/// That in which a process of this program finds the password that the one before it has asked for.
pub const ASKED: &str = "MIDGE_ASKED_PASSWORD";

/// Where the password is.
#[derive(Clone, Debug)]
pub enum PasswordPlan {
    /// Here.
    Given(Secret),
    /// In this file.
    File(PathBuf),
    /// In the head of who sits at the terminal.
    Prompt,
}

impl PasswordPlan {
    /// What the options say, which exclude each other.
    pub fn of(given: Option<&Secret>, from: &PasswordOptions) -> Option<Self> {
        match (given, &from.pw_file) {
            (Some(password), _) => Some(Self::Given(password.clone())),
            (None, Some(path)) => Some(Self::File(path.clone())),
            (None, None) => from.pw_prompt.then_some(Self::Prompt),
        }
    }

    /// What the environment says; an empty variable says nothing.
    pub fn of_environment() -> Option<Self> {
        let value = env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
        Some(Self::Given(value.into()))
    }

    /// What the process that started this one has asked for.
    pub fn of_parent() -> Option<Self> {
        Some(Self::Given(env::var_os(ASKED)?.into()))
    }

    /// The option that it comes from.
    pub(super) fn option(&self) -> &'static str {
        match self {
            Self::Given(_) => "-P",
            Self::File(_) => "--pw-file",
            Self::Prompt => "--pw-prompt",
        }
    }

    /// Reads it. Asks on the terminal if nothing else was said: to be called once.
    ///
    /// # Errors
    /// A file that cannot be read, and a prompt that gets no answer.
    pub fn read(&self) -> Result<Secret> {
        match self {
            Self::Given(password) => Ok(password.clone()),
            Self::File(path) => {
                let password = File::open(path)
                    .and_then(read_secret)
                    .with_context(|| format!("--pw-file: cannot read {}", path.display()))?;
                Ok(Secret::new(&password))
            }
            Self::Prompt => {
                let signals = Signals::install().context("cannot handle signals")?;
                let prompt = Prompt::open(Rc::new(signals), WORDING)?;
                let password = prompt.ask("Password: ")?;
                prompt.close()?;
                Ok(Secret::new(&password))
            }
        }
    }
}

const WORDING: Wording =
    Wording { secret: "password", instead: "--pw-file or MIDGE_PASSWORD", consequence: "" };
