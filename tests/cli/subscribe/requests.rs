//! SUBSCRIBE and UNSUBSCRIBE: -E, -U, and refusals.

use std::io::Write as _;

use super::*;
use crate::server::{Server, read_packet, read_to_close};

#[test]
fn e_makes_a_session_that_keeps_messages() {
    let Some(broker) = Broker::start() else { return };
    let session = ["-i", "kept", "-c", "-q", "1", "-t", "kept"];
    let outcome = same_as_mosquitto_sub(&broker, &[&session[..], &["-E"]].concat());
    assert_eq!(outcome.success().stdout(), "");
    publish(&broker, &["-t", "kept", "-m", "meanwhile"]);
    let outcome = subscribe(&broker, &[&session[..], &["-C", "1", "-W", "30"]].concat());
    assert_eq!(outcome.success().stdout(), "meanwhile\n");
}

#[test]
fn u_ends_subscriptions_of_a_session() {
    let Some(broker) = Broker::start() else { return };
    for version in ["31", "311", "5"] {
        let session = ["-V", version, "-i", version, "-c", "-q", "1"];
        let subscribe = |args: &[&str]| subscribe(&broker, &[&session[..], args].concat());
        subscribe(&["-t", "u/a", "-t", "u/b", "-t", "u/c", "-E"]).success();
        // Without -t, and with -E, which mosquitto_sub never comes to the end of.
        subscribe(&["-U", "u/a", "-U", "u/c", "-E", "-W", "30"]).success();
        for topic in ["u/a", "u/b", "u/c"] {
            publish(&broker, &["-t", topic, "-m", topic]);
        }
        publish(&broker, &["-t", "u/b", "-m", "end"]);
        let outcome = subscribe(&["-U", "none", "-C", "2", "-W", "30"]);
        assert_eq!(outcome.success().stdout(), "u/b\nend\n", "{version}");
    }
}

#[test]
fn u_comes_behind_the_subscribe() {
    let Some(broker) = Broker::start() else { return };
    let args = ["-d", "-i", "u", "-t", "a", "-t", "b", "-U", "a", "-U", "x", "-E"];
    assert_eq!(
        subscribe(&broker, &args).success().stdout(),
        "Client u sending CONNECT\n\
         Client u received CONNACK (0)\n\
         Client u sending SUBSCRIBE (Mid: 1, Topic: a, QoS: 0, Options: 0x00)\n\
         Client u sending SUBSCRIBE (Mid: 1, Topic: b, QoS: 0, Options: 0x00)\n\
         Client u sending UNSUBSCRIBE (Mid: 2, Topic: a)\n\
         Client u received SUBACK\n\
         Subscribed (mid: 1): 0, 0\n\
         Client u received UNSUBACK\n\
         Client u sending UNSUBSCRIBE (Mid: 3, Topic: x)\n\
         Client u received UNSUBACK\n\
         Client u sending DISCONNECT\n"
    );
}

#[test]
fn the_options_of_a_subscription_are_on_the_wire() {
    let Some(broker) = Broker::start() else { return };
    let options = |args: &[&str]| {
        let args = [&["-d", "-V", "5", "-t", "a", "-q", "2", "-E"], args].concat();
        let printed = subscribe(&broker, &args).success().stdout();
        let line = printed.lines().find(|line| line.contains("SUBSCRIBE")).unwrap().to_owned();
        line.split("Options: ").nth(1).unwrap().trim_end_matches(')').to_owned()
    };
    assert_eq!(options(&[]), "0x00");
    assert_eq!(options(&["-R"]), "0x20");
    assert_eq!(options(&["--retain-as-published"]), "0x08");
    assert_eq!(options(&["--retain-handling", "new", "--retain-as-published"]), "0x18");
}

#[test]
fn a_refused_unsubscribe_is_a_warning() {
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        assert_eq!(read_packet(&mut stream)[0], 0xa2);
        // Not authorized, with the reason string "no".
        stream.write_all(b"\xb0\x09\0\x01\x05\x1f\0\x02no\x87").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &["-V", "5", "-U", "a", "-E"]);
    let text = "the broker refused to unsubscribe from \"a\": Not authorized (0x87) (\"no\")";
    outcome.said(0, text);
}

#[test]
fn the_reason_of_refused_subscriptions_is_told() {
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        read_packet(&mut stream);
        // Quota exceeded, with the reason string "at most 10".
        stream.write_all(b"\x90\x11\0\x01\x0d\x1f\0\x0aat most 10\x97").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &["-V", "5", "-t", "a"]);
    outcome.said(151, "refused all subscriptions: Quota exceeded (0x97) (\"at most 10\")");
}

/// The Receive Maximum in CONNECT of 5.0 with these options.
pub fn receive_maximum(args: &[&str]) -> u16 {
    let (send, received) = std::sync::mpsc::channel();
    let server = Server::new(move |mut stream| {
        send.send(read_packet(&mut stream)).unwrap();
        // The server is busy.
        stream.write_all(b"\x20\x03\0\x89\0").unwrap();
        read_to_close(stream);
    });
    let args = [&["-V", "5", "-t", "a", "-q", "1"], args].concat();
    server.against(midge_sub(), &args).said(137, "");
    let connect = received.recv().unwrap();
    let at = connect.iter().position(|&byte| byte == 0x21).expect("no Receive Maximum");
    u16::from_be_bytes([connect[at + 1], connect[at + 2]])
}

#[test]
fn a_small_count_is_all_that_may_be_on_its_way() {
    assert_eq!(receive_maximum(&["-C", "1"]), 1);
    assert_eq!(receive_maximum(&["-C", "19"]), 19);
    assert_eq!(receive_maximum(&["-C", "20"]), receive_maximum(&[]));
    assert_eq!(receive_maximum(&["-C", "5", "-D", "connect", "receive-maximum", "9"]), 9);
}
