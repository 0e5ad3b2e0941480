//! Brokers that are not there, do not answer, or are no brokers: one clear line on standard error,
//! a non-zero exit code, and an end in time.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    time::Instant,
};

use crate::{
    run::{midge_pub, midge_sub, run},
    server::{Server, read_packet, read_to_close},
    support::broker::free_port,
};

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 0];

const PUBLISH: [&str; 6] = ["-t", "a", "-m", "x", "-q", "1"];
const SUBSCRIBE: [&str; 2] = ["-t", "a"];

#[test]
fn an_unknown_host_is_named() {
    for (tool, args) in [(midge_pub(), &PUBLISH[..]), (midge_sub(), &SUBSCRIBE)] {
        let mut tool = tool;
        run(tool.args(["-h", "no-such-host.invalid"]).args(args)).said(1, "no-such-host.invalid");
    }
}

#[test]
fn a_refused_port_is_named() {
    let port = free_port().to_string();
    for (tool, args) in [(midge_pub(), &PUBLISH[..]), (midge_sub(), &SUBSCRIBE)] {
        let mut tool = tool;
        run(tool.args(["-h", "127.0.0.1", "-p", &port]).args(args)).said(1, &port);
    }
}

#[test]
fn the_time_limit_covers_a_silent_server() {
    let begin = Instant::now();
    let outcome = Server::new(read_to_close).against(midge_sub(), &["-t", "a", "-W", "1"]);
    outcome.said(27, "imed out");
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

#[test]
fn a_silent_server_is_given_up_after_the_keepalive_time() {
    let outcome =
        Server::new(read_to_close).against(midge_pub(), &[&PUBLISH[..], &["-k", "5"]].concat());
    outcome.said(19, "did not answer");
}

#[test]
fn an_http_server_is_no_broker() {
    let http = |mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        read_to_close(stream);
    };
    Server::new(http).against(midge_pub(), &PUBLISH).said(2, "protocol");
    Server::new(http).against(midge_sub(), &SUBSCRIBE).said(2, "protocol");
}

#[test]
fn a_server_that_closes_at_once_is_an_error() {
    // Whether CONNECT was read before decides if the tool sees an end or a reset.
    let close = |stream: TcpStream| drop(stream);
    Server::new(close).against(midge_pub(), &PUBLISH).said(7, "before the broker answered");
    Server::new(close).against(midge_sub(), &SUBSCRIBE).said(7, "before the broker answered");
}

#[test]
fn a_server_that_closes_in_the_middle_of_a_packet_is_an_error() {
    let half = |mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(&CONNACK[..3]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_close(stream);
    };
    Server::new(half).against(midge_pub(), &PUBLISH).said(7, "before the broker answered");
    Server::new(half).against(midge_sub(), &SUBSCRIBE).said(7, "before the broker answered");
}

#[test]
fn a_connection_lost_before_the_confirmation_is_exit_7() {
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        read_packet(&mut stream);
    })
    .against(midge_pub(), &PUBLISH);
    outcome.said(7, "connection");
}

#[test]
fn nothing_of_a_broken_message_is_printed() {
    // A whole message, then one whose topic is not UTF-8.
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        read_packet(&mut stream);
        stream.write_all(SUBACK).unwrap();
        stream.write_all(b"\x30\x05\0\x01awh\x30\x05\0\x01\xffno").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &SUBSCRIBE);
    outcome.said(2, "protocol");
    assert_eq!(outcome.stdout(), "wh\n");
}

#[test]
fn a_length_that_no_packet_can_have_is_refused() {
    let outcome = Server::new(|mut stream| {
        read_packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        read_packet(&mut stream);
        stream.write_all(SUBACK).unwrap();
        stream.write_all(b"\x30\xff\xff\xff\xff\x01").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &SUBSCRIBE);
    outcome.said(2, "protocol");
}

#[test]
fn the_return_codes_of_a_refused_connection_are_exit_codes() {
    for code in 1..=5 {
        let refuse = move |mut stream: TcpStream| {
            read_packet(&mut stream);
            stream.write_all(&[0x20, 2, 0, code]).unwrap();
            read_to_close(stream);
        };
        let text = "refused the connection";
        Server::new(refuse).against(midge_pub(), &PUBLISH).said(code.into(), text);
        Server::new(refuse).against(midge_sub(), &SUBSCRIBE).said(code.into(), text);
    }
}

#[test]
fn the_reason_of_a_refused_connection_is_told() {
    let refuse = |mut stream: TcpStream| {
        read_packet(&mut stream);
        // Not authorized, with the reason string "go\x1b[2Jaway".
        stream.write_all(b"\x20\x10\0\x87\x0d\x1f\0\x0ago\x1b[2Jaway").unwrap();
        read_to_close(stream);
    };
    let args = [&PUBLISH[..], &["-V", "5"]].concat();
    let outcome = Server::new(refuse).against(midge_pub(), &args);
    outcome.said(135, "Not authorized").said(135, "go\\u{1b}[2Jaway");
}

#[test]
fn a_return_code_that_there_is_not_is_an_error_of_the_protocol() {
    let refuse = |mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x02\0\x06").unwrap();
        read_to_close(stream);
    };
    Server::new(refuse).against(midge_pub(), &PUBLISH).said(2, "return code is reserved (0x06)");
}

#[test]
fn a_refused_message_is_a_failure_with_its_reason() {
    let refuse = |mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        read_packet(&mut stream);
        // Quota exceeded, with a reason string.
        stream.write_all(b"\x40\x0b\0\x01\x97\x07\x1f\0\x04full").unwrap();
        read_to_close(stream);
    };
    let args = [&PUBLISH[..], &["-V", "5"]].concat();
    let outcome = Server::new(refuse).against(midge_pub(), &args);
    outcome.said(151, "Quota exceeded").said(151, "full");
}

#[test]
fn refused_subscriptions_are_a_failure_with_their_reason() {
    let refuse = |mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        read_packet(&mut stream);
        stream.write_all(&[0x90, 3, 0, 1, 0x80]).unwrap();
        read_to_close(stream);
    };
    Server::new(refuse).against(midge_sub(), &SUBSCRIBE).said(128, "subscription");
}

#[test]
fn a_message_that_cannot_be_retained_is_a_failure() {
    let outcome = Server::new(|mut stream: TcpStream| {
        read_packet(&mut stream);
        // Retain Available: 0.
        stream.write_all(b"\x20\x05\0\0\x02\x25\0").unwrap();
        assert_eq!(read_packet(&mut stream)[0], 0xe0);
    })
    .against(midge_pub(), &[&PUBLISH[..], &["-V", "5", "-r"]].concat());
    outcome.said(1, "does not keep retained messages");
}

#[test]
fn who_is_replaced_by_a_client_of_the_same_name_ends() {
    let outcome = Server::new(|mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        read_packet(&mut stream);
        stream.write_all(b"\x90\x04\0\x01\0\0").unwrap();
        stream.write_all(b"\xe0\x01\x8e").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &[&SUBSCRIBE[..], &["-V", "5"]].concat());
    outcome.said(7, "Session taken over");
}

#[test]
fn some_refused_subscriptions_are_a_warning() {
    let outcome = Server::new(|mut stream: TcpStream| {
        read_packet(&mut stream);
        stream.write_all(b"\x20\x03\0\0\0").unwrap();
        read_packet(&mut stream);
        // Granted and not authorized, with the reason string "no".
        stream.write_all(b"\x90\x0a\0\x01\x05\x1f\0\x02no\x01\x87").unwrap();
        stream.write_all(b"\x30\x05\0\x01a\0x").unwrap();
        read_to_close(stream);
    })
    .against(midge_sub(), &["-V", "5", "-t", "a", "-t", "b", "-q", "1", "-C", "1"]);
    outcome.said(0, "the broker refused \"b\": Not authorized (0x87) (\"no\")");
    assert_eq!(outcome.stdout(), "x\n");
}

#[test]
fn quiet_leaves_only_the_exit_code() {
    let port = free_port().to_string();
    let outcome = run(midge_pub().args(["-h", "127.0.0.1", "-p", &port, "--quiet"]).args(PUBLISH));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""));
}
