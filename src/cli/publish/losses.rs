//! Connections that a broker ends again and again without confirming a message.
//!
//! Before MQTT 5 a broker cannot say how many messages of QoS 2 it takes at a time, and one that is
//! given more may end the connection, and the next one, for the same messages.

use std::{cell::Cell, future};

use anyhow::anyhow;

use crate::{
    cli::{
        exit::{Exit, Failure},
        plan::PublishPlan,
    },
    client::{Client, State},
    codec::{QoS, Version},
};

/// So many connections in a row that confirmed nothing are no accident.
const MAX_IN_VAIN: u64 = 5;

/// Waits until connecting again is of no use. `posted` counts the messages that the client was
/// given.
pub(super) async fn in_vain(
    client: &Client,
    version: Version,
    plan: &PublishPlan,
    posted: &Cell<u64>,
) -> Failure {
    let limited = version != Version::V5 && plan.qos == Some(QoS::ExactlyOnce);
    // A spool waits for as long as it takes.
    if !limited || plan.max_inflight == 1 || plan.spool.is_some() {
        return future::pending().await;
    }
    let mut state = client.state();
    let mut before = client.stats();
    let mut in_vain = 0;
    loop {
        let connected = matches!(&*state.borrow_and_update(), State::Connected(_));
        let stats = client.stats();
        if !connected && stats.connects > before.connects {
            let settled = stats.messages_published + stats.publish_failures;
            if stats.messages_published > before.messages_published || posted.get() <= settled {
                in_vain = 0;
            } else {
                in_vain += stats.connects - before.connects;
            }
            before = stats;
        }
        if in_vain >= MAX_IN_VAIN {
            let text = anyhow!(
                "{MAX_IN_VAIN} connections in a row were lost before the broker had confirmed a \
                 message; it may take fewer messages of QoS 2 at a time: try a lower -M"
            );
            return Failure::new(Exit::ConnectionLost, text);
        }
        if state.changed().await.is_err() {
            return future::pending().await;
        }
    }
}
