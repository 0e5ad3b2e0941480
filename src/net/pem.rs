//! Certificates, revocation lists and private keys from PEM text (RFC 7468).
//!
//! This file alone knows the PEM reader. What a file holds is either read whole or refused: a damaged
//! section is an error even when others could be used, and so is a file without the section asked for.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pkcs8::pkcs5;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls_pemfile::Item;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use zeroize::Zeroizing;

use super::Secret;

/// Where PEM text comes from: a file or memory.
///
/// ```
/// use midge::net::PemSource;
///
/// let from_file = PemSource::from(std::path::Path::new("/etc/ssl/ca.pem"));
/// let from_memory = PemSource::from(b"-----BEGIN CERTIFICATE-----\n...".to_vec());
/// # let _ = (from_file, from_memory);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemSource {
    /// A file, read once, when the options that name it are built into a configuration.
    File(PathBuf),
    /// The PEM text itself.
    Memory(Secret),
}

impl PemSource {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        let text = match self {
            PemSource::Memory(text) => Zeroizing::new(text.expose().to_vec()),
            PemSource::File(path) => read_file(path)
                .map_err(|source| PemError::Unreadable { origin: self.to_string(), source })?,
        };
        Ok(match text.strip_prefix(b"\xef\xbb\xbf") {
            Some(after_bom) => Zeroizing::new(after_bom.to_vec()),
            None => text,
        })
    }

    /// Reads all certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let text = self.read()?;
        let certificates = self.sections(&text, |item| match item {
            Item::X509Certificate(certificate) => Some(certificate),
            _ => None,
        })?;
        if !certificates.is_empty() {
            return Ok(certificates);
        }
        if find(&text, b"-----BEGIN TRUSTED CERTIFICATE-----").is_some() {
            return Err(PemError::TrustedCertificate { origin: self.to_string() });
        }
        Err(self.missing(&text, "certificate", "x509"))
    }

    /// Reads all certificate revocation lists, at least one.
    pub(super) fn crls(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
        let text = self.read()?;
        let crls = self.sections(&text, |item| match item {
            Item::Crl(crl) => Some(crl),
            _ => None,
        })?;
        if !crls.is_empty() {
            return Ok(crls);
        }
        Err(self.missing(&text, "certificate revocation list", "crl"))
    }

    /// Reads the first private key, decrypting it if it is encrypted.
    pub(super) fn private_key(
        &self,
        passphrase: Option<&Secret>,
    ) -> Result<PrivateKeyDer<'static>, PemError> {
        let text = self.read()?;
        let Some((label, section)) = first_private_key(&text) else {
            return Err(self.missing(&text, "private key", "pkey"));
        };
        if label == b"ENCRYPTED PRIVATE KEY" {
            return self.decrypt(section, passphrase);
        }
        if find(section, b"Proc-Type:").is_some() {
            return Err(PemError::LegacyEncryption { origin: self.to_string() });
        }
        let keys = self.sections(section, |item| match item {
            Item::Pkcs1Key(key) => Some(PrivateKeyDer::Pkcs1(key)),
            Item::Pkcs8Key(key) => Some(PrivateKeyDer::Pkcs8(key)),
            Item::Sec1Key(key) => Some(PrivateKeyDer::Sec1(key)),
            _ => None,
        })?;
        keys.into_iter().next().ok_or_else(|| PemError::UnsupportedKey {
            origin: self.to_string(),
            label: String::from_utf8_lossy(label).escape_default().to_string(),
        })
    }

    fn decrypt(
        &self,
        section: &[u8],
        passphrase: Option<&Secret>,
    ) -> Result<PrivateKeyDer<'static>, PemError> {
        let origin = || self.to_string();
        let garbled = |detail: String| PemError::Garbled { origin: origin(), detail };
        let unsupported = |detail: String| PemError::Encryption { origin: origin(), detail };

        let passphrase =
            passphrase.ok_or_else(|| PemError::PassphraseMissing { origin: origin() })?;
        let text = std::str::from_utf8(section).map_err(|error| garbled(error.to_string()))?;
        let (_, der) =
            SecretDocument::from_pem(text).map_err(|error| garbled(error.to_string()))?;
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes())
            .map_err(|error| unsupported(error.to_string()))?;
        let kdf = match &encrypted.encryption_algorithm {
            pkcs5::EncryptionScheme::Pbes2(parameters) => &parameters.kdf,
            _ => return Err(unsupported("PBES1".to_owned())),
        };
        if !is_affordable(kdf) {
            return Err(PemError::KeyDerivationCost { origin: origin() });
        }
        match encrypted.decrypt(passphrase.expose()) {
            Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
            Err(pkcs8::Error::EncryptedPrivateKey(
                error @ (pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::AlgorithmParametersInvalid { .. }),
            )) => Err(unsupported(error.to_string())),
            // A wrong key shows as bad padding, or by chance as a document that is not ASN.1.
            Err(_) => Err(PemError::PassphraseWrong { origin: origin() }),
        }
    }

    fn sections<T>(
        &self,
        mut text: &[u8],
        select: impl Fn(Item) -> Option<T>,
    ) -> Result<Vec<T>, PemError> {
        let mut selected = Vec::new();
        loop {
            match rustls_pemfile::read_one_from_slice(text) {
                Ok(Some((item, rest))) => {
                    selected.extend(select(item));
                    text = rest;
                }
                Ok(None) => return Ok(selected),
                Err(error) => {
                    let detail = garbled_detail(&error);
                    return Err(PemError::Garbled { origin: self.to_string(), detail });
                }
            }
        }
    }

    fn missing(&self, text: &[u8], what: &'static str, command: &'static str) -> PemError {
        let origin = self.to_string();
        if text.starts_with(DER_SEQUENCE) {
            PemError::Der { origin, command }
        } else {
            PemError::Missing { origin, what }
        }
    }
}

impl From<PathBuf> for PemSource {
    fn from(path: PathBuf) -> PemSource {
        PemSource::File(path)
    }
}

impl From<&Path> for PemSource {
    fn from(path: &Path) -> PemSource {
        PemSource::File(path.to_owned())
    }
}

impl From<Vec<u8>> for PemSource {
    fn from(text: Vec<u8>) -> PemSource {
        PemSource::Memory(text.into())
    }
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PemSource::File(path) => write!(f, "{}", path.display()),
            PemSource::Memory(_) => f.write_str("the PEM text"),
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PemSource({self})")
    }
}

/// Why a certificate, key or revocation list could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The file cannot be opened or read, or is too large.
    #[error("cannot read {origin}")]
    Unreadable {
        /// The file.
        origin: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no section of the kind asked for.
    #[error("{origin} holds no {what} in PEM form")]
    Missing {
        /// The file.
        origin: String,
        /// What was looked for.
        what: &'static str,
    },
    /// The file is binary.
    #[error(
        "{origin} is in DER form; convert it: openssl {command} -inform der -in {origin} -out FILE"
    )]
    Der {
        /// The file.
        origin: String,
        /// The command of openssl that converts it.
        command: &'static str,
    },
    /// The file holds certificates in OpenSSL's own form, whose trust settings would be lost.
    #[error(
        "{origin} holds a TRUSTED CERTIFICATE; convert it: openssl x509 -in {origin} -out FILE"
    )]
    TrustedCertificate {
        /// The file.
        origin: String,
    },
    /// A section is damaged.
    #[error("{origin} is damaged: {detail}")]
    Garbled {
        /// The file.
        origin: String,
        /// What is wrong.
        detail: String,
    },
    /// The private key is of a kind that TLS has no use for.
    #[error("{origin} holds a key of the unsupported kind {label}")]
    UnsupportedKey {
        /// The file.
        origin: String,
        /// The section's label.
        label: String,
    },
    /// The private key is encrypted in the way of old OpenSSL versions, which is weak.
    #[error(
        "{origin} is encrypted in an outdated form (Proc-Type: 4,ENCRYPTED); convert it: \
         openssl pkcs8 -topk8 -in {origin} -out FILE"
    )]
    LegacyEncryption {
        /// The file.
        origin: String,
    },
    /// The private key is encrypted with an algorithm that is weak or unknown.
    #[error(
        "{origin} is encrypted with an unsupported algorithm ({detail}); convert it: \
         openssl pkcs8 -topk8 -v2 aes256 -v2prf hmacWithSHA256 -in {origin} -out FILE"
    )]
    Encryption {
        /// The file.
        origin: String,
        /// The algorithm, or what is wrong with its parameters.
        detail: String,
    },
    /// Deriving the key from the passphrase would take more time or memory than is reasonable.
    #[error(
        "{origin} asks for an excessive key derivation; convert it: \
         openssl pkcs8 -topk8 -v2 aes256 -v2prf hmacWithSHA256 -in {origin} -out FILE"
    )]
    KeyDerivationCost {
        /// The file.
        origin: String,
    },
    /// The private key is encrypted and no passphrase was given.
    #[error("{origin} is encrypted: its passphrase is needed")]
    PassphraseMissing {
        /// The file.
        origin: String,
    },
    /// The passphrase does not open the private key.
    #[error("the passphrase does not open {origin}")]
    PassphraseWrong {
        /// The file.
        origin: String,
    },
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB"));
    }
    Ok(text)
}

/// Finds the first section whose label ends in `PRIVATE KEY`: its label, and its text from the `BEGIN`
/// line to the `END` line (or to the end, when it has none).
fn first_private_key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = text;
    loop {
        let begin = find(rest, b"-----BEGIN ")?;
        let section = rest.get(begin..)?;
        let after_begin = section.get(b"-----BEGIN ".len()..)?;
        let label = after_begin.get(..find(after_begin, b"-----")?)?;
        if label.ends_with(b"PRIVATE KEY") {
            let end_line = [b"-----END ", label, b"-----"].concat();
            let length = find(section, &end_line).map_or(section.len(), |at| at + end_line.len());
            return Some((label, section.get(..length)?));
        }
        rest = after_begin;
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

/// Bounds the work that a key file can ask for: about five seconds, or 256 MiB.
fn is_affordable(kdf: &pkcs5::pbes2::Kdf) -> bool {
    match kdf {
        pkcs5::pbes2::Kdf::Pbkdf2(parameters) => {
            parameters.iteration_count <= MAX_PBKDF2_ITERATIONS
        }
        pkcs5::pbes2::Kdf::Scrypt(parameters) => {
            let memory = u128::from(parameters.cost_parameter) * u128::from(parameters.block_size);
            let work = memory * u128::from(parameters.parallelization);
            // The decoder divides by logarithms of a cost of zero.
            parameters.cost_parameter != 0 && memory <= MAX_SCRYPT_BLOCKS && work <= MAX_SCRYPT_WORK
        }
        _ => false,
    }
}

fn garbled_detail(error: &rustls_pemfile::Error) -> String {
    match error {
        rustls_pemfile::Error::MissingSectionEnd { end_marker } => {
            format!("no line {}", String::from_utf8_lossy(end_marker).escape_default())
        }
        rustls_pemfile::Error::IllegalSectionStart { line } => {
            format!("bad line {}", String::from_utf8_lossy(line).escape_default())
        }
        rustls_pemfile::Error::Base64Decode(detail) => format!("bad base64, {detail}"),
    }
}

const DER_SEQUENCE: &[u8] = b"\x30";

const MAX_FILE_BYTES: u64 = 64 << 20;

const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

/// Blocks of 128 bytes.
const MAX_SCRYPT_BLOCKS: u128 = 2 << 20;

const MAX_SCRYPT_WORK: u128 = 8 << 20;
