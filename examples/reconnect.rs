//! Goes on through the loss of its connection: messages wait, and none is lost. Restart the broker
//! while it runs.
//!
//! `cargo run --example reconnect -- mqtt://localhost`

use std::time::Duration;

use midge::client::State;
use midge::{Client, QoS, Reconnect, Version};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into()), 100).await.map(drop)
}

/// Publishes so many messages to itself and returns the payloads that came back.
pub async fn run(url: &str, count: usize) -> Result<Vec<String>, Error> {
    let (client, _inbox) = Client::builder(url)?
        .version(Version::V5)
        .client_id("midge-example-reconnect")
        .session_expiry(3600)
        .reconnect(Reconnect::Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(10),
        })
        .on_connect_failure(|error, _| println!("no connection: {error}"))
        .on_disconnect(|info, _| println!("{}, again in {:?}", info.cause, info.will_reconnect_in))
        .start()?;

    let mut state = client.state();
    tokio::spawn(async move {
        while state.changed().await.is_ok() {
            match &*state.borrow_and_update() {
                State::Connected(info) => println!("connected, session {}", info.session_present),
                State::Waiting { delay, attempt } => println!("attempt {attempt} in {delay:?}"),
                State::Closed(reason) => println!("closed: {reason}"),
                _ => {}
            }
        }
    });

    let mut echoes = client.subscribe("example/echo").qos(QoS::AtLeastOnce).await?;
    let publisher = tokio::spawn({
        let client = client.clone();
        async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            for n in 0..count {
                pace.tick().await;
                let message = client.publish("example/echo", n.to_string());
                message.qos(QoS::AtLeastOnce).await?;
            }
            Ok::<_, Error>(())
        }
    });

    // A confirmed message can arrive twice: QoS 1 is at least once.
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < count {
        let Some(message) = echoes.next().await else { break };
        let payload = String::from_utf8_lossy(message.payload()).into_owned();
        if !seen.contains(&payload) {
            seen.push(payload);
        }
    }
    publisher.await??;
    client.disconnect().await?;
    Ok(seen)
}
