//! The row of a message: comma-separated values as RFC 4180 describes them, with newlines as on
//! Unix.
//!
//! The columns are named as the members of the JSON object. A payload that is not UTF-8 stands in a
//! column of its own, in base64, so that a file is always text.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::json::{Stamp, decimals};
use crate::codec::Publish;

/// The names of the columns.
pub(super) const HEADER: &str = "tst,topic,qos,retain,mid,payloadlen,payload,payload_base64";

/// Appends the row of `message`, without a newline.
pub(super) fn row(message: &Publish<'_>, stamp: Stamp<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(stamp.second);
    out.push(b'.');
    out.extend_from_slice(&decimals::<6>(stamp.microsecond));
    out.extend_from_slice(stamp.offset);
    out.push(b',');
    text(message.topic, out);
    out.extend_from_slice(&[b',', b'0' + u8::from(message.qos), b',']);
    out.extend_from_slice(&[b'0' + u8::from(message.retain), b',']);
    if let Some(id) = message.packet_id {
        integer(id.get(), out);
    }
    out.push(b',');
    integer(message.payload.len(), out);
    out.push(b',');
    match std::str::from_utf8(message.payload) {
        Ok(payload) => {
            text(payload, out);
            out.push(b',');
        }
        Err(_) => {
            out.push(b',');
            out.extend_from_slice(STANDARD.encode(message.payload).as_bytes());
        }
    }
}

fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A field, in quotation marks where it needs them: also where it begins or ends with a space,
/// which some readers drop.
fn text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let needs_quotes = bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
        || bytes.first() == Some(&b' ')
        || bytes.last() == Some(&b' ');
    if !needs_quotes {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for part in bytes.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(part);
        if part.last() == Some(&b'"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}
