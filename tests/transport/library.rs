//! The exchanges of MQTT over every transport, in every version.

use std::time::Duration;

use midge::{Client, ClientBuilder, Inbox, QoS, Version, Will};
use tokio::{runtime::Builder, time::timeout};

use crate::listeners::{Listeners, Way};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Several TLS records and socket buffers.
const LARGE_BYTES: usize = 3 << 20;
/// Several WebSocket frames. mosquitto 2.0 sends a message of a megabyte over WebSocket, to whatever
/// client, in more than half a minute.
const LARGE_WEBSOCKET_BYTES: usize = 70_000;

/// Fails rather than hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), work).await.expect("it takes too long")
}

async fn connect(builder: ClientBuilder) -> (Client, Inbox) {
    let (client, inbox) = builder.start().unwrap();
    soon(client.connected()).await.unwrap();
    (client, inbox)
}

/// Runs `check` for each way in each version.
async fn everywhere<F: Future<Output = ()>>(check: impl Fn(Lane) -> F) {
    let Some(listeners) = Listeners::start() else { return };
    for way in Way::ALL {
        for version in VERSIONS {
            let builders = std::array::from_fn(|_| listeners.client(way).version(version));
            let name = format!("{way:?} {version}");
            println!("{name}");
            let over_websocket = matches!(way, Way::WebSocket | Way::SecureWebSocket);
            let large_bytes = if over_websocket { LARGE_WEBSOCKET_BYTES } else { LARGE_BYTES };
            check(Lane { version, name, large_bytes, builders }).await;
        }
    }
}

/// One way in one version.
struct Lane {
    version: Version,
    /// Tells topics and sessions apart from those of other lanes.
    name: String,
    large_bytes: usize,
    builders: [ClientBuilder; 3],
}

#[tokio::test]
async fn messages_go_both_ways_in_every_quality() {
    everywhere(|lane| async move {
        let [builder, ..] = lane.builders;
        let (client, _inbox) = connect(builder).await;
        for qos in QOS {
            let mut stream =
                soon(client.subscribe(&lane.name).qos(qos).into_future()).await.unwrap();
            assert_eq!(stream.granted(), qos, "{}", lane.name);
            for n in 0..5 {
                let sent = client.publish(&*lane.name, n.to_string()).qos(qos);
                soon(sent.into_future()).await.unwrap();
            }
            for n in 0..5 {
                let message = soon(stream.next()).await.unwrap();
                assert_eq!(message.payload(), n.to_string().as_bytes(), "{}", lane.name);
                assert_eq!(message.qos(), qos, "{}", lane.name);
            }
            soon(stream.unsubscribe()).await.unwrap();
        }
        soon(client.disconnect()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_large_payload_arrives_unchanged() {
    let payload: Vec<u8> = (0..LARGE_BYTES).map(|at| (at % 251) as u8).collect();
    everywhere(|lane| {
        let payload = payload[..lane.large_bytes].to_vec();
        async move {
            let [builder, ..] = lane.builders;
            let (client, _inbox) = connect(builder).await;
            let stream = client.subscribe(&lane.name).qos(QoS::AtLeastOnce);
            let mut stream = soon(stream.into_future()).await.unwrap();
            let sent = client.publish(&*lane.name, payload.clone()).qos(QoS::AtLeastOnce);
            soon(sent.into_future()).await.unwrap();
            let message = soon(stream.next()).await.unwrap();
            assert!(message.payload().as_ref() == payload, "{}", lane.name);
        }
    })
    .await;
}

#[tokio::test]
async fn retained_messages_are_kept_and_cleared() {
    everywhere(|lane| async move {
        let [builder, reader, _] = lane.builders;
        let (client, _inbox) = connect(builder).await;
        let kept = client.publish(&*lane.name, "kept").qos(QoS::AtLeastOnce).retain(true);
        soon(kept.into_future()).await.unwrap();
        let (reader, _inbox) = connect(reader).await;
        let mut stream = soon(reader.subscribe(&lane.name).into_future()).await.unwrap();
        let message = soon(stream.next()).await.unwrap();
        assert_eq!((message.payload().as_ref(), message.retain()), (&b"kept"[..], true));
        let cleared = client.publish(&*lane.name, "").qos(QoS::AtLeastOnce).retain(true);
        soon(cleared.into_future()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_will_is_published_when_the_connection_breaks() {
    everywhere(|lane| async move {
        let [watcher, victim, _] = lane.builders;
        let (watcher, _inbox) = connect(watcher).await;
        let wills = watcher.subscribe(&lane.name).qos(QoS::AtLeastOnce);
        let mut wills = soon(wills.into_future()).await.unwrap();
        let will = Will::new(&*lane.name, "gone").unwrap().qos(QoS::AtLeastOnce);
        // Its runtime ends with the thread, and with it the socket, without any farewell.
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let connection = runtime.block_on(connect(victim.will(will)));
            drop(runtime);
            drop(connection);
        })
        .join()
        .unwrap();
        let message = soon(wills.next()).await.unwrap();
        assert_eq!(message.payload().as_ref(), b"gone", "{}", lane.name);
    })
    .await;
}

#[tokio::test]
async fn a_session_is_resumed() {
    everywhere(|lane| async move {
        let lasting = |builder: ClientBuilder| {
            // 3.1 allows no more than 23 characters.
            let id = format!("{:.20}", lane.name.replace(' ', ""));
            let builder = builder.client_id(id).clean_start(false);
            if lane.version == Version::V5 { builder.session_expiry(60) } else { builder }
        };
        let [first, sender, second] = lane.builders;
        let (client, _inbox) = connect(lasting(first)).await;
        let stream = client.subscribe(&lane.name).qos(QoS::ExactlyOnce).keep(true);
        drop(soon(stream.into_future()).await.unwrap());
        soon(client.disconnect()).await.unwrap();

        let (sender, _inbox) = connect(sender).await;
        let sent = sender.publish(&*lane.name, "missed").qos(QoS::ExactlyOnce);
        soon(sent.into_future()).await.unwrap();

        let (client, mut inbox) = connect(lasting(second)).await;
        let present = soon(client.connected()).await.unwrap().session_present;
        assert_eq!(present, lane.version != Version::V31, "{}", lane.name);
        let message = soon(inbox.next()).await.unwrap();
        assert_eq!(message.payload().as_ref(), b"missed", "{}", lane.name);
    })
    .await;
}
