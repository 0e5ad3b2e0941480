//! The output formats: what is printed for a received message.
//!
//! A format is text with conversions (`%p` the payload), times (`@H` the hour) and escapes (`\n`),
//! in the language of mosquitto_sub's `-F`. [`Format::parse`] reads it once; a [`Renderer`] then
//! turns message after message into bytes. Plain and verbose output are formats too, so that there
//! is one path for all.
//!
//! - `parse`: the grammar
//! - `render`: the conversions
//! - `field`: widths, precisions and padding
//! - `clock`: local time, rendered once per second
//! - `json`: the JSON object of `%j` and `%J`; `escape` its strings, `reprint` its payload

mod clock;
mod escape;
mod field;
mod json;
mod manual;
mod parse;
mod render;
mod reprint;

pub use manual::MANUAL;
pub use parse::FormatError;
pub use render::{PayloadError, Renderer};
pub use reprint::JsonError;

use field::{Field, Group};

/// What is printed for each message.
#[derive(Clone, Debug)]
pub struct Format {
    pieces: Vec<Piece>,
    /// The strftime patterns of the pieces that print local time.
    times: Vec<String>,
    empty: Empty,
    newline: bool,
    pretty: bool,
}

/// What is printed for a message without payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    /// The format, as for any other.
    Format,
    /// Nothing, not even a newline.
    Nothing,
    /// Nothing, if no newline would follow.
    NothingWithoutNewline,
}

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes printed as they are.
    Literal(Vec<u8>),
    /// Something that depends on the message or the time.
    Conversion(Conversion, Field),
}

/// What a conversion stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conversion {
    Topic,
    Payload,
    /// The payload, `(null)` when it is empty.
    PayloadOrNull,
    Hex(HexCase, Option<Group>),
    Float,
    Double,
    PayloadLength,
    PacketId,
    Qos,
    Retain,
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiryInterval,
    PayloadFormatIndicator,
    UserProperties,
    ResponseTopic,
    SubscriptionIdentifier,
    /// Local time by this of the patterns.
    Time(TimeIndex),
    /// The nanoseconds of the second.
    Nanoseconds,
    UnixTime,
    Json(JsonPayload, JsonTime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HexCase {
    Lower,
    Upper,
}

/// How the payload stands in the JSON object of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonPayload {
    /// As a string.
    Text,
    /// As the JSON value that it is.
    Value,
}

/// The patterns that the time of a JSON object is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JsonTime {
    second: TimeIndex,
    offset: TimeIndex,
}

/// A place in [`Format::times`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeIndex(usize);

impl Format {
    /// The payload, and nothing at all for a message without one.
    pub fn plain() -> Self {
        let payload = Piece::Conversion(Conversion::Payload, Field::default());
        Self { empty: Empty::Nothing, ..Self::of(vec![payload], Vec::new()) }
    }

    /// The topic, a space and the payload, which is `(null)` when it is empty.
    pub fn verbose() -> Self {
        let pieces = vec![
            Piece::Conversion(Conversion::Topic, Field::default()),
            Piece::Literal(b" ".to_vec()),
            Piece::Conversion(Conversion::PayloadOrNull, Field::default()),
        ];
        Self { empty: Empty::NothingWithoutNewline, ..Self::of(pieces, Vec::new()) }
    }

    fn of(pieces: Vec<Piece>, times: Vec<String>) -> Self {
        Self { pieces, times, empty: Empty::Format, newline: true, pretty: false }
    }

    /// Sets whether a newline follows each message; it does unless told otherwise.
    #[must_use]
    pub fn newline(self, newline: bool) -> Self {
        Self { newline, ..self }
    }

    /// Sets whether JSON objects are laid out for people, on several lines; they are not unless
    /// told otherwise.
    #[must_use]
    pub fn pretty(self, pretty: bool) -> Self {
        Self { pretty, ..self }
    }
}
