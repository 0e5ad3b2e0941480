//! From options to a TLS configuration. A passphrase that is needed and not given is asked for.

use std::{fs::File, path::PathBuf, rc::Rc};

use anyhow::{Context, Result, bail};

#[cfg(feature = "psk")]
use super::opts::feature::Psk;
use super::{
    opts::TlsOptions,
    secret_input::{Prompt, Signals, Wording, read_secret},
};
use crate::load::ClientTls;
use crate::net::{
    self, PemError, PemSource, Secret, TlsConfig, TlsConfigError, TlsVersion, Verification,
};

/// TLS as the options ask for it, nothing of which has been read yet.
#[derive(Clone, Debug)]
pub enum TlsPlan {
    /// With certificates.
    Certificates {
        /// What to trust and whom to be.
        options: net::TlsOptions,
        /// Where the passphrase of the private key is.
        passphrase_file: Option<PathBuf>,
    },
    /// With a pre-shared key.
    #[cfg(feature = "psk")]
    PreSharedKey(net::PskOptions),
}

impl TlsPlan {
    /// Checks what can be told from the options alone.
    ///
    /// # Errors
    /// Options that need or exclude each other.
    pub fn new(given: &TlsOptions) -> Result<Self> {
        #[cfg(feature = "psk")]
        if let Some(key) = &given.psk {
            return pre_shared_key(given, key);
        }
        if given.psk_identity.is_some() {
            bail!("--psk-identity names a key: add --psk HEX");
        }
        check_client_certificate(given)?;
        let source = |path: &PathBuf| PemSource::File(path.clone());
        let mut options = net::TlsOptions::default();
        options.ca.extend(given.cafile.as_ref().map(source));
        options.ca_dir.clone_from(&given.capath);
        options.os_certs = given.tls_use_os_certs;
        options.client_cert = given.cert.as_ref().map(source);
        options.client_key = given.key.as_ref().map(source);
        options.key_passphrase =
            given.keypass.as_ref().map(|passphrase| Secret::from(passphrase.as_bytes().to_vec()));
        if let Some(version) = &given.tls_version {
            options.min_version = version.parse::<TlsVersion>()?;
        }
        options.alpn = alpn(given);
        options.server_name.clone_from(&given.tls_server_name);
        options.ciphers.clone_from(&given.ciphers);
        options.crls = given.crlfile.iter().map(source).collect();
        options.keylog.clone_from(&given.tls_keylog);
        options.verification = match given {
            TlsOptions { insecure_accept_any_certificate: true, .. } => Verification::Nothing,
            TlsOptions { insecure: true, .. } => Verification::IgnoreName,
            _ => Verification::Full,
        };
        Ok(Self::Certificates { options, passphrase_file: given.keypass_file.clone() })
    }

    /// Has every connection make a handshake of its own, as clients do that are not the same device.
    pub fn without_resumption(mut self) -> Self {
        match &mut self {
            Self::Certificates { options, .. } => options.resumption = false,
            #[cfg(feature = "psk")]
            Self::PreSharedKey(_) => {}
        }
        self
    }

    /// A configuration for each client, by its index: with the certificate and the key of its own, or
    /// with those of all where it has none.
    ///
    /// # Errors
    /// When the first one cannot be used. Later ones are read when their clients connect.
    pub fn for_clients(&self, certificates: Vec<Option<(PathBuf, PathBuf)>>) -> Result<ClientTls> {
        let common = self.config()?;
        let options = match self {
            Self::Certificates { options, .. } => options.clone(),
            #[cfg(feature = "psk")]
            Self::PreSharedKey(_) => bail!("--psk takes the place of certificates"),
        };
        let make = move |g: u32| {
            let Some(Some((cert, key))) = certificates.get(g as usize) else {
                return Ok(common.clone());
            };
            let mut options = options.clone();
            options.client_cert = Some(PemSource::File(cert.clone()));
            options.client_key = Some(PemSource::File(key.clone()));
            options.build().map_err(|error| format!("{:#}", explain(error)))
        };
        make(0).map_err(anyhow::Error::msg)?;
        Ok(ClientTls::new(make))
    }

    /// Reads all files and checks that they fit together.
    ///
    /// # Errors
    /// The file or option at fault.
    pub fn config(&self) -> Result<TlsConfig> {
        let (mut options, passphrase_file) = match self {
            Self::Certificates { options, passphrase_file } => (options.clone(), passphrase_file),
            #[cfg(feature = "psk")]
            Self::PreSharedKey(options) => return options.build().map_err(explain),
        };
        if let Some(path) = passphrase_file {
            let passphrase = File::open(path)
                .and_then(read_secret)
                .with_context(|| format!("--keypass-file: cannot read {}", path.display()))?;
            options.key_passphrase = Some(passphrase.to_vec().into());
        }
        match options.build() {
            Err(TlsConfigError::Pem(PemError::PassphraseMissing { origin })) => {
                options.key_passphrase = Some(ask(&origin)?);
                options.build().map_err(explain)
            }
            outcome => outcome.map_err(explain),
        }
    }
}

fn check_client_certificate(given: &TlsOptions) -> Result<()> {
    match (&given.cert, &given.key) {
        (Some(_), Some(_)) => return Ok(()),
        (Some(_), None) => bail!("--cert needs its private key: add --key FILE"),
        (None, Some(_)) => bail!("--key needs its certificate: add --cert FILE"),
        (None, None) => {}
    }
    let about_keys = [
        ("--keyform", given.keyform.is_some()),
        ("--keypass", given.keypass.is_some()),
        ("--keypass-file", given.keypass_file.is_some()),
    ];
    match about_keys.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => {
            bail!("{option} is about a private key: add --cert FILE and --key FILE")
        }
        None => Ok(()),
    }
}

#[cfg(feature = "psk")]
fn pre_shared_key(given: &TlsOptions, key: &Psk) -> Result<TlsPlan> {
    let about_certificates = [
        ("--cafile", given.cafile.is_some()),
        ("--capath", given.capath.is_some()),
        ("--tls-use-os-certs", given.tls_use_os_certs),
        ("--cert", given.cert.is_some()),
        ("--key", given.key.is_some()),
        ("--crlfile", !given.crlfile.is_empty()),
        ("--tls-server-name", given.tls_server_name.is_some()),
    ];
    if let Some((option, _)) = about_certificates.iter().find(|(_, is_given)| *is_given) {
        bail!("--psk takes the place of certificates: leave out {option}");
    }
    if given.tls_version.as_deref() == Some("tlsv1.3") {
        bail!("--psk is for TLS 1.2: leave out --tls-version tlsv1.3");
    }
    let Some(identity) = &given.psk_identity else {
        bail!("--psk needs the name of the key: add --psk-identity IDENTITY");
    };
    let key = String::from_utf8_lossy(key.as_bytes());
    let mut options = net::PskOptions::from_hex(identity, &key).map_err(explain)?;
    options.ciphers.clone_from(&given.ciphers);
    options.alpn = alpn(given);
    options.keylog.clone_from(&given.tls_keylog);
    Ok(TlsPlan::PreSharedKey(options))
}

fn alpn(given: &TlsOptions) -> Vec<Vec<u8>> {
    given.tls_alpn.iter().map(|protocol| protocol.clone().into()).collect()
}

/// Asks for the passphrase of a private key.
fn ask(key: &str) -> Result<Secret> {
    let signals = Rc::new(Signals::install().context("cannot handle signals")?);
    let prompt = Prompt::open(signals, WORDING)?;
    let passphrase = prompt.ask(&format!("Passphrase of {key}: "))?;
    prompt.close()?;
    Ok(passphrase.to_vec().into())
}

/// Names the option that an error is about, where the error does not name a file.
fn explain(error: TlsConfigError) -> anyhow::Error {
    let option = match &error {
        TlsConfigError::SystemCertificates { .. } => "--tls-use-os-certs",
        TlsConfigError::Crl { .. } => "--crlfile",
        TlsConfigError::UnknownVersion { .. } => "--tls-version",
        TlsConfigError::UnknownCipher { .. } | TlsConfigError::NoCipher => "--ciphers",
        TlsConfigError::InvalidAlpn => "--tls-alpn",
        TlsConfigError::InvalidServerName { .. } => "--tls-server-name",
        #[cfg(feature = "psk")]
        TlsConfigError::InvalidPskIdentity => "--psk-identity",
        #[cfg(feature = "psk")]
        TlsConfigError::OpenSsl { .. } => "--ciphers",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(option)
}

const WORDING: Wording =
    Wording { secret: "passphrase", instead: "--keypass-file or --keypass", consequence: "" };
