//! The two things an entry joins: a user name that brokers can match, and a password that never
//! shows itself.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// A password: bytes, as MQTT has them, wiped when dropped and absent from `Debug`.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Wraps the bytes of a password that is not empty and not longer than 65,535 bytes, the most
    /// that a CONNECT packet carries.
    ///
    /// # Errors
    /// [`PasswordError::Empty`] and [`PasswordError::TooLong`]; the bytes are wiped in both cases.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, PasswordError> {
        let password = Self::allowing_empty(bytes)?;
        if password.0.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(password)
    }

    /// Like [`Password::new`], and takes an empty password too.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`].
    pub fn allowing_empty(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Self, PasswordError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(PasswordError::TooLong { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The bytes of the password.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why bytes are no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// There are none.
    #[error("the password is empty")]
    Empty,
    /// A CONNECT packet cannot carry them.
    #[error("the password has {bytes} bytes; MQTT allows {MAX_FIELD_BYTES}")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
}

/// A user name that a broker finds again after reading it from a password file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Username(String);

impl Username {
    /// Checks and wraps a user name.
    ///
    /// # Errors
    /// The first rule of [`UsernameError`] that `name` breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, UsernameError> {
        let name = name.into();
        check_username(&name)?;
        Ok(Self(name))
    }

    /// The user name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no user name for a password file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UsernameError {
    /// It has no characters.
    #[error("the user name is empty")]
    Empty,
    /// It is not UTF-8, which MQTT asks of user names.
    #[error("the user name is not UTF-8")]
    NotUtf8,
    /// A CONNECT packet cannot carry it.
    #[error("the user name has {bytes} bytes; MQTT allows {MAX_FIELD_BYTES}")]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It contains `:`, where the file divides name and password.
    #[error("the user name contains ':', which ends it in a password file")]
    Colon,
    /// It contains a control character.
    #[error("the user name contains a control character")]
    ControlCharacter,
    /// It begins with `#`, and brokers take the line for a comment.
    #[error("the user name begins with '#', which makes its line a comment")]
    Comment,
    /// It begins or ends with a blank, which brokers strip when they read the file.
    #[error("the user name begins or ends with a blank, which brokers strip")]
    OuterBlank,
}

pub(super) fn check_username(name: &str) -> Result<(), UsernameError> {
    if name.is_empty() {
        return Err(UsernameError::Empty);
    }
    if name.len() > MAX_FIELD_BYTES {
        return Err(UsernameError::TooLong { bytes: name.len() });
    }
    if name.contains(':') {
        return Err(UsernameError::Colon);
    }
    // Printable ASCII needs no decoding; that is nearly every name of a large file.
    let is_printable = |byte: u8| (b' '..0x7f).contains(&byte);
    if !name.bytes().all(is_printable) && name.chars().any(char::is_control) {
        return Err(UsernameError::ControlCharacter);
    }
    if name.starts_with('#') {
        return Err(UsernameError::Comment);
    }
    if name.starts_with(' ') || name.ends_with(' ') {
        return Err(UsernameError::OuterBlank);
    }
    Ok(())
}

/// The length limit of user names and passwords: MQTT counts both with two bytes.
pub(super) const MAX_FIELD_BYTES: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_broker_matches_are_refused() {
        let refused = [
            ("", UsernameError::Empty),
            ("a:b", UsernameError::Colon),
            ("a\nb", UsernameError::ControlCharacter),
            ("a\0", UsernameError::ControlCharacter),
            ("\u{7f}", UsernameError::ControlCharacter),
            ("a\u{85}b", UsernameError::ControlCharacter),
            ("#a", UsernameError::Comment),
            (" a", UsernameError::OuterBlank),
            ("a ", UsernameError::OuterBlank),
        ];
        for (name, why) in refused {
            assert_eq!(Username::new(name), Err(why), "{name:?}");
        }
        for name in ["a", "a b", "a#", "-a", "käthe", "用户", "$SYS"] {
            assert!(Username::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn both_fields_end_at_what_connect_carries() {
        assert!(Username::new("u".repeat(65_535)).is_ok());
        assert_eq!(
            Username::new("u".repeat(65_536)),
            Err(UsernameError::TooLong { bytes: 65_536 })
        );
        assert!(Password::new(vec![b'p'; 65_535]).is_ok());
        assert_eq!(
            Password::new(vec![b'p'; 65_536]).unwrap_err(),
            PasswordError::TooLong { bytes: 65_536 }
        );
    }

    #[test]
    fn an_empty_password_must_be_asked_for() {
        assert_eq!(Password::new(Vec::new()).unwrap_err(), PasswordError::Empty);
        assert!(Password::allowing_empty(Vec::new()).is_ok());
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let password = Password::new(b"hunter2".to_vec()).unwrap();
        assert!(!format!("{password:?}").contains("hunter2"));
    }
}
