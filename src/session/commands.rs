//! What an application asks of a session.

use std::time::Instant;

use crate::codec::{PacketType, Properties, PropertyOwner, ReasonCode, Role, Version};

use super::outgoing::Queued;
use super::state::{LastWord, State};
use super::{
    AckHandle, End, Message, Refused, RefusedReason, Session, SubscribeRequest, Ticket,
    UnsubscribeRequest,
};

impl Session {
    /// Queues a message.
    ///
    /// # Errors
    ///
    /// Gives the message back when the queue is full, after a disconnect was requested, or when
    /// its properties cannot be sent.
    pub fn publish(
        &mut self,
        now: Instant,
        ticket: Ticket,
        message: Message,
    ) -> Result<(), Refused<Message>> {
        if let Err(reason) = self.check_publish(&message) {
            return Err(Refused { command: message, reason });
        }
        let expires_at = message.expiry().and_then(|expiry| now.checked_add(expiry));
        self.traffic().outgoing.enqueue(Queued::new(ticket, message, expires_at));
        Ok(())
    }

    /// Takes a queued message back; `None` when it was sent already, though it be in a session that
    /// was lost, or is unknown.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<Message> {
        self.traffic.as_mut()?.outgoing.cancel(ticket, &mut self.events)
    }

    /// The ticket of the oldest message that [`cancel`](Self::cancel) would take back.
    pub fn oldest_unsent(&self) -> Option<Ticket> {
        self.traffic.as_ref()?.outgoing.oldest_unsent()
    }

    /// Takes all messages back that were never sent and that `wanted` picks.
    pub fn take_unsent(&mut self, wanted: impl FnMut(&Message) -> bool) -> Vec<(Ticket, Message)> {
        let Some(traffic) = &mut self.traffic else { return Vec::new() };
        traffic.outgoing.take_unsent(wanted, &mut self.events)
    }

    /// Asks for subscriptions. They are live from the SUBACK on and are made again when the broker
    /// has lost the session.
    ///
    /// # Errors
    ///
    /// Gives the request back when it has no filter, when 65,535 of them are unanswered, after a
    /// disconnect was requested, or when its properties or options cannot be sent.
    pub fn subscribe(
        &mut self,
        _now: Instant,
        ticket: Ticket,
        request: SubscribeRequest,
    ) -> Result<(), Refused<SubscribeRequest>> {
        let no_local_shared = request
            .filters
            .iter()
            .find(|(filter, options)| options.no_local && filter.shared().is_some());
        let checked = match no_local_shared {
            Some((filter, _)) => Err(RefusedReason::NoLocalShared(filter.clone())),
            None if request.filters.is_empty() => Err(RefusedReason::NoFilter),
            None => self.check_request(&request.properties, PacketType::Subscribe),
        };
        if let Err(reason) = checked {
            return Err(Refused { command: request, reason });
        }
        self.traffic().requests.subscribe(ticket, request);
        Ok(())
    }

    /// Asks for the end of subscriptions.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Session::subscribe).
    pub fn unsubscribe(
        &mut self,
        _now: Instant,
        ticket: Ticket,
        request: UnsubscribeRequest,
    ) -> Result<(), Refused<UnsubscribeRequest>> {
        let checked = if request.filters.is_empty() {
            Err(RefusedReason::NoFilter) // [MQTT-3.10.3-2]
        } else {
            self.check_request(&request.properties, PacketType::Unsubscribe)
        };
        if let Err(reason) = checked {
            return Err(Refused { command: request, reason });
        }
        self.traffic().requests.unsubscribe(ticket, request);
        Ok(())
    }

    /// Acknowledges a message that was answered with [`Verdict::Hold`]. The acknowledgement leaves
    /// once those of all older messages have left \[MQTT-4.6.0-2\]. A stale handle does nothing.
    /// A reason that an acknowledgement cannot have is replaced as in [`Verdict::Reject`].
    ///
    /// [`Verdict::Hold`]: super::Verdict::Hold
    /// [`Verdict::Reject`]: super::Verdict::Reject
    pub fn ack(&mut self, now: Instant, handle: AckHandle, reason: ReasonCode) {
        let acknowledged = self.ack_with(now, handle, reason, Properties::default());
        debug_assert!(acknowledged.is_ok(), "there are no properties to refuse");
    }

    /// Acknowledges a message as [`ack`](Session::ack), with a reason string or user properties. They
    /// are left out in 3.x, and where they make the packet larger than the broker takes
    /// \[MQTT-3.4.2-2\].
    ///
    /// # Errors
    ///
    /// When PUBACK and PUBREC cannot have the properties. The message is not acknowledged then.
    pub fn ack_with(
        &mut self,
        _now: Instant,
        handle: AckHandle,
        reason: ReasonCode,
        properties: Properties,
    ) -> Result<(), Refused<()>> {
        let version = self.config.version;
        properties
            .check(PropertyOwner::Packet(PacketType::PubAck))
            .map_err(|error| Refused { command: (), reason: error.into() })?;
        if let Some(traffic) = &mut self.traffic {
            traffic.incoming.ack(handle, reason, properties, version, &mut traffic.control);
        }
        Ok(())
    }

    /// Takes note that nobody will acknowledge a message that was answered with [`Verdict::Hold`]: it
    /// holds back the acknowledgements after it until the link is lost, and is handed over again
    /// when it comes on another one.
    ///
    /// [`Verdict::Hold`]: super::Verdict::Hold
    pub fn forsake(&mut self, handle: AckHandle) {
        if let Some(traffic) = &mut self.traffic {
            traffic.incoming.forsake(handle);
        }
    }

    /// Ends the connection: DISCONNECT becomes the last output and
    /// [`Event::Closing`](super::Event::Closing) follows. What is queued or in flight stays with
    /// the session. Without a link only the event comes.
    ///
    /// MQTT 3.x has no reasons: there, any but a success leaves DISCONNECT out, so that the broker
    /// publishes the will.
    ///
    /// # Errors
    ///
    /// When the reason or the properties cannot be sent, or the link is being closed already.
    pub fn disconnect(
        &mut self,
        _now: Instant,
        reason: ReasonCode,
        properties: Properties,
    ) -> Result<(), Refused<()>> {
        let checked = if matches!(self.state, State::Closing { .. }) {
            Err(RefusedReason::Disconnecting)
        } else {
            self.check_disconnect(reason, &properties)
        };
        checked.map_err(|reason| Refused { command: (), reason })?;
        let heard_of = match &self.state {
            State::Offline { .. } => false,
            State::Connecting { .. } => self.produced > 0,
            State::Online { .. } | State::Closing { .. } => true,
        };
        self.close(End::Requested, heard_of.then_some(LastWord { reason, properties }));
        Ok(())
    }

    /// Checks whether [`disconnect`](Session::disconnect) could send these.
    ///
    /// # Errors
    ///
    /// When a DISCONNECT of this session cannot have the reason or the properties.
    pub fn check_disconnect(
        &self,
        reason: ReasonCode,
        properties: &Properties,
    ) -> Result<(), RefusedReason> {
        let expiry = properties.as_ref().session_expiry_interval();
        let revived = self.config.session_expiry == 0 && expiry.is_some_and(|expiry| expiry > 0);
        let v5 = self.config.version == Version::V5;
        if v5 && !reason.is_allowed(PacketType::Disconnect, Role::Server) {
            Err(RefusedReason::ReasonNotAllowed(reason))
        } else if revived {
            Err(RefusedReason::SessionExpiry)
        } else {
            check_properties(self.config.version, properties, PacketType::Disconnect)
        }
    }

    /// Ends everything that is not finished as lost. For the owner that will not connect again. No
    /// [`Change`](super::Change) is told of it: what is stored is for the next process.
    pub fn abandon(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            traffic.outgoing.fail_all(&mut self.events);
            traffic.requests.fail_all(&mut self.events);
            if matches!(self.state, State::Offline { .. }) {
                traffic.ids.clear(); // No answer can come any more.
            }
        }
    }

    fn check_publish(&self, message: &Message) -> Result<(), RefusedReason> {
        self.check_open()?;
        message.check(self.config.version)?;
        let outgoing = self.traffic.as_ref().map(|traffic| &traffic.outgoing);
        if outgoing.is_some_and(|outgoing| !outgoing.has_room(message, &self.config)) {
            return Err(RefusedReason::QueueFull);
        }
        Ok(())
    }

    fn check_request(
        &self,
        properties: &Properties,
        packet_type: PacketType,
    ) -> Result<(), RefusedReason> {
        self.check_command(properties, packet_type)?;
        if self.traffic.as_ref().is_some_and(|traffic| !traffic.requests.has_room()) {
            return Err(RefusedReason::QueueFull);
        }
        Ok(())
    }

    fn check_command(
        &self,
        properties: &Properties,
        packet_type: PacketType,
    ) -> Result<(), RefusedReason> {
        self.check_open()?;
        check_properties(self.config.version, properties, packet_type)
    }

    fn check_open(&self) -> Result<(), RefusedReason> {
        match self.state {
            State::Closing { requested: true, .. } => Err(RefusedReason::Disconnecting),
            _ => Ok(()),
        }
    }
}

pub(super) fn check_properties(
    version: Version,
    properties: &Properties,
    packet_type: PacketType,
) -> Result<(), RefusedReason> {
    if properties.as_ref().is_empty() {
        return Ok(());
    }
    if version != Version::V5 {
        return Err(RefusedReason::OnlyV5);
    }
    Ok(properties.check(PropertyOwner::Packet(packet_type))?)
}
