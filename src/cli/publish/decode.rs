//! Payloads written as text: `--decode`.

use std::{fmt, str::FromStr};

use anyhow::{Result, anyhow, bail};
use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Two hexadecimal digits a byte, in either case; white space, `:` and `-` may stand between.
    Hex,
    /// Base64 of either alphabet, with padding or without; white space may stand between.
    Base64,
}

impl Encoding {
    /// The bytes that `text` stands for.
    ///
    /// # Errors
    /// What is not text of this encoding.
    pub fn decode(self, text: &[u8]) -> Result<Bytes> {
        match self {
            Self::Hex => decode_hex(text),
            Self::Base64 => decode_base64(text),
        }
    }
}

impl FromStr for Encoding {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            _ => Err("must be hex or base64"),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
        })
    }
}

fn decode_hex(text: &[u8]) -> Result<Bytes> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, &byte) in text.iter().enumerate() {
        let Some(digit) = char::from(byte).to_digit(16) else {
            // Between two bytes, not within one.
            if high.is_none() && (byte.is_ascii_whitespace() || matches!(byte, b':' | b'-')) {
                continue;
            }
            bail!("not a hexadecimal digit at byte {at}: '{}'", byte.escape_ascii());
        };
        match high.take() {
            None => high = Some(digit),
            // Two digits make at most 255.
            Some(high) => bytes.push((high << 4 | digit) as u8),
        }
    }
    match high {
        None => Ok(bytes.into()),
        Some(_) => Err(anyhow!("an odd number of hexadecimal digits")),
    }
}

fn decode_base64(text: &[u8]) -> Result<Bytes> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let packed: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let is_url_safe = packed.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if is_url_safe { &URL_SAFE } else { &STANDARD };
    Ok(GeneralPurpose::new(alphabet, LENIENT).decode(&packed)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_may_stand_apart() {
        let bytes = Bytes::from_static(b"\x00\xab\xFF");
        for text in ["00abff", "00ABff", "00:ab:ff", "00-ab-ff\n", " 00 ab\r\nff"] {
            assert_eq!(Encoding::Hex.decode(text.as_bytes()).unwrap(), bytes, "{text:?}");
        }
        assert!(Encoding::Hex.decode(b"").unwrap().is_empty());
        for text in ["0", "000", "0 0", "0g", "0x00", "00,ab", "00é"] {
            assert!(Encoding::Hex.decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn base64_may_be_of_either_alphabet_and_without_padding() {
        let bytes = Bytes::from_static(b"\xfb\xef\xff\x00");
        for text in ["++//AA==", "++//AA", "--__AA", "--__AA==", "++/\n/AA==\n"] {
            assert_eq!(Encoding::Base64.decode(text.as_bytes()).unwrap(), bytes, "{text:?}");
        }
        for text in ["a", "+-AA", "a===", "é", "YQ==YQ=="] {
            assert!(Encoding::Base64.decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
