//! A client with a store against a scripted broker: what another process finds in the file, and
//! what it makes of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{
    BuildError, CloseReason, ConnectError, Durability, EnqueueError, FileStore, OutgoingQueue,
    Overflow, PublishError, SessionLoss, StoreError,
};
use midge::{Client, ClientBuilder, Properties, Property, PropertyValue, QoS, Version};
use tempfile::TempDir;

use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, soon};

/// A directory, and the place of a store in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("session");
    (directory, path)
}

fn with_store(script: &Script, version: Version, path: &Path) -> ClientBuilder {
    builder(script, version).store(FileStore::open(path).unwrap())
}

/// Ends a client as `kill -9` would, as far as that goes within one process.
async fn killed(client: Client) {
    client.abort();
    soon(client.closed()).await;
}

fn pending(path: &Path) -> usize {
    FileStore::open(path).unwrap().pending()
}

/// Starts the next process, whose session the broker has.
async fn resumed(script: &Script, version: Version, path: &Path) -> (Client, Peer) {
    let builder = with_store(script, version, path);
    let present = if version == Version::V5 { "20 03 01 00 00" } else { "20 02 01 00" };
    let (client, _inbox, peer) = accepted(script, builder, present).await;
    (client, peer)
}

#[tokio::test]
async fn what_was_never_sent_is_published_by_the_next_process() {
    let (_directory, path) = place();
    let (away, script) = (Script::listen().await, Script::listen().await);
    let (client, _inbox) = with_store(&away, Version::V311, &path).start().unwrap();
    for n in 0..3 {
        let publish = client.publish("t", n.to_string()).qos(QoS::AtLeastOnce);
        drop(soon(publish.enqueue()).await.unwrap());
    }
    drop(client.publish("t", "QoS 0 is not stored").try_enqueue().unwrap());
    killed(client).await;
    assert_eq!(pending(&path), 3);

    let published = Arc::new(Mutex::new(Vec::new()));
    let builder = with_store(&script, Version::V311, &path).on_publish({
        let published = Arc::clone(&published);
        move |ticket, result, _| published.lock().unwrap().push((ticket.get(), result.is_ok()))
    });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    for n in 0..3 {
        peer.expect(&format!("32 06 0001 't' 000{} '{n}'", n + 1)).await;
    }
    let flushed = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    peer.send("40 02 0001 40 02 0002").await;
    tokio::task::yield_now().await;
    assert!(!flushed.is_finished());
    peer.send("40 02 0003").await;
    soon(flushed).await.unwrap().unwrap();
    assert_eq!(*published.lock().unwrap(), [(1, true), (2, true), (3, true)]);
    assert_eq!(client.stats().messages_published, 3);
    // Tickets go on from there.
    let next = client.publish("t", "next").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    assert!(next.ticket().get() > 3);
    killed(client).await;
    assert_eq!(pending(&path), 1);
}

#[tokio::test]
async fn every_phase_of_qos_2_goes_on_where_it_was() {
    for version in [Version::V311, Version::V5] {
        let (_directory, path) = place();
        let script = Script::listen().await;
        let empty = if version == Version::V5 { "00" } else { "" };
        let length = if version == Version::V5 { 7 } else { 6 };
        let packet = |first, id: u8, payload: u8| {
            format!("{first:02X} {length:02X} 0001 't' 00{id:02X} {empty} '{payload}'")
        };
        let builder = with_store(&script, version, &path);
        let (client, _inbox, mut peer) = accepted(&script, builder, connack(version)).await;
        for n in 1..=3 {
            let publish = client.publish("t", n.to_string()).qos(QoS::ExactlyOnce);
            drop(publish.try_enqueue().unwrap());
            peer.expect(&packet(0x34, n, n)).await;
        }
        // The first is done, the second was taken, of the third nothing is known.
        peer.send("50 02 0001").await;
        peer.expect("62 02 0001").await;
        peer.send("70 02 0001 50 02 0002").await;
        peer.expect("62 02 0002").await;
        killed(client).await;
        drop(peer);
        assert_eq!(pending(&path), 2);

        let (client, mut peer) = resumed(&script, version, &path).await;
        peer.expect("62 02 0002").await;
        peer.expect(&packet(0x3C, 3, 3)).await;
        peer.send("70 02 0002 50 02 0003").await;
        peer.expect("62 02 0003").await;
        peer.send("70 02 0003").await;
        soon(client.flush()).await.unwrap();
        // Identifiers go on too.
        drop(client.publish("t", "4").qos(QoS::ExactlyOnce).try_enqueue().unwrap());
        peer.expect(&packet(0x34, 4, 4)).await;
        killed(client).await;
        assert_eq!(pending(&path), 1);
    }
}

#[tokio::test]
async fn a_qos_2_message_received_is_known_to_the_next_process() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let builder = with_store(&script, Version::V311, &path);
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.send("34 06 0001 't' 0007 'x' 34 06 0001 't' 0008 'y'").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "x");
    peer.expect("50 02 0007").await;
    // The second was not taken: the broker has to send it again.
    killed(client).await;

    let builder = with_store(&script, Version::V311, &path);
    let (client, mut inbox, mut peer) = accepted(&script, builder, "20 02 01 00").await;
    peer.send("3C 06 0001 't' 0007 'x' 3C 06 0001 't' 0008 'y'").await;
    peer.expect("50 02 0007").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "y");
    peer.expect("50 02 0008").await;
    peer.send("62 02 0007").await;
    peer.expect("70 02 0007").await;
    killed(client).await;

    // The one is complete, so that its identifier stands for something new; the other is not.
    let builder = with_store(&script, Version::V311, &path);
    let (_client, mut inbox, mut peer) = accepted(&script, builder, "20 02 01 00").await;
    peer.send("34 06 0001 't' 0007 'z' 62 02 0008").await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "z");
    peer.expect("70 02 0008").await;
    peer.expect("50 02 0007").await;
}

#[tokio::test]
async fn a_session_that_the_broker_has_lost_is_dealt_with_as_the_setting_says() {
    for (on_loss, again) in [(SessionLoss::Republish, true), (SessionLoss::Fail, false)] {
        let (_directory, path) = place();
        let script = Script::listen().await;
        let builder = with_store(&script, Version::V5, &path);
        let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
        drop(client.publish("t", "1").qos(QoS::ExactlyOnce).try_enqueue().unwrap());
        peer.expect("34 07 0001 't' 0001 00 '1'").await;
        killed(client).await;

        let failures = Arc::new(Mutex::new(Vec::new()));
        let builder =
            with_store(&script, Version::V5, &path).on_session_loss(on_loss).on_publish({
                let failures = Arc::clone(&failures);
                move |_, result, _| failures.lock().unwrap().extend(result.clone().err())
            });
        let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
        if again {
            peer.expect("34 07 0001 't' 0002 00 '1'").await;
            killed(client).await;
            assert_eq!(pending(&path), 1);
        } else {
            soon(client.flush()).await.unwrap();
            assert!(matches!(
                failures.lock().unwrap()[..],
                [PublishError::Lost { maybe_delivered: true }]
            ));
            killed(client).await;
            assert_eq!(pending(&path), 0);
        }
    }
}

#[tokio::test]
async fn the_session_lasts_unless_it_is_said_otherwise() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let (client, _inbox) = with_store(&script, Version::V5, &path).start().unwrap();
    let mut peer = script.accept().await;
    // No clean start, and an expiry of 2^32 - 1.
    let connect = peer.expect_packet(0x10).await;
    assert_eq!((connect[9], &connect[13..18]), (0, &[0x11, 0xFF, 0xFF, 0xFF, 0xFF][..]));
    killed(client).await;
    let (client, _inbox) =
        with_store(&script, Version::V5, &path).session_expiry(60).start().unwrap();
    let connect = script.accept().await.expect_packet(0x10).await;
    assert_eq!((connect[9], &connect[13..18]), (0, &[0x11, 0, 0, 0, 60][..]));
    killed(client).await;
    let (client, _inbox) =
        with_store(&script, Version::V311, &path).clean_start(true).start().unwrap();
    let connect = script.accept().await.expect_packet(0x10).await;
    assert_eq!(connect[9], 2);
    killed(client).await;
}

#[tokio::test]
async fn the_client_identifier_is_part_of_the_session() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let open = || FileStore::open(&path).unwrap();
    let nameless = || Client::builder(&script.url()).unwrap();
    assert_eq!(open().client_id(), None);
    let (client, _inbox) = nameless().store(open()).start().unwrap();
    let connect = script.accept().await.expect_packet(0x10).await;
    killed(client).await;
    let stored = open().client_id().unwrap().to_owned();
    assert!(stored.starts_with("midge-") && connect.ends_with(stored.as_bytes()));
    let (client, _inbox) = nameless().store(open()).start().unwrap();
    assert_eq!(script.accept().await.expect_packet(0x10).await, connect);
    killed(client).await;
    let error = nameless().client_id("other").store(open()).start().unwrap_err();
    let BuildError::Store(StoreError::OtherClient { stored: named, .. }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(**named, *stored);
    assert!(error.to_string().contains(&stored), "{error}");
}

#[tokio::test]
async fn an_identifier_that_the_broker_assigns_is_kept() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let nameless = || {
        let builder = Client::builder(&script.url()).unwrap().version(Version::V5).client_id("");
        builder.store(FileStore::open(&path).unwrap())
    };
    let (client, _inbox, _peer) = accepted(&script, nameless(), "20 07 00 00 04 12 0001 'z'").await;
    killed(client).await;
    let opened = FileStore::open(&path).unwrap();
    assert_eq!(opened.client_id(), Some("z"));
    drop(opened);
    // The next process has the same settings and goes on with it.
    let (client, _inbox) = nameless().start().unwrap();
    assert!(script.accept().await.expect_packet(0x10).await.ends_with(b"\0\x01z"));
    killed(client).await;
}

#[tokio::test]
async fn a_hook_does_not_give_a_stored_session_to_another_client() {
    let (_directory, path) = place();
    let (away, script) = (Script::listen().await, Script::listen().await);
    let (client, _inbox) = with_store(&away, Version::V311, &path).start().unwrap();
    drop(client.publish("t", "x").qos(QoS::ExactlyOnce).try_enqueue().unwrap());
    killed(client).await;
    let builder = with_store(&script, Version::V311, &path)
        .on_pre_connect(|attempt| attempt.client_id = "other".into());
    let (client, _inbox) = builder.start().unwrap();
    let CloseReason::ConnectFailed(error) = closed(&client).await else { panic!("{client:?}") };
    let ConnectError::Store(StoreError::OtherClient { path: named, stored }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((named, &**stored, error.is_retryable()), (&path, "c", false));
    // What is in it is as it was, for the client whose it is.
    let builder = with_store(&script, Version::V311, &path)
        .on_pre_connect(|attempt| attempt.client_id = "c".into());
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.expect("34 06 0001 't' 0001 'x'").await;
    killed(client).await;
}

#[tokio::test]
async fn what_has_ended_otherwise_is_not_in_the_store() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let queue =
        OutgoingQueue { messages: 3, overflow: Overflow::DropOldest, ..OutgoingQueue::default() };
    let (client, _inbox) = with_store(&script, Version::V5, &path).outgoing(queue).start().unwrap();
    let publish = |payload: &'static str| client.publish("t", payload).qos(QoS::AtLeastOnce);
    let short = Duration::from_millis(10);
    let error = soon(publish("expires").deadline(short)).await.unwrap_err();
    assert!(matches!(error, PublishError::Expired { message: Some(_) }));
    let mut taken_back = publish("taken back").try_enqueue().unwrap();
    soon(taken_back.cancel()).await.unwrap();
    let dropped = publish("dropped").try_enqueue().unwrap();
    for n in ["1", "2", "3"] {
        drop(publish(n).try_enqueue().unwrap());
    }
    assert!(matches!(soon(dropped).await, Err(PublishError::Dropped(_))));
    killed(client).await;
    assert_eq!(pending(&path), 3);
}

#[tokio::test]
async fn deadlines_and_expiry_go_on_while_no_process_runs() {
    let (_directory, path) = place();
    let (away, script) = (Script::listen().await, Script::listen().await);
    let (client, _inbox) = with_store(&away, Version::V5, &path).start().unwrap();
    let long = Duration::from_secs(3600);
    let expiry = |seconds| {
        let value = PropertyValue::FourByte(seconds);
        Properties::default().with(Property::MessageExpiryInterval, value).unwrap()
    };
    let publish = |payload: &'static str| client.publish("t", payload).qos(QoS::AtLeastOnce);
    let short = Duration::from_millis(300);
    for publish in [
        publish("late").deadline(short),
        publish("early").deadline(long),
        publish("expired").properties(expiry(1)),
        publish("lasting").properties(expiry(1000)),
    ] {
        drop(soon(publish.enqueue()).await.unwrap());
    }
    killed(client).await;
    // The clock of the store is that of the wall.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(pending(&path), 4);
    let expired = Arc::new(Mutex::new(Vec::new()));
    let builder = with_store(&script, Version::V5, &path).on_publish({
        let expired = Arc::clone(&expired);
        move |_, result, _| {
            if let Err(PublishError::Expired { message: Some(message) }) = result {
                expired.lock().unwrap().push(message.payload.clone());
            }
        }
    });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
    peer.expect("32 0B 0001 't' 0001 00 'early'").await;
    let lasting = peer.packet().await;
    assert!(lasting.ends_with(b"lasting"));
    let left = u32::from_be_bytes(lasting[9..13].try_into().unwrap());
    assert!((900..1000).contains(&left), "{left}");
    peer.send("40 02 0001 40 02 0002").await;
    soon(client.flush()).await.unwrap();
    expired.lock().unwrap().sort();
    assert_eq!(*expired.lock().unwrap(), ["expired", "late"]);
    killed(client).await;
    assert_eq!(pending(&path), 0);
}

#[tokio::test]
async fn messages_with_properties_do_not_lose_them_in_an_older_version() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let (client, _inbox) = with_store(&script, Version::V5, &path).start().unwrap();
    let value = PropertyValue::Utf8("text/plain");
    let properties = Properties::default().with(Property::ContentType, value).unwrap();
    let publish = client.publish("t", "x").qos(QoS::AtLeastOnce).properties(properties);
    drop(publish.try_enqueue().unwrap());
    killed(client).await;
    for version in [Version::V31, Version::V311] {
        let error = with_store(&script, version, &path).start().unwrap_err();
        let BuildError::Store(StoreError::OnlyV5 { path: named }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*named, path);
    }
    assert_eq!(pending(&path), 1);
    let script = Script::listen().await;
    let builder = with_store(&script, Version::V5, &path);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
    peer.expect("32 14 0001 't' 0001 0D 03 000A 'text/plain' 'x'").await;
    killed(client).await;
}

#[tokio::test]
async fn a_store_has_one_client_and_is_free_after_its_end() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let (client, _inbox) = with_store(&script, Version::V311, &path).start().unwrap();
    let error = FileStore::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { path: named } if *named == path), "{error}");
    let handle = client.handle();
    client.disconnect().await.unwrap();
    drop(FileStore::open(&path).unwrap());
    let error = handle.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap_err();
    assert!(matches!(error, EnqueueError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_named() {
    let (directory, path) = place();
    std::fs::write(&path, "a file").unwrap();
    let mut places = vec![
        directory.path().to_owned(),
        directory.path().join("no/directory"),
        path.join("in/a/file"),
    ];
    if cfg!(target_os = "linux") {
        // Where not even the superuser can make a file.
        places.push("/proc/session".into());
    }
    for path in places {
        let error = FileStore::open(&path).unwrap_err();
        let StoreError::Io { path: named, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*named, path);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_drain_leaves_in_the_store_what_it_could_not_send() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let (client, _inbox) = with_store(&script, Version::V311, &path).start().unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce] {
        drop(client.publish("t", "x").qos(qos).try_enqueue().unwrap());
    }
    let report = soon(client.drain(Duration::from_millis(20))).await.unwrap();
    assert_eq!((report.stored, report.unsent.len(), report.unconfirmed), (2, 1, 0));
    assert!(!report.is_complete());
    assert_eq!(pending(&path), 2);
}

#[tokio::test]
async fn power_failures_are_provided_for_at_a_good_rate() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let store = FileStore::open(&path).unwrap().durability(Durability::Power);
    let builder = builder(&script, Version::V311)
        .outgoing(OutgoingQueue { messages: 2000, ..OutgoingQueue::default() })
        .max_inflight(1000)
        .store(store);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let publishers = (0..50).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let publish = client.publish("t", "x").qos(QoS::AtLeastOnce);
                drop(soon(publish.enqueue()).await.unwrap());
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    for id in 1..=1000 {
        peer.expect(&format!("32 06 0001 't' {id:04X} 'x'")).await;
        peer.send(&format!("40 02 {id:04X}")).await;
    }
    for publisher in publishers {
        soon(publisher).await.unwrap();
    }
    soon(client.flush()).await.unwrap();
    soon(client.disconnect()).await.unwrap();
    closed(&client).await;
    assert_eq!(pending(&path), 0);
}

#[tokio::test]
async fn the_store_is_compacted_while_messages_pass() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let queue = OutgoingQueue { messages: 10, ..OutgoingQueue::default() };
    let builder = with_store(&script, Version::V311, &path).outgoing(queue);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let payload = "x".repeat(50_000);
    let publisher = tokio::spawn({
        let (client, payload) = (client.clone(), payload.clone());
        async move {
            for _ in 0..200 {
                let publish = client.publish("t", payload.clone()).qos(QoS::AtLeastOnce);
                drop(soon(publish.enqueue()).await.unwrap());
            }
        }
    });
    let mut largest = 0;
    for id in 1..=200u16 {
        let packet = peer.packet().await;
        assert!(packet.ends_with(payload.as_bytes()), "{id}");
        peer.send(&format!("40 02 {id:04X}")).await;
        largest = largest.max(std::fs::metadata(&path).unwrap().len());
    }
    soon(publisher).await.unwrap();
    soon(client.flush()).await.unwrap();
    killed(client).await;
    assert_eq!(pending(&path), 0);
    // 10 MB went through it.
    assert!(largest < 5_000_000, "{largest}");
}

#[tokio::test]
async fn a_damaged_store_is_named_and_can_be_salvaged() {
    let (_directory, path) = place();
    let script = Script::listen().await;
    let (client, _inbox) = with_store(&script, Version::V311, &path).start().unwrap();
    for n in 0..3 {
        let publish = client.publish("t", n.to_string()).qos(QoS::AtLeastOnce);
        drop(soon(publish.enqueue()).await.unwrap());
    }
    killed(client).await;
    let mut bytes = std::fs::read(&path).unwrap();
    // In the topic of the second message, which is followed by its payload.
    let messages: Vec<_> =
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"t\0\x01")).collect();
    assert_eq!(messages.len(), 3);
    bytes[messages[1]] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = FileStore::open(&path).unwrap_err();
    let StoreError::Corrupt { path: named, offset, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*named, path);
    assert!((messages[0] as u64..messages[1] as u64).contains(offset), "{offset}");
    assert!(error.to_string().contains(&format!("damaged at byte {offset}")), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left alone");
    let salvaged = FileStore::salvage(&path).unwrap();
    assert_eq!(salvaged.pending(), 1);
    assert_eq!(salvaged.cut_bytes(), bytes.len() as u64 - offset);
    drop(salvaged);
    assert_eq!(pending(&path), 1);
}
