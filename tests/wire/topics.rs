//! Topic names, topic filters and matching (§4.7, §4.8.2).

use midge::codec::{
    TopicError, TopicFilter, TopicName, check_topic_filter, check_topic_name, topic_matches,
};

#[test]
fn topic_names() {
    for name in ["a", "/", "a//b", " ", "$SYS/x", "é", "\u{FEFF}", "a\x1b[2J", &"x".repeat(65_535)]
    {
        assert_eq!(check_topic_name(name), Ok(()), "{name:.20}");
        assert_eq!(TopicName::try_from(name).unwrap().as_str(), name);
        assert_eq!(TopicName::try_from(name.to_owned()).unwrap().to_string(), name);
    }
    for (name, error) in [
        ("", TopicError::Empty),
        ("a/#", TopicError::Wildcard),
        ("a+b", TopicError::Wildcard),
        ("a\0b", TopicError::Nul),
        (&"x".repeat(65_536), TopicError::TooLong { len: 65_536 }),
    ] {
        assert_eq!(check_topic_name(name), Err(error), "{name:.20}");
        assert_eq!(TopicName::try_from(name), Err(error));
    }
}

#[test]
fn topic_filters() {
    for filter in [
        "#",
        "/#",
        "a/#",
        "+",
        "+/+",
        "/+",
        "a/+/#",
        "+/#",
        "a//b",
        "/a",
        "a/",
        "$SYS/#",
        "$share",
        "$share/g/a",
        "$share/g/#",
        "$share/g//",
        "$share/g/+",
        "a/$share/b",
        "$sharex/a",
    ] {
        assert_eq!(check_topic_filter(filter), Ok(()), "{filter}");
        assert_eq!(TopicFilter::try_from(filter).unwrap().as_str(), filter);
    }
    for (filter, error) in [
        ("", TopicError::Empty),
        ("a#", TopicError::MultiLevel),
        ("#/a", TopicError::MultiLevel),
        ("a/#/b", TopicError::MultiLevel),
        ("##", TopicError::MultiLevel),
        ("#/", TopicError::MultiLevel),
        ("a+", TopicError::SingleLevel),
        ("+a/b", TopicError::SingleLevel),
        ("a/+b", TopicError::SingleLevel),
        ("++", TopicError::SingleLevel),
        ("a\0", TopicError::Nul),
        ("$share/", TopicError::Share),
        ("$share/g", TopicError::Share),
        ("$share//a", TopicError::Share),
        ("$share/g/", TopicError::Share),
        ("$share/g+/a", TopicError::ShareName),
        ("$share/#/a", TopicError::ShareName),
        ("$share/g/a#", TopicError::MultiLevel),
        (&"x".repeat(65_536), TopicError::TooLong { len: 65_536 }),
    ] {
        assert_eq!(check_topic_filter(filter), Err(error), "{filter:.20}");
        assert_eq!(TopicFilter::try_from(filter), Err(error));
    }
}

#[test]
fn shares() {
    let shared = |filter: &str| {
        TopicFilter::try_from(filter).unwrap().shared().map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    assert_eq!(shared("$share/g/a/b"), Some(("g".into(), "a/b".into())));
    assert_eq!(shared("a/$share/g"), None);
    assert_eq!(shared("$share"), None);
}

#[test]
fn matching() {
    for (filter, name, matches) in [
        ("a/b", "a/b", true),
        ("a/b", "a/B", false),
        ("a/b", "a", false),
        ("a", "a/b", false),
        ("a/", "a", false),
        ("a", "a/", false),
        ("/a", "a", false),
        ("#", "a", true),
        ("#", "/", true),
        ("#", "a/b/c", true),
        ("sport/#", "sport", true),
        ("sport/#", "sport/", true),
        ("sport/#", "sport/a/b", true),
        ("sport/#", "sports", false),
        ("/#", "a", false),
        ("/#", "/a", true),
        ("+", "a", true),
        ("+", "a/b", false),
        ("+", "/a", false),
        ("/+", "/a", true),
        ("+/+", "/a", true),
        ("+/+", "a", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("a/+/b", "a//b", true),
        ("a/+/#", "a", false),
        ("a/+/#", "a/x", true),
        ("a/+/c", "a/b/c/d", false),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/+", "$SYS/x", true),
        ("+/+", "a/$x", true),
        ("e\u{301}", "é", false),
        ("$share/g/a/+", "a/b", true),
        ("$share/g/#", "$SYS/x", false),
        ("$share/g/$SYS/#", "$SYS/x", true),
        ("$share/g/a", "$share/g/a", false),
    ] {
        assert_eq!(topic_matches(filter, name), matches, "{filter} and {name}");
        assert_eq!(TopicFilter::try_from(filter).unwrap().matches(name), matches);
    }
}
