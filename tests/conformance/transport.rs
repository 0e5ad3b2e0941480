//! The network connection (§4.2), WebSocket (§6) and the conformance of a client (§7).

use midge::client::ConnectError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::*;

tests! {
    ["4.2.0-1", "7.1.2-1"] ["4.2-1"] an_ordered_stream_in_any_pieces_is_the_same,
    ["6.0.0-1"] ["6.0.0-1"] other_frames_than_binary_end_a_websocket,
    ["6.0.0-2"] ["6.0.0-2"] packets_and_frames_need_not_coincide,
    ["6.0.0-3"] ["6.0.0-3"] a_websocket_offers_its_sub_protocol,
    ["6.0.0-4"] ["6.0.0-4"] a_websocket_of_another_sub_protocol_is_refused,
    ["7.0.0-2"] ["§7"] no_extension_is_needed,
}

fn an_ordered_stream_in_any_pieces_is_the_same(version: Version) {
    let stream = [
        accepting(version).to_vec(),
        publish(version, 0x30, "t", 0, b"a"),
        publish(version, 0x32, "t", 5, b"bb"),
        publish(version, 0x34, "topic", 6, &[b'c'; 200]),
        ack(0x62, 6),
        b"\xD0\0".to_vec(),
        publish(version, 0x34, "t", 6, b""),
    ]
    .concat();
    let run = |sizes: &mut dyn FnMut() -> usize| {
        let mut client = connecting(Config::new(version));
        let mut rest = &stream[..];
        let mut sent = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(sizes().clamp(1, rest.len()));
            client.receive(piece);
            sent.extend(client.output());
            rest = after;
        }
        assert!(client.session.is_connected());
        (client.messages, client.topics, sent)
    };
    let whole = run(&mut || usize::MAX);
    assert_eq!(whole.0.len(), 4);
    for size in 1..stream.len() {
        assert_eq!(run(&mut || size), whole, "{size}");
    }
    let mut state = 1_u32;
    for _ in 0..500 {
        let sizes = &mut || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as usize % 40
        };
        assert_eq!(run(sizes), whole);
    }
}

fn no_extension_is_needed(version: Version) {
    // Nothing but what the standard has: a broker that knows no more accepts, and all flows work.
    let mut client = connected(version);
    client.publish(0, 2, b"x");
    subscribe(&mut client, 1, filters(&["a"]));
    assert_eq!(kinds(&client.output()), [0x34, 0x82]);
    assert!(client.session.is_connected());
}

/// Connects over a WebSocket to a broker that answers the upgrade with this, and runs a script.
async fn upgraded<Fut: Future<Output = ()> + Send + 'static>(
    version: Version,
    answer: impl FnOnce(&str) -> String + Send + 'static,
    script: impl FnOnce(tokio::net::TcpStream, String) -> Fut + Send + 'static,
) -> (midge::Client, midge::Inbox, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/mqtt", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(tcp.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        tcp.write_all(answer(&request).as_bytes()).await.unwrap();
        script(tcp, request).await;
    });
    let (client, inbox) = midge::Client::builder(&url)
        .unwrap()
        .version(version)
        .client_id("c")
        .reconnect(midge::Reconnect::Never)
        .start()
        .unwrap();
    (client, inbox, server)
}

fn name(version: Version) -> &'static str {
    if version == V31 { "mqttv3.1" } else { "mqtt" }
}

/// The answer that agrees to an upgrade, with this sub-protocol, if any.
fn agreement(request: &str, protocol: Option<&str>) -> String {
    use base64::Engine;
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = sha1_smol::Sha1::from(text).digest();
    let accept = base64::prelude::BASE64_STANDARD.encode(digest.bytes());
    let protocol = protocol.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n"));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        protocol.unwrap_or_default()
    )
}

/// A frame of a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

/// Reads one short frame of a client: its first byte and its payload, unmasked.
async fn read_frame(tcp: &mut tokio::net::TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    tcp.read_exact(&mut head).await.unwrap();
    assert_eq!(head[1] & 0x80, 0x80, "a client masks what it sends");
    let mut payload = vec![0; usize::from(head[1] & 0x7F)];
    tcp.read_exact(&mut payload).await.unwrap();
    let mask = head[2..].iter().cycle();
    (head[0], payload.iter().zip(mask).map(|(byte, key)| byte ^ key).collect())
}

fn other_frames_than_binary_end_a_websocket(version: Version) {
    block_on(async {
        let agree = move |request: &str| agreement(request, Some(name(version)));
        let (client, mut inbox, server) = upgraded(version, agree, move |mut tcp, _| async move {
            let (first, connect) = read_frame(&mut tcp).await;
            assert_eq!((first, connect[0]), (0x82, 0x10), "binary, and a CONNECT");
            tcp.write_all(&frame(0x82, accepting(version))).await.unwrap();
            tcp.write_all(&frame(0x81, &publish(version, 0x30, "t", 0, b"bad"))).await.unwrap();
            let (first, close) = read_frame(&mut tcp).await;
            assert_eq!((first, &close[..2]), (0x88, &1003_u16.to_be_bytes()[..]));
        })
        .await;
        client.closed().await;
        assert!(inbox.next().await.is_none());
        server.await.unwrap();
    });
}

fn packets_and_frames_need_not_coincide(version: Version) {
    block_on(async {
        let agree = move |request: &str| agreement(request, Some(name(version)));
        let (client, mut inbox, server) = upgraded(version, agree, move |mut tcp, _| async move {
            read_frame(&mut tcp).await;
            let message = |payload: &[u8]| publish(version, 0x30, "t", 0, payload);
            // A byte in each frame, three packets in one, and a message in fragments with an empty
            // one and a ping between them.
            let mut frames: Vec<u8> =
                accepting(version).iter().flat_map(|byte| frame(0x82, &[*byte])).collect();
            frames.extend(frame(0x82, &[message(b"1"), message(b"2"), message(b"3")].concat()));
            let four = message(b"4");
            frames.extend(frame(0x02, &four[..1]));
            frames.extend(frame(0x00, b""));
            frames.extend(frame(0x89, b"ping"));
            frames.extend(frame(0x80, &four[1..]));
            tcp.write_all(&frames).await.unwrap();
            assert_eq!(read_frame(&mut tcp).await, (0x8A, b"ping".to_vec()));
        })
        .await;
        for n in ["1", "2", "3", "4"] {
            assert_eq!(inbox.next().await.unwrap().payload(), n);
        }
        server.await.unwrap();
        drop(client);
    });
}

fn a_websocket_offers_its_sub_protocol(version: Version) {
    block_on(async {
        let agree = move |request: &str| agreement(request, Some(name(version)));
        let (client, _inbox, server) =
            upgraded(version, agree, move |mut tcp, request| async move {
                let offered = format!("Sec-WebSocket-Protocol: {}", name(version));
                assert!(request.lines().any(|line| line == offered), "{request}");
                read_frame(&mut tcp).await;
                tcp.write_all(&frame(0x82, accepting(version))).await.unwrap();
                assert_eq!(read_frame(&mut tcp).await, (0x82, b"\xE0\0".to_vec()));
            })
            .await;
        client.connected().await.unwrap();
        drop(client);
        server.await.unwrap();
    });
}

fn a_websocket_of_another_sub_protocol_is_refused(version: Version) {
    for protocol in [None, Some("chat"), Some("")] {
        block_on(async {
            let agree = move |request: &str| agreement(request, protocol);
            let (client, _inbox, server) = upgraded(version, agree, |mut tcp, _| async move {
                let mut rest = Vec::new();
                let _ = tcp.read_to_end(&mut rest).await;
                assert!(rest.is_empty(), "no CONNECT is sent");
            })
            .await;
            let error = client.connected().await.unwrap_err();
            let ConnectError::Network(error) = error else { panic!("{error:?}") };
            assert!(error.to_string().contains(name(version)), "{error}");
            server.await.unwrap();
        });
    }
}
