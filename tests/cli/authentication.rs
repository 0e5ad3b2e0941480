//! Enhanced authentication with what the command line gives.

use std::{io::Write, net::TcpStream, process::Command};

use crate::{
    run::{Outcome, midge_pub, midge_rr, midge_sub, run},
    server::{Server, read_packet, read_to_close},
    support::Broker,
};

const BEGIN: [&str; 8] = [
    "-D",
    "connect",
    "authentication-method",
    "M",
    "-D",
    "connect",
    "authentication-data",
    "begin",
];

/// AUTH with the method and the data "what?".
const CHALLENGE: &[u8] = b"\xf0\x0e\x18\x0c\x15\0\x01M\x16\0\x05what?";
const CONNACK: &[u8] = b"\x20\x07\0\0\x04\x15\0\x01M";

type Tool = fn() -> Command;

/// Every tool with something to do.
fn tools() -> [(Tool, &'static [&'static str]); 3] {
    [
        (midge_pub, &["-V", "5", "-t", "a", "-m", "x"]),
        (midge_sub, &["-V", "5", "-t", "a", "-E"]),
        (midge_rr, &["-V", "5", "-t", "a", "-e", "b", "-m", "x"]),
    ]
}

/// Runs the tool against a server that sends a challenge for each of `answers`, which is what the
/// tool has to answer with, and then accepts.
fn challenged(tool: Tool, args: &[&str], answers: Vec<&'static [u8]>) -> Outcome {
    let server = Server::new(move |mut stream: TcpStream| {
        let connect = read_packet(&mut stream);
        let begin: &[u8] = b"\x15\0\x01M\x16\0\x05begin";
        assert!(connect.windows(begin.len()).any(|bytes| bytes == begin), "{connect:?}");
        for answer in answers {
            stream.write_all(CHALLENGE).unwrap();
            assert_eq!(read_packet(&mut stream), answer);
        }
        stream.write_all(CONNACK).unwrap();
        let next = read_packet(&mut stream);
        if next[0] == 0x82 {
            stream.write_all(&[0x90, 4, next[2], next[3], 0, 0]).unwrap();
            read_packet(&mut stream);
        }
    });
    server.against(tool(), &[args, &BEGIN, &["-W", "30"]].concat())
}

#[test]
fn a_challenge_is_answered_with_the_properties_of_auth() {
    const ANSWER: &[u8] =
        b"\xf0\x1e\x18\x1c\x15\0\x01M\x16\0\x06answer\x26\0\x01a\0\x03b c\x1f\0\x03why";
    let auth = [
        &["-D", "auth", "user-property", "a", "b c"][..],
        &["-D", "auth", "authentication-data", "answer"],
        &["-D", "auth", "reason-string", "why"],
    ]
    .concat();
    for (tool, args) in tools() {
        let outcome = challenged(tool, &[args, &auth].concat(), vec![ANSWER, ANSWER]);
        if args.contains(&"-e") {
            outcome.said(7, "closed the connection"); // There is no answer to the request.
        } else {
            outcome.success();
        }
    }
}

#[test]
fn an_authentication_without_a_challenge_needs_no_answer() {
    challenged(midge_pub, &["-V", "5", "-t", "a", "-m", "x"], vec![]).success();
}

#[test]
fn a_challenge_without_an_answer_ends_the_tool() {
    for (tool, args) in tools() {
        let server = Server::new(|mut stream: TcpStream| {
            read_packet(&mut stream);
            stream.write_all(CHALLENGE).unwrap();
            read_to_close(stream);
        });
        let args = [args, &BEGIN, &["-W", "30", "--retry"]].concat();
        server.against(tool(), &args).said(
            1,
            "the enhanced authentication failed: the broker has sent a challenge: add its answer \
             with -D auth authentication-data DATA",
        );
    }
}

#[test]
fn a_broker_that_does_not_know_the_method_says_so() {
    let Some(broker) = Broker::start() else { return };
    let port = broker.port().to_string();
    for (tool, args) in tools() {
        let mut tool = tool();
        run(tool.args(["-h", "127.0.0.1", "-p", &port]).args(args).args(BEGIN))
            .said(140, "Bad authentication method");
    }
}
