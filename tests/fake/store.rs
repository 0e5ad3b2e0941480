//! A client with a store against a scripted broker: what another process finds in the file, and
//! what it makes of it.

use std::path::{Path, PathBuf};

use midge::client::FileStore;
use midge::{Client, ClientBuilder, QoS, Version};
use tempfile::TempDir;

use crate::support::Script;
use crate::{accepted, builder, connack, soon};

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

#[tokio::test]
async fn what_was_never_sent_is_published_by_the_next_process() {
    let (_directory, path) = place();
    let (away, script) = (Script::listen().await, Script::listen().await);
    let (client, _inbox) = with_store(&away, Version::V311, &path).start().unwrap();
    for n in 0..3 {
        let publish = client.publish("t", n.to_string()).qos(QoS::AtLeastOnce);
        drop(soon(publish.enqueue()).await.unwrap());
    }
    killed(client).await;
    assert_eq!(FileStore::open(&path).unwrap().pending(), 3);

    let (client, _inbox, mut peer) =
        accepted(&script, with_store(&script, Version::V311, &path), connack(Version::V311)).await;
    for n in 0..3 {
        peer.expect(&format!("32 06 0001 't' 000{} '{n}'", n + 1)).await;
    }
    peer.send("40 02 0001 40 02 0002 40 02 0003").await;
    soon(client.flush()).await.unwrap();
    killed(client).await;
    assert_eq!(FileStore::open(&path).unwrap().pending(), 0);
}
