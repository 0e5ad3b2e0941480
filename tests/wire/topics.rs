//! Topic names, topic filters and matching (§4.7, §4.8.2).

use midge::codec::{
    FilterLevel, TopicError, TopicFilter, TopicName, check_topic_filter, check_topic_name,
    topic_matches,
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

#[test]
fn a_name_is_built_level_by_level() {
    let build = |levels: &[&str]| TopicName::from_levels(levels);
    for (levels, name) in [
        (&["a"][..], "a"),
        (&["a", "b"], "a/b"),
        (&["", "a"], "/a"),
        (&["a", ""], "a/"),
        (&["", ""], "/"),
        (&["$SYS", "x"], "$SYS/x"),
    ] {
        let built = build(levels).unwrap();
        assert_eq!(built.as_str(), name);
        assert!(built.levels().eq(levels.iter().copied()), "{name}");
    }
    assert_eq!(build(&[]), Err(TopicError::Empty));
    assert_eq!(build(&[""]), Err(TopicError::Empty));
    assert_eq!(build(&["a", "b/c"]), Err(TopicError::Separator));
    assert_eq!(build(&["a", "+"]), Err(TopicError::Wildcard));
    assert_eq!(build(&["a", "\0"]), Err(TopicError::Nul));
    let long = "x".repeat(40_000);
    assert_eq!(build(&[&long, &long]), Err(TopicError::TooLong { len: 80_001 }));
}

#[test]
fn a_filter_is_built_level_by_level() {
    use FilterLevel::{AllBelow, Any, Exact};
    let build = |levels: &[FilterLevel]| TopicFilter::from_levels(levels.iter().copied());
    for (levels, filter) in [
        (&[Exact("a"), Any, AllBelow][..], "a/+/#"),
        (&[AllBelow], "#"),
        (&[Any, Any], "+/+"),
        (&[Exact(""), Exact("a")], "/a"),
    ] {
        assert_eq!(build(levels).unwrap().as_str(), filter);
    }
    assert_eq!(build(&[AllBelow, Exact("a")]), Err(TopicError::MultiLevel));
    assert_eq!(build(&[Exact("a+")]), Err(TopicError::WildcardLevel));
    assert_eq!(build(&[Exact("#")]), Err(TopicError::WildcardLevel));
    assert_eq!(build(&[Exact("a/b")]), Err(TopicError::Separator));
    assert_eq!(build(&[]), Err(TopicError::Empty));
}

#[test]
fn a_filter_is_shared_and_shared_anew() {
    let filter = |text: &str| TopicFilter::try_from(text).unwrap();
    let shared = filter("a/+").share("g").unwrap();
    assert_eq!(shared.as_str(), "$share/g/a/+");
    assert_eq!(shared.share("h").unwrap().as_str(), "$share/h/a/+");
    assert_eq!((shared.unshared(), shared.levels().count()), ("a/+", 2));
    assert!(shared.has_wildcard() && !filter("$share/g/a").has_wildcard());
    for (name, error) in [
        ("", TopicError::Share),
        ("a/b", TopicError::Separator),
        ("+", TopicError::ShareName),
        ("a#", TopicError::ShareName),
    ] {
        assert_eq!(filter("a").share(name), Err(error), "{name:?}");
    }
}

#[test]
fn a_filter_covers_what_it_matches_more_than() {
    let covers = |this: &str, that: &str| {
        let filter = |text: &str| TopicFilter::try_from(text).unwrap();
        filter(this).covers(&filter(that))
    };
    for (this, that) in [
        ("a", "a"),
        ("#", "a/b"),
        ("#", "#"),
        ("a/#", "a"),
        ("a/#", "a/+/#"),
        ("+", "a"),
        ("+/b", "+/b"),
        ("+/#", "a/#"),
        ("$share/g/a/#", "a/b"),
        ("a/+", "$share/g/a/b"),
        ("$SYS/#", "$SYS/x"),
    ] {
        assert!(covers(this, that), "{this} {that}");
    }
    for (this, that) in [
        ("a", "b"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/+", "a/#"),
        ("+", "#"),
        ("a/b", "a/+"),
        ("#", "$SYS/x"),
        ("+/x", "$SYS/x"),
        ("a", "+"),
        ("a/#", "b"),
    ] {
        assert!(!covers(this, that), "{this} {that}");
    }
    // What is covered matches nothing that the other does not.
    let filters = ["#", "+", "a", "a/#", "a/+", "+/b", "a/b", "+/#", "$SYS/#", "/", "+/+"];
    let names = ["a", "b", "a/b", "b/b", "a/b/c", "$SYS/b", "/", "a/"];
    for this in filters {
        for that in filters.into_iter().filter(|that| covers(this, that)) {
            for name in names.into_iter().filter(|name| topic_matches(that, name)) {
                assert!(topic_matches(this, name), "{this} covers {that} and not {name}");
            }
        }
    }
}
