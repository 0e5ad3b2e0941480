//! What a session holds while it has nothing to do: its client identifier and nothing else. Counted
//! by the allocator of this binary, which has no thread but the one that runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use midge::codec::{Properties, QoS, SubscribeOptions, TopicFilter, TopicName, Version};
use midge::session::{
    Config, Event, Message, Received, Session, SubscribeRequest, Ticket, Transmit,
    UnsubscribeRequest, Verdict,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most that a session takes itself: as many as there are connections.
const SESSION_BYTES: usize = 144;
/// The most heap that a session with one subscription and nothing under way takes.
const SUBSCRIBED_BYTES: usize = 1_536;
const CLIENT_ID: &str = "client-with-23-letters-";

fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// A session, and the heap that was in use before it was made.
struct Client {
    session: Session,
    before: usize,
    now: Instant,
    tickets: u64,
}

impl Client {
    fn new(config: &Arc<Config>) -> Client {
        let before = in_use();
        let session = Session::new(Arc::clone(config), CLIENT_ID, 0);
        Client { session, before, now: Instant::now(), tickets: 0 }
    }

    fn heap_bytes(&self) -> usize {
        in_use() - self.before
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket::new(self.tickets)
    }

    fn link(&mut self) {
        self.session.handle_connected(self.now);
        self.exchange();
        self.receive(&[0x20, 2, u8::from(self.tickets > 0), 0]);
        assert!(self.session.is_connected());
    }

    /// Passes what the broker says; takes output and events.
    fn receive(&mut self, mut input: &[u8]) {
        let mut inbox = |_: Received<'_>| Verdict::Ack;
        while !input.is_empty() {
            let consumed = self.session.handle_bytes(self.now, input, &mut inbox);
            input = &input[consumed..];
            self.exchange();
        }
    }

    /// Takes the output, whose acknowledgements the caller knows.
    fn exchange(&mut self) {
        let mut out = Transmit::new();
        while self.session.poll_transmit(self.now, &mut out) {
            self.session.handle_written(self.now, out.len());
            out.clear();
        }
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(event, Event::Closing(_)), "{event:?}");
        }
    }

    fn publish(&mut self, qos: QoS) {
        let topic = TopicName::try_from("some/topic").unwrap();
        let message = Message { qos, ..Message::new(topic, vec![0; 100]) };
        let ticket = self.ticket();
        self.session.publish(self.now, ticket, message).unwrap();
    }

    /// Every kind of traffic, more of it than fits the window.
    fn work(&mut self) {
        let mut next_id = None;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for _ in 0..1000 {
                self.publish(qos);
            }
        }
        self.exchange();
        // Identifiers are given out in turn; the broker takes whatever comes.
        for id in 1..=u16::MAX {
            let [high, low] = id.to_be_bytes();
            if self.session.unfinished_count() == 0 {
                next_id = Some(id);
                break;
            }
            if self.session.unfinished_count() > 1000 {
                self.receive(&[0x40, 2, high, low]);
            } else {
                self.receive(&[0x50, 2, high, low, 0x70, 2, high, low]);
            }
        }
        let [high, low] = next_id.unwrap().to_be_bytes();
        self.receive(b"\x30\x05\0\x01tqq\x32\x05\0\x01t\0\x01\x34\x05\0\x01t\0\x02\x62\x02\0\x02");
        let filter = TopicFilter::try_from("some/filter/#").unwrap();
        let request = SubscribeRequest {
            filters: vec![(filter.clone(), SubscribeOptions::default())],
            properties: Properties::default(),
        };
        let ticket = self.ticket();
        self.session.subscribe(self.now, ticket, request).unwrap();
        self.exchange();
        self.receive(&[0x90, 3, high, low, 0]);
        assert_eq!(self.session.unfinished_count(), 0);
    }

    fn unsubscribe(&mut self, id: u16) {
        let filter = TopicFilter::try_from("some/filter/#").unwrap();
        let request =
            UnsubscribeRequest { filters: vec![filter], properties: Properties::default() };
        let ticket = self.ticket();
        self.session.unsubscribe(self.now, ticket, request).unwrap();
        self.exchange();
        let [high, low] = id.to_be_bytes();
        self.receive(&[0xB0, 2, high, low]);
        assert_eq!(self.session.unfinished_count(), 0);
    }

    /// Lets time pass until a ping was answered.
    fn rest(&mut self) {
        self.now += Duration::from_secs(60);
        self.session.handle_timeout(self.now);
        self.exchange();
        self.receive(&[0xD0, 0]);
    }
}

fn main() {
    assert!(size_of::<Session>() <= SESSION_BYTES, "{} bytes", size_of::<Session>());
    let mut config = Config::new(Version::V311);
    config.clean_start = false;
    config.max_inflight = 50;
    let config = Arc::new(config);
    let mut client = Client::new(&config);
    let nothing = CLIENT_ID.len();
    assert_eq!(client.heap_bytes(), nothing, "new");
    client.link();
    assert_eq!(client.heap_bytes(), nothing, "connected");
    client.rest();
    assert_eq!(client.heap_bytes(), nothing, "after a ping");
    client.work();
    client.rest();
    let subscribed = client.heap_bytes() - nothing;
    assert!(subscribed <= SUBSCRIBED_BYTES, "{subscribed} bytes for a subscription");
    client.unsubscribe(2002);
    client.rest();
    assert_eq!(client.heap_bytes(), nothing, "after work");
    client.session.handle_disconnected(client.now);
    client.link();
    assert_eq!(client.heap_bytes(), nothing, "after a reconnect");
    println!("{} bytes, {nothing} of heap idle and {subscribed} subscribed", size_of::<Session>());
}
