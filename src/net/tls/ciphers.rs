//! Cipher suites by name.

use tokio_rustls::rustls::SupportedCipherSuite;

use super::TlsConfigError;

/// Selects suites from a list of names separated by colons, commas or blanks.
pub(super) fn select_ciphers(
    names: &str,
    available: &[SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, TlsConfigError> {
    let mut selected: Vec<SupportedCipherSuite> = Vec::new();
    for name in names.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        let suite = available.iter().find(|suite| is_called(suite, name)).ok_or_else(|| {
            TlsConfigError::UnknownCipher {
                name: name.escape_debug().to_string(),
                known: available.iter().filter_map(|suite| suite.suite().as_str()).collect(),
            }
        })?;
        if !selected.contains(suite) {
            selected.push(*suite);
        }
    }
    if selected.is_empty() { Err(TlsConfigError::NoCipher) } else { Ok(selected) }
}

fn is_called(suite: &SupportedCipherSuite, name: &str) -> bool {
    let Some(own_name) = suite.suite().as_str() else {
        return false;
    };
    own_name == name || ALIASES.contains(&(own_name, name))
}

/// The names of rustls, which are those of IANA for TLS 1.2, and the ones OpenSSL uses.
const ALIASES: [(&str, &str); 9] = [
    ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::ring::ALL_CIPHER_SUITES;

    use super::*;

    #[test]
    fn every_suite_has_its_alias_and_the_order_is_kept() {
        let reversed: Vec<_> = ALIASES.iter().rev().map(|(_, alias)| *alias).collect();
        let selected = select_ciphers(&reversed.join(":"), ALL_CIPHER_SUITES).unwrap();
        let names: Vec<_> = selected.iter().filter_map(|suite| suite.suite().as_str()).collect();
        let expected: Vec<_> = ALIASES.iter().rev().map(|(name, _)| *name).collect();
        assert_eq!(names, expected);
        assert_eq!(selected.len(), ALL_CIPHER_SUITES.len());
    }

    #[test]
    fn repetitions_count_once_and_unknown_names_are_refused_with_the_list() {
        let names = "TLS13_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256";
        assert_eq!(select_ciphers(names, ALL_CIPHER_SUITES).unwrap().len(), 1);
        let error = select_ciphers("HIGH:!aNULL", ALL_CIPHER_SUITES).unwrap_err().to_string();
        assert!(error.contains("\"HIGH\"") && error.contains("TLS13_AES_128_GCM_SHA256"));
        assert!(matches!(select_ciphers(" : ", ALL_CIPHER_SUITES), Err(TlsConfigError::NoCipher)));
    }
}
