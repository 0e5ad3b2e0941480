//! Options that are wrong, and what the tools say about them.

use std::process::Command;

use crate::run::{Outcome, midge_pub, midge_sub, run_args};

/// What `words` gives: the one line of standard error, without the name of the tool.
#[track_caller]
fn refused(tool: Command, words: &[&str]) -> String {
    let outcome = run_args(tool, words);
    outcome.said(1, "");
    assert_eq!(outcome.stdout, b"", "{words:?}");
    let (name, text) = outcome.stderr.trim_end().split_once(": ").unwrap();
    assert!(["midge_pub", "midge_sub"].contains(&name), "{outcome:?}");
    text.to_owned()
}

#[track_caller]
fn pub_refuses(words: &[&str], text: &str) {
    assert_eq!(refused(midge_pub(), words).split("; '").next(), Some(text), "{words:?}");
}

#[track_caller]
fn sub_refuses(words: &[&str], text: &str) {
    assert_eq!(refused(midge_sub(), words).split("; '").next(), Some(text), "{words:?}");
}

/// One that both tools refuse in the same words.
#[track_caller]
fn both_refuse(words: &[&str], text: &str) {
    pub_refuses(&[&["-t", "a", "-n"], words].concat(), text);
    sub_refuses(&[&["-t", "a"], words].concat(), text);
}

#[test]
fn an_error_tells_where_the_options_are_explained() {
    assert_eq!(
        refused(midge_pub(), &["-Z"]),
        "unknown option '-Z'; 'midge_pub --help' shows all options"
    );
}

#[test]
fn options_that_do_not_exist_are_refused() {
    for word in ["-Z", "--zz"] {
        both_refuse(&[word], &format!("unknown option '{word}'"));
    }
    // Each tool has options that the other one has not.
    for word in ["-m", "-f", "-s", "-l", "-n", "-r", "--repeat"] {
        sub_refuses(&["-t", "a", word, "1"], &format!("unknown option '{word}'"));
    }
    for word in ["-C", "-v", "-N", "-F"] {
        pub_refuses(&["-t", "a", "-n", word, "1"], &format!("unknown option '{word}'"));
    }
    both_refuse(&["word"], "unknown word 'word'");
    both_refuse(&["--", "-d"], "unknown option '-d'");
    both_refuse(&["--quit"], "unknown option '--quit' (is it '--quiet'?)");
}

#[test]
fn options_without_their_value_are_refused() {
    for (word, name) in [
        ("-h", "--host <HOST>"),
        ("--host", "--host <HOST>"),
        ("-p", "--port <PORT>"),
        ("-L", "--url <URL>"),
        ("-k", "--keepalive <SECONDS>"),
        ("-V", "--protocol-version <VERSION>"),
        ("-i", "--id <ID>"),
        ("-I", "--id-prefix <PREFIX>"),
        ("-u", "--username <NAME>"),
        ("-P", "--pw <PASSWORD>"),
        ("-q", "--qos <QOS>"),
        ("--will-topic", "--will-topic <TOPIC>"),
        ("--will-payload", "--will-payload <TEXT>"),
        ("--will-qos", "--will-qos <QOS>"),
        ("-M", "-M <COUNT>"),
        ("-W", "-W <SECONDS>"),
        ("-x", "-x <SECONDS>"),
        ("-o", "-o <FILE>"),
        ("-D", "--property <PACKET PROPERTY VALUE>"),
        ("--pw-file", "--pw-file <FILE>"),
    ] {
        both_refuse(&[word], &format!("a value is required for '{name}' but none was supplied"));
    }
    for (word, name) in [
        ("-t", "--topic <TOPIC>"),
        ("-m", "--message <TEXT>"),
        ("-f", "--file <FILE>"),
        ("--repeat", "--repeat <COUNT>"),
        ("--repeat-delay", "--repeat-delay <SECONDS>"),
    ] {
        pub_refuses(&[word], &format!("a value is required for '{name}' but none was supplied"));
    }
    for (word, name) in [("-t", "--topic <FILTER>"), ("-C", "-C <COUNT>")] {
        sub_refuses(&[word], &format!("a value is required for '{name}' but none was supplied"));
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let invalid =
        |value, option, why: &str| format!("invalid value '{value}' for '{option}': {why}");
    for (word, value, option, why) in [
        ("-h", "", "--host <HOST>", "must not be empty"),
        ("-p", "65536", "--port <PORT>", "must be a number from 0 to 65535"),
        ("-p", "-1", "--port <PORT>", "must be a number from 0 to 65535"),
        ("-p", "mqtt", "--port <PORT>", "must be a number from 0 to 65535"),
        ("-k", "4", "--keepalive <SECONDS>", "must be a number from 5 to 65535"),
        ("-k", "65536", "--keepalive <SECONDS>", "must be a number from 5 to 65535"),
        (
            "-V",
            "4",
            "--protocol-version <VERSION>",
            "must be 31, 311 or 5 (or mqttv31, mqttv311, mqttv5)",
        ),
        ("-i", "", "--id <ID>", "must not be empty"),
        ("-q", "3", "--qos <QOS>", "must be 0, 1 or 2"),
        ("-q", "-1", "--qos <QOS>", "must be 0, 1 or 2"),
        ("--will-qos", "3", "--will-qos <QOS>", "must be 0, 1 or 2"),
        ("-M", "0", "-M <COUNT>", "must be a number, 1 or more"),
        ("-W", "0", "-W <SECONDS>", "must be a number from 1 to 4294967295"),
        ("-W", "1.5", "-W <SECONDS>", "must be a number from 1 to 4294967295"),
        ("-x", "-2", "-x <SECONDS>", "must be a number of seconds from 0 to 4294967295, -1 or ∞"),
    ] {
        both_refuse(&[word, value], &invalid(value, option, why));
    }
    // A URL may hold a password, which is not repeated.
    for (url, why) in [
        ("mqtt://h", "the topic is missing: write mqtt://HOST/TOPIC"),
        ("mqtts://u:p@h/", "the topic is missing: write mqtts://HOST/TOPIC"),
        ("mqtt://h:0/t", "\"0\" is not a port number from 1 to 65535"),
    ] {
        both_refuse(&["-L", url], &format!("invalid value for '--url <URL>': {why}"));
    }
    for (word, value, option, why) in [
        ("--repeat", "0", "--repeat <COUNT>", "must be a number, 1 or more"),
        (
            "--repeat-delay",
            "-1",
            "--repeat-delay <SECONDS>",
            "must be a number of seconds, 0 or more",
        ),
    ] {
        pub_refuses(&["-t", "a", "-n", word, value], &invalid(value, option, why));
    }
    for (word, value, option, why) in [
        ("-C", "0", "-C <COUNT>", "must be a number, 1 or more"),
        ("-C", "-1", "-C <COUNT>", "must be a number, 1 or more"),
    ] {
        sub_refuses(&["-t", "a", word, value], &invalid(value, option, why));
    }
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    both_refuse(
        &["-i", "a", "-I", "b"],
        "the argument '--id <ID>' cannot be used with '--id-prefix <PREFIX>'",
    );
    let sources =
        [("--message", "<TEXT>"), ("--file", "<FILE>"), ("--stdin-file", ""), ("--stdin-line", "")];
    for (option, value) in sources {
        let words = if value.is_empty() { vec![option] } else { vec![option, "x"] };
        let name = format!("{option} {value}");
        pub_refuses(
            &[&["-t", "a"], &words[..], &["-n"]].concat(),
            &format!("the argument '{}' cannot be used with '--null-message'", name.trim_end()),
        );
    }
}

#[test]
fn what_is_missing_is_named_with_its_option() {
    pub_refuses(&["-n"], "no topic to publish to: add -t TOPIC");
    pub_refuses(
        &["-t", "a"],
        "no message to publish: add one of -m TEXT, -f FILE, -s, -l, --jsonl or -n",
    );
    sub_refuses(&[], "nothing to subscribe to: add -t FILTER");
    both_refuse(&["-c"], "-c keeps the session of a client identifier: add -i ID");
    both_refuse(&["-P", "x"], "-P needs a user name in MQTT 3.1.1: add -u NAME (or -V 5)");
    both_refuse(&["--will-payload", "x"], "--will-payload needs a topic: add --will-topic TOPIC");
    both_refuse(&["--will-retain"], "--will-retain needs a topic: add --will-topic TOPIC");
}

#[test]
fn topics_that_mqtt_does_not_allow_are_refused() {
    for topic in ["a/+", "#", ""] {
        let text = refused(midge_pub(), &["-t", topic, "-n"]);
        assert!(
            text.starts_with(&format!("-t {topic:?} is not a topic to publish to: ")),
            "{text}"
        );
        let text = refused(midge_sub(), &["-t", "a", "--will-topic", topic]);
        assert!(text.starts_with(&format!("--will-topic {topic:?} is not a topic")), "{text}");
    }
    for filter in ["a/#/b", "a+", ""] {
        let text = refused(midge_sub(), &["-t", filter]);
        assert!(text.starts_with(&format!("-t {filter:?} is not a topic filter: ")), "{text}");
    }
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let text = refused(midge_pub(), &["-t", "a", "-f", "/no/such/file"]);
    assert!(text.starts_with("cannot open /no/such/file: No such file"), "{text}");
    let text = refused(midge_pub(), &["-t", "a", "-f", "/"]);
    assert!(text.starts_with("cannot read /: Is a directory"), "{text}");
    let text = refused(midge_pub(), &["-t", "a", "-s"]);
    assert_eq!(text, "standard input is empty: use -n to publish an empty message");
}

#[test]
fn errors_of_the_options_are_said_even_when_quiet() {
    pub_refuses(&["--quiet", "-n"], "no topic to publish to: add -t TOPIC");
}

#[test]
fn help_and_version_are_a_success_on_standard_output() {
    for tool in [midge_pub, midge_sub] {
        let help = run_args(tool(), &["--help"]);
        help.success();
        for option in ["-h, --host <HOST>", "-t, --topic", "--will-topic", "--version"] {
            assert!(help.stdout().contains(option), "{option} in {}", help.stdout());
        }
        let version = run_args(tool(), &["--version"]);
        assert!(version.success().stdout().ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")));
    }
}

#[test]
fn an_option_that_the_build_lacks_names_the_feature() {
    let lacks = |feature: &str| {
        format!("it needs a build with the feature \"{feature}\": cargo build --features {feature}")
    };
    if cfg!(not(feature = "psk")) {
        let text = format!("invalid value for '--psk <HEX>': {}", lacks("psk"));
        both_refuse(&["--psk", "ab", "--psk-identity", "i"], &text);
    }
    if cfg!(not(feature = "srv")) {
        both_refuse(&["-h", "midge.example", "-S"], &format!("-S: {}", lacks("srv")));
    }
}

#[test]
fn control_sequences_in_an_error_are_escaped() {
    let outcome: Outcome = run_args(midge_pub(), &["\x1b]0;title\x07\n"]);
    outcome.said(1, "\\x1b]0;title");
    assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
}
