//! Publishing and subscribing in every version and quality of service.

use std::time::Duration;

use midge::client::{CloseReason, ConnectError, PublishError, State};
use midge::codec::RetainHandling;
use midge::{
    Client, ClientBuilder, Flow, Inbox, Properties, Property, PropertyValue, QoS, ReasonCode,
    Reconnect, SubscribeOptions, Version, Will,
};
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
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
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

/// Connects and returns the client with its inbox.
async fn connect(builder: ClientBuilder) -> (Client, Inbox) {
    let (client, inbox) = builder.start().unwrap();
    soon(client.connected()).await.unwrap();
    (client, inbox)
}

/// A client with a session that outlives its connection.
fn lasting(broker: &Broker, version: Version) -> ClientBuilder {
    let builder = builder(broker, version).client_id("lasting").clean_start(false);
    if version == Version::V5 { builder.session_expiry(3600) } else { builder }
}

#[tokio::test]
async fn a_session_keeps_messages_for_a_client_that_is_away() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let (client, _inbox) = connect(lasting(&broker, version)).await;
        let stream = client.subscribe("s/#").qos(QoS::ExactlyOnce).keep(true);
        drop(soon(stream.into_future()).await.unwrap());
        soon(client.disconnect()).await.unwrap();

        let (sender, _inbox) = connect(builder(&broker, version)).await;
        for n in 0..10 {
            let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let sent = sender.publish("s/x", n.to_string()).qos(qos);
            soon(sent.into_future()).await.unwrap();
        }

        // A new client takes the session over: what comes before any stream exists is in the inbox.
        let (client, mut inbox) = connect(lasting(&broker, version)).await;
        assert_eq!(
            soon(client.connected()).await.unwrap().session_present,
            version != Version::V31
        );
        for n in 0..10 {
            let message = soon(inbox.next()).await.unwrap();
            assert_eq!(message.payload(), n.to_string().as_bytes(), "{version}");
        }
        soon(client.disconnect()).await.unwrap();
        // The next version begins without it.
        let builder = builder(&broker, version).client_id("lasting");
        soon(connect(builder).await.0.disconnect()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_survives_the_restart_of_its_broker() {
    let forgetful = "allow_anonymous true\nset_tcp_nodelay true\n";
    let lasting_broker = format!("{forgetful}persistence true\npersistence_location @DIR@/\n");
    for (config, keeps_sessions) in [(forgetful, false), (&lasting_broker, true)] {
        for version in VERSIONS {
            let Some(mut broker) = Broker::with_config(config) else { return };
            let delay = Duration::from_millis(20);
            let builder = lasting(&broker, version)
                .reconnect(Reconnect::Backoff { first: delay, max: 5 * delay });
            let (client, _inbox) = connect(builder).await;
            let stream = client.subscribe("r").qos(QoS::ExactlyOnce);
            let mut stream = soon(stream.into_future()).await.unwrap();
            soon(client.publish("r", "before").qos(QoS::ExactlyOnce).into_future()).await.unwrap();

            let mut state = client.state();
            if keeps_sessions {
                broker.stop();
            } else {
                broker.kill();
            }
            soon(state.wait_for(|state| !matches!(state, State::Connected(_)))).await.unwrap();
            let meanwhile = client.publish("r", "meanwhile").qos(QoS::ExactlyOnce);
            let meanwhile = meanwhile.try_enqueue().unwrap();
            broker.start_again();

            soon(meanwhile).await.unwrap();
            soon(client.publish("r", "after").qos(QoS::AtLeastOnce).into_future()).await.unwrap();
            let mut seen = Vec::new();
            while seen.last().map(String::as_str) != Some("after") {
                let message = soon(stream.next()).await.unwrap();
                seen.push(String::from_utf8(message.into_payload().to_vec()).unwrap());
            }
            assert_eq!(seen, ["before", "meanwhile", "after"], "{version}, {keeps_sessions}");
            let info = soon(client.connected()).await.unwrap();
            let told = keeps_sessions && version != Version::V31;
            assert_eq!(info.session_present, told, "{version}");
        }
    }
}

#[tokio::test]
async fn the_will_is_published_when_the_connection_breaks_and_not_when_it_is_ended() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let (watcher, _inbox) = connect(builder(&broker, version)).await;
        let wills = watcher.subscribe("will/#").qos(QoS::AtLeastOnce);
        let mut wills = soon(wills.into_future()).await.unwrap();
        let will = |topic: &str| {
            let will = Will::new(topic, "gone").unwrap().qos(QoS::AtLeastOnce);
            builder(&broker, version).will(will)
        };
        let (client, _inbox) = connect(will("will/ended")).await;
        soon(client.disconnect()).await.unwrap();

        // A client whose hook panics does not end as it should, and wants
        // its will published.
        let broken = will("will/broken").on_message(|_, _| panic!("as planned"));
        let (client, _inbox) = connect(broken).await;
        let stream = client.subscribe("poison");
        let _stream = soon(stream.into_future()).await.unwrap();
        soon(watcher.publish("poison", "").into_future()).await.unwrap();
        assert!(matches!(soon(client.closed()).await, CloseReason::HookPanicked("on_message")));
        let message = soon(wills.next()).await.unwrap();
        assert_eq!((message.topic(), message.payload().as_ref()), ("will/broken", &b"gone"[..]));
    }
}

#[tokio::test]
async fn retained_messages_come_as_asked_for() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let (client, _inbox) = connect(builder(&broker, version)).await;
        let sent = client.publish("keep", "me").qos(QoS::AtLeastOnce).retain(true);
        soon(sent.into_future()).await.unwrap();
        let mut stream = soon(client.subscribe("keep").into_future()).await.unwrap();
        let message = soon(stream.next()).await.unwrap();
        assert_eq!((message.payload().as_ref(), message.retain()), (&b"me"[..], true));
        soon(stream.unsubscribe()).await.unwrap();

        if version == Version::V5 {
            let options = SubscribeOptions {
                retain_handling: RetainHandling::DoNotSend,
                retain_as_published: true,
                ..SubscribeOptions::default()
            };
            let stream = client.subscribe("keep").options(options);
            let mut stream = soon(stream.into_future()).await.unwrap();
            soon(client.publish("keep", "new").retain(true).into_future()).await.unwrap();
            let message = soon(stream.next()).await.unwrap();
            assert_eq!((message.payload().as_ref(), message.retain()), (&b"new"[..], true));
        }
        let cleared = client.publish("keep", "").qos(QoS::AtLeastOnce).retain(true);
        soon(cleared.into_future()).await.unwrap();
    }
}

#[tokio::test]
async fn properties_go_through() {
    let Some(broker) = start() else { return };
    let (client, _inbox) = connect(builder(&broker, Version::V5)).await;
    let stream = client.subscribe("p").qos(QoS::AtLeastOnce).identifier(7);
    let mut stream = soon(stream.into_future()).await.unwrap();
    let mut properties = Properties::new();
    for (property, value) in [
        (Property::ContentType, PropertyValue::Utf8("text/plain")),
        (Property::ResponseTopic, PropertyValue::Utf8("answer")),
        (Property::CorrelationData, PropertyValue::Binary(b"\x00\xFF")),
        (Property::UserProperty, PropertyValue::Pair("k", "v")),
    ] {
        properties.push(property, value).unwrap();
    }
    soon(client.publish("p", "x").properties(properties).into_future()).await.unwrap();
    let message = soon(stream.next()).await.unwrap();
    let seen = message.properties();
    assert_eq!(seen.content_type(), Some("text/plain"));
    assert_eq!(seen.response_topic(), Some("answer"));
    assert_eq!(seen.correlation_data(), Some(&b"\x00\xFF"[..]));
    assert_eq!(seen.user_properties().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(seen.subscription_identifiers().collect::<Vec<_>>(), [7]);
}

#[tokio::test]
async fn a_broker_that_lets_nobody_in_says_so() {
    let files = [("passwords", "")];
    let config = "allow_anonymous false\npassword_file @DIR@/passwords\n";
    let Some(broker) = Broker::with_files(config, &files) else { return };
    for (version, code) in [(Version::V31, 0x87), (Version::V311, 0x87), (Version::V5, 0x87)] {
        let builder = builder(&broker, version).username("u").password("p");
        let (client, _inbox) = builder.start().unwrap();
        let error = soon(client.connected()).await.unwrap_err();
        let ConnectError::Refused { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason.code(), code, "{version}");
    }
}

#[tokio::test]
async fn a_refused_publish_is_an_error_in_5_0() {
    let files = [("acl", "topic read #\n")];
    let config = "allow_anonymous true\nacl_file @DIR@/acl\n";
    let Some(broker) = Broker::with_files(config, &files) else { return };
    let (client, _inbox) = connect(builder(&broker, Version::V5)).await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let error = soon(client.publish("t", "x").qos(qos).into_future()).await.unwrap_err();
        let PublishError::Rejected { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
    }
}

#[tokio::test]
async fn many_messages_arrive_once_and_in_order() {
    const COUNT: u32 = 20_000;
    let config = "allow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
        max_inflight_messages 100\n";
    let Some(broker) = Broker::with_config(config) else { return };
    for qos in QOS {
        let (done, mut all) = tokio::sync::mpsc::unbounded_channel();
        let mut expected = 0;
        let builder = builder(&broker, Version::V5).on_message(move |message, _| {
            assert_eq!(message.payload(), expected.to_string().as_bytes());
            expected += 1;
            if expected == COUNT {
                done.send(()).unwrap();
            }
            Flow::Taken
        });
        let (receiver, _inbox) = connect(builder).await;
        let stream = receiver.subscribe("many").qos(qos).keep(true);
        let _stream = soon(stream.into_future()).await.unwrap();
        let (sender, _inbox) = connect(self::builder(&broker, Version::V311)).await;
        for n in 0..COUNT {
            let sent = sender.publish("many", n.to_string()).qos(qos).enqueue();
            drop(soon(sent).await.unwrap());
        }
        soon(sender.flush()).await.unwrap();
        assert_eq!(sender.stats().publish_failures, 0);
        soon(all.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_burst_of_qos_2_is_not_too_much_for_the_broker() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let (client, _inbox) = builder(&broker, version).start().unwrap();
        for n in 0..200 {
            let publish = client.publish("burst", n.to_string()).qos(QoS::ExactlyOnce);
            drop(publish.try_enqueue().unwrap());
        }
        soon(client.flush()).await.unwrap();
        assert_eq!((client.stats().connects, client.stats().messages_published), (1, 200));
    }
}

#[tokio::test]
async fn the_will_is_published_after_an_abort_and_not_after_a_drain() {
    let Some(broker) = start() else { return };
    for version in VERSIONS {
        let (watcher, _inbox) = connect(builder(&broker, version)).await;
        let mut wills = soon(watcher.subscribe("will/+").into_future()).await.unwrap();
        let mortal = |topic: &str| {
            let will = Will::new(topic, "gone").unwrap();
            connect(builder(&broker, version).will(will).reconnect(Reconnect::Never))
        };
        let (drained, _inbox) = mortal("will/drained").await;
        let delivery = drained.publish("t", "x").qos(QoS::ExactlyOnce).try_enqueue().unwrap();
        let report = soon(drained.drain(Duration::from_secs(10))).await.unwrap();
        assert!(report.is_complete() && report.confirmed == 1, "{report:?}");
        soon(delivery).await.unwrap();
        let (aborted, _inbox) = mortal("will/aborted").await;
        aborted.abort();
        assert!(matches!(soon(aborted.closed()).await, CloseReason::User));
        assert_eq!(soon(wills.next()).await.unwrap().topic(), "will/aborted");
        assert!(wills.try_next().is_none());
    }
}
