//! SUBSCRIBE and UNSUBSCRIBE under way, and the subscriptions that are live because of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::codec::{
    EncodeError, FilterRequest, PacketId, PacketType, Properties, PropertiesRef, Property,
    PropertyValue, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, TopicFilter,
    Unsubscribe, Version,
};

use super::event::Events;
use super::ids::PacketIds;
use super::send::Output;
use super::traffic::{IdUse, put_away};
use super::{
    Event, Limits, ProtocolError, RequestFailure, SubscribeReceipt, SubscribeRequest, Ticket,
    Transmit, UnsubscribeRequest,
};

/// Holds the requests of a session and its live subscriptions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Not yet sent on this link.
    waiting: VecDeque<Request>,
    /// Sent and not yet answered, oldest first; all have the same time-out.
    pending: VecDeque<Pending>,
    /// What the broker has granted. Part of the session state.
    live: BTreeMap<TopicFilter, Live>,
    next_sequence: u64,
    /// When the socket was read again after a pause: the clock of the answers starts again there.
    read_since: Option<Instant>,
}

#[derive(Debug)]
struct Request {
    /// `None` for a subscription that the session itself makes again.
    ticket: Option<Ticket>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Subscribe(SubscribeRequest),
    Unsubscribe(UnsubscribeRequest),
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    sent: Instant,
    request: Request,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    options: SubscribeOptions,
    identifier: Option<u32>,
    /// Whether the broker's session has it. Not so from the loss of that session until the broker
    /// has granted it again, over as many links as that takes.
    confirmed: bool,
}

/// Filters per SUBSCRIBE when the session subscribes again: brokers limit the number.
const FILTERS_PER_PACKET: usize = 64;

impl Requests {
    pub(super) fn subscribe(&mut self, ticket: Ticket, request: SubscribeRequest) {
        self.waiting.push_back(Request { ticket: Some(ticket), kind: Kind::Subscribe(request) });
    }

    pub(super) fn unsubscribe(&mut self, ticket: Ticket, request: UnsubscribeRequest) {
        self.waiting.push_back(Request { ticket: Some(ticket), kind: Kind::Unsubscribe(request) });
    }

    /// How many requests are not answered yet.
    pub(super) fn request_count(&self) -> usize {
        self.waiting.len() + self.pending.len()
    }

    /// Whether another request may wait: no more than there are packet identifiers.
    pub(super) fn has_room(&self) -> bool {
        self.request_count() < usize::from(u16::MAX)
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        self.request_count() == 0 && self.live.is_empty()
    }

    /// Frees the buffers of what is empty.
    pub(super) fn put_away(&mut self) {
        put_away(&mut self.waiting);
        put_away(&mut self.pending);
    }

    /// When the oldest request counts as unanswered.
    pub(super) fn due(&self, timeout: Duration) -> Option<Instant> {
        let sent = self.pending.front()?.sent;
        self.read_since.map_or(sent, |since| since.max(sent)).checked_add(timeout)
    }

    /// Takes note that the socket is read again.
    pub(super) fn handle_reading(&mut self, now: Instant) {
        self.read_since = Some(now);
    }

    /// Gives up the requests that have waited for `timeout`. Their packet identifiers stay taken:
    /// the broker may still answer.
    pub(super) fn handle_timeout(&mut self, now: Instant, timeout: Duration, events: &mut Events) {
        while self.due(timeout).is_some_and(|due| due <= now) {
            let Some(pending) = self.pending.pop_front() else { return };
            fail(pending.request, RequestFailure::Timeout, events);
        }
    }

    /// The link is gone: what was not answered is asked again on the next one.
    pub(super) fn handle_disconnected(&mut self) {
        while let Some(pending) = self.pending.pop_back() {
            // The live subscriptions are made again as a whole, if they need to be.
            if pending.request.ticket.is_some() {
                self.waiting.push_front(pending.request);
            }
        }
        self.waiting.retain(|request| request.ticket.is_some());
    }

    /// Takes note that the broker has lost the live subscriptions.
    pub(super) fn handle_session_lost(&mut self, resubscribe: bool) {
        if resubscribe {
            self.live.values_mut().for_each(|live| live.confirmed = false);
        } else {
            self.live.clear();
        }
    }

    /// Puts the live subscriptions that the broker does not have in front of all other requests.
    pub(super) fn resubscribe(&mut self, version: Version) {
        let mut by_identifier: BTreeMap<Option<u32>, Vec<(TopicFilter, SubscribeOptions)>> =
            BTreeMap::new();
        for (filter, live) in self.live.iter().filter(|(_, live)| !live.confirmed) {
            let mut options = live.options;
            // The broker may have the subscription after all: what is retained came once already.
            if version == Version::V5 && options.retain_handling == RetainHandling::SendAtSubscribe
            {
                options.retain_handling = RetainHandling::SendIfNew;
            }
            let group = by_identifier.entry(live.identifier).or_default();
            group.push((filter.clone(), options));
        }
        for (identifier, filters) in by_identifier.into_iter().rev() {
            for filters in filters.rchunks(FILTERS_PER_PACKET) {
                let properties = identifier
                    .and_then(|identifier| {
                        let value = PropertyValue::VariableByte(identifier);
                        Properties::default().with(Property::SubscriptionIdentifier, value).ok()
                    })
                    .unwrap_or_default();
                let request = SubscribeRequest { filters: filters.to_vec(), properties };
                self.waiting.push_front(Request { ticket: None, kind: Kind::Subscribe(request) });
            }
        }
    }

    /// Encodes the waiting requests as far as the budget allows.
    pub(super) fn transmit(&mut self, now: Instant, output: &mut Output<'_>) {
        while !output.out.is_full()
            && let Some(request) = self.waiting.pop_front()
        {
            let Some(packet_id) = output.ids.allocate(IdUse::Request(self.next_sequence)) else {
                self.waiting.push_front(request);
                return;
            };
            let Output { version, limits, .. } = *output;
            match output.append(|out| request.kind.append(packet_id, version, limits, out)) {
                Ok(()) => {
                    let sequence = self.next_sequence;
                    self.next_sequence += 1;
                    self.pending.push_back(Pending { sequence, sent: now, request });
                }
                Err(failure) => {
                    output.ids.release(packet_id);
                    match request.halve() {
                        Ok(halves) => {
                            for half in halves {
                                self.waiting.push_front(half);
                            }
                        }
                        Err(request) => fail(request, failure, output.events),
                    }
                }
            }
        }
    }

    /// Takes a SUBACK or UNSUBACK.
    pub(super) fn handle_answer(
        &mut self,
        packet_type: PacketType,
        packet_id: PacketId,
        reasons: Vec<ReasonCode>,
        properties: PropertiesRef<'_>,
        ids: &mut PacketIds<IdUse>,
        events: &mut Events,
    ) -> Result<(), ProtocolError> {
        let Some(IdUse::Request(sequence)) = ids.find(packet_id) else { return Ok(()) };
        let found = self.pending.binary_search_by_key(&sequence, |pending| pending.sequence);
        let Ok(index) = found else {
            ids.release(packet_id); // The answer to a request that was given up.
            return Ok(());
        };
        let Some(pending) = self.pending.get(index) else { return Ok(()) };
        let expected = match (&pending.request.kind, packet_type) {
            (Kind::Subscribe(request), PacketType::SubAck) => request.filters.len(),
            (Kind::Unsubscribe(request), PacketType::UnsubAck) => request.filters.len(),
            _ => return Ok(()), // The answer to something else: the request still waits.
        };
        // UNSUBACK has no codes in 3.x; the codec has seen to that.
        let no_codes = packet_type == PacketType::UnsubAck && reasons.is_empty();
        if reasons.len() != expected && !no_codes {
            return Err(ProtocolError::new(
                packet_type,
                ReasonCode::PROTOCOL_ERROR,
                "MQTT-3.8.4-6",
                "not one reason code for each topic filter",
            ));
        }
        ids.release(packet_id);
        let Some(Pending { request, .. }) = self.pending.remove(index) else { return Ok(()) };
        let properties = Properties::from(properties);
        match request.kind {
            Kind::Subscribe(asked) => match request.ticket {
                Some(ticket) => {
                    let identifier = asked.properties.as_ref().subscription_identifiers().next();
                    for ((filter, options), reason) in asked.filters.into_iter().zip(&reasons) {
                        // A refused subscription leaves an older one for the same filter alone.
                        if !reason.is_error() {
                            self.live.insert(filter, Live { options, identifier, confirmed: true });
                        }
                    }
                    let result = Ok(SubscribeReceipt { reasons, properties });
                    events.push_back(Event::Subscribed { ticket, result });
                }
                None => {
                    let filters = asked.filters.into_iter().map(|(filter, _)| filter);
                    let reasons = filters.zip(reasons).collect::<Vec<_>>();
                    for (filter, reason) in &reasons {
                        if reason.is_error() {
                            self.live.remove(filter);
                        } else if let Some(live) = self.live.get_mut(filter) {
                            live.confirmed = true;
                        }
                    }
                    events.push_back(Event::Resubscribed { reasons });
                }
            },
            Kind::Unsubscribe(asked) => {
                let mut codes = reasons.iter();
                for filter in &asked.filters {
                    if !codes.next().is_some_and(|reason| reason.is_error()) {
                        self.live.remove(filter);
                    }
                }
                if let Some(ticket) = request.ticket {
                    let result = Ok(SubscribeReceipt { reasons, properties });
                    events.push_back(Event::Unsubscribed { ticket, result });
                }
            }
        }
        Ok(())
    }

    /// Ends every request that is not answered yet.
    pub(super) fn fail_all(&mut self, events: &mut Events) {
        for pending in self.pending.drain(..) {
            fail(pending.request, RequestFailure::Lost, events);
        }
        for request in self.waiting.drain(..) {
            fail(request, RequestFailure::Lost, events);
        }
    }
}

impl Request {
    /// Splits what the session itself has put together, the second half first; other requests are
    /// what their owner made them.
    fn halve(self) -> Result<[Request; 2], Request> {
        match self {
            Request { ticket: None, kind: Kind::Subscribe(mut first) }
                if first.filters.len() > 1 =>
            {
                let filters = first.filters.split_off(first.filters.len() / 2);
                let second = SubscribeRequest { filters, properties: first.properties.clone() };
                let halves = [second, first];
                Ok(halves.map(|half| Request { ticket: None, kind: Kind::Subscribe(half) }))
            }
            whole => Err(whole),
        }
    }
}

impl Kind {
    fn append(
        &self,
        packet_id: PacketId,
        version: Version,
        limits: &Limits,
        out: &mut Transmit,
    ) -> Result<(), RequestFailure> {
        match self {
            Kind::Subscribe(request) => {
                for (filter, _) in &request.filters {
                    if filter.shared().is_some() && !limits.shared_subscription_available {
                        return Err(RequestFailure::NotSupported("shared subscriptions"));
                    }
                    if filter.contains(['+', '#']) && !limits.wildcard_subscription_available {
                        return Err(RequestFailure::NotSupported("wildcard subscriptions"));
                    }
                }
                let properties = request.properties.as_ref();
                if properties.subscription_identifiers().next().is_some()
                    && !limits.subscription_identifier_available
                {
                    return Err(RequestFailure::NotSupported("subscription identifiers"));
                }
                let filters = request.filters.iter();
                let filters = filters
                    .map(|(filter, options)| FilterRequest { filter, options: *options })
                    .collect();
                let packet = Subscribe { packet_id, properties, filters };
                check_size(packet.encoded_len(version), limits)?;
                packet.encode(version, out.buffer())?;
            }
            Kind::Unsubscribe(request) => {
                let packet = Unsubscribe {
                    packet_id,
                    properties: request.properties.as_ref(),
                    filters: request.filters.iter().map(|filter| &**filter).collect(),
                };
                check_size(packet.encoded_len(version), limits)?;
                packet.encode(version, out.buffer())?;
            }
        }
        Ok(())
    }
}

/// Refuses a packet that is larger than the broker takes \[MQTT-3.2.2-15\].
fn check_size(size: Result<usize, EncodeError>, limits: &Limits) -> Result<(), RequestFailure> {
    let (size, max) = (size?, limits.maximum_packet_size);
    if size > max as usize {
        return Err(RequestFailure::TooLarge { size, max });
    }
    Ok(())
}

fn fail(request: Request, failure: RequestFailure, events: &mut Events) {
    match (request.ticket, request.kind) {
        (Some(ticket), Kind::Subscribe(_)) => {
            events.push_back(Event::Subscribed { ticket, result: Err(failure) });
        }
        (Some(ticket), Kind::Unsubscribe(_)) => {
            events.push_back(Event::Unsubscribed { ticket, result: Err(failure) });
        }
        (None, Kind::Subscribe(request)) => {
            let Some(reason) = failure.reason() else { return };
            let filters = request.filters.into_iter().map(|(filter, _)| (filter, reason));
            events.push_back(Event::Resubscribed { reasons: filters.collect() });
        }
        (None, Kind::Unsubscribe(_)) => {}
    }
}
