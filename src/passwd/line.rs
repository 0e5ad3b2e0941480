//! One line of a password file, read the way brokers read it.
//!
//! A broker skips lines that begin with `#` and lines without `:`, splits the rest at `:`, strips
//! white space round the first two fields and drops any further one.

use thiserror::Error;

use super::hash::HashKind;
use super::password::{MAX_FIELD_BYTES, Username, UsernameError, check_username};
use super::stored::{ParseHashError, PasswordHash};

/// A line with its place in the file.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// Without the line ending.
    pub(super) text: &'a [u8],
    /// `\n`, `\r\n`, or nothing on a last line that lacks it.
    pub(super) ending: &'a [u8],
}

/// What a line holds.
pub(super) enum Content<'a> {
    /// A comment or a blank line.
    Nothing,
    Entry(Entry<'a>),
}

/// A user and what stands in the place of its password.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The user name, without the blanks that brokers strip.
    pub user: &'a str,
    /// The second field of the line.
    pub secret: Secret<'a>,
    /// Whether a further `:` follows, with text that brokers drop.
    pub has_trailing_field: bool,
}

/// What stands in the second field of an entry.
pub enum Secret<'a> {
    /// A hash that brokers read.
    Hash(PasswordHash),
    /// Something of the form `$name$…` that no broker reads, such as a crypt or bcrypt hash.
    Foreign,
    /// A password in plain text, without the blanks that brokers strip.
    Plain(&'a [u8]),
}

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Foreign => f.write_str("Foreign"),
            Self::Plain(_) => f.write_str("Plain(..)"),
        }
    }
}

impl<'a> Line<'a> {
    /// Reads the whole line, hash included.
    pub(super) fn read(&self) -> Result<Content<'a>, LineProblem> {
        let Some((user, secret)) = self.split() else {
            let text = self.text.trim_ascii();
            return if text.is_empty() || text.starts_with(b"#") {
                Ok(Content::Nothing)
            } else {
                Err(LineProblem::NoColon)
            };
        };
        let user = str::from_utf8(user).map_err(|_| UsernameError::NotUtf8)?;
        check_username(user)?;
        let (secret, has_trailing_field) = match position_of_colon(secret) {
            Some(at) => (secret.get(..at).unwrap_or_default().trim_ascii(), true),
            None => (secret.trim_ascii(), false),
        };
        let secret = read_secret(secret)?;
        Ok(Content::Entry(Entry { line: self.number, user, secret, has_trailing_field }))
    }

    /// Whether this is the entry of `user`; cheaper than reading the line.
    pub(super) fn is_of(&self, user: &Username) -> bool {
        self.split().is_some_and(|(name, _)| name == user.as_str().as_bytes())
    }

    /// The kind of hash in this line, which has been read before; cheaper than reading it again.
    pub(super) fn hash_kind(&self) -> Option<HashKind> {
        let (_, secret) = self.split()?;
        PasswordHash::kind_by_prefix(secret.trim_ascii_start())
    }

    /// The stripped user name and everything behind the first colon; `None` for lines that brokers
    /// skip.
    fn split(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.text.starts_with(b"#") {
            return None;
        }
        let (user, rest) = self.text.split_at_checked(position_of_colon(self.text)?)?;
        Some((user.trim_ascii(), rest.get(1..)?))
    }
}

fn read_secret(secret: &[u8]) -> Result<Secret<'_>, LineProblem> {
    if secret.is_empty() {
        return Err(LineProblem::EmptyPassword);
    }
    if secret.len() > MAX_FIELD_BYTES {
        return Err(LineProblem::PasswordTooLong { bytes: secret.len() });
    }
    let Ok(text) = str::from_utf8(secret) else { return Ok(Secret::Plain(secret)) };
    if PasswordHash::kind_by_prefix(secret).is_some() {
        return Ok(Secret::Hash(PasswordHash::parse(text)?));
    }
    let scheme = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let is_scheme_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    Ok(match scheme {
        Some((name, _)) if is_scheme_name(name) => Secret::Foreign,
        _ => Secret::Plain(secret),
    })
}

fn position_of_colon(text: &[u8]) -> Option<usize> {
    memchr::memchr(b':', text)
}

/// Why a line is no entry, comment or blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// It has text, and no `:` divides a user name from a password.
    #[error("no ':' between a user name and a password")]
    NoColon,
    /// The part before the first `:` is no user name.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// Nothing follows the `:`.
    #[error("no password behind the ':'")]
    EmptyPassword,
    /// The password field is longer than brokers read.
    #[error("the password field has {bytes} bytes; brokers read {MAX_FIELD_BYTES}")]
    PasswordTooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It begins like a hash and is none.
    #[error(transparent)]
    Hash(#[from] ParseHashError),
}

/// Cuts a text into its lines, endings apart.
pub(super) fn lines(mut rest: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        number += 1;
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        let (line, behind) = rest.split_at_checked(end)?;
        rest = behind;
        let text_bytes = match line {
            [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text.len(),
            text => text.len(),
        };
        let (text, ending) = line.split_at_checked(text_bytes)?;
        Some(Line { number, text, ending })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Option<(String, Vec<u8>)>, LineProblem> {
        let line = Line { number: 1, text, ending: b"" };
        Ok(match line.read()? {
            Content::Nothing => None,
            Content::Entry(entry) => Some((
                entry.user.to_owned(),
                match entry.secret {
                    Secret::Plain(plain) => plain.to_vec(),
                    Secret::Foreign => b"<foreign>".to_vec(),
                    Secret::Hash(hash) => hash.to_string().into_bytes(),
                },
            )),
        })
    }

    #[test]
    fn comments_and_blank_lines_hold_nothing() {
        for text in ["", " ", "\t", "#", "# a:b", "#a:$6$", "  # indented"] {
            assert_eq!(read(text.as_bytes()), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn blanks_round_the_fields_are_stripped_as_brokers_do() {
        assert_eq!(read(b" bob : pw "), Ok(Some(("bob".into(), b"pw".to_vec()))));
    }

    #[test]
    fn a_second_colon_ends_the_password() {
        assert_eq!(read(b"bob:se:cret"), Ok(Some(("bob".into(), b"se".to_vec()))));
    }

    #[test]
    fn hashes_of_other_systems_are_not_taken_for_plain_text() {
        for foreign in ["$2y$10$abc", "$1$salt$hash", "$y$j9T$x", "$argon2i$v=19$x"] {
            let line = format!("bob:{foreign}");
            assert_eq!(read(line.as_bytes()), Ok(Some(("bob".into(), b"<foreign>".to_vec()))));
        }
        for plain in ["$", "$ecret", "$$", "$a b$", "pa$$word", "\u{e4}"] {
            let line = format!("bob:{plain}");
            assert_eq!(read(line.as_bytes()), Ok(Some(("bob".into(), plain.into()))));
        }
        assert_eq!(read(b"bob:\xff\xfe"), Ok(Some(("bob".into(), b"\xff\xfe".to_vec()))));
    }

    #[test]
    fn corrupt_lines_are_named() {
        let cases: [(&[u8], LineProblem); 9] = [
            (b"garbage", LineProblem::NoColon),
            (b":x", UsernameError::Empty.into()),
            (b" :x", UsernameError::Empty.into()),
            (b"bob:", LineProblem::EmptyPassword),
            (b"bob: ", LineProblem::EmptyPassword),
            (b"bob::x", LineProblem::EmptyPassword),
            (b"b\xffb:x", UsernameError::NotUtf8.into()),
            (b"b\0b:x", UsernameError::ControlCharacter.into()),
            (b"bob:$6$!$!", ParseHashError::Base64.into()),
        ];
        for (text, why) in cases {
            assert_eq!(read(text), Err(why), "{}", text.escape_ascii());
        }
        let long = [b"bob:".as_slice(), &[b'x'; 1_000_000]].concat();
        assert_eq!(read(&long), Err(LineProblem::PasswordTooLong { bytes: 1_000_000 }));
    }

    #[test]
    fn lines_keep_every_byte() {
        let text = b"a:1\r\n\n#c\nb:2\rx\n\r\nlast";
        let cut: Vec<_> = lines(text).map(|line| (line.number, line.text, line.ending)).collect();
        let expected: [(usize, &[u8], &[u8]); 6] = [
            (1, b"a:1", b"\r\n"),
            (2, b"", b"\n"),
            (3, b"#c", b"\n"),
            (4, b"b:2\rx", b"\n"),
            (5, b"", b"\r\n"),
            (6, b"last", b""),
        ];
        assert_eq!(cut, expected);
    }
}
