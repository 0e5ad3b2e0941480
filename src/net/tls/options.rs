//! The options of TLS and how they become a configuration.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, ClientConfig, InconsistentKeys, RootCertStore, SupportedProtocolVersion,
};

use super::ciphers::select_ciphers;
use super::keylog::KeyLogFile;
use super::verify::{ChainVerifier, NoVerifier, is_old_version};
use super::{Backend, TlsConfig, TlsConfigError};
use crate::net::{PemSource, Secret};

/// How to secure connections and whom to trust.
///
/// Without any source of CA certificates, the system's are used; `ca` and `ca_dir` replace them unless
/// `os_certs` asks for all of them together.
///
/// ```no_run
/// use midge::net::{TlsOptions, PemSource};
///
/// let mut options = TlsOptions::default();
/// options.ca = vec![PemSource::File("/etc/mqtt/ca.pem".into())];
/// options.client_cert = Some(PemSource::File("/etc/mqtt/me.pem".into()));
/// options.client_key = Some(PemSource::File("/etc/mqtt/me.key".into()));
/// let config = options.build()?;
/// # Ok::<(), midge::net::TlsConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Certificates of the authorities to trust. A server's own certificate may be among them.
    pub ca: Vec<PemSource>,
    /// A directory of such certificates: files named `*.pem`, `*.crt`, `*.cer`, or by a hash as
    /// `openssl rehash` names them.
    pub ca_dir: Option<PathBuf>,
    /// Whether to trust the system's authorities besides `ca` and `ca_dir`.
    pub os_certs: bool,
    /// The client's certificate, followed by those of its issuers.
    pub client_cert: Option<PemSource>,
    /// The private key of the client's certificate: PKCS#8 (also encrypted), PKCS#1 or SEC1; RSA,
    /// P-256, P-384 or Ed25519.
    pub client_key: Option<PemSource>,
    /// What opens an encrypted private key.
    pub key_passphrase: Option<Secret>,
    /// The lowest TLS version to accept. Default: TLS 1.2.
    pub min_version: TlsVersion,
    /// Application protocols to offer (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// The cipher suites to offer, separated by colons, commas or blanks, by their IANA, OpenSSL or
    /// rustls names. No others are offered, so that a TLS version without any of them is not either.
    pub ciphers: Option<String>,
    /// A file to append session secrets to, for programs that analyse captured traffic. Whoever reads
    /// it can read the traffic.
    pub keylog: Option<PathBuf>,
    /// How far the server's certificate is checked.
    pub verification: Verification,
    /// Certificate revocation lists. If there are any, every certificate of a server's chain (below
    /// the trusted one) must be covered by one that has not expired.
    pub crls: Vec<PemSource>,
    /// The name to ask the server for (SNI) and to look for in its certificate, in place of the host
    /// connected to.
    pub server_name: Option<String>,
    /// Whether a later connection may resume the session of an earlier one, which saves most of the
    /// handshake. Default: true.
    pub resumption: bool,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions {
            ca: Vec::new(),
            ca_dir: None,
            os_certs: false,
            client_cert: None,
            client_key: None,
            key_passphrase: None,
            min_version: TlsVersion::default(),
            alpn: Vec::new(),
            ciphers: None,
            keylog: None,
            verification: Verification::default(),
            crls: Vec::new(),
            server_name: None,
            resumption: true,
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2, `tlsv1.2`.
    #[default]
    Tls12,
    /// TLS 1.3, `tlsv1.3`.
    Tls13,
}

impl FromStr for TlsVersion {
    type Err = TlsConfigError;

    fn from_str(text: &str) -> Result<TlsVersion, TlsConfigError> {
        match text {
            "tlsv1.2" => Ok(TlsVersion::Tls12),
            "tlsv1.3" => Ok(TlsVersion::Tls13),
            _ => Err(TlsConfigError::UnknownVersion { version: text.escape_debug().to_string() }),
        }
    }
}

/// How far a server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verification {
    /// Everything: chain, validity, name, revocation where lists are given, and that the server holds
    /// the private key.
    #[default]
    Full,
    /// Everything but the name. Anybody with a certificate of a trusted CA can pose as the server.
    IgnoreName,
    /// Nothing. Anybody can pose as the server.
    Nothing,
}

impl TlsOptions {
    /// Reads all files named and checks that everything fits together.
    ///
    /// Blocks while it reads. The key derivation of an encrypted key may take seconds.
    ///
    /// # Errors
    ///
    /// [`TlsConfigError`] names the file or option at fault. A key that is encrypted while there is no
    /// passphrase, and a passphrase that is wrong, are [`PemError`](crate::net::PemError)s of their
    /// own, so that the caller can ask for one and build again.
    pub fn build(&self) -> Result<TlsConfig, TlsConfigError> {
        let provider = Arc::new(self.provider()?);
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let offered: Vec<_> = versions
            .iter()
            .copied()
            .filter(|version| {
                provider.cipher_suites.iter().any(|suite| suite.version() == *version)
            })
            .collect();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&offered)
            .map_err(|_| TlsConfigError::NoCipher)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let mut client = match (&self.client_cert, &self.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = cert.certificates()?;
                warn_if_others_can_read(key);
                let key_der = key.private_key(self.key_passphrase.as_ref())?;
                let identity = client_identity(chain, key_der, &provider)
                    .map_err(|error| client_cert_error(cert, key, error))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            _ => return Err(TlsConfigError::CertificateWithoutKey),
        };
        check_alpn(&self.alpn)?;
        client.alpn_protocols.clone_from(&self.alpn);
        if !self.resumption {
            client.resumption = Resumption::disabled();
        }
        if let Some(path) = &self.keylog {
            client.key_log = Arc::new(KeyLogFile::open(path)?);
        }
        let server_name = match &self.server_name {
            Some(name) => Some(server_name(name).ok_or_else(|| {
                TlsConfigError::InvalidServerName { name: name.escape_debug().to_string() }
            })?),
            None => None,
        };
        Ok(TlsConfig { backend: Backend::Rustls { client: Arc::new(client), server_name } })
    }

    fn provider(&self) -> Result<CryptoProvider, TlsConfigError> {
        let mut provider = default_provider();
        if let Some(names) = &self.ciphers {
            provider.cipher_suites = select_ciphers(names, &provider.cipher_suites)?;
        }
        Ok(provider)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
        if self.verification == Verification::Nothing {
            let algorithms = provider.signature_verification_algorithms;
            return Ok(Arc::new(NoVerifier { algorithms }));
        }
        let (roots, trusted) = self.roots()?;
        let mut builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        for source in &self.crls {
            builder = builder.with_crls(source.crls()?);
        }
        let webpki = builder
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| TlsConfigError::Crl { source: error.into() })?;
        let ignore_name = self.verification == Verification::IgnoreName;
        Ok(Arc::new(ChainVerifier { webpki, trusted, ignore_name }))
    }

    /// Collects the trust anchors, and apart from them the certificates that the user named.
    fn roots(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsConfigError> {
        let mut sources = self.ca.clone();
        if let Some(path) = &self.ca_dir {
            sources.extend(ca_dir_files(path)?);
        }
        let mut roots = RootCertStore::empty();
        let mut trusted: Vec<CertificateDer<'static>> = Vec::new();
        for source in &sources {
            for certificate in source.certificates()? {
                // A directory may hold a certificate under its name and under its hash.
                if trusted.contains(&certificate) {
                    continue;
                }
                roots.add(certificate.clone()).map_err(|error| TlsConfigError::CaCertificate {
                    origin: source.to_string(),
                    source: error.into(),
                })?;
                trusted.push(certificate);
            }
        }
        if sources.is_empty() || self.os_certs {
            add_system_roots(&mut roots)?;
        }
        Ok((roots, trusted))
    }
}

/// Checks that protocol names fit into the extension (RFC 7301 §3.1).
pub(super) fn check_alpn(names: &[Vec<u8>]) -> Result<(), TlsConfigError> {
    let fits = |name: &Vec<u8>| (1..=usize::from(u8::MAX)).contains(&name.len());
    if names.iter().all(fits) { Ok(()) } else { Err(TlsConfigError::InvalidAlpn) }
}

fn default_provider() -> CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    return rustls::crypto::ring::default_provider();
}

fn add_system_roots(roots: &mut RootCertStore) -> Result<(), TlsConfigError> {
    let found = rustls_native_certs::load_native_certs();
    // The system's list may hold certificates of a form that webpki does not read.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let detail = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "none was found".to_owned(),
    };
    Err(TlsConfigError::SystemCertificates { detail })
}

fn ca_dir_files(path: &Path) -> Result<Vec<PemSource>, TlsConfigError> {
    let unreadable = |source| TlsConfigError::CaDirectory { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if is_certificate_name(&file) && !file.is_dir() {
            files.push(PemSource::File(file));
        }
    }
    if files.is_empty() {
        return Err(TlsConfigError::CaDirectoryEmpty { path: path.to_owned() });
    }
    Ok(files)
}

/// Tells certificates by their names: `*.pem`, `*.crt`, `*.cer`, or `5ed36f99.0`.
fn is_certificate_name(file: &Path) -> bool {
    let (Some(stem), Some(extension)) = (
        file.file_stem().and_then(|stem| stem.to_str()),
        file.extension().and_then(|extension| extension.to_str()),
    ) else {
        return false;
    };
    let is_hash = stem.len() == 8
        && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
        && extension.bytes().all(|byte| byte.is_ascii_digit());
    is_hash || ["pem", "crt", "cer"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The certificate and the key that belongs to it.
///
/// webpki reads only version 3 of X.509. Whether a client may have a certificate of version 1, which
/// `openssl x509 -req` makes where no extensions are asked for, is for the server to decide.
fn client_identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let identity = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InvalidCertificate(error)) if is_old_version(&error) => {
            let certificate = identity.end_entity_cert()?;
            // It holds the public key in the same form.
            let matches = identity.key.public_key().is_none_or(|key| {
                certificate.windows(key.len().max(1)).any(|part| part == key.as_ref())
            });
            if matches { Ok(identity) } else { Err(InconsistentKeys::KeyMismatch.into()) }
        }
        Err(error) => Err(error),
    }
}

fn client_cert_error(cert: &PemSource, key: &PemSource, error: rustls::Error) -> TlsConfigError {
    let (certificate, key) = (cert.to_string(), key.to_string());
    match error {
        rustls::Error::InconsistentKeys(_) => TlsConfigError::KeyMismatch { certificate, key },
        error => TlsConfigError::ClientCertificate { certificate, key, source: error.into() },
    }
}

#[cfg(unix)]
fn warn_if_others_can_read(key: &PemSource) {
    use std::os::unix::fs::MetadataExt;

    if let PemSource::File(path) = key
        && let Ok(metadata) = std::fs::metadata(path)
        && metadata.is_file()
        && metadata.mode() & 0o044 != 0
    {
        tracing::warn!(path = %path.display(), "other users can read the private key");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_key: &PemSource) {}

/// Makes of a host what TLS asks a server for: an address or a name, without a final dot or zone.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.split_once('%').map_or(host, |(address, _zone)| address);
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorities_given_replace_those_of_the_system() {
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        let source = PemSource::from(ca.cert.pem().into_bytes());
        let mut options = TlsOptions { ca: vec![source.clone(), source], ..TlsOptions::default() };
        let (roots, trusted) = options.roots().unwrap();
        assert_eq!((roots.len(), trusted.len()), (1, 1));
        options.os_certs = true;
        match options.roots() {
            Ok((roots, trusted)) => assert!(roots.len() > 1 && trusted.len() == 1),
            // A machine without CA certificates.
            Err(error) => assert!(matches!(error, TlsConfigError::SystemCertificates { .. })),
        }
    }

    #[test]
    fn names_of_servers() {
        for (host, expected) in [
            ("Example.COM", Some("Example.COM")),
            ("example.com.", Some("example.com")),
            ("::1", Some("::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("my_broker", Some("my_broker")),
            ("bad name", None),
            ("", None),
        ] {
            assert_eq!(
                server_name(host).map(|name| name.to_str().into_owned()).as_deref(),
                expected
            );
        }
    }
}
