//! Asks a service and answers as one: a request is published with a response topic and correlation
//! data, and the response that comes back is the result of an `await`.
//!
//! `cargo run --example request -- mqtt://localhost`

use std::time::Duration;

use midge::client::Response;
use midge::{Client, QoS, ReasonCode, Version};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sums = run(&std::env::args().nth(1).unwrap_or("mqtt://localhost".into())).await?;
    println!("{sums:?}");
    Ok(())
}

/// Runs the example against the broker at `url`; returns what the service answered.
pub async fn run(url: &str) -> Result<Vec<String>, Error> {
    let (service, _inbox) = Client::builder(url)?.version(Version::V5).start()?;
    let server = service.clone();
    // Up to eight requests are worked on at once. Each is acknowledged when its response is safe.
    let serving = tokio::spawn(async move {
        server.serve("example/sum", sum).qos(QoS::AtLeastOnce).concurrency(8).await
    });

    let (client, _inbox) = Client::builder(url)?.version(Version::V5).start()?;
    let ask = |numbers: &'static str| {
        client.request("example/sum", numbers).qos(QoS::AtLeastOnce).timeout(Duration::from_secs(5))
    };
    // While nobody is subscribed, a broker may say so, and the request fails at once.
    let first = loop {
        match ask("1 2").await {
            Err(midge::client::ResponseError::NoResponder) => tokio::task::yield_now().await,
            first => break first?,
        }
    };
    // Requests may overlap: each gets its own response.
    let (second, third) = tokio::try_join!(ask("3 4 5").into_future(), ask("").into_future())?;
    let mut sums = Vec::new();
    for response in [first, second, third] {
        sums.push(String::from_utf8_lossy(response.payload()).into_owned());
    }

    client.disconnect().await?;
    service.disconnect().await?;
    serving.await??;
    Ok(sums)
}

async fn sum(request: midge::Message) -> Response {
    let text = String::from_utf8_lossy(request.payload()).into_owned();
    let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    match numbers {
        Ok(numbers) => Response::from(numbers.iter().sum::<u64>().to_string()),
        Err(_) => Response::refuse(ReasonCode::PAYLOAD_FORMAT_INVALID),
    }
}
