//! What can be wrong with a TLS configuration, and with a handshake.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::verify::is_old_version;
use crate::net::PemError;

/// Why [`TlsOptions::build`](super::TlsOptions::build) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A certificate, key or revocation list could not be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The directory of CA certificates cannot be read.
    #[error("cannot read the CA directory {path:?}")]
    CaDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory of CA certificates holds none.
    #[error(
        "the CA directory {path:?} holds no certificate; its files are named *.pem, *.crt, *.cer \
         or by the hash that \"openssl rehash\" gives them"
    )]
    CaDirectoryEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The system's certificate authorities could not be loaded.
    #[error("the system has no usable CA certificates ({detail}); name a CA file instead")]
    SystemCertificates {
        /// What the search came to.
        detail: String,
    },
    /// A CA certificate cannot be used.
    #[error("{origin} holds a CA certificate that cannot be used")]
    CaCertificate {
        /// Where it was read.
        origin: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A revocation list cannot be used.
    #[error("a certificate revocation list cannot be used")]
    Crl {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Only one of client certificate and private key is given.
    #[error("a client certificate and its private key are both needed if one of them is given")]
    CertificateWithoutKey,
    /// The private key belongs to another certificate.
    #[error("the private key {key} does not belong to the certificate {certificate}")]
    KeyMismatch {
        /// Where the certificate was read.
        certificate: String,
        /// Where the key was read.
        key: String,
    },
    /// The client certificate or its private key cannot be used.
    #[error("the client certificate {certificate} with the key {key} cannot be used")]
    ClientCertificate {
        /// Where the certificate was read.
        certificate: String,
        /// Where the key was read.
        key: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A TLS version is not known or not supported.
    #[error("\"{version}\" is not a TLS version: use tlsv1.2 or tlsv1.3")]
    UnknownVersion {
        /// The version as given.
        version: String,
    },
    /// A cipher suite is not known.
    #[error("unknown cipher suite \"{name}\"; those known are {}", .known.join(", "))]
    UnknownCipher {
        /// The name as given.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// No cipher suite is left for the TLS versions allowed.
    #[error("none of the cipher suites given belongs to the TLS versions allowed")]
    NoCipher,
    /// A protocol name for ALPN is empty or too long.
    #[error("an ALPN protocol name has 1 to 255 bytes")]
    InvalidAlpn,
    /// The server name is neither a host name nor an address.
    #[error("\"{name}\" is not a server name or address")]
    InvalidServerName {
        /// The name as given.
        name: String,
    },
    /// The pre-shared key is not what it should be.
    #[cfg(feature = "psk")]
    #[error("a pre-shared key is 1 to 256 bytes, each written as two hexadecimal digits")]
    InvalidPsk,
    /// The identity that goes with a pre-shared key is not what it should be.
    #[cfg(feature = "psk")]
    #[error("the identity of a pre-shared key is 1 to 127 bytes without a NUL")]
    InvalidPskIdentity,
    /// OpenSSL does not take the cipher suites given, or another part of the configuration.
    #[cfg(feature = "psk")]
    #[error("OpenSSL refuses the configuration; check the cipher suites, in OpenSSL's names")]
    OpenSsl {
        /// What OpenSSL said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key log cannot be opened.
    #[error("cannot open the TLS key log {path:?}")]
    KeyLog {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What went wrong between this side and a TLS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsProblem {
    /// The server's certificate was issued by nobody that is trusted here.
    UnknownIssuer,
    /// The server's certificate names other hosts.
    WrongName,
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server's certificate is revoked.
    Revoked,
    /// No revocation list covers a certificate of the server's chain.
    RevocationUnknown,
    /// A revocation list has expired.
    RevocationListExpired,
    /// The server's certificate names no hosts: it has no subjectAltName, as none has that is of a
    /// version of X.509 before 3.
    NoName,
    /// The server's certificate is wrong in another way.
    Certificate,
    /// The server does not hold the private key of its certificate.
    Signature,
    /// The server wants a client certificate.
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    ClientCertificateRefused,
    /// The server does not know the identity, or has another pre-shared key for it.
    #[cfg(feature = "psk")]
    PskRefused,
    /// The two sides have no TLS version in common.
    Version,
    /// The two sides have no cipher suite, group or signature scheme in common.
    NoCommonParameters,
    /// The server has no certificate for the name, or no protocol of those offered (ALPN).
    NameOrProtocolRefused,
    /// The other side does not speak TLS.
    NotTls,
    /// The connection was closed during the handshake.
    Closed,
    /// The host cannot be the name in a certificate.
    InvalidHost,
    /// Something else; the source of the error tells what.
    Other,
}

impl TlsProblem {
    pub(super) fn of_handshake(error: &io::Error) -> TlsProblem {
        match tls_error(error) {
            Some(error) => TlsProblem::of(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => TlsProblem::Closed,
                _ => TlsProblem::Other,
            },
        }
    }

    fn of(error: &Error) -> TlsProblem {
        match error {
            Error::InvalidCertificate(error) => TlsProblem::of_certificate(error),
            Error::InvalidCertRevocationList(_) => TlsProblem::RevocationUnknown,
            Error::NoCertificatesPresented => TlsProblem::Certificate,
            Error::AlertReceived(alert) => TlsProblem::of_alert(*alert),
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => TlsProblem::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => TlsProblem::Version,
            Error::PeerIncompatible(_) => TlsProblem::NoCommonParameters,
            _ => TlsProblem::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> TlsProblem {
        match error {
            CertificateError::UnknownIssuer => TlsProblem::UnknownIssuer,
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                TlsProblem::NoName
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsProblem::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsProblem::NotYetValid
            }
            CertificateError::Revoked => TlsProblem::Revoked,
            CertificateError::UnknownRevocationStatus => TlsProblem::RevocationUnknown,
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                TlsProblem::RevocationListExpired
            }
            CertificateError::BadSignature => TlsProblem::Signature,
            error if is_old_version(error) => TlsProblem::NoName,
            _ => TlsProblem::Certificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> TlsProblem {
        match alert {
            AlertDescription::CertificateRequired => TlsProblem::ClientCertificateRequired,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => TlsProblem::ClientCertificateRefused,
            AlertDescription::ProtocolVersion => TlsProblem::Version,
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                TlsProblem::NoCommonParameters
            }
            AlertDescription::UnrecognisedName | AlertDescription::NoApplicationProtocol => {
                TlsProblem::NameOrProtocolRefused
            }
            _ => TlsProblem::Other,
        }
    }

    /// Returns whether the problem lies with the connection and not with certificates or settings.
    pub(in crate::net) fn is_transient(self) -> bool {
        matches!(self, TlsProblem::Closed | TlsProblem::Other)
    }
}

impl fmt::Display for TlsProblem {
    /// Says what is wrong and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsProblem::UnknownIssuer => {
                "its certificate is not issued by a trusted CA; name the CA file of its issuer"
            }
            TlsProblem::WrongName => {
                "its certificate is for another name; connect by the name in the certificate"
            }
            TlsProblem::Expired => "its certificate has expired; check the clock, or renew it",
            TlsProblem::NotYetValid => "its certificate is not valid yet; check the clock",
            TlsProblem::Revoked => "its certificate is revoked; it must not be trusted",
            TlsProblem::RevocationUnknown => {
                "no revocation list covers its certificate; give the list of every issuer"
            }
            TlsProblem::RevocationListExpired => {
                "the revocation list has expired; get a current one from the issuer"
            }
            TlsProblem::NoName => {
                "its certificate names no host; have it issued with the extension subjectAltName"
            }
            TlsProblem::Certificate => "its certificate cannot be accepted",
            TlsProblem::Signature => "it did not prove that its certificate is its own",
            TlsProblem::ClientCertificateRequired => {
                "it wants a client certificate; give a certificate and its key"
            }
            TlsProblem::ClientCertificateRefused => {
                "it does not accept the certificates shown; check that its CA issued the client's"
            }
            #[cfg(feature = "psk")]
            TlsProblem::PskRefused => {
                "it does not accept the pre-shared key; check identity and key"
            }
            TlsProblem::Version => "no TLS version in common; TLS 1.2 and 1.3 are supported here",
            TlsProblem::NoCommonParameters => {
                "nothing in common to agree on; check ciphers, and whether it wants a certificate"
            }
            TlsProblem::NameOrProtocolRefused => {
                "it does not serve that server name or ALPN protocol; check both"
            }
            TlsProblem::NotTls => "it does not speak TLS; check the port",
            TlsProblem::Closed => {
                "it closed the connection; check that the port is for TLS and what its log says"
            }
            TlsProblem::InvalidHost => "no certificate can be for that name; set the server name",
            TlsProblem::Other => "the handshake failed",
        })
    }
}

/// A fatal alert of the server after the handshake, which is where TLS 1.3 servers say that they refuse
/// a client certificate.
#[derive(Debug, thiserror::Error)]
#[error("the server ended the TLS connection: {problem}")]
struct TlsAlert {
    problem: TlsProblem,
    #[source]
    source: Error,
}

/// Puts an alert that arrives after the handshake into words; other errors stay as they are.
pub(in crate::net) fn explain(error: io::Error) -> io::Error {
    match tls_error(&error) {
        Some(Error::AlertReceived(alert)) => {
            let (kind, problem) = (error.kind(), TlsProblem::of_alert(*alert));
            io::Error::new(kind, TlsAlert { problem, source: Error::AlertReceived(*alert) })
        }
        _ => error,
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
