//! Certificates and keys in files: every form that is read, and every one that is refused and how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use midge::net::{PemError, PemSource, Secret, TlsConfigError, TlsOptions, Verification};
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Pbkdf2Params, ScryptParams};
use tempfile::TempDir;

use crate::support::broker::program;
use crate::support::pki::Ca;

/// Runs openssl in a directory, with the arguments of one line.
fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Options with a certificate and key that are files of a directory.
fn client(dir: &TempDir, cert: &str, key: &str) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.verification = Verification::Nothing;
    options.client_cert = Some(PemSource::File(dir.path().join(cert)));
    options.client_key = Some(PemSource::File(dir.path().join(key)));
    options
}

fn pem_error(options: &TlsOptions) -> PemError {
    match options.build() {
        Err(TlsConfigError::Pem(error)) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            error
        }
        other => panic!("{other:?}"),
    }
}

fn with_ca(source: PemSource) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.ca = vec![source];
    options
}

#[test]
fn every_form_of_private_key_is_read() {
    let Some(_) = program("openssl") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("pkcs8-p256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY"),
        ("pkcs8-p384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out KEY"),
        ("pkcs8-rsa", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out KEY"),
        ("pkcs8-ed25519", "genpkey -algorithm ed25519 -out KEY"),
        ("sec1", "ecparam -name prime256v1 -genkey -out KEY"),
        ("pkcs1", "genrsa -traditional -out KEY 2048"),
    ] {
        let key = format!("{name}.key");
        openssl(dir.path(), &line.replace("KEY", &key));
        openssl(dir.path(), &format!("req -x509 -new -key {key} -subj /CN=x -out {name}.pem"));
        client(&dir, &format!("{name}.pem"), &key).build().unwrap_or_else(|error| {
            panic!("{name}: {error} {:?}", std::error::Error::source(&error));
        });
    }
    // The key of one is not the key of another.
    let error = client(&dir, "sec1.pem", "pkcs8-p256.key").build().unwrap_err();
    assert!(matches!(error, TlsConfigError::KeyMismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("pkcs8-p256.key"), "{error}");
}

#[test]
fn encrypted_private_keys_are_opened_with_the_passphrase() {
    let Some(_) = program("openssl") else { return };
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "ecparam -name prime256v1 -genkey -out plain.key");
    openssl(dir.path(), "req -x509 -new -key plain.key -subj /CN=x -out cert.pem");
    for form in [
        "-v2 aes-128-cbc",
        "-v2 aes-192-cbc",
        "-v2 aes-256-cbc -v2prf hmacWithSHA512",
        "-v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 100000",
        "-scrypt",
    ] {
        let line = format!("pkcs8 -topk8 -in plain.key -out KEY -passout pass:s3cret {form}");
        openssl(dir.path(), &line.replace("KEY", "encrypted.key"));
        let mut options = client(&dir, "cert.pem", "encrypted.key");
        let error = pem_error(&options);
        assert!(matches!(error, PemError::PassphraseMissing { .. }), "{error:?}");
        options.key_passphrase = Some(Secret::from("s3cret"));
        options.build().unwrap_or_else(|error| panic!("{form}: {error}"));
        for wrong in ["S3cret", "", "s3cret\n"] {
            options.key_passphrase = Some(Secret::from(wrong));
            let error = pem_error(&options);
            assert!(matches!(error, PemError::PassphraseWrong { .. }), "{form}: {error:?}");
            assert!(error.to_string().contains("encrypted.key"), "{error}");
        }
    }
    // What comes before the key in the file does not matter, nor do Windows line ends.
    let text = fs::read_to_string(dir.path().join("encrypted.key")).unwrap();
    let text = format!("Bag Attributes\n    friendlyName: Zoë\n{text}").replace('\n', "\r\n");
    fs::write(dir.path().join("encrypted.key"), text).unwrap();
    let mut options = client(&dir, "cert.pem", "encrypted.key");
    options.key_passphrase = Some(Secret::from("s3cret"));
    options.build().unwrap();
}

#[test]
fn outdated_encryption_is_refused_with_the_line_that_converts_it() {
    let Some(_) = program("openssl") else { return };
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), "genrsa -traditional -aes128 -passout pass:s3cret -out legacy.key 2048");
    openssl(
        dir.path(),
        "req -x509 -new -key legacy.key -passin pass:s3cret -subj /CN=x -out c.pem",
    );
    for (form, name) in [("-v1 PBE-SHA1-3DES", "v1.key"), ("-v2 des3", "des3.key")] {
        let line = "pkcs8 -topk8 -in legacy.key -passin pass:s3cret -passout pass:s3cret";
        openssl(dir.path(), &format!("{line} -out {name} {form}"));
    }
    for (name, converting) in [
        ("legacy.key", "openssl pkcs8 -topk8 -in "),
        ("v1.key", "openssl pkcs8 -topk8 -v2 aes256 -v2prf hmacWithSHA256 -in "),
        ("des3.key", "openssl pkcs8 -topk8 -v2 aes256 -v2prf hmacWithSHA256 -in "),
    ] {
        let mut options = client(&dir, "c.pem", name);
        options.key_passphrase = Some(Secret::from("s3cret"));
        let error = pem_error(&options).to_string();
        assert!(error.contains(converting) && error.contains(name), "{error}");
        // The advice works.
        let advice = error.split("convert it: openssl ").nth(1).unwrap();
        let advice = advice.replace(" -out FILE", " -out converted.key");
        openssl(dir.path(), &format!("{advice} -passin pass:s3cret -passout pass:new"));
        let mut options = client(&dir, "c.pem", "converted.key");
        options.key_passphrase = Some(Secret::from("new"));
        options.build().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// An encrypted key whose derivation has these parameters; the rest of it is garbage.
fn key_with(kdf: Kdf) -> PemSource {
    let encryption = EncryptionScheme::Aes256Cbc { iv: [0; 16] };
    let encrypted = pkcs8::EncryptedPrivateKeyInfoOwned {
        encryption_algorithm: Parameters { kdf, encryption }.into(),
        encrypted_data: pkcs8::der::asn1::OctetString::new([0; 32]).unwrap(),
    };
    let document = pkcs8::SecretDocument::try_from(&encrypted).unwrap();
    let pem = document.to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF).unwrap();
    PemSource::from(pem.as_bytes().to_vec())
}

#[test]
fn a_key_cannot_ask_for_endless_work_or_memory() {
    let scrypt = |cost_parameter, block_size, parallelization| {
        let salt = b"saltsalt".as_slice().try_into().unwrap();
        let key_length = None;
        Kdf::Scrypt(ScryptParams { salt, cost_parameter, block_size, parallelization, key_length })
    };
    for kdf in [
        Kdf::Pbkdf2(Pbkdf2Params::hmac_sha256(10_000_001, b"saltsalt").unwrap()),
        scrypt(1 << 40, 8, 1),
        scrypt(1 << 18, u16::MAX, 1),
        scrypt(1 << 14, 8, u16::MAX),
        scrypt(u64::MAX, u16::MAX, u16::MAX),
        scrypt(0, 8, 1),
    ] {
        let mut options = TlsOptions::default();
        options.verification = Verification::Nothing;
        options.client_cert = Some(Ca::new("ca").client("me").cert());
        options.client_key = Some(key_with(kdf.clone()));
        options.key_passphrase = Some(Secret::from("s3cret"));
        let error = pem_error(&options);
        assert!(matches!(error, PemError::KeyDerivationCost { .. }), "{kdf:?}: {error:?}");
    }
}

#[test]
fn certificate_and_key_go_together() {
    let ca = Ca::new("ca");
    let me = ca.client("me");
    let mut options = with_ca(ca.source());
    options.client_cert = Some(me.cert());
    let error = options.build().unwrap_err();
    assert!(matches!(error, TlsConfigError::CertificateWithoutKey), "{error:?}");
    options.client_cert = None;
    options.client_key = Some(me.key());
    let error = options.build().unwrap_err();
    assert!(matches!(error, TlsConfigError::CertificateWithoutKey), "{error:?}");
    options.client_cert = Some(me.cert());
    options.client_key = Some(ca.client("other").key());
    let error = options.build().unwrap_err();
    assert!(matches!(error, TlsConfigError::KeyMismatch { .. }), "{error:?}");
    // One file with both is fine.
    let both = format!("{}{}", me.key.serialize_pem(), me.pem);
    options.client_cert = Some(PemSource::from(both.clone().into_bytes()));
    options.client_key = Some(PemSource::from(both.into_bytes()));
    options.build().unwrap();
}

#[test]
fn ca_files_that_cannot_be_used_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let cut = &ca.pem()[..200];
    let bad_base64 = ca.pem().replacen("MII", "M*I", 1);
    let second_bad = format!("{}{bad_base64}", ca.pem());
    let garbage_der = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned();
    for (name, text, message) in [
        ("empty.pem", String::new(), "no certificate"),
        ("garbage.pem", "\u{0}\u{1}garbage\n".to_owned(), "no certificate"),
        ("key.pem", ca.client("me").key.serialize_pem(), "no certificate"),
        ("cut.pem", cut.to_owned(), "damaged"),
        ("base64.pem", bad_base64, "damaged"),
        ("second.pem", second_bad, "damaged"),
        ("trusted.pem", ca.pem().replace("CERTIFICATE", "TRUSTED CERTIFICATE"), "openssl x509"),
        ("not-a-cert.pem", garbage_der, "cannot be used"),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
        let options = with_ca(PemSource::File(dir.path().join(name)));
        for _ in 0..2 {
            let error = options.build().unwrap_err().to_string();
            assert!(error.contains(message) && error.contains(name), "{name}: {error}");
            assert!(!error.contains(['\n', '\u{0}']), "{error}");
        }
    }
    fs::write(dir.path().join("der.pem"), ca.der()).unwrap();
    let error = pem_error(&with_ca(PemSource::File(dir.path().join("der.pem"))));
    assert!(matches!(error, PemError::Der { .. }), "{error:?}");
    for path in [dir.path().to_owned(), dir.path().join("missing.pem")] {
        let error = pem_error(&with_ca(PemSource::File(path)));
        assert!(matches!(error, PemError::Unreadable { .. }), "{error:?}");
    }
    #[cfg(target_os = "linux")]
    {
        let error = pem_error(&with_ca(PemSource::File(PathBuf::from("/dev/zero"))));
        assert!(matches!(error, PemError::Unreadable { .. }), "{error:?}");
    }
}

#[test]
fn ca_files_may_hold_other_text() {
    let pem = Ca::new("ca").pem();
    for text in [
        pem.replace('\n', "\r\n"),
        format!("\u{feff}{pem}"),
        format!("subject=CN = x\n\n{pem}\ntrailing junk"),
        pem.trim_end().to_owned(),
        format!("{pem}{}", Ca::new("second").pem()),
    ] {
        with_ca(PemSource::from(text.clone().into_bytes()))
            .build()
            .unwrap_or_else(|error| panic!("{error} {text}"));
    }
}

#[test]
fn a_byte_order_mark_does_not_hide_the_first_certificate() {
    let damaged = Ca::new("first").pem().replacen("MII", "M*I", 1);
    let text = format!("\u{feff}{damaged}{}", Ca::new("second").pem());
    let error = pem_error(&with_ca(PemSource::from(text.into_bytes())));
    assert!(matches!(error, PemError::Garbled { .. }), "{error:?}");
}

#[test]
fn directories_of_authorities() {
    let ca = Ca::new("ca");
    let dir = |files: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut options = TlsOptions::default();
        options.ca_dir = Some(dir.path().to_owned());
        (options.build(), dir)
    };
    let pem = ca.pem();
    for name in ["ca.pem", "ca.CRT", "ca.cer", "5ed36f99.0", "5ED36F99.12"] {
        dir(&[(name, &pem), ("README", "no certificate")]).0.unwrap();
    }
    dir(&[("ca.pem", &pem), ("5ed36f99.0", &pem)]).0.unwrap();
    for files in [&[][..], &[("README", "x")], &[("5ed36f99.r0", &*pem)], &[("noext", &*pem)]] {
        let error = dir(files).0.unwrap_err();
        assert!(matches!(error, TlsConfigError::CaDirectoryEmpty { .. }), "{error:?}");
    }
    // One bad file among good ones is an error and no smaller set of authorities.
    let error = dir(&[("ca.pem", &pem), ("bad.pem", "x")]).0.unwrap_err();
    assert!(error.to_string().contains("bad.pem"), "{error}");

    let mut options = TlsOptions::default();
    options.ca_dir = Some(PathBuf::from("/nonexistent"));
    let error = options.build().unwrap_err();
    assert!(matches!(error, TlsConfigError::CaDirectory { .. }), "{error:?}");
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_in_a_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.pem"), Ca::new("ca").pem()).unwrap();
    // A dangling link is unreadable for root, too.
    std::os::unix::fs::symlink("nowhere", dir.path().join("5ed36f99.0")).unwrap();
    let mut options = TlsOptions::default();
    options.ca_dir = Some(dir.path().to_owned());
    let error = pem_error(&options);
    assert!(matches!(error, PemError::Unreadable { .. }), "{error:?}");
}

#[test]
fn revocation_lists_that_cannot_be_used_are_refused() {
    let ca = Ca::new("ca");
    let with_crl = |source| {
        let mut options = with_ca(ca.source());
        options.crls = vec![source];
        options
    };
    with_crl(ca.crl(&[1, 2])).build().unwrap();
    let error = pem_error(&with_crl(ca.source()));
    assert!(matches!(error, PemError::Missing { .. }), "{error:?}");
    let garbage = b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_vec();
    let error = with_crl(PemSource::from(garbage)).build().unwrap_err();
    assert!(matches!(error, TlsConfigError::Crl { .. }), "{error:?}");
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let me = Ca::new("ca").client("me");
    for (text, message) in [
        ("", "no private key"),
        (&*me.pem, "no private key"),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "cannot be used"),
        ("-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----\n", "DSA"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3A=\n-----END OPENSSH PRIVATE KEY-----", "OPENSSH"),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n", "damaged"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n", "damaged"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "unsupported",
        ),
    ] {
        let mut options = TlsOptions::default();
        options.verification = Verification::Nothing;
        options.client_cert = Some(me.cert());
        options.client_key = Some(PemSource::from(text.as_bytes().to_vec()));
        options.key_passphrase = Some(Secret::from("s3cret"));
        let error = options.build().unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let ca = Ca::new("ca");
    let build = |change: &dyn Fn(&mut TlsOptions)| {
        let mut options = with_ca(ca.source());
        change(&mut options);
        options.build().unwrap_err().to_string()
    };
    assert!(build(&|o| o.alpn = vec![Vec::new()]).contains("ALPN"));
    assert!(build(&|o| o.alpn = vec![vec![b'x'; 256]]).contains("ALPN"));
    assert!(build(&|o| o.server_name = Some("a b".to_owned())).contains("\"a b\""));
    assert!(build(&|o| o.ciphers = Some("RC4-MD5".to_owned())).contains("TLS13_AES_128"));
    let contradiction = build(&|o| {
        o.min_version = "tlsv1.3".parse().unwrap();
        o.ciphers = Some("ECDHE-RSA-AES128-GCM-SHA256".to_owned());
    });
    assert!(contradiction.contains("versions"), "{contradiction}");
    for version in ["tlsv1.1", "TLSv1.3", "", "1.2"] {
        assert!(version.parse::<midge::net::TlsVersion>().is_err());
    }
}

#[test]
fn nothing_secret_is_shown() {
    let ca = Ca::new("ca");
    let me = ca.client("me");
    let mut options = with_ca(ca.source());
    options.client_cert = Some(me.cert());
    options.client_key = Some(me.key());
    options.key_passphrase = Some(Secret::from("s3cret"));
    let shown = format!("{options:?} {:?}", options.build().unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("BEGIN"), "{shown}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in "(-----BEGIN (ENCRYPTED |RSA )?(PRIVATE KEY|CERTIFICATE)-----\\n)?(\\PC{0,64}\\n){0,4}\
                 (-----END (ENCRYPTED |RSA )?(PRIVATE KEY|CERTIFICATE)-----\\n)?",
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        use base64::Engine;
        let certificate = Ca::new("ca").client("me").cert();
        let body = base64::prelude::BASE64_STANDARD.encode(body);
        let encrypted =
            format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n");
        for text in [text, encrypted] {
            let mut options = with_ca(PemSource::from(text.clone().into_bytes()));
            let _ = options.build();
            options.verification = Verification::Nothing;
            options.client_cert = Some(certificate.clone());
            options.client_key = Some(PemSource::from(text.into_bytes()));
            options.key_passphrase = Some(Secret::from("s3cret"));
            let _ = options.build();
        }
    }
}
