//! Topic names and topic filters (§4.7), shared subscriptions (§4.8.2) and matching.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::error::Rule;
use super::version::Version;

/// A valid topic name: what a message is published to. Cloning it is cheap.
///
/// ```
/// use midge::codec::{TopicError, TopicName};
///
/// assert_eq!(&*TopicName::try_from("room/1")?, "room/1");
/// assert_eq!(TopicName::try_from("room/+"), Err(TopicError::Wildcard));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A valid topic filter: what a subscription asks for. Cloning it is cheap.
///
/// A filter that begins with `$share/` is one of a shared subscription and must be whole, also
/// where it is meant for a 3.1.1 server.
///
/// ```
/// use midge::codec::{TopicError, TopicFilter};
///
/// let filter = TopicFilter::try_from("$share/workers/jobs/#")?;
/// assert_eq!(filter.shared(), Some(("workers", "jobs/#")));
/// assert!(filter.matches("jobs/17"));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

/// The error of a string that is no topic name, or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no character.
    #[error("a topic needs at least one character")]
    Empty,
    /// It has more than 65,535 bytes.
    #[error("a topic of {len} bytes is too long, the protocol allows 65535")]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// It contains U+0000.
    #[error("a topic cannot contain U+0000")]
    Nul,
    /// A topic name contains `+` or `#`.
    #[error("a topic name cannot contain the wildcards + and #")]
    Wildcard,
    /// A `#` stands elsewhere than alone in the last level.
    #[error("# must stand alone in the last level of a topic filter")]
    MultiLevel,
    /// A `+` has company in its level.
    #[error("+ must stand alone in its level of a topic filter")]
    SingleLevel,
    /// After `$share/` there is no name, or no filter after the name.
    #[error("a shared subscription is $share/NAME/FILTER")]
    Share,
    /// The name of a shared subscription contains `+` or `#`.
    #[error("the name of a shared subscription cannot contain + or #")]
    ShareName,
}

impl TopicName {
    /// Returns the topic name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// Returns the topic filter.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the share name and the filter after it, or `None` where it is not shared.
    pub fn shared(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix(SHARE)?.split_once('/')
    }

    /// Tells whether a message with the topic `name` matches, as [`topic_matches`].
    pub fn matches(&self, name: &str) -> bool {
        topic_matches(&self.0, name)
    }
}

macro_rules! topic_type {
    ($type:ident, $check:ident) => {
        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = TopicError;

            fn try_from(topic: &str) -> Result<Self, TopicError> {
                $check(topic).map(|()| Self(topic.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = TopicError;

            fn try_from(topic: String) -> Result<Self, TopicError> {
                $check(&topic).map(|()| Self(topic.into()))
            }
        }
    };
}

topic_type!(TopicName, check_topic_name);
topic_type!(TopicFilter, check_topic_filter);

/// Checks that `name` is a topic name.
///
/// # Errors
///
/// [`TopicError`].
pub fn check_topic_name(name: &str) -> Result<(), TopicError> {
    check_len(name)?;
    check_name_characters(name).map_err(TopicError::of)
}

/// Checks that `filter` is a topic filter; one that begins with `$share/` must be whole.
///
/// # Errors
///
/// [`TopicError`].
pub fn check_topic_filter(filter: &str) -> Result<(), TopicError> {
    check_len(filter)?;
    check_filter_for(Version::V5, filter).map_err(TopicError::of)
}

/// Tells whether a message with the topic `name` matches `filter`.
///
/// Of a shared subscription, what follows its name is matched. A wildcard in the first level does
/// not match a name that begins with `$` [MQTT-4.7.2-1]. Neither is checked to be valid.
///
/// ```
/// use midge::codec::topic_matches;
///
/// assert!(topic_matches("sport/+/score/#", "sport/tennis/score"));
/// assert!(!topic_matches("#", "$SYS/uptime"));
/// ```
pub fn topic_matches(filter: &str, name: &str) -> bool {
    let filter = filter
        .strip_prefix(SHARE)
        .and_then(|shared| shared.split_once('/'))
        .map_or(filter, |(_, filter)| filter);
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Tells whether `filter` is one of a shared subscription.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

/// Checks a topic name except for its length in bytes.
#[inline]
pub(super) fn check_name_characters(name: &str) -> Result<(), Rule> {
    if name.is_empty() {
        return Err(Rule::TopicEmpty);
    }
    // Without an early exit the compiler makes vectors of this.
    let special = name.bytes().fold(false, |found, byte| found | matches!(byte, 0 | b'+' | b'#'));
    if !special {
        Ok(())
    } else if name.contains('\0') {
        Err(Rule::Nul)
    } else {
        Err(Rule::TopicWildcard)
    }
}

/// Checks a topic filter of `version` except for its length in bytes.
pub(super) fn check_filter_for(version: Version, filter: &str) -> Result<(), Rule> {
    if filter.is_empty() {
        return Err(Rule::TopicEmpty);
    }
    if filter.contains('\0') {
        return Err(Rule::Nul);
    }
    check_length_for(version, filter)?;
    if version == Version::V5 && is_shared(filter) {
        // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
        let shared = filter.strip_prefix(SHARE).unwrap_or_default();
        let (name, rest) = shared.split_once('/').ok_or(Rule::ShareName)?;
        if name.is_empty() || rest.is_empty() {
            return Err(Rule::ShareName);
        }
        if name.contains(['+', '#']) {
            return Err(Rule::ShareNameWildcard);
        }
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('#') && !(level == "#" && last) {
            return Err(Rule::FilterMultiLevel);
        }
        if level.contains('+') && level != "+" {
            return Err(Rule::FilterSingleLevel);
        }
    }
    Ok(())
}

/// Checks the bound on topics that only 3.1 has, in characters (3.1 §2.5).
#[inline]
pub(super) fn check_length_for(version: Version, topic: &str) -> Result<(), Rule> {
    if version == Version::V31 && topic.len() > MAX_31 && topic.chars().count() > MAX_31 {
        return Err(Rule::TopicTooLongFor31);
    }
    Ok(())
}

fn check_len(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        len if len > usize::from(u16::MAX) => Err(TopicError::TooLong { len }),
        _ => Ok(()),
    }
}

impl TopicError {
    fn of(rule: Rule) -> Self {
        match rule {
            Rule::TopicEmpty => Self::Empty,
            Rule::Nul => Self::Nul,
            Rule::FilterMultiLevel => Self::MultiLevel,
            Rule::FilterSingleLevel => Self::SingleLevel,
            Rule::ShareName => Self::Share,
            Rule::ShareNameWildcard => Self::ShareName,
            _ => Self::Wildcard,
        }
    }
}

const SHARE: &str = "$share/";
const MAX_31: usize = 32_767;
