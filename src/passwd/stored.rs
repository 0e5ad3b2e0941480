//! A hash as a password file holds it: parsed, printed and verified.
//!
//! `$6$SALT$DIGEST` and `$7$ITERATIONS$SALT$DIGEST` carry padded base64;
//! `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$TAG` is the PHC string format, unpadded, read as
//! strictly as libargon2 reads it, since that is what a broker gives it to.

use std::fmt;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use base64::{DecodeSliceError, Engine};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::hash::{self, Argon2Cost, DIGEST_BYTES, HashKind, LONG_SALT_BYTES, SALT_BYTES};
use super::password::Password;

/// A password hash in one of the forms that brokers read.
///
/// `Display` prints the form that stands in the file; `Debug` tells only the kind.
///
/// ```
/// use midge::passwd::{Password, PasswordHash};
///
/// let hash = PasswordHash::parse(
///     "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
/// )?;
/// assert!(hash.verify(&Password::new(b"password".to_vec())?)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub(super) Stored);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Sha512 { salt: Salt, digest: [u8; DIGEST_BYTES] },
    Pbkdf2 { iterations: u32, salt: Salt, digest: [u8; DIGEST_BYTES] },
    Argon2id { cost: Argon2Cost, salt: Vec<u8>, tag: Vec<u8> },
}

/// The salt of a `$6$` or `$7$` hash.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Salt {
    Short([u8; SALT_BYTES]),
    Long([u8; LONG_SALT_BYTES]),
}

impl Salt {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

impl PasswordHash {
    /// Reads the text that follows `user:` in a password file.
    ///
    /// # Errors
    /// [`ParseHashError`], which says what is wrong with the text. A text that has none of the
    /// three prefixes is [`ParseHashError::Prefix`].
    pub fn parse(text: &str) -> Result<Self, ParseHashError> {
        if let Some(fields) = text.strip_prefix(SHA512_PREFIX) {
            let [salt, digest] = split_fields(fields)?;
            return Ok(Self(Stored::Sha512 {
                salt: decode_salt(salt)?,
                digest: decode_digest(digest)?,
            }));
        }
        if let Some(fields) = text.strip_prefix(PBKDF2_PREFIX) {
            let [iterations, salt, digest] = split_fields(fields)?;
            return Ok(Self(Stored::Pbkdf2 {
                iterations: parse_number(iterations)
                    .filter(|count| (1..=i32::MAX.unsigned_abs()).contains(count))
                    .ok_or(ParseHashError::Iterations)?,
                salt: decode_salt(salt)?,
                digest: decode_digest(digest)?,
            }));
        }
        if let Some(fields) = text.strip_prefix(ARGON2ID_PREFIX) {
            return parse_argon2id(fields).map(Self);
        }
        Err(ParseHashError::Prefix)
    }

    /// The kind of hash that `text` begins like, whatever follows.
    pub(super) fn kind_by_prefix(text: &[u8]) -> Option<HashKind> {
        [
            (SHA512_PREFIX, HashKind::Sha512),
            (PBKDF2_PREFIX, HashKind::Sha512Pbkdf2),
            (ARGON2ID_PREFIX, HashKind::Argon2id),
        ]
        .into_iter()
        .find_map(|(prefix, kind)| text.starts_with(prefix.as_bytes()).then_some(kind))
    }

    /// The kind of the hash.
    pub const fn kind(&self) -> HashKind {
        match self.0 {
            Stored::Sha512 { .. } => HashKind::Sha512,
            Stored::Pbkdf2 { .. } => HashKind::Sha512Pbkdf2,
            Stored::Argon2id { .. } => HashKind::Argon2id,
        }
    }

    /// The PBKDF2 iteration count; `None` for the other kinds.
    pub const fn iterations(&self) -> Option<u32> {
        match self.0 {
            Stored::Pbkdf2 { iterations, .. } => Some(iterations),
            Stored::Sha512 { .. } | Stored::Argon2id { .. } => None,
        }
    }

    /// Whether the salt has the 64 bytes that only brokers from 2.1 on decode in `$6$` and `$7$`.
    pub fn has_long_salt(&self) -> bool {
        match &self.0 {
            Stored::Sha512 { salt, .. } | Stored::Pbkdf2 { salt, .. } => {
                matches!(salt, Salt::Long(_))
            }
            Stored::Argon2id { .. } => false,
        }
    }

    /// Tells whether `password` is the one that was hashed, comparing in constant time.
    ///
    /// # Errors
    /// [`VerifyError::TooCostly`] when the parameters, which come from the file, ask for more than
    /// ten million iterations, 1 GiB of memory or 100 passes; [`VerifyError::Memory`] when
    /// argon2id's memory cannot be had.
    pub fn verify(&self, password: &Password) -> Result<bool, VerifyError> {
        let same = match &self.0 {
            Stored::Sha512 { salt, digest } => {
                hash::sha512(password, salt.as_bytes()).as_slice().ct_eq(digest.as_slice())
            }
            Stored::Pbkdf2 { iterations, salt, digest } => {
                if *iterations > hash::MAX_ITERATIONS {
                    return Err(VerifyError::TooCostly);
                }
                hash::pbkdf2(password, salt.as_bytes(), *iterations)
                    .as_slice()
                    .ct_eq(digest.as_slice())
            }
            Stored::Argon2id { cost, salt, tag } => {
                if cost.memory_kib > MAX_MEMORY_KIB || cost.passes > MAX_PASSES {
                    return Err(VerifyError::TooCostly);
                }
                hash::argon2id(password, salt, *cost, tag.len())
                    .map_err(|_| VerifyError::Memory { kib: cost.memory_kib })?
                    .ct_eq(tag.as_slice())
            }
        };
        Ok(same.into())
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Stored::Sha512 { salt, digest } => {
                let (salt, digest) = (PADDED.encode(salt.as_bytes()), PADDED.encode(digest));
                write!(f, "{SHA512_PREFIX}{salt}${digest}")
            }
            Stored::Pbkdf2 { iterations, salt, digest } => {
                let (salt, digest) = (PADDED.encode(salt.as_bytes()), PADDED.encode(digest));
                write!(f, "{PBKDF2_PREFIX}{iterations}${salt}${digest}")
            }
            Stored::Argon2id { cost, salt, tag } => {
                f.write_str(ARGON2ID_PREFIX)?;
                // A string without a version is one of version 0x10; libargon2 reads it so.
                if cost.version == argon2::Version::V0x13 {
                    f.write_str("v=19$")?;
                }
                let (salt, tag) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag));
                let Argon2Cost { memory_kib, passes, lanes, .. } = cost;
                write!(f, "m={memory_kib},t={passes},p={lanes}${salt}${tag}")
            }
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({}, ..)", self.kind())
    }
}

/// What is wrong with the text of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// It begins with none of `$6$`, `$7$` and `$argon2id$`.
    #[error("the hash begins with none of $6$, $7$ and $argon2id$")]
    Prefix,
    /// It has too few or too many fields between its `$`.
    #[error("the hash does not have the fields of its kind")]
    Fields,
    /// Its iteration count is no number from 1 to 2,147,483,647.
    #[error("the iteration count of the hash is not a number from 1 to 2147483647")]
    Iterations,
    /// Its salt or digest is not base64.
    #[error("the hash is not base64")]
    Base64,
    /// Its salt has a length that no broker decodes.
    #[error("the salt has {bytes} bytes; brokers decode {SALT_BYTES} or {LONG_SALT_BYTES}")]
    SaltLength {
        /// The length found.
        bytes: usize,
    },
    /// Its digest has not the length of a SHA-512.
    #[error("the digest has {bytes} bytes instead of {DIGEST_BYTES}")]
    DigestLength {
        /// The length found.
        bytes: usize,
    },
    /// Its salt or digest is longer than any broker decodes.
    #[error("the salt or digest is longer than brokers decode")]
    FieldLength,
    /// Its argon2id version, costs, salt or tag is outside what argon2 defines.
    #[error("the argon2id parameters are not ones that argon2 defines")]
    Argon2Parameters,
}

/// Why a hash could not be verified at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Its parameters ask for more work than any real password file does.
    #[error("the parameters of the hash ask for more work than a password check may cost")]
    TooCostly,
    /// argon2id's working memory could not be allocated.
    #[error("argon2id needs {kib} KiB of memory, which cannot be had")]
    Memory {
        /// The memory asked for, in KiB.
        kib: u32,
    },
}

fn parse_argon2id(fields: &str) -> Result<Stored, ParseHashError> {
    let (version, fields) = match fields.strip_prefix("v=") {
        Some(rest) => {
            let (version, rest) = rest.split_once('$').ok_or(ParseHashError::Fields)?;
            let version = parse_number(version)
                .and_then(|version| argon2::Version::try_from(version).ok())
                .ok_or(ParseHashError::Argon2Parameters)?;
            (version, rest)
        }
        None => (argon2::Version::V0x10, fields),
    };
    let [costs, salt, tag] = split_fields(fields)?;

    let mut costs = costs.split(',');
    let mut cost = |name: &str| {
        costs
            .next()
            .and_then(|cost| cost.strip_prefix(name))
            .and_then(parse_number)
            .ok_or(ParseHashError::Argon2Parameters)
    };
    let cost =
        Argon2Cost { version, memory_kib: cost("m=")?, passes: cost("t=")?, lanes: cost("p=")? };
    if costs.next().is_some() {
        return Err(ParseHashError::Argon2Parameters);
    }

    let decode = |field| STANDARD_NO_PAD.decode(field).map_err(|_| ParseHashError::Base64);
    let (salt, tag) = (decode(salt)?, decode(tag)?);
    if salt.len() < argon2::MIN_SALT_LEN
        || argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(tag.len())).is_err()
    {
        return Err(ParseHashError::Argon2Parameters);
    }
    Ok(Stored::Argon2id { cost, salt, tag })
}

fn split_fields<const N: usize>(fields: &str) -> Result<[&str; N], ParseHashError> {
    let mut split = fields.split('$');
    let mut array = [""; N];
    for field in &mut array {
        *field = split.next().ok_or(ParseHashError::Fields)?;
    }
    match split.next() {
        Some(_) => Err(ParseHashError::Fields),
        None => Ok(array),
    }
}

/// Decimal without sign or leading zero, as libargon2 wants it and every tool writes it.
fn parse_number(digits: &str) -> Option<u32> {
    let plain =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

fn decode_salt(field: &str) -> Result<Salt, ParseHashError> {
    let mut buffer = [0; LONGEST_FIELD_BYTES];
    let salt = decode(field, &mut buffer)?;
    let short = salt.try_into().map(Salt::Short);
    short
        .or_else(|_| salt.try_into().map(Salt::Long))
        .map_err(|_| ParseHashError::SaltLength { bytes: salt.len() })
}

fn decode_digest(field: &str) -> Result<[u8; DIGEST_BYTES], ParseHashError> {
    let mut buffer = [0; LONGEST_FIELD_BYTES];
    let digest = decode(field, &mut buffer)?;
    digest.try_into().map_err(|_| ParseHashError::DigestLength { bytes: digest.len() })
}

fn decode<'a>(field: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], ParseHashError> {
    match PADDED.decode_slice(field, buffer) {
        Ok(count) => Ok(buffer.get(..count).unwrap_or_default()),
        Err(DecodeSliceError::OutputSliceTooSmall) => Err(ParseHashError::FieldLength),
        Err(DecodeSliceError::DecodeError(_)) => Err(ParseHashError::Base64),
    }
}

/// OpenSSL, which brokers decode with, does not look at the unused bits of the last character.
const PADDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Of salts and digests, and the two bytes more that base64 may count before it sees the padding.
const LONGEST_FIELD_BYTES: usize = DIGEST_BYTES + 2;

const SHA512_PREFIX: &str = "$6$";
const PBKDF2_PREFIX: &str = "$7$";
const ARGON2ID_PREFIX: &str = "$argon2id$";

/// The most memory that verifying spends: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes().to_vec()).unwrap()
    }

    /// What the reference implementation prints; the last one has the salt, tag and costs that
    /// mosquitto uses.
    const PHC: [(&str, &str); 4] = [
        (
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "password",
        ),
        (
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "password",
        ),
        (
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "password",
        ),
        (
            "$argon2id$v=19$m=47104,t=1,p=1$MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD\
             AwMDAwMDAwMDAwMDAwMDAwMDAwMA$DEkdrBcgBSMbnSKcn4fPryxKvQmEb3QQ0XfxtvXKWQAmBJzC7v+HlJOn3DGs\
             9HY6P+CeX5Tt+IYDhm/Os42NeQ",
            "secret",
        ),
    ];

    #[test]
    fn phc_vectors_of_argon2id_verify() {
        for (text, secret) in PHC {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(&password(secret)).unwrap(), "{text}");
            assert!(!hash.verify(&password("differentpassword")).unwrap(), "{text}");
            assert_eq!(hash.to_string(), text);
        }
    }

    #[test]
    fn what_is_made_is_what_is_read() {
        for kind in HashKind::ALL {
            let made = hash::Hasher::new(kind).hash(&password("p")).unwrap();
            assert!(PasswordHash::parse(&made.to_string()).unwrap() == made);
            assert!(!made.has_long_salt());
        }
    }

    #[test]
    fn malformed_hashes_are_named() {
        let digest = PADDED.encode([7; 64]);
        let cases = [
            (String::new(), ParseHashError::Prefix),
            ("plain".into(), ParseHashError::Prefix),
            ("$5$AAAA$BBBB".into(), ParseHashError::Prefix),
            ("$6$".into(), ParseHashError::Fields),
            (format!("$6$AAAAAAAAAAAAAAAA${digest}$x"), ParseHashError::Fields),
            (format!("$6$AAAAAAAAAAAAAAA!${digest}"), ParseHashError::Base64),
            (format!("$6$AAAAAAAAAAAA${digest}"), ParseHashError::SaltLength { bytes: 9 }),
            ("$6$AAAAAAAAAAAAAAAA$AAAA".into(), ParseHashError::DigestLength { bytes: 3 }),
            (
                format!("$6$AAAAAAAAAAAAAAAA${}", PADDED.encode([7; 70])),
                ParseHashError::FieldLength,
            ),
            (format!("$6$AAAAAAAAAAAAAAAA${}", &digest[..87]), ParseHashError::Base64),
            (format!("$7$0$AAAAAAAAAAAAAAAA${digest}"), ParseHashError::Iterations),
            (format!("$7$-1$AAAAAAAAAAAAAAAA${digest}"), ParseHashError::Iterations),
            (format!("$7$+1$AAAAAAAAAAAAAAAA${digest}"), ParseHashError::Iterations),
            (format!("$7$2147483648$AAAAAAAAAAAAAAAA${digest}"), ParseHashError::Iterations),
            (format!("$7$AAAAAAAAAAAAAAAA${digest}"), ParseHashError::Fields),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ".into(), ParseHashError::Fields),
            ("$argon2id$v=19".into(), ParseHashError::Fields),
            ("$argon2id$v=18$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=1,p=0$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=08,t=1,p=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$t=1,m=8,p=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=1,p=1,x=1$c29tZXNhbHQ$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=1,p=1$c29t$AAAAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA".into(), BAD_ARGON2),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ=$AAAAAA".into(), ParseHashError::Base64),
        ];
        for (text, why) in cases {
            assert_eq!(PasswordHash::parse(&text).unwrap_err(), why, "{text}");
        }
    }

    const BAD_ARGON2: ParseHashError = ParseHashError::Argon2Parameters;

    #[test]
    fn hostile_parameters_are_not_computed() {
        let digest = PADDED.encode([7; 64]);
        for text in [
            format!("$7$2147483647$AAAAAAAAAAAAAAAA${digest}"),
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$AAAAAA".into(),
            "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHQ$AAAAAA".into(),
        ] {
            let hash = PasswordHash::parse(&text).unwrap();
            assert_eq!(hash.verify(&password("p")), Err(VerifyError::TooCostly), "{text}");
        }
    }

    #[test]
    fn an_entry_of_mosquitto_passwd_verifies() {
        for text in [
            "$7$101$Xw8VJj8ARtRfrZxX$QQolbaZcYvS3svZGssyvKDr2UWBaEC1+NuYwIGsrWvqQFO8CBM9g/idA3CJzVvkgF5XIhQRfbZkhGDXYwcgrMg==",
            "$6$8capiRrhFuLeyIE1$ilFKcclo3NIMhuNMPvFF23CBcLTzmT/Uy31/YRIfXVQ2Y+LDVO/jtS3oNRKX/WJYT1y1zaKaHW64fBQy8limBA==",
        ] {
            let hash = PasswordHash::parse(text).unwrap();
            assert_eq!(hash.to_string(), text);
            assert!(hash.verify(&password("p")).unwrap());
            assert!(!hash.verify(&password("q")).unwrap());
        }
    }
}
