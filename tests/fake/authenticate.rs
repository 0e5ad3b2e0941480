//! Enhanced authentication: steps before CONNACK and again later, and brokers that get them wrong.

use std::error::Error;
use std::sync::{Arc, Mutex};

use midge::client::{
    AuthData, AuthError, AuthenticateError, Authenticator, BuildError, CloseReason, ConnectError,
    DisconnectCause,
};
use midge::codec::PropertiesRef;
use midge::{Client, ClientBuilder, Properties, Property, PropertyValue, ReasonCode, Version};

use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, soon};

#[path = "../../examples/scram.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod scram;

/// Says `1`, `2`, `3` and so on, fails where it is told to, and keeps what it hears.
#[derive(Clone, Default)]
struct Counting {
    heard: Arc<Mutex<Vec<String>>>,
    said: u8,
    fails_at: Option<&'static str>,
}

impl Counting {
    fn hear(&self, what: &str, properties: PropertiesRef<'_>) -> Result<(), AuthError> {
        let data = properties.authentication_data().unwrap_or_default();
        self.heard.lock().unwrap().push(format!("{what} {}", String::from_utf8_lossy(data)));
        if self.fails_at == Some(what) { Err("as planned".into()) } else { Ok(()) }
    }

    fn say(&mut self) -> AuthData {
        self.said += 1;
        AuthData::from(self.said.to_string())
    }
}

impl Authenticator for Counting {
    fn method(&self) -> &str {
        "M"
    }

    fn start(&mut self) -> Result<AuthData, AuthError> {
        self.hear("start", PropertiesRef::default())?;
        Ok(self.say())
    }

    fn step(&mut self, challenge: PropertiesRef<'_>) -> Result<AuthData, AuthError> {
        self.hear("step", challenge)?;
        assert!(self.fails_at != Some("panic"), "as planned");
        Ok(self.say())
    }

    fn finish(&mut self, accepted: PropertiesRef<'_>) -> Result<(), AuthError> {
        self.hear("finish", accepted)
    }
}

fn with(script: &Script, authenticator: impl Authenticator) -> ClientBuilder {
    builder(script, Version::V5).receive_maximum(u16::MAX).authenticator(authenticator)
}

const CONNECT: &str =
    "10 1B 0004 'MQTT' 05 02 003C 0D 27 01000000 15 0001 'M' 16 0001 '1' 0001 'c'";
const CONNACK: &str = "20 0B 00 00 08 15 0001 'M' 16 0001 'z'";

/// An AUTH with method and one byte of data.
fn auth(reason: &str, data: &str) -> String {
    format!("F0 0A {reason} 08 15 0001 'M' 16 0001 '{data}'")
}

async fn authenticated(authenticator: Counting) -> (Client, midge::Inbox, Peer) {
    let script = Script::listen().await;
    let (client, inbox) = with(&script, authenticator).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect(CONNECT).await;
    peer.send(CONNACK).await;
    soon(client.connected()).await.unwrap();
    (client, inbox, peer)
}

#[tokio::test]
async fn mqtt_4_12_0_3_steps_lead_to_a_connection() {
    let script = Script::listen().await;
    let counting = Counting::default();
    let heard = Arc::clone(&counting.heard);
    let (client, _inbox) = with(&script, counting).start().unwrap();
    let mut peer = script.accept().await;
    peer.expect(CONNECT).await;
    peer.send(&auth("18", "a")).await;
    peer.expect(&auth("18", "2")).await;
    peer.send(&auth("18", "b")).await;
    peer.expect(&auth("18", "3")).await;
    peer.send(CONNACK).await;
    soon(client.connected()).await.unwrap();
    soon(client.publish("t", "x")).await.unwrap();
    peer.expect("30 05 0001 't' 00 'x'").await;
    assert_eq!(*heard.lock().unwrap(), ["start ", "step a", "step b", "finish z"]);
}

#[tokio::test]
async fn mqtt_4_12_1_1_a_client_authenticates_again() {
    let counting = Counting::default();
    let heard = Arc::clone(&counting.heard);
    let (client, _inbox, mut peer) = authenticated(counting).await;
    for _ in 0..2 {
        heard.lock().unwrap().clear();
        let (result, ()) = tokio::join!(soon(client.reauthenticate()), async {
            let said = peer.expect_packet(0xF0).await;
            assert_eq!(said[2], 0x19);
            // One at a time; everything else goes on.
            let error = soon(client.reauthenticate()).await.unwrap_err();
            assert!(matches!(error, AuthenticateError::Refused(_)), "{error}");
            soon(client.publish("t", "x")).await.unwrap();
            peer.expect("30 05 0001 't' 00 'x'").await;
            peer.send(&auth("18", "a")).await;
            let said = peer.expect_packet(0xF0).await;
            assert_eq!(said[2], 0x18);
            peer.send(&auth("00", "y")).await;
        });
        result.unwrap();
        assert_eq!(*heard.lock().unwrap(), ["start ", "step a", "finish y"]);
    }
}

#[tokio::test]
async fn mqtt_4_12_1_2_a_refused_reauthentication_ends_the_connection() {
    let (client, _inbox, mut peer) = authenticated(Counting::default()).await;
    let (result, ()) = tokio::join!(soon(client.reauthenticate()), async {
        peer.expect_packet(0xF0).await;
        peer.send("E0 07 87 05 1F 0002 'no'").await;
        peer.expect_end().await;
    });
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the broker refused to authenticate: Not authorized (0x87) (\"no\")"
    );
    drop(peer);
    let end = closed(&client).await;
    assert!(matches!(&end, CloseReason::Disconnected(DisconnectCause::Server { .. })), "{end:?}");
    let error = soon(client.reauthenticate()).await.unwrap_err();
    assert!(matches!(error, AuthenticateError::Closed), "{error}");
}

#[tokio::test]
async fn a_lost_connection_ends_a_reauthentication() {
    let (client, _inbox, mut peer) = authenticated(Counting::default()).await;
    let (result, ()) = tokio::join!(soon(client.reauthenticate()), async {
        peer.expect_packet(0xF0).await;
        peer.reset();
    });
    assert!(matches!(result, Err(AuthenticateError::Lost)), "{result:?}");
}

#[tokio::test]
async fn an_authenticator_that_fails_ends_the_attempt() {
    for fails_at in ["start", "step", "finish", "panic"] {
        let script = Script::listen().await;
        let counting = Counting { fails_at: Some(fails_at), ..Counting::default() };
        let log = Arc::new(Mutex::new(0));
        let connects = Arc::clone(&log);
        let builder =
            with(&script, counting).on_connect(move |_, _| *connects.lock().unwrap() += 1);
        let (client, _inbox) = builder.start().unwrap();
        let mut peer = script.accept().await;
        if fails_at != "start" {
            peer.expect(CONNECT).await;
            peer.send(&auth("18", "a")).await;
            if fails_at == "finish" {
                peer.expect(&auth("18", "2")).await;
                peer.send(CONNACK).await;
            }
            peer.expect(if fails_at == "panic" { "E0 01 04" } else { "E0 01 80" }).await;
        }
        peer.expect_end().await;
        drop(peer);
        let end = closed(&client).await;
        if fails_at == "panic" {
            assert!(matches!(end, CloseReason::HookPanicked("authenticator")), "{end:?}");
            continue;
        }
        let CloseReason::ConnectFailed(error) = end else { panic!("{end:?}") };
        assert!(matches!(error, ConnectError::Authentication(_)) && !error.is_retryable());
        assert_eq!(error.source().unwrap().to_string(), "as planned");
        assert_eq!(*log.lock().unwrap(), 0, "it was connected");
    }
}

#[tokio::test]
async fn an_authenticator_that_fails_later_ends_the_connection() {
    let counting = Counting::default();
    let (client, _inbox, mut peer) = authenticated(counting.clone()).await;
    let (result, ()) = tokio::join!(soon(client.reauthenticate()), async {
        peer.expect_packet(0xF0).await;
        peer.send(&auth("18", "a")).await;
        peer.expect_packet(0xF0).await;
        // No success: another connection would be told so by CONNACK.
        peer.send("E0 01 8C").await;
        peer.expect_end().await;
    });
    let Err(AuthenticateError::Rejected { reason, .. }) = result else { panic!("{result:?}") };
    assert_eq!(reason, ReasonCode::BAD_AUTHENTICATION_METHOD);
    drop((peer, client));
}

#[tokio::test]
async fn brokers_that_break_the_rules_are_told_so() {
    let breaches = [
        ("MQTT-4.12.0-5", "F0 0A 18 08 15 0001 'N' 16 0001 'a'"),
        ("MQTT-4.12.0-5", "F0 02 18 00"),
        ("MQTT-4.12.0-5", "20 03 00 00 00"),
        ("MQTT-4.12.0-5", "20 0B 00 00 08 15 0001 'N' 16 0001 'z'"),
        ("MQTT-4.12.0-1", "F0 0A 00 08 15 0001 'M' 16 0001 'a'"),
    ];
    for (clause, packet) in breaches {
        let script = Script::listen().await;
        let (client, _inbox) = with(&script, Counting::default()).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect(CONNECT).await;
        peer.send(packet).await;
        peer.expect_end().await;
        let error = soon(client.connected()).await.unwrap_err();
        let ConnectError::Protocol(error) = error else { panic!("{packet}: {error:?}") };
        assert_eq!((error.clause, error.reason), (clause, ReasonCode::PROTOCOL_ERROR), "{packet}");
    }
    // Once it is connected, the broker hears of it.
    for (clause, packet) in [
        ("MQTT-4.12.1-1", auth("18", "a")),
        ("MQTT-4.12.1-1", auth("00", "a")),
        ("MQTT-4.12.0-5", "F0 0A 18 08 15 0001 'N' 16 0001 'a'".into()),
    ] {
        let (client, _inbox, mut peer) = authenticated(Counting::default()).await;
        peer.send(&packet).await;
        peer.expect("E0 01 82").await;
        peer.expect_end().await;
        drop(peer);
        let end = closed(&client).await;
        let CloseReason::Disconnected(DisconnectCause::Protocol(error)) = end else {
            panic!("{end:?}")
        };
        assert_eq!(error.clause, clause, "{packet}");
    }
}

#[tokio::test]
async fn a_challenge_that_nobody_can_answer_ends_the_attempt() {
    let script = Script::listen().await;
    let method = PropertyValue::Utf8("M");
    let properties = Properties::new().with(Property::AuthenticationMethod, method).unwrap();
    let builder = builder(&script, Version::V5).connect_properties(properties);
    let (client, _inbox) = builder.start().unwrap();
    let mut peer = script.accept().await;
    peer.expect_packet(0x10).await;
    peer.send(&auth("18", "a")).await;
    peer.expect("E0 01 80").await;
    let error = soon(client.connected()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Authentication(_)), "{error}");
}

#[tokio::test]
async fn a_method_among_the_properties_is_enough_where_one_step_is() {
    let script = Script::listen().await;
    let method = PropertyValue::Utf8("M");
    let properties = Properties::new().with(Property::AuthenticationMethod, method).unwrap();
    let builder = builder(&script, Version::V5).connect_properties(properties);
    let (client, _inbox, _peer) = accepted(&script, builder, CONNACK).await;
    let error = soon(client.reauthenticate()).await.unwrap_err();
    assert!(matches!(error, AuthenticateError::NoAuthenticator), "{error}");
}

#[tokio::test]
async fn a_method_is_for_5_only_and_there_is_one() {
    let script = Script::listen().await;
    let authenticator = Counting::default();
    let old = builder(&script, Version::V311).authenticator(authenticator.clone()).start();
    assert!(matches!(old, Err(BuildError::Config(_))));
    let method = PropertyValue::Utf8("M");
    let properties = Properties::new().with(Property::AuthenticationMethod, method).unwrap();
    let twice = with(&script, authenticator).connect_properties(properties).start().unwrap_err();
    assert_eq!(
        twice.to_string(),
        "property authentication-method is set by the field authenticator"
    );
}

#[tokio::test]
async fn a_broker_that_goes_wrong_in_the_middle_does_not_bring_the_client_down() {
    for glued in [auth("18", "a"), CONNACK.into()] {
        let script = Script::listen().await;
        let fails_at = Some(if glued == CONNACK { "finish" } else { "step" });
        let counting = Counting { fails_at, ..Counting::default() };
        let (client, _inbox) = with(&script, counting).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect(CONNECT).await;
        peer.send(&format!("{glued} 00 00")).await;
        soon(client.connected()).await.unwrap_err();
        assert!(matches!(closed(&client).await, CloseReason::ConnectFailed(_)));
    }
}

/// The example of RFC 7677.
#[tokio::test]
async fn the_example_speaks_scram_sha_256() {
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let properties = |data: &str| {
        format!("{:02X} 15 000D 'SCRAM-SHA-256' 16 {:04X} '{data}'", 19 + data.len(), data.len())
    };
    for proof in [SERVER_FINAL, "v=forged", ""] {
        let script = Script::listen().await;
        let authenticator =
            scram::Scram::with_nonces("user", "pencil", || "rOprNGfwEbeRWgbNEkqO".into());
        let (client, _inbox) = with(&script, authenticator).start().unwrap();
        let mut peer = script.accept().await;
        let connect = peer.expect_packet(0x10).await;
        let contains = |bytes: &[u8], text: &str| {
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        assert!(contains(&connect, CLIENT_FIRST) && !contains(&connect, "pencil"));
        peer.send(&format!("F0 {:02X} 18 {}", 21 + SERVER_FIRST.len(), properties(SERVER_FIRST)))
            .await;
        let answer = peer.expect_packet(0xF0).await;
        assert!(contains(&answer, CLIENT_FINAL));
        peer.send(&format!("20 {:02X} 00 00 {}", 22 + proof.len(), properties(proof))).await;
        if proof == SERVER_FINAL {
            soon(client.connected()).await.unwrap();
        } else {
            let error = soon(client.connected()).await.unwrap_err();
            let source = error.source().unwrap().to_string();
            assert_eq!(source, "the broker does not know the password");
        }
    }
}

#[tokio::test]
async fn the_example_refuses_challenges_that_would_harm_it() {
    for challenge in [
        "",
        "r=own,s=AAAA,i=4096",
        "r=other1,s=AAAA,i=4096",
        "r=own1,s=!,i=4096",
        "r=own1,s=AAAA,i=1",
        "r=own1,s=AAAA,i=4000000000",
        "r=own1,s=AAAA,i=-4096",
        "s=AAAA,r=own1,i=4096",
    ] {
        let mut scram = scram::Scram::with_nonces("user", "pencil", || "own".into());
        scram.start().unwrap();
        let data = PropertyValue::Binary(challenge.as_bytes());
        let properties = Properties::new().with(Property::AuthenticationData, data).unwrap();
        assert!(scram.step(properties.as_ref()).is_err(), "{challenge}");
        assert!(scram.finish(properties.as_ref()).is_err());
    }
}
