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
//! - `csv`: the row of `--csv`

mod clock;
mod csv;
mod escape;
mod field;
mod json;
mod manual;
mod parse;
mod render;
mod reprint;

pub use json::{base64, user_properties};
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
    colors: bool,
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
    Csv(JsonTime),
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

    /// The JSON object of `%j`.
    pub fn json() -> Self {
        let (time, times) = JsonTime::patterns();
        let object = Conversion::Json(JsonPayload::Text, time);
        Self::of(vec![Piece::Conversion(object, Field::default())], times)
    }

    /// Comma-separated values, one row for each message; [`header`](Self::header) has the names of
    /// the columns.
    pub fn csv() -> Self {
        let (time, times) = JsonTime::patterns();
        let row = Conversion::Csv(time);
        Self::of(vec![Piece::Conversion(row, Field::default())], times)
    }

    /// The line that stands before the first message, for formats that have one.
    pub fn header(&self) -> Option<&'static str> {
        let is_row = |piece: &Piece| matches!(piece, Piece::Conversion(Conversion::Csv(_), _));
        self.pieces.iter().any(is_row).then_some(csv::HEADER)
    }

    fn of(pieces: Vec<Piece>, times: Vec<String>) -> Self {
        let (empty, newline, pretty, colors) = (Empty::Format, true, false, false);
        Self { pieces, times, empty, newline, pretty, colors }
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

    /// Sets whether the topics of verbose output and the names in JSON are coloured; they are not
    /// unless told otherwise.
    #[must_use]
    pub fn colors(mut self, colors: bool) -> Self {
        self.colors = colors;
        if colors && self.empty == Empty::NothingWithoutNewline {
            // The topic of verbose output, and the space behind it.
            let space = Piece::Literal([COLOR_END, b" "].concat());
            self.pieces.insert(0, Piece::Literal(TOPIC_COLOR.to_vec()));
            self.pieces.splice(2..3, [space]);
        }
        self
    }
}

impl JsonTime {
    /// The patterns, and where each of them is.
    fn patterns() -> (Self, Vec<String>) {
        let times = vec![SECOND_PATTERN.to_owned(), OFFSET_PATTERN.to_owned()];
        (Self { second: TimeIndex(0), offset: TimeIndex(1) }, times)
    }
}

const SECOND_PATTERN: &str = "%Y-%m-%dT%H:%M:%S";
const OFFSET_PATTERN: &str = "%z";

const TOPIC_COLOR: &[u8] = b"\x1b[36m";
const NAME_COLOR: &[u8] = b"\x1b[34m";
const COLOR_END: &[u8] = b"\x1b[0m";
