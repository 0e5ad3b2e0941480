//! A client over TLS that shows a certificate of its own.
//!
//! ```sh
//! cargo run --example tls -- mqtts://broker.example ca.pem client.pem client.key
//! ```
//!
//! Everything that can be wrong with the files is found before the first connection. The same
//! configuration serves `wss://` URLs, and every reconnect.

use std::path::PathBuf;

use midge::net::{PemError, PemSource, TlsConfigError, TlsOptions};
use midge::{Client, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().ok_or("usage: tls URL [CA-FILE [CERTIFICATE KEY]]")?;
    let mut file = || words.next().map(|path| PemSource::File(PathBuf::from(path)));

    let mut options = TlsOptions::default();
    // Without a file of authorities, those of the system are trusted.
    options.ca.extend(file());
    options.client_cert = file();
    options.client_key = file();
    let tls = match options.build() {
        Err(TlsConfigError::Pem(PemError::PassphraseMissing { .. })) => {
            let passphrase = std::env::var("KEY_PASSPHRASE")?;
            options.key_passphrase = Some(passphrase.into());
            options.build()?
        }
        outcome => outcome?,
    };

    let (client, _inbox) = Client::builder(&url)?.tls(tls).start()?;
    let info = client.connected().await?;
    println!("connected to {:?}", info.peer);
    client.publish("midge/example", "over TLS").qos(QoS::AtLeastOnce).await?;
    client.disconnect().await?;
    Ok(())
}
