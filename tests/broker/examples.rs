//! The examples do what they say.

use midge::{Client, Flow, QoS};

use crate::client::soon;
use crate::support::Broker;

/// Takes an example in as a module, without its `main`.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(dead_code, unreachable_pub, reason = "its main is not called")]
        mod $name;
    };
}

example!(publish, "../../examples/publish.rs");
example!(subscribe, "../../examples/subscribe.rs");
example!(callbacks, "../../examples/callbacks.rs");
example!(will, "../../examples/will.rs");
example!(reconnect, "../../examples/reconnect.rs");
example!(request, "../../examples/request.rs");
example!(persistent_queue, "../../examples/persistent_queue.rs");
example!(blocking, "../../examples/blocking.rs");

/// Publishes once the broker has answered this many SUBSCRIBEs.
async fn when_subscribed(broker: &Broker, count: usize, messages: &[(&str, &str)]) {
    tokio::task::block_in_place(|| broker.wait_for_log_count("Sending SUBACK", count));
    let (client, _inbox) = Client::builder(&broker.url()).unwrap().start().unwrap();
    for (topic, payload) in messages {
        let sent = client.publish(*topic, payload.to_string()).qos(QoS::AtLeastOnce);
        soon(sent.into_future()).await.unwrap();
    }
}

#[tokio::test]
async fn publish_publishes() {
    let Some(broker) = Broker::start() else { return };
    soon(publish::run(&broker.url())).await.unwrap();
    let (client, _inbox) = Client::builder(&broker.url()).unwrap().start().unwrap();
    let mut state = soon(client.subscribe("example/state").into_future()).await.unwrap();
    assert_eq!(soon(state.next()).await.unwrap().payload(), "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_receives() {
    let Some(broker) = Broker::start() else { return };
    let messages =
        [("example/orders/1", "a"), ("example/events", "b"), ("example/orders/2", "stop")];
    let url = broker.url();
    let running = tokio::spawn(async move { subscribe::run(&url).await });
    when_subscribed(&broker, 2, &messages).await;
    assert_eq!(soon(running).await.unwrap().unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_answer() {
    let Some(broker) = Broker::start() else { return };
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let (asker, _inbox) = Client::builder(&broker.url())
        .unwrap()
        .on_message(move |message, _| {
            answers.send((message.topic().to_owned(), message.payload().to_vec())).unwrap();
            Flow::Taken
        })
        .start()
        .unwrap();
    let _answers = soon(asker.subscribe("example/answer/+").into_future()).await.unwrap();
    let url = broker.url();
    let running = tokio::spawn(async move { callbacks::run(&url).await });
    when_subscribed(&broker, 2, &[("example/ask/x", "?"), ("example/ask/x", "stop")]).await;
    soon(running).await.unwrap().unwrap();
    assert_eq!(soon(answered.recv()).await.unwrap(), ("example/answer/x".into(), b"42".to_vec()));
}

#[tokio::test]
async fn will_is_published() {
    let Some(broker) = Broker::start() else { return };
    soon(will::run(&broker.url())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_loses_nothing() {
    let Some(mut broker) = Broker::start() else { return };
    let url = broker.url();
    let running = tokio::spawn(async move { reconnect::run(&url, 30).await });
    tokio::task::block_in_place(|| {
        broker.wait_for_log_count("Received PUBLISH", 10);
        broker.kill();
        broker.start_again();
    });
    let seen = soon(running).await.unwrap().unwrap();
    assert!(seen.len() == 30, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_gets_its_responses() {
    let Some(broker) = Broker::start() else { return };
    assert_eq!(soon(request::run(&broker.url())).await.unwrap(), ["3", "12", "0"]);
}

#[test]
fn persistent_queue_sends_what_is_left() {
    let Some(broker) = Broker::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("readings");
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    // There is no broker, so that it waits for ever; with the runtime, the client is gone.
    let stuck = runtime().block_on(async {
        let running = persistent_queue::run("mqtt://127.0.0.1:1", &path);
        tokio::time::timeout(std::time::Duration::from_millis(200), running).await
    });
    assert!(stuck.is_err());
    let run = || runtime().block_on(soon(persistent_queue::run(&broker.url(), &path))).unwrap();
    assert_eq!(run(), 10);
    assert_eq!(run(), 0);
}

#[test]
fn blocking_needs_no_runtime() {
    let Some(broker) = Broker::start() else { return };
    assert_eq!(blocking::run(&broker.url()).unwrap(), ["one", "two", "three"]);
}
