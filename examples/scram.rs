//! Authenticates with SCRAM-SHA-256 (RFC 5802, RFC 7677) by MQTT 5.0's enhanced authentication: the
//! password never leaves this side, and the broker proves that it knows it too.
//!
//! `cargo run --example scram -- mqtts://broker.example user password`

use std::hash::{BuildHasher, RandomState};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use midge::client::{AuthData, AuthError, Authenticator};
use midge::codec::PropertiesRef;
use midge::{Client, Version};
use sha2::{Digest, Sha256};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        |name| arguments.next().ok_or(format!("usage: scram URL USER PASSWORD: no {name}"));
    run(&next("URL")?, &next("USER")?, &next("PASSWORD")?).await
}

/// Connects to the broker at `url`, authenticates once more, and disconnects.
pub async fn run(url: &str, user: &str, password: &str) -> Result<(), Error> {
    let (client, _inbox) = Client::builder(url)?
        .version(Version::V5)
        .authenticator(Scram::new(user, password))
        .start()?;
    client.connected().await?;
    println!("authenticated, and so is the broker");
    client.reauthenticate().await?;
    println!("and once more");
    client.disconnect().await?;
    Ok(())
}

/// The client's part of SCRAM-SHA-256 without channel binding.
///
/// It takes user names and passwords of printable ASCII, of which SASLprep is the text itself.
pub struct Scram {
    user: String,
    password: String,
    /// Makes the nonces; a test brings its own.
    nonce: Box<dyn FnMut() -> String + Send>,
    state: State,
}

enum State {
    Idle,
    /// The first message without its header, and its nonce.
    Started {
        first: String,
        nonce: String,
    },
    /// What the broker will prove itself with.
    Proven {
        signature: Vec<u8>,
    },
}

impl Scram {
    /// Prepares to prove that this side knows the password.
    pub fn new(user: &str, password: &str) -> Scram {
        let random = || {
            // Hashed with keys that the standard library takes from the system's random numbers.
            let parts: [u64; 3] = std::array::from_fn(|n| RandomState::new().hash_one(n));
            STANDARD.encode(parts.map(u64::to_le_bytes).concat())
        };
        Scram::with_nonces(user, password, random)
    }

    /// As [`new`](Self::new), with nonces of the caller's making.
    pub fn with_nonces(
        user: &str,
        password: &str,
        nonce: impl FnMut() -> String + Send + 'static,
    ) -> Scram {
        let (user, password) = (user.to_owned(), password.to_owned());
        Scram { user, password, nonce: Box::new(nonce), state: State::Idle }
    }
}

impl Authenticator for Scram {
    fn method(&self) -> &str {
        "SCRAM-SHA-256"
    }

    fn start(&mut self) -> Result<AuthData, AuthError> {
        if !self.user.bytes().chain(self.password.bytes()).all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err("user name and password must be printable ASCII".into());
        }
        let nonce = (self.nonce)();
        let user = self.user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        let message = format!("n,,{first}");
        self.state = State::Started { first, nonce };
        Ok(message.into())
    }

    fn step(&mut self, challenge: PropertiesRef<'_>) -> Result<AuthData, AuthError> {
        let State::Started { first, nonce } = std::mem::replace(&mut self.state, State::Idle)
        else {
            return Err("a challenge out of turn".into());
        };
        let challenge = std::str::from_utf8(challenge.authentication_data().unwrap_or_default())?;
        let mut fields = challenge.split(',');
        let mut field = |name: &str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name));
            value.ok_or_else(|| AuthError::from(format!("no {name} in the challenge")))
        };
        let (both, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if both.len() <= nonce.len() || !both.starts_with(&nonce) {
            return Err("the challenge is not for this client".into());
        }
        let (salt, iterations) = (STANDARD.decode(salt)?, iterations.parse()?);
        // Few iterations would give the password away, very many would stop the client.
        if !(4096..=1_000_000).contains(&iterations) {
            return Err(format!("{iterations} iterations are too few or too many").into());
        }
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, iterations, &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let without_proof = format!("c=biws,r={both}");
        let signed = format!("{first},{challenge},{without_proof}");
        let client_signature = sign(&Sha256::digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&client_signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        let signature = sign(&sign(&salted, b"Server Key"), signed.as_bytes());
        self.state = State::Proven { signature };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into())
    }

    fn finish(&mut self, accepted: PropertiesRef<'_>) -> Result<(), AuthError> {
        let State::Proven { signature } = std::mem::replace(&mut self.state, State::Idle) else {
            return Err("accepted without a challenge".into());
        };
        let expected = format!("v={}", STANDARD.encode(signature));
        match accepted.authentication_data() == Some(expected.as_bytes()) {
            true => Ok(()),
            false => Err("the broker does not know the password".into()),
        }
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}
