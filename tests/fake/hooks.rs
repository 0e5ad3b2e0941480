//! Hooks: which, in what order, with what in their hands, and what happens when one panics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::client::{
    Attempt, BeforeConnect, CloseReason, ConnectError, ConnectInfo, Direction, DisconnectCause,
    DisconnectInfo, EnqueueError, Failure, Hooks, LogLevel, PacketView, PublishError, Receipt,
    RequestError, SubscribeReceipt, Ticket,
};
use midge::{
    ClientBuilder, Flow, Handle, MessageRef, Properties, QoS, ReasonCode, Reconnect,
    SubscribeOptions, Version,
};

use crate::support::Script;
use crate::{VERSIONS, accepted, builder, closed, connack, soon};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Logs every hook.
fn logging(builder: ClientBuilder, log: &Log) -> ClientBuilder {
    let log = || log.clone();
    let (a, b, c, d, e, f, g, h) = (log(), log(), log(), log(), log(), log(), log(), log());
    builder
        .on_connect(move |info, _| a.add(format!("connect {}", info.session_present)))
        .on_connect_failure(move |error, _| b.add(format!("failure {error}")))
        .on_disconnect(move |info, _| c.add(format!("disconnect {}", info.cause)))
        .on_message(move |message, _| {
            d.add(format!("message {}", message.topic()));
            if message.topic() == "taken" { Flow::Taken } else { Flow::Continue }
        })
        .on_publish(move |ticket, result, _| {
            e.add(format!("publish {} {}", ticket.get(), result.is_ok()));
        })
        .on_subscribe(move |_, result, _| {
            f.add(format!("subscribe {:?}", result.as_ref().map(|r| r.reasons.len())));
        })
        .on_unsubscribe(move |_, result, _| g.add(format!("unsubscribe {}", result.is_ok())))
        .on_idle(move |_| h.add("idle"))
}

#[tokio::test]
async fn the_hook_alone_hears_of_what_is_posted() {
    let script = Script::listen().await;
    let log = Log::default();
    let builder = logging(builder(&script, Version::V311), &log);
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    let first = soon(client.publish("t", "1").qos(QoS::AtLeastOnce).post()).await.unwrap();
    let second = soon(client.publish("t", "2").post()).await.unwrap();
    peer.expect("32 06 0001 't' 0001 '1' 30 04 0001 't' '2'").await;
    peer.send("40 02 0001").await;
    soon(client.flush()).await.unwrap();
    let told = [second, first].map(|ticket| format!("publish {} true", ticket.get()));
    let heard = log.take();
    assert!(told.iter().all(|line| heard.contains(line)), "{heard:?}");
    assert!(soon(client.publish("a/#", "").post()).await.is_err());
}

#[tokio::test]
async fn every_hook_is_called_in_order() {
    for version in VERSIONS {
        let v5 = version == Version::V5;
        let script = Script::listen().await;
        let log = Log::default();
        let builder = logging(builder(&script, version), &log);
        let (client, mut inbox, mut peer) = accepted(&script, builder, connack(version)).await;
        let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
            peer.expect_packet(0x82).await;
            peer.send(if v5 { "90 04 0001 00 00" } else { "90 03 0001 00" }).await;
        });
        let mut stream = stream.unwrap();
        soon(client.publish("t", "x")).await.unwrap();
        peer.expect_packet(0x30).await;
        let properties = if v5 { "00" } else { "" };
        let length = if v5 { "08" } else { "07" };
        peer.send(&format!("30 {length} 0005 'taken' {properties}")).await;
        let length = if v5 { "04" } else { "03" };
        peer.send(&format!("30 {length} 0001 'a' {properties}")).await;
        peer.send(&format!("30 {length} 0001 'b' {properties}")).await;
        assert_eq!(soon(stream.next()).await.unwrap().topic(), "a");
        assert_eq!(soon(inbox.next()).await.unwrap().topic(), "b");
        let ((), ended) = tokio::join!(
            async {
                peer.expect_packet(0xA2).await;
                peer.send(if v5 { "B0 04 0002 00 00" } else { "B0 02 0002" }).await;
            },
            soon(stream.unsubscribe())
        );
        ended.unwrap();
        soon(client.disconnect()).await.unwrap();
        let mut seen = log.take();
        assert!(seen.contains(&"idle".into()));
        seen.retain(|entry| entry != "idle");
        let publish = seen.iter().position(|entry| entry.starts_with("publish")).unwrap();
        assert!(seen.remove(publish).ends_with("true"));
        assert_eq!(
            seen,
            [
                "connect false",
                "subscribe Ok(1)",
                "message taken",
                "message a",
                "message b",
                "unsubscribe true",
                "disconnect disconnected as asked",
            ],
            "{version}"
        );
        assert!(inbox.try_next().is_none(), "a message that was taken went on");
    }
}

#[tokio::test]
async fn a_message_that_is_taken_is_acknowledged_at_once() {
    let script = Script::listen().await;
    let builder = builder(&script, Version::V311).on_message(|_, _| Flow::Taken);
    let (_client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.send("32 06 0001 'a' 0001 'x' 34 06 0001 'a' 0002 'x'").await;
    peer.expect("40 02 0001 50 02 0002").await;
}

#[tokio::test]
async fn hooks_can_publish_subscribe_and_disconnect_without_waiting() {
    let script = Script::listen().await;
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let builder = builder(&script, Version::V311)
        .on_connect(move |_, handle| {
            let filters = vec![("in".try_into().unwrap(), options)];
            handle.try_subscribe(filters, Properties::default()).unwrap();
            drop(handle.publish("state", "up").retain(true).try_enqueue().unwrap());
        })
        .on_message(|message, handle| {
            let answer = handle.publish("out", message.payload().to_vec()).try_enqueue();
            drop(answer.unwrap());
            if message.payload() == b"stop" {
                let filters = vec!["in".try_into().unwrap()];
                handle.try_unsubscribe(filters, Properties::default()).unwrap();
            }
            Flow::Taken
        })
        .on_unsubscribe(|_, _, handle| {
            handle.disconnect(ReasonCode::SUCCESS, Properties::default());
        });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.expect("82 07 0001 0002 'in' 01 31 09 0005 'state' 'up'").await;
    peer.send("90 03 0001 01 30 06 0002 'in' 'go' 30 08 0002 'in' 'stop'").await;
    peer.expect("A2 06 0002 0002 'in' 30 07 0003 'out' 'go' 30 09 0003 'out' 'stop'").await;
    peer.send("B0 02 0002").await;
    peer.expect("E0 00").await;
    peer.expect_end().await;
    drop(peer);
    assert!(matches!(closed(&client).await, CloseReason::User));
}

#[tokio::test]
async fn a_hook_is_told_that_the_queue_is_full() {
    let script = Script::listen().await;
    let full = Arc::new(Mutex::new(0));
    let builder = builder(&script, Version::V311)
        .outgoing(midge::client::OutgoingQueue { messages: 3, bytes: 1000, ..Default::default() })
        .on_connect({
            let full = Arc::clone(&full);
            move |_, handle| {
                for _ in 0..10 {
                    let sent = handle.publish("t", "x").qos(QoS::AtLeastOnce).try_enqueue();
                    if let Err(EnqueueError::Full(message)) = sent {
                        assert_eq!(message.payload, "x");
                        *full.lock().unwrap() += 1;
                    }
                }
            }
        });
    let (_client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    for n in 1..=3 {
        peer.expect(&format!("32 06 0001 't' 000{n} 'x'")).await;
    }
    assert_eq!(*full.lock().unwrap(), 7);
}

#[tokio::test]
async fn packets_are_shown_both_ways() {
    let script = Script::listen().await;
    let log = Log::default();
    let builder = builder(&script, Version::V311).on_packet({
        let log = log.clone();
        move |direction, packet| {
            let arrow = if direction == Direction::Sent { ">" } else { "<" };
            log.add(format!("{arrow} {} {}", packet.packet_type(), packet.size()));
        }
    });
    let (client, mut inbox, mut peer) = accepted(&script, builder, connack(Version::V311)).await;
    peer.send("32 06 0001 'a' 0001 'x'").await;
    soon(inbox.next()).await.unwrap();
    peer.expect("40 02 0001").await;
    drop(peer);
    closed(&client).await;
    assert_eq!(log.take(), ["> CONNECT 15", "< CONNACK 4", "< PUBLISH 8", "> PUBACK 4"]);
}

#[tokio::test]
async fn a_panic_in_a_hook_is_contained_and_ends_the_client() {
    let script = Script::listen().await;
    let log = Log::default();
    let panicking = |builder: ClientBuilder, hook: &str| match hook {
        "on_connect" => builder.on_connect(|_, _| panic!("as planned")),
        "on_message" => builder.on_message(|_, _| panic!("as planned")),
        "on_publish" => builder.on_publish(|_, _, _| panic!("as planned")),
        _ => builder.on_idle(|_| panic!("as planned")),
    };
    for hook in ["on_connect", "on_message", "on_publish", "on_idle"] {
        let builder = panicking(logging(builder(&script, Version::V5), &log), hook);
        let (client, mut inbox) = builder.start().unwrap();
        let mut peer = script.accept_with(connack(Version::V5)).await;
        if hook == "on_publish" {
            let delivery = client.publish("t", "x").try_enqueue().unwrap();
            soon(delivery).await.unwrap();
            peer.expect_packet(0x30).await;
        }
        if hook == "on_message" {
            // The first is acknowledged, so that it does not come back to do the same again; the
            // second was not seen by anybody.
            peer.send("32 06 0001 'a' 0001 00 32 06 0001 'a' 0002 00").await;
            peer.expect("40 02 0001").await;
        }
        peer.expect("E0 01 04").await;
        peer.expect_end().await;
        drop(peer);
        let end = closed(&client).await;
        let CloseReason::HookPanicked(name) = end else { panic!("{hook}: {end:?}") };
        assert_eq!(name, hook);
        assert!(soon(inbox.next()).await.is_none());
        let seen = log.take();
        assert!(!seen.iter().any(|entry| entry.starts_with("disconnect")), "{seen:?}");
    }
}

#[tokio::test]
async fn a_failed_attempt_calls_its_hook() {
    let script = Script::listen().await;
    let log = Log::default();
    let (client, _inbox) = logging(builder(&script, Version::V5), &log).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send("20 03 00 87 00").await;
    drop(peer);
    assert!(matches!(closed(&client).await, CloseReason::ConnectFailed(_)));
    assert_eq!(log.take(), ["failure the broker refused the connection: Not authorized (0x87)"]);
}

#[tokio::test]
async fn on_disconnect_tells_who_and_why() {
    let script = Script::listen().await;
    let log = Log::default();
    let builder = builder(&script, Version::V5).on_disconnect({
        let log = log.clone();
        move |info, _| {
            log.add(format!(
                "{:?} {} {:?}",
                info.cause.by(),
                info.cause.reason().code(),
                info.will_reconnect_in
            ));
            assert!(matches!(info.cause, DisconnectCause::Server { .. }));
        }
    });
    let (client, _inbox, mut peer) = accepted(&script, builder, connack(Version::V5)).await;
    peer.send("E0 01 98").await;
    drop(peer);
    closed(&client).await;
    assert_eq!(log.take(), ["Server 152 None"]);
}

/// Keeps a log of all calls.
struct Everything(Log);

impl Hooks for Everything {
    fn on_pre_connect(&mut self, attempt: &mut Attempt) {
        self.0.add(format!("pre-connect {}", attempt.number));
    }

    fn before_connect(&mut self, attempt: Attempt) -> BeforeConnect {
        self.0.add(format!("before {}", attempt.number));
        Box::pin(async move { Ok(attempt) })
    }

    fn on_connect(&mut self, info: &ConnectInfo, _: &Handle) {
        self.0.add(format!("connect {}", info.client_id));
    }

    fn on_connect_failure(&mut self, error: &ConnectError, _: &Handle) {
        self.0.add(format!("failure {error}"));
    }

    fn on_disconnect(&mut self, info: &DisconnectInfo, _: &Handle) {
        self.0.add(format!("disconnect {}", info.cause));
    }

    fn on_retry(&mut self, _: Failure<'_>, planned: Option<Duration>) -> Option<Duration> {
        self.0.add(format!("retry {}", planned.is_some()));
        planned
    }

    fn on_message(&mut self, message: &MessageRef<'_>, _: &Handle) -> Flow {
        self.0.add(format!("message {}", message.topic()));
        Flow::Refused(ReasonCode::NOT_AUTHORIZED)
    }

    fn on_publish(&mut self, _: Ticket, result: &Result<Receipt, PublishError>, _: &Handle) {
        self.0.add(format!("publish {}", result.is_ok()));
    }

    fn on_subscribe(
        &mut self,
        _: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
        _: &Handle,
    ) {
        self.0.add(format!("subscribe {}", result.is_ok()));
    }

    fn on_unsubscribe(
        &mut self,
        _: Ticket,
        result: &Result<SubscribeReceipt, RequestError>,
        _: &Handle,
    ) {
        self.0.add(format!("unsubscribe {}", result.is_ok()));
    }

    fn on_idle(&mut self, _: &Handle) {
        self.0.add("idle");
    }

    fn observes_packets(&self) -> bool {
        true
    }

    fn on_packet(&mut self, direction: Direction, packet: PacketView<'_>) {
        self.0.add(format!("{direction:?} {}", packet.packet_type()));
    }

    fn log_level(&self) -> Option<LogLevel> {
        Some(LogLevel::Info)
    }

    fn on_log(&mut self, level: LogLevel, text: &str) {
        self.0.add(format!("{level}: {text}"));
    }
}

#[tokio::test]
async fn an_object_takes_every_call_after_the_closures() {
    let script = Script::listen().await;
    let log = Log::default();
    let closure = log.clone();
    let builder = builder(&script, Version::V5)
        .hooks(Everything(log.clone()))
        .on_connect(move |_, _| closure.add("closure first"))
        .reconnect(Reconnect::Backoff { first: Duration::ZERO, max: Duration::ZERO });
    let (client, _inbox) = builder.start().unwrap();
    drop(script.accept().await);
    let mut peer = script.accept_with(connack(Version::V5)).await;
    soon(client.connected()).await.unwrap();
    let (stream, ()) = tokio::join!(soon(client.subscribe("a")), async {
        peer.expect_packet(0x82).await;
        peer.send("90 04 0001 00 00").await;
    });
    peer.send("32 06 0001 'a' 0001 00").await;
    peer.expect("40 03 0001 87").await;
    let ((), ended) = tokio::join!(
        async {
            peer.expect_packet(0xA2).await;
            peer.send("B0 04 0002 00 00").await;
        },
        soon(stream.unwrap().unsubscribe())
    );
    ended.unwrap();
    soon(client.publish("t", "x")).await.unwrap();
    soon(client.disconnect()).await.unwrap();
    let mut seen = log.take();
    let before: Vec<_> = seen.iter().take(4).cloned().collect();
    assert_eq!(before[..3], ["pre-connect 1", "before 1", "Sent CONNECT"]);
    for wanted in ["idle", "publish true", "Received PUBLISH", "Sent PUBACK", "Sent DISCONNECT"] {
        assert!(seen.iter().any(|entry| entry == wanted), "{wanted}: {seen:?}");
    }
    seen.retain(|entry| {
        !["Sent ", "Received ", "idle", "publish "].iter().any(|other| entry.starts_with(other))
    });
    let failed = "the connection was closed before the broker answered CONNECT";
    assert_eq!(
        seen,
        [
            "pre-connect 1",
            "before 1",
            "retry true",
            &format!("warning: could not connect: {failed}; trying again in 0ns"),
            &format!("failure {failed}"),
            "pre-connect 2",
            "before 2",
            "info: connected as \"c\"",
            "closure first",
            "connect c",
            "subscribe true",
            "message a",
            "unsubscribe true",
            "info: disconnected",
            "disconnect disconnected as asked",
            "info: ended: the application disconnected",
        ]
    );
}

#[tokio::test]
async fn the_log_has_levels() {
    for (level, wanted) in [(LogLevel::Warn, false), (LogLevel::Trace, true)] {
        let script = Script::listen().await;
        let log = Log::default();
        let builder = builder(&script, Version::V311).on_log(level, {
            let log = log.clone();
            move |level, text| log.add(format!("{level}: {text}"))
        });
        let (client, _inbox, peer) = accepted(&script, builder, connack(Version::V311)).await;
        drop(peer);
        closed(&client).await;
        let seen = log.take();
        let warning =
            "warning: connection lost: the broker closed the connection; not trying again";
        assert!(seen.iter().any(|entry| entry == warning), "{seen:?}");
        assert_eq!(seen.contains(&"trace: sending CONNECT, 15 bytes".into()), wanted, "{seen:?}");
        assert_eq!(seen.len() > 1, wanted, "{seen:?}");
    }
}
