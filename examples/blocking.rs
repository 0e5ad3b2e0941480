//! Publishes and subscribes in a program without an async runtime.
//!
//! `cargo run --example blocking -- mqtt://localhost`

use std::time::Duration;

use midge::blocking::{self, Wait};
use midge::{Client, QoS};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).map(drop)
}

/// Runs the example against the broker at `url`, and returns the payloads that came back.
pub fn run(url: &str) -> Result<Vec<String>, Error> {
    let builder = Client::builder(url)?.retry_first_connect(false);
    let (client, _inbox) = blocking::start(builder)?;
    client.connected().wait()?;

    // All that can be awaited can be waited for.
    let mut echo = client.subscribe("example/echo").qos(QoS::AtLeastOnce).wait()?;
    for word in ["one", "two", "three"] {
        client.publish("example/echo", word).qos(QoS::AtLeastOnce).wait()?;
    }

    // A stream is an iterator in one line; here it ends when nothing comes for a second.
    let messages =
        std::iter::from_fn(|| echo.next().wait_timeout(Duration::from_secs(1)).flatten());
    let mut words = Vec::new();
    for message in messages.take(3) {
        let word = String::from_utf8_lossy(message.payload()).into_owned();
        println!("{}: {word}", message.topic());
        words.push(word);
    }

    client.disconnect().wait()?;
    Ok(words)
}
