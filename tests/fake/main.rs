//! The client library against a scripted broker: every byte both ways is spelled out, and brokers
//! that misbehave are as easy to have as those that do not.

#[path = "../session/model.rs"]
#[allow(dead_code, reason = "the tests of the session use more of it")]
mod model;
#[path = "../support/mod.rs"]
mod support;

mod acks;
mod attempts;
mod authenticate;
mod blocking;
mod cancel;
mod connect;
mod disconnect;
mod futures;
mod hooks;
mod hostile;
mod outgoing;
mod publish;
mod reconnect;
mod redirect;
mod request;
mod slow;
mod store;
mod streams;
mod subscribe;

use std::time::Duration;

use midge::client::{CloseReason, State};
use midge::{Client, ClientBuilder, Inbox, Reconnect, Version};
use tokio::time::timeout;

use support::script::{CONNACK_3, CONNACK_5};
use support::{Peer, Script};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// A client named `c` that tries once.
fn builder(script: &Script, version: Version) -> ClientBuilder {
    Client::builder(&script.url())
        .unwrap()
        .version(version)
        .client_id("c")
        .reconnect(Reconnect::Never)
}

fn connack(version: Version) -> &'static str {
    if version == Version::V5 { CONNACK_5 } else { CONNACK_3 }
}

/// Starts a client and accepts its connection.
async fn accepted(script: &Script, builder: ClientBuilder, connack: &str) -> (Client, Inbox, Peer) {
    let (client, inbox) = builder.start().unwrap();
    let peer = script.accept_with(connack).await;
    soon(client.connected()).await.unwrap();
    (client, inbox, peer)
}

/// Starts a client with the defaults and accepts its connection.
async fn connected(version: Version) -> (Client, Inbox, Peer) {
    let script = Script::listen().await;
    accepted(&script, builder(&script, version), connack(version)).await
}

/// Fails rather than hangs.
#[track_caller]
fn soon<F: IntoFuture>(work: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    let work = work.into_future();
    async move {
        let done = timeout(Duration::from_secs(10), work).await;
        done.unwrap_or_else(|_| panic!("{caller}: it takes too long"))
    }
}

/// The answer to a PUBREL proves that all messages before it were handled, and a publish that all
/// commands were.
async fn settle(client: &Client, peer: &mut Peer) {
    peer.send("62 02 7777").await;
    peer.expect_packet(0x70).await;
    soon(client.publish("settle", "")).await.unwrap();
    peer.expect_packet(0x30).await;
}

/// Waits for a state of the client.
async fn state(client: &Client, wanted: impl FnMut(&State) -> bool) {
    let mut state = client.state();
    let reached = soon(state.wait_for(wanted)).await.is_ok();
    assert!(reached);
}

/// Waits for the client to end.
async fn closed(client: &Client) -> CloseReason {
    soon(client.closed()).await
}
