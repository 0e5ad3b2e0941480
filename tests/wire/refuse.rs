//! Packets that must be refused, each with the reason to disconnect with and the clause it breaks.

use midge::codec::{Role, Version};

use crate::support::*;

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;
const VERSION: u8 = 0x84;
const CLIENT_ID: u8 = 0x85;
const ALIAS: u8 = 0x94;

type Refuse = (&'static str, &'static [Version], Role, &'static str, u8, &'static str);

const FRAMES: &[Refuse] = &[
    ("type 0", ALL, Client, "00 00", MALFORMED, "§2.1.2"),
    ("type 15 before 5.0", V3, Client, "F0 00", MALFORMED, "§2.1.2"),
    (
        "CONNECT to a client",
        ALL,
        Client,
        "10 0D 0004 4D515454 04 02 003C 0001 61",
        PROTOCOL,
        "§2.1.2",
    ),
    ("SUBSCRIBE to a client", V3, Client, "82 06 0001 0001 61 00", PROTOCOL, "§2.1.2"),
    ("UNSUBSCRIBE to a client", V3, Client, "A2 05 0001 0001 61", PROTOCOL, "§2.1.2"),
    ("PINGREQ to a client", ALL, Client, "C0 00", PROTOCOL, "§2.1.2"),
    ("DISCONNECT to a client before 5.0", V3, Client, "E0 00", PROTOCOL, "§2.1.2"),
    ("CONNACK to a server", V3, Server, "20 02 00 00", PROTOCOL, "§2.1.2"),
    ("SUBACK to a server", V3, Server, "90 03 0001 00", PROTOCOL, "§2.1.2"),
    ("UNSUBACK to a server", V3, Server, "B0 02 0001", PROTOCOL, "§2.1.2"),
    ("PINGRESP to a server", ALL, Server, "D0 00", PROTOCOL, "§2.1.2"),
    ("PINGRESP with a body", ALL, Client, "D0 01 00", MALFORMED, "§2.1.4"),
    ("PINGREQ with a body", ALL, Server, "C0 01 00", MALFORMED, "§2.1.4"),
];

const CONNECTS: &[Refuse] = &[
    ("no body", ALL, Server, "10 00", MALFORMED, "§2.1.4"),
    (
        "unknown name",
        ALL,
        Server,
        "10 0D 0004 4D515455 04 02 003C 0001 61",
        VERSION,
        "MQTT-3.1.2-1",
    ),
    ("level 6", ALL, Server, "10 0E 0004 4D515454 06 02 003C 00 0001 61", VERSION, "MQTT-3.1.2-2"),
    (
        "level 3 of the new name",
        ALL,
        Server,
        "10 0D 0004 4D515454 03 02 003C 0001 61",
        VERSION,
        "MQTT-3.1.2-2",
    ),
    (
        "level 4 of the old name",
        ALL,
        Server,
        "10 0F 0006 4D5149736470 04 02 003C 0001 61",
        VERSION,
        "MQTT-3.1.2-2",
    ),
    (
        "reserved bit",
        ALL,
        Server,
        "10 0D 0004 4D515454 04 03 003C 0001 61",
        MALFORMED,
        "MQTT-3.1.2-3",
    ),
    (
        "will QoS without will",
        ALL,
        Server,
        "10 0D 0004 4D515454 04 0A 003C 0001 61",
        MALFORMED,
        "MQTT-3.1.2-11",
    ),
    (
        "will retain without will",
        ALL,
        Server,
        "10 0D 0004 4D515454 04 22 003C 0001 61",
        MALFORMED,
        "MQTT-3.1.2-11",
    ),
    (
        "will QoS 3",
        ALL,
        Server,
        "10 13 0004 4D515454 04 1E 003C 0001 61 0001 77 0001 78",
        MALFORMED,
        "MQTT-3.1.2-12",
    ),
    (
        "password alone in 3.1.1",
        ALL,
        Server,
        "10 10 0004 4D515454 04 42 003C 0001 61 0001 70",
        MALFORMED,
        "3.1.1 MQTT-3.1.2-22",
    ),
    (
        "empty client identifier in 3.1",
        ALL,
        Server,
        "10 0E 0006 4D5149736470 03 02 003C 0000",
        CLIENT_ID,
        "3.1.1 MQTT-3.1.3-7",
    ),
    (
        "empty client identifier that keeps its session in 3.1.1",
        ALL,
        Server,
        "10 0C 0004 4D515454 04 00 003C 0000",
        CLIENT_ID,
        "3.1.1 MQTT-3.1.3-7",
    ),
    (
        "will topic with a wildcard",
        ALL,
        Server,
        "10 13 0004 4D515454 04 06 003C 0001 61 0001 23 0001 78",
        MALFORMED,
        "MQTT-3.3.2-2",
    ),
    (
        "empty will topic",
        ALL,
        Server,
        "10 12 0004 4D515454 04 06 003C 0001 61 0000 0001 78",
        PROTOCOL,
        "MQTT-4.7.3-1",
    ),
    (
        "missing password",
        ALL,
        Server,
        "10 10 0004 4D515454 04 C2 003C 0001 61 0001 75",
        MALFORMED,
        "§2.1.4",
    ),
    (
        "bytes at the end",
        ALL,
        Server,
        "10 0E 0004 4D515454 04 02 003C 0001 61 00",
        MALFORMED,
        "§2.1.4",
    ),
    (
        "U+0000 in the client identifier",
        ALL,
        Server,
        "10 0D 0004 4D515454 04 02 003C 0001 00",
        MALFORMED,
        "MQTT-1.5.4-2",
    ),
    (
        "U+0000 in the overlong form of 3.1",
        ALL,
        Server,
        "10 10 0006 4D5149736470 03 02 003C 0002 C080",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
];

const CONNACKS: &[Refuse] = &[
    ("no body", ALL, Client, "20 00", MALFORMED, "§2.1.4"),
    ("flags alone", ALL, Client, "20 01 00", MALFORMED, "§2.1.4"),
    ("reserved flag", ONLY_311, Client, "20 02 02 00", MALFORMED, "§3.2.2.1"),
    ("reserved flags", ONLY_5, Client, "20 03 FE 00 00", MALFORMED, "§3.2.2.1"),
    ("bytes at the end", V3, Client, "20 03 00 00 00", MALFORMED, "§2.1.4"),
    ("bytes at the end in 5.0", ONLY_5, Client, "20 04 00 00 00 00", MALFORMED, "§2.1.4"),
    ("return code 6", V3, Client, "20 02 00 06", PROTOCOL, "MQTT-3.2.2-8"),
    ("return code 255", V3, Client, "20 02 00 FF", PROTOCOL, "MQTT-3.2.2-8"),
    ("no property length", ONLY_5, Client, "20 02 00 00", MALFORMED, "§2.1.4"),
    ("no property length in a refusal", ONLY_5, Client, "20 02 00 87", MALFORMED, "§2.1.4"),
    ("reason 1 of 5.0", ONLY_5, Client, "20 03 00 01 00", PROTOCOL, "§2.4"),
    ("receive maximum 0", ONLY_5, Client, "20 06 00 00 03 21 0000", PROTOCOL, "§3.1.2.11.3"),
    (
        "maximum packet size 0",
        ONLY_5,
        Client,
        "20 08 00 00 05 27 00000000",
        PROTOCOL,
        "§3.1.2.11.4",
    ),
    ("maximum QoS 2", ONLY_5, Client, "20 05 00 00 02 24 02", PROTOCOL, "MQTT-3.2.2-11"),
    ("retain available 2", ONLY_5, Client, "20 05 00 00 02 25 02", PROTOCOL, "§2.2.2.2"),
    (
        "wildcard subscription available 2",
        ONLY_5,
        Client,
        "20 05 00 00 02 28 02",
        PROTOCOL,
        "§2.2.2.2",
    ),
    (
        "subscription identifier available 2",
        ONLY_5,
        Client,
        "20 05 00 00 02 29 02",
        PROTOCOL,
        "§2.2.2.2",
    ),
    (
        "shared subscription available FF",
        ONLY_5,
        Client,
        "20 05 00 00 02 2A FF",
        PROTOCOL,
        "§2.2.2.2",
    ),
    (
        "authentication data without method",
        ONLY_5,
        Client,
        "20 06 00 00 03 16 0000",
        PROTOCOL,
        "§3.1.2.11.10",
    ),
];

const PUBLISHES: &[Refuse] = &[
    ("QoS 3", ALL, Client, "36 05 0001 61 0001", MALFORMED, "MQTT-3.3.1-4"),
    ("QoS 3, again", ALL, Client, "3E 05 0001 61 0001", MALFORMED, "MQTT-3.3.1-4"),
    ("DUP at QoS 0", ALL, Client, "38 04 0001 61 00", MALFORMED, "MQTT-3.3.1-2"),
    ("topic of 65535 bytes in a body of 3", ALL, Client, "30 03 FFFF 61", MALFORMED, "§2.1.4"),
    ("no body", ALL, Client, "30 00", MALFORMED, "§2.1.4"),
    ("half a topic length", ALL, Client, "30 01 00", MALFORMED, "§2.1.4"),
    ("empty topic", V3, Client, "30 02 0000", PROTOCOL, "MQTT-4.7.3-1"),
    ("empty topic without alias", ONLY_5, Client, "30 03 0000 00", PROTOCOL, "MQTT-4.7.3-1"),
    ("topic with #", V3, Client, "30 05 0003 612F23", MALFORMED, "MQTT-3.3.2-2"),
    ("topic with + in a level", V3, Client, "30 05 0003 612B62", MALFORMED, "MQTT-3.3.2-2"),
    (
        "topic with # and an alias",
        ONLY_5,
        Client,
        "30 07 0001 23 03 23 0001",
        MALFORMED,
        "MQTT-3.3.2-2",
    ),
    ("U+0000 in the topic", ALL, Client, "30 06 0003 610062 00", MALFORMED, "MQTT-1.5.4-2"),
    ("surrogate in the topic", ALL, Client, "30 06 0003 EDA080 00", MALFORMED, "MQTT-1.5.4-1"),
    ("overlong form in the topic", ALL, Client, "30 05 0002 C0AF 00", MALFORMED, "MQTT-1.5.4-1"),
    (
        "above U+10FFFF in the topic",
        ALL,
        Client,
        "30 07 0004 F5808080 00",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    ("stray continuation in the topic", ALL, Client, "30 04 0001 80 00", MALFORMED, "MQTT-1.5.4-1"),
    ("cut character in the topic", ALL, Client, "30 05 0002 E282 00", MALFORMED, "MQTT-1.5.4-1"),
    ("packet identifier 0", ALL, Client, "32 06 0001 61 0000 00", MALFORMED, "MQTT-2.2.1-3"),
    ("cut packet identifier", ALL, Client, "32 04 0001 61 00", MALFORMED, "§2.1.4"),
    ("no property length", ONLY_5, Client, "30 03 0001 61", MALFORMED, "§2.1.4"),
    ("property length past the end", ONLY_5, Client, "30 05 0001 61 02 01", MALFORMED, "§2.1.4"),
    (
        "property past the property length",
        ONLY_5,
        Client,
        "30 06 0001 61 01 01 00",
        MALFORMED,
        "§2.1.4",
    ),
    ("alias 0", ONLY_5, Client, "30 07 0001 61 03 23 0000", ALIAS, "MQTT-3.3.2-8"),
    ("alias 0 and empty topic", ONLY_5, Client, "30 06 0000 03 23 0000", ALIAS, "MQTT-3.3.2-8"),
    ("subscription identifier 0", ONLY_5, Client, "30 06 0001 61 02 0B 00", PROTOCOL, "§3.8.2.1.2"),
    (
        "subscription identifier from a client",
        ONLY_5,
        Server,
        "30 06 0001 61 02 0B 01",
        PROTOCOL,
        "MQTT-3.3.4-6",
    ),
    ("payload format indicator 2", ONLY_5, Client, "30 06 0001 61 02 01 02", PROTOCOL, "§2.2.2.2"),
    (
        "response topic with a wildcard",
        ONLY_5,
        Client,
        "30 0A 0001 61 06 08 0003 612F23",
        PROTOCOL,
        "MQTT-3.3.2-14",
    ),
    ("empty response topic", ONLY_5, Client, "30 07 0001 61 03 08 0000", PROTOCOL, "MQTT-3.3.2-14"),
    ("unknown property", ONLY_5, Client, "30 06 0001 61 02 04 00", MALFORMED, "§2.2.2.2"),
    (
        "property identifier of two bytes",
        ONLY_5,
        Client,
        "30 07 0001 61 03 8100 01",
        MALFORMED,
        "§2.2.2.2",
    ),
    (
        "bad UTF-8 in the content type",
        ONLY_5,
        Client,
        "30 08 0001 61 04 03 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the response topic",
        ONLY_5,
        Client,
        "30 08 0001 61 04 08 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the name of a user property",
        ONLY_5,
        Client,
        "30 0B 0001 61 07 26 0001 FF 0001 61",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the value of a user property",
        ONLY_5,
        Client,
        "30 0B 0001 61 07 26 0001 61 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "U+0000 in the value of a user property",
        ONLY_5,
        Client,
        "30 0B 0001 61 07 26 0001 61 0001 00",
        MALFORMED,
        "MQTT-1.5.4-2",
    ),
    (
        "property length longer than it need be",
        ONLY_5,
        Client,
        "30 05 0001 61 8000",
        MALFORMED,
        "MQTT-1.5.5-1",
    ),
    (
        "subscription identifier longer than it need be",
        ONLY_5,
        Client,
        "30 07 0001 61 03 0B 8100",
        MALFORMED,
        "MQTT-1.5.5-1",
    ),
];

const TEXTS: &[Refuse] = &[
    (
        "bad UTF-8 in the assigned client identifier",
        ONLY_5,
        Client,
        "20 07 00 00 04 12 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the authentication method",
        ONLY_5,
        Client,
        "20 07 00 00 04 15 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the response information",
        ONLY_5,
        Client,
        "20 07 00 00 04 1A 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the server reference",
        ONLY_5,
        Client,
        "20 07 00 9D 04 1C 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the reason string of a SUBACK",
        ONLY_5,
        Client,
        "90 08 0001 04 1F 0001 FF 00",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the reason string of a PUBACK",
        ONLY_5,
        Client,
        "40 08 0001 00 04 1F 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in the user name",
        ALL,
        Server,
        "10 10 0004 4D515454 04 82 003C 0001 61 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in a topic filter to subscribe",
        V3,
        Server,
        "82 06 0001 0001 FF 00",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
    (
        "bad UTF-8 in a topic filter to unsubscribe",
        V3,
        Server,
        "A2 05 0001 0001 FF",
        MALFORMED,
        "MQTT-1.5.4-1",
    ),
];

const ACKS: &[Refuse] = &[
    ("PUBACK of one byte", ALL, Client, "40 01 00", MALFORMED, "§2.1.4"),
    ("PUBACK of three bytes", V3, Client, "40 03 0001 00", MALFORMED, "§2.1.4"),
    ("PUBACK of zero", ALL, Client, "40 02 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("PUBREC of zero", ALL, Client, "50 02 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("PUBREL of zero", ALL, Client, "62 02 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("PUBCOMP of zero", ALL, Client, "70 02 0000", MALFORMED, "MQTT-2.2.1-3"),
    ("PUBREL without its flags", ALL, Client, "60 02 0001", MALFORMED, "MQTT-2.1.3-1"),
    ("PUBREL, again, after 3.1", FROM_311, Client, "6A 02 0001", MALFORMED, "MQTT-2.1.3-1"),
    ("PUBACK with bytes at the end", ONLY_5, Client, "40 05 0001 00 00 00", MALFORMED, "§2.1.4"),
    ("PUBACK with the reason of a PUBREL", ONLY_5, Client, "40 03 0001 92", PROTOCOL, "§2.4"),
    ("PUBREL with the reason of a PUBREC", ONLY_5, Client, "62 03 0001 80", PROTOCOL, "§2.4"),
    ("PUBACK with an alias", ONLY_5, Client, "40 07 0001 00 03 23 0001", PROTOCOL, "§2.2.2.2"),
];

const SUBSCRIPTIONS: &[Refuse] = &[
    ("SUBSCRIBE without filter", V3, Server, "82 02 0001", PROTOCOL, "MQTT-3.8.3-2"),
    ("SUBSCRIBE without filter in 5.0", ONLY_5, Server, "82 03 0001 00", PROTOCOL, "MQTT-3.8.3-2"),
    ("SUBSCRIBE without options", V3, Server, "82 05 0001 0001 61", MALFORMED, "§2.1.4"),
    ("SUBSCRIBE with QoS 3", V3, Server, "82 06 0001 0001 61 03", PROTOCOL, "§3.8.3.1"),
    (
        "SUBSCRIBE of 3.x with options of 5.0",
        V3,
        Server,
        "82 06 0001 0001 61 04",
        MALFORMED,
        "MQTT-3.8.3-5",
    ),
    (
        "SUBSCRIBE with reserved bits",
        ONLY_5,
        Server,
        "82 07 0001 00 0001 61 40",
        MALFORMED,
        "MQTT-3.8.3-5",
    ),
    (
        "SUBSCRIBE with retain handling 3",
        ONLY_5,
        Server,
        "82 07 0001 00 0001 61 30",
        PROTOCOL,
        "§3.8.3.1",
    ),
    (
        "SUBSCRIBE with no-local on a share",
        ONLY_5,
        Server,
        "82 10 0001 00 000A 2473686172652F672F61 04",
        PROTOCOL,
        "MQTT-3.8.3-4",
    ),
    (
        "SUBSCRIBE with packet identifier 0",
        ALL,
        Server,
        "82 06 0000 0001 61 00",
        MALFORMED,
        "MQTT-2.2.1-3",
    ),
    (
        "SUBSCRIBE with subscription identifier 0",
        ONLY_5,
        Server,
        "82 09 0001 02 0B 00 0001 61 00",
        PROTOCOL,
        "§3.8.2.1.2",
    ),
    (
        "SUBSCRIBE with two subscription identifiers",
        ONLY_5,
        Server,
        "82 0B 0001 04 0B 01 0B 02 0001 61 00",
        PROTOCOL,
        "§2.2.2.2",
    ),
    ("SUBSCRIBE to nothing", V3, Server, "82 05 0001 0000 00", PROTOCOL, "MQTT-4.7.3-1"),
    ("SUBSCRIBE to a#", V3, Server, "82 07 0001 0002 6123 00", MALFORMED, "MQTT-4.7.1-1"),
    ("SUBSCRIBE to a+", V3, Server, "82 07 0001 0002 612B 00", MALFORMED, "MQTT-4.7.1-2"),
    (
        "SUBSCRIBE to a share without name",
        ONLY_5,
        Server,
        "82 0F 0001 00 0009 2473686172652F2F61 00",
        MALFORMED,
        "MQTT-4.8.2-1",
    ),
    (
        "SUBSCRIBE without its flags",
        ALL,
        Server,
        "80 06 0001 0001 61 00",
        MALFORMED,
        "MQTT-2.1.3-1",
    ),
    (
        "SUBSCRIBE, again, after 3.1",
        FROM_311,
        Server,
        "8A 06 0001 0001 61 00",
        MALFORMED,
        "MQTT-2.1.3-1",
    ),
    (
        "UNSUBSCRIBE, again, after 3.1",
        FROM_311,
        Server,
        "AA 05 0001 0001 61",
        MALFORMED,
        "MQTT-2.1.3-1",
    ),
    ("SUBACK without code", V3, Client, "90 02 0001", PROTOCOL, "MQTT-3.8.4-6"),
    ("SUBACK without code in 5.0", ONLY_5, Client, "90 03 0001 00", PROTOCOL, "MQTT-3.8.4-6"),
    ("SUBACK with code 3", ALL, Client, "90 04 0001 00 03", PROTOCOL, "§2.4"),
    ("SUBACK with code 7F", V3, Client, "90 03 0001 7F", PROTOCOL, "§2.4"),
    ("SUBACK of 3.x with a reason of 5.0", V3, Client, "90 03 0001 87", PROTOCOL, "§2.4"),
    ("UNSUBSCRIBE without filter", V3, Server, "A2 02 0001", PROTOCOL, "MQTT-3.10.3-2"),
    ("UNSUBACK of 3.x with codes", V3, Client, "B0 03 0001 00", MALFORMED, "§2.1.4"),
    ("UNSUBACK of 5.0 without codes", ONLY_5, Client, "B0 03 0001 00", PROTOCOL, "MQTT-3.11.3-1"),
];

const ENDS: &[Refuse] = &[
    ("DISCONNECT with flags", ALL, Server, "E1 00", MALFORMED, "MQTT-2.1.3-1"),
    ("DISCONNECT of 3.x with a body", V3, Server, "E0 01 00", MALFORMED, "§2.1.4"),
    ("DISCONNECT with the will from a server", ONLY_5, Client, "E0 01 04", PROTOCOL, "§2.4"),
    ("DISCONNECT of a server's reason from a client", ONLY_5, Server, "E0 01 8B", PROTOCOL, "§2.4"),
    (
        "DISCONNECT with a session expiry from a server",
        ONLY_5,
        Client,
        "E0 07 00 05 11 00000000",
        PROTOCOL,
        "MQTT-3.14.2-2",
    ),
    ("DISCONNECT with bytes at the end", ONLY_5, Client, "E0 03 00 00 00", MALFORMED, "§2.1.4"),
    ("AUTH with flags", ONLY_5, Client, "F1 00", MALFORMED, "MQTT-2.1.3-1"),
    ("AUTH without property length", ONLY_5, Client, "F0 01 18", MALFORMED, "§2.1.4"),
    ("AUTH that re-authenticates from a server", ONLY_5, Client, "F0 02 19 00", PROTOCOL, "§2.4"),
    ("AUTH of success from a client", ONLY_5, Server, "F0 00", PROTOCOL, "§2.4"),
    (
        "AUTH with data and no method",
        ONLY_5,
        Client,
        "F0 05 18 03 16 0000",
        PROTOCOL,
        "§3.1.2.11.10",
    ),
];

#[test]
fn each_vector_is_refused_for_its_reason() {
    for (name, versions, receiver, digits, reason, clause) in
        [FRAMES, CONNECTS, CONNACKS, PUBLISHES, TEXTS, ACKS, SUBSCRIPTIONS, ENDS].concat()
    {
        for &version in versions {
            let bytes = hex(digits);
            let error = match read(version, receiver, &bytes) {
                Err(error) => error,
                Ok(packet) => panic!("{name} in {version} is understood as {packet:?}"),
            };
            assert_eq!(
                (error.reason().code(), error.clause()),
                (reason, clause),
                "{name} in {version}: {error}"
            );
        }
    }
}

#[test]
fn only_the_lowest_connack_flag_is_not_reserved() {
    for flags in 0..=255_u8 {
        assert_eq!(read(V311, Client, &[0x20, 2, flags, 0]).is_ok(), flags < 2, "0x{flags:02x}");
        assert_eq!(read(V5, Client, &[0x20, 3, flags, 0, 0]).is_ok(), flags < 2, "0x{flags:02x}");
        assert!(read(V31, Client, &[0x20, 2, flags, 0]).is_ok(), "0x{flags:02x}");
    }
}

/// Of all bytes of connect flags, with a body that has whatever they announce.
#[test]
fn connect_flags_are_consistent() {
    for (version, name) in
        [(V31, "0006 4D5149736470"), (V311, "0004 4D515454"), (V5, "0004 4D515454")]
    {
        for flags in 0..=255_u8 {
            let is = |bit: u8| flags & bit != 0;
            let mut body = [hex(name), vec![version.level(), flags, 0, 60]].concat();
            let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
            body.extend_from_slice(no_properties);
            body.extend(hex("0001 61"));
            if is(0x04) {
                body.extend_from_slice(no_properties);
                body.extend(hex("0001 77 0001 78"));
            }
            if is(0x80) {
                body.extend(hex("0001 75"));
            }
            if is(0x40) {
                body.extend(hex("0001 70"));
            }
            let legal = !is(0x01)
                && (if is(0x04) { flags & 0x18 != 0x18 } else { flags & 0x38 == 0 })
                && (version == V5 || is(0x80) || !is(0x40));
            let bytes = framed(0x10, &body);
            let packet = read(version, Server, &bytes);
            assert_eq!(packet.is_ok(), legal, "0x{flags:02x} in {version}: {packet:?}");
            if let Ok(packet) = packet {
                assert_eq!(write(version, &packet), Ok(bytes));
            }
        }
    }
}

#[test]
fn an_error_says_which_packet_and_what() {
    let say =
        |version, receiver, digits| read(version, receiver, &hex(digits)).unwrap_err().to_string();
    assert_eq!(
        say(V311, Client, "30 05 0003 612F23"),
        "PUBLISH: topic name contains a wildcard [MQTT-3.3.2-2]"
    );
    assert_eq!(
        say(V5, Client, "20 06 00 00 03 21 0000"),
        "CONNACK: receive-maximum is zero [§3.1.2.11.3]"
    );
    assert_eq!(
        say(V311, Client, "20 02 00 36"),
        "CONNACK: return code is reserved (0x36) [MQTT-3.2.2-8]"
    );
    assert_eq!(
        say(V311, Client, "00 00"),
        "fixed header is of a reserved packet type (0x00) [§2.1.2]"
    );
}
