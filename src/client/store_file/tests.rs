//! What a store has on its disk, and when it says so.

use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{Client, CloseReason, DisconnectCause, DisconnectInfo, EnqueueError, Inbox};
use crate::codec::{QoS, TopicName};

#[test]
fn a_disk_that_failed_is_not_believed_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let opened = FileStore::open(&path).unwrap().durability(Durability::Power);
    let (store, _) = opened.start("c", Version::V311).unwrap();
    let mut message = Message::new(TopicName::try_from("t").unwrap(), "x");
    message.qos = QoS::AtLeastOnce;
    let position = store.admit(Ticket::new(1), None, &message).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    while store.poll_durable(&mut cx, position).is_pending() {
        thread::yield_now();
    }
    assert!(store.broken().is_none());
    let failure = io::Error::other("the disk is gone");
    store.0.lock().broken = Some(StoreError::io(&path, "sync", failure));
    // What was durable is so still; nothing else will be.
    assert!(matches!(store.poll_durable(&mut cx, position), Poll::Ready(Ok(()))));
    let error = store.admit(Ticket::new(2), None, &message).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot sync the session log {}", path.display()));
    assert!(matches!(store.poll_flush(&mut cx), Poll::Ready(Err(StoreError::Io { .. }))));
    assert!(store.broken().is_some());
    store.close();
    assert_eq!(FileStore::open(&path).unwrap().pending(), 1);
}

/// A disk that is at work until it is let go on, and breaks if that is wanted.
#[derive(Default)]
struct Disk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DiskState {
    at_rest: bool,
    broken: bool,
    /// How often it was asked.
    asked: usize,
    /// How much of the file it has.
    bytes: u64,
}

impl Disk {
    fn set(&self, at_rest: bool, broken: bool) {
        let mut state = self.state.lock().unwrap();
        (state.at_rest, state.broken) = (at_rest, broken);
        self.changed.notify_all();
    }

    fn wait_until_asked(&self, times: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.asked < times).unwrap());
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let bytes = file.metadata()?.len();
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| !state.at_rest).unwrap();
        if state.broken {
            return Err(io::Error::other("the disk is gone"));
        }
        state.bytes = bytes;
        Ok(())
    }

    /// Whether a power failure would leave this of the file.
    fn has(&self, path: &Path, text: &[u8]) -> bool {
        let kept = usize::try_from(self.state.lock().unwrap().bytes).unwrap();
        let file = std::fs::read(path).unwrap();
        file[..kept].windows(text.len()).any(|found| found == text)
    }
}

#[test]
fn what_the_last_sync_brought_to_the_disk_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let path = directory.path().join("log");
    let mut opened = FileStore::open(path).unwrap().durability(Durability::Power);
    opened.sync_file = Box::new({
        let disk = Arc::clone(&disk);
        move |file| disk.sync(file)
    });
    let (store, _) = opened.start("c", Version::V311).unwrap();
    let mut message = Message::new(TopicName::try_from("t").unwrap(), "x");
    message.qos = QoS::AtLeastOnce;
    let position = store.admit(Ticket::new(1), None, &message).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(store.poll_durable(&mut cx, position).is_pending());
    // Its end comes while the disk is still at work.
    disk.wait_until_asked(1);
    let letting_go = thread::spawn(move || {
        disk.wait_until_asked(2);
        disk.set(true, false);
    });
    store.close();
    assert!(matches!(store.poll_durable(&mut cx, position), Poll::Ready(Ok(()))));
    letting_go.join().unwrap();
}

/// A client on such a disk, connected to a broker that says nothing.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
    disk: Arc<Disk>,
    client: Client,
    inbox: Inbox,
    broker: TcpStream,
    ends: Arc<Mutex<Vec<DisconnectInfo>>>,
}

impl Scene {
    async fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let disk = Arc::new(Disk::default());
        let mut store = FileStore::open(&path).unwrap().durability(Durability::Power);
        store.sync_file = Box::new({
            let disk = Arc::clone(&disk);
            move |file| disk.sync(file)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let ends = Arc::new(Mutex::new(Vec::new()));
        let builder = Client::builder(&url)
            .unwrap()
            .client_id("c")
            .store(store)
            .on_retry(|_, _| panic!("this client is not to connect again"))
            .on_disconnect({
                let ends = Arc::clone(&ends);
                move |info, _| ends.lock().unwrap().push(info.clone())
            });
        let (client, inbox) = builder.start().unwrap();
        disk.set(true, false);
        let (mut broker, _) = listener.accept().await.unwrap();
        broker.read_exact(&mut [0; 15]).await.unwrap();
        broker.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        client.connected().await.unwrap();
        Scene { _directory: directory, path, disk, client, inbox, broker, ends }
    }

    /// Asserts that the broker hears nothing, although the client did what it could.
    async fn expect_silence(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
            let read = self.broker.try_read(&mut [0; 1]);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    async fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.broker.read_exact(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A test that fails must not hang: the client goes on until its store is closed.
        self.disk.set(true, false);
    }
}

#[tokio::test]
async fn nothing_is_told_before_the_disk_has_it() {
    let mut scene = Scene::new().await;
    // A message that is admitted: neither the application nor the broker hears of it before.
    scene.disk.set(false, false);
    let client = scene.client.clone();
    let mut enqueue = pin!(client.publish("t", "sent").qos(QoS::ExactlyOnce).enqueue());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(enqueue.as_mut().poll(&mut cx).is_pending());
    scene.expect_silence().await;
    assert!(enqueue.as_mut().poll(&mut cx).is_pending());
    assert!(!scene.disk.has(&scene.path, b"sent"));
    scene.disk.set(true, false);
    drop(enqueue.await.unwrap());
    assert!(scene.disk.has(&scene.path, b"sent"));
    scene.expect(b"\x34\x09\0\x01t\0\x01sent").await;
    // That it was taken: PUBREL is not sent before, and PUBLISH not again.
    scene.disk.set(false, false);
    scene.broker.write_all(b"\x50\x02\0\x01").await.unwrap();
    scene.expect_silence().await;
    scene.disk.set(true, false);
    scene.expect(b"\x62\x02\0\x01").await;
    // A message that is received: PUBREC is not sent before.
    scene.disk.set(false, false);
    scene.broker.write_all(b"\x34\x09\0\x01t\0\x07come").await.unwrap();
    assert_eq!(scene.inbox.next().await.unwrap().payload(), "come");
    scene.expect_silence().await;
    scene.disk.set(true, false);
    scene.expect(b"\x50\x02\0\x07").await;
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_client_and_says_so() {
    let mut scene = Scene::new().await;
    scene.disk.set(true, true);
    let publish = scene.client.publish("t", "x").qos(QoS::AtLeastOnce);
    let error = publish.enqueue().await.unwrap_err();
    assert!(matches!(error, EnqueueError::Store { .. }), "{error}");
    assert!(matches!(scene.client.closed().await, CloseReason::Store(StoreError::Io { .. })));
    let ends = scene.ends.lock().unwrap().clone();
    let [DisconnectInfo { cause, will_reconnect_in: None }] = &ends[..] else { panic!("{ends:?}") };
    assert!(matches!(cause, DisconnectCause::Store(StoreError::Io { .. })), "{cause:?}");
    assert!(scene.inbox.next().await.is_none());
}
