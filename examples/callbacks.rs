//! A client made of callbacks alone, as programs for libmosquitto are: it subscribes when it is
//! connected, answers each message, and ends when one says "stop".
//!
//! `cargo run --example callbacks -- mqtt://localhost`

use midge::client::CloseReason;
use midge::{Client, Flow, Properties, QoS, ReasonCode, SubscribeOptions};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).await
}

/// Runs the example against the broker at `url`.
pub async fn run(url: &str) -> Result<(), Error> {
    let (client, inbox) = Client::builder(url)?
        .retry_first_connect(false)
        .on_connect(|info, handle| {
            println!("connected as {}", info.client_id);
            let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..Default::default() };
            let filters = ["example/ask/+"].into_iter().filter_map(|filter| filter.try_into().ok());
            let filters = filters.map(|filter| (filter, options)).collect();
            if let Err(error) = handle.try_subscribe(filters, Properties::new()) {
                println!("not subscribed: {error}");
            }
        })
        .on_subscribe(|_, result, _| println!("subscribed: {result:?}"))
        .on_message(|message, handle| {
            // The message is lent from the bytes that arrived; it is gone when the hook returns.
            println!("{} asks", message.topic());
            if message.payload() == b"stop" {
                handle.disconnect(ReasonCode::SUCCESS, Properties::new());
            } else {
                let topic = message.topic().replace("ask", "answer");
                match handle.publish(topic, "42").qos(QoS::AtLeastOnce).try_enqueue() {
                    Ok(delivery) => println!("answered with ticket {}", delivery.ticket().get()),
                    Err(error) => println!("no answer: {error}"),
                }
            }
            Flow::Taken
        })
        .on_publish(|ticket, result, _| {
            println!(
                "ticket {}: {}",
                ticket.get(),
                if result.is_ok() { "confirmed" } else { "lost" }
            );
        })
        .on_disconnect(|info, _| println!("{}", info.cause))
        .start()?;
    // Every message goes to the hook.
    drop(inbox);

    match client.closed().await {
        CloseReason::User => Ok(()),
        reason => Err(reason.into()),
    }
}
