//! Shared by the tests of what a session does with what a broker sends, and with time passing. The
//! bytes are written by hand from the specification.

pub use std::time::Duration;

pub use midge::codec::{
    Properties, Property, PropertyValue, QoS, ReasonCode, SubscribeOptions, TopicFilter, TopicName,
};
pub use midge::session::{
    Config, End, Event, Initiator, PublishFailure, RefusedReason, RequestFailure, SessionLoss,
    SubscribeRequest, Ticket, UnsubscribeRequest, Verdict,
};

pub use crate::harness::{Client, V3, V5, V31, lasting, message};

pub const CK3: &[u8] = &[0x20, 2, 0, 0];
pub const CK5: &[u8] = &[0x20, 3, 0, 0, 0];
pub const SECOND: Duration = Duration::from_secs(1);

/// A client whose connection a broker has accepted with `connack`; its CONNECT is taken.
pub fn online(config: Config, connack: &[u8]) -> Client {
    let mut client = Client::new(config);
    client.connect();
    assert_eq!(client.output()[0], 0x10);
    client.receive(connack);
    assert!(client.session.is_connected(), "{:?}", client.events);
    client
}

pub fn connack5(flags: u8, properties: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x20, 3 + properties.len() as u8, flags, 0, properties.len() as u8];
    bytes.extend(properties);
    bytes
}

/// Reconnects and returns what was sent after the CONNACK.
pub fn reconnect(client: &mut Client, connack: &[u8]) -> Vec<u8> {
    client.disconnect();
    client.connect();
    client.output();
    client.receive(connack);
    client.output()
}

pub fn protocol_error(client: &Client) -> ReasonCode {
    match client.end() {
        Some(End::Protocol(error)) => error.reason,
        other => panic!("not a protocol error: {other:?}"),
    }
}

pub fn filters(filters: &[&str]) -> SubscribeRequest {
    let options = SubscribeOptions::default();
    let filters = filters.iter().map(|f| (TopicFilter::try_from(*f).unwrap(), options)).collect();
    SubscribeRequest { filters, properties: Properties::default() }
}
