//! What arrives, and how connections are made, against a real mosquitto.

use std::time::Duration;

use midge::client::{ConnectError, DisconnectCause, Response, State};
use midge::codec::RetainHandling;
use midge::{Acks, Client, ClientBuilder, Inbox, QoS, Reconnect, Slow, Version};

use crate::client::soon;
use crate::support::Broker;

fn builder(broker: &Broker, version: Version) -> ClientBuilder {
    let eager = Reconnect::Backoff { first: Duration::ZERO, max: Duration::from_millis(50) };
    Client::builder(&broker.url()).unwrap().version(version).reconnect(eager)
}

async fn connect(builder: ClientBuilder) -> (Client, Inbox) {
    let (client, inbox) = builder.start().unwrap();
    soon(client.connected()).await.unwrap();
    (client, inbox)
}

async fn publish(client: &Client, topic: &str, payload: &str) {
    let sent = client.publish(topic, payload.to_owned()).qos(QoS::AtLeastOnce);
    soon(sent.into_future()).await.unwrap();
}

/// A client with a session that outlives its connection.
fn lasting(broker: &Broker, version: Version) -> ClientBuilder {
    let builder = builder(broker, version).client_id("lasting").clean_start(false);
    if version == Version::V5 { builder.session_expiry(3600) } else { builder }
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let Some(broker) = Broker::start() else { return };
    for version in [Version::V311, Version::V5] {
        let (client, mut inbox) = connect(lasting(&broker, version).acks(Acks::Manual)).await;
        let stream = client.subscribe("m/#").qos(QoS::ExactlyOnce).keep(true).acks(Acks::Manual);
        drop(soon(stream.into_future()).await.unwrap());
        for n in 1..=4 {
            publish(&client, "m/x", &n.to_string()).await;
        }
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(soon(inbox.next()).await.unwrap());
        }
        // The fourth is done, but its acknowledgement waits for that of the third.
        held[0].ack();
        held[1].ack();
        held[3].ack();
        soon(client.flush()).await.unwrap();
        soon(client.disconnect()).await.unwrap();
        drop(held);

        let (client, mut inbox) = connect(lasting(&broker, version).acks(Acks::OnDrop)).await;
        for n in 3..=4 {
            let message = soon(inbox.next()).await.unwrap();
            assert_eq!((message.payload()[0], message.dup()), (b'0' + n, true), "{version}");
        }
        publish(&client, "m/x", "5").await;
        assert_eq!(soon(inbox.next()).await.unwrap().payload(), "5");
        soon(client.disconnect()).await.unwrap();
        // End the session for the next version.
        drop(connect(builder(&broker, version).client_id("lasting")).await);
    }
}

#[tokio::test]
async fn a_slow_consumer_that_is_disconnected_misses_nothing() {
    let Some(broker) = Broker::start() else { return };
    for version in [Version::V311, Version::V5] {
        let builder_ = lasting(&broker, version).inbox_capacity(5).slow(Slow::Disconnect);
        let (client, mut inbox) = connect(builder_).await;
        let stream = client.subscribe("s").qos(QoS::AtLeastOnce).keep(true);
        drop(soon(stream.into_future()).await.unwrap());
        let (sender, _inbox) = connect(builder(&broker, version)).await;
        for n in 0..40 {
            publish(&sender, "s", &n.to_string()).await;
        }
        let mut state = client.state();
        let thrown_out = state.wait_for(|state| matches!(state, State::Waiting { .. }));
        soon(thrown_out).await.unwrap();
        let mut next = 0;
        while next < 40 {
            let message = soon(inbox.next()).await.unwrap();
            let n: u32 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
            // A message whose acknowledgement was lost with its connection comes again.
            assert!(n == next || message.dup(), "{n} instead of {next}, {version}");
            next = next.max(n + 1);
        }
        assert!(client.stats().connects > 1);
        soon(client.disconnect()).await.unwrap();
        drop(connect(builder(&broker, version).client_id("lasting")).await);
    }
}

#[tokio::test]
async fn the_options_of_a_subscription_have_their_effect() {
    let Some(broker) = Broker::start() else { return };
    let (client, _inbox) = connect(builder(&broker, Version::V5)).await;
    let (other, _inbox) = connect(builder(&broker, Version::V5)).await;
    let retained = other.publish("o", "old").qos(QoS::AtLeastOnce).retain(true);
    soon(retained.into_future()).await.unwrap();
    let subscribe = client
        .subscribe("o")
        .qos(QoS::AtLeastOnce)
        .no_local(true)
        .retain_as_published(true)
        .retain_handling(RetainHandling::DoNotSend);
    let mut stream = soon(subscribe.into_future()).await.unwrap();
    publish(&client, "o", "own").await;
    let retained = other.publish("o", "new").qos(QoS::AtLeastOnce).retain(true);
    soon(retained.into_future()).await.unwrap();
    let message = soon(stream.next()).await.unwrap();
    assert_eq!((message.payload().as_ref(), message.retain()), (&b"new"[..], true));
    assert!(stream.try_next().is_none());
}

#[tokio::test]
async fn a_shared_subscription_is_shared() {
    let Some(broker) = Broker::start() else { return };
    for version in [Version::V311, Version::V5] {
        let mut workers = Vec::new();
        for _ in 0..2 {
            let (client, _inbox) = connect(builder(&broker, version)).await;
            let subscribe = client.subscribe("$share/g/w/+").qos(QoS::AtLeastOnce);
            workers.push((soon(subscribe.into_future()).await.unwrap(), client));
        }
        for n in 0..20 {
            publish(&workers[0].1, "w/x", &n.to_string()).await;
        }
        let mut seen = Vec::new();
        while seen.len() < 20 {
            let (mut a, mut b) = (workers.pop().unwrap(), workers.pop().unwrap());
            let message = soon(async {
                tokio::select! { message = a.0.next() => message, message = b.0.next() => message }
            });
            seen.push(String::from_utf8_lossy(message.await.unwrap().payload()).into_owned());
            workers.extend([b, a]);
        }
        seen.sort_by_key(|n| n.parse::<u32>().unwrap());
        assert_eq!(seen, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "{version}");
        // The group of the next version is the same: these must be out of it.
        for (stream, _client) in workers {
            soon(stream.unsubscribe()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_in_every_version() {
    let Some(broker) = Broker::start() else { return };
    for (round, version) in [Version::V31, Version::V311, Version::V5].into_iter().enumerate() {
        let (server, _inbox) = connect(builder(&broker, version).client_id("server")).await;
        let (client, _inbox) = connect(builder(&broker, version)).await;
        let running = tokio::spawn({
            let server = server.clone();
            async move {
                let serve = server.serve("q/+", |request| async move {
                    Response::from([b"re: ", request.payload().as_ref()].concat())
                });
                let serve = serve.qos(QoS::AtLeastOnce).concurrency(4);
                if version == Version::V5 {
                    return serve.await;
                }
                serve
                    .response_topic(|request| {
                        format!("r/{}", request.topic().strip_prefix("q/")?).try_into().ok()
                    })
                    .await
            }
        });
        tokio::task::block_in_place(|| {
            broker.wait_for_log_count("Sending SUBACK to server", round + 1);
        });
        for n in 0..10 {
            let request = client.request(format!("q/{n}"), n.to_string()).qos(QoS::AtLeastOnce);
            let request = match version {
                Version::V5 => request,
                _ => request.response_topic(format!("r/{n}")),
            };
            let response = soon(request.into_future()).await.unwrap();
            assert_eq!(response.payload(), format!("re: {n}").as_bytes());
        }
        soon(server.disconnect()).await.unwrap();
        soon(running).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_hook_brings_the_password_that_is_valid_by_then() {
    // "p2" with salt, as mosquitto_passwd writes it.
    let Some(file) = password_file("u", "p2") else { return };
    let config = "password_file @DIR@/passwd\nallow_anonymous false\n";
    let Some(broker) = Broker::with_files(config, &[("passwd", &file)]) else { return };
    let builder = builder(&broker, Version::V5)
        .before_connect(|mut attempt| async move {
            attempt.username = Some("u".into());
            attempt.password = Some(format!("p{}", attempt.number).into_bytes().into());
            Ok::<_, std::convert::Infallible>(attempt)
        })
        .on_retry(|_, _| Some(Duration::ZERO));
    let (client, _inbox) = builder.start().unwrap();
    assert_eq!(soon(client.connected()).await.unwrap().attempts, 2);
    let (client, _inbox) =
        Client::builder(&broker.url()).unwrap().version(Version::V5).start().unwrap();
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

fn password_file(user: &str, password: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwd");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", path.to_str().unwrap(), user, password])
        .output();
    match made {
        Ok(output) if output.status.success() => Some(std::fs::read_to_string(path).unwrap()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_takes_over() {
    let (Some(mut first), Some(second)) = (Broker::start(), Broker::start()) else { return };
    let builder = builder(&first, Version::V311).fallback(&second.url()).unwrap();
    let (client, _inbox) = connect(builder).await;
    let mut stream = soon(client.subscribe("t").qos(QoS::AtLeastOnce).into_future()).await.unwrap();
    let mut state = client.state();
    tokio::task::block_in_place(|| first.kill());
    let port = Some(second.port());
    let elsewhere = state.wait_for(|state| match state {
        State::Connected(info) => info.peer.map(|peer| peer.port()) == port,
        _ => false,
    });
    soon(elsewhere).await.unwrap();
    publish(&client, "t", "x").await;
    assert_eq!(soon(stream.next()).await.unwrap().payload(), "x");
}

#[tokio::test]
async fn a_session_that_is_taken_over_can_be_taken_back() {
    let Some(broker) = Broker::start() else { return };
    let builder_ =
        builder(&broker, Version::V5).client_id("one").on_retry(|failure, planned| match failure {
            midge::client::Failure::Disconnect(DisconnectCause::Server { .. }) => {
                Some(Duration::ZERO)
            }
            _ => planned,
        });
    let (client, _inbox) = connect(builder_).await;
    let other = builder(&broker, Version::V5).client_id("one").reconnect(Reconnect::Never);
    let (other, _inbox) = other.start().unwrap();
    soon(other.closed()).await;
    let mut state = client.state();
    soon(state.wait_for(|state| matches!(state, State::Connected(_)))).await.unwrap();
    assert!(client.stats().connects >= 2);
}
