//! The words that change nothing: `verify`, `list` and `check`.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, anyhow};

use super::{note, secret, username};
use crate::cli::exit::{Exit, Failure};
use crate::cli::opts::VerifyOptions;
use crate::cli::secret_input::Signals;
use crate::cli::stdio::{Stdout, single_line};
use crate::passwd::{self, PasswordFile, Secret};

/// Tells by the exit code whether a password is the one of a user.
pub(super) fn verify(options: &VerifyOptions, signals: &Rc<Signals>) -> Result<Exit, Failure> {
    let user = username(&options.user)?;
    let file = PasswordFile::load(&options.file)?;
    let entry = file.entry(&user).ok_or_else(|| {
        let path = options.file.display();
        Failure::new(Exit::NoSuchUser, anyhow!("user '{user}' is not in '{path}'"))
    })?;
    let hash = match &entry.secret {
        Secret::Hash(hash) => hash,
        Secret::Plain(_) => {
            return Err(anyhow!("line {}: the password is in plain text", entry.line).into());
        }
        Secret::Foreign => {
            return Err(anyhow!("line {}: the hash is of an unknown kind", entry.line).into());
        }
    };
    let password = secret::known_password(&options.secret, signals)?;
    if hash.verify(&password).with_context(|| format!("line {}", entry.line))? {
        Ok(Exit::Success)
    } else {
        Err(Failure::new(Exit::WrongPassword, anyhow!("wrong password for user '{user}'")))
    }
}

/// Prints a line `USER<tab>KIND` for each entry.
pub(super) fn list(path: &Path) -> Result<Exit, Failure> {
    let file = PasswordFile::load(path)?;
    let mut list = String::new();
    for entry in file.entries() {
        let kind = match entry.secret {
            Secret::Hash(hash) => hash.kind().name(),
            Secret::Plain(_) => "plain",
            Secret::Foreign => "unknown",
        };
        list.extend([&single_line(entry.user), "\t", kind, "\n"]);
    }
    Stdout::new().write(list.as_bytes())?;
    Ok(Exit::Success)
}

/// Prints a line for each finding; fails if current brokers reject one.
pub(super) fn check(path: &Path) -> Result<Exit, Failure> {
    let text = passwd::read_text(path)?;
    let findings = passwd::check(&text);
    let mut report = String::new();
    for finding in &findings {
        let user = finding.user.as_ref().map(|user| format!("user '{user}': "));
        let (problem, rejection) = (finding.problem, finding.problem.rejected_by());
        report.push_str(&single_line(&format!(
            "{}:{}: {}{problem}; {rejection}",
            path.display(),
            finding.line,
            user.unwrap_or_default(),
        )));
        report.push('\n');
    }
    Stdout::new().write(report.as_bytes())?;
    if findings.iter().any(|finding| finding.problem.rejected_by().includes_current()) {
        return Err(Failure::silent(Exit::Failure));
    }
    if findings.is_empty() {
        note(&format!("'{}' is read by every broker from 2.0 on", path.display()));
    }
    Ok(Exit::Success)
}
