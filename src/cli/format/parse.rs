//! The grammar of a format, and why a format is refused.
//!
//! ```text
//! format     = *( literal / conversion / time / escape )
//! conversion = "%" ["-"] ["0"] [width] ["." [precision]] [separator] letter
//! time       = "@" ( "@" / "N" / any character, as after the "%" of strftime )
//! escape     = "\" one of \ 0 a e n r t v
//! ```
//!
//! The separator, any punctuation or a space, stands between the groups of hexadecimal digits and
//! is ignored elsewhere.

use std::{
    iter::{Enumerate, Peekable},
    num::NonZeroUsize,
    str::{Chars, FromStr},
};

use thiserror::Error;

use super::{
    Conversion, Format, HexCase, JsonPayload, JsonTime, OFFSET_PATTERN, Piece, SECOND_PATTERN,
    TimeIndex,
    field::{Field, Group},
};

/// The largest width and precision: the size of the largest message.
const MAX_NUMBER: usize = 268_435_455;

/// The conversions of strftime in the C library that need no modifier.
const STRFTIME: &str = "%aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ";

/// The reason why a format is refused. Positions count characters, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The format ends inside a conversion.
    #[error("the conversion at character {position} is not finished; `%%` prints a percent sign")]
    UnfinishedConversion {
        /// Where the percent sign is.
        position: usize,
    },
    /// A conversion ends in something that is none.
    #[error(
        "{found:?} at character {position} is not a conversion; those are A C D E F I J P R S U X \
         d f j l m p q r t x, and `%%` prints a percent sign"
    )]
    UnknownConversion {
        /// Where the character is.
        position: usize,
        /// The character.
        found: char,
    },
    /// A width or a precision is larger than any message.
    #[error("the number at character {position} is larger than {MAX_NUMBER}")]
    NumberTooLarge {
        /// Where the number begins.
        position: usize,
    },
    /// The format ends in an at sign.
    #[error(
        "the `@` at character {position} needs a conversion of strftime, as in `@H`; `@@` prints \
         an at sign"
    )]
    UnfinishedTime {
        /// Where the at sign is.
        position: usize,
    },
    /// The format ends in a backslash.
    #[error("the `\\` at character {position} is not finished; `\\\\` prints a backslash")]
    UnfinishedEscape {
        /// Where the backslash is.
        position: usize,
    },
    /// A backslash stands before something that is no escape.
    #[error(
        "`\\` before {found:?} at character {position} is not an escape; those are \\0 \\a \\e \
         \\n \\r \\t \\v, and `\\\\` prints a backslash"
    )]
    UnknownEscape {
        /// Where the character after the backslash is.
        position: usize,
        /// The character.
        found: char,
    },
}

impl Format {
    /// Reads a format in the language of mosquitto_sub.
    ///
    /// # Errors
    /// [`FormatError`] for whatever mosquitto_sub refuses, and for numbers beyond all reason.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut parser = Parser {
            rest: text.chars().enumerate().peekable(),
            pieces: Vec::new(),
            times: Vec::new(),
        };
        parser.format()?;
        Ok(Self::of(parser.pieces, parser.times))
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse(text)
    }
}

struct Parser<'a> {
    rest: Peekable<Enumerate<Chars<'a>>>,
    pieces: Vec<Piece>,
    times: Vec<String>,
}

impl Parser<'_> {
    fn format(&mut self) -> Result<(), FormatError> {
        while let Some((at, c)) = self.rest.next() {
            let position = at + 1;
            match c {
                '%' => self.conversion(position)?,
                '@' => self.time(position)?,
                '\\' => self.escape(position)?,
                c => self.literal(c),
            }
        }
        Ok(())
    }

    fn conversion(&mut self, start: usize) -> Result<(), FormatError> {
        let left = self.take('-');
        let zero = self.take('0');
        let width = self.number()?.unwrap_or(0);
        let precision = if self.take('.') { Some(self.number()?.unwrap_or(0)) } else { None };
        let separator = self.rest.next_if(|&(_, c)| is_separator(c)).map(|(_, c)| c);
        let (at, letter) =
            self.rest.next().ok_or(FormatError::UnfinishedConversion { position: start })?;
        let field = Field { left, zero, width, precision };
        let conversion = match letter {
            '%' => {
                self.literal('%');
                return Ok(());
            }
            't' => Conversion::Topic,
            'p' => Conversion::Payload,
            'x' => Conversion::Hex(HexCase::Lower, group(precision, separator)),
            'X' => Conversion::Hex(HexCase::Upper, group(precision, separator)),
            'f' => Conversion::Float,
            'd' => Conversion::Double,
            'l' => Conversion::PayloadLength,
            'm' => Conversion::PacketId,
            'q' => Conversion::Qos,
            'r' => Conversion::Retain,
            'A' => Conversion::TopicAlias,
            'C' => Conversion::ContentType,
            'D' => Conversion::CorrelationData,
            'E' => Conversion::MessageExpiryInterval,
            'F' => Conversion::PayloadFormatIndicator,
            'P' => Conversion::UserProperties,
            'R' => Conversion::ResponseTopic,
            'S' => Conversion::SubscriptionIdentifier,
            'I' => Conversion::Time(self.pattern("%Y-%m-%dT%H:%M:%S%z")),
            'U' => Conversion::UnixTime,
            'j' => Conversion::Json(JsonPayload::Text, self.json_time()),
            'J' => Conversion::Json(JsonPayload::Value, self.json_time()),
            found => return Err(FormatError::UnknownConversion { position: at + 1, found }),
        };
        self.pieces.push(Piece::Conversion(conversion, field));
        Ok(())
    }

    fn time(&mut self, position: usize) -> Result<(), FormatError> {
        match self.rest.next() {
            None => return Err(FormatError::UnfinishedTime { position }),
            Some((_, '@')) => self.literal('@'),
            Some((_, 'N')) => self.push(Conversion::Nanoseconds),
            Some((_, c)) if STRFTIME.contains(c) => {
                let conversion = Conversion::Time(self.pattern(&format!("%{c}")));
                self.push(conversion);
            }
            // What strftime does not know, it prints as it is.
            Some((_, c)) => {
                self.literal('%');
                self.literal(c);
            }
        }
        Ok(())
    }

    fn escape(&mut self, position: usize) -> Result<(), FormatError> {
        let (at, c) = self.rest.next().ok_or(FormatError::UnfinishedEscape { position })?;
        self.literal(match c {
            '\\' => '\\',
            '0' => '\0',
            'a' => '\x07',
            'e' => '\x1b',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            found => return Err(FormatError::UnknownEscape { position: at + 1, found }),
        });
        Ok(())
    }

    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if(|&(_, c)| c == wanted).is_some()
    }

    fn number(&mut self) -> Result<Option<usize>, FormatError> {
        let mut number = None;
        let position = self.rest.peek().map_or(0, |&(at, _)| at + 1);
        while let Some((_, digit)) = self.rest.next_if(|(_, c)| c.is_ascii_digit()) {
            let digit = digit.to_digit(10).map_or(0, |digit| digit as usize);
            let value = number.unwrap_or(0) * 10 + digit;
            if value > MAX_NUMBER {
                return Err(FormatError::NumberTooLarge { position });
            }
            number = Some(value);
        }
        Ok(number)
    }

    fn push(&mut self, conversion: Conversion) {
        self.pieces.push(Piece::Conversion(conversion, Field::default()));
    }

    fn literal(&mut self, c: char) {
        if !matches!(self.pieces.last(), Some(Piece::Literal(_))) {
            self.pieces.push(Piece::Literal(Vec::new()));
        }
        if let Some(Piece::Literal(bytes)) = self.pieces.last_mut() {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn json_time(&mut self) -> JsonTime {
        JsonTime { second: self.pattern(SECOND_PATTERN), offset: self.pattern(OFFSET_PATTERN) }
    }

    fn pattern(&mut self, pattern: &str) -> TimeIndex {
        let known = self.times.iter().position(|time| time == pattern);
        TimeIndex(known.unwrap_or_else(|| {
            self.times.push(pattern.to_owned());
            self.times.len() - 1
        }))
    }
}

fn is_separator(c: char) -> bool {
    c == ' ' || (c.is_ascii_punctuation() && c != '%')
}

/// A precision of hexadecimal digits is the length of their groups.
fn group(precision: Option<usize>, separator: Option<char>) -> Option<Group> {
    let len = NonZeroUsize::new(precision?)?;
    Some(Group { len, separator: separator.and_then(|c| u8::try_from(c).ok()).unwrap_or(b' ') })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> FormatError {
        Format::parse(text).expect_err(text)
    }

    #[test]
    fn what_is_unfinished_is_refused_where_it_begins() {
        for text in ["%", "%-", "%0", "%5", "%5.", "%5.3", "%.2:", "%-08.4 "] {
            assert_eq!(
                error(&format!("ü{text}")),
                FormatError::UnfinishedConversion { position: 2 }
            );
        }
        assert_eq!(error("a@"), FormatError::UnfinishedTime { position: 2 });
        assert_eq!(error("a\\"), FormatError::UnfinishedEscape { position: 2 });
    }

    #[test]
    fn what_is_unknown_is_refused_where_it_stands() {
        let unknown = |position, found| FormatError::UnknownConversion { position, found };
        assert_eq!(error("%k"), unknown(2, 'k'));
        assert_eq!(error("ü%-05.2:ü"), unknown(9, 'ü'));
        assert_eq!(error("%0-4x"), unknown(4, '4'));
        assert_eq!(error("%::x"), unknown(3, ':'));
        assert_eq!(error("\\q"), FormatError::UnknownEscape { position: 2, found: 'q' });
        assert_eq!(error("\\\n"), FormatError::UnknownEscape { position: 2, found: '\n' });
    }

    #[test]
    fn numbers_end_where_messages_do() {
        assert!(Format::parse("%268435455.268435455t").is_ok());
        for text in ["%268435456p", "%99999999999999999999999p", "%1.268435456t"] {
            assert!(matches!(error(text), FormatError::NumberTooLarge { .. }), "{text}");
        }
    }

    #[test]
    fn literals_escapes_and_unknown_times_become_one_piece() {
        let format = Format::parse("ü%%@@@!\\0\\a\\e\\n\\r\\t\\v\\\\").unwrap();
        let literal = Piece::Literal("ü%@%!\0\x07\x1b\n\r\t\x0b\\".as_bytes().to_vec());
        assert_eq!(format.pieces, [literal]);
    }

    #[test]
    fn a_separator_may_stand_before_any_conversion() {
        for separator in (' '..='~').filter(|&c| is_separator(c)) {
            for text in [format!("%{separator}t"), format!("%-05.2{separator}X")] {
                assert!(Format::parse(&text).is_ok(), "{text}");
            }
        }
    }
}
