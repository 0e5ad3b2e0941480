//! What the chapters share: clients in virtual time, rows of bytes in each way that they can arrive,
//! and clients of a scripted broker.

use std::panic::Location;

pub use midge::Version;

pub use crate::harness::{Client, V3, V5, V31, lasting, message};
pub use crate::peers::Script;
pub use crate::peers::script::bytes;
pub(crate) use crate::registry::tests;
pub use crate::support::{
    Config, Duration, End, Event, Initiator, Properties, Property, PropertyValue, PublishFailure,
    QoS, ReasonCode, RefusedReason, RequestFailure, SECOND, SessionLoss, SubscribeOptions,
    SubscribeRequest, Ticket, TopicFilter, TopicName, UnsubscribeRequest, Verdict, connack5,
    filters, online, protocol_error, reconnect,
};
pub use crate::wire::{framed, prefixed};

/// How the bytes of a broker reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Whole,
    ByteByByte,
    /// With the next packet behind them.
    Glued,
}

pub const WAYS: [Way; 3] = [Way::Whole, Way::ByteByByte, Way::Glued];

pub fn v5(version: Version) -> bool {
    version == V5
}

/// One of two, by whether the version has properties and reason codes.
pub fn pick<T>(version: Version, in_3: T, in_5: T) -> T {
    if v5(version) { in_5 } else { in_3 }
}

/// The property length of a packet without properties.
pub fn none(version: Version) -> &'static [u8] {
    pick(version, &[], &[0])
}

/// A CONNACK that accepts, for a new session.
pub fn accepting(version: Version) -> &'static [u8] {
    pick(version, b"\x20\x02\0\0", b"\x20\x03\0\0\0")
}

/// A CONNACK that accepts, for a session that was kept. 3.1 cannot say so.
pub fn resuming(version: Version) -> &'static [u8] {
    match version {
        Version::V31 => b"\x20\x02\0\0",
        Version::V311 => b"\x20\x02\x01\0",
        _ => b"\x20\x03\x01\0\0",
    }
}

/// A client with the defaults whose connection was accepted.
pub fn connected(version: Version) -> Client {
    online(Config::new(version), accepting(version))
}

/// The same, with a session that lasts.
pub fn kept(version: Version) -> Client {
    online(lasting(version), accepting(version))
}

/// A client whose CONNECT is sent and waits for its answer.
pub fn connecting(config: Config) -> Client {
    let mut client = Client::new(config);
    client.connect();
    assert_eq!(client.output()[0], 0x10);
    client
}

/// The CONNECT of a client with this configuration.
pub fn connect_of(config: Config) -> Vec<u8> {
    let mut client = Client::new(config);
    client.connect();
    client.output()
}

/// A PUBLISH without properties.
pub fn publish(version: Version, first: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    publish_with(version, first, topic, id, &[], payload)
}

/// A PUBLISH; the properties count in 5.0 only.
pub fn publish_with(
    version: Version,
    first: u8,
    topic: &str,
    id: u16,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = prefixed(topic.as_bytes());
    if first & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    if v5(version) {
        crate::wire::put_variable(&mut body, properties.len());
        body.extend(properties);
    }
    body.extend(payload);
    framed(first, &body)
}

/// The message that follows a glued row.
fn next_message(version: Version) -> Vec<u8> {
    publish(version, 0x30, "t", 0, b"next")
}

fn receive(client: &mut Client, version: Version, row: &[u8], way: Way) {
    match way {
        Way::Whole => client.receive(row),
        Way::ByteByByte => row.iter().for_each(|byte| client.receive(&[*byte])),
        Way::Glued => client.receive(&[row, &next_message(version)].concat()),
    }
}

/// Asserts that a row ends the connection of such a client with this reason, in whichever way it
/// arrives: 5.0 tells a broker that has accepted the connection, 3.x closes without a DISCONNECT,
/// which would suppress the will; a payload `bad` in the row, or what follows it, is not delivered.
#[track_caller]
pub fn breach_in(version: Version, make: impl Fn() -> Client, row: &[u8], reason: u8) {
    for way in WAYS {
        let mut client = make();
        client.output();
        let accepted = client.session.is_connected();
        receive(&mut client, version, row, way);
        let what = format!("{row:02X?} in {version}, {way:?}");
        let Some(End::Protocol(error)) = client.end() else { panic!("{what}: {:?}", client.end()) };
        assert_eq!(error.reason, ReasonCode::new(reason), "{what}: {error}");
        assert_eq!(client.end().unwrap().initiator(), Initiator::Library, "{what}");
        client.receive(&next_message(version));
        let undelivered = [b"bad".to_vec(), b"next".to_vec()];
        assert!(client.messages.iter().all(|(_, m)| !undelivered.contains(m)), "{what}: delivered");
        let last = client.output();
        if v5(version) && accepted {
            assert!(last.ends_with(&[0xE0, 1, reason]), "{what}: {last:02X?}");
        } else {
            assert!(!last.contains(&0xE0), "{what}: {last:02X?}");
        }
    }
}

/// The same for a client with the defaults, and a row in hexadecimal.
#[track_caller]
pub fn breach(version: Version, row: &str, reason: u8) {
    breach_in(version, || connected(version), &bytes(row), reason);
}

/// Asserts that a row is taken, in whichever way it arrives, and answered with these bytes; what
/// follows it is delivered.
#[track_caller]
pub fn taken_in(version: Version, make: impl Fn() -> Client, row: &[u8], answer: &[u8]) {
    for way in WAYS {
        let mut client = make();
        client.output();
        receive(&mut client, version, row, way);
        let what = format!("{row:02X?} in {version}, {way:?}");
        assert!(client.session.is_connected(), "{what}: {:?}", client.end());
        assert_eq!(client.output(), answer, "{what}");
        if way != Way::Glued {
            client.receive(&next_message(version));
        }
        assert_eq!(client.messages.last(), Some(&(0, b"next".to_vec())), "{what}");
    }
}

/// The same for a client with the defaults, and rows in hexadecimal.
#[track_caller]
pub fn taken(version: Version, row: &str, answer: &str) {
    taken_in(version, || connected(version), &bytes(row), &bytes(answer));
}

/// The packets in some output.
pub fn packets(mut output: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(length) = crate::peers::script::packet_length(output) {
        packets.push(output[..length].to_vec());
        output = &output[length..];
    }
    assert!(output.is_empty(), "half a packet: {output:02X?}");
    packets
}

/// The first bytes of the packets in some output.
pub fn kinds(output: &[u8]) -> Vec<u8> {
    packets(output).iter().map(|packet| packet[0]).collect()
}

/// The packet identifier of a PUBLISH with the topic `t`, of an acknowledgement, or of a request.
pub fn id_of(packet: &[u8]) -> u16 {
    let at = if packet[0] & 0xF0 == 0x30 { 5 } else { 2 };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// An acknowledgement without a reason code.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    framed(first, &id.to_be_bytes())
}

pub fn subscribe(client: &mut Client, ticket: u64, request: SubscribeRequest) {
    client.session.subscribe(client.now, Ticket::new(ticket), request).unwrap();
    client.poll();
}

pub fn unsubscribe(client: &mut Client, ticket: u64, filter: &str) {
    let filters = vec![TopicFilter::try_from(filter).unwrap()];
    let request = UnsubscribeRequest { filters, ..UnsubscribeRequest::default() };
    client.session.unsubscribe(client.now, Ticket::new(ticket), request).unwrap();
    client.poll();
}

/// How the publish with this ticket ended, if it has.
pub fn outcome(
    client: &Client,
    ticket: u64,
) -> Option<&Result<midge::session::Receipt, PublishFailure>> {
    client.events.iter().find_map(|event| match event {
        Event::Published { ticket: t, result } if t.get() == ticket => Some(result),
        _ => None,
    })
}

/// The answer to the SUBSCRIBE or UNSUBSCRIBE with this ticket, if it has come.
pub fn answer(client: &Client, ticket: u64) -> Option<Result<Vec<u8>, RequestFailure>> {
    client.events.iter().find_map(|event| match event {
        Event::Subscribed { ticket: t, result } | Event::Unsubscribed { ticket: t, result }
            if t.get() == ticket =>
        {
            let codes = |receipt: &midge::session::SubscribeReceipt| {
                receipt.reasons.iter().map(|reason| reason.code()).collect()
            };
            Some(result.as_ref().map(codes).map_err(Clone::clone))
        }
        _ => None,
    })
}

pub fn property(property: Property, value: PropertyValue<'_>) -> Properties {
    Properties::default().with(property, value).unwrap()
}

/// Runs a client against a scripted broker.
#[track_caller]
pub fn block_on(work: impl Future<Output = ()>) {
    let caller = Location::caller();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let done = tokio::time::timeout(Duration::from_secs(20), work).await;
        done.unwrap_or_else(|_| panic!("{caller}: it takes too long"));
    });
}

/// A client named `c` that tries once.
pub fn builder(script: &Script, version: Version) -> midge::ClientBuilder {
    midge::Client::builder(&script.url())
        .unwrap()
        .version(version)
        .client_id("c")
        .reconnect(midge::Reconnect::Never)
}
