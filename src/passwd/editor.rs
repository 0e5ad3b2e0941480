//! Password files on disk: reading them, and replacing them so that readers and crashes see the
//! old file or the new one.

use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

use super::attributes;
use super::file::{CorruptLine, PasswordFile, SPARE_BYTES};
use super::lock::Lock;
use super::place::{Place, TEMPORARY_RANDOM_CHARS};

/// Holds a password file for editing: locked against other editors, read, and replaced by
/// [`Editor::save`]. Dropping it without saving changes nothing.
///
/// Reading needs no lock: [`PasswordFile::load`] sees the file before an edit or after it.
///
/// ```
/// use midge::passwd::{Editor, HashKind, Hasher, Missing, Password, PasswordFile, Username};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("passwd");
/// let hash = Hasher::new(HashKind::Sha512Pbkdf2).hash(&Password::new(b"secret".to_vec())?)?;
/// let mut editor = Editor::open(&path, Missing::Create, || eprintln!("waiting"))?;
/// editor.file_mut().set(&Username::new("alice")?, &hash);
/// editor.save()?;
/// assert_eq!(PasswordFile::load(&path)?.entries().count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Editor {
    place: Place,
    original: Option<Original>,
    file: PasswordFile,
    // Fields drop in order: the lock goes last.
    _lock: Lock,
}

/// What [`Editor::open`] does when there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fails.
    Refuse,
    /// Starts an empty file, which [`Editor::save`] creates with mode 0600.
    Create,
}

impl Editor {
    /// Locks and reads the file at `path`, and calls `waiting` once if that has to wait for
    /// another editor. A symbolic link is resolved here, once: its target is what is edited.
    ///
    /// # Errors
    /// [`FileError`]; the file is untouched.
    pub fn open(path: &Path, missing: Missing, waiting: impl FnOnce()) -> Result<Self, FileError> {
        let place = Place::resolve(path)?;
        let lock = Lock::acquire(&place.beside("lock"), waiting)
            .map_err(|source| FileError::Lock { path: place.beside("lock"), source })?;
        let (original, file) = match read(&place.path) {
            Ok((original, text)) => {
                // Renaming over the file would not ask whether it may be written.
                rustix::fs::access(&place.path, Access::WRITE_OK).map_err(|error| {
                    FileError::Write { path: place.path.clone(), source: error.into() }
                })?;
                (Some(original), parse(&place.path, text)?)
            }
            Err(FileError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && missing == Missing::Create =>
            {
                (None, PasswordFile::new())
            }
            Err(error) => return Err(error),
        };
        Ok(Self { place, original, file, _lock: lock })
    }

    /// Whether [`Editor::save`] will create the file.
    pub fn is_new(&self) -> bool {
        self.original.is_none()
    }

    /// The content as read or edited.
    pub fn file(&self) -> &PasswordFile {
        &self.file
    }

    /// The content, for editing.
    pub fn file_mut(&mut self) -> &mut PasswordFile {
        &mut self.file
    }

    /// Replaces the file on disk: writes a temporary file of mode 0600 in the same directory, gives
    /// it the owner, group, mode, access control lists and extended attributes of the file it
    /// replaces, syncs it, renames it, and syncs the directory.
    ///
    /// # Errors
    /// [`FileError`]. The file is untouched, unless the error is [`FileError::SyncDirectory`].
    pub fn save(self) -> Result<(), FileError> {
        let Self { place, original, file, _lock } = self;
        place.remove_stale_temporaries();
        let write_error = |source| FileError::Write { path: place.path.clone(), source };

        let mut temporary = tempfile::Builder::new()
            .prefix(&place.temporary_prefix())
            .rand_bytes(TEMPORARY_RANDOM_CHARS)
            .tempfile_in(&place.directory)
            .map_err(write_error)?;
        temporary.write_all(file.text()).map_err(write_error)?;
        if let Some(original) = &original {
            original.give_attributes_to(temporary.as_file(), &place.path)?;
        }
        temporary.as_file().sync_all().map_err(write_error)?;
        persist(&place, temporary, original.as_ref())?;

        File::open(&place.directory)
            .and_then(|directory| directory.sync_all())
            // Some file systems cannot sync a directory, and say so.
            .or_else(|error| match error.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
                _ => Err(error),
            })
            .map_err(|source| FileError::SyncDirectory { path: place.path, source })
    }
}

impl PasswordFile {
    /// Reads a password file from disk, without a lock.
    ///
    /// # Errors
    /// [`FileError`], of which [`FileError::Corrupt`] names a line.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let (_, text) = read(path)?;
        parse(path, text)
    }
}

/// Reads the bytes of a password file from disk, corrupt or not, for [`super::check()`].
///
/// # Errors
/// [`FileError::Read`] and [`FileError::NotRegular`].
pub fn read_text(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read(path).map(|(_, text)| text)
}

/// Why a password file was not read or not replaced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path is a directory, a device, a FIFO or a socket.
    #[error("'{}' is {kind}, not a file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What is there, with its article.
        kind: &'static str,
    },
    /// The path is a symbolic link whose target does not exist.
    #[error("'{}' is a symbolic link to a file that does not exist", path.display())]
    DanglingLink {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A line of the file is neither entry, comment nor blank. Nothing is rewritten until
    /// somebody has mended it.
    #[error("'{}'", path.display())]
    Corrupt {
        /// The path.
        path: PathBuf,
        /// The line.
        #[source]
        source: CorruptLine,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock '{}'", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The new content cannot be written beside the file.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// This process may not make a file with the owner, group, mode or access control list of the
    /// one it should replace.
    #[error("cannot keep the owner and permissions of '{}'", path.display())]
    Attributes {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A program that takes no lock has changed the file during the edit.
    #[error("'{}' was changed by another program in the meantime", path.display())]
    ChangedMeanwhile {
        /// The path.
        path: PathBuf,
    },
    /// The new file is in place, and may be lost again if the machine goes down soon.
    #[error("'{}' was replaced, but its directory could not be synced to disk", path.display())]
    SyncDirectory {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The file as it was when it was read.
#[derive(Debug)]
struct Original {
    handle: File,
    metadata: Metadata,
}

impl Original {
    fn give_attributes_to(&self, new: &File, path: &Path) -> Result<(), FileError> {
        let attributes_error = |source| FileError::Attributes { path: path.to_owned(), source };
        let (owner, group) = (self.metadata.uid(), self.metadata.gid());
        // Asking for what is there already could fail for want of privilege.
        let made = new.metadata().map_err(attributes_error)?;
        let changed = |now, wanted| (now != wanted).then_some(wanted);
        std::os::unix::fs::fchown(new, changed(made.uid(), owner), changed(made.gid(), group))
            .map_err(attributes_error)?;
        attributes::copy(&self.handle, new).map_err(attributes_error)?;
        let mode = Permissions::from_mode(self.metadata.permissions().mode() & 0o7777);
        new.set_permissions(mode).map_err(attributes_error)
    }

    /// Whether `path` still names the file that was read, with the content that was read.
    fn is_unchanged(&self, path: &Path) -> bool {
        let state = |metadata: &Metadata| {
            let (dev, ino) = (metadata.dev(), metadata.ino());
            (dev, ino, metadata.size(), metadata.mtime(), metadata.mtime_nsec())
        };
        fs::symlink_metadata(path).is_ok_and(|found| state(&found) == state(&self.metadata))
    }
}

fn persist(
    place: &Place,
    temporary: NamedTempFile,
    original: Option<&Original>,
) -> Result<(), FileError> {
    let changed = || FileError::ChangedMeanwhile { path: place.path.clone() };
    let persisted = match original {
        Some(original) if original.is_unchanged(&place.path) => temporary.persist(&place.path),
        Some(_) => return Err(changed()),
        None => temporary.persist_noclobber(&place.path),
    };
    match persisted {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(changed()),
        Err(error) => Err(FileError::Write { path: place.path.clone(), source: error.error }),
    }
}

fn parse(path: &Path, text: Zeroizing<Vec<u8>>) -> Result<PasswordFile, FileError> {
    PasswordFile::parse(text).map_err(|source| FileError::Corrupt { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<(Original, Zeroizing<Vec<u8>>), FileError> {
    let read_error = |source| FileError::Read { path: path.to_owned(), source };
    // Looked at before it is opened, since opening a device or a FIFO can have effects.
    refuse_special(path, fs::metadata(path).map_err(read_error)?.file_type())?;
    let mut handle = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(read_error)?;
    let metadata = handle.metadata().map_err(read_error)?;
    refuse_special(path, metadata.file_type())?;

    // More than the file has: reading finds its end, and an edit its room, in the same memory.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(SPARE_BYTES);
    let mut text = Zeroizing::new(Vec::new());
    text.try_reserve(capacity).map_err(|error| read_error(error.into()))?;
    handle.read_to_end(&mut text).map_err(read_error)?;
    Ok((Original { handle, metadata }, text))
}

fn refuse_special(path: &Path, file_type: FileType) -> Result<(), FileError> {
    let kind = match file_type {
        t if t.is_file() => return Ok(()),
        t if t.is_dir() => "a directory",
        t if t.is_fifo() => "a FIFO",
        t if t.is_socket() => "a socket",
        _ => "a device",
    };
    Err(FileError::NotRegular { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::passwd::{HashKind, Hasher, Password, Username};

    fn add(editor: &mut Editor, name: &str) {
        let password = Password::new(b"p".to_vec()).unwrap();
        let hash = Hasher::new(HashKind::Sha512).hash(&password).unwrap();
        editor.file_mut().set(&Username::new(name).unwrap(), &hash);
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_save_leaves_only_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        let mut editor = Editor::open(&path, Missing::Create, || {}).unwrap();
        assert!(editor.is_new());
        add(&mut editor, "a");
        editor.save().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["passwd"]);
    }

    #[test]
    fn an_editor_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(Editor::open(&dir.path().join("passwd"), Missing::Create, || {}).unwrap());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn stale_temporaries_go_and_look_alikes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let kept =
            [".passwd.midge-short", ".passwd.midge-0123456789a.", ".other.midge-0123456789ab"];
        for name in kept.iter().chain(&[".passwd.midge-0123456789ab"]) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let mut editor = Editor::open(&dir.path().join("passwd"), Missing::Create, || {}).unwrap();
        add(&mut editor, "a");
        editor.save().unwrap();
        let mut found = names(dir.path());
        found.sort();
        let mut expected: Vec<OsString> = kept.map(OsString::from).to_vec();
        expected.push("passwd".into());
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn edits_by_programs_that_take_no_lock_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");

        let mut editor = Editor::open(&path, Missing::Create, || {}).unwrap();
        fs::write(&path, "x:y\n").unwrap();
        add(&mut editor, "a");
        assert!(matches!(editor.save(), Err(FileError::ChangedMeanwhile { .. })));

        let mut editor = Editor::open(&path, Missing::Refuse, || {}).unwrap();
        fs::write(&path, "x:y\nz:z\n").unwrap();
        add(&mut editor, "a");
        assert!(matches!(editor.save(), Err(FileError::ChangedMeanwhile { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"x:y\nz:z\n");
        assert_eq!(names(dir.path()), ["passwd"]);
    }

    #[test]
    fn names_of_any_length_and_encoding_are_edited() {
        let dir = tempfile::tempdir().unwrap();
        for name in [OsStr::from_bytes(&[b'n'; 255]), OsStr::from_bytes(b"caf\xe9")] {
            let mut editor = Editor::open(&dir.path().join(name), Missing::Create, || {}).unwrap();
            add(&mut editor, "a");
            editor.save().unwrap();
        }
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn a_link_is_followed_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "").unwrap();
        symlink("target", &link).unwrap();
        let mut editor = Editor::open(&link, Missing::Refuse, || {}).unwrap();
        add(&mut editor, "a");
        editor.save().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(PasswordFile::load(&target).unwrap().entries().count(), 1);

        fs::remove_file(&target).unwrap();
        let dangling = Editor::open(&link, Missing::Create, || {});
        assert!(matches!(dangling, Err(FileError::DanglingLink { .. })));
    }

    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (dir.path().to_owned(), "a directory"),
            (dir.path().join("new/"), "a directory"),
            (PathBuf::from("/"), "a directory"),
            (PathBuf::from("/dev/null"), "a device"),
        ] {
            match Editor::open(&path, Missing::Create, || {}) {
                Err(FileError::NotRegular { kind, .. }) => assert_eq!(kind, expected),
                other => panic!("{}: {other:?}", path.display()),
            }
        }
    }
}
