//! The way of a received message: to those who wait for a response, to the hooks, to the streams.

use std::sync::Arc;

use crate::session::{self, Received, Verdict};

use super::super::acks::{Acks, Held};
use super::super::hooks::{Flow, LogLevel};
use super::super::message::MessageRef;
use super::super::request::Claimed;
use super::super::stream::{Pushed, Queue};
use super::Dispatch;

impl session::Inbox for Dispatch {
    fn message(&mut self, received: Received<'_>) -> Verdict {
        if self.hooks.panicked().is_some() {
            // The client is ending: what it has not taken stays with the broker.
            return Verdict::Hold;
        }
        let publish = &received.publish;
        tracing::trace!(topic = publish.topic, qos = u8::from(publish.qos), "message received");
        self.shared.counters().messages_received.add(1);
        let message = MessageRef::new(publish);
        if let Some(responses) = &mut self.responses
            && let Some(claimed) = responses.handle(&message)
        {
            if claimed == Claimed::Unwanted {
                tracing::debug!("a response that nobody waits for");
                self.shared.counters().messages_unclaimed.add(1);
            }
            return Verdict::Ack;
        }
        match self.hooks.on_message(&message) {
            Flow::Taken => Verdict::Ack,
            Flow::Refused(reason) => Verdict::Reject(reason),
            Flow::Continue => self.route(&message, received.ack),
        }
    }
}

impl Dispatch {
    /// Brings a message to the streams that claim it, or to the inbox.
    fn route(&mut self, message: &MessageRef<'_>, ack: Option<session::AckHandle>) -> Verdict {
        let owned = message.to_message();
        let held = ack.map(|handle| Held::new(handle, Arc::clone(&self.shared)));
        // Somebody should have it and cannot: it stays with the broker.
        let mut missing = false;
        let Dispatch { hooks, router, rare, connection, shared, .. } = self;
        // Whether more is held than the queue is meant for, if it takes the message.
        let mut keep = |queue: &Queue, message| match queue.push(message, held.as_ref()) {
            Pushed::Abandoned => None,
            Pushed::Overrun { dropped } => {
                shared.counters().messages_dropped.add(dropped);
                missing |= dropped == 0;
                connection.incidents().overrun = true;
                Some(false)
            }
            Pushed::Kept { dropped, overfull } => {
                shared.counters().messages_dropped.add(dropped);
                Some(overfull)
            }
        };
        let (mut wanted, mut newly_full) = (false, false);
        if let Some(router) = router {
            router.find(message, |queue| {
                let overfull = keep(queue, owned.clone());
                wanted |= overfull.is_some();
                newly_full |=
                    overfull == Some(true) && rare.get_or_insert_default().note_overfull(queue);
            });
        }
        if !wanted {
            let overfull = keep(&shared.inbox, owned);
            wanted = overfull.is_some();
            if overfull == Some(true) {
                let known = &mut rare.get_or_insert_default().inbox_overfull;
                newly_full |= !std::mem::replace(known, true);
            }
        }
        if !wanted {
            shared.counters().messages_unclaimed.add(1);
        }
        if newly_full {
            const FULL: &str = "a stream is full: reading stops until its consumer catches up";
            tracing::debug!("{FULL}");
            hooks.log(LogLevel::Debug, || FULL.into());
        }
        // Without an inbox, what the application was to acknowledge stays with the broker.
        if let Some(held) = held
            && !missing
            && (wanted || shared.inbox.acks() == Acks::OnTake)
        {
            held.done(None);
        }
        // Who holds it acknowledges it when done, even if that has happened already.
        Verdict::Hold
    }
}
