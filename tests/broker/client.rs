//! Publishing and subscribing in every version and quality of service.

use std::time::Duration;

use midge::client::CloseReason;
use midge::{Client, ClientBuilder, QoS, ReasonCode, Version};
use tokio::time::timeout;

use crate::support::Broker;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A broker that answers at once: by default mosquitto leaves that to Nagle's algorithm.
fn start() -> Option<Broker> {
    Broker::with_config("allow_anonymous true\nset_tcp_nodelay true\n")
}

fn builder(broker: &Broker, version: Version) -> ClientBuilder {
    Client::builder(&broker.url()).unwrap().version(version)
}

/// Fails rather than hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.expect("it takes too long")
}

#[tokio::test]
async fn messages_go_both_ways_in_every_version_and_qos() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        for qos in QOS {
            let (client, _inbox) = builder(&broker, version).start().unwrap();
            let mut stream = soon(client.subscribe("t/+").qos(qos).into_future()).await.unwrap();
            assert_eq!(stream.granted(), qos);
            for n in 0..50 {
                let sent = client.publish("t/x", n.to_string()).qos(qos);
                let receipt = soon(sent.into_future()).await.unwrap();
                assert_eq!(receipt.reason, ReasonCode::SUCCESS);
            }
            for n in 0..50 {
                let message = soon(stream.next()).await.unwrap();
                assert_eq!((message.topic(), message.qos()), ("t/x", qos));
                assert_eq!(message.payload(), n.to_string().as_bytes());
            }
            soon(client.disconnect()).await.unwrap();
            assert!(matches!(client.closed().await, CloseReason::User));
            assert!(soon(stream.next()).await.is_none());
        }
    }
}
