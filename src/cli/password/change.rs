//! The forms that change a file: add, update, delete, and hash plain text.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, anyhow};

use super::reload::Reload;
use super::{note, secret, username};
use crate::cli::exit::{Exit, Failure};
use crate::cli::opts::PasswdOptions;
use crate::cli::secret_input::Signals;
use crate::cli::stdio::Stdout;
use crate::passwd::{
    Change, Editor, FileError, HashError, HashKind, Hasher, Missing, PasswordFile,
};

/// Adds or updates `user`; with `-c`, in a new file.
pub(super) fn set(
    path: &Path,
    user: &OsStr,
    options: &PasswdOptions,
    signals: &Rc<Signals>,
) -> Result<Exit, Failure> {
    let user = username(user)?;
    let reload = prepare_reload(options)?;
    if options.password.is_none() && !options.secret.is_given() {
        // Nobody should type a password for a file that cannot be edited.
        drop(open(path, options)?);
    }
    let password = secret::new_password(
        options.password.as_ref(),
        &options.secret,
        options.allow_empty,
        signals,
    )?;

    let mut editor = open(path, options)?;
    if options.create && !editor.is_new() {
        let user_count = editor.file().entries().count();
        note(&format!("'{}' is written anew; it held {user_count} users", path.display()));
        *editor.file_mut() = PasswordFile::new();
    }
    let choice = Choice::new(options, editor.file())?;
    let hash = choice.hasher.hash(&password)?;
    let change = editor.file_mut().set(&user, &hash);
    save(editor, signals)?;
    choice.explain();
    if let Change::Updated { duplicates: count @ 1.. } = change {
        note(&format!("{count} further entries of user '{user}' were removed"));
    }
    warn_if_exposed(path);
    send_reload(reload)?;
    let verb = match change {
        Change::Added => "Adding",
        Change::Updated { .. } => "Updating",
    };
    Stdout::new().line(&format!("{verb} password for user {user}"))?;
    Ok(Exit::Success)
}

/// Writes the entry of `user` to standard output.
pub(super) fn print(
    user: &OsStr,
    options: &PasswdOptions,
    signals: &Rc<Signals>,
) -> Result<Exit, Failure> {
    let user = username(user)?;
    if options.reload.is_some() {
        return Err(anyhow!("--reload needs a FILE that the broker reads").into());
    }
    let password = secret::new_password(
        options.password.as_ref(),
        &options.secret,
        options.allow_empty,
        signals,
    )?;
    let choice = Choice::new(options, &PasswordFile::new())?;
    let hash = choice.hasher.hash(&password)?;
    choice.explain();
    Stdout::new().line(&format!("{user}:{hash}"))?;
    Ok(Exit::Success)
}

/// Deletes `user`.
pub(super) fn delete(
    path: &Path,
    user: &OsStr,
    options: &PasswdOptions,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let user = username(user)?;
    let reload = prepare_reload(options)?;
    let mut editor = open(path, options)?;
    if editor.file_mut().remove(&user) == 0 {
        return Err(anyhow!("user '{user}' is not in '{}'", path.display()).into());
    }
    save(editor, signals)?;
    send_reload(reload)?;
    Ok(Exit::Success)
}

/// Hashes the passwords that stand in plain text.
pub(super) fn hash_plain(
    path: &Path,
    options: &PasswdOptions,
    signals: &Signals,
) -> Result<Exit, Failure> {
    let reload = prepare_reload(options)?;
    let mut editor = open(path, options)?;
    let choice = Choice::new(options, editor.file())?;
    let done = editor
        .file_mut()
        .hash_plain(&choice.hasher)
        .with_context(|| format!("'{}' is unchanged", path.display()))?;
    if done.hashed > 0 {
        save(editor, signals)?;
        choice.explain();
        warn_if_exposed(path);
        send_reload(reload)?;
    }
    let mut summary = format!(
        "{} passwords hashed, {} skipped as hashed already",
        done.hashed, done.already_hashed
    );
    if done.foreign > 0 {
        summary.push_str(&format!(", {} skipped as hashes of an unknown kind", done.foreign));
    }
    note(&summary);
    Ok(Exit::Success)
}

/// How passwords are hashed, and whether the user ought to know.
struct Choice {
    hasher: Hasher,
    is_unasked_argon2id: bool,
}

impl Choice {
    /// The kind asked for; PBKDF2 if only its iterations are; else the kind used in `file`, and
    /// argon2id where none is.
    fn new(options: &PasswdOptions, file: &PasswordFile) -> Result<Self, HashError> {
        let by_iterations = options.iterations.map(|_| HashKind::Sha512Pbkdf2);
        let asked = options.kind.or(by_iterations);
        let known = asked.or_else(|| file.prevailing_kind());
        let mut hasher = Hasher::new(known.unwrap_or(HashKind::Argon2id));
        if let Some(iterations) = options.iterations {
            hasher = hasher.with_iterations(iterations)?;
            if hasher.kind() != HashKind::Sha512Pbkdf2 {
                note(&format!("-I has no effect on {}", hasher.kind()));
            }
        }
        Ok(Self { hasher, is_unasked_argon2id: known.is_none() })
    }

    fn explain(&self) {
        if self.is_unasked_argon2id {
            note("hashed with argon2id; brokers before 2.1 need -H sha512-pbkdf2");
        }
    }
}

fn open(path: &Path, options: &PasswdOptions) -> anyhow::Result<Editor> {
    let missing = if options.create { Missing::Create } else { Missing::Refuse };
    let waiting = || note(&format!("waiting for another edit of '{}'", path.display()));
    Editor::open(path, missing, waiting).map_err(|error| match error {
        FileError::Read { ref source, .. }
            if source.kind() == io::ErrorKind::NotFound && !options.create =>
        {
            let name = path.display();
            match options.delete || options.hash_plain {
                true => anyhow!("'{name}' does not exist"),
                false => anyhow!("'{name}' does not exist; -c creates it"),
            }
        }
        FileError::Corrupt { .. } if options.create => {
            anyhow::Error::from(error).context("-c replaces nothing but password files")
        }
        error => error.into(),
    })
}

fn save(editor: Editor, signals: &Signals) -> Result<(), FileError> {
    let _held = signals.hold();
    editor.save()
}

fn warn_if_exposed(path: &Path) {
    const OTHERS_READ_OR_WRITE: u32 = 0o006;
    if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & OTHERS_READ_OR_WRITE != 0)
    {
        note(&format!("'{}' can be read or written by every user of the machine", path.display()));
    }
}

fn prepare_reload(options: &PasswdOptions) -> anyhow::Result<Option<Reload<'_>>> {
    options.reload.as_deref().map(Reload::prepare).transpose()
}

fn send_reload(reload: Option<Reload<'_>>) -> anyhow::Result<()> {
    reload.map_or(Ok(()), |reload| reload.send().context("the file was changed"))
}
