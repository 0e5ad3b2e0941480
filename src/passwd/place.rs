//! Where a password file lies, and the names that an edit uses beside it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::editor::FileError;

/// Where the file is, links resolved.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) directory: PathBuf,
    /// The file name, cut so that the names made from it are not too long. Two files that share it
    /// share a lock, too.
    stem: OsString,
}

impl Place {
    pub(super) fn resolve(path: &Path) -> Result<Self, FileError> {
        let read_error = |source| FileError::Read { path: path.to_owned(), source };
        let path = match fs::canonicalize(path) {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(FileError::DanglingLink { path: path.to_owned() });
                }
                let name =
                    path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"));
                let name = name.ok_or_else(|| FileError::NotRegular {
                    path: path.to_owned(),
                    kind: "a directory",
                })?;
                let directory = match path.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                };
                fs::canonicalize(directory).map_err(read_error)?.join(name)
            }
            Err(error) => return Err(read_error(error)),
        };
        match (path.parent(), path.file_name()) {
            (Some(directory), Some(name)) => {
                let bytes = name.as_bytes();
                let stem = bytes.get(..MAX_STEM_BYTES).unwrap_or(bytes);
                let stem = OsStr::from_bytes(stem).to_owned();
                Ok(Self { directory: directory.to_owned(), stem, path })
            }
            _ => Err(FileError::NotRegular { path, kind: "a directory" }),
        }
    }

    /// `.NAME.midge-SUFFIX` in the same directory.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.temporary_prefix();
        name.push(suffix);
        self.directory.join(name)
    }

    pub(super) fn temporary_prefix(&self) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(&self.stem);
        prefix.push(".midge-");
        prefix
    }

    /// Removes what killed edits left behind. Live temporaries there are none: they are made under
    /// the lock, which the caller holds.
    pub(super) fn remove_stale_temporaries(&self) {
        let prefix = self.temporary_prefix();
        let is_temporary = |name: &OsStr| {
            name.as_bytes().strip_prefix(prefix.as_bytes()).is_some_and(|random| {
                random.len() == TEMPORARY_RANDOM_CHARS
                    && random.iter().all(u8::is_ascii_alphanumeric)
            })
        };
        // One that cannot be removed is in nobody's way: new ones get another name.
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if is_temporary(&entry.file_name()) && entry.file_type().is_ok_and(|t| t.is_file()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

pub(super) const TEMPORARY_RANDOM_CHARS: usize = 12;

/// File names may have 255 bytes on every common file system.
const MAX_STEM_BYTES: usize = 200;
