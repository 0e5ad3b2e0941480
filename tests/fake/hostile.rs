//! Brokers that break the protocol after CONNACK: each breach ends the connection with one typed
//! error that says who started it; 5.0 tells the broker why, 3.x closes without a DISCONNECT, which
//! would suppress the will; and nothing is delivered that was not whole.
//!
//! Every row is sent whole, byte by byte, and glued to a good message that must not arrive.

use midge::client::{CloseReason, DisconnectCause, DisconnectedBy};
use midge::{QoS, ReasonCode, Version};

use crate::support::script::bytes;
use crate::support::{Peer, Script};
use crate::{accepted, builder, closed, connack, soon};

#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    ByteByByte,
    Glued,
}

/// What a good message looks like: QoS 0, topic `t`, payload `later`.
fn good_message(version: Version) -> Vec<u8> {
    bytes(if version == Version::V5 {
        "30 09 0001 't' 00 'later'"
    } else {
        "30 08 0001 't' 'later'"
    })
}

async fn send(peer: &mut Peer, version: Version, breach: &[u8], way: Way) {
    match way {
        Way::Whole => peer.send_bytes(breach).await,
        Way::ByteByByte => peer.send_byte_by_byte(breach).await,
        Way::Glued => peer.send_bytes(&[breach, &good_message(version)].concat()).await,
    }
}

/// Asserts that these bytes end the connection with this reason.
#[track_caller]
fn breach(version: Version, hex: &'static str, reason: u8) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for way in [Way::Whole, Way::ByteByByte, Way::Glued] {
            let row = format!("{caller}: {hex} in {version}, {way:?}");
            let script = Script::listen().await;
            let builder = builder(&script, version).receive_maximum(2).maximum_packet_size(4096);
            let (client, mut inbox, mut peer) = accepted(&script, builder, connack(version)).await;
            send(&mut peer, version, &bytes(hex), way).await;
            if version == Version::V5 {
                let last = loop {
                    let packet = peer.packet().await;
                    if packet[0] == 0xE0 {
                        break packet;
                    }
                };
                assert_eq!(last[2], reason, "{row}");
            }
            peer.expect_end().await;
            drop(peer);
            let end = closed(&client).await;
            let CloseReason::Disconnected(cause) = end else { panic!("{row}: {end:?}") };
            assert_eq!(cause.by(), DisconnectedBy::Protocol, "{row}: {cause}");
            assert_eq!(cause.reason(), ReasonCode::new(reason), "{row}: {cause}");
            while let Some(message) = soon(inbox.next()).await {
                assert_ne!(message.payload(), "later".as_bytes(), "{row}");
                assert_ne!(message.payload(), "bad".as_bytes(), "{row}");
            }
        }
    }
}

/// Asserts that these bytes are taken: the message after them arrives.
#[track_caller]
fn tolerated(version: Version, hex: &'static str) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for way in [Way::Whole, Way::ByteByByte, Way::Glued] {
            let script = Script::listen().await;
            let builder = builder(&script, version).receive_maximum(2);
            let (_client, mut inbox, mut peer) = accepted(&script, builder, connack(version)).await;
            send(&mut peer, version, &bytes(hex), way).await;
            if !matches!(way, Way::Glued) {
                peer.send_bytes(&good_message(version)).await;
            }
            loop {
                let message = soon(inbox.next()).await;
                let message = message.unwrap_or_else(|| panic!("{caller}: {hex} in {version}"));
                if message.payload() == "later".as_bytes() {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn mqtt_1_5_3_strings_must_be_utf_8_without_nul() {
    for topic in
        ["0003 EDA080", "0002 C0AF", "0004 F5808080", "0001 80", "0002 E282", "0003 610062"]
    {
        let length = bytes(topic).len() + 3;
        let row: &'static str = format!("30 {length:02X} {topic} 'bad'").leak();
        breach(Version::V31, row, 0x81).await;
        breach(Version::V311, row, 0x81).await;
        let row: &'static str = format!("30 {:02X} {topic} 00 'bad'", length + 1).leak();
        breach(Version::V5, row, 0x81).await;
    }
    // Each half of a user property, a content type, and the reason string of an acknowledgement.
    breach(Version::V5, "30 0F 0001 'a' 08 26 0001 C0 0002 'xx' 'bad'", 0x81).await;
    breach(Version::V5, "30 0F 0001 'a' 08 26 0002 'xx' 0001 C0 'bad'", 0x81).await;
    breach(Version::V5, "30 0B 0001 'a' 04 03 0001 FF 'bad'", 0x81).await;
    breach(Version::V5, "40 08 0001 00 04 1F 0001 FF", 0x81).await;
}

#[tokio::test]
async fn control_characters_are_delivered_as_they_are() {
    tolerated(Version::V311, "30 08 0005 61 1B 5B 32 4A 'x'").await;
    tolerated(Version::V5, "30 09 0005 61 1B 5B 32 4A 00 'x'").await;
}

#[tokio::test]
async fn mqtt_1_5_5_a_length_has_at_most_four_bytes() {
    for version in [Version::V311, Version::V5] {
        breach(version, "30 80 80 80 80 01", 0x81).await;
        breach(version, "D0 FF FF FF FF", 0x81).await;
    }
}

#[tokio::test]
async fn mqtt_2_1_3_reserved_flags_and_types() {
    for version in [Version::V311, Version::V5] {
        for row in [
            "41 02 0001",
            "51 02 0001",
            "60 02 0001",
            "61 02 0001",
            "72 02 0001",
            "94 03 0001 00",
            "B8 02 0001",
            "D1 00",
            "00 00",
            "36 05 0001 'a' 0001",
            "3E 05 0001 'a' 0001",
        ] {
            breach(version, row, 0x81).await;
        }
        for row in ["10 00", "82 00", "A2 00", "C0 00"] {
            breach(version, row, 0x82).await;
        }
    }
    breach(Version::V311, "F0 00", 0x81).await;
    breach(Version::V311, "E0 00", 0x82).await;
    breach(Version::V5, "E1 00", 0x81).await;
    breach(Version::V5, "F1 00", 0x81).await;
}

#[tokio::test]
async fn mqtt_2_1_4_a_body_ends_where_its_length_says() {
    for version in [Version::V311, Version::V5] {
        for row in ["40 00", "40 01 00", "50 01 00", "62 01 00", "70 00", "D0 01 00", "30 00"] {
            breach(version, row, 0x81).await;
        }
        breach(version, "30 03 FFFF 61", 0x81).await;
        breach(version, "32 04 0001 'a' 00", 0x81).await;
    }
    breach(Version::V311, "40 03 0001 00", 0x81).await;
    breach(Version::V311, "B0 03 0001 00", 0x81).await;
    breach(Version::V5, "30 04 0001 'a' 01", 0x81).await;
    breach(Version::V5, "40 05 0001 00 05 1F", 0x81).await;
    breach(Version::V5, "E0 04 00 03 1F 00", 0x81).await;
}

#[tokio::test]
async fn mqtt_3_1_2_24_a_packet_too_large_is_refused_on_its_header_alone() {
    breach(Version::V5, "30 FE 1F", 0x95).await;
    breach(Version::V5, "30 FF FF FF 7F", 0x95).await;
    breach(Version::V311, "30 FF FF FF 7F", 0x95).await;
}

#[tokio::test]
async fn mqtt_2_2_1_a_packet_id_is_not_zero() {
    breach(Version::V311, "32 05 0001 'a' 0000", 0x81).await;
    breach(Version::V5, "32 06 0001 'a' 0000 00", 0x81).await;
    for version in [Version::V311, Version::V5] {
        for row in ["40 02 0000", "50 02 0000", "62 02 0000", "70 02 0000", "90 03 0000 00"] {
            breach(version, row, 0x81).await;
        }
    }
}

#[tokio::test]
async fn mqtt_2_2_2_properties_belong_where_they_are() {
    // Not a property at all; session expiry in a PUBLISH; a content type twice.
    breach(Version::V5, "30 09 0001 'a' 02 7F00 'bad'", 0x81).await;
    breach(Version::V5, "30 0C 0001 'a' 05 11 00000001 'bad'", 0x82).await;
    breach(Version::V5, "30 0F 0001 'a' 08 03 0001 'x' 03 0001 'x' 'bad'", 0x82).await;
    breach(Version::V5, "E0 07 00 05 11 00000001", 0x82).await;
}

#[tokio::test]
async fn mqtt_3_2_0_2_there_is_one_connack() {
    breach(Version::V311, "20 02 00 00", 0x82).await;
    breach(Version::V5, "20 03 00 00 00", 0x82).await;
}

#[tokio::test]
async fn mqtt_3_3_publish_rows() {
    // DUP with QoS 0; wildcards in a topic; no topic and no alias.
    breach(Version::V5, "38 07 0001 'a' 00 'bad'", 0x81).await;
    breach(Version::V311, "30 08 0003 'a/#' 'bad'", 0x81).await;
    breach(Version::V311, "30 08 0003 'a/+' 'bad'", 0x81).await;
    breach(Version::V5, "30 09 0003 'a/#' 00 'bad'", 0x81).await;
    breach(Version::V311, "30 05 0000 'bad'", 0x82).await;
    breach(Version::V5, "30 06 0000 00 'bad'", 0x82).await;
    // Payload format 2; a response topic with a wildcard; subscription identifier 0.
    breach(Version::V5, "30 09 0001 'a' 02 0102 'bad'", 0x82).await;
    breach(Version::V5, "30 0D 0001 'a' 06 08 0003 'b/#' 'bad'", 0x82).await;
    breach(Version::V5, "30 09 0001 'a' 02 0B00 'bad'", 0x82).await;
    // Aliases beyond what was announced, which is none.
    breach(Version::V5, "30 0A 0001 'a' 03 23 0001 'bad'", 0x94).await;
    breach(Version::V5, "30 09 0000 03 23 0001 'bad'", 0x94).await;
    breach(Version::V5, "30 0A 0001 'a' 03 23 0000 'bad'", 0x94).await;
}

#[tokio::test]
async fn mqtt_3_3_4_9_no_more_than_receive_maximum() {
    breach(
        Version::V5,
        "32 07 0001 'a' 0001 00 '1' 32 07 0001 'a' 0002 00 '2' 32 09 0001 'a' 0003 00 'bad'",
        0x93,
    )
    .await;
}

#[tokio::test]
async fn mqtt_3_4_2_1_acknowledgements_have_the_codes_of_the_list() {
    for row in ["40 03 0001 01", "40 03 0001 92", "50 03 0001 8E", "62 03 0001 80", "70 03 0001 10"]
    {
        breach(Version::V5, row, 0x82).await;
    }
}

#[tokio::test]
async fn mqtt_2_3_1_6_answers_to_nothing_are_tolerated() {
    for version in [Version::V311, Version::V5] {
        for row in ["40 02 0009", "70 02 0009", "D0 00", "D0 00 D0 00 D0 00"] {
            tolerated(version, row).await;
        }
    }
    tolerated(Version::V5, "40 03 0009 10 40 04 0009 00 00").await;
}

#[tokio::test]
async fn mqtt_4_3_3_an_unknown_pubrel_is_answered() {
    for (version, answer) in [(Version::V311, "70 02 0009"), (Version::V5, "70 03 0009 92")] {
        let script = Script::listen().await;
        let (_client, _inbox, mut peer) =
            accepted(&script, builder(&script, version), connack(version)).await;
        peer.send("62 02 0009").await;
        peer.expect(answer).await;
    }
}

#[tokio::test]
async fn mqtt_4_12_0_6_authentication_was_not_asked_for() {
    breach(Version::V5, "F0 00", 0x82).await;
    breach(Version::V5, "F0 02 19 00", 0x82).await;
}

#[tokio::test]
async fn mqtt_4_3_the_answer_must_fit_the_quality_of_service() {
    for (version, qos, answer) in [
        (Version::V311, QoS::AtLeastOnce, "50 02 0001"),
        (Version::V5, QoS::AtLeastOnce, "50 02 0001"),
        (Version::V311, QoS::ExactlyOnce, "40 02 0001"),
        (Version::V5, QoS::ExactlyOnce, "70 02 0001"),
    ] {
        let script = Script::listen().await;
        let (client, _inbox, mut peer) =
            accepted(&script, builder(&script, version), connack(version)).await;
        let delivery = client.publish("t", "x").qos(qos).try_enqueue().unwrap();
        peer.packet().await;
        peer.send(answer).await;
        drop(peer);
        soon(delivery).await.unwrap_err();
        let end = closed(&client).await;
        let CloseReason::Disconnected(DisconnectCause::Protocol(error)) = end else {
            panic!("{answer} in {version}: {end:?}")
        };
        assert_eq!(error.reason, ReasonCode::PROTOCOL_ERROR);
    }
}

#[tokio::test]
async fn mqtt_3_8_4_6_there_is_one_code_per_filter() {
    for (version, answers) in [
        (Version::V311, ["90 02 0001", "90 04 0001 00 00", "90 03 0001 03"]),
        (Version::V5, ["90 03 0001 00", "90 05 0001 00 00 00", "90 04 0001 00 03"]),
    ] {
        for answer in answers {
            let script = Script::listen().await;
            let (client, _inbox, mut peer) =
                accepted(&script, builder(&script, version), connack(version)).await;
            let subscribed = tokio::spawn({
                let client = client.clone();
                async move { client.subscribe("t").await.map(drop) }
            });
            peer.expect_packet(0x82).await;
            peer.send(answer).await;
            drop(peer);
            soon(subscribed).await.unwrap().unwrap_err();
            let end = closed(&client).await;
            let CloseReason::Disconnected(cause) = end else { panic!("{answer}: {end:?}") };
            assert_eq!(cause.by(), DisconnectedBy::Protocol, "{answer} in {version}: {cause}");
        }
    }
}

#[tokio::test]
async fn a_cut_in_a_packet_delivers_nothing() {
    let script = Script::listen().await;
    for cut in 1..10 {
        let version = Version::V311;
        let (client, mut inbox, mut peer) =
            accepted(&script, builder(&script, version), connack(version)).await;
        peer.send_bytes(&good_message(version)[..cut]).await;
        peer.finish().await;
        let end = closed(&client).await;
        let CloseReason::Disconnected(DisconnectCause::Closed { partial_bytes }) = end else {
            panic!("cut at {cut}: {end:?}")
        };
        assert_eq!(partial_bytes, cut);
        assert!(soon(inbox.next()).await.is_none());
    }
}

#[tokio::test]
async fn a_reset_is_the_network_s_doing() {
    let (client, mut inbox, mut peer) = crate::connected(Version::V311).await;
    peer.send_bytes(&good_message(Version::V311)).await;
    assert_eq!(soon(inbox.next()).await.unwrap().payload(), "later".as_bytes());
    peer.reset();
    let end = closed(&client).await;
    let CloseReason::Disconnected(cause) = end else { panic!("{end:?}") };
    assert!(matches!(cause, DisconnectCause::Io(_)), "{cause:?}");
    assert_eq!(cause.by(), DisconnectedBy::Network);
}

#[tokio::test]
async fn a_disconnect_of_the_broker_tells_its_reason() {
    let (client, _inbox, mut peer) = crate::connected(Version::V5).await;
    peer.send("E0 0B 8B 09 1F 0006 'reboot'").await;
    peer.expect_end().await;
    let end = closed(&client).await;
    let CloseReason::Disconnected(DisconnectCause::Server { reason, properties }) = end else {
        panic!("{end:?}")
    };
    assert_eq!(reason, ReasonCode::SERVER_SHUTTING_DOWN);
    assert_eq!(properties.as_ref().reason_string(), Some("reboot"));
}
