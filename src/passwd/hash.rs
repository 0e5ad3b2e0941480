//! Making password hashes: the three kinds, what each costs, and the salt.
//!
//! Reading and verifying what a file already holds is [`super::stored`].

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use sha2::{Digest, Sha512};
use thiserror::Error;

use super::password::Password;
use super::stored::{PasswordHash, Salt, Stored};

/// The hash kinds that mosquitto brokers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// `$6$`: one salted SHA-512. Every broker reads it; it is fast to guess.
    Sha512,
    /// `$7$`: PBKDF2 with HMAC-SHA-512. Every broker from 2.0 on reads it.
    Sha512Pbkdf2,
    /// `$argon2id$`: memory-hard. Brokers from 2.1 on read it when built with argon2.
    Argon2id,
}

impl HashKind {
    /// All kinds, from the most widely read to the strongest.
    pub const ALL: [Self; 3] = [Self::Sha512, Self::Sha512Pbkdf2, Self::Argon2id];

    /// The word for this kind on the command line, the one `mosquitto_passwd -H` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha512 => "sha512",
            Self::Sha512Pbkdf2 => "sha512-pbkdf2",
            Self::Argon2id => "argon2id",
        }
    }
}

impl FromStr for HashKind {
    type Err = UnknownHashKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownHashKind(name.to_owned()))
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no hash kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown hash kind '{0}': it is one of sha512, sha512-pbkdf2, argon2id")]
pub struct UnknownHashKind(String);

/// Turns passwords into hashes of one kind at one cost.
///
/// ```
/// use midge::passwd::{HashKind, Hasher, Password};
///
/// let hasher = Hasher::new(HashKind::Sha512Pbkdf2);
/// let password = Password::new(b"correct horse".to_vec())?;
/// let hash = hasher.hash(&password)?;
/// assert!(hash.to_string().starts_with("$7$1000$"));
/// assert!(hash.verify(&password)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hasher {
    kind: HashKind,
    iterations: u32,
}

impl Hasher {
    /// Creates a hasher with the default cost of `kind`: argon2id with 46 MiB of memory, one pass
    /// and one lane; PBKDF2 with 1000 iterations, which is what mosquitto 2.1 writes.
    pub const fn new(kind: HashKind) -> Self {
        Self { kind, iterations: DEFAULT_ITERATIONS }
    }

    /// Sets the PBKDF2 iteration count, from 1 to [`MAX_ITERATIONS`]; default 1000. The other
    /// kinds have no iterations and ignore it.
    ///
    /// # Errors
    /// [`HashError::Iterations`] when `iterations` is above [`MAX_ITERATIONS`].
    pub const fn with_iterations(self, iterations: NonZeroU32) -> Result<Self, HashError> {
        if iterations.get() > MAX_ITERATIONS {
            return Err(HashError::Iterations);
        }
        Ok(Self { kind: self.kind, iterations: iterations.get() })
    }

    /// The kind of the hashes this makes.
    pub const fn kind(&self) -> HashKind {
        self.kind
    }

    /// Hashes `password` with a fresh salt from the operating system.
    ///
    /// # Errors
    /// [`HashError::Salt`] when the operating system has no randomness to give, and
    /// [`HashError::Memory`] when argon2id cannot have its memory.
    pub fn hash(&self, password: &Password) -> Result<PasswordHash, HashError> {
        let stored = match self.kind {
            HashKind::Sha512 => {
                let salt = fresh_salt::<SALT_BYTES>()?;
                let digest = sha512(password, &salt);
                Stored::Sha512 { salt: Salt::Short(salt), digest }
            }
            HashKind::Sha512Pbkdf2 => {
                let salt = fresh_salt::<SALT_BYTES>()?;
                let digest = pbkdf2(password, &salt, self.iterations);
                Stored::Pbkdf2 { iterations: self.iterations, salt: Salt::Short(salt), digest }
            }
            HashKind::Argon2id => {
                let salt = fresh_salt::<LONG_SALT_BYTES>()?;
                let cost = Argon2Cost::DEFAULT;
                let tag = argon2id(password, &salt, cost, DIGEST_BYTES)?;
                Stored::Argon2id { cost, salt: salt.to_vec(), tag }
            }
        };
        Ok(PasswordHash(stored))
    }
}

/// Why a password was not hashed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HashError {
    /// More iterations than [`MAX_ITERATIONS`].
    #[error("more than {MAX_ITERATIONS} iterations would block a broker for seconds per login")]
    Iterations,
    /// The operating system gave no random bytes for the salt.
    #[error("no random salt from the operating system")]
    Salt(#[source] getrandom::Error),
    /// argon2id's working memory could not be allocated.
    #[error("argon2id needs {kib} KiB of memory, which cannot be had")]
    Memory {
        /// The memory asked for, in KiB.
        kib: u32,
    },
}

/// The costs written into an argon2id string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Argon2Cost {
    pub(super) version: argon2::Version,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Argon2Cost {
    const DEFAULT: Self =
        Self { version: argon2::Version::V0x13, memory_kib: 47_104, passes: 1, lanes: 1 };
}

pub(super) fn sha512(password: &Password, salt: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha512::new();
    hasher.update(password.as_bytes());
    hasher.update(salt);
    hasher.finalize().into()
}

pub(super) fn pbkdf2(password: &Password, salt: &[u8], iterations: u32) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), salt, iterations, &mut digest);
    digest
}

/// The caller has checked `cost` and the lengths against argon2's limits, so that memory is all
/// that can lack.
pub(super) fn argon2id(
    password: &Password,
    salt: &[u8],
    cost: Argon2Cost,
    tag_bytes: usize,
) -> Result<Vec<u8>, HashError> {
    let lacking = |_| HashError::Memory { kib: cost.memory_kib };
    let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(tag_bytes))
        .map_err(lacking)?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, cost.version, params);
    let mut tag = vec![0; tag_bytes];
    argon2.hash_password_into(password.as_bytes(), salt, &mut tag).map_err(lacking)?;
    Ok(tag)
}

fn fresh_salt<const N: usize>() -> Result<[u8; N], HashError> {
    let mut salt = [0; N];
    getrandom::fill(&mut salt).map_err(HashError::Salt)?;
    Ok(salt)
}

/// The most PBKDF2 iterations that are written or verified: ten million.
pub const MAX_ITERATIONS: u32 = 10_000_000;

const DEFAULT_ITERATIONS: u32 = 1000;

/// The salt that every broker decodes for `$6$` and `$7$`; 2.0 decodes no other length.
pub(super) const SALT_BYTES: usize = 12;

/// The salt of entries that mosquitto 2.1 makes itself.
pub(super) const LONG_SALT_BYTES: usize = 64;

pub(super) const DIGEST_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn every_kind_verifies_its_own_password_and_no_other() {
        for kind in HashKind::ALL {
            let hash = Hasher::new(kind).hash(&password("secret")).unwrap();
            assert_eq!(hash.kind(), kind);
            assert!(hash.verify(&password("secret")).unwrap(), "{kind}");
            assert!(!hash.verify(&password("Secret")).unwrap(), "{kind}");
        }
    }

    #[test]
    fn salts_are_fresh() {
        let hasher = Hasher::new(HashKind::Sha512);
        let first = hasher.hash(&password("secret")).unwrap();
        let second = hasher.hash(&password("secret")).unwrap();
        assert_ne!(first.to_string(), second.to_string());
    }

    #[test]
    fn salt_lengths_are_those_brokers_read() {
        let fields = |kind| {
            let text = Hasher::new(kind).hash(&password("p")).unwrap().to_string();
            text.split('$').map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(fields(HashKind::Sha512)[2].len(), 16);
        assert_eq!(fields(HashKind::Sha512Pbkdf2)[3].len(), 16);
        assert_eq!(fields(HashKind::Argon2id)[3], "m=47104,t=1,p=1");
        assert_eq!(fields(HashKind::Argon2id)[4].len(), 86);
        assert_eq!(fields(HashKind::Argon2id)[5].len(), 86);
    }

    #[test]
    fn iterations_are_bounded() {
        let hasher = Hasher::new(HashKind::Sha512Pbkdf2);
        let most = NonZeroU32::new(MAX_ITERATIONS).unwrap();
        assert!(hasher.with_iterations(most).is_ok());
        let above = NonZeroU32::new(MAX_ITERATIONS + 1).unwrap();
        assert!(matches!(hasher.with_iterations(above), Err(HashError::Iterations)));
    }

    #[test]
    fn names_are_the_words_of_mosquitto_passwd() {
        for kind in HashKind::ALL {
            assert_eq!(kind.name().parse::<HashKind>(), Ok(kind));
        }
        assert!("argon2".parse::<HashKind>().is_err());
        assert!("SHA512".parse::<HashKind>().is_err());
    }
}
