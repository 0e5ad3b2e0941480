//! Password hashes and password files of mosquitto brokers. Usable alone: no runtime, no network.
//!
//! A password file has a line `user:hash` for each user; lines that begin with `#` and blank lines
//! are kept and ignored. Three kinds of hash are in use:
//!
//! | [`HashKind`] | prefix | read by brokers | computed from |
//! |---|---|---|---|
//! | [`Sha512`](HashKind::Sha512) | `$6$` | all | password and 12-byte salt |
//! | [`Sha512Pbkdf2`](HashKind::Sha512Pbkdf2) | `$7$` | from 2.0 | the same, iterated |
//! | [`Argon2id`](HashKind::Argon2id) | `$argon2id$` | from 2.1 | the same, with 46 MiB of memory |
//!
//! [`Hasher`] makes a [`PasswordHash`] from a [`Password`], [`PasswordFile`] holds and edits the
//! content of a file, and [`Editor`] locks a file and replaces it in one step, so that a broker that
//! reloads it, or a machine that goes down, sees the old file or the new one. [`check()`] tells
//! which lines which brokers reject.
//!
//! # Example
//! ```
//! use std::path::Path;
//!
//! use midge::passwd::{
//!     Editor, HashKind, Hasher, Missing, Password, PasswordFile, Secret, Username,
//! };
//!
//! fn set_password(path: &Path, user: &str, password: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//!     let user = Username::new(user)?;
//!     let password = Password::new(password.to_vec())?;
//!     let mut editor = Editor::open(path, Missing::Create, || {})?;
//!     // The kind that the broker of this file is known to read; in a new file, one that all read.
//!     let kind = editor.file().prevailing_kind().unwrap_or(HashKind::Sha512Pbkdf2);
//!     let hash = Hasher::new(kind).hash(&password)?;
//!     editor.file_mut().set(&user, &hash);
//!     editor.save()?;
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = &dir.path().join("passwd");
//! set_password(path, "alice", b"correct horse")?;
//!
//! let file = PasswordFile::load(path)?;
//! let entry = file.entry(&Username::new("alice")?).ok_or("no such user")?;
//! let Secret::Hash(hash) = &entry.secret else { return Err("not hashed".into()) };
//! assert!(hash.verify(&Password::new(b"correct horse".to_vec())?)?);
//! # Ok(())
//! # }
//! ```

mod attributes;
mod check;
mod editor;
mod file;
mod hash;
mod line;
mod lock;
mod password;
mod place;
mod stored;

pub use check::{Finding, Problem, Rejection, check};
pub use editor::{Editor, FileError, Missing, read_text};
pub use file::{Change, CorruptLine, HashPlainError, HashedPlain, PasswordFile};
pub use hash::{HashError, HashKind, Hasher, MAX_ITERATIONS, UnknownHashKind};
pub use line::{Entry, LineProblem, Secret};
pub use password::{Password, PasswordError, Username, UsernameError};
pub use stored::{ParseHashError, PasswordHash, VerifyError};
