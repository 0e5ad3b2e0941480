//! The log of one session on disk: what is in it, what is still to be written, and its compaction.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::session::{Change, Entry, Ledger, Message, Ticket};

use super::StoreError;
use super::record::{
    self, FILE_HEAD_BYTES, HEAD_BYTES, Head, Outline, Times, append_change, append_client,
    append_message,
};

/// A session log that is open, and locked against other processes.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// `None` once it is closed.
    file: Option<Arc<File>>,
    /// How long the file is; what lies behind it is cut off.
    length: u64,
    /// Whether a part of a record may lie behind it, which could not be cut off yet.
    torn: bool,
    /// How much of it are messages that are not finished.
    live: u64,
    /// At which length the dead part is looked at again.
    compact_at: u64,
    ledger: Ledger<Place>,
    client_id: Option<Box<str>>,
    /// When the last connection ended; `None` while one is up, or was when the process ended.
    disconnected_at: Option<u64>,
    /// Changes that are not written yet.
    backlog: Vec<u8>,
    scratch: Vec<u8>,
    /// The number of bytes ever written, which compaction does not lower.
    written: u64,
    /// How many bytes of an unfinished record were cut off.
    cut: u64,
}

/// Where the record of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u32,
}

/// What an earlier process left to be done.
#[derive(Debug, Default)]
pub(in crate::client) struct Restored {
    pub(in crate::client) ledger: Ledger,
    /// The messages that are to be confirmed in a certain time.
    pub(in crate::client) deadlines: Vec<(Ticket, Duration)>,
}

impl Log {
    /// Opens the log at `path`. With `salvage`, damage ends it like a record that was cut off.
    pub(super) fn open(path: &Path, salvage: bool) -> Result<Log, StoreError> {
        let file = open_locked(path)?;
        let fail = |doing| move |error| StoreError::io(path, doing, error);
        restrict(&file).map_err(fail("restrict access to"))?;
        let length = file.metadata().map_err(fail("read the size of"))?.len();
        let mut log = Log {
            path: path.to_owned(),
            file: None,
            length,
            torn: false,
            live: 0,
            compact_at: COMPACT_FROM,
            ledger: Ledger::new(),
            client_id: None,
            disconnected_at: None,
            backlog: Vec::new(),
            scratch: Vec::new(),
            written: 0,
            cut: 0,
        };
        log.scan(&file, salvage)?;
        // What a compaction left that was killed.
        match fs::remove_file(log.compact_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(&log.compact_path(), "remove", error));
            }
            _ => {}
        }
        log.file = Some(Arc::new(file));
        Ok(log)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    pub(super) fn cut_bytes(&self) -> u64 {
        self.cut
    }

    pub(super) fn message_count(&self) -> usize {
        self.ledger.messages.len()
    }

    /// The number of bytes ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    /// Reads the file from its beginning and adds up what is in it.
    fn scan(&mut self, file: &File, salvage: bool) -> Result<(), StoreError> {
        let path = self.path.clone();
        let read = |error| StoreError::io(&path, "read", error);
        let mut input = BufReader::with_capacity(READ_BYTES, file);
        input.rewind().map_err(read)?;
        let head = record::file_head();
        let mut found = vec![0; head.len().min(self.length as usize)];
        input.read_exact(&mut found).map_err(read)?;
        if !head.starts_with(&found) {
            return Err(StoreError::NotAStore { path: self.path.clone() });
        }
        if found.len() < FILE_HEAD_BYTES {
            // New, or killed while it was made.
            file.set_len(0).map_err(read)?;
            self.length = 0;
            return self.write_to(file, &head).map_err(|error| self.failed("write to", error));
        }
        let mut offset = FILE_HEAD_BYTES as u64;
        let mut body = Vec::new();
        while offset < self.length {
            let rest = self.length - offset;
            let corrupt = |what| StoreError::Corrupt { path: self.path.clone(), offset, what };
            let mut bytes = [0; HEAD_BYTES];
            if rest < HEAD_BYTES as u64 {
                break;
            }
            input.read_exact(&mut bytes).map_err(read)?;
            let Some(head) = Head::read(&bytes) else {
                // Space that was set aside and never written reads as zeros.
                let unwritten = bytes == [0; HEAD_BYTES] && is_zero(&mut input).map_err(read)?;
                if unwritten || salvage {
                    break;
                }
                return Err(corrupt("the length of a record"));
            };
            let length = HEAD_BYTES as u64 + u64::from(head.length);
            if length > rest {
                break;
            }
            body.clear();
            let taken = Read::by_ref(&mut input).take(head.length.into()).read_to_end(&mut body);
            taken.map_err(read)?;
            if !head.fits(&body) {
                let unwritten = body.last() == Some(&0) && is_zero(&mut input).map_err(read)?;
                if unwritten || salvage {
                    break;
                }
                return Err(corrupt("a record"));
            }
            let place = Place { offset, length: length as u32 };
            match Outline::read(&body) {
                Some(Outline::Client { client_id }) => self.client_id = Some(client_id),
                Some(Outline::Message { ticket }) => self.note_message(ticket, place),
                Some(Outline::Change { change, at }) => self.note_change(change, at),
                None if salvage => break,
                None => return Err(corrupt("a record of an unknown kind")),
            }
            offset += length;
        }
        self.cut = self.length - offset;
        if self.cut > 0 {
            tracing::warn!(
                path = %self.path.display(),
                offset,
                bytes = self.cut,
                "the session log does not end with a whole record: the rest is cut off"
            );
            file.set_len(offset).map_err(|error| self.failed("cut", error))?;
            self.length = offset;
        }
        Ok(())
    }

    /// Reads the messages that are not finished.
    pub(super) fn restore(&self) -> Result<Restored, StoreError> {
        let now = wall_clock();
        let mut restored = Restored::default();
        let old = &self.ledger;
        let ledger = &mut restored.ledger;
        ledger.taken.clone_from(&old.taken);
        ledger.received.clone_from(&old.received);
        ledger.last_packet_id = old.last_packet_id;
        // The broker has counted since it noticed the end of the connection.
        let passed = self.disconnected_at.map_or(0, |at| now.saturating_sub(at) / 1000);
        ledger.session_expiry = old.session_expiry.map(|expiry| match expiry {
            u32::MAX => u32::MAX,
            expiry => expiry.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX)),
        });
        let Some(file) = self.file.as_deref() else { return Ok(restored) };
        let mut bytes = Vec::new();
        for (&ticket, entry) in &old.messages {
            self.read_place(file, entry.message, &mut bytes)
                .map_err(|error| self.failed("read", error))?;
            let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
            let Some((times, message)) = record::read_message(body) else {
                return Err(StoreError::Corrupt {
                    path: self.path.clone(),
                    offset: entry.message.offset,
                    what: "a message",
                });
            };
            let age = Duration::from_millis(now.saturating_sub(times.admitted_at));
            let expires_in = message.expiry().map(|expiry| expiry.saturating_sub(age));
            if let Some(at) = times.deadline_at {
                let left = Duration::from_millis(at.saturating_sub(now));
                restored.deadlines.push((ticket, left));
            }
            let entry =
                Entry { message, stage: entry.stage, sent_before: entry.sent_before, expires_in };
            ledger.messages.insert(ticket, entry);
        }
        Ok(restored)
    }

    /// Refuses a session that is another client's.
    pub(super) fn check_client_id(&self, client_id: &str) -> Result<(), StoreError> {
        match &self.client_id {
            Some(stored) if **stored != *client_id => {
                Err(StoreError::OtherClient { path: self.path.clone(), stored: stored.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Notes whose session it is, to be written by [`flush`](Self::flush). An identifier that the
    /// broker is to choose is none.
    pub(super) fn set_client_id(&mut self, client_id: &str) {
        if self.client_id.as_deref() != Some(client_id) && !client_id.is_empty() {
            append_client(client_id, &mut self.backlog);
            self.client_id = Some(client_id.into());
        }
    }

    /// Writes a message, and with it all changes before. On an error it is not in the log.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        deadline: Option<Duration>,
        message: &Message,
    ) -> Result<(), StoreError> {
        self.flush()?;
        let admitted_at = wall_clock();
        let deadline_at =
            deadline.map(|deadline| admitted_at.saturating_add(deadline.as_millis() as u64).max(1));
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let times = Times { admitted_at, deadline_at };
        let encoded = append_message(ticket, times, message, &mut bytes);
        let place = Place { offset: self.length, length: bytes.len() as u32 };
        let result = match encoded {
            Ok(()) => self.write(&bytes),
            Err(error) => Err(StoreError::Message(error)),
        };
        bytes.shrink_to(KEPT_BYTES);
        self.scratch = bytes;
        result.map(|()| self.note_message(ticket, place))
    }

    /// Notes a change, to be written by [`flush`](Self::flush).
    pub(super) fn append(&mut self, change: Change) {
        let at = wall_clock();
        append_change(change, at, &mut self.backlog);
        self.note_change(change, at);
    }

    /// Writes what is noted. On an error it stays noted.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let mut backlog = std::mem::take(&mut self.backlog);
        let result = self.write(&backlog);
        if result.is_ok() {
            backlog.clear();
            backlog.shrink_to(KEPT_BYTES);
        }
        self.backlog = backlog;
        result
    }

    /// Closes the file, which ends the lock.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    fn note_message(&mut self, ticket: Ticket, place: Place) {
        self.live += u64::from(place.length);
        self.ledger.admit(ticket, place, None);
    }

    fn note_change(&mut self, change: Change, at: u64) {
        match change {
            Change::Connected { .. } => self.disconnected_at = None,
            Change::Disconnected { .. } => self.disconnected_at = Some(at),
            _ => {}
        }
        if let Some(finished) = self.ledger.apply(change) {
            self.live -= u64::from(finished.length);
        }
    }

    /// Appends to the file: all of it or, on an error, nothing.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(file) = self.file.clone() else { return Err(StoreError::Closed) };
        self.write_to(&file, bytes).map_err(|error| self.failed("write to", error))
    }

    fn write_to(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.torn) {
            self.cut_to_length(file)?;
        }
        match file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                self.written += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part of it may have been written: nothing may follow that.
                let _ = self.cut_to_length(file);
                Err(error)
            }
        }
    }

    fn cut_to_length(&mut self, file: &File) -> io::Result<()> {
        file.set_len(self.length).inspect_err(|_| self.torn = true)
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> StoreError {
        StoreError::io(&self.path, doing, error)
    }

    fn read_place(&self, mut file: &File, place: Place, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.resize(place.length as usize, 0);
        file.seek(SeekFrom::Start(place.offset))?;
        file.read_exact(bytes)
    }

    /// Whether so much of the file is dead that it is to be written anew.
    pub(super) fn wants_compaction(&self) -> bool {
        self.length >= self.compact_at && self.length - self.live > self.length / 2
    }

    /// Puts a file in the place of this one that has only what is not finished. With `sync`, it is
    /// on the disk before that.
    ///
    /// On an error the log goes on as it is. `Some` says why the new file, although it is in place,
    /// may not be there after a power failure.
    pub(super) fn compact(&mut self, sync: bool) -> Result<Option<StoreError>, StoreError> {
        // Not again before the file has grown as much, whether it succeeds or not.
        self.compact_at = (self.length * 2).max(COMPACT_FROM);
        let path = self.compact_path();
        let result = self.write_compact(&path, sync);
        if result.is_err() {
            let _ = fs::remove_file(&path);
        }
        let (file, length, places, synced) =
            result.map_err(|error| StoreError::io(&path, "write to", error))?;
        for (entry, place) in self.ledger.messages.values_mut().zip(places) {
            entry.message = place;
        }
        // All changes are in what the new file says.
        self.backlog.clear();
        self.file = Some(Arc::new(file));
        self.length = length;
        self.torn = false;
        self.written += length;
        self.compact_at = (length * 2).max(COMPACT_FROM);
        Ok(synced.err().map(|error| self.failed("sync the directory of", error)))
    }

    /// Writes the new file and puts it in the place of this one. Also says whether the latter
    /// survives a power failure.
    fn write_compact(
        &self,
        path: &Path,
        sync: bool,
    ) -> io::Result<(File, u64, Vec<Place>, io::Result<()>)> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        let old = self.file.as_deref().ok_or_else(closed)?;
        let mut new = options().create_new(true).open(path)?;
        new.try_lock()?;
        let mut bytes = record::file_head();
        if let Some(client_id) = &self.client_id {
            append_client(client_id, &mut bytes);
        }
        let mut places = Vec::with_capacity(self.ledger.messages.len());
        let (mut written, mut record) = (0, Vec::new());
        for entry in self.ledger.messages.values() {
            self.read_place(old, entry.message, &mut record)?;
            places.push(Place { offset: written + bytes.len() as u64, ..entry.message });
            bytes.extend_from_slice(&record);
            if bytes.len() >= READ_BYTES {
                new.write_all(&bytes)?;
                written += bytes.len() as u64;
                bytes.clear();
            }
        }
        for change in self.ledger.changes() {
            append_change(change, 0, &mut bytes);
        }
        if let (Some(expiry), Some(at)) = (self.ledger.session_expiry, self.disconnected_at) {
            append_change(Change::Disconnected { expiry }, at, &mut bytes);
        }
        new.write_all(&bytes)?;
        written += bytes.len() as u64;
        if sync {
            new.sync_all()?;
        }
        // What can fail comes first: after the renaming, the old file cannot be found any more.
        let directory = self.path.parent().filter(|_| sync).map(open_directory).transpose()?;
        fs::rename(path, &self.path)?;
        let synced = directory.flatten().map_or(Ok(()), |directory| directory.sync_all());
        Ok((new, written, places, synced))
    }

    /// Where the next file of the log is written.
    fn compact_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens the file at `path`, or makes it, and locks it.
fn open_locked(path: &Path) -> Result<File, StoreError> {
    // A device would take everything and keep nothing, and a pipe would wait for somebody.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(StoreError::NotAStore { path: path.to_owned() });
    }
    loop {
        let file = options().create(true).open(path);
        let file = file.map_err(|error| StoreError::io(path, "open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(path, "lock", error)),
        }
        // A compaction may have put another file in its place before it was locked.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(at)) => (file.dev(), file.ino()) == (at.dev(), at.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true // A file that is open cannot be replaced.
}

/// Lets only the owner read what may be confidential.
#[cfg(unix)]
fn restrict(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn restrict(_: &File) -> io::Result<()> {
    Ok(())
}

/// Makes a rename in a directory survive a power failure.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    open_directory(directory)?.map_or(Ok(()), |directory| directory.sync_all())
}

/// Opens a directory to sync it; `None` where directories cannot be opened.
fn open_directory(directory: &Path) -> io::Result<Option<File>> {
    if cfg!(not(unix)) {
        return Ok(None);
    }
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory).map(Some)
}

/// Whether only zeros follow.
fn is_zero(input: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(true),
            length if buffer.get(..length).is_some_and(|read| read.iter().all(|&b| b == 0)) => {}
            _ => return Ok(false),
        }
    }
}

/// Milliseconds since 1970.
fn wall_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A smaller file is not worth compacting.
const COMPACT_FROM: u64 = 1 << 20;
/// How much is read and copied at a time.
const READ_BYTES: usize = 64 << 10;
/// How much of a buffer is kept from one write to the next.
const KEPT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
