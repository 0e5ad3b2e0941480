//! TLS: whom to trust, whom to be, and how much to check.

use std::{convert::Infallible, path::PathBuf};

use clap::{Args, builder::PossibleValuesParser};

use super::{
    feature::{self, Psk},
    value::{self, Secret},
};

/// Options about TLS.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsOptions {
    /// PEM file with the certificates of the authorities to trust, in place of the system's. It turns
    /// TLS on.
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,

    /// Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns
    /// TLS on.
    #[arg(long, value_name = "DIR")]
    pub capath: Option<PathBuf>,

    /// Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as
    /// port 8883 does by itself.
    #[arg(long)]
    pub tls_use_os_certs: bool,

    /// PEM file with the client's certificate, and those of its issuers behind it. Needs --key.
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// PEM file with the private key of the client's certificate. The passphrase of an encrypted one
    /// is asked for, once, unless --keypass-file or --keypass gives it.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Form of the private key: only pem. Engines are not supported.
    #[arg(long, value_name = "FORM", value_parser = value::keyform)]
    pub keyform: Option<()>,

    /// An engine of OpenSSL, of which there is none.
    #[arg(long, hide = true, value_name = "ENGINE", value_parser = value::engine)]
    pub tls_engine: Option<Infallible>,

    /// The password of such an engine.
    #[arg(long, hide = true, value_name = "SHA1", value_parser = value::engine)]
    pub tls_engine_kpass_sha1: Option<Infallible>,

    /// Passphrase of the private key. Other users of this machine can see it in the list of processes.
    #[arg(long, value_name = "PASSPHRASE", value_parser = Secret::parser())]
    #[arg(conflicts_with = "keypass_file")]
    pub keypass: Option<Secret>,

    /// File with the passphrase of the private key; one final newline is dropped.
    #[arg(long, value_name = "FILE")]
    pub keypass_file: Option<PathBuf>,

    /// Lowest version of TLS to accept [default: tlsv1.2].
    #[arg(long, value_name = "VERSION")]
    #[arg(value_parser = PossibleValuesParser::new(["tlsv1.2", "tlsv1.3"]))]
    pub tls_version: Option<String>,

    /// Protocol to ask for by ALPN, such as mqtt.
    #[arg(long, value_name = "PROTOCOL", value_parser = value::not_empty)]
    pub tls_alpn: Option<String>,

    /// Name to ask the broker for (SNI) and to look for in its certificate, in place of the host.
    #[arg(long, value_name = "NAME", value_parser = value::not_empty)]
    pub tls_server_name: Option<String>,

    /// Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others.
    #[arg(long, value_name = "LIST")]
    pub ciphers: Option<String>,

    /// PEM file with certificate revocation lists; may be repeated. Each certificate of the broker's
    /// chain must then be covered by a list that has not expired.
    #[arg(long, value_name = "FILE")]
    pub crlfile: Vec<PathBuf>,

    /// File to append the secrets of the sessions to, for programs that analyse captured traffic.
    /// Whoever can read it can read the traffic.
    #[arg(long, value_name = "FILE")]
    pub tls_keylog: Option<PathBuf>,

    /// Do not check that the broker's certificate is for the host; everything else is checked. Whoever
    /// has a certificate of a trusted authority can then pose as the broker.
    #[arg(long)]
    pub insecure: bool,

    /// Check nothing about the broker's certificate. Anybody on the way can then pose as the broker,
    /// and read and change everything.
    #[arg(long)]
    pub insecure_accept_any_certificate: bool,

    /// Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns
    /// TLS on, needs --psk-identity, and a build with the feature psk.
    #[arg(long, value_name = "HEX", value_parser = value::hidden(feature::psk))]
    pub psk: Option<Psk>,

    /// Name of the key of --psk.
    #[arg(long, value_name = "IDENTITY", value_parser = value::not_empty)]
    pub psk_identity: Option<String>,

    /// No TLS, whatever the other options and the port say.
    #[arg(long)]
    pub no_tls: bool,
}

impl TlsOptions {
    /// The first option given that turns TLS on.
    pub fn switch(&self) -> Option<&'static str> {
        first(&[
            ("--cafile", self.cafile.is_some()),
            ("--capath", self.capath.is_some()),
            ("--psk", self.psk.is_some()),
            ("--tls-use-os-certs", self.tls_use_os_certs),
        ])
    }

    /// The first option given that says something about TLS without turning it on.
    pub fn detail(&self) -> Option<&'static str> {
        first(&[
            ("--cert", self.cert.is_some()),
            ("--key", self.key.is_some()),
            ("--keyform", self.keyform.is_some()),
            ("--keypass", self.keypass.is_some()),
            ("--keypass-file", self.keypass_file.is_some()),
            ("--tls-version", self.tls_version.is_some()),
            ("--tls-alpn", self.tls_alpn.is_some()),
            ("--tls-server-name", self.tls_server_name.is_some()),
            ("--ciphers", self.ciphers.is_some()),
            ("--crlfile", !self.crlfile.is_empty()),
            ("--tls-keylog", self.tls_keylog.is_some()),
            ("--insecure", self.insecure),
            ("--insecure-accept-any-certificate", self.insecure_accept_any_certificate),
            ("--psk-identity", self.psk_identity.is_some()),
        ])
    }
}

fn first(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options.iter().find(|(_, given)| *given).map(|(name, _)| *name)
}
