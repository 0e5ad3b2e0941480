//! The rules of UTF-8 encoded strings (§1.5.4).

use super::error::{EncodeError, Rule};

/// Returns the string that `bytes` are.
///
/// Control characters and non-characters are let through, as the specification leaves open; a
/// leading U+FEFF is part of the string [MQTT-1.5.4-3].
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Rule> {
    let text = str::from_utf8(bytes).map_err(|_| Rule::NotUtf8)?;
    if has_nul(text) { Err(Rule::Nul) } else { Ok(text) }
}

/// Refuses a string that may not be sent.
#[inline]
pub(super) fn check(field: &'static str, text: &str) -> Result<(), EncodeError> {
    if has_nul(text) { Err(EncodeError::breach(Rule::Nul, field)) } else { Ok(()) }
}

#[inline]
pub(super) fn has_nul(text: &str) -> bool {
    text.as_bytes().contains(&0)
}
