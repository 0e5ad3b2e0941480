//! The width and precision of a conversion: cutting, padding, and the values they apply to.
//!
//! Widths count bytes, as C's `printf` does.

use std::{io::Write, num::NonZeroUsize};

/// The flags, width and precision of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// Whether padding goes to the right of the value; it goes to the left otherwise.
    pub(super) left: bool,
    /// Whether padding to the left is zeros, where that makes sense.
    pub(super) zero: bool,
    /// What is shorter is padded; 0 where no width is given.
    pub(super) width: usize,
    /// What is longer is cut; the number of decimals; the length of groups of digits.
    pub(super) precision: Option<usize>,
}

/// How hexadecimal digits are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The digits of a group.
    pub(super) len: NonZeroUsize,
    /// What stands between two groups.
    pub(super) separator: u8,
}

/// No double has more decimals that are not zero.
const MAX_DECIMALS: usize = 1074;
const DEFAULT_DECIMALS: usize = 6;

impl Field {
    /// Whether it neither cuts nor pads.
    #[inline]
    pub(super) fn is_bare(&self) -> bool {
        self.width == 0 && self.precision.is_none()
    }

    /// Text: cut to the precision, padded with spaces.
    pub(super) fn text(&self, text: &[u8], out: &mut Vec<u8>) {
        let text = self.precision.and_then(|precision| text.get(..precision)).unwrap_or(text);
        let start = out.len();
        out.extend_from_slice(text);
        self.pad(start, self.width.saturating_sub(text.len()), b' ', out);
    }

    /// An integer.
    pub(super) fn integer(&self, value: impl itoa::Integer, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        let len = out.len() - start;
        self.pad(start, self.width.saturating_sub(len), self.fill(), out);
    }

    /// What stands for a number that the message does not have.
    pub(super) fn absent_integer(&self, out: &mut Vec<u8>) {
        let fill = if self.zero { b'0' } else { b' ' };
        out.resize(out.len() + self.width, fill);
    }

    /// What stands for a text that the message does not have.
    pub(super) fn absent_text(&self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.width, b' ');
    }

    /// A floating point number in C's `%f`.
    pub(super) fn float(&self, value: f64, out: &mut Vec<u8>) {
        let start = out.len();
        let decimals = self.precision.unwrap_or(DEFAULT_DECIMALS);
        let mut fill = self.fill();
        if value.is_finite() {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{value:.*}", decimals.min(MAX_DECIMALS));
            out.resize(out.len() + decimals.saturating_sub(MAX_DECIMALS), b'0');
        } else {
            fill = b' ';
            out.extend_from_slice(if value.is_sign_negative() { b"-" } else { b"" });
            out.extend_from_slice(if value.is_nan() { b"nan" } else { b"inf" });
        }
        let len = out.len() - start;
        // Zeros go between the sign and the digits.
        let behind_sign = usize::from(fill == b'0' && value.is_sign_negative());
        self.pad(start + behind_sign, self.width.saturating_sub(len), fill, out);
    }

    /// The bytes of a payload: cut, as well as padded, to the width.
    pub(super) fn payload(&self, payload: &[u8], out: &mut Vec<u8>) {
        let payload = self.cut(payload);
        let start = out.len();
        out.extend_from_slice(payload);
        self.pad(start, self.width.saturating_sub(payload.len()), self.fill(), out);
    }

    /// A payload in hexadecimal: no more of its bytes than the width, and padded to as many digits.
    /// The separators between groups do not count.
    pub(super) fn hex(
        &self,
        payload: &[u8],
        digits: &[u8; 16],
        group: Option<Group>,
        out: &mut Vec<u8>,
    ) {
        let payload = self.cut(payload);
        let start = out.len();
        let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
        let digits = payload.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]);
        match group {
            None => out.extend(digits),
            Some(Group { len, separator }) => {
                for (at, digit) in digits.enumerate() {
                    if at > 0 && at % len == 0 {
                        out.push(separator);
                    }
                    out.push(digit);
                }
            }
        }
        self.pad(start, self.width.saturating_sub(2 * payload.len()), self.fill(), out);
    }

    fn cut<'p>(&self, payload: &'p [u8]) -> &'p [u8] {
        match self.width {
            0 => payload,
            width => payload.get(..width).unwrap_or(payload),
        }
    }

    fn fill(&self) -> u8 {
        if self.zero && !self.left { b'0' } else { b' ' }
    }

    /// Pads what stands in `out` from `start` on with `missing` times `fill`.
    fn pad(&self, start: usize, missing: usize, fill: u8, out: &mut Vec<u8>) {
        if missing == 0 {
            return;
        }
        out.resize(out.len() + missing, fill);
        if !self.left
            && let Some(padded) = out.get_mut(start..)
        {
            padded.rotate_right(missing);
        }
    }
}
