//! The exit codes of all tools: the one table that the tools, their man pages and the tests use.

use std::process::ExitCode;

use super::Tool;

/// How a tool ended, as its caller sees it.
///
/// The numbers are those of the mosquitto tools, so that scripts that test them keep working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Success,
    /// The command line was wrong, a local file or name was no good, or no connection came about.
    Failure,
    /// The broker refused the connection with a 3.1 or 3.1.1 return code (1 to 5).
    RefusedV3(u8),
    /// The broker refused the connection, the message or all subscriptions with this reason code
    /// (128 and above).
    Refused(u8),
    /// The peer broke the protocol.
    ProtocolError,
    /// TLS did not come about: the broker is not to be trusted, or does not speak it.
    TlsFailure,
    /// The proxy did not connect to the broker.
    ProxyFailure,
    /// The connection was lost after it had been accepted.
    ConnectionLost,
    /// The peer stopped answering.
    KeepAlive,
    /// The time given on the command line was up.
    TimedOut,
    /// midge_sub: a command for a message failed.
    CommandFailed,
    /// midge_conn: some clients could not connect, or lost their connections; or an objective was
    /// missed; or a report shows a regression.
    SomeFailed,
    /// midge_conn: the command line was wrong.
    Usage,
    /// midge_conn: this machine does not allow what was asked for.
    NotStarted,
    /// midge_conn: the generator was limited, so that its figures are not the broker's.
    GeneratorLimited,
    /// midge_conn: nothing takes connections at the target.
    Unreachable,
    /// SIGINT or SIGTERM (the number) stopped the tool before its work was done.
    Signal(u8),
    /// SIGINT or SIGTERM arrived before the broker had accepted the connection.
    SignalBeforeConnect,
    /// The password to verify is not the user's.
    WrongPassword,
    /// The two passwords typed differ.
    PasswordMismatch,
    /// The user whose password is to be verified is not in the file.
    NoSuchUser,
}

/// How the tools can end, in the order of their man pages.
pub const TABLE: &[(Exit, &[Tool])] = {
    use Tool::{Conn, Passwd, Pub, Rr, Sub};
    const CLIENTS: &[Tool] = &[Pub, Sub, Rr];
    &[
        (Exit::Success, &Tool::ALL),
        (Exit::Failure, &[Pub, Sub, Rr, Passwd]),
        (Exit::RefusedV3(0), CLIENTS),
        (Exit::ProtocolError, CLIENTS),
        (Exit::ConnectionLost, CLIENTS),
        (Exit::TlsFailure, CLIENTS),
        (Exit::ProxyFailure, CLIENTS),
        (Exit::KeepAlive, CLIENTS),
        (Exit::TimedOut, CLIENTS),
        (Exit::CommandFailed, &[Sub]),
        (Exit::Refused(0), CLIENTS),
        (Exit::SomeFailed, &[Conn]),
        (Exit::Usage, &[Conn]),
        (Exit::NotStarted, &[Conn]),
        (Exit::GeneratorLimited, &[Conn]),
        (Exit::Unreachable, &[Conn]),
        (Exit::WrongPassword, &[Passwd]),
        (Exit::PasswordMismatch, &[Passwd]),
        (Exit::NoSuchUser, &[Passwd]),
        (Exit::Signal(2), &[Pub, Rr, Conn]),
        (Exit::Signal(15), &[Pub, Rr, Conn]),
        (Exit::SignalBeforeConnect, &[Sub]),
    ]
};

impl Exit {
    /// The number given to the caller.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::RefusedV3(code) | Self::Refused(code) => code,
            Self::SomeFailed => 1,
            Self::ProtocolError | Self::Usage => 2,
            Self::NotStarted => 3,
            Self::GeneratorLimited => 4,
            Self::Unreachable => 5,
            Self::ConnectionLost => 7,
            Self::TlsFailure => 8,
            Self::ProxyFailure => 16,
            Self::KeepAlive => 19,
            Self::TimedOut => 27,
            // As xargs has it.
            Self::CommandFailed => 123,
            Self::Signal(number) => 128u8.saturating_add(number),
            Self::SignalBeforeConnect => 255,
            Self::WrongPassword => 1,
            Self::PasswordMismatch | Self::NoSuchUser => 2,
        }
    }

    /// The row of the EXIT STATUS section: the number or numbers, and what they mean.
    pub fn row(self) -> (String, &'static str) {
        let codes = match self {
            Self::RefusedV3(_) => "1 to 5".to_owned(),
            Self::Refused(_) => "128 to 255".to_owned(),
            other => other.code().to_string(),
        };
        let meaning = match self {
            Self::Success => "Everything asked for was done.",
            Self::Failure => {
                "An option was wrong, a file could not be used, or no connection came about."
            }
            Self::RefusedV3(_) => {
                "The broker refused the connection; the number is its return code (MQTT 3.1 and \
                 3.1.1)."
            }
            Self::Refused(_) => {
                "The broker refused the connection, a message or all subscriptions; the number is \
                 its reason code."
            }
            Self::ProtocolError => "The other side broke the protocol, or speaks another one.",
            Self::ConnectionLost => "The connection was lost.",
            Self::TlsFailure => {
                "TLS did not come about: the broker is not to be trusted, or speaks no TLS."
            }
            Self::ProxyFailure => "The proxy did not connect to the broker.",
            Self::KeepAlive => "The broker stopped answering.",
            Self::TimedOut => "The time given on the command line was up.",
            Self::CommandFailed => "A command of --exec failed.",
            Self::SomeFailed => {
                "Clients could not connect or lost their connections, an objective was missed, or \
                 diff found a regression."
            }
            Self::Usage => {
                "An option was wrong, a file cannot be written, or reports cannot be read or \
                 merged."
            }
            Self::NotStarted => {
                "This machine does not allow the load: too few open files, an address that cannot \
                 be listened on, a clock that is not synchronised, or an instant to start at that \
                 has passed."
            }
            Self::GeneratorLimited => {
                "The generator was limited: the figures are its own, not the broker's."
            }
            Self::Unreachable => {
                "The target's name has no address, or nothing takes connections there."
            }
            Self::Signal(2) => "SIGINT arrived before the work was done.",
            Self::Signal(_) => "SIGTERM arrived before the work was done.",
            Self::SignalBeforeConnect => {
                "SIGINT or SIGTERM arrived before the broker had accepted the connection. Later they \
                 are a normal end: 0."
            }
            Self::WrongPassword => "The password given to verify is wrong.",
            Self::PasswordMismatch => "The two passwords typed do not match.",
            Self::NoSuchUser => "The user given to verify is not in the file.",
        };
        (codes, meaning)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a tool ended before its work was done: the exit code, and the text for standard error.
///
/// `?` turns any error into exit code 1; [`Failure::new`] chooses another code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: Option<anyhow::Error>,
}

impl Failure {
    /// Ends with `exit`, reporting `error` and its causes.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: Some(error.into()) }
    }

    /// Ends with `exit` and no text.
    pub fn silent(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The cause of this kind, if there is one.
    pub fn cause<E: std::error::Error + Send + Sync + 'static>(&self) -> Option<&E> {
        self.error.as_ref()?.downcast_ref()
    }

    /// The error and its causes in one line, or nothing when there is nothing to say.
    ///
    /// A cause that the text before it already ends with is not said twice.
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        for cause in self.error.as_ref()?.chain() {
            let cause = cause.to_string();
            if text.ends_with(&cause) {
                continue;
            }
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        Some(text)
    }

    /// Keeps the exit code and drops the text when `quiet` is set.
    #[must_use]
    pub fn quiet_if(self, quiet: bool) -> Self {
        if quiet { Self::silent(self.exit) } else { self }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if matches!(error.downcast_ref(), Some(super::stdio::StdoutError::Closed)) {
            return Self::silent(Exit::Success);
        }
        Self::new(Exit::Failure, error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::cli::stdio::StdoutError;

    #[test]
    fn codes_are_those_of_the_mosquitto_tools() {
        assert_eq!(Exit::TimedOut.code(), 27);
        assert_eq!(Exit::ConnectionLost.code(), 7);
        assert_eq!(Exit::TlsFailure.code(), 8);
        assert_eq!(Exit::ProxyFailure.code(), 16);
        assert_eq!(Exit::KeepAlive.code(), 19);
        assert_eq!(Exit::RefusedV3(5).code(), 5);
        assert_eq!(Exit::Refused(135).code(), 135);
        assert_eq!(Exit::Signal(2).code(), 130);
        assert_eq!(Exit::Signal(15).code(), 143);
    }

    #[test]
    fn a_failure_says_each_cause_once() {
        let failure = Failure::from(anyhow!("no such file").context("cannot read a: no such file"));
        assert_eq!(failure.text().as_deref(), Some("cannot read a: no such file"));
        let failure = Failure::from(anyhow!("no such file").context("cannot read a"));
        assert_eq!(failure.text().as_deref(), Some("cannot read a: no such file"));
        assert_eq!(failure.exit(), Exit::Failure);
    }

    #[test]
    fn a_closed_stdout_is_a_silent_success_even_below_a_context() {
        let error = Err::<(), _>(StdoutError::Closed).context("printing").unwrap_err();
        let failure = Failure::from(error);
        assert_eq!((failure.exit(), failure.text()), (Exit::Success, None));
    }
}
