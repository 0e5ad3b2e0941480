//! The content of a password file, edited in memory. Locking, reading and replacing the file on
//! disk is [`super::editor`].

use thiserror::Error;
use zeroize::Zeroizing;

use super::hash::{HashError, HashKind, Hasher};
use super::line::{Content, Entry, Line, LineProblem, Secret, lines};
use super::password::{Password, Username};
use super::stored::PasswordHash;

/// The content of a password file, every line of which is an entry, a comment or blank.
///
/// Edits touch only the lines they are about: comments, blank lines, the entries of other users,
/// their order and their line endings stay byte for byte. The one repair is a missing line ending
/// at the end of the file. Wiped when dropped, since a file may hold passwords in plain text.
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
        for line in lines(&text) {
            line.read().map_err(|problem| CorruptLine { line: line.number, problem })?;
        }
        Ok(Self { text })
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
        let mut kind = None;
        for entry in self.entries() {
            match (&entry.secret, kind) {
                (Secret::Hash(hash), _) if hash.kind() == HashKind::Sha512Pbkdf2 => {
                    return Some(HashKind::Sha512Pbkdf2);
                }
                (Secret::Hash(hash), None | Some(HashKind::Argon2id)) => kind = Some(hash.kind()),
                _ => {}
            }
        }
        kind
    }

    /// Gives `user` this hash: in the place of the present entry, or in a new last line. Further
    /// entries of the same user, which brokers treat each in their own way, are removed.
    pub fn set(&mut self, user: &Username, hash: &PasswordHash) -> Change {
        let entry = format!("{user}:{hash}");
        let mut change = Change::Added;
        self.rewrite(entry.len() + 2, |line, text| {
            if !line.is_of(user) {
                text.extend_from_slice(line.text);
                return Kept::Yes;
            }
            match &mut change {
                Change::Added => change = Change::Updated { duplicates: 0 },
                Change::Updated { duplicates } => {
                    *duplicates += 1;
                    return Kept::No;
                }
            }
            text.extend_from_slice(entry.as_bytes());
            Kept::Yes
        });
        if change == Change::Added {
            let ending = self.line_ending();
            self.text.extend_from_slice(entry.as_bytes());
            self.text.extend_from_slice(ending);
        }
        change
    }

    /// Removes every entry of `user` and returns how many there were. Without one the file stays
    /// as it is.
    pub fn remove(&mut self, user: &Username) -> usize {
        if self.entry(user).is_none() {
            return 0;
        }
        let mut count = 0;
        self.rewrite(0, |line, text| {
            if line.is_of(user) {
                count += 1;
                return Kept::No;
            }
            text.extend_from_slice(line.text);
            Kept::Yes
        });
        count
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
        let added_bytes = hashes.iter().map(|(_, entry)| entry.len()).sum();
        let mut hashes = hashes.into_iter().peekable();
        self.rewrite(added_bytes, |line, text| {
            match hashes.next_if(|(number, _)| *number == line.number) {
                Some((_, entry)) => text.extend_from_slice(entry.as_bytes()),
                None => text.extend_from_slice(line.text),
            }
            Kept::Yes
        });
        Ok(done)
    }

    /// Copies the file line by line through `edit`, which writes a line without its ending, and
    /// ends every kept line.
    fn rewrite(
        &mut self,
        added_bytes: usize,
        mut edit: impl FnMut(&Line<'_>, &mut Vec<u8>) -> Kept,
    ) {
        let ending = self.line_ending();
        let capacity = self.text.len() + added_bytes + ending.len();
        let mut text = Zeroizing::new(Vec::with_capacity(capacity));
        for line in lines(&self.text) {
            if edit(&line, &mut text) == Kept::Yes {
                text.extend_from_slice(if line.ending.is_empty() { ending } else { line.ending });
            }
        }
        self.text = text;
    }

    /// The ending of the first line, for lines that have none yet.
    fn line_ending(&self) -> &'static [u8] {
        match lines(&self.text).next() {
            Some(line) if line.ending == b"\r\n" => b"\r\n",
            _ => b"\n",
        }
    }
}

impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PasswordFile({} bytes)", self.text.len())
    }
}

#[derive(PartialEq, Eq)]
enum Kept {
    Yes,
    No,
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

    #[test]
    fn debug_shows_no_content() {
        let file = file("bob:hunter2\n");
        let entries: Vec<_> = file.entries().collect();
        assert!(!format!("{file:?} {entries:?}").contains("hunter2"));
    }
}
