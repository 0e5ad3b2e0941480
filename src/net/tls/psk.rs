//! TLS with a pre-shared key in place of certificates (RFC 4279, RFC 5487), through OpenSSL: rustls has
//! no such thing. TLS 1.2 only, as there is no common practice for keys of this kind in TLS 1.3.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::keylog::KeyLogFile;
use super::options::check_alpn;
use super::{Backend, TlsConfig, TlsConfigError, TlsProblem};
use crate::net::Secret;
use crate::net::endpoint::hex_byte;

/// How to secure connections with a key that both sides know.
///
/// The server proves that it knows the key, and nothing else: there are no certificates, and a server
/// that offers one is refused.
///
/// ```
/// use midge::net::PskOptions;
///
/// let config = PskOptions::from_hex("sensor-7", "00deadbeef15c0ffee")?.build()?;
/// # Ok::<(), midge::net::TlsConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PskOptions {
    identity: String,
    key: Secret,
    /// The cipher suites to offer, as a list in OpenSSL's notation. Default: all with a pre-shared key
    /// that encrypt and are not outdated.
    pub ciphers: Option<String>,
    /// Application protocols to offer (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// A file to append session secrets to, as for [`TlsOptions`](super::TlsOptions::keylog).
    pub keylog: Option<PathBuf>,
}

impl PskOptions {
    /// Takes an identity and its key.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::InvalidPskIdentity`] and [`TlsConfigError::InvalidPsk`] when one of them is
    /// empty or too long.
    pub fn new(identity: &str, key: Secret) -> Result<PskOptions, TlsConfigError> {
        if !(1..=MAX_IDENTITY_BYTES).contains(&identity.len()) || identity.contains('\0') {
            return Err(TlsConfigError::InvalidPskIdentity);
        }
        if !(1..=MAX_KEY_BYTES).contains(&key.expose().len()) {
            return Err(TlsConfigError::InvalidPsk);
        }
        let identity = identity.to_owned();
        Ok(PskOptions { identity, key, ciphers: None, alpn: Vec::new(), keylog: None })
    }

    /// Takes an identity and its key in hexadecimal digits, as mosquitto's `psk_file` has them.
    ///
    /// # Errors
    ///
    /// As [`PskOptions::new`], and [`TlsConfigError::InvalidPsk`] for anything that is not an even
    /// number of hexadecimal digits.
    pub fn from_hex(identity: &str, key: &str) -> Result<PskOptions, TlsConfigError> {
        let (pairs, rest) = key.as_bytes().as_chunks();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| hex_byte(*high, *low)).collect();
        match bytes {
            Some(bytes) if rest.is_empty() => PskOptions::new(identity, Secret::from(bytes)),
            _ => Err(TlsConfigError::InvalidPsk),
        }
    }

    /// Checks that everything fits together.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError::InvalidAlpn`], [`TlsConfigError::KeyLog`], and [`TlsConfigError::OpenSsl`] for
    /// cipher suites that OpenSSL does not know.
    pub fn build(&self) -> Result<TlsConfig, TlsConfigError> {
        check_alpn(&self.alpn)?;
        let ciphers = self.ciphers.as_deref().unwrap_or(DEFAULT_CIPHERS);
        if ciphers.contains('\0') {
            let source = "the list of cipher suites holds a NUL".into();
            return Err(TlsConfigError::OpenSsl { source });
        }
        let keylog = self.keylog.as_deref().map(KeyLogFile::open).transpose()?;
        match self.context(ciphers, keylog) {
            Ok(context) => {
                let context = PskContext { context, identity: self.identity.clone() };
                Ok(TlsConfig { backend: Backend::Psk(context) })
            }
            Err(error) => Err(TlsConfigError::OpenSsl { source: error.into() }),
        }
    }

    fn context(&self, ciphers: &str, keylog: Option<KeyLogFile>) -> Result<SslContext, ErrorStack> {
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_cipher_list(ciphers)?;
        // No authority is trusted, so that a handshake with a certificate cannot succeed, whatever the
        // cipher suites.
        builder.set_verify(SslVerifyMode::PEER);
        if !self.alpn.is_empty() {
            let mut protocols = Vec::new();
            for name in &self.alpn {
                protocols.extend(u8::try_from(name.len()));
                protocols.extend_from_slice(name);
            }
            builder.set_alpn_protos(&protocols)?;
        }
        if let Some(keylog) = keylog {
            builder.set_keylog_callback(move |_, line| keylog.append(line));
        }
        let (identity, key) = (self.identity.clone(), self.key.clone());
        builder.set_psk_client_callback(move |_, _hint, identity_out, key_out| {
            let identity = identity.bytes().chain([0]);
            let key = key.expose();
            // A key of length 0 makes OpenSSL fail the handshake.
            if identity_out.len() < identity.clone().count() || key_out.len() < key.len() {
                return Ok(0);
            }
            identity_out.iter_mut().zip(identity).for_each(|(out, byte)| *out = byte);
            key_out.iter_mut().zip(key).for_each(|(out, byte)| *out = *byte);
            Ok(key.len())
        });
        Ok(builder.build())
    }
}

/// The built form of [`PskOptions`].
#[derive(Clone)]
pub(super) struct PskContext {
    context: SslContext,
    identity: String,
}

impl PskContext {
    pub(super) async fn handshake(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> Result<SslStream<TcpStream>, (TlsProblem, io::Error)> {
        let mut tls =
            self.stream(host, tcp).map_err(|error| (TlsProblem::Other, io::Error::other(error)))?;
        match Pin::new(&mut tls).connect().await {
            Ok(()) => Ok(tls),
            Err(error) => Err((problem_of(&error), into_io_error(error))),
        }
    }

    fn stream(&self, host: &str, tcp: TcpStream) -> Result<SslStream<TcpStream>, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        // Names only (RFC 6066 §3), and none that would not fit into a C string.
        if host.parse::<IpAddr>().is_err() && !host.contains('\0') {
            ssl.set_hostname(host.trim_end_matches('.'))?;
        }
        SslStream::new(ssl, tcp)
    }
}

impl fmt::Debug for PskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("psk_identity", &self.identity).finish_non_exhaustive()
    }
}

fn problem_of(error: &openssl::ssl::Error) -> TlsProblem {
    let reasons = error.ssl_error().map(ErrorStack::errors).unwrap_or_default();
    let reason = reasons.first().map(|error| error.reason_code());
    match reason {
        Some(ALERT_UNKNOWN_PSK_IDENTITY | ALERT_DECRYPT_ERROR | ALERT_BAD_RECORD_MAC) => {
            TlsProblem::PskRefused
        }
        Some(ALERT_PROTOCOL_VERSION | UNSUPPORTED_PROTOCOL) => TlsProblem::Version,
        Some(ALERT_HANDSHAKE_FAILURE | ALERT_INSUFFICIENT_SECURITY) => {
            TlsProblem::NoCommonParameters
        }
        Some(CERTIFICATE_VERIFY_FAILED) => TlsProblem::Certificate,
        Some(WRONG_VERSION_NUMBER) => TlsProblem::NotTls,
        Some(UNEXPECTED_EOF) => TlsProblem::Closed,
        Some(_) => TlsProblem::Other,
        None => match error.code() {
            ErrorCode::ZERO_RETURN | ErrorCode::SYSCALL => TlsProblem::Closed,
            _ => TlsProblem::Other,
        },
    }
}

fn into_io_error(error: openssl::ssl::Error) -> io::Error {
    error.into_io_error().unwrap_or_else(io::Error::other)
}

/// Those with a pre-shared key, without the ones that do not encrypt or need a certificate.
const DEFAULT_CIPHERS: &str = "PSK:!eNULL:!kRSAPSK:!3DES:!RC4";

/// What OpenSSL 1.1.1 has room for, with a final NUL.
const MAX_IDENTITY_BYTES: usize = 127;

const MAX_KEY_BYTES: usize = 256;

// Reason codes of OpenSSL's sslerr.h. An alert received is 1000 and its number.
const CERTIFICATE_VERIFY_FAILED: i32 = 134;
const UNSUPPORTED_PROTOCOL: i32 = 258;
const WRONG_VERSION_NUMBER: i32 = 267;
const UNEXPECTED_EOF: i32 = 294;
const ALERT_BAD_RECORD_MAC: i32 = 1020;
const ALERT_HANDSHAKE_FAILURE: i32 = 1040;
const ALERT_DECRYPT_ERROR: i32 = 1051;
const ALERT_PROTOCOL_VERSION: i32 = 1070;
const ALERT_INSUFFICIENT_SECURITY: i32 = 1071;
const ALERT_UNKNOWN_PSK_IDENTITY: i32 = 1115;
