//! Texts that differ from client to client: identifiers, user names, topics.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use super::Seed;

/// A text with places that each client fills in for itself.
///
/// | place | what is put there |
/// |---|---|
/// | `%i` | the index of the client, from 0 |
/// | `%c` | its client identifier |
/// | `%u` | its user name |
/// | `%r` | 16 hexadecimal digits that look random, but are a function of seed and index |
/// | `%s` | the seed |
/// | `%%` | a percent sign |
///
/// ```
/// use midge::load::Template;
///
/// let topic: Template = "site/%i/state".parse()?;
/// assert!(topic.differs());
/// assert!("%x".parse::<Template>().is_err());
/// # Ok::<(), midge::load::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Index,
    ClientId,
    UserName,
    Random,
    Seed,
}

/// A percent sign stands before something that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place:?} is no place to fill in; there are %i, %c, %u, %r, %s, and %% for a percent sign"
)]
pub struct TemplateError {
    place: String,
}

/// Who fills a [`Template`] in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) seed: Seed,
    pub(crate) index: u32,
    pub(crate) client_id: &'a str,
    pub(crate) username: &'a str,
}

impl Template {
    /// Whether it gives different texts to different clients.
    pub fn differs(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, Piece::Text(_) | Piece::Seed))
    }

    /// The text of the first client of a run with this seed, called nothing.
    pub fn of_first(&self, seed: Option<u32>) -> String {
        let seed = Seed(seed.unwrap_or_default());
        self.fill_in(Who { seed, index: 0, client_id: "", username: "" })
    }

    /// Whether no two clients have the same text.
    pub(crate) fn is_unique(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Index | Piece::Random))
    }

    /// Whether it asks for the client identifier or the user name.
    pub(crate) fn names_the_client(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::ClientId | Piece::UserName))
    }

    /// The text of one client.
    pub(crate) fn fill_in(&self, who: Who<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::ClientId => text.push_str(who.client_id),
                Piece::UserName => text.push_str(who.username),
                // Writing to a String cannot fail.
                Piece::Index => drop(write!(text, "{}", who.index)),
                Piece::Random => drop(write!(text, "{:016x}", who.seed.session_seed(who.index))),
                Piece::Seed => drop(write!(text, "{}", who.seed)),
            }
        }
        text
    }
}

impl fmt::Display for Template {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('%', "%%"))?,
                Piece::Index => f.write_str("%i")?,
                Piece::ClientId => f.write_str("%c")?,
                Piece::UserName => f.write_str("%u")?,
                Piece::Random => f.write_str("%r")?,
                Piece::Seed => f.write_str("%s")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                plain.push(c);
                continue;
            }
            let piece = match rest.next() {
                Some('%') => {
                    plain.push('%');
                    continue;
                }
                Some('i') => Piece::Index,
                Some('c') => Piece::ClientId,
                Some('u') => Piece::UserName,
                Some('r') => Piece::Random,
                Some('s') => Piece::Seed,
                other => {
                    let place = std::iter::once('%').chain(other).collect();
                    return Err(TemplateError { place });
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Self { pieces: pieces.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_in(text: &str, index: u32) -> String {
        let who = Who { seed: Seed(7), index, client_id: "dev", username: "ann" };
        text.parse::<Template>().unwrap().fill_in(who)
    }

    #[test]
    fn every_place_is_filled_in() {
        assert_eq!(fill_in("a/%i/%c/%u/%s/100%%", 12), "a/12/dev/ann/7/100%");
        assert_eq!(fill_in("", 0), "");
        assert_eq!(fill_in("plain", 0), "plain");
        assert_eq!(fill_in("%r", 1).len(), 16);
        assert_eq!(fill_in("%r", 1), fill_in("%r", 1));
        assert_ne!(fill_in("%r", 1), fill_in("%r", 2));
        let text = "a/%i/%c/%u/%s/%r/100%%";
        assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
    }

    #[test]
    fn what_differs_is_known() {
        for (text, differs, unique) in
            [("a", false, false), ("%s", false, false), ("%u", true, false), ("%i", true, true)]
        {
            let template: Template = text.parse().unwrap();
            assert_eq!((template.differs(), template.is_unique()), (differs, unique), "{text}");
        }
    }

    #[test]
    fn unknown_places_are_refused() {
        for text in ["%", "a%", "%x", "%%%", "%I"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
        assert!("50%".parse::<Template>().unwrap_err().to_string().contains("\"%\""));
    }
}
