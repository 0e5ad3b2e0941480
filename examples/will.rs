//! Leaves a last will with the broker, and has it published at the end.
//!
//! `cargo run --example will -- mqtt://localhost`

use midge::{Client, Properties, QoS, ReasonCode, Version, Will};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).await
}

/// Runs the example against the broker at `url`.
pub async fn run(url: &str) -> Result<(), Error> {
    let (watcher, _inbox) = Client::builder(url)?.retry_first_connect(false).start()?;
    let mut states = watcher.subscribe("example/lamp/state").qos(QoS::AtLeastOnce).await?;

    let will = Will::new("example/lamp/state", "gone")?.qos(QoS::AtLeastOnce);
    let (lamp, _inbox) = Client::builder(url)?
        .version(Version::V5)
        .will(will)
        .on_connect(|_, handle| {
            // The will is the last word of this connection; each new one starts with this.
            drop(handle.publish("example/lamp/state", "here").qos(QoS::AtLeastOnce).try_enqueue());
        })
        .start()?;
    println!("{:?}", states.next().await.map(|message| message.into_payload()));

    // A plain `disconnect` would have the broker forget the will, as would the end of the program
    // after the last handle is dropped. A crash would not, and neither does this:
    lamp.disconnect_with(ReasonCode::DISCONNECT_WITH_WILL, Properties::new()).await?;
    println!("{:?}", states.next().await.map(|message| message.into_payload()));

    watcher.disconnect().await?;
    Ok(())
}
