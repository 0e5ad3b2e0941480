//! The part of a session that an idle connection does without.

use std::collections::VecDeque;
use std::time::Instant;

use crate::codec::Version;

use super::ids::PacketIds;
use super::incoming::Incoming;
use super::outgoing::{Outgoing, Queued};
use super::requests::Requests;
use super::state::State;
use super::store::Stage;
use super::{Config, Ledger, Limits, Session};

/// What exists once a session has sent or received more than CONNECT and pings.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) requests: Requests,
    pub(super) ids: PacketIds<IdUse>,
    /// Acknowledgements, ready to be written.
    pub(super) control: Vec<u8>,
}

/// What a packet identifier in use stands for, by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdUse {
    Publish(u64),
    Request(u64),
}

impl Session {
    /// Frees what is not needed while nothing happens.
    pub(super) fn put_away(&mut self) {
        let Some(traffic) = &mut self.traffic else { return };
        if traffic.is_idle() {
            self.traffic = None;
            // Serial numbers start again: handles from before must not fit.
            self.link = self.link.wrapping_add(1);
        } else {
            traffic.outgoing.put_away();
            traffic.incoming.put_away();
            traffic.requests.put_away();
            traffic.ids.put_away();
            if traffic.control.is_empty() {
                traffic.control = Vec::new();
            }
            self.events.put_away();
        }
    }

    pub(super) fn traffic(&mut self) -> &mut Traffic {
        traffic(&mut self.traffic, &self.state, self.granted.as_deref(), self.link, &self.config)
    }
}

/// The traffic of a session, which comes into being with its first use.
pub(super) fn traffic<'a>(
    traffic: &'a mut Option<Box<Traffic>>,
    state: &State,
    granted: Option<&Limits>,
    link: u16,
    config: &Config,
) -> &'a mut Traffic {
    traffic.get_or_insert_with(|| {
        let durable = config.durable;
        let mut traffic = Box::new(Traffic {
            outgoing: Outgoing::new(durable),
            incoming: Incoming::new(link, durable),
            requests: Requests::default(),
            ids: PacketIds::new(),
            control: Vec::new(),
        });
        if matches!(state, State::Online { .. }) {
            let limits = Limits::in_force(granted, config);
            traffic.outgoing.handle_connected(&limits);
            traffic.incoming.handle_connected(&limits, false);
        }
        traffic
    })
}

/// Frees the buffer of a queue with nothing in it.
pub(super) fn put_away<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
}

impl Traffic {
    /// Takes over what an earlier process has left.
    pub(super) fn restore(&mut self, now: Instant, version: Version, ledger: Ledger) {
        let Traffic { outgoing, incoming, ids, .. } = self;
        let mut queue = Vec::new();
        for (ticket, entry) in ledger.messages {
            if entry.stage != Stage::Queued {
                outgoing.restore(ticket, entry.stage, entry.message, ids);
            } else {
                let expires_at = entry.expires_in.and_then(|left| now.checked_add(left));
                let queued = Queued::new(ticket, entry.message, expires_at);
                queue.push(if entry.sent_before { queued.sent_before() } else { queued });
            }
        }
        queue.into_iter().for_each(|queued| outgoing.enqueue(queued));
        for packet_id in ledger.taken {
            ids.take(packet_id, IdUse::Publish(u64::MAX));
        }
        if let Some(packet_id) = ledger.last_packet_id {
            ids.continue_after(packet_id);
        }
        for (packet_id, reason) in ledger.received {
            incoming.restore(packet_id, reason, version);
        }
    }

    fn is_idle(&self) -> bool {
        self.outgoing.is_idle()
            && self.incoming.is_idle()
            && self.requests.is_idle()
            && self.ids.used_count() == 0
            && self.control.is_empty()
    }
}
