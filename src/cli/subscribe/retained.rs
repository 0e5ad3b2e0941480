//! The retained messages: when all of them are there, and their removal.
//!
//! MQTT has no end mark behind the retained messages of a subscription. A broker sends them while it
//! handles SUBSCRIBE (mosquitto), or while it does other things, a few at a time. What always works
//! is to ask for something else and wait for the answer: an UNSUBSCRIBE from a filter that nobody
//! has subscribed to.
//!
//! A broker that sends in order what it has to send answers behind the messages that were on their
//! way. If no message came before the answer, twice, there are no more: the first answer may
//! overtake messages that the broker holds back until others are acknowledged, but not the second,
//! as their acknowledgements are sent before the second question. That is mosquitto, at each QoS.
//! For brokers that look up retained messages beside their other work the questions stand apart
//! by [`PAUSE`]; one that takes longer between two messages is not waited for.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use tokio::time;

use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        stdio,
    },
    client::{Client, Handle, PublishError, RequestError, State as Link, Ticket},
    codec::{Properties, QoS, TopicFilter},
};

/// How long nothing may come before the retained messages are complete.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the retained messages of the subscriptions are there. `settled` waits until those
/// that have arrived are acknowledged.
///
/// # Errors
/// When the broker does not answer, or the client ends.
pub(super) async fn all_received(
    client: &Client,
    settled: impl AsyncFn(),
) -> Result<(), RequestError> {
    let filter = format!("midge/{:016x}", RandomState::new().hash_one("retained"));
    let Ok(filter) = TopicFilter::try_from(filter) else { return Ok(()) };
    let mut quiet = false;
    loop {
        settled().await;
        let before = client.stats().messages_received;
        client.unsubscribe_many(vec![filter.clone()], Properties::default()).await?;
        let was_quiet = quiet;
        quiet = client.stats().messages_received == before;
        if quiet && was_quiet {
            return Ok(());
        }
        if quiet {
            time::sleep(PAUSE).await;
            quiet = client.stats().messages_received == before;
        }
    }
}

/// The removals under way, and what became of them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Ticket, Box<str>>,
    first_failure: Option<Exit>,
}

impl Removals {
    /// Publishes an empty retained message to `topic`.
    pub(super) fn begin(&self, topic: &str, handle: &Handle) {
        let publish = handle.publish(topic, "").qos(QoS::AtLeastOnce).retain(true);
        // The client refuses only when it is about to end.
        if let Ok(delivery) = publish.try_enqueue() {
            self.lock().topics.insert(delivery.ticket(), topic.into());
        }
    }

    /// Takes note of the end of a publish; tells of a failure unless `quiet`.
    pub(super) fn finished<T>(
        &self,
        ticket: Ticket,
        result: &Result<T, PublishError>,
        quiet: bool,
    ) {
        let mut state = self.lock();
        let Some(topic) = state.topics.remove(&ticket) else { return };
        let Err(error) = result else { return };
        let exit = match error {
            PublishError::Rejected { reason, .. } => Exit::Refused(reason.code()),
            // The end of the client, which has a cause of its own.
            PublishError::Closed { .. } => return,
            _ => Exit::Failure,
        };
        state.first_failure.get_or_insert(exit);
        drop(state);
        if !quiet {
            let error = anyhow!(error.clone());
            let text = format!("the retained message of {topic:?} is not removed: {error:#}");
            stdio::report(Tool::Sub.name(), &text);
        }
    }

    /// Waits until each is confirmed.
    ///
    /// # Errors
    /// The first that was not, without a text: each had its own.
    pub(super) async fn all_confirmed(&self, client: &Client) -> Result<(), Failure> {
        let is_connected = matches!(&*client.state().borrow(), Link::Connected(_));
        if is_connected && !self.lock().topics.is_empty() {
            // An early end of the client is told by whoever watches it.
            let _ = client.flush().await;
        }
        self.lock().first_failure.map_or(Ok(()), |exit| Err(Failure::silent(exit)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
