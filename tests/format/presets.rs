//! The formats behind no option and `-v`.

use super::*;

fn print(format: Format, payload: &[u8]) -> Vec<u8> {
    let (out, outcome) = try_print_format(format, &message("a/b", payload));
    outcome.unwrap();
    out
}

#[test]
fn plain_prints_payloads_and_nothing_for_empty_ones() {
    assert_eq!(print(Format::plain(), b"a\0\xff\n"), b"a\0\xff\n\n");
    assert_eq!(print(Format::plain(), b""), b"");
    assert_eq!(print(Format::plain().newline(false), b"x"), b"x");
    assert_eq!(print(Format::plain().newline(false), b""), b"");
}

#[test]
fn verbose_prints_the_topic_first_and_null_for_empty_payloads() {
    assert_eq!(print(Format::verbose(), b"a\0\xff"), b"a/b a\0\xff\n");
    assert_eq!(print(Format::verbose(), b""), b"a/b (null)\n");
    assert_eq!(print(Format::verbose().newline(false), b"x"), b"a/b x");
    assert_eq!(print(Format::verbose().newline(false), b""), b"");
}

#[test]
fn a_newline_follows_each_message_of_a_format() {
    assert_eq!(print(Format::parse("%t").unwrap(), b"x"), b"a/b\n");
    assert_eq!(print(Format::parse("%t").unwrap(), b""), b"a/b\n");
    assert_eq!(print(Format::parse("").unwrap(), b""), b"\n");
    assert_eq!(print(Format::parse("%t").unwrap().newline(false), b""), b"a/b");
}

#[test]
fn a_terminal_gets_the_control_sequences_of_the_format_but_none_of_the_message() {
    let hostile = message("a\x1b]0;title\x07", b"\x1b[2J\x9b31m\r\xff\tb\n");
    for (format, expected) in [
        (Format::parse("\\e[1m%t\\e[0m\\r%p").unwrap(), "\x1b[1mT\x1b[0m\rP\n"),
        (Format::verbose(), "T P\n"),
        (Format::plain(), "P\n"),
    ] {
        let expected = expected
            .replace('T', r"a\x1b]0;title\x07")
            .replace('P', "\\x1b[2J\\x9b31m\\x0d\\xff\tb\n");
        let mut out = Vec::new();
        let mut renderer = Renderer::in_zone(format, zone()).for_terminal(true);
        renderer.render_at(&hostile, now(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn json_is_the_same_on_a_terminal() {
    let hostile = message("a", "\x1b[2J\u{9b}31m\u{202e}\n".as_bytes());
    for pretty in [false, true] {
        let format = Format::parse("%j").unwrap().newline(false).pretty(pretty);
        let (expected, _) = try_print_format(format.clone(), &hostile);
        let mut out = Vec::new();
        let mut renderer = Renderer::in_zone(format, zone()).for_terminal(true);
        renderer.render_at(&hostile, now(), &mut out).unwrap();
        assert_eq!(out, expected);
    }
}

#[test]
fn json_is_the_conversion_of_that_name() {
    let message = message("a/b", b"x");
    let (expected, _) = try_print_format(Format::parse("%j").unwrap(), &message);
    assert_eq!(try_print_format(Format::json(), &message).0, expected);
    assert_eq!(Format::json().header(), None);
}

#[test]
fn csv_quotes_what_needs_it_and_is_always_text() {
    let header = "tst,topic,qos,retain,mid,payloadlen,payload,payload_base64";
    assert_eq!(Format::csv().header(), Some(header));
    let row = |topic, payload: &[u8]| {
        let row = String::from_utf8(print(Format::csv(), payload_message(topic, payload))).unwrap();
        row.strip_prefix("2026-11-20T11:30:25.336538+0100,").unwrap().to_owned()
    };
    fn payload_message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
        Publish {
            retain: true,
            packet_id: packet_id(7),
            qos: QoS::AtLeastOnce,
            ..message(topic, payload)
        }
    }
    fn print(format: Format, message: Publish<'_>) -> Vec<u8> {
        let (out, outcome) = try_print_format(format, &message);
        outcome.unwrap();
        out
    }
    for (topic, payload, expected) in [
        ("a/b", &b"21.5"[..], "a/b,1,1,7,4,21.5,\n"),
        ("a", b"", "a,1,1,7,0,,\n"),
        ("a,b", b"say \"no\"", "\"a,b\",1,1,7,8,\"say \"\"no\"\"\",\n"),
        ("a", b"one\ntwo\r", "a,1,1,7,8,\"one\ntwo\r\",\n"),
        ("a", b" x ", "a,1,1,7,3,\" x \",\n"),
        ("a", b"\"", "a,1,1,7,1,\"\"\"\",\n"),
        // What a spreadsheet takes for a formula stays as it is.
        ("=a", b"=1+1", "=a,1,1,7,4,=1+1,\n"),
        ("a", b"\0\xff", "a,1,1,7,2,,AP8=\n"),
    ] {
        assert_eq!(row(topic, payload), expected, "{topic} {payload:?}");
    }
}

#[test]
fn colours_are_for_topics_and_names() {
    let print = |format: Format| {
        let (out, _) = try_print_format(format.colors(true), &message("a/b", b"x"));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(print(Format::plain()), "x\n");
    assert_eq!(print(Format::verbose()), "\x1b[36ma/b\x1b[0m x\n");
    assert_eq!(print(Format::parse("%t %p").unwrap()), "a/b x\n");
    let json = print(Format::json());
    assert!(json.starts_with("{\x1b[34m\"tst\"\x1b[0m:\"2026-"), "{json}");
    assert!(json.ends_with("\x1b[34m\"payload\"\x1b[0m:\"x\"}\n"), "{json}");
    let mut out = Vec::new();
    let mut renderer = Renderer::in_zone(Format::json().colors(true), zone()).for_terminal(true);
    renderer.render_at(&message("a/b", b"x"), now(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), json);
}
