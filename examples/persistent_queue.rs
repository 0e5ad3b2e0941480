//! Publishes readings that survive a crash: what is admitted is in a file until it is confirmed.
//!
//! `cargo run --example persistent_queue -- mqtt://localhost /tmp/readings`
//!
//! Kill it, or start it without a broker and kill it then: the next run sends what is left.

use std::path::Path;

use midge::client::FileStore;
use midge::{Client, QoS};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("mqtt://localhost".into());
    let path = arguments.next().unwrap_or("/tmp/midge-readings".into());
    run(&url, Path::new(&path)).await.map(drop)
}

/// Runs the example against the broker at `url`, and returns how many messages were left from
/// before.
pub async fn run(url: &str, path: &Path) -> Result<usize, Error> {
    let store = FileStore::open(path)?;
    let left = store.pending();
    println!("{left} messages are left from before");

    // The broker has to know the client again, to tell what it has and what it has not: the client
    // keeps its identifier, and with a store its session is one that lasts.
    let (client, _inbox) = Client::builder(url)?
        .client_id("example-readings")
        .store(store)
        .on_publish(|ticket, result, _| match result {
            Ok(_) => println!("message {} arrived", ticket.get()),
            Err(error) => println!("message {} failed: {error}", ticket.get()),
        })
        .start()?;

    for n in 0..10 {
        let reading = client.publish("example/readings", n.to_string()).qos(QoS::ExactlyOnce);
        // From here on it is in the file, whether or not there is a connection.
        let delivery = reading.enqueue().await?;
        println!("message {} is stored", delivery.ticket().get());
    }

    // What is from before counts, too.
    client.flush().await?;
    client.disconnect().await?;
    Ok(left)
}
