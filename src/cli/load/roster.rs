//! A file with a row for each client: identifiers, credentials and certificates.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{load::Account, session::Secret};

/// The columns that a file may have.
const COLUMNS: [&str; 5] = ["client_id", "user", "password", "cert", "key"];

/// What the rows of a file say.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) accounts: Vec<Account>,
    /// The certificate and the key of each client; empty when the file has no such columns.
    certificates: Vec<Option<(PathBuf, PathBuf)>>,
}

impl Roster {
    /// Reads a file of comma-separated values (RFC 4180), whose first line names the columns.
    ///
    /// # Errors
    /// What is wrong with the file, and in which line. What its fields say is not told: there are
    /// passwords among them.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let context = || format!("--clients: cannot use {}", path.display());
        let file = std::fs::File::open(path).with_context(context)?;
        Self::parse(file).with_context(context)
    }

    fn parse(input: impl std::io::Read) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(input);
        let header = reader.headers().map_err(without_fields)?.clone();
        let mut places = [None; COLUMNS.len()];
        for (place, name) in header.iter().enumerate() {
            let column = COLUMNS.iter().position(|column| *column == name);
            match column.and_then(|column| places.get_mut(column)) {
                Some(known @ None) => *known = Some(place),
                Some(_) => bail!("the column {name} is there twice"),
                None => bail!("line 1 must name columns out of {}", COLUMNS.join(", ")),
            }
        }
        let [client_id, user, password, cert, key] = places;
        if cert.is_some() != key.is_some() {
            bail!("a certificate needs its key: the columns cert and key belong together");
        }
        let (mut accounts, mut certificates) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(without_fields)?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |place: Option<usize>| record.get(place?).filter(|field| !field.is_empty());
            accounts.push(Account {
                client_id: field(client_id).map(Into::into),
                username: field(user).map(Into::into),
                password: field(password).map(|password| Secret::from(password.as_bytes())),
            });
            if cert.is_some() {
                certificates.push(match (field(cert), field(key)) {
                    (Some(cert), Some(key)) => Some((cert.into(), key.into())),
                    (None, None) => None,
                    _ => bail!("line {line} has one of cert and key, and needs both or none"),
                });
            }
        }
        if accounts.is_empty() {
            bail!("there are no clients in it");
        }
        Ok(Self { accounts, certificates })
    }

    pub(super) fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The certificates and keys of the clients.
    pub(super) fn certificates(&self) -> Option<Vec<Option<(PathBuf, PathBuf)>>> {
        self.has_certificates().then(|| self.certificates.clone())
    }
}

/// Where the file is wrong, without what is written there.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn without_fields(error: csv::Error) -> anyhow::Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Io(io) => anyhow::anyhow!("{io}"),
        csv::ErrorKind::Utf8 { .. } => anyhow::anyhow!("line {line} is not UTF-8"),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            anyhow::anyhow!("line {line} has {len} fields, line 1 has {expected_len}")
        }
        _ => anyhow::anyhow!("line {line} is not comma-separated values"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_any_order_and_fields_may_be_empty() {
        let text = "password,client_id,user\n\"a,b\"\"c\",one,ann\n,two,\n";
        let roster = Roster::parse(text.as_bytes()).unwrap();
        let [one, two] = &roster.accounts[..] else { panic!() };
        assert_eq!((one.client_id.as_deref(), one.username.as_deref()), (Some("one"), Some("ann")));
        assert_eq!(one.password.as_ref().unwrap().as_bytes(), b"a,b\"c");
        assert_eq!((two.client_id.as_deref(), two.username.as_deref()), (Some("two"), None));
        assert!(two.password.is_none());
        assert!(roster.certificates().is_none());
    }

    #[test]
    fn certificates_come_with_their_keys() {
        let roster = Roster::parse(&b"cert,key\na.pem,a.key\n,\n"[..]).unwrap();
        let certificates = roster.certificates().unwrap();
        assert_eq!(certificates, [Some(("a.pem".into(), "a.key".into())), None]);
    }

    #[test]
    fn faults_are_named_and_passwords_are_not() {
        for (text, says) in [
            ("", "no clients"),
            ("user\n", "no clients"),
            ("name\nx\n", "out of client_id, user, password, cert, key"),
            ("user,user\na,b\n", "twice"),
            ("cert\na.pem\n", "belong together"),
            ("cert,key\na.pem,\n", "line 2"),
            ("user,password\nann,secret\nbob,secret,secret\n", "line 3 has 3 fields, line 1 has 2"),
        ] {
            let error = format!("{:#}", Roster::parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(says) && !error.contains("secret"), "{text:?}: {error}");
        }
        let error = format!("{:#}", Roster::parse(&b"password\n\xff\n"[..]).unwrap_err());
        assert!(error.contains("UTF-8"), "{error}");
    }
}
