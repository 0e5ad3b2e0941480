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
