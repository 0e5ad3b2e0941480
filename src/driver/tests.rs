use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::codec::{PacketType, QoS, ReasonCode, TopicName, Version};
use crate::session::{Config, End, Message, Received, Ticket, Verdict};

const CONNACK: [u8; 4] = [0x20, 0x02, 0x00, 0x00];
const SECOND: Duration = Duration::from_secs(1);

/// A link over a pipe, with all that its owner would have.
struct Side {
    link: Link,
    session: Session,
    scratch: Scratch,
    owner: Owner,
    now: Instant,
}

#[derive(Default)]
struct Owner {
    /// What happened, in order.
    log: Vec<String>,
    messages: usize,
    full: bool,
    observes: bool,
    /// The store is not done with what it was told.
    storing: bool,
    end: Option<End>,
}

impl Inbox for Owner {
    fn message(&mut self, message: Received<'_>) -> Verdict {
        self.messages += 1;
        self.log.push(format!("message {}", message.publish.payload.len()));
        Verdict::Ack
    }
}

impl LinkInbox for Owner {
    fn event(&mut self, _: &mut Session, event: Event) {
        match event {
            Event::Connected(_) => self.log.push("connected".into()),
            Event::Published { ticket, .. } => self.log.push(format!("published {}", ticket.get())),
            Event::Closing(end) => self.end = Some(*end),
            other => self.log.push(format!("{other:?}")),
        }
    }

    fn idle(&mut self) {
        self.log.push("idle".into());
    }

    fn wants_input(&self) -> bool {
        !self.full
    }

    fn poll_stored(&mut self, _: &mut Context<'_>) -> bool {
        !self.storing
    }

    fn observes_packets(&self) -> bool {
        self.observes
    }

    fn packet(&mut self, direction: Direction, packet: &Packet<'_>, size: usize) {
        self.log.push(format!("{direction:?} {} {size}", packet.packet_type()));
    }
}

impl Side {
    fn new(version: Version, pipe: usize) -> (Side, DuplexStream) {
        Side::with(Config::new(version), pipe)
    }

    fn with(config: Config, pipe: usize) -> (Side, DuplexStream) {
        let (ours, theirs) = duplex(pipe);
        let now = Instant::now();
        let mut session = Session::new(Arc::new(config), "c", 0);
        session.handle_connected(now);
        let link = Link::new(Stream::from_io(ours));
        let (scratch, owner) = (Scratch::new(), Owner::default());
        (Side { link, session, scratch, owner, now }, theirs)
    }

    /// A side that the broker has accepted.
    async fn accepted(version: Version, pipe: usize) -> (Side, DuplexStream) {
        let (mut side, mut peer) = Side::new(version, pipe);
        side.step();
        assert_eq!(read_some(&mut peer).await[0], 0x10);
        let connack: &[u8] =
            if version == Version::V5 { &[0x20, 0x03, 0x00, 0x00, 0x00] } else { &CONNACK };
        peer.write_all(connack).await.unwrap();
        side.step();
        assert!(side.session.is_connected());
        side.owner.log.clear();
        (side, peer)
    }

    /// Polls once.
    fn poll(&mut self) -> Poll<LinkEnd> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Side { link, session, scratch, owner, now } = self;
        link.poll(&mut cx, *now, session, scratch, owner)
    }

    /// Polls once and goes on.
    fn step(&mut self) {
        assert!(self.poll().is_pending(), "the link ended");
    }

    /// Polls once, at the end.
    fn end(&mut self) -> LinkEnd {
        match self.poll() {
            Poll::Ready(end) => end,
            Poll::Pending => panic!("the link goes on"),
        }
    }

    fn publish(&mut self, ticket: u64, payload: Vec<u8>) {
        let topic = TopicName::try_from("t").unwrap();
        self.session.publish(self.now, Ticket::new(ticket), Message::new(topic, payload)).unwrap();
    }
}

/// Runs a test in which everything happens at once: Tokio's budget would stop a pipe after a while.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(tokio::task::unconstrained(test));
}

/// A PUBLISH of QoS 0 or 1 to `t`.
fn publish(qos: QoS, payload: usize) -> Vec<u8> {
    let publish = codec::Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id: (qos != QoS::AtMostOnce).then(|| codec::PacketId::new(7).unwrap()),
        properties: Default::default(),
        payload: &vec![b'x'; payload],
    };
    let mut bytes = Vec::new();
    publish.encode(Version::V311, &mut bytes).unwrap();
    bytes
}

async fn read_some(peer: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let length = peer.read(&mut bytes).await.unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn an_idle_link_holds_no_buffer() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
        peer.write_all(&publish(QoS::AtLeastOnce, 100_000)).await.unwrap();
        side.step();
        side.step();
        assert_eq!(side.owner.messages, 1);
        assert_eq!(read_some(&mut peer).await, [0x40, 0x02, 0x00, 0x07]);
        assert!(side.link.kept.is_none());
        assert!(!side.link.has_unsent());
        assert_eq!(side.link.poll_timeout(), None);
    });
}

#[test]
fn packets_are_found_however_the_bytes_arrive() {
    run(async {
        let sizes = [0, 1, 5, HEADROOM - 6, HEADROOM, 3 * HEADROOM, 200_000, 2];
        let stream: Vec<u8> =
            sizes.iter().flat_map(|&size| publish(QoS::AtMostOnce, size)).collect();
        let expected: Vec<_> = sizes.iter().map(|size| format!("message {size}")).collect();
        for chunk in [1, 3, 1000, HEADROOM, READ_BYTES, 150_001, stream.len()] {
            let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
            for bytes in stream.chunks(chunk) {
                peer.write_all(bytes).await.unwrap();
                side.step();
            }
            side.owner.log.retain(|entry| entry != "idle");
            assert_eq!(side.owner.log, expected, "in chunks of {chunk}");
            assert!(side.link.kept.is_none());
        }
    });
}

#[test]
fn what_the_kernel_refuses_is_kept_and_sent_in_order() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 1000).await;
        let mut expected = Vec::new();
        for (ticket, size) in [10, 30_000, 20, 70_000, 1].into_iter().enumerate() {
            side.publish(ticket as u64 + 1, vec![b'x'; size]);
            expected.extend(publish(QoS::AtMostOnce, size));
        }
        side.step();
        assert!(side.link.has_unsent());
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            seen.extend(read_some(&mut peer).await);
            side.step();
        }
        assert!(seen == expected);
        assert!(!side.link.has_unsent());
        let published: Vec<_> = (1..=5).map(|ticket| format!("published {ticket}")).collect();
        assert_eq!(side.owner.log, published);
    });
}

#[test]
fn small_output_leaves_in_one_write() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
        for ticket in 1..=100 {
            side.publish(ticket, vec![b'x'; 64]);
        }
        side.step();
        assert_eq!(read_some(&mut peer).await.len(), 100 * publish(QoS::AtMostOnce, 64).len());
    });
}

#[test]
fn one_poll_does_a_bounded_amount_of_work() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
        let packet = publish(QoS::AtMostOnce, 1000);
        let total = (1 << 20) / packet.len();
        for _ in 0..total {
            peer.write_all(&packet).await.unwrap();
        }
        side.step();
        assert!(side.owner.messages < total);
        assert!(!side.owner.log.contains(&"idle".into()));
        for _ in 0..4 {
            side.step();
        }
        assert_eq!(side.owner.messages, total);
        assert_eq!(side.owner.log.iter().filter(|entry| *entry == "idle").count(), 1);
    });
}

#[test]
fn a_full_owner_is_left_alone_and_pings_go_on() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
        side.owner.full = true;
        peer.write_all(&publish(QoS::AtMostOnce, 10)).await.unwrap();
        side.step();
        for _ in 0..10 {
            side.now += 60 * SECOND;
            side.session.handle_timeout(side.now);
            side.step();
            assert_eq!(read_some(&mut peer).await, [0xC0, 0x00]);
        }
        assert_eq!(side.owner.messages, 0);
        side.owner.full = false;
        side.step();
        assert_eq!(side.owner.messages, 1);
        assert_eq!(side.owner.end, None);
    });
}

#[test]
fn a_peer_that_never_reads_cannot_fill_the_memory() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 4096).await;
        let packet = publish(QoS::AtLeastOnce, 0);
        let (mut sent, mut stalled) = (0, 0);
        while stalled < 10 {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let rest = &packet[sent % packet.len()..];
            match Pin::new(&mut peer).poll_write(&mut cx, rest) {
                Poll::Ready(written) => {
                    sent += written.unwrap();
                    stalled = 0;
                }
                Poll::Pending => stalled += 1,
            }
            side.step();
        }
        assert!(sent > MAX_UNSENT_CONTROL);
        assert!(side.session.unsent_control_bytes() <= MAX_UNSENT_CONTROL + READ_BYTES);
    });
}

#[test]
fn the_last_packets_are_written_before_the_end() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V5, 1 << 20).await;
        side.session.disconnect(side.now, ReasonCode::SUCCESS, Default::default()).unwrap();
        side.step();
        assert_eq!(side.owner.end, Some(End::Requested));
        assert_eq!(read_some(&mut peer).await, [0xE0, 0x00]);
        assert!(read_some(&mut peer).await.is_empty(), "FIN follows");
        peer.write_all(&publish(QoS::AtMostOnce, 10)).await.unwrap();
        side.step();
        drop(peer);
        assert!(matches!(side.end(), LinkEnd::Closed));
        assert_eq!(side.owner.messages, 0);
    });
}

#[test]
fn a_peer_that_does_not_close_is_left() {
    run(async {
        let (mut side, _peer) = Side::accepted(Version::V5, 1 << 20).await;
        side.session.disconnect(side.now, ReasonCode::SUCCESS, Default::default()).unwrap();
        side.step();
        side.now = side.link.poll_timeout().unwrap();
        assert!(matches!(side.end(), LinkEnd::Closed));
    });
}

#[test]
fn a_peer_that_floods_and_does_not_read_is_left() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V311, 64).await;
        side.publish(1, vec![b'x'; 1000]);
        side.step();
        side.session.disconnect(side.now, ReasonCode::SUCCESS, Default::default()).unwrap();
        side.step();
        side.now = side.link.poll_timeout().unwrap();
        peer.write_all(&publish(QoS::AtMostOnce, 10)).await.unwrap();
        let LinkEnd::Failed(error) = side.end() else { panic!("the link did not fail") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_cut_is_told_with_what_was_left() {
    run(async {
        for cut in 0..12 {
            let (mut side, mut peer) = Side::accepted(Version::V311, 1 << 20).await;
            peer.write_all(&publish(QoS::AtMostOnce, 10)[..cut]).await.unwrap();
            drop(peer);
            let LinkEnd::ClosedByPeer { partial_bytes } = side.end() else {
                panic!("cut at {cut}")
            };
            assert_eq!(partial_bytes, cut);
            assert_eq!(side.owner.messages, 0);
        }
    });
}

#[test]
fn nothing_is_handed_over_after_a_breach() {
    run(async {
        let (mut side, mut peer) = Side::accepted(Version::V5, 1 << 20).await;
        let mut bytes = vec![0x00, 0x00];
        bytes.extend(publish(QoS::AtMostOnce, 10));
        peer.write_all(&bytes).await.unwrap();
        side.step();
        let Some(End::Protocol(error)) = side.owner.end.clone() else { panic!("no breach") };
        assert_eq!(error.reason, ReasonCode::MALFORMED_PACKET);
        assert_eq!(read_some(&mut peer).await, [0xE0, 0x01, 0x81]);
        assert_eq!(side.owner.messages, 0);
    });
}

#[test]
fn packets_are_shown_before_they_are_handled() {
    run(async {
        let (mut side, mut peer) = Side::new(Version::V311, 1 << 20);
        side.owner.observes = true;
        side.step();
        let connect = read_some(&mut peer).await.len();
        let mut bytes = CONNACK.to_vec();
        bytes.extend(publish(QoS::AtLeastOnce, 3));
        bytes.extend(publish(QoS::AtMostOnce, 100_000));
        peer.write_all(&bytes).await.unwrap();
        side.publish(1, vec![b'x'; 20_000]);
        side.step();
        let publish = PacketType::Publish;
        let expected = [
            format!("Sent CONNECT {connect}"),
            "Received CONNACK 4".into(),
            "connected".into(),
            format!("Received {publish} 10"),
            "message 3".into(),
            "Sent PUBACK 4".into(),
            format!("Sent {publish} 20007"),
            "published 1".into(),
            format!("Received {publish} 100007"),
            "message 100000".into(),
            "idle".into(),
        ];
        assert_eq!(side.owner.log, expected);
    });
}

/// Whether nothing has been written to the peer.
async fn nothing_came(peer: &mut DuplexStream) -> bool {
    tokio::time::timeout(Duration::ZERO, peer.read_u8()).await.is_err()
}

#[tokio::test]
async fn nothing_is_written_before_the_changes_that_it_makes_are_stored() {
    let mut config = Config::new(Version::V311);
    config.durable = true;
    let (mut side, mut peer) = Side::with(config, 1 << 16);
    side.step();
    read_some(&mut peer).await;
    peer.write_all(&CONNACK).await.unwrap();
    side.step();
    side.owner.log.clear();

    let mut message = Message::new(TopicName::try_from("t").unwrap(), "x");
    message.qos = QoS::ExactlyOnce;
    side.session.publish(side.now, Ticket::new(1), message).unwrap();
    side.owner.storing = true;
    side.step();
    assert!(side.owner.log.concat().contains("Store(Sent"), "{:?}", side.owner.log);
    assert!(nothing_came(&mut peer).await);
    side.step();
    assert!(nothing_came(&mut peer).await);
    side.owner.storing = false;
    side.step();
    assert_eq!(read_some(&mut peer).await, b"\x34\x06\x00\x01t\x00\x01x");

    // What is read meanwhile is dealt with, and its answer waits.
    side.owner.storing = true;
    peer.write_all(&[0x50, 2, 0, 1]).await.unwrap();
    side.step();
    assert!(side.owner.log.concat().contains("Store(Released"), "{:?}", side.owner.log);
    assert!(nothing_came(&mut peer).await);
    side.owner.storing = false;
    side.step();
    assert_eq!(read_some(&mut peer).await, [0x62, 2, 0, 1]);
}
