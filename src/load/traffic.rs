//! The messages that held connections carry.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::Template;
use crate::codec::{QoS, SubscribeOptions};

/// What the clients publish and subscribe to once they are connected. Default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// What each client publishes.
    pub publish: Option<Publishing>,
    /// What each client subscribes to.
    pub subscribe: Option<Subscribing>,
}

/// A message that each client publishes again and again.
///
/// The first one comes at a random moment within the first `every`, the others at multiples of it
/// after that, whether or not those before were acknowledged. Their latencies count from these
/// moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Publishing {
    /// Where.
    pub topic: Template,
    /// What.
    pub payload: Bytes,
    /// With which quality of service.
    pub qos: QoS,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// The time between two messages of one client.
    pub every: Duration,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Publishing { topic, payload, qos, retain, every }) = &self.publish {
            let retained = if *retain { ", retained" } else { "" };
            let (bytes, qos) = (payload.len(), u8::from(*qos));
            write!(f, "publish {bytes} bytes to {topic} every {every:?} at QoS {qos}{retained}")?;
        }
        if let Some(Subscribing { filter, options }) = &self.subscribe {
            let and = if self.publish.is_some() { ", " } else { "" };
            write!(f, "{and}subscribe to {filter} at QoS {}", u8::from(options.qos))?;
        }
        Ok(())
    }
}

/// A subscription that each client makes after its first CONNACK.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribing {
    /// To what.
    pub filter: Template,
    /// How.
    pub options: SubscribeOptions,
}
