//! What the null broker says, byte by byte.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use midge::load::Sink;

const CONNECT_V311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
const CONNECT_V5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a";

fn connect(sink: &Sink) -> TcpStream {
    let stream = TcpStream::connect(sink.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn expect(stream: &mut TcpStream, answer: &[u8]) {
    let mut received = vec![0; answer.len()];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(received, answer);
}

fn expect_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // Closing with unread input resets the connection, which is as good an end.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn every_packet_gets_its_answer() {
    let sink = Sink::start().unwrap();
    let mut stream = connect(&sink);
    for (packet, answer) in [
        (CONNECT_V311, &b"\x20\x02\0\0"[..]),
        (b"\xc0\0", b"\xd0\0"),
        (b"\x30\x04\0\x01th\xc0\0", b"\xd0\0"),
        (b"\x32\x05\0\x01t\0\x07", b"\x40\x02\0\x07"),
        (b"\x34\x05\0\x01t\0\x08", b"\x50\x02\0\x08"),
        (b"\x62\x02\0\x08", b"\x70\x02\0\x08"),
        (b"\x82\x0a\0\x09\0\x01a\x01\0\x01b\x02", b"\x90\x04\0\x09\x01\x02"),
        (b"\xa2\x05\0\x0a\0\x01a", b"\xb0\x02\0\x0a"),
    ] {
        stream.write_all(packet).unwrap();
        expect(&mut stream, answer);
    }
    stream.write_all(b"\xe0\0").unwrap();
    expect_closed(stream);
}

#[test]
fn version_5_has_its_own_shapes() {
    let sink = Sink::start().unwrap();
    let mut stream = connect(&sink);
    stream.write_all(CONNECT_V5).unwrap();
    expect(&mut stream, b"\x20\x03\0\0\0");
    stream.write_all(b"\xa2\x09\0\x0a\0\0\x01a\0\x01b").unwrap();
    expect(&mut stream, b"\xb0\x05\0\x0a\0\0\0");
}

#[test]
fn packets_may_come_in_pieces() {
    let sink = Sink::start().unwrap();
    let mut stream = connect(&sink);
    stream.set_nodelay(true).unwrap();
    for packet in [CONNECT_V311, b"\xc0\0"] {
        for byte in packet {
            stream.write_all(&[*byte]).unwrap();
        }
    }
    expect(&mut stream, b"\x20\x02\0\0\xd0\0");
}

#[test]
fn what_is_not_mqtt_is_closed() {
    let sink = Sink::start().unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xc0\0",
        &[CONNECT_V311, CONNECT_V311].concat(),
        b"\x10\xff\xff\xff\xff\x7f",
    ] {
        let mut stream = connect(&sink);
        stream.write_all(bytes).unwrap();
        if bytes.len() > CONNECT_V311.len() && bytes.starts_with(CONNECT_V311) {
            expect(&mut stream, b"\x20\x02\0\0");
        }
        expect_closed(stream);
    }
}

#[test]
fn dropping_it_closes_its_connections() {
    let sink = Sink::start().unwrap();
    let mut stream = connect(&sink);
    stream.write_all(CONNECT_V311).unwrap();
    expect(&mut stream, b"\x20\x02\0\0");
    drop(sink);
    expect_closed(stream);
}
