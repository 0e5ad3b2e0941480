//! Silence, pings and packets that never become whole.

use crate::support::*;

fn config(seconds: u16) -> Config {
    let mut config = Config::new(V3);
    config.keep_alive = seconds;
    config
}

#[test]
fn a_silent_link_is_pinged_and_a_dead_peer_is_found() {
    let mut client = online(config(10), CK3);
    client.pass(9 * SECOND);
    assert!(client.output().is_empty());
    client.pass(SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    client.receive(&[0xD0, 0]);
    assert!(matches!(client.events.last(), Some(Event::Pong { .. })));
    client.pass(10 * SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    client.pass(5 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
    assert!(client.output().is_empty(), "the will is to be published");
}

#[test]
fn an_answer_counts_up_to_its_deadline_and_no_longer() {
    let pongs = |client: &Client| {
        client.events.iter().filter(|event| matches!(event, Event::Pong { .. })).count()
    };
    let mut client = online(config(10), CK3);
    client.pass(10 * SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    client.pass(5 * SECOND - Duration::from_nanos(1));
    client.receive(&[0xD0, 0]);
    assert_eq!((pongs(&client), client.end()), (1, None));
    client.pass(10 * SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    client.pass(5 * SECOND);
    client.receive(&[0xD0, 0]);
    assert_eq!((pongs(&client), client.end()), (1, Some(&End::PingTimeout)));
    assert!(client.output().is_empty());
    // On the next link it answers nothing either: that one has a ping of its own.
    client.disconnect();
    client.connect();
    client.output();
    client.receive(CK3);
    client.receive(&[0xD0, 0]);
    client.pass(10 * SECOND);
    assert_eq!((pongs(&client), client.output()), (1, vec![0xC0, 0]));
    client.receive(&[0xD0, 0]);
    client.pass(9 * SECOND);
    let ends = client.events.iter().filter(|event| matches!(event, Event::Closing(_))).count();
    assert_eq!((pongs(&client), ends), (2, 1));
}

#[test]
fn receiving_does_not_replace_sending() {
    let mut client = online(config(10), CK3);
    for _ in 0..10 {
        client.pass(SECOND);
        client.receive(&[0x30, 4, 0, 1, b't', b'x']);
    }
    assert_eq!(client.output(), [0xC0, 0]);
}

#[test]
fn an_unsolicited_pingresp_does_not_answer_the_next_ping() {
    let mut client = online(config(10), CK3);
    for _ in 0..1000 {
        client.receive(&[0xD0, 0]);
    }
    client.pass(10 * SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    client.pass(5 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
}

#[test]
fn the_broker_may_set_the_interval_or_turn_it_off() {
    let mut client = online(Config::new(V5), &connack5(0, &[0x13, 0, 3]));
    client.pass(3 * SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
    let mut client = online(Config::new(V5), &connack5(0, &[0x13, 0, 0]));
    client.pass(3600 * SECOND);
    assert!(client.output().is_empty());
    let mut client = online(config(0), CK3);
    client.pass(3600 * SECOND);
    assert!(client.output().is_empty() && client.end().is_none());
}

#[test]
fn a_packet_that_stops_half_way_is_given_up() {
    let mut client = online(config(0), CK3);
    client.receive(&[0x30, 10, 0]);
    client.pass(59 * SECOND);
    client.receive(&[1]);
    client.pass(SECOND);
    assert_eq!(client.end(), Some(&End::PacketTimeout));
}

#[test]
fn a_peer_that_is_not_read_is_not_late() {
    let mut client = online(config(10), CK3);
    client.receive(&[0x30, 10, 0]);
    client.session.set_reading(client.now, false);
    client.pass(300 * SECOND);
    assert!(client.end().is_none());
    assert!(client.output().len() > 2 * 20, "pings go on");
    client.session.set_reading(client.now, true);
    client.pass(5 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
}

#[test]
fn nothing_written_is_not_a_sign_of_life() {
    let mut client = online(config(10), CK3);
    client.pass(9 * SECOND);
    client.session.handle_written(client.now, 0);
    client.receive(&[0xD0, 0]);
    client.pass(SECOND);
    assert_eq!(client.output(), [0xC0, 0]);
}

#[test]
fn a_ping_behind_a_long_message_is_due_once_it_is_written() {
    let mut client = online(config(10), CK3);
    client.publish(1, 0, &vec![0; 1 << 20]);
    for _ in 0..60 {
        // A slow link that moves on: 10 KiB each second, and nothing to receive.
        client.take_output(10 << 10);
        client.pass(SECOND);
    }
    assert!(client.end().is_none(), "{:?}", client.end());
    client.output();
    client.pass(4 * SECOND);
    assert!(client.end().is_none());
    client.pass(SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
    // One that does not move is dead.
    let mut client = online(config(10), CK3);
    client.publish(1, 0, &vec![0; 1 << 20]);
    client.take_output(10 << 10);
    client.pass(15 * SECOND);
    assert_eq!(client.end(), Some(&End::PingTimeout));
}

#[test]
fn an_answer_that_is_not_read_is_not_late() {
    let mut client = online(config(0), CK3);
    client.session.subscribe(client.now, Ticket::new(1), filters(&["a"])).unwrap();
    client.output();
    client.session.set_reading(client.now, false);
    client.pass(100 * SECOND);
    client.session.set_reading(client.now, true);
    client.pass(29 * SECOND);
    assert_eq!(client.session.unfinished_count(), 1);
    client.pass(SECOND);
    assert_eq!(client.session.unfinished_count(), 0);
}

#[test]
fn saying_again_that_the_socket_is_read_changes_nothing() {
    let mut client = online(config(10), CK3);
    client.receive(&[0x30, 10, 0]);
    for _ in 0..60 {
        client.session.set_reading(client.now, true);
        client.pass(SECOND);
        client.output();
    }
    assert!(matches!(client.end(), Some(End::PingTimeout | End::PacketTimeout)));
}

#[test]
fn a_socket_that_was_not_read_before_connack_is_not_read_after_it() {
    let mut client = Client::new(config(10));
    client.connect();
    client.output();
    client.session.set_reading(client.now, false);
    client.receive(CK3); // What had been read before.
    client.pass(60 * SECOND);
    assert!(client.end().is_none());
    assert!(client.output().len() > 2 * 4, "pings go out");
}

#[test]
fn every_deadline_moves_when_it_is_met() {
    for seconds in [1, 2, 10, u16::MAX] {
        let mut client = online(config(seconds), CK3);
        client.session.subscribe(client.now, Ticket::new(1), filters(&["a"])).unwrap();
        for round in 0..1000 {
            let Some((due, _)) = client.session.poll_timeout() else { break };
            client.now = client.now.max(due);
            client.session.handle_timeout(client.now);
            let next = client.session.poll_timeout();
            assert!(next.is_none_or(|(next, _)| next > client.now), "{next:?} in round {round}");
            client.output();
            if round % 3 == 0 {
                client.receive(&[0xD0, 0]);
            }
        }
    }
}
