//! From the first byte to CONNACK, and all that can go wrong on the way.

use std::time::Duration;

use midge::client::{BuildError, CloseReason, ConnectError};
use midge::{Client, QoS, Reconnect, Version, Will};
use tokio::net::TcpListener;

use crate::support::Script;
use crate::{VERSIONS, accepted, builder, closed, connack, soon};

/// Starts a client, lets the broker answer CONNECT with `answer` and close, and returns the error.
async fn refusal(version: Version, answer: &str) -> ConnectError {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, version).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send(answer).await;
    peer.finish().await;
    let error = soon(client.connected()).await.unwrap_err();
    // An answer that broke the protocol gets none in return.
    peer.expect_end().await;
    assert!(matches!(closed(&client).await, CloseReason::ConnectFailed(_)));
    assert_eq!((client.stats().connect_failures, client.stats().connects), (1, 0));
    error
}

#[tokio::test]
async fn mqtt_3_1_0_1_connect_is_the_first_packet() {
    for (version, expected) in [
        (Version::V31, "10 0F 0006 'MQIsdp' 03 02 003C 0001 'c'"),
        (Version::V311, "10 0D 0004 'MQTT' 04 02 003C 0001 'c'"),
        (Version::V5, "10 16 0004 'MQTT' 05 02 003C 08 2103E8 2701000000 0001 'c'"),
    ] {
        let script = Script::listen().await;
        let (client, _inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect(expected).await;
        peer.expect_silence();
        peer.send(connack(version)).await;
        let info = soon(client.connected()).await.unwrap();
        assert_eq!((&*info.client_id, info.session_present, info.attempts), ("c", false, 1));
        assert_eq!(info.peer, Some(script.address()));
    }
}

#[tokio::test]
async fn a_fraction_of_a_second_does_not_turn_keep_alive_off() {
    let forever = builder(&Script::listen().await, Version::V311).keep_alive(Duration::MAX);
    assert!(matches!(forever.start(), Err(BuildError::KeepAliveTooLong(Duration::MAX))));
    for (keep_alive, seconds) in [(0, "0000"), (1, "0001"), (1000, "0001"), (1001, "0002")] {
        let script = Script::listen().await;
        let keep_alive = Duration::from_millis(keep_alive);
        let builder = builder(&script, Version::V311).keep_alive(keep_alive);
        let (_client, _inbox) = builder.start().unwrap();
        let mut peer = script.accept().await;
        peer.expect(&format!("10 0D 0004 'MQTT' 04 02 {seconds} 0001 'c'")).await;
    }
}

#[tokio::test]
async fn credentials_and_will_are_in_connect() {
    let script = Script::listen().await;
    let will = Will::new("state", "gone").unwrap().qos(QoS::AtLeastOnce).retain(true);
    let builder = builder(&script, Version::V311)
        .clean_start(false)
        .keep_alive(Duration::from_secs(7))
        .username("u")
        .password(*b"p\xFF")
        .will(will);
    let (client, _inbox) = builder.start().unwrap();
    let mut peer = script.accept().await;
    peer.expect(
        "10 21 0004 'MQTT' 04 EC 0007 0001 'c' 0005 'state' 0004 'gone' 0001 'u' 0002 70FF",
    )
    .await;
    drop(client);
}

#[tokio::test]
async fn credentials_of_the_url_are_used() {
    let script = Script::listen().await;
    let url = format!("mqtt://u:p@{}", script.address());
    let builder = Client::builder(&url).unwrap().client_id("c");
    let (_client, _inbox) = builder.start().unwrap();
    let mut peer = script.accept().await;
    peer.expect("10 13 0004 'MQTT' 04 C2 003C 0001 'c' 0001 'u' 0001 'p'").await;
}

#[tokio::test]
async fn a_made_up_client_id_is_short_enough_for_3_1() {
    let script = Script::listen().await;
    let builder = Client::builder(&script.url()).unwrap().version(Version::V31);
    let (client, _inbox, _peer) = accepted(&script, builder, connack(Version::V31)).await;
    let id = soon(client.connected()).await.unwrap().client_id;
    assert!(id.starts_with("midge-") && id.len() <= 23, "{id}");
}

#[tokio::test]
async fn mqtt_3_2_2_16_an_assigned_client_id_is_adopted() {
    let script = Script::listen().await;
    let fast = Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO };
    let builder = builder(&script, Version::V5).client_id("").reconnect(fast);
    let (client, _inbox, peer) = accepted(&script, builder, "20 09 00 00 06 12 0003 'abc'").await;
    assert_eq!(&*soon(client.connected()).await.unwrap().client_id, "abc");
    drop(peer);
    let connect = script.accept().await.expect_packet(0x10).await;
    assert!(connect.ends_with(b"\x00\x03abc"));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_an_error() {
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("mqtt://{}", listener.local_addr().unwrap())
    };
    let builder = Client::builder(&url).unwrap().retry_first_connect(false);
    let (client, _inbox) = builder.start().unwrap();
    let error = soon(client.connected()).await.unwrap_err();
    let ConnectError::Network(error) = error else { panic!("{error}") };
    assert_eq!(error.io_error_kind(), Some(std::io::ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn a_silent_broker_is_given_up_after_the_timeout() {
    let script = Script::listen().await;
    let after = Duration::from_millis(50);
    let (client, _inbox) = builder(&script, Version::V311).connect_timeout(after).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { after: waited } if waited == after));
    peer.expect_end().await;
}

#[tokio::test]
async fn a_broker_that_stops_inside_connack_is_given_up_after_the_timeout() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5).connect_timeout(Duration::from_millis(50));
    let (client, _inbox) = builder.start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send("20 03 00").await;
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
    peer.expect_end().await;
}

#[tokio::test]
async fn a_server_of_another_kind_is_a_breach_of_the_protocol() {
    for version in VERSIONS {
        for answer in ["'HTTP/1.1 400 Bad Request' 0D0A0D0A", "'SSH-2.0-x' 0D0A", "15 03 01 00 02"]
        {
            let error = refusal(version, answer).await;
            assert!(matches!(error, ConnectError::Protocol(_)), "{answer}: {error}");
        }
    }
}

#[tokio::test]
async fn a_connection_closed_before_connack_is_an_error() {
    for (answer, partial) in [("", 0), ("20", 1), ("20 03", 2), ("20 03 00 00", 4)] {
        let error = refusal(Version::V5, answer).await;
        let ConnectError::Closed { partial_bytes } = error else { panic!("{error}") };
        assert_eq!(partial_bytes, partial);
    }
}

#[tokio::test]
async fn a_connection_reset_before_connack_is_an_error() {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V311).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.reset();
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)), "{error}");
}

#[tokio::test]
async fn mqtt_3_2_2_6_every_refusal_keeps_its_code() {
    for code in 1..=5u8 {
        for version in VERSIONS {
            // 5.0 clients get this shape from brokers that do not know 5.0.
            let error = refusal(version, &format!("20 02 00 {code:02X}")).await;
            let ConnectError::Refused { reason, .. } = error else { panic!("{error}") };
            assert_eq!(reason.to_v3_connack(), Some(code), "{version}");
            assert!(reason.is_error());
        }
    }
    for code in [0x80, 0x81, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x95, 0x97, 0x9C, 0x9F] {
        let error = refusal(Version::V5, &format!("20 03 00 {code:02X} 00")).await;
        let ConnectError::Refused { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason.code(), code);
    }
}

#[tokio::test]
async fn a_refusal_says_it_in_the_words_of_the_broker() {
    let error = refusal(Version::V5, "20 0A 00 87 07 1F 0004 'nope'").await;
    assert_eq!(
        error.to_string(),
        "the broker refused the connection: Not authorized (0x87) (\"nope\")"
    );
}

#[tokio::test]
async fn mqtt_3_2_0_1_whatever_comes_before_connack_is_a_breach() {
    for answer in [
        "30 04 0001 'a' 'x'",
        "D0 00",
        "90 03 0001 00",
        "40 02 0001",
        "E0 00",
        "20 02 02 00",
        "20 00",
        "20 01 00",
        "20 03 00 00 00",
        "21 02 00 00",
        "20 02 01 00",
        "20 80 80 80 80 01",
        "20 FF FF FF 7F",
    ] {
        let error = refusal(Version::V311, answer).await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{answer}: {error}");
    }
    for answer in [
        "30 04 0001 'a' 00",
        "D0 00",
        "F0 00",
        "20 03 FE 00 00",
        "20 02 00 00",
        "20 04 00 00 00 00",
        "20 03 01 00 00",
        "20 05 00 00 02 24 02",
        "20 06 00 00 03 21 0000",
        "20 08 00 00 05 27 00000000",
        "20 05 00 00 02 25 02",
        "20 07 00 00 04 24 01 24 01",
        "20 06 00 00 03 23 0001",
        "20 09 00 00 06 15 0003 'abc'",
        "20 03 00 7F 00",
    ] {
        let error = refusal(Version::V5, answer).await;
        assert!(matches!(error, ConnectError::Protocol(_)), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_disconnect_before_connack_tells_its_reason() {
    let error = refusal(Version::V5, "E0 01 8B").await;
    let ConnectError::ServerDisconnect { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason.code(), 0x8B);
}

#[tokio::test]
async fn connack_is_understood_byte_by_byte() {
    let script = Script::listen().await;
    let (client, _inbox) = builder(&script, Version::V5).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send_byte_by_byte(&[0x20, 0x06, 0x00, 0x00, 0x03, 0x21, 0x00, 0x05]).await;
    let info = soon(client.connected()).await.unwrap();
    assert_eq!(info.limits.receive_maximum, 5);
    assert_eq!(info.properties.as_ref().receive_maximum(), Some(5));
}

#[tokio::test]
async fn settings_that_cannot_be_sent_are_refused_before_anything_is() {
    let start = |builder: midge::ClientBuilder| builder.start().map(drop).unwrap_err();
    let new = || Client::builder("mqtt://127.0.0.1:9").unwrap();
    for builder in [
        new().client_id("a\0b"),
        new().client_id("x".repeat(65_536)),
        new().client_id("").clean_start(false),
        new().client_id("").version(Version::V31),
        new().password("p"),
        new().username("u\0"),
        new().session_expiry(1),
        new().max_inflight(0),
        new().receive_maximum(0),
        new().maximum_packet_size(0),
        new().will(Will::new("t", vec![0; 65_536]).unwrap()),
    ] {
        let error = start(builder);
        assert!(matches!(error, BuildError::Config(_)), "{error}");
    }
    let error = start(new().keep_alive(Duration::from_secs(65_536)));
    assert!(matches!(error, BuildError::KeepAliveTooLong(_)), "{error}");
    assert!(matches!(start(new().inbox_capacity(0)), BuildError::Zero("inbox capacity")));
}

#[test]
fn a_client_needs_a_runtime() {
    let error = Client::builder("mqtt://localhost").unwrap().start().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::NoRuntime(_)));
}
