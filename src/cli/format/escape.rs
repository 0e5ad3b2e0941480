//! Strings of JSON.
//!
//! Beside what JSON demands, everything a terminal would act on is escaped: a line of JSON is as
//! safe to show as to parse.

use crate::cli::stdio::needs_escape;

/// How many bytes are looked at together; the compiler makes vector instructions of it.
const BLOCK_BYTES: usize = 16;
/// How far the next escape is expected after one: JSON within JSON is full of quotation marks.
const DENSE_BYTES: usize = 32;

/// What [`CLASSES`] says of a byte that is copied; other values are letters of two-character
/// escapes, or one of the next two.
const PLAIN: u8 = 0;
/// An ASCII character that has no escape but its number.
const NUMBERED: u8 = 1;
/// The first byte of a character that may steer a terminal.
const LEAD: u8 = 2;

#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
const CLASSES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            ..0x20 | 0x7f => NUMBERED,
            0xc2 | 0xe2 => LEAD,
            _ => PLAIN,
        };
        byte += 1;
    }
    classes
};

/// Appends `text` as it stands between the quotation marks of a JSON string.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(rest) = text.as_bytes().get(at..)
        && !rest.is_empty()
    {
        let (plain, rest) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        at += plain.len() + escape_dense(rest, out);
        // These stand at the beginning of a character, where `at` may be inside of one otherwise.
        if text.as_bytes().get(at).is_some_and(|&byte| matches!(class(byte), NUMBERED | LEAD))
            && let Some(c) = text.get(at..).and_then(|rest| rest.chars().next())
        {
            escape_char(c, out);
            at += c.len_utf8();
        }
    }
}

/// Whether nothing in valid JSON has to be escaped for the sake of terminals.
pub(super) fn is_shown(json: &str) -> bool {
    let is_lead = |byte| (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2);
    !json.bytes().fold(false, |found, byte| found | is_lead(byte))
}

/// Appends a string of valid JSON, escaping what its author need not have escaped.
pub(super) fn escape_more(string: &str, out: &mut Vec<u8>) {
    let mut rest = string;
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| needs_escape(c)) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        escape_char(c, out);
        rest = after.get(c.len_utf8()..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(PLAIN)
}

/// The length of what can be copied as it is.
fn plain_len(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let start = BLOCK_BYTES * blocks.iter().take_while(|block| is_plain(block)).count();
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|&&byte| class(byte) == PLAIN).count()
}

/// As [`class`] of each, without branches or memory.
fn is_plain(block: &[u8; BLOCK_BYTES]) -> bool {
    !block.iter().fold(false, |found, &byte| {
        found
            | (byte < 0x20)
            | (byte == b'"')
            | (byte == b'\\')
            | (byte == 0x7f)
            | (byte == 0xc2)
            | (byte == 0xe2)
    })
}

/// Appends text with two-character escapes up to where one may end, or something else is needed,
/// and returns how much that was.
fn escape_dense(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    for (at, &byte) in bytes.iter().take(DENSE_BYTES).enumerate() {
        match class(byte) {
            PLAIN => out.push(byte),
            NUMBERED | LEAD => return at,
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
    bytes.len().min(DENSE_BYTES)
}

fn escape_char(c: char, out: &mut Vec<u8>) {
    if !needs_escape(c) && !c.is_ascii_control() {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            let digit = char::from_digit(u32::from(*unit >> shift) & 0x0f, 16).unwrap_or('0');
            out.push(digit as u8);
        }
    }
}
