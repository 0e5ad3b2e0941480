//! Hooks before an attempt to connect: what they may change, and what happens when they fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{Attempt, CloseReason, ConnectError, Failure, State};
use midge::net::Endpoint;
use midge::{Client, ClientBuilder, QoS, Reconnect, Version, Will};

use crate::support::Script;
use crate::support::script::{CONNACK_3, CONNACK_5};
use crate::{accepted, builder, closed, soon, state};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn eager(script: &Script, version: Version) -> ClientBuilder {
    builder(script, version)
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO })
}

#[tokio::test]
async fn an_attempt_can_be_changed_altogether() {
    let old = Script::listen().await;
    let new = Script::listen().await;
    let url = new.url();
    let builder = eager(&old, Version::V311)
        .username("u")
        .on_pre_connect(|attempt| attempt.client_id.push_str(&attempt.number.to_string()))
        .before_connect(move |mut attempt: Attempt| {
            let url = url.clone();
            async move {
                tokio::task::yield_now().await;
                assert_eq!(attempt.username.as_deref(), Some("u"));
                attempt.client_id.push('x');
                attempt.endpoint = Endpoint::parse(&url)?;
                attempt.username = Some("v".into());
                attempt.password = Some(format!("p{}", attempt.number).into_bytes().into());
                attempt.will = Some(Will::new("w", "x")?);
                Ok::<_, Error>(attempt)
            }
        });
    let (client, _inbox) = builder.start().unwrap();
    for n in 1..=3 {
        let mut peer = new.accept().await;
        let connect = "10 1C 0004 'MQTT' 04 C6 003C";
        peer.expect(&format!("{connect} 0003 'c{n}x' 0001 'w' 0001 'x' 0001 'v' 0002 'p{n}'"))
            .await;
        drop(peer);
    }
    let info = async {
        let _peer = new.accept_with(CONNACK_3).await;
        soon(client.connected()).await.unwrap()
    };
    assert_eq!(&*info.await.client_id, "c4x");
}

#[tokio::test]
async fn the_headers_of_a_web_socket_can_be_changed() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let builder = Client::builder(&url).unwrap().reconnect(Reconnect::Never).before_connect(
        |mut attempt: Attempt| async move {
            attempt.connect_options.websocket.add_header("Authorization", "Bearer 17")?;
            Ok::<_, Error>(attempt)
        },
    );
    let (_client, _inbox) = builder.start().unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut request = vec![0; 4096];
    let length = soon(stream.read(&mut request)).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]);
    assert!(request.contains("Authorization: Bearer 17\r\n"), "{request}");
    assert!(request.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{request}");
}

#[tokio::test]
async fn an_error_fails_the_attempt_and_the_next_one_follows() {
    let script = Script::listen().await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let mut left = 2;
    let builder = eager(&script, Version::V5)
        .before_connect(move |attempt| {
            left -= 1;
            let result = if left >= 0 { Err("no token") } else { Ok(attempt) };
            async move { result }
        })
        .on_connect_failure({
            let failures = Arc::clone(&failures);
            move |error, _| {
                assert!(matches!(error, ConnectError::Hook(_)) && error.is_retryable());
                let source = std::error::Error::source(error).unwrap().to_string();
                failures.lock().unwrap().push(source);
            }
        });
    let (client, _inbox, _peer) = accepted(&script, builder, CONNACK_5).await;
    assert_eq!(*failures.lock().unwrap(), ["no token", "no token"]);
    assert_eq!(soon(client.connected()).await.unwrap().attempts, 3);
}

#[tokio::test]
async fn a_hook_that_takes_too_long_fails_the_attempt() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5)
        .connect_timeout(Duration::from_millis(50))
        .before_connect(|_| std::future::pending::<Result<Attempt, Error>>());
    let (client, _inbox) = builder.start().unwrap();
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::HookTimeout { .. }), "{error}");
}

#[tokio::test]
async fn a_hook_that_waits_does_not_keep_the_client_from_ending() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V5)
        .before_connect(|_| std::future::pending::<Result<Attempt, Error>>());
    let (client, _inbox) = builder.start().unwrap();
    let delivery = client.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    soon(client.disconnect()).await.unwrap();
    assert!(matches!(closed(&client).await, CloseReason::User));
    soon(delivery).await.unwrap_err();
}

#[tokio::test]
async fn a_panic_is_contained_wherever_it_comes() {
    for kind in ["on_pre_connect", "call", "poll"] {
        let script = Script::listen().await;
        let builder = builder(&script, Version::V5);
        let builder = match kind {
            "on_pre_connect" => builder.on_pre_connect(|_| panic!("as planned")),
            "call" => builder.before_connect(|attempt| {
                assert_eq!(attempt.number, 0, "as planned");
                async { Ok::<_, Error>(attempt) }
            }),
            _ => builder.before_connect(|attempt| async move {
                tokio::task::yield_now().await;
                assert_eq!(attempt.number, 0, "as planned");
                Ok::<_, Error>(attempt)
            }),
        };
        let (client, _inbox) = builder.start().unwrap();
        let end = closed(&client).await;
        let expected = if kind == "on_pre_connect" { kind } else { "before_connect" };
        assert!(matches!(end, CloseReason::HookPanicked(name) if name == expected), "{end:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is() {
    let script = Script::listen().await;
    let builder = eager(&script, Version::V311)
        .on_pre_connect(|attempt| attempt.password = Some(b"p".as_slice().into()));
    let (client, _inbox) = builder.start().unwrap();
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(_)) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("only together with a user name"), "{error}");
}

#[tokio::test]
async fn mqtt_3_2_2_5_another_identifier_is_another_session() {
    let script = Script::listen().await;
    let builder = eager(&script, Version::V311)
        .clean_start(false)
        .on_pre_connect(|attempt| attempt.client_id = format!("c{}", attempt.number));
    let (client, _inbox) = builder.start().unwrap();
    let mut peer = script.accept_with(CONNACK_3).await;
    let (stream, ()) = tokio::join!(soon(client.subscribe("a").qos(QoS::AtLeastOnce)), async {
        peer.expect_packet(0x82).await;
        peer.send("90 03 0001 01").await;
    });
    let _stream = stream.unwrap();
    let one = client.publish("t", "1").qos(QoS::AtLeastOnce).try_enqueue().unwrap();
    peer.expect("32 06 0001 't' 0002 '1'").await;
    drop(peer);
    // Attempt 1 of the next connection is for that session again; attempt 2 is for another one, which
    // the broker has.
    let peer = script.accept().await;
    drop(peer);
    let mut peer = script.accept_with("20 02 01 00").await;
    let subscribe = peer.expect_packet(0x82).await;
    assert!(subscribe.ends_with(b"\x00\x01a\x01"));
    // As a new message, without DUP.
    let publish = peer.expect_packet(0x32).await;
    peer.send(&format!("40 02 {:02X}{:02X}", publish[5], publish[6])).await;
    soon(one).await.unwrap();
}

#[tokio::test]
async fn a_hook_decides_about_the_next_attempt() {
    let script = Script::listen().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let builder = eager(&script, Version::V5).on_retry({
        let seen = Arc::clone(&seen);
        move |failure, planned| {
            let (what, next) = match failure {
                Failure::Connect(error) => (error.to_string(), Some(Duration::ZERO)),
                Failure::Disconnect(cause) => (cause.to_string(), None),
                _ => return planned,
            };
            seen.lock().unwrap().push(format!("{what}: {planned:?}"));
            next
        }
    });
    let (client, _inbox) = builder.start().unwrap();
    // A refusal that ends the client, if nobody decides otherwise.
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send("20 03 00 87 00").await;
    drop(peer);
    let peer = script.accept_with(CONNACK_5).await;
    state(&client, |state| matches!(state, State::Connected(_))).await;
    drop(peer);
    // A loss after which it would connect again.
    assert!(matches!(closed(&client).await, CloseReason::Disconnected(_)));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], "the broker refused the connection: Not authorized (0x87): None");
    assert!(seen[1].ends_with(": Some(0ns)"), "{seen:?}");
}
