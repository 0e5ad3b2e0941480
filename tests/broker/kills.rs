//! Processes that are killed in the middle of their messages, and disks that are full: what was
//! admitted arrives, and what is to arrive once does.
//!
//! The processes are this program itself, run again for one of the tests that are ignored.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{EnqueueError, FileStore, OutgoingQueue, StoreError};
use midge::{Client, ClientBuilder, Flow, QoS, Version};

use crate::client::soon;
use crate::support::Broker;

/// How often a process is killed per test.
const KILLS: u64 = 20;

/// A broker that drops nothing: by default mosquitto takes no more than 20 messages of a client at a
/// time, and closes the connection of one that sends more.
fn start() -> Option<Broker> {
    let config = "allow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n";
    Broker::with_config(&format!("{config}max_inflight_messages 0\n"))
}

/// Runs one of the processes below, with `limit` as its largest file in blocks of 512 bytes.
fn spawn(process: &str, broker: &Broker, store: &Path, argument: u64, limit: Option<u32>) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match limit {
        None => Command::new(this),
        Some(limit) => {
            let mut command = Command::new("bash");
            // What is too large is refused, not punished.
            let script = format!("trap '' XFSZ; ulimit -S -f {limit}; exec \"$0\" \"$@\"");
            command.arg("-c").arg(script).arg(this);
            command
        }
    };
    command
        .args(["--ignored", "--exact", "--nocapture", &format!("kills::{process}")])
        .env("MIDGE_TEST_URL", broker.url())
        .env("MIDGE_TEST_STORE", store)
        .env("MIDGE_TEST_ARGUMENT", argument.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The numbers that a process says, until it has said enough of them and is killed.
fn numbers_until_killed(mut child: Child, enough: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut numbers = Vec::new();
    let mut line = String::new();
    while !enough(&numbers) {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended by itself");
        numbers.extend(number(&line));
    }
    child.kill().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    // The last line may not be whole.
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    numbers.extend(whole.lines().filter_map(number));
    child.wait().unwrap();
    numbers
}

fn number(line: &str) -> Option<u64> {
    line.trim().strip_prefix("number ")?.parse().ok()
}

/// What a process below was told: the broker, the store and a number. `None` where nobody did.
fn told() -> Option<(ClientBuilder, u64)> {
    let variable = |name: &str| std::env::var(name).ok();
    let url = variable("MIDGE_TEST_URL")?;
    let store = FileStore::open(variable("MIDGE_TEST_STORE")?).unwrap();
    let builder = Client::builder(&url).unwrap().client_id("killed").store(store);
    Some((builder, variable("MIDGE_TEST_ARGUMENT")?.parse().unwrap()))
}

/// Publishes numbers for ever, and says each once it is admitted.
#[tokio::test]
#[ignore = "a process that another test starts and kills"]
async fn publishing() {
    let Some((builder, first)) = told() else { return };
    let queue = OutgoingQueue { messages: 50, ..OutgoingQueue::default() };
    let (client, _inbox) = builder.outgoing(queue).start().unwrap();
    for n in first.. {
        let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let delivery = client.publish("killed", n.to_string()).qos(qos).enqueue().await.unwrap();
        drop(delivery);
        println!("number {n}");
    }
}

/// Publishes what is left.
#[tokio::test]
#[ignore = "a process that another test starts"]
async fn finishing() {
    let Some((builder, _)) = told() else { return };
    let (client, _inbox) = builder.start().unwrap();
    soon(client.flush()).await.unwrap();
    soon(client.disconnect()).await.unwrap();
}

/// Receives numbers, and says each.
#[tokio::test]
#[ignore = "a process that another test starts and kills"]
async fn receiving() {
    let Some((builder, _)) = told() else { return };
    let (client, _inbox) = builder
        .on_message(|message, _| {
            println!("number {}", str::from_utf8(message.payload()).unwrap());
            Flow::Taken
        })
        .start()
        .unwrap();
    let _stream = client.subscribe("killed").qos(QoS::ExactlyOnce).await.unwrap();
    println!("subscribed");
    client.closed().await;
}

/// Publishes until the disk is full, and then until there is room again.
#[tokio::test]
#[ignore = "a process that another test starts"]
async fn filling() {
    let Some((builder, _)) = told() else { return };
    let (client, _inbox) = builder.start().unwrap();
    soon(client.connected()).await.unwrap();
    let mut admitted = 0;
    let payload = "x".repeat(5000);
    let error = loop {
        match client.publish("killed", payload.clone()).qos(QoS::ExactlyOnce).try_enqueue() {
            Ok(delivery) => drop(delivery),
            Err(error) => break error,
        }
        admitted += 1;
    };
    let EnqueueError::Store { message, error } = error else { panic!("{error}") };
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!(message.payload, payload);
    // QoS 0 needs no disk, but must not overtake what does.
    drop(client.publish("killed", "0").try_enqueue().unwrap());
    println!("number {admitted}");
    let stored = client.publish("killed", payload).qos(QoS::ExactlyOnce);
    let mut stored = Some(stored.try_enqueue());
    while let Some(Err(EnqueueError::Store { message, .. })) = stored.take() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stored = Some(client.handle().try_enqueue(*message));
    }
    soon(client.flush()).await.unwrap();
    soon(client.disconnect()).await.unwrap();
}

/// Counts what arrives, by payload, with its quality of service.
struct Listener {
    client: Client,
    arrived: Arc<Mutex<BTreeMap<String, (QoS, usize)>>>,
}

impl Listener {
    async fn start(broker: &Broker) -> Listener {
        let arrived = Arc::new(Mutex::new(BTreeMap::new()));
        let (client, inbox) = Client::builder(&broker.url())
            .unwrap()
            .version(Version::V5)
            .on_message({
                let arrived = Arc::clone(&arrived);
                move |message, _| {
                    let payload = String::from_utf8(message.payload().to_vec()).unwrap();
                    let mut arrived = arrived.lock().unwrap();
                    arrived.entry(payload).or_insert((message.qos(), 0)).1 += 1;
                    Flow::Taken
                }
            })
            .start()
            .unwrap();
        drop(inbox);
        let stream = soon(client.subscribe("killed").qos(QoS::ExactlyOnce).into_future()).await;
        std::mem::forget(stream.unwrap()); // Its end would be the subscription's.
        Listener { client, arrived }
    }

    /// Waits until everything that the broker had before is here.
    async fn finish(self) -> BTreeMap<String, (QoS, usize)> {
        let last = self.client.publish("killed", "last").qos(QoS::ExactlyOnce);
        soon(last.into_future()).await.unwrap();
        while !self.arrived.lock().unwrap().contains_key("last") {
            tokio::task::yield_now().await;
        }
        self.arrived.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_loses_nothing_and_repeats_no_qos_2() {
    let Some(broker) = start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("session");
    let listener = Listener::start(&broker).await;
    let mut admitted = Vec::new();
    for kill in 0..KILLS {
        // From the first messages to hundreds, at no particular point of any of them.
        let enough = usize::try_from(1 + kill * kill).unwrap();
        let child = spawn("publishing", &broker, &store, kill * 1_000_000, None);
        let numbers = tokio::task::block_in_place(|| {
            numbers_until_killed(child, |numbers| numbers.len() >= enough)
        });
        admitted.extend(numbers);
    }
    let left = FileStore::open(&store).unwrap().pending();
    let finished = tokio::task::block_in_place(|| {
        spawn("finishing", &broker, &store, 0, None).wait().unwrap()
    });
    assert!(finished.success());
    assert_eq!(FileStore::open(&store).unwrap().pending(), 0);
    let arrived = listener.finish().await;
    println!("{} admitted, {} arrived, {left} at the end", admitted.len(), arrived.len());
    for number in admitted {
        assert!(arrived.contains_key(&number.to_string()), "{number} is lost");
    }
    for (payload, (qos, count)) in arrived {
        assert!(qos != QoS::ExactlyOnce || count == 1, "{payload} came {count} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_killed_loses_nothing() {
    let Some(broker) = start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("session");
    let (publisher, _inbox) = Client::builder(&broker.url()).unwrap().start().unwrap();
    let mut processes: Vec<Vec<u64>> = Vec::new();
    let mut sent = 0;
    for kill in 0..KILLS {
        let child = spawn("receiving", &broker, &store, 0, None);
        if kill == 0 {
            tokio::task::block_in_place(|| broker.wait_for_log_count("Sending SUBACK", 1));
        }
        for _ in 0..100 {
            let publish = publisher.publish("killed", sent.to_string()).qos(QoS::ExactlyOnce);
            drop(soon(publish.enqueue()).await.unwrap());
            sent += 1;
        }
        soon(publisher.flush()).await.unwrap();
        let enough = usize::try_from(1 + kill * 3).unwrap();
        processes.push(tokio::task::block_in_place(|| {
            numbers_until_killed(child, |numbers| numbers.len() >= enough)
        }));
    }
    // The last one takes everything that is left.
    let last = publisher.publish("killed", sent.to_string()).qos(QoS::ExactlyOnce);
    soon(last.into_future()).await.unwrap();
    let child = spawn("receiving", &broker, &store, 0, None);
    processes.push(tokio::task::block_in_place(|| {
        numbers_until_killed(child, |numbers| numbers.last() == Some(&sent))
    }));
    for n in 0..=sent {
        assert!(processes.iter().any(|numbers| numbers.contains(&n)), "{n} is lost");
    }
    // What comes again is what a process was working on when it was killed: the last that it said.
    for (at, numbers) in processes.iter().enumerate() {
        let later = |n: &u64| processes[at + 1..].iter().any(|numbers| numbers.contains(n));
        let first = numbers.iter().position(later).unwrap_or(numbers.len());
        assert!(numbers[first..].iter().all(later), "process {at}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_messages_and_loses_none() {
    let Some(broker) = start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("session");
    let listener = Listener::start(&broker).await;
    let mut child = spawn("filling", &broker, &store, 0, Some(100));
    let output = BufReader::new(child.stdout.take().unwrap());
    let admitted = tokio::task::block_in_place(|| {
        let mut lines = output.lines();
        let admitted = lines.find_map(|line| number(&line.unwrap())).expect("a number");
        let pid = child.id().to_string();
        let raised =
            Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
        assert!(raised.success());
        lines.for_each(drop);
        assert!(child.wait().unwrap().success());
        admitted
    });
    assert!(admitted > 3, "{admitted}");
    let arrived = listener.finish().await;
    let (qos, count) = arrived[&"x".repeat(5000)];
    assert_eq!((qos, count as u64), (QoS::ExactlyOnce, admitted + 1));
    assert_eq!(arrived["0"].1, 1);
    assert_eq!(FileStore::open(&store).unwrap().pending(), 0);
}
