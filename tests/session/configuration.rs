//! What a configuration may not ask for.

use bytes::Bytes;

use crate::support::*;

#[test]
fn the_configuration_refuses_what_cannot_be_sent() {
    let check = |change: fn(&mut Config), version, id: &str| {
        let mut config = Config::new(version);
        change(&mut config);
        config.check(id).is_ok()
    };
    assert!(check(|_| {}, V3, ""));
    assert!(!check(|c| c.clean_start = false, V3, ""), "[MQTT-3.1.3-7]");
    assert!(check(|c| c.clean_start = false, V5, ""));
    assert!(!check(|c| c.password = Some(b"x"[..].into()), V3, "c"), "[MQTT-3.1.2-22]");
    assert!(check(|c| c.password = Some(b"x"[..].into()), V5, "c"));
    assert!(!check(|c| c.username = Some("a\0b".into()), V3, "c"));
    assert!(!check(|c| c.username = Some("x".repeat(65_536).into()), V3, "c"));
    assert!(!check(|c| c.session_expiry = 1, V3, "c"));
    assert!(!check(|c| c.receive_maximum = 0, V5, "c"));
    assert!(!check(|c| c.maximum_packet_size = 0, V5, "c"));
    let will = |length| {
        let payload = Bytes::from(vec![0; length]);
        let mut config = Config::new(V3);
        config.will = Some(midge::session::Will::new("w", payload).unwrap());
        config.check("c").is_ok()
    };
    assert!(will(65_535) && !will(65_536));
    assert_eq!(format!("{:?}", midge::session::Secret::from(&b"secret"[..])), "[6 bytes]");
}
