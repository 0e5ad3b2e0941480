//! The content of a password file, edited in memory. Locking, reading and replacing the file on
//! disk is [`super::editor`].

use std::ops::Range;

use thiserror::Error;
use zeroize::Zeroizing;

use super::hash::{HashError, HashKind, Hasher};
use super::line::{Content, Entry, LineProblem, Secret, lines};
use super::password::{Password, Username};
use super::stored::PasswordHash;

/// The content of a password file, every line of which is an entry, a comment or blank.
///
/// Edits touch only the lines they are about: comments, blank lines, the entries of other users,
/// their order and their line endings stay byte for byte. The one repair is a missing line ending
/// at the end of the file. Wiped when dropped if it held passwords in plain text.
///
/// ```
/// use midge::passwd::{Change, HashKind, Hasher, Password, PasswordFile, Username};
///
/// let mut file = PasswordFile::parse(b"# staff\nalice:$2y$10$other\n".to_vec())?;
/// let hash = Hasher::new(HashKind::Sha512).hash(&Password::new(b"secret".to_vec())?)?;
/// assert_eq!(file.set(&Username::new("bob")?, &hash), Change::Added);
/// assert!(file.text().starts_with(b"# staff\nalice:$2y$10$other\nbob:$6$"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct PasswordFile {
    text: Zeroizing<Vec<u8>>,
    has_plain: bool,
}

impl PasswordFile {
    /// Creates an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`CorruptLine`] with the number of the first line that is neither entry, comment nor blank.
    pub fn parse(text: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, CorruptLine> {
        let text = text.into();
        let mut has_plain = false;
        for line in lines(&text) {
            let content =
                line.read().map_err(|problem| CorruptLine { line: line.number, problem })?;
            has_plain |= matches!(content, Content::Entry(Entry { secret: Secret::Plain(_), .. }));
        }
        Ok(Self { text, has_plain })
    }

    /// The content as it stands on disk.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The entries in the order of their lines.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        lines(&self.text).filter_map(|line| match line.read() {
            Ok(Content::Entry(entry)) => Some(entry),
            // Corrupt lines were refused by `parse`, and no edit writes one.
            Ok(Content::Nothing) | Err(_) => None,
        })
    }

    /// The first entry of `user`.
    pub fn entry(&self, user: &Username) -> Option<Entry<'_>> {
        let line = lines(&self.text).find(|line| line.is_of(user))?;
        match line.read() {
            Ok(Content::Entry(entry)) => Some(entry),
            Ok(Content::Nothing) | Err(_) => None,
        }
    }

    /// The kind that another entry should have so that every broker which reads this file reads
    /// that entry too: of the kinds already used, the one that most brokers of the 2.x line know.
    /// `None` when no entry has a hash.
    pub fn prevailing_kind(&self) -> Option<HashKind> {
        let mut prevailing = None;
        for kind in lines(&self.text).filter_map(|line| line.hash_kind()) {
            match (kind, prevailing) {
                (HashKind::Sha512Pbkdf2, _) => return Some(kind),
                (_, None | Some(HashKind::Argon2id)) => prevailing = Some(kind),
                _ => {}
            }
        }
        prevailing
    }

    /// Gives `user` this hash: in the place of the present entry, or in a new last line. Further
    /// entries of the same user, which brokers treat each in their own way, are removed.
    pub fn set(&mut self, user: &Username, hash: &PasswordHash) -> Change {
        let entry = format!("{user}:{hash}");
        let mut places = self.places_of(user).into_iter();
        let first = places.next();
        let further: Vec<_> = places.collect();
        self.cut(&further);
        match first {
            Some(place) => {
                self.splice(place.text, entry.as_bytes());
                self.end_last_line();
                Change::Updated { duplicates: further.len() }
            }
            None => {
                self.end_last_line();
                let (ending, end) = (self.line_ending(), self.text.len());
                self.splice(end..end, &[entry.as_bytes(), ending].concat());
                Change::Added
            }
        }
    }

    /// Removes every entry of `user` and returns how many there were. Without one the file stays
    /// as it is.
    pub fn remove(&mut self, user: &Username) -> usize {
        let places = self.places_of(user);
        self.cut(&places);
        if !places.is_empty() {
            self.end_last_line();
        }
        places.len()
    }

    /// Replaces every plain-text password by its hash and leaves all other lines alone. Without a
    /// plain-text password the file stays as it is.
    ///
    /// # Errors
    /// [`HashPlainError::ExtraColon`] when a plain-text password is followed by a further `:`,
    /// where the password ends for brokers and hardly for whoever wrote it; and
    /// [`HashPlainError::Hash`]. The file is unchanged in both cases.
    pub fn hash_plain(&mut self, hasher: &Hasher) -> Result<HashedPlain, HashPlainError> {
        let mut done = HashedPlain::default();
        let mut hashes = Vec::new();
        for entry in self.entries() {
            match entry.secret {
                Secret::Hash(_) => done.already_hashed += 1,
                Secret::Foreign => done.foreign += 1,
                Secret::Plain(_) if entry.has_trailing_field => {
                    return Err(HashPlainError::ExtraColon { line: entry.line });
                }
                Secret::Plain(plain) => {
                    // A plain-text field is neither empty nor too long, `parse` saw to that.
                    let Ok(password) = Password::new(plain.to_vec()) else { continue };
                    let hash = hasher.hash(&password).map_err(HashPlainError::Hash)?;
                    hashes.push((entry.line, format!("{}:{hash}", entry.user)));
                }
            }
        }
        if hashes.is_empty() {
            return Ok(done);
        }
        done.hashed = hashes.len();
        let grown_bytes: usize = hashes.iter().map(|(_, entry)| entry.len()).sum();
        let mut text = Zeroizing::new(Vec::with_capacity(self.text.len() + grown_bytes));
        let mut hashes = hashes.into_iter().peekable();
        for line in lines(&self.text) {
            match hashes.next_if(|(number, _)| *number == line.number) {
                Some((_, entry)) => text.extend_from_slice(entry.as_bytes()),
                None => text.extend_from_slice(line.text),
            }
            text.extend_from_slice(line.ending);
        }
        self.text = text;
        self.end_last_line();
        Ok(done)
    }

    /// Where the entries of `user` stand.
    fn places_of(&self, user: &Username) -> Vec<LinePlace> {
        let mut places = Vec::new();
        // Looking for the name is several times faster than looking at each line. No match can hide
        // the one that begins an entry: a name holds no newline and does not begin with a blank.
        for at in memchr::memmem::find_iter(&self.text, user.as_str()) {
            let (before, _) = self.text.split_at(at);
            let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let Some(line) = lines(self.text.get(start..).unwrap_or_default()).next() else {
                continue;
            };
            let begins_line = before.get(start..).unwrap_or_default().trim_ascii().is_empty();
            if begins_line && line.is_of(user) {
                let text = start..start + line.text.len();
                places.push(LinePlace { end: text.end + line.ending.len(), text });
            }
        }
        places
    }

    /// Removes these lines, which stand in ascending order, in one pass.
    fn cut(&mut self, places: &[LinePlace]) {
        let (mut kept, mut from) = (0, 0);
        let ends = places.iter().map(|place| (place.text.start, place.end));
        for (start, next) in ends.chain([(self.text.len(), self.text.len())]) {
            self.text.copy_within(from..start, kept);
            kept += start - from;
            from = next;
        }
        self.text.truncate(kept);
    }

    fn end_last_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(b"\n") {
            let (ending, end) = (self.line_ending(), self.text.len());
            self.splice(end..end, ending);
        }
    }

    /// Replaces a part of the text. What outgrows its memory moves to a new place, and the old one
    /// is wiped.
    fn splice(&mut self, part: Range<usize>, new: &[u8]) {
        if self.text.capacity() - self.text.len() < new.len() {
            let mut text = Vec::with_capacity(self.text.len() + new.len() + SPARE_BYTES);
            text.extend_from_slice(&self.text);
            self.text = Zeroizing::new(text);
        }
        self.text.splice(part, new.iter().copied());
    }

    /// The ending of the first line, for lines that have none yet.
    fn line_ending(&self) -> &'static [u8] {
        match lines(&self.text).next() {
            Some(line) if line.ending == b"\r\n" => b"\r\n",
            _ => b"\n",
        }
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if !self.has_plain {
            // Wiping takes longer than reading did.
            drop(std::mem::take(&mut *self.text));
        }
    }
}

impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PasswordFile({} bytes)", self.text.len())
    }
}

/// Where a line stands in the text.
struct LinePlace {
    /// Without its ending.
    text: Range<usize>,
    /// Behind its ending.
    end: usize,
}

/// What [`PasswordFile::set`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The user was not in the file.
    Added,
    /// The user's entry was replaced.
    Updated {
        /// How many further entries of the same user were removed.
        duplicates: usize,
    },
}

/// What [`PasswordFile::hash_plain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HashedPlain {
    /// Entries whose plain-text password was hashed.
    pub hashed: usize,
    /// Entries left alone because they hold a hash.
    pub already_hashed: usize,
    /// Entries left alone because they hold a hash of a kind that no broker reads.
    pub foreign: usize,
}

/// A line of a password file that is neither entry, comment nor blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line} is corrupt")]
pub struct CorruptLine {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub problem: LineProblem,
}

/// Why [`PasswordFile::hash_plain`] changed nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HashPlainError {
    /// A plain-text password is followed by `:`, so that it is unclear where it ends.
    #[error("line {line}: the plain-text password contains ':', where it would be cut off")]
    ExtraColon {
        /// The number of the line, counted from 1.
        line: usize,
    },
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(HashError),
}

/// Room for the longest entry, kept free behind the text of a file that is read for editing.
pub(super) const SPARE_BYTES: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    const SHA512: &str = "$6$8capiRrhFuLeyIE1$ilFKcclo3NIMhuNMPvFF23CBcLTzmT/Uy31/YRIfXVQ2Y+LDVO/\
                          jtS3oNRKX/WJYT1y1zaKaHW64fBQy8limBA==";
    const PBKDF2: &str = "$7$101$Xw8VJj8ARtRfrZxX$QQolbaZcYvS3svZGssyvKDr2UWBaEC1+NuYwIGsrWvqQFO8\
                          CBM9g/idA3CJzVvkgF5XIhQRfbZkhGDXYwcgrMg==";
    const ARGON2ID: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn file(text: &str) -> PasswordFile {
        PasswordFile::parse(text.as_bytes().to_vec()).unwrap()
    }

    fn user(name: &str) -> Username {
        Username::new(name).unwrap()
    }

    fn hash() -> PasswordHash {
        PasswordHash::parse(SHA512).unwrap()
    }

    fn text(file: &PasswordFile) -> &str {
        str::from_utf8(file.text()).unwrap()
    }

    #[test]
    fn a_new_user_comes_last_and_the_rest_stays() {
        let before = "# head\n\n a : b \nc:d\r\n";
        let mut file = file(before);
        assert_eq!(file.set(&user("bob"), &hash()), Change::Added);
        assert_eq!(text(&file), format!("{before}bob:{SHA512}\n"));
    }

    #[test]
    fn a_missing_final_newline_is_repaired() {
        let mut added = file("a:b");
        added.set(&user("bob"), &hash());
        assert_eq!(text(&added), format!("a:b\nbob:{SHA512}\n"));

        let mut crlf = file("a:b\r\n#");
        crlf.set(&user("bob"), &hash());
        assert_eq!(text(&crlf), format!("a:b\r\n#\r\nbob:{SHA512}\r\n"));

        let mut updated = file("a:b\nbob:x");
        updated.set(&user("bob"), &hash());
        assert_eq!(text(&updated), format!("a:b\nbob:{SHA512}\n"));

        let mut removed = file("bob:x\na:b");
        removed.remove(&user("bob"));
        assert_eq!(text(&removed), "a:b\n");
    }

    #[test]
    fn an_update_stays_in_its_line_and_takes_duplicates_along() {
        let mut file = file("a:b\r\n bob :x\r\n#bob:y\r\nbob:z\r\nbobby:y\r\n");
        assert_eq!(file.set(&user("bob"), &hash()), Change::Updated { duplicates: 1 });
        assert_eq!(text(&file), format!("a:b\r\nbob:{SHA512}\r\n#bob:y\r\nbobby:y\r\n"));
    }

    #[test]
    fn removing_takes_every_entry_of_the_user() {
        let mut some = file("bob:x\na:b\nbob:y\n");
        assert_eq!(some.remove(&user("bob")), 2);
        assert_eq!(text(&some), "a:b\n");

        let mut none = file("a:b");
        assert_eq!(none.remove(&user("bob")), 0);
        assert_eq!(text(&none), "a:b", "an absent user changes nothing, not even the end");
    }

    #[test]
    fn only_plain_text_is_hashed() {
        let before = format!("# c\na:{SHA512}\n b : plain \nc:$2y$10$x\nd:{PBKDF2}\n");
        let mut file = file(&before);
        let done = file.hash_plain(&Hasher::new(HashKind::Sha512)).unwrap();
        assert_eq!(done, HashedPlain { hashed: 1, already_hashed: 2, foreign: 1 });

        let lines: Vec<_> = text(&file).lines().zip(before.lines()).collect();
        assert_eq!(lines.len(), 5);
        for (at, (after, before)) in lines.into_iter().enumerate() {
            assert_eq!(after == before, at != 2, "{after}");
        }
        let Secret::Hash(hash) = file.entry(&user("b")).unwrap().secret else { panic!() };
        assert!(hash.verify(&Password::new(b"plain".to_vec()).unwrap()).unwrap());
    }

    #[test]
    fn a_plain_password_with_a_colon_is_not_cut_silently() {
        let before = "a:b\nuser:se:cret\n";
        let mut file = file(before);
        let refused = file.hash_plain(&Hasher::new(HashKind::Sha512));
        assert!(matches!(refused, Err(HashPlainError::ExtraColon { line: 2 })));
        assert_eq!(text(&file), before);
    }

    #[test]
    fn the_prevailing_kind_locks_nobody_out() {
        let kind = |lines: &[&str]| {
            let text: String =
                lines.iter().enumerate().map(|(at, hash)| format!("u{at}:{hash}\n")).collect();
            file(&text).prevailing_kind()
        };
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&["plain", "$2y$10$x"]), None);
        assert_eq!(kind(&[SHA512, "plain"]), Some(HashKind::Sha512));
        assert_eq!(kind(&[SHA512, PBKDF2, ARGON2ID]), Some(HashKind::Sha512Pbkdf2));
        assert_eq!(kind(&[ARGON2ID]), Some(HashKind::Argon2id));
        assert_eq!(kind(&[ARGON2ID, SHA512, ARGON2ID]), Some(HashKind::Sha512));
        assert_eq!(kind(&[ARGON2ID, PBKDF2]), Some(HashKind::Sha512Pbkdf2));
    }

    #[test]
    fn a_corrupt_line_is_named_by_its_number() {
        let error = PasswordFile::parse(b"# c\n\na:b\ngarbage\n".to_vec()).unwrap_err();
        assert_eq!(error, CorruptLine { line: 4, problem: LineProblem::NoColon });
    }

    proptest::proptest! {
        /// The search by name finds what a look at each line finds.
        #[test]
        fn places_are_those_of_the_lines(text in "[ab :#\\r\\n]{0,60}", name in "[ab#]([ab ]{0,2}[ab])?") {
            let Ok(user) = Username::new(name) else { return Ok(()) };
            let file = PasswordFile { text: text.into_bytes().into(), has_plain: false };
            let found: Vec<_> = file.places_of(&user).into_iter().map(|place| place.text).collect();
            let mut start = 0;
            let mut expected = Vec::new();
            for line in lines(&file.text) {
                if line.is_of(&user) {
                    expected.push(start..start + line.text.len());
                }
                start += line.text.len() + line.ending.len();
            }
            proptest::prop_assert_eq!(found, expected);
        }

        /// No content makes the reader panic, and what it accepts survives an edit but for its end.
        #[test]
        fn an_edit_and_its_undoing_leave_the_text(text in "([ab#]{0,2}[: ]{0,2}[ab$]{0,3}\\r?\\n?){0,6}") {
            let Ok(mut file) = PasswordFile::parse(text.clone().into_bytes()) else { return Ok(()) };
            let newcomer = user("newcomer");
            proptest::prop_assert_eq!(file.set(&newcomer, &hash()), Change::Added);
            proptest::prop_assert_eq!(file.remove(&newcomer), 1);
            let after = str::from_utf8(file.text()).unwrap();
            proptest::prop_assert!(after.starts_with(&text));
            proptest::prop_assert!(["", "\n", "\r\n"].contains(&&after[text.len()..]));
        }
    }

    #[test]
    fn debug_shows_no_content() {
        let file = file("bob:hunter2\n");
        let entries: Vec<_> = file.entries().collect();
        assert!(!format!("{file:?} {entries:?}").contains("hunter2"));
    }
}
