//! AUTH and enhanced authentication (§3.15, §4.12).

use crate::kit::*;

tests! {
    [] ["4.12.0-6"] authentication_that_was_not_asked_for_is_refused,
    [] ["4.12.0-7"] without_a_method_there_is_no_auth,
    [] ["3.15.1-1"] auth_has_no_flags,
}

fn authentication_that_was_not_asked_for_is_refused(version: Version) {
    for row in ["F0 00", "F0 02 18 00", "F0 06 18 04 15 0001 'm'"] {
        breach(version, row, 0x82);
        breach_in(version, || connecting(Config::new(version)), &bytes(row), 0x82);
    }
    let connack = connack5(0, b"\x15\0\x01m");
    breach_in(version, || connecting(Config::new(version)), &connack, 0x82);
}

fn without_a_method_there_is_no_auth(version: Version) {
    let data = property(Property::AuthenticationMethod, PropertyValue::Utf8("m"))
        .with(Property::AuthenticationData, PropertyValue::Binary(b"d"))
        .unwrap();
    let config = Config { connect_properties: data, ..Config::new(version) };
    assert!(config.check("c").is_err(), "not by the back door");
}

fn auth_has_no_flags(version: Version) {
    for flags in 1..16 {
        breach_in(version, || connected(version), &[0xF0 | flags, 0], 0x81);
    }
}
