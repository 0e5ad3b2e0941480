//! Every future of the client library, dropped at every poll: whatever the application does with
//! it, the client goes on, every message is delivered as its quality of service says, and none is
//! taken from a consumer that has not seen it.
//!
//! The list is complete: it is compared with the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use midge::client::{Acks, Durability, FileStore, OutgoingQueue};
use midge::{
    Client, ClientBuilder, Delivery, Inbox, Properties, QoS, ReasonCode, Subscription, TopicFilter,
    Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::cancel::settle;
use crate::model::Broker;
use crate::soon;

/// A connected client with everything that a future may belong to.
struct Scene {
    client: Client,
    inbox: Inbox,
    stream: Option<Subscription>,
    /// Of a message that is in the queue, behind others.
    delivery: Delivery,
    broker: Arc<Mutex<Broker>>,
    broker_has_more: Arc<Notify>,
    /// Payloads that the application has seen.
    seen: Vec<Vec<u8>>,
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

type Make = fn(&mut Scene) -> Work<'_>;

/// Where a future is made, and the code that makes it from a scene. It may note what it has seen.
const FUTURES: &[(&str, Make)] = &[
    ("client connected", |scene| {
        Box::pin(async {
            scene.client.connected().await.unwrap();
        })
    }),
    ("client subscribe_many", |scene| {
        Box::pin(async {
            let filters = vec![(filter("b/#"), QoS::AtLeastOnce.into())];
            scene.client.subscribe_many(filters, Properties::default()).await.unwrap();
        })
    }),
    ("client unsubscribe_many", |scene| {
        Box::pin(async {
            let filters = vec![filter("nothing")];
            scene.client.unsubscribe_many(filters, Properties::default()).await.unwrap();
        })
    }),
    ("client flush", |scene| {
        Box::pin(async {
            scene.client.flush().await.unwrap();
        })
    }),
    ("client drain", |scene| {
        Box::pin(async {
            scene.client.drain(Duration::from_secs(5)).await.unwrap();
        })
    }),
    ("client disconnect", |scene| {
        Box::pin(async {
            scene.client.disconnect().await.unwrap();
        })
    }),
    ("client disconnect_with", |scene| {
        Box::pin(async {
            let reason = ReasonCode::SUCCESS;
            scene.client.disconnect_with(reason, Properties::default()).await.unwrap();
        })
    }),
    ("client closed", |scene| {
        Box::pin(async {
            scene.client.closed().await;
        })
    }),
    ("publish Publish", |scene| {
        Box::pin(async {
            scene.client.publish("up", "future").qos(QoS::ExactlyOnce).await.unwrap();
        })
    }),
    ("publish PublishFuture", |scene| {
        Box::pin(async {
            let publish = scene.client.publish("up", "future").qos(QoS::AtLeastOnce);
            publish.into_future().await.unwrap();
        })
    }),
    ("publish Enqueue", |scene| {
        Box::pin(async {
            drop(scene.client.publish("up", "future").enqueue().await.unwrap());
        })
    }),
    ("publish Post", |scene| {
        Box::pin(async {
            scene.client.publish("up", "future").post().await.unwrap();
        })
    }),
    ("publish Delivery", |scene| {
        Box::pin(async {
            (&mut scene.delivery).await.unwrap();
        })
    }),
    ("publish cancel", |scene| {
        Box::pin(async {
            let _ = scene.delivery.cancel().await;
        })
    }),
    ("request Request", |scene| {
        Box::pin(async {
            // Where there is no response topic of its own, it is refused.
            let _ = scene.client.request("up", "future").qos(QoS::AtLeastOnce).await;
            let request = scene.client.request("up", "other future").qos(QoS::ExactlyOnce);
            request.response_topic("response").await.unwrap();
        })
    }),
    ("serve Serve", |scene| {
        Box::pin(async {
            let service =
                scene.client.serve("served/#", |request| async move { request.into_payload() });
            service.await.unwrap();
        })
    }),
    ("subscribe Subscribe", |scene| {
        Box::pin(async {
            drop(scene.client.subscribe("c/#").qos(QoS::ExactlyOnce).await.unwrap());
        })
    }),
    ("subscribe next", |scene| {
        Box::pin(async {
            let message = scene.stream.as_mut().unwrap().next().await.unwrap();
            scene.seen.push(message.payload().to_vec());
        })
    }),
    ("subscribe unsubscribe", |scene| {
        Box::pin(async {
            scene.stream.take().unwrap().unsubscribe().await.unwrap();
        })
    }),
    ("subscribe unsubscribe_with", |scene| {
        Box::pin(async {
            scene.stream.take().unwrap().unsubscribe_with(Properties::default()).await.unwrap();
        })
    }),
    ("stream next", |scene| {
        Box::pin(async {
            let message = scene.inbox.next().await.unwrap();
            scene.seen.push(message.payload().to_vec());
        })
    }),
];

/// Those that end the client, once they were polled.
const ENDING: [&str; 3] = ["client drain", "client disconnect", "client disconnect_with"];

fn filter(text: &str) -> TopicFilter {
    text.try_into().unwrap()
}

impl Scene {
    async fn new(version: Version) -> Scene {
        Scene::with(version, |builder| builder).await
    }

    async fn with(version: Version, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Scene {
        let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut broker = Broker::new(version);
        broker.receive_maximum = 2;
        let broker = Arc::new(Mutex::new(broker));
        let more = Arc::new(Notify::new());
        let builder = Client::builder(&format!("mqtt://{}", script.local_addr().unwrap()))
            .unwrap()
            .version(version)
            .client_id("c")
            .max_inflight(2)
            .outgoing(OutgoingQueue { messages: 6, ..OutgoingQueue::default() })
            .acks(Acks::OnTake)
            .reconnect(midge::Reconnect::Never);
        tokio::spawn(serve(script, Arc::clone(&broker), Arc::clone(&more)));
        let (client, inbox) = set(builder).start().unwrap();
        soon(client.connected()).await.unwrap();
        let stream = soon(client.subscribe("a/#").qos(QoS::ExactlyOnce)).await.unwrap();
        // The broker is slow to confirm, so that a queue builds up behind the window.
        broker.lock().unwrap().slow = true;
        for payload in ["first", "second", "third"] {
            drop(client.publish("up", payload).qos(QoS::AtLeastOnce).try_enqueue().unwrap());
        }
        let delivery = client.publish("up", "last").qos(QoS::ExactlyOnce).try_enqueue().unwrap();
        let seen = Vec::new();
        Scene { client, inbox, stream: Some(stream), delivery, broker, broker_has_more: more, seen }
    }

    /// Has the broker send a message for the stream and one for the inbox, and confirm again what
    /// it receives.
    fn wake_broker(&self) {
        let mut broker = self.broker.lock().unwrap();
        broker.slow = false;
        broker.answer(usize::MAX);
        broker.publish(2, "a/1", b"for the stream");
        broker.publish(1, "other", b"for the inbox");
        drop(broker);
        self.broker_has_more.notify_one();
    }

    /// Asserts that nothing was lost or done twice, and that the client is as good as new.
    async fn check(mut self, what: &str) {
        soon(self.client.publish("up", "still here").qos(QoS::ExactlyOnce)).await.unwrap();
        soon(self.client.flush()).await.unwrap();
        let mut expected = vec![b"for the inbox".to_vec()];
        if let Some(stream) = &mut self.stream {
            expected.push(b"for the stream".to_vec());
            if !self.seen.contains(&expected[1]) {
                let message = soon(stream.next()).await.unwrap();
                self.seen.push(message.payload().to_vec());
            }
        }
        while !self.seen.contains(&expected[0]) {
            let message = soon(self.inbox.next()).await.unwrap();
            // What came when its stream was gone is nobody's, and may be here.
            if self.stream.is_some() || message.payload() == &expected[0] {
                self.seen.push(message.payload().to_vec());
            }
        }
        self.seen.sort();
        assert_eq!(self.seen, expected, "{what}");
        soon(self.client.publish("up", "the end").qos(QoS::AtLeastOnce)).await.unwrap();
        let broker = self.broker.lock().unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, payload) in &broker.deliveries {
            *counts.entry(std::str::from_utf8(payload).unwrap()).or_default() += 1;
        }
        for payload in ["first", "second", "third", "still here", "the end"] {
            assert_eq!(counts.remove(payload), Some(1), "{what}: {payload}");
        }
        // Cancelled or not, dropped or not: once at most.
        for payload in ["last", "future", "other future"] {
            counts.remove(payload).inspect(|count| assert_eq!(*count, 1, "{what}: {payload}"));
        }
        assert_eq!(counts, BTreeMap::new(), "{what}");
        assert!(self.stream.is_none() || self.inbox.try_next().is_none(), "{what}");
    }
}

/// The broker on its socket.
async fn serve(listener: TcpListener, broker: Arc<Mutex<Broker>>, more: Arc<Notify>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    loop {
        let output = {
            let mut broker = broker.lock().unwrap();
            broker.pump();
            std::mem::take(&mut broker.output)
        };
        if stream.write_all(&output).await.is_err() {
            return;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => broker.lock().unwrap().receive(&buffer[..length]),
            },
            () = more.notified() => {}
        }
    }
}

/// Polls the future `polls` times, with everybody else running in between, and drops it. Says
/// whether it came to its end.
async fn dropped_after(scene: &mut Scene, make: Make, polls: usize) -> bool {
    let broker = Arc::clone(&scene.broker);
    let mut future = make(scene);
    for poll in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        // The broker confirms one thing at a time.
        if poll > 0 {
            broker.lock().unwrap().answer(1);
        }
        settle().await;
    }
    false
}

#[tokio::test]
async fn every_future_can_be_dropped_at_every_poll() {
    for version in [Version::V311, Version::V5] {
        for (name, make) in FUTURES {
            for polls in 0..6 {
                let what = format!("{name} in {version}, {polls} polls");
                let mut scene = Scene::new(version).await;
                // Before the future is polled, while it is, and after that.
                let early = polls % 2 == 1;
                if early {
                    scene.wake_broker();
                }
                let ready = dropped_after(&mut scene, *make, polls).await;
                if !early {
                    scene.wake_broker();
                }
                if ENDING.contains(name) && polls > 0 {
                    soon(scene.client.closed()).await;
                    soon(scene.client.publish("up", "too late")).await.unwrap_err();
                } else {
                    assert!(!(ready && *name == "client closed"), "{what}");
                    scene.check(&what).await;
                }
            }
        }
    }
}

/// A message that has room is admitted at the first poll, and then waits for the disk: from there on
/// it is on its way, whatever becomes of the future.
#[tokio::test]
async fn every_future_that_waits_for_the_disk_can_be_dropped_at_every_poll() {
    let waiting: &[(&str, Make)] = &[
        ("enqueue", |scene| {
            Box::pin(async {
                let publish = scene.client.publish("up", "future").qos(QoS::AtLeastOnce);
                drop(publish.enqueue().await.unwrap());
            })
        }),
        ("post", |scene| {
            Box::pin(async {
                let publish = scene.client.publish("up", "future").qos(QoS::ExactlyOnce);
                publish.post().await.unwrap();
            })
        }),
        ("publish", |scene| {
            Box::pin(async {
                scene.client.publish("up", "future").qos(QoS::ExactlyOnce).await.unwrap();
            })
        }),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (name, make) in waiting {
        let mut waited = false;
        for polls in 0..6 {
            let what = format!("{name}, {polls} polls");
            let path = directory.path().join(&what);
            let store = FileStore::open(&path).unwrap().durability(Durability::Power);
            let mut scene = Scene::with(Version::V311, |builder| builder.store(store)).await;
            let ready = dropped_after(&mut scene, *make, polls).await;
            waited |= polls > 0 && !ready;
            scene.wake_broker();
            let (client, broker) = (scene.client.clone(), Arc::clone(&scene.broker));
            scene.check(&what).await;
            let deliveries = broker.lock().unwrap().deliveries.clone();
            let sent = deliveries.iter().filter(|(_, payload)| payload == b"future").count();
            assert_eq!(sent, usize::from(polls > 0), "{what}");
            soon(client.disconnect()).await.unwrap();
            assert_eq!(FileStore::open(&path).unwrap().pending(), 0, "{what}");
        }
        assert!(waited, "{name} never waited");
    }
}

/// A future that nobody listed here is one that nobody has tried.
#[test]
fn the_list_of_futures_is_complete() {
    let listed: BTreeSet<String> = FUTURES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut found = BTreeSet::new();
    scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client"), &mut found);
    let elsewhere: BTreeSet<String> =
        ELSEWHERE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<_> = found.difference(&listed).filter(|f| !elsewhere.contains(*f)).collect();
    assert!(missing.is_empty(), "not dropped at every poll: {missing:?}");
    let gone: Vec<_> = listed.union(&elsewhere).filter(|name| !found.contains(*name)).collect();
    assert!(gone.is_empty(), "no such futures: {gone:?}");
}

/// Futures whose test is in another file, and where.
const ELSEWHERE: &[(&str, &str)] = &[("client reauthenticate", "cancel.rs")];

/// Collects public async functions and types that are futures, as `FILE NAME`.
fn scan(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scan(&path, found);
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let file = if stem == "mod" {
            path.parent().unwrap().file_name().unwrap().to_str().unwrap()
        } else {
            stem
        };
        for line in fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            let function = line.strip_prefix("pub async fn ");
            let future = line
                .starts_with("impl")
                .then(|| line.split_once("Future for ").map(|(_, name)| name))
                .flatten();
            if let Some(name) = function.or(future) {
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap();
                found.insert(format!("{file} {}", &name[..end]));
            }
        }
    }
}
