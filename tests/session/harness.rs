//! A session in virtual time, with its bytes in the test's hands.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use midge::codec::{ReasonCode, TopicName, Version};
use midge::session::{
    AckHandle, Config, Event, Message, Received, Session, Ticket, Transmit, Verdict,
};

pub const V31: Version = Version::V31;
pub const V3: Version = Version::V311;
pub const V5: Version = Version::V5;

/// One session and everything that came out of it.
pub struct Client {
    pub session: Session,
    pub now: Instant,
    pub events: Vec<Event>,
    /// QoS and payload of the messages handed over, in order.
    pub messages: Vec<(u8, Vec<u8>)>,
    pub topics: Vec<String>,
    /// Handles of messages that are held.
    pub held: VecDeque<AckHandle>,
    /// What new messages are answered with.
    pub verdict: Verdict,
    /// Bytes from the broker that the session has not consumed.
    input: Vec<u8>,
    out: Transmit,
}

impl Client {
    pub fn new(config: Config) -> Client {
        config.check("c").expect("a valid configuration");
        Client {
            session: Session::new(Arc::new(config), "c", 0),
            now: Instant::now(),
            events: Vec::new(),
            messages: Vec::new(),
            topics: Vec::new(),
            held: VecDeque::new(),
            verdict: Verdict::Ack,
            input: Vec::new(),
            out: Transmit::new(),
        }
    }

    pub fn connect(&mut self) {
        self.session.handle_connected(self.now);
        self.poll();
    }

    pub fn disconnect(&mut self) {
        self.out.clear();
        self.input.clear();
        self.session.handle_disconnected(self.now);
        self.poll();
    }

    /// Passes bytes from the broker.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let (messages, topics, held) = (&mut self.messages, &mut self.topics, &mut self.held);
            let verdict = self.verdict;
            let mut inbox = |received: Received<'_>| {
                let publish = received.publish;
                messages.push((publish.qos.into(), publish.payload.to_vec()));
                topics.push(publish.topic.to_owned());
                if verdict == Verdict::Hold {
                    held.extend(received.ack);
                }
                verdict
            };
            let consumed = self.session.handle_bytes(self.now, &self.input, &mut inbox);
            self.input.drain(..consumed);
            let events = self.events.len();
            self.poll();
            if consumed == 0 && self.events.len() == events {
                return;
            }
        }
    }

    /// Gathers output and events.
    pub fn poll(&mut self) {
        while self.session.poll_transmit(self.now, &mut self.out) {}
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// Takes up to `limit` bytes of output, as the kernel would.
    pub fn take_output(&mut self, limit: usize) -> Vec<u8> {
        self.poll();
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = self.out.io_slices(&mut slices);
        let mut bytes: Vec<u8> =
            slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
        bytes.truncate(limit);
        if !bytes.is_empty() {
            self.out.advance(bytes.len());
            self.session.handle_written(self.now, bytes.len());
            self.poll();
        }
        bytes
    }

    pub fn output(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.take_output(usize::MAX);
            if bytes.is_empty() {
                return all;
            }
            all.extend(bytes);
        }
    }

    /// Lets time pass, deadline by deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((due, _)) = self.session.poll_timeout().filter(|&(due, _)| due <= end) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|(next, _)| next > self.now), "{next:?} has passed");
            self.poll();
        }
        self.now = end;
    }

    pub fn publish(&mut self, ticket: u64, qos: u8, payload: &[u8]) {
        let mut message = message(payload);
        message.qos = qos.try_into().unwrap();
        self.session.publish(self.now, Ticket::new(ticket), message).unwrap();
        self.poll();
    }

    pub fn ack_held(&mut self, reason: ReasonCode) {
        for handle in self.held.drain(..) {
            self.session.ack(self.now, handle, reason);
        }
        self.poll();
    }

    /// Tickets of publishes that have ended, with whether they succeeded.
    pub fn published(&self) -> Vec<(u64, bool)> {
        let published = self.events.iter().filter_map(|event| match event {
            Event::Published { ticket, result } => Some((ticket.get(), result.is_ok())),
            _ => None,
        });
        published.collect()
    }

    /// Why the session wanted its link closed, the last time.
    pub fn end(&self) -> Option<&midge::session::End> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Closing(end) => Some(&**end),
            _ => None,
        })
    }
}

pub fn message(payload: &[u8]) -> Message {
    Message::new(TopicName::try_from("t").unwrap(), payload.to_vec())
}

/// A configuration for a session that survives its connections.
pub fn lasting(version: Version) -> Config {
    let mut config = Config::new(version);
    config.clean_start = false;
    if version == V5 {
        config.session_expiry = u32::MAX;
    }
    config
}
