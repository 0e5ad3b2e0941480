//! Publishes in the three ways there are: confirmed, queued, and without waiting.
//!
//! `cargo run --example publish -- mqtt://localhost`

use midge::client::EnqueueError;
use midge::{Client, QoS};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).await
}

/// Runs the example against the broker at `url`.
pub async fn run(url: &str) -> Result<(), Error> {
    // Messages can be published at once; `connected` is here so that a wrong address is noticed.
    let (client, _inbox) = Client::builder(url)?.retry_first_connect(false).start()?;
    client.connected().await?;

    // Awaited, a publish waits until the broker has confirmed it.
    let receipt = client.publish("example/state", "up").qos(QoS::AtLeastOnce).retain(true).await?;
    println!("confirmed: {}", receipt.reason);

    // `enqueue` waits for room in the queue only: many messages are on their way at once.
    let mut deliveries = Vec::new();
    for n in 0..1000 {
        let message = client.publish("example/count", n.to_string()).qos(QoS::AtLeastOnce);
        deliveries.push(message.enqueue().await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    println!("1000 messages confirmed");

    // `try_enqueue` never waits, and gives the message back when there is no room.
    match client.publish("example/event", "now or never").try_enqueue() {
        Ok(delivery) => drop(delivery),
        Err(EnqueueError::Full(message)) => println!("no room for {:?}", message.payload),
        Err(error) => return Err(error.into()),
    }

    // What was admitted is finished before the connection is ended.
    client.flush().await?;
    client.disconnect().await?;
    Ok(())
}
