//! The JSON object of a message: `%j` and `%J`.
//!
//! Members and their order are those of mosquitto 2.1. Nothing is ever cut, and whatever is no text
//! goes, in base64, into a member whose name ends in `_base64`: a line is always valid JSON.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{COLOR_END, JsonPayload, NAME_COLOR, PayloadError, escape::escape, reprint::reprint};
use crate::codec::{PropertiesRef, Property, PropertyValue, Publish};

/// How many bytes are encoded together: base64 has no padding inside only for multiples of 3.
const BASE64_CHUNK_BYTES: usize = 3 * 256;

/// When a message was printed, in local time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// `2026-11-20T11:30:25`.
    pub(super) second: &'a [u8],
    /// Within the second.
    pub(super) microsecond: u32,
    /// `+0100`.
    pub(super) offset: &'a [u8],
}

/// How objects look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// On several lines.
    pub(super) pretty: bool,
    /// With coloured names.
    pub(super) colors: bool,
}

/// Appends the object of `message`, or nothing if its payload cannot stand in it.
pub(super) fn message(
    message: &Publish<'_>,
    stamp: Stamp<'_>,
    payload: JsonPayload,
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), PayloadError> {
    let start = out.len();
    let mut object = Writer { out, style, depth: 0 };
    object.open();
    object.key("tst");
    object.stamp(stamp);
    object.key("topic");
    object.string(message.topic);
    object.key("qos");
    object.integer(u8::from(message.qos));
    object.key("retain");
    object.out.extend_from_slice(if message.retain { b"true" } else { b"false" });
    object.key("payloadlen");
    object.integer(message.payload.len());
    if let Some(id) = message.packet_id {
        object.key("mid");
        object.integer(id.get());
    }
    if !message.properties.is_empty() {
        object.key("properties");
        object.properties(message.properties);
    }
    let written = object.payload(message.payload, payload);
    match written {
        Ok(()) => object.close(),
        Err(_) => out.truncate(start),
    }
    written
}

/// User properties as they stand in the object of a message: an array of objects with one member
/// each.
pub fn user_properties(properties: PropertiesRef<'_>) -> String {
    let mut out = Vec::new();
    let style = Style { pretty: false, colors: false };
    Writer { out: &mut out, style, depth: 0 }.user_property_array(properties);
    // Made of strings and ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// Bytes as they stand in the object of a message, but for the quotation marks.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Begins a line that is indented this deep.
pub(super) fn line_break(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + depth, b'\t');
}

/// Writes objects.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    style: Style,
    depth: usize,
}

impl Writer<'_> {
    fn open(&mut self) {
        self.out.push(b'{');
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        if self.style.pretty {
            line_break(self.depth, self.out);
        }
        self.out.push(b'}');
    }

    /// Begins a member; `key` needs no escapes.
    fn key(&mut self, key: &str) {
        self.name(key, "");
    }

    /// As [`key`](Self::key), for the base64 of what is no text.
    fn base64(&mut self, key: &str, bytes: &[u8]) {
        self.name(key, "_base64");
        self.out.push(b'"');
        let mut text = [0; BASE64_CHUNK_BYTES / 3 * 4];
        for chunk in bytes.chunks(BASE64_CHUNK_BYTES) {
            // The text of a chunk always fits.
            let len = STANDARD.encode_slice(chunk, &mut text).unwrap_or(0);
            self.out.extend_from_slice(text.get(..len).unwrap_or_default());
        }
        self.out.push(b'"');
    }

    fn name(&mut self, key: &str, suffix: &str) {
        self.before_member();
        if self.style.colors {
            self.out.extend_from_slice(NAME_COLOR);
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        self.out.push(b'"');
        if self.style.colors {
            self.out.extend_from_slice(COLOR_END);
        }
        self.out.push(b':');
        self.after_key();
    }

    fn before_member(&mut self) {
        // Whatever a value ends in, it is not an opening brace.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        if self.style.pretty {
            line_break(self.depth, self.out);
        }
    }

    fn after_key(&mut self) {
        if self.style.pretty {
            self.out.push(b'\t');
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        escape(text, self.out);
        self.out.push(b'"');
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn stamp(&mut self, stamp: Stamp<'_>) {
        self.out.push(b'"');
        self.out.extend_from_slice(stamp.second);
        self.out.push(b'.');
        self.out.extend_from_slice(&decimals::<6>(stamp.microsecond));
        self.out.extend_from_slice(stamp.offset);
        self.out.push(b'"');
    }

    /// Properties in the order of the wire, those of one kind together at the place of the first.
    fn properties(&mut self, properties: PropertiesRef<'_>) {
        self.open();
        let (mut user_properties, mut identifiers) = (true, true);
        for (property, value) in properties.iter() {
            match (property, value) {
                (Property::UserProperty, _) => {
                    if std::mem::take(&mut user_properties) {
                        self.user_properties(properties);
                    }
                }
                (Property::SubscriptionIdentifier, _) => {
                    if std::mem::take(&mut identifiers) {
                        self.subscription_identifiers(properties);
                    }
                }
                (property, value) => self.property(property, value),
            }
        }
        self.close();
    }

    fn property(&mut self, property: Property, value: PropertyValue<'_>) {
        let key = property.name();
        match value {
            PropertyValue::Byte(value) => {
                self.key(key);
                self.integer(value);
            }
            PropertyValue::TwoByte(value) => {
                self.key(key);
                self.integer(value);
            }
            PropertyValue::FourByte(value) | PropertyValue::VariableByte(value) => {
                self.key(key);
                self.integer(value);
            }
            PropertyValue::Utf8(text) => {
                self.key(key);
                self.string(text);
            }
            PropertyValue::Binary(bytes) => self.bytes(key, bytes),
            // Only user properties are pairs, and those are written together.
            PropertyValue::Pair(..) => {}
        }
    }

    fn user_properties(&mut self, properties: PropertiesRef<'_>) {
        self.key("user-properties");
        self.user_property_array(properties);
    }

    fn user_property_array(&mut self, properties: PropertiesRef<'_>) {
        self.array(properties.user_properties(), |writer, (name, value)| {
            writer.open();
            writer.before_member();
            writer.string(name);
            writer.out.push(b':');
            writer.after_key();
            writer.string(value);
            writer.close();
        });
    }

    /// Several are an array: of members with the same name most readers keep only one.
    fn subscription_identifiers(&mut self, properties: PropertiesRef<'_>) {
        self.key(Property::SubscriptionIdentifier.name());
        let mut identifiers = properties.subscription_identifiers();
        match (identifiers.next(), identifiers.next()) {
            (Some(only), None) => self.integer(only),
            _ => self.array(properties.subscription_identifiers(), Self::integer),
        }
    }

    fn array<T>(&mut self, items: impl Iterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.out.push(b'[');
        self.depth += 1;
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.extend_from_slice(if self.style.pretty { b", " } else { b"," });
            }
            write(self, item);
        }
        self.depth -= 1;
        self.out.push(b']');
    }

    fn payload(&mut self, payload: &[u8], how: JsonPayload) -> Result<(), PayloadError> {
        match how {
            _ if payload.is_empty() => {
                self.key("payload");
                self.out.extend_from_slice(b"null");
            }
            JsonPayload::Text => self.bytes("payload", payload),
            JsonPayload::Value => {
                let text = std::str::from_utf8(payload)?;
                self.key("payload");
                reprint(text, self.depth, self.style.pretty, self.out)?;
            }
        }
        Ok(())
    }

    /// A member for bytes that are often text.
    fn bytes(&mut self, key: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.key(key);
                self.string(text);
            }
            Err(_) => self.base64(key, bytes),
        }
    }
}

/// `value` in exactly so many decimal digits.
pub(super) fn decimals<const DIGITS: usize>(value: u32) -> [u8; DIGITS] {
    let mut rest = value;
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}
