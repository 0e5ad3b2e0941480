//! Topic names, topic filters and shared subscriptions (§4.7, §4.8.2).

use midge::codec::{TopicError, check_topic_filter, check_topic_name, topic_matches};

use crate::kit::*;

tests! {
    ["4.7.1-2"] ["4.7.1-1"] the_multi_level_wildcard_stands_alone_and_last,
    ["4.7.1-3"] ["4.7.1-2"] the_single_level_wildcard_fills_its_level,
    ["4.7.2-1"] ["4.7.2-1"] wildcards_do_not_match_a_leading_dollar,
    ["4.7.3-1"] ["4.7.3-1"] topics_have_a_character,
    ["4.7.3-2"] ["4.7.3-2"] topics_have_no_null_character,
    ["4.7.3-3"] ["4.7.3-3"] topics_have_at_most_65535_bytes,
    ["4.7.3-4"] ["4.7.3-4"] topics_are_compared_character_by_character,
    [] ["4.8.2-1"] a_share_has_a_name_and_a_filter,
    [] ["4.8.2-2"] the_name_of_a_share_has_no_wildcards,
}

/// Asserts that no SUBSCRIBE can have this filter.
fn refused(filter: &str, error: TopicError) {
    assert_eq!(check_topic_filter(filter), Err(error), "{filter}");
    assert_eq!(TopicFilter::try_from(filter), Err(error), "{filter}");
}

fn the_multi_level_wildcard_stands_alone_and_last(_: Version) {
    for filter in ["a#", "#/a", "a/#/b", "##", "a/#b", "+#", "a/b#"] {
        refused(filter, TopicError::MultiLevel);
    }
    for filter in ["#", "/#", "a/#", "+/#", "a//#"] {
        assert_eq!(check_topic_filter(filter), Ok(()), "{filter}");
    }
    for (filter, topic, expected) in [
        ("sport/#", "sport", true),
        ("sport/#", "sport/", true),
        ("sport/#", "sport/a/b", true),
        ("sport/#", "sports", false),
        ("#", "a/b", true),
        ("/#", "a", false),
        ("/#", "/a", true),
    ] {
        assert_eq!(topic_matches(filter, topic), expected, "{filter} {topic}");
    }
}

fn the_single_level_wildcard_fills_its_level(_: Version) {
    for filter in ["a+", "+a/b", "a/+b", "++", "a/b+/c"] {
        refused(filter, TopicError::SingleLevel);
    }
    for filter in ["+", "+/+", "/+", "a/+/#", "a/+/b", "+/"] {
        assert_eq!(check_topic_filter(filter), Ok(()), "{filter}");
    }
    for (filter, topic, expected) in [
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+", "a/b/c", false),
        ("+/+", "/a", true),
        ("/+", "/a", true),
        ("+", "/a", false),
        ("a/+/b", "a//b", true),
    ] {
        assert_eq!(topic_matches(filter, topic), expected, "{filter} {topic}");
    }
}

fn wildcards_do_not_match_a_leading_dollar(version: Version) {
    for (filter, topic, expected) in [
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("+", "$SYS", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/+", "$SYS/x", true),
        ("a/#", "a/$x", true),
        ("a/+", "a/$x", true),
        ("$share/g/#", "$SYS/x", false),
    ] {
        assert_eq!(topic_matches(filter, topic), expected, "{filter} {topic}");
    }
    // The stream of `#` does not get it, the inbox does.
    block_on(async {
        let script = Script::listen().await;
        let (client, mut inbox) = builder(&script, version).start().unwrap();
        let mut peer = script.accept().await;
        peer.expect_packet(0x10).await;
        peer.send_bytes(accepting(version)).await;
        let subscribed = tokio::spawn({
            let client = client.clone();
            async move { client.subscribe("#").await.unwrap() }
        });
        let id = id_of(&peer.expect_packet(0x82).await);
        let body = [&id.to_be_bytes(), none(version), &[0][..]].concat();
        peer.send_bytes(&framed(0x90, &body)).await;
        let mut stream = subscribed.await.unwrap();
        peer.send_bytes(&publish(version, 0x30, "$SYS/x", 0, b"system")).await;
        peer.send_bytes(&publish(version, 0x30, "x", 0, b"other")).await;
        assert_eq!(inbox.next().await.unwrap().payload(), "system");
        assert_eq!(stream.next().await.unwrap().payload(), "other");
    });
}

fn topics_have_a_character(version: Version) {
    refused("", TopicError::Empty);
    assert_eq!(check_topic_name(""), Err(TopicError::Empty));
    for topic in [" ", "/", "//"] {
        assert_eq!(check_topic_name(topic), Ok(()));
        assert_eq!(check_topic_filter(topic), Ok(()));
    }
    let row = publish(version, 0x30, "", 0, b"bad");
    breach_in(version, || connected(version), &row, 0x82);
}

fn topics_have_no_null_character(version: Version) {
    for topic in ["\0", "a\0", "a/\0/b"] {
        refused(topic, TopicError::Nul);
        assert_eq!(check_topic_name(topic), Err(TopicError::Nul));
        let row = publish(version, 0x30, topic, 0, b"bad");
        breach_in(version, || connected(version), &row, 0x81);
    }
}

fn topics_have_at_most_65535_bytes(version: Version) {
    let longest = "é".repeat(32_767) + "e";
    assert_eq!((check_topic_name(&longest), check_topic_filter(&longest)), (Ok(()), Ok(())));
    let longer = longest.clone() + "e";
    refused(&longer, TopicError::TooLong { len: 65_536 });
    assert_eq!(check_topic_name(&longer), Err(TopicError::TooLong { len: 65_536 }));
    if version != V31 {
        let mut client = connected(version);
        client.receive(&publish(version, 0x30, &longest, 0, b""));
        assert_eq!(client.topics, [longest]);
    } else {
        // 3.1 §2.5 counts characters, and allows 32,767 of them.
        let row = publish(version, 0x30, &"a".repeat(32_768), 0, b"bad");
        breach_in(version, || connected(version), &row, 0x81);
    }
}

fn topics_are_compared_character_by_character(version: Version) {
    for (filter, topic, expected) in [
        ("é", "e\u{301}", false),
        ("a/b", "A/b", false),
        ("a", "a", true),
        ("a", "/a", false),
        ("a/", "a", false),
        ("a//b", "a/b", false),
        ("ß", "SS", false),
    ] {
        assert_eq!(topic_matches(filter, topic), expected, "{filter} {topic}");
    }
    for topic in ["e\u{301}", "\u{212B}", "a//b/"] {
        let mut sent = message(b"x");
        sent.topic = topic.try_into().unwrap();
        let mut client = connected(version);
        client.session.publish(client.now, Ticket::new(0), sent).unwrap();
        assert_eq!(client.output(), publish(version, 0x30, topic, 0, b"x"));
        client.receive(&publish(version, 0x30, topic, 0, b"x"));
        assert_eq!(client.topics, [topic]);
    }
}

fn a_share_has_a_name_and_a_filter(_: Version) {
    for filter in ["$share/g", "$share/g/", "$share//a", "$share/", "$share//"] {
        refused(filter, TopicError::Share);
    }
    for (filter, name, rest) in
        [("$share/g/a", "g", "a"), ("$share/g//", "g", "/"), ("$share/g/+/#", "g", "+/#")]
    {
        let shared = TopicFilter::try_from(filter).unwrap();
        assert_eq!(shared.shared(), Some((name, rest)));
    }
    assert!(topic_matches("$share/g/a/+", "a/b"));
    assert!(!topic_matches("$share/g/a/+", "$share/g/a/b"));
}

fn the_name_of_a_share_has_no_wildcards(_: Version) {
    for filter in ["$share/g+/a", "$share/#/a", "$share/+/a", "$share/g#/a"] {
        refused(filter, TopicError::ShareName);
    }
}
