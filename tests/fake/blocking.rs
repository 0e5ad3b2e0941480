//! Programs without a runtime: the same client, with calls that wait.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use midge::blocking::{self, Wait};
use midge::client::{
    AuthenticateError, CloseReason, EnqueueError, PublishError, RequestError, State,
};
use midge::{Client, ClientBuilder, Flow, QoS, Reconnect, Version};

use crate::support::{Peer, Script};

const SHORT: Duration = Duration::from_millis(20);

/// Runs a broker's side on a thread of its own, with the runtime that scripts need.
fn broker<F: Future<Output = ()> + Send>(
    serve: impl FnOnce(Peer) -> F + Send + 'static,
) -> (ClientBuilder, thread::JoinHandle<()>) {
    let (address, listening) = mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let script = Script::listen().await;
            address.send(script.url()).unwrap();
            serve(script.accept_with("20 02 00 00").await).await;
        });
    });
    let builder = Client::builder(&listening.recv().unwrap())
        .unwrap()
        .version(Version::V311)
        .client_id("c")
        .reconnect(Reconnect::Never);
    (builder, thread)
}

#[test]
fn everything_that_can_be_awaited_can_be_waited_for() {
    let (builder, broker) = broker(|mut peer| async move {
        peer.expect("82 06 0001 0001 'a' 01").await;
        peer.send("90 03 0001 01").await;
        peer.expect("32 06 0001 'a' 0002 '1'").await;
        peer.send("40 02 0002 32 06 0001 'a' 0001 '1' 30 04 0001 'b' '2'").await;
        peer.expect("40 02 0001").await;
        peer.expect("34 06 0001 'a' 0003 '3'").await;
        peer.send("50 02 0003").await;
        peer.expect("62 02 0003").await;
        peer.send("70 02 0003").await;
        peer.expect("A2 05 0004 0001 'a'").await;
        peer.send("B0 02 0004").await;
        peer.expect("E0 00").await;
        peer.expect_end().await;
    });
    let (client, mut inbox) = blocking::start(builder).unwrap();
    assert_eq!(&*client.connected().wait().unwrap().client_id, "c");
    let mut stream = client.subscribe("a").qos(QoS::AtLeastOnce).wait().unwrap();
    client.publish("a", "1").qos(QoS::AtLeastOnce).wait().unwrap();
    let message = stream.next().wait().unwrap();
    assert_eq!(message.payload(), "1");
    assert_eq!(std::iter::from_fn(|| inbox.next().wait()).next().unwrap().payload(), "2");
    let delivery = client.publish("a", "3").qos(QoS::ExactlyOnce).enqueue().wait().unwrap();
    delivery.wait().unwrap();
    client.flush().wait().unwrap();
    let refused = client.reauthenticate().wait().unwrap_err();
    assert!(matches!(refused, AuthenticateError::NoAuthenticator));
    stream.unsubscribe().wait().unwrap();
    client.disconnect().wait().unwrap();
    assert!(matches!(client.closed().wait(), CloseReason::User));
    assert!(inbox.next().wait().is_none());
    broker.join().unwrap();
}

#[test]
fn a_wait_can_have_an_end() {
    let (builder, broker) = broker(|mut peer| async move {
        peer.expect("30 03 0001 't'").await;
        peer.expect_end().await;
    });
    let (client, mut inbox) = blocking::start(builder).unwrap();
    let before = Instant::now();
    assert!(inbox.next().wait_timeout(SHORT).is_none());
    assert!(before.elapsed() >= SHORT);
    let sent = client.publish("t", "").wait_timeout(Duration::from_secs(10));
    sent.expect("it takes too long").unwrap();
    client.abort();
    client.closed().wait();
    broker.join().unwrap();
}

#[test]
fn a_wait_in_a_hook_does_not_begin() {
    let (builder, broker) = broker(|mut peer| async move {
        peer.send("30 04 0001 'a' 'x'").await;
        peer.expect("30 04 0001 'b' 'x'").await;
        peer.expect("E0 00").await;
    });
    let (results, seen) = mpsc::channel();
    let mut client_of_hook = None::<Client>;
    let (clients, handed_over) = mpsc::channel::<Client>();
    let builder = builder.on_message(move |message, handle| {
        let client = client_of_hook.get_or_insert_with(|| handed_over.recv().unwrap());
        let published = client.publish("b", "waited for").wait();
        let enqueued = client.publish("b", "waited for").enqueue().wait();
        let subscribed = client.subscribe("b").wait_timeout(SHORT).unwrap();
        let flushed = client.flush().wait();
        // What does not wait does as ever.
        drop(handle.publish("b", message.payload().to_vec()).try_enqueue().unwrap());
        results
            .send((
                matches!(published, Err(PublishError::WouldBlock)),
                matches!(enqueued, Err(EnqueueError::WouldBlock)),
                matches!(subscribed, Err(RequestError::WouldBlock)),
                matches!(flushed, Err(CloseReason::WouldBlock)),
            ))
            .unwrap();
        Flow::Taken
    });
    let (client, _inbox) = blocking::start(builder).unwrap();
    clients.send(client.clone()).unwrap();
    assert_eq!(seen.recv_timeout(Duration::from_secs(10)).unwrap(), (true, true, true, true));
    client.disconnect().wait().unwrap();
    broker.join().unwrap();
}

#[test]
fn a_program_with_a_runtime_can_wait_beside_it() {
    let (builder, broker) = broker(|mut peer| async move {
        peer.expect("32 06 0001 't' 0001 'x'").await;
        peer.send("40 02 0001").await;
        peer.expect("E0 00").await;
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let work = runtime.spawn_blocking(|| {
        let (client, _inbox) = blocking::start(builder).unwrap();
        client.publish("t", "x").qos(QoS::AtLeastOnce).wait().unwrap();
        client.disconnect().wait().unwrap();
    });
    runtime.block_on(work).unwrap();
    broker.join().unwrap();
}

#[test]
fn many_threads_share_a_client() {
    let (builder, broker) = broker(|mut peer| async move {
        for _ in 0..400 {
            let packet = peer.expect_packet(0x32).await;
            let id = u16::from_be_bytes([packet[5], packet[6]]);
            peer.send(&format!("40 02 {id:04X}")).await;
        }
        peer.expect("E0 00").await;
    });
    let (client, _inbox) = blocking::start(builder).unwrap();
    let threads = (0..4).map(|_| {
        let client = client.clone();
        thread::spawn(move || {
            for _ in 0..100 {
                client.publish("t", "x").qos(QoS::AtLeastOnce).wait().unwrap();
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    assert!(matches!(&*client.state().borrow(), State::Connected(_)));
    let report = client.drain(Duration::from_secs(10)).wait().unwrap();
    assert!(report.is_complete());
    broker.join().unwrap();
}
