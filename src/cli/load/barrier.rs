//! Starts the shards of a plan together, with the help of a broker.
//!
//! Every shard says each second, in a message that is not retained, that it is ready. Once shard 0
//! has heard all of them, it publishes the instant to start at, retained, so that none can miss it.
//! An instant that has passed is of another run. Anybody else may publish the instant too.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    client::{Client, ClientBuilder, Inbox},
    codec::QoS,
    load::Shard,
    net::Endpoint,
};

/// How long the shards may take to find each other.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a shard says that it is ready.
const READY_EVERY: Duration = Duration::from_secs(1);
/// From when the instant is published to the instant.
const LEAD: SignedDuration = SignedDuration::from_secs(3);

/// The broker over which the shards of a plan find each other.
pub(super) struct Barrier {
    client: Client,
    messages: Inbox,
    topic: String,
    shard: Shard,
    plan: String,
}

impl Barrier {
    /// Connects to the broker. `plan` tells this plan from others that use the same topic.
    ///
    /// # Errors
    /// When the broker cannot be reached or used.
    pub(super) async fn join(
        endpoint: &Endpoint,
        tls: crate::net::ConnectOptions,
        shard: Shard,
        plan: String,
    ) -> Result<Self> {
        let topic = endpoint.path().unwrap_or_default().to_owned();
        let (client, messages) = ClientBuilder::new(endpoint.clone())
            .connect_options(tls)
            .retry_first_connect(false)
            .start()
            .context("cannot use the barrier's URL")?;
        let barrier = Self { client, messages, topic, shard, plan };
        barrier.client.connected().await.context("cannot reach the barrier's broker")?;
        Ok(barrier)
    }

    /// Waits for the other shards, and returns the instant to start at.
    ///
    /// # Errors
    /// When the broker is lost, or the others do not come.
    pub(super) async fn wait(mut self, tell: impl FnMut(&str)) -> Result<Timestamp> {
        let instant = match timeout(PATIENCE, self.meet(tell)).await {
            Ok(instant) => instant?,
            Err(_) => bail!(
                "the shards did not find each other at the barrier within {} minutes",
                PATIENCE.as_secs() / 60
            ),
        };
        // The instant is known: whatever the broker says about the end does not matter.
        let _ = self.client.disconnect().await;
        Ok(instant)
    }

    async fn meet(&mut self, mut tell: impl FnMut(&str)) -> Result<Timestamp> {
        let ready_topic = format!("{}/ready", self.topic);
        let mut go = self.client.subscribe(self.topic.as_str()).qos(QoS::AtLeastOnce).await?;
        let mut ready = if self.shard.index == 0 {
            Some(self.client.subscribe(ready_topic.as_str()).qos(QoS::AtLeastOnce).await?)
        } else {
            None
        };
        let mut others = BTreeSet::new();
        let mut next = interval(READY_EVERY);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut published, mut strangers) = (false, false);
        loop {
            tokio::select! {
                message = go.next() => {
                    let message = message.context("the barrier's broker was lost")?;
                    match read_instant(message.payload()) {
                        Some(instant) if instant > Timestamp::now() => return Ok(instant),
                        Some(past) => tell(&format!("barrier: {past} has passed, so it is of another run")),
                        None => tell("barrier: a message is no instant"),
                    }
                }
                message = async {
                    match &mut ready {
                        Some(ready) => ready.next().await,
                        None => std::future::pending().await,
                    }
                } => {
                    let message = message.context("the barrier's broker was lost")?;
                    if let Some(index) = self.read_ready(message.payload())
                        && others.insert(index)
                    {
                        tell(&format!("barrier: {} of {} shards are ready", others.len(), self.shard.count));
                    }
                    if !self.is_of_this_plan(message.payload()) && !strangers {
                        strangers = true;
                        tell("barrier: a shard of another plan is there too; it does not count");
                    }
                    if others.len() as u64 == u64::from(self.shard.count) && !published {
                        let instant = (Timestamp::now() + LEAD).to_string();
                        let publish = self.client.publish(self.topic.clone(), instant);
                        publish.qos(QoS::AtLeastOnce).retain(true).await?;
                        published = true;
                    }
                }
                _ = next.tick() => {
                    let text = format!("{} {}/{}", self.plan, self.shard.index, self.shard.count);
                    let publish = self.client.publish(ready_topic.clone(), text);
                    publish.qos(QoS::AtLeastOnce).await?;
                }
                message = self.messages.next() => {
                    // What is subscribed to has streams of its own.
                    message.context("the barrier's broker was lost")?;
                }
            }
        }
    }

    fn is_of_this_plan(&self, payload: &[u8]) -> bool {
        payload.strip_prefix(self.plan.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
    }

    /// The index of a shard of this plan that says it is ready.
    fn read_ready(&self, payload: &[u8]) -> Option<u32> {
        let (plan, shard) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        let (index, count) = shard.split_once('/')?;
        let (index, count): (u32, u32) = (index.parse().ok()?, count.parse().ok()?);
        (plan == self.plan && count == self.shard.count && index < count).then_some(index)
    }
}

fn read_instant(payload: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}
