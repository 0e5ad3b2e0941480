//! Any password file: `cargo +nightly fuzz run --fuzz-dir tests/fuzz passwd_file`.
//!
//! Reading and checking agree on what is corrupt, and a user who comes and goes leaves the file as
//! it was, but for a final newline.
#![no_main]

use midge::passwd::{Change, HashKind, Hasher, Password, PasswordFile, Problem, Username, check};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let is_corrupt = |problem| matches!(problem, Problem::Corrupt(_));
    let has_corrupt_line = check(data).iter().any(|finding| is_corrupt(finding.problem));
    let parsed = PasswordFile::parse(data.to_vec());
    assert_eq!(parsed.is_err(), has_corrupt_line);
    let Ok(mut file) = parsed else { return };

    let user = Username::new("newcomer").unwrap();
    if file.entry(&user).is_some() {
        return;
    }
    let password = Password::new(b"secret".to_vec()).unwrap();
    let hash = Hasher::new(HashKind::Sha512).hash(&password).unwrap();
    let count = file.entries().count();
    assert_eq!(file.set(&user, &hash), Change::Added);
    assert_eq!(file.entries().count(), count + 1);
    PasswordFile::parse(file.text().to_vec()).unwrap();
    assert_eq!(file.remove(&user), 1);
    let rest = file.text().strip_prefix(data).unwrap();
    assert!(rest.is_empty() || rest == b"\n" || rest == b"\r\n");
});
