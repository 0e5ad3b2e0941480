//! Receives the messages of two subscriptions, each in a stream of its own, until one says "stop".
//!
//! `cargo run --example subscribe -- mqtt://localhost`

use midge::{Client, QoS};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).await.map(drop)
}

/// Returns how many messages came.
pub async fn run(url: &str) -> Result<usize, Error> {
    let (client, _inbox) = Client::builder(url)?.retry_first_connect(false).start()?;
    client.connected().await?;

    let mut orders = client.subscribe("example/orders/+").qos(QoS::ExactlyOnce).await?;
    let mut events = client.subscribe("example/events").await?;
    println!("granted: QoS {} and {}", u8::from(orders.granted()), u8::from(events.granted()));

    let mut count = 0;
    loop {
        // Both futures are safe to drop: no message is lost with the one that is not ready. Where
        // both are, events go first, so that none of them waits behind the order to stop.
        let message = tokio::select! {
            biased;
            message = events.next() => message,
            message = orders.next() => message,
        };
        let Some(message) = message else { break };
        count += 1;
        println!("{}: {}", message.topic(), String::from_utf8_lossy(message.payload()));
        if message.payload() == "stop" {
            break;
        }
    }

    let reason = orders.unsubscribe().await?;
    println!("unsubscribed: {reason}");
    client.disconnect().await?;
    Ok(count)
}
