//! The payload of `%J`: JSON of somebody else, laid out like ours.
//!
//! Its text is kept, so that no number loses digits and no member its place; only the space between
//! its tokens changes, and what a terminal would act on is escaped.

use serde::de::IgnoredAny;

use super::{
    escape::{escape_more, is_shown},
    json::line_break,
};

/// What lies deeper than this is not laid out on lines of its own: the indentation of a hostile
/// payload would be larger than memory. At most 64, the bits of [`Reprinter::objects`].
const MAX_LAID_OUT: usize = 32;

/// The reason why a payload cannot stand in JSON.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It breaks the grammar (RFC 8259).
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// One of its strings has half of a character, which few decoders take.
    #[error("\\u{unit:04x} is half of a surrogate pair")]
    LoneSurrogate {
        /// The half.
        unit: u16,
    },
}

/// Appends the JSON value `json`, as a member of an object of this depth. What was appended before
/// an error is of no use.
pub(super) fn reprint(
    json: &str,
    depth: usize,
    pretty: bool,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    // A byte order mark is no JSON, but parsers may ignore it (RFC 8259 §8.1).
    let json = json.strip_prefix('\u{feff}').unwrap_or(json);
    serde_json::from_str::<IgnoredAny>(json)?;
    let is_shown = is_shown(json);
    Reprinter { depth, objects: 0, pretty, is_shown, out }.value(json)
}

struct Reprinter<'o> {
    depth: usize,
    /// For each open array (0) and object (1) that is laid out; the innermost is the lowest bit.
    objects: u64,
    pretty: bool,
    /// Whether nothing in it needs an escape that its author need not have written.
    is_shown: bool,
    out: &'o mut Vec<u8>,
}

impl Reprinter<'_> {
    /// Prints a value that is known to be valid.
    fn value(&mut self, json: &str) -> Result<(), JsonError> {
        let mut rest = json;
        while let Some(at) = rest.bytes().position(|byte| self.is_stop(byte)) {
            let (copied, stop) = rest.split_at(at);
            self.out.extend_from_slice(copied.as_bytes());
            rest = match stop.as_bytes().first() {
                Some(b'"') => self.string(stop)?,
                Some(&byte) => {
                    let after = stop.get(1..).unwrap_or_default();
                    if !byte.is_ascii_whitespace() {
                        self.structure(byte, after);
                    }
                    after
                }
                None => stop,
            };
        }
        self.out.extend_from_slice(rest.as_bytes());
        Ok(())
    }

    /// Whether the byte, outside of strings, is more than copied.
    fn is_stop(&self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'"' => true,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => self.pretty,
            _ => false,
        }
    }

    /// Prints the string that `rest` begins with, and returns what is behind it.
    fn string<'j>(&mut self, rest: &'j str) -> Result<&'j str, JsonError> {
        let (string, after) = rest.split_at(string_len(rest)?);
        if self.is_shown {
            self.out.extend_from_slice(string.as_bytes());
        } else {
            escape_more(string, self.out);
        }
        Ok(after)
    }

    /// Prints a structural character with the space around it.
    fn structure(&mut self, byte: u8, after: &str) {
        let lays_out = self.depth < MAX_LAID_OUT;
        let in_object = self.objects & 1 == 1;
        match byte {
            b'{' | b'[' => {
                self.out.push(byte);
                self.depth += 1;
                if lays_out {
                    self.objects = self.objects << 1 | u64::from(byte == b'{');
                    let is_empty = after.trim_ascii_start().starts_with('}');
                    if byte == b'{' && !is_empty {
                        line_break(self.depth, self.out);
                    }
                }
            }
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth < MAX_LAID_OUT {
                    self.objects >>= 1;
                    if byte == b'}' {
                        line_break(self.depth, self.out);
                    }
                }
                self.out.push(byte);
            }
            b',' if self.depth <= MAX_LAID_OUT => {
                self.out.push(b',');
                if in_object {
                    line_break(self.depth, self.out);
                } else {
                    self.out.push(b' ');
                }
            }
            b':' if self.depth <= MAX_LAID_OUT => self.out.extend_from_slice(b":\t"),
            other => self.out.push(other),
        }
    }
}

/// The length of the string that `rest` begins with, with its quotation marks.
fn string_len(rest: &str) -> Result<usize, JsonError> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at) {
            Some(b'\\') => match utf16_escape(bytes, at) {
                None => at += 2,
                Some(unit @ 0xd800..=0xdbff) => match utf16_escape(bytes, at + 6) {
                    Some(0xdc00..=0xdfff) => at += 12,
                    _ => return Err(JsonError::LoneSurrogate { unit }),
                },
                Some(unit @ 0xdc00..=0xdfff) => return Err(JsonError::LoneSurrogate { unit }),
                Some(_) => at += 6,
            },
            Some(b'"') => return Ok(at + 1),
            Some(_) => at += 1,
            // Never in valid JSON.
            None => return Ok(rest.len()),
        }
    }
}

/// The number of a `\uXXXX` at this place.
fn utf16_escape(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}
