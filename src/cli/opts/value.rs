//! Values of options: their parsers, and the type that keeps secrets out of every printout.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use clap::{
    Arg, Command, Error,
    builder::{OsStringValueParser, StringValueParser, TypedValueParser},
    error::ErrorKind,
};
use zeroize::Zeroizing;

use crate::{
    codec::{QoS, Version},
    net::{BindAddress, Endpoint, Scheme},
};

/// Parses `0`, `1` or `2`.
pub fn qos(text: &str) -> Result<QoS, String> {
    u8::from_str(text.trim_ascii())
        .ok()
        .and_then(|number| QoS::try_from(number).ok())
        .ok_or_else(|| "must be 0, 1 or 2".to_owned())
}

/// Parses the names that the mosquitto tools have for the protocol versions.
pub fn version(text: &str) -> Result<Version, String> {
    match text {
        "31" | "mqttv31" => Ok(Version::V31),
        "311" | "mqttv311" => Ok(Version::V311),
        "5" | "mqttv5" => Ok(Version::V5),
        _ => Err("must be 31, 311 or 5 (or mqttv31, mqttv311, mqttv5)".to_owned()),
    }
}

/// Parses the URL of `-L`: with a topic, except where a socket's path has its place.
pub fn tool_url(text: &str) -> Result<Endpoint, String> {
    let endpoint = url(text)?;
    if endpoint.scheme() != Scheme::Unix && endpoint.path().is_none_or(str::is_empty) {
        return Err(format!("the topic is missing: write {}://HOST/TOPIC", endpoint.scheme()));
    }
    Ok(endpoint)
}

/// Parses a URL of any scheme.
pub fn url(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|error| error.to_string())
}

/// Parses a local address, or a name for one.
pub fn bind_address(text: &str) -> Result<BindAddress, String> {
    let Ok(address) = not_empty(text)?.parse();
    Ok(address)
}

/// Parses a form of a private key, which there is only one of.
pub fn keyform(text: &str) -> Result<(), String> {
    match text {
        "pem" => Ok(()),
        "engine" => Err(NO_ENGINE.to_owned()),
        _ => Err("must be pem".to_owned()),
    }
}

/// Refuses an engine of OpenSSL.
pub fn engine(_text: &str) -> Result<Infallible, String> {
    Err(NO_ENGINE.to_owned())
}

const NO_ENGINE: &str = "engines are not supported: use a key file in PEM form";

/// Parses a number of seconds with an optional fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    f64::from_str(text.trim_ascii())
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "must be a number of seconds, 0 or more".to_owned())
}

/// Parses a duration such as `1h30m`, `5s`, `250ms` or `1.5s`; a number alone is in seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 250ms, 5s, 2m or 1h30m".to_owned();
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if rest.len() == text.len() && after.is_empty() => 1.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// Parses how long a session outlives its connection: decimal, hexadecimal (`0x`) or octal (`0`)
/// seconds, or -1 or `∞` for ever.
pub fn session_expiry(text: &str) -> Result<u32, String> {
    let text = text.trim_ascii();
    if matches!(text, "-1" | "∞") {
        return Ok(u32::MAX);
    }
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // `from_str_radix` would take another sign.
    (!digits.starts_with('+'))
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
        .ok_or_else(|| "must be a number of seconds from 0 to 4294967295, -1 or ∞".to_owned())
}

/// A parser for whole numbers of this range, with blanks around them or without: a file of options
/// may have some at the end of a line. Its errors name the range.
pub fn number<T>(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = T>
where
    T: TryFrom<u64> + Clone + Send + Sync + 'static,
{
    let why = match (*range.start(), *range.end()) {
        (first, u64::MAX) => format!("must be a number, {first} or more"),
        (first, last) => format!("must be a number from {first} to {last}"),
    };
    StringValueParser::new().try_map(move |text| {
        let number = u64::from_str(text.trim_ascii()).ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| why.clone())
    })
}

/// A parser for how many messages may be on their way. There are never more than MQTT can tell apart.
pub fn max_inflight() -> impl TypedValueParser<Value = u16> {
    number::<u64>(1..=u64::MAX).map(|count| u16::try_from(count).unwrap_or(u16::MAX))
}

/// Parses a number of bytes with an optional unit.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 10),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), 20),
        Some(b'g' | b'G') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "must be a number of bytes, as in 500000, 64k, 10M or 1G".to_owned())
}

/// Parses a text that must not be empty.
pub fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// A parser for a value that may hold a secret: its errors do not repeat the value.
pub fn hidden<T>(parse: fn(&str) -> Result<T, String>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    Hidden(move |value: &OsStr| {
        value.to_str().ok_or_else(|| "must be UTF-8".to_owned()).and_then(parse)
    })
}

/// Like [`hidden`], for a value that need not be Unicode.
pub fn hidden_bytes<T>(parse: fn(&[u8]) -> Result<T, String>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    Hidden(move |value: &OsStr| parse(&word_bytes(value.to_owned())))
}

#[derive(Clone)]
struct Hidden<F>(F);

impl<F, T> TypedValueParser for Hidden<F>
where
    F: Fn(&OsStr) -> Result<T, String> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        (self.0)(value).map_err(|why| {
            let name = arg.map_or(String::new(), |arg| format!(" for '{arg}'"));
            let text = format!("invalid value{name}: {why}\n");
            Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// Bytes that come as one word of the command line. They need not be Unicode.
#[derive(Clone, PartialEq, Eq)]
pub struct WordBytes(Vec<u8>);

impl WordBytes {
    /// A parser for clap.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().map(Self::from)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<OsString> for WordBytes {
    fn from(word: OsString) -> Self {
        Self(word_bytes(word))
    }
}

impl fmt::Debug for WordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A password: overwritten when dropped, and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// A parser for clap.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().map(Self::from)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<OsString> for Secret {
    fn from(word: OsString) -> Self {
        Self(Zeroizing::new(word_bytes(word)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(unix)]
fn word_bytes(word: OsString) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    word.into_vec()
}

#[cfg(not(unix))]
fn word_bytes(word: OsString) -> Vec<u8> {
    word.to_string_lossy().into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(qos("2"), Ok(QoS::ExactlyOnce));
        assert_eq!(version("mqttv5"), Ok(Version::V5));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for (text, seconds) in [
            ("0", 0),
            ("60", 60),
            ("0x10", 16),
            ("017", 15),
            ("4294967295", u32::MAX),
            ("-1", u32::MAX),
            ("∞", u32::MAX),
        ] {
            assert_eq!(session_expiry(text), Ok(seconds), "{text}");
        }
        for bad in ["", "-2", "4294967296", "1h", "0x", "08", "+1", "0x+1", "1.5"] {
            assert!(session_expiry(bad).is_err(), "{bad}");
        }
        for bad in ["3", "-1", "", "one", "256"] {
            assert!(qos(bad).is_err(), "{bad}");
        }
        for bad in ["4", "3.1.1", "MQTTv5", ""] {
            assert!(version(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "nan", "inf", "1e300", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn blanks_around_a_number_are_none_of_it() {
        assert_eq!(qos("1 "), Ok(QoS::AtLeastOnce));
        assert_eq!(seconds(" 0.25 "), Ok(Duration::from_millis(250)));
        assert_eq!(session_expiry("60 "), Ok(60));
        let number = |text: &str| {
            let command = Command::new("tool");
            number::<u16>(1..=9).parse_ref(&command, None, text.as_ref()).ok()
        };
        assert_eq!([" 5 ", "5\t", " ", "5 5"].map(number), [Some(5), Some(5), None, None]);
    }

    #[test]
    fn no_more_messages_than_packet_identifiers_are_on_their_way() {
        let count = |text: &str| {
            let command = Command::new("tool");
            max_inflight().parse_ref(&command, None, text.as_ref()).ok()
        };
        assert_eq!(
            ["1", "65535", "65536", "100000", "0"].map(count),
            [Some(1), Some(65_535), Some(65_535), Some(65_535), None]
        );
    }

    #[test]
    fn durations_have_units() {
        for (text, milliseconds) in [
            ("5", 5_000),
            ("0", 0),
            ("0.25", 250),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "s", "5x", "-1s", "1e9", "5 s", "1m5", "..s", "nan", "99999999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_needs_a_topic_where_it_has_room_for_one() {
        assert_eq!(tool_url("mqtt://h/a/b#c").unwrap().path(), Some("a/b#c"));
        assert_eq!(tool_url("wss://h/a").unwrap().path(), Some("a"));
        assert!(tool_url("unix:///run/mqtt").is_ok());
        for bad in ["mqtt://h", "mqtts://h/", "h/a", "mqtt:///a", "http://h/a"] {
            assert!(tool_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hidden_value_is_not_repeated() {
        let command = Command::new("tool")
            .arg(Arg::new("url").long("url").value_name("URL").value_parser(hidden(tool_url)));
        let words = ["tool", "--url", "mqtt://ann:s3cret@h"];
        let error = command.try_get_matches_from(words).unwrap_err().to_string();
        assert_eq!(
            error.lines().next(),
            Some(
                "error: invalid value for '--url <URL>': the topic is missing: write \
                  mqtt://HOST/TOPIC"
            )
        );
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::from(OsString::from("hunter2"));
        assert_eq!(secret.as_bytes(), b"hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("1", 1), ("500000", 500_000), ("64k", 65_536), ("10M", 10 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "0", "k", "-1", "1.5M", "10 M", "1T", "99999999999G", "0k"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
