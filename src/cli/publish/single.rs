//! The one message of `-m`, `-f`, `-s` and `-n`.

use std::io::{self, Read};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use tokio::time;

use super::{draft::Drafter, progress::Progress, session};
use crate::{
    cli::{
        connect,
        exit::{Exit, Failure},
        opts::{LogOptions, SourceOptions},
        plan::{ClientPlan, MAX_PAYLOAD_BYTES, PublishPlan},
    },
    client::{Client, EnqueueError, Flow, PublishError},
    codec::Version,
};

/// Publishes the one message to each of its topics, as often as it is wanted.
pub(super) async fn publish(
    client: &ClientPlan,
    plan: &PublishPlan,
    payload: Bytes,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let session = session(client, log)?;
    let builder = session
        .builder_once(client)?
        .max_inflight(plan.max_inflight)
        .topic_aliases(plan.topic_aliases)
        .on_message(|_, _| Flow::Taken);
    let (client, _inbox) = builder.start()?;
    let progress = Progress::of_rounds(plan.repeat, log);
    let work = async {
        let connected = client.connected().await;
        let info = connected.map_err(|error| connect::connect_failure(error, version))?;
        let drafter = Drafter::new(plan, &info.client_id)?;
        for round in 1..=plan.repeat {
            if round > 1 {
                time::sleep(plan.repeat_delay).await;
            }
            publish_round(&client, version, &drafter, round, payload.clone()).await?;
            progress.add(1);
        }
        Ok(Exit::Success)
    };
    session.attend(&client, progress.during(work, None)).await
}

/// Publishes to all topics and waits for each confirmation.
async fn publish_round(
    client: &Client,
    version: Version,
    drafter: &Drafter<'_>,
    round: u64,
    payload: Bytes,
) -> Result<(), Failure> {
    let draft = drafter.payload(payload)?;
    let mut deliveries = Vec::new();
    for topic in &*drafter.topics(round, &None)? {
        let message = client
            .publish(topic, draft.payload.clone())
            .qos(draft.qos)
            .retain(draft.retain)
            .properties(draft.properties.clone());
        match message.enqueue().await {
            Ok(delivery) => deliveries.push(delivery),
            Err(EnqueueError::Closed(_)) => {
                return Err(connect::close_failure(client.closed().await, version));
            }
            Err(error) => return Err(connect::publish_failure(error.into())),
        }
    }
    let mut outcome = Ok(());
    for delivery in deliveries {
        match delivery.await {
            Ok(_) => {}
            // Why the connection was lost says more than that it was.
            Err(PublishError::Lost { .. } | PublishError::Closed { .. }) => {
                return Err(connect::close_failure(client.closed().await, version));
            }
            Err(error) if outcome.is_ok() => outcome = Err(connect::publish_failure(error)),
            Err(_) => {}
        }
    }
    outcome
}

/// The payload of the one message, as it is written.
pub(in crate::cli) fn payload(source: &SourceOptions) -> anyhow::Result<Bytes> {
    let payload = if let Some(message) = &source.message {
        Bytes::copy_from_slice(message.as_bytes())
    } else if let Some(path) = &source.file {
        let name = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
        read_all(file).with_context(|| format!("cannot read {name}"))?
    } else if source.stdin_file {
        let input = read_all(io::stdin().lock()).context("cannot read standard input")?;
        if input.is_empty() {
            return Err(anyhow!("standard input is empty: use -n to publish an empty message"));
        }
        input
    } else {
        Bytes::new()
    };
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(anyhow!(
            "the message is longer than the {MAX_PAYLOAD_BYTES} bytes MQTT allows"
        ));
    }
    Ok(payload)
}

/// Reads to the end, but not much further than a packet can hold.
fn read_all(input: impl Read) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    input.take(MAX_PAYLOAD_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
