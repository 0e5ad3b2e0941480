//! Turns messages into bytes.

use std::{str::Utf8Error, time::SystemTime};

use jiff::tz::TimeZone;

use super::{
    Conversion, Empty, Format, HexCase, JsonTime, Piece,
    clock::{LocalClock, Moment, system_zone},
    csv,
    field::Field,
    json::{self, Stamp, decimals},
    reprint::JsonError,
};
use crate::{cli::stdio::escape_for_terminal, codec::Publish};

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// The reason why a conversion printed nothing: the payload is not of its kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// `%J` needs JSON.
    #[error("the payload is not JSON")]
    NotJson(#[from] JsonError),
    /// `%J` needs JSON, which is always UTF-8.
    #[error("the payload is not JSON")]
    NotUtf8(#[from] Utf8Error),
    /// `%f` needs 4 bytes and `%d` 8.
    #[error("the payload has {len} bytes, a {kind} has {wanted}")]
    WrongLength {
        /// `float` or `double`.
        kind: &'static str,
        /// How many bytes it has.
        wanted: usize,
        /// How many bytes there are.
        len: usize,
    },
}

/// Renders messages by one format.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    clock: LocalClock,
    /// Whether the format prints any time, so that the clock need be read.
    needs_time: bool,
    /// Whether a terminal shows what is printed.
    for_terminal: bool,
}

impl Renderer {
    /// For messages that are printed in the local time of this process.
    pub fn new(format: Format) -> Self {
        let zone = if format.times.is_empty() { TimeZone::UTC } else { system_zone() };
        Self::in_zone(format, zone)
    }

    /// For messages that are printed in the local time of `zone`.
    pub fn in_zone(mut format: Format, zone: TimeZone) -> Self {
        let needs_time = format.pieces.iter().any(Piece::needs_time);
        let clock = LocalClock::new(zone, std::mem::take(&mut format.times));
        Self { format, clock, needs_time, for_terminal: false }
    }

    /// Sets whether control sequences in messages are escaped because a terminal would act on them;
    /// they are not unless told otherwise. Those of the format itself are never escaped.
    #[must_use]
    pub fn for_terminal(self, for_terminal: bool) -> Self {
        Self { for_terminal, ..self }
    }

    /// Appends what is printed for `message`, whose topic alias is resolved, at this time.
    ///
    /// # Errors
    /// The first conversion that the payload is no good for. It appends nothing, everything else is
    /// appended all the same.
    pub fn render(&mut self, message: &Publish<'_>, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        let now = self.needs_time.then(SystemTime::now);
        self.render_pieces(message, now, out)
    }

    /// As [`render`](Self::render), at another time.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_at(
        &mut self,
        message: &Publish<'_>,
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        self.render_pieces(message, Some(now), out)
    }

    #[inline]
    fn render_pieces(
        &mut self,
        message: &Publish<'_>,
        now: Option<SystemTime>,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        if message.payload.is_empty() && !self.format.prints_empty() {
            return Ok(());
        }
        let now = now.map_or(Moment::default(), Moment::from);
        if self.needs_time {
            self.clock.set(now.second);
        }
        let mut outcome = Ok(());
        for piece in &self.format.pieces {
            match piece {
                Piece::Literal(bytes) => match bytes.as_slice() {
                    &[byte] => out.push(byte),
                    bytes => out.extend_from_slice(bytes),
                },
                Piece::Conversion(conversion, field) => {
                    let converted = if self.for_terminal {
                        self.convert_for_terminal(conversion, field, message, now, out)
                    } else {
                        self.convert(conversion, field, message, now, out)
                    };
                    if converted.is_err() && outcome.is_ok() {
                        outcome = converted;
                    }
                }
            }
        }
        if self.format.newline {
            out.push(b'\n');
        }
        outcome
    }

    fn convert_for_terminal(
        &self,
        conversion: &Conversion,
        field: &Field,
        message: &Publish<'_>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        if matches!(conversion, Conversion::Json(..)) {
            // It is as safe for terminals as it stands, and may have colours.
            return self.convert(conversion, field, message, now, out);
        }
        let mut text = Vec::new();
        let converted = self.convert(conversion, field, message, now, &mut text);
        escape_for_terminal(&text, out);
        converted
    }

    #[inline]
    fn convert(
        &self,
        conversion: &Conversion,
        field: &Field,
        message: &Publish<'_>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        // What a flood is usually printed with: nothing of the rest is worth its calls here.
        match conversion {
            Conversion::Topic if field.is_bare() => out.extend_from_slice(message.topic.as_bytes()),
            Conversion::Payload | Conversion::PayloadOrNull
                if field.is_bare() && !message.payload.is_empty() =>
            {
                out.extend_from_slice(message.payload);
            }
            _ => return self.convert_any(conversion, field, message, now, out),
        }
        Ok(())
    }

    #[inline(never)]
    fn convert_any(
        &self,
        conversion: &Conversion,
        field: &Field,
        message: &Publish<'_>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), PayloadError> {
        let payload = message.payload;
        let properties = message.properties;
        let mut integer = |value: Option<u32>| match value {
            Some(value) => field.integer(value, out),
            None => field.absent_integer(out),
        };
        match *conversion {
            Conversion::Topic => field.text(message.topic.as_bytes(), out),
            Conversion::Payload => field.payload(payload, out),
            Conversion::PayloadOrNull if payload.is_empty() => out.extend_from_slice(b"(null)"),
            Conversion::PayloadOrNull => out.extend_from_slice(payload),
            Conversion::Hex(HexCase::Lower, group) => field.hex(payload, LOWER, group, out),
            Conversion::Hex(HexCase::Upper, group) => field.hex(payload, UPPER, group, out),
            Conversion::Float => {
                let bytes = exactly("float", payload)?;
                field.float(f32::from_ne_bytes(bytes).into(), out);
            }
            Conversion::Double => {
                let bytes = exactly("double", payload)?;
                field.float(f64::from_ne_bytes(bytes), out);
            }
            Conversion::PayloadLength => field.integer(payload.len(), out),
            Conversion::PacketId => field.integer(message.packet_id.map_or(0, |id| id.get()), out),
            Conversion::Qos => out.push(b'0' + u8::from(message.qos)),
            Conversion::Retain => out.push(b'0' + u8::from(message.retain)),
            Conversion::TopicAlias => integer(properties.topic_alias().map(u32::from)),
            Conversion::MessageExpiryInterval => integer(properties.message_expiry_interval()),
            Conversion::PayloadFormatIndicator => {
                integer(properties.payload_format_indicator().map(u32::from));
            }
            Conversion::SubscriptionIdentifier => {
                integer(properties.subscription_identifiers().next());
            }
            Conversion::ContentType => match properties.content_type() {
                Some(text) => field.text(text.as_bytes(), out),
                None => field.absent_text(out),
            },
            Conversion::ResponseTopic => {
                if let Some(text) = properties.response_topic() {
                    field.text(text.as_bytes(), out);
                }
            }
            Conversion::CorrelationData => {
                out.extend_from_slice(properties.correlation_data().unwrap_or_default());
            }
            Conversion::UserProperties => {
                for (at, (name, value)) in properties.user_properties().enumerate() {
                    out.extend_from_slice(if at > 0 { b" " } else { b"" });
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    out.extend_from_slice(value.as_bytes());
                }
            }
            Conversion::Time(pattern) => field.text(self.clock.text(pattern), out),
            Conversion::Nanoseconds => out.extend_from_slice(&decimals::<9>(now.nanosecond)),
            Conversion::UnixTime => {
                Field::default().integer(now.second, out);
                out.push(b'.');
                out.extend_from_slice(&decimals::<9>(now.nanosecond));
            }
            Conversion::Json(payload, time) => {
                let stamp = self.stamp(time, now);
                let style = json::Style { pretty: self.format.pretty, colors: self.format.colors };
                json::message(message, stamp, payload, style, out)?;
            }
            Conversion::Csv(time) => csv::row(message, self.stamp(time, now), out),
        }
        Ok(())
    }

    fn stamp(&self, time: JsonTime, now: Moment) -> Stamp<'_> {
        Stamp {
            second: self.clock.text(time.second),
            microsecond: now.nanosecond / 1000,
            offset: self.clock.text(time.offset),
        }
    }
}

impl Format {
    fn prints_empty(&self) -> bool {
        match self.empty {
            Empty::Format => true,
            Empty::Nothing => false,
            Empty::NothingWithoutNewline => self.newline,
        }
    }
}

impl Piece {
    fn needs_time(&self) -> bool {
        matches!(
            self,
            Self::Conversion(
                Conversion::Time(_)
                    | Conversion::Nanoseconds
                    | Conversion::UnixTime
                    | Conversion::Json(..)
                    | Conversion::Csv(_),
                _
            )
        )
    }
}

/// The bytes of a number, if the payload has just as many.
fn exactly<const BYTES: usize>(
    kind: &'static str,
    payload: &[u8],
) -> Result<[u8; BYTES], PayloadError> {
    let wrong = |_| PayloadError::WrongLength { kind, wanted: BYTES, len: payload.len() };
    payload.try_into().map_err(wrong)
}
