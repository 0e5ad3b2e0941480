//! Each conversion with its widths and precisions, as mosquitto_sub 2.1 prints them.

use midge::codec::{Publish, QoS};

use super::*;

#[test]
fn payload_is_cut_and_padded_to_the_width() {
    check(
        &message("f", b"abcd"),
        &[
            ("%p", "abcd"),
            ("%3p", "abc"),
            ("%6p", "  abcd"),
            ("%-6p", "abcd  "),
            ("%06p", "00abcd"),
            ("%-06p", "abcd  "),
            ("%.2p", "abcd"),
            ("%0p", "abcd"),
        ],
    );
    assert_eq!(print("<%p>", &message("f", b"a\0\xffb")), b"<a\0\xffb>");
    check(&message("f", b""), &[("%p", ""), ("%3p", "   "), ("%03p", "000")]);
}

#[test]
fn hexadecimal_digits_are_grouped_by_nibbles() {
    let kilobyte: Vec<u8> = (0..=255).cycle().take(1024).collect();
    check(
        &message("f", b"abcd"),
        &[
            ("%x", "61626364"),
            ("%X", "61626364"),
            ("%.2x", "61 62 63 64"),
            ("%.4-X", "6162-6364"),
            ("%.2:x", "61:62:63:64"),
            ("%.3.x", "616.263.64"),
            ("%.1@x", "6@1@6@2@6@3@6@4"),
            ("%.8 x", "61626364"),
            ("%.0:x", "61626364"),
            ("%:x", "61626364"),
            ("%.x", "61626364"),
            ("%--x", "61626364"),
            ("%-.4-X", "6162-6364"),
        ],
    );
    check(&message("f", b"\x0f\xf0"), &[("%x", "0ff0"), ("%X", "0FF0"), ("%.2:X", "0F:F0")]);
    let expected: String = kilobyte.iter().map(|byte| format!("{byte:02x}")).collect();
    check(&message("f", &kilobyte), &[("%x", &expected)]);
}

#[test]
fn hexadecimal_digits_are_padded_to_the_width_and_the_payload_is_cut_to_it() {
    check(
        &message("f", b"abcd"),
        &[
            ("%10x", "  61626364"),
            ("%010x", "0061626364"),
            ("%-10x|", "61626364  |"),
            ("%-010x|", "61626364  |"),
            ("%3x", "616263"),
            ("%10.2:x", "  61:62:63:64"),
            ("%1X", "61"),
        ],
    );
}

#[test]
fn topic_is_padded_to_the_width_and_cut_to_the_precision() {
    check(
        &message("f", b""),
        &[("%t", "f"), ("%10t", "         f"), ("%-10t|", "f         |"), ("%010t", "         f")],
    );
    check(
        &message("site/7", b""),
        &[
            ("%3t", "site/7"),
            ("%.4t", "site"),
            ("%.t", ""),
            ("%.40t", "site/7"),
            ("%6.2t", "    si"),
            ("%-6.2t|", "si    |"),
            ("%:t", "site/7"),
        ],
    );
}

#[test]
fn integers_are_padded_to_the_width() {
    let payload = [0; 123];
    let message = Publish {
        qos: QoS::ExactlyOnce,
        packet_id: packet_id(65_535),
        retain: true,
        ..message("f", &payload)
    };
    check(
        &message,
        &[
            ("%l", "123"),
            ("%5l", "  123"),
            ("%05l", "00123"),
            ("%-5l|", "123  |"),
            ("%-05l|", "123  |"),
            ("%2l", "123"),
            ("%.1l", "123"),
            ("%m", "65535"),
            ("%7m", "  65535"),
            ("%q", "2"),
            ("%5q", "2"),
            ("%r", "1"),
            ("%05r", "1"),
        ],
    );
    check(
        &super::message("f", b""),
        &[("%l", "0"), ("%m", "0"), ("%03m", "000"), ("%q", "0"), ("%r", "0")],
    );
}

#[test]
fn floating_point_payloads_are_printed_as_printf_does() {
    let float =
        |value: f32, rows: &[(&str, &str)]| check(&message("f", &value.to_ne_bytes()), rows);
    let double =
        |value: f64, rows: &[(&str, &str)]| check(&message("f", &value.to_ne_bytes()), rows);
    float(1.5, &[("%f", "1.500000"), ("%.2f", "1.50"), ("%.0f", "2"), ("%.f", "2")]);
    float(0.1, &[("%f", "0.100000"), ("%.12f", "0.100000001490")]);
    double(
        -21.53,
        &[
            ("%d", "-21.530000"),
            ("%10.2d", "    -21.53"),
            ("%-10.2d|", "-21.53    |"),
            ("%010.2d", "-000021.53"),
            ("%-010.2d|", "-21.53    |"),
        ],
    );
    double(1e22, &[("%.3d", "10000000000000000000000.000")]);
    double(0.125, &[("%.2d", "0.12")]);
    double(2.5, &[("%.0d", "2")]);
    double(-0.0, &[("%.1d", "-0.0"), ("%06.1d", "-000.0")]);
    double(f64::INFINITY, &[("%d", "inf"), ("%06d", "   inf")]);
    double(f64::NEG_INFINITY, &[("%d", "-inf"), ("%-6d|", "-inf  |")]);
    double(f64::NAN, &[("%d", "nan")]);
    let precise = print("%.70000d", &message("f", &0.5_f64.to_ne_bytes()));
    assert_eq!(precise.len(), 70_002);
    assert!(precise.starts_with(b"0.5000") && precise.ends_with(b"0000"));
}

#[test]
fn a_payload_of_another_length_is_no_number() {
    for (format, len) in [("%f", 0), ("%f", 3), ("%9f", 8), ("%d", 4), ("%d", 9)] {
        let payload = vec![1; len];
        let (out, outcome) = try_print(&format!("<{format}>%l"), &message("f", &payload));
        assert_eq!(out, format!("<>{len}").as_bytes());
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(&format!("has {len} bytes")), "{error}");
    }
}

#[test]
fn properties_are_printed() {
    let properties = all_properties();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"") };
    check(
        &message,
        &[
            ("%A", "12"),
            ("%5A", "   12"),
            ("%C", "text/plain"),
            ("%12C", "  text/plain"),
            ("%-12C|", "text/plain  |"),
            ("%.4C", "text"),
            ("%D", "id 7"),
            ("%9D", "id 7"),
            ("%E", "4294967290"),
            ("%012E", "004294967290"),
            ("%F", "1"),
            ("%-3F|", "1  |"),
            ("%P", "unit:kelvin :"),
            ("%30P", "unit:kelvin :"),
            ("%R", "a/reply"),
            ("%9R", "  a/reply"),
            ("%9.3R", "      a/r"),
            ("%S", "300"),
            ("%5S", "  300"),
        ],
    );
}

#[test]
fn absent_properties_leave_room_where_mosquitto_leaves_it() {
    check(
        &message("f", b""),
        &[
            ("%A|%C|%D|%E|%F|%P|%R|%S", "|||||||"),
            ("%3A|%3E|%3F|%3S", "   |   |   |   "),
            ("%03A|%-03E|%03F|%03S", "000|000|000|000"),
            ("%3C|%03C|%-3C", "   |   |   "),
            ("%3D|%3P|%3R", "||"),
        ],
    );
}

#[test]
fn an_empty_property_is_not_an_absent_one() {
    let mut properties = Properties::new();
    properties.push(Property::ContentType, PropertyValue::Utf8("")).unwrap();
    properties.push(Property::CorrelationData, PropertyValue::Binary(b"")).unwrap();
    properties.push(Property::UserProperty, PropertyValue::Pair("", "")).unwrap();
    let message = Publish { properties: properties.as_ref(), ..message("f", b"") };
    check(&message, &[("<%C|%2C|%D|%P>", "<|  ||:>")]);
    let printed = String::from_utf8(print("%j", &message)).unwrap();
    let expected = r#"{"content-type":"","correlation-data":"","user-properties":[{"":""}]}"#;
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn literals_and_escapes_are_copied() {
    check(
        &message("f", b"x"),
        &[
            ("", ""),
            ("Grüße %t!", "Grüße f!"),
            ("100%% %5% @@ \\\\", "100% % @ \\"),
            ("\\0\\a\\e\\n\\r\\t\\v", "\0\x07\x1b\n\r\t\x0b"),
        ],
    );
}
