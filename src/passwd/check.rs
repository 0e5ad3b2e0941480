//! Finding every line that some broker rejects.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::hash::HashKind;
use super::line::{Content, LineProblem, Secret, lines};

/// Something in a password file that some broker does not read as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The user of the entry; `None` when the line is no entry.
    pub user: Option<String>,
    /// What is the matter.
    pub problem: Problem,
}

/// What is the matter with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The line is neither entry, comment nor blank.
    #[error(transparent)]
    Corrupt(LineProblem),
    /// The user has an entry already.
    #[error("the user stands in line {first_line} already")]
    Duplicate {
        /// The line of the first entry.
        first_line: usize,
    },
    /// The password stands in plain text.
    #[error("the password is in plain text")]
    PlainText,
    /// The hash is of a kind that no broker reads.
    #[error("the hash is of an unknown kind")]
    ForeignHash,
    /// A `$6$` or `$7$` hash has the 64-byte salt of mosquitto 2.1.
    #[error("the salt has 64 bytes")]
    LongSalt,
    /// The hash is argon2id.
    #[error("the hash is argon2id")]
    Argon2id,
    /// Text behind a second `:`, which brokers drop.
    #[error("brokers drop the text behind the second ':'")]
    TrailingField,
}

impl Problem {
    /// The brokers that reject a line with this problem.
    pub const fn rejected_by(&self) -> Rejection {
        match self {
            Self::Corrupt(_) | Self::PlainText | Self::ForeignHash => Rejection::All,
            Self::Duplicate { .. } => Rejection::From21,
            Self::LongSalt => Rejection::Before21,
            Self::Argon2id => Rejection::WithoutArgon2,
            Self::TrailingField => Rejection::None,
        }
    }
}

/// The brokers that reject a line. Up to 2.0 they leave out the user and go on; from 2.1 on they
/// refuse to start, and stop when the file is reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// No broker.
    None,
    /// Brokers before 2.1.
    Before21,
    /// Brokers before 2.1, and later ones that were built without argon2.
    WithoutArgon2,
    /// Brokers from 2.1 on.
    From21,
    /// Every broker.
    All,
}

impl Rejection {
    /// Whether current brokers (2.1, built with argon2) are among them.
    pub const fn includes_current(self) -> bool {
        match self {
            Self::From21 | Self::All => true,
            Self::None | Self::Before21 | Self::WithoutArgon2 => false,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "accepted by every broker",
            Self::Before21 => "rejected by brokers before 2.1",
            Self::WithoutArgon2 => {
                "rejected by brokers before 2.1 and by those built without argon2"
            }
            Self::From21 => "rejected by brokers from 2.1 on",
            Self::All => "rejected by every broker",
        })
    }
}

/// Reads every line of a password file and reports all that some broker of the 2.x line rejects,
/// in the order of the lines.
///
/// ```
/// use midge::passwd::{Problem, check};
///
/// let findings = check(b"# staff\nalice:secret\n");
/// assert_eq!(findings.len(), 1);
/// assert_eq!((findings[0].line, findings[0].problem), (2, Problem::PlainText));
/// ```
pub fn check(text: &[u8]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first_lines = HashMap::new();
    for line in lines(text) {
        let entry = match line.read() {
            Ok(Content::Nothing) => continue,
            Ok(Content::Entry(entry)) => entry,
            Err(problem) => {
                let problem = Problem::Corrupt(problem);
                findings.push(Finding { line: line.number, user: None, problem });
                continue;
            }
        };
        let mut found = |problem| {
            let user = Some(entry.user.to_owned());
            findings.push(Finding { line: entry.line, user, problem });
        };
        match &entry.secret {
            Secret::Plain(_) => found(Problem::PlainText),
            Secret::Foreign => found(Problem::ForeignHash),
            Secret::Hash(hash) if hash.has_long_salt() => found(Problem::LongSalt),
            Secret::Hash(hash) if hash.kind() == HashKind::Argon2id => found(Problem::Argon2id),
            Secret::Hash(_) => {}
        }
        if entry.has_trailing_field {
            found(Problem::TrailingField);
        }
        let first_line = *first_lines.entry(entry.user).or_insert(entry.line);
        if first_line != entry.line {
            found(Problem::Duplicate { first_line });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::stored::ParseHashError;
    use super::*;

    #[test]
    fn every_line_is_reported_with_its_problem() {
        let digest = format!("{}==", "A".repeat(86));
        let salt = format!("{}==", "A".repeat(86));
        let text = format!(
            "# comment\n\
             good:$7$101$AAAAAAAAAAAAAAAA${digest}\n\
             plain:secret\n\
             garbage\n\
             long:$7$1000${salt}${digest}\n\
             good:$6$AAAAAAAAAAAAAAAA${digest}:note\n\
             new:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA\n\
             bad:$6$AAAA${digest}\n\
             other:$2y$10$x\n"
        );
        let found: Vec<_> = check(text.as_bytes())
            .into_iter()
            .map(|finding| (finding.line, finding.user.unwrap_or_default(), finding.problem))
            .collect();
        let bad_salt = ParseHashError::SaltLength { bytes: 3 };
        let expected = [
            (3, "plain", Problem::PlainText),
            (4, "", Problem::Corrupt(LineProblem::NoColon)),
            (5, "long", Problem::LongSalt),
            (6, "good", Problem::TrailingField),
            (6, "good", Problem::Duplicate { first_line: 2 }),
            (7, "new", Problem::Argon2id),
            (8, "", Problem::Corrupt(bad_salt.into())),
            (9, "other", Problem::ForeignHash),
        ];
        assert_eq!(found, expected.map(|(line, user, problem)| (line, user.to_owned(), problem)));
    }

    #[test]
    fn a_sound_file_has_no_finding() {
        assert_eq!(check(b""), []);
        assert_eq!(check(b"# only\n\n#comments"), []);
    }
}
