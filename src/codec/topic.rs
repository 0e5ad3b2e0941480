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
    /// A level that a topic is to be built from contains `/`, which would make two of it.
    #[error("a level of a topic cannot contain /")]
    Separator,
    /// A level that a topic filter is to be built from as it stands contains a wildcard.
    #[error("a level that is meant as it stands cannot contain + or #")]
    WildcardLevel,
}

/// A level of a topic filter, for [`TopicFilter::from_levels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterLevel<'a> {
    /// The level with exactly this text.
    Exact(&'a str),
    /// Any one level: `+`.
    Any,
    /// Any number of levels, the level before included: `#`. Only as the last.
    AllBelow,
}

impl<'a> From<&'a str> for FilterLevel<'a> {
    fn from(text: &'a str) -> Self {
        Self::Exact(text)
    }
}

impl TopicName {
    /// Builds a topic name from its levels, none of which can slip another one in: what comes from
    /// users stays within its level.
    ///
    /// ```
    /// use midge::codec::{TopicError, TopicName};
    ///
    /// assert_eq!(&*TopicName::from_levels(["home", "kitchen", "lamp"])?, "home/kitchen/lamp");
    /// let from_outside = "kitchen/../secret";
    /// let refused = TopicName::from_levels(["home", from_outside, "lamp"]);
    /// assert_eq!(refused, Err(TopicError::Separator));
    /// # Ok::<(), TopicError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TopicError`]: [`Separator`](TopicError::Separator), or what the whole breaks.
    pub fn from_levels<L: AsRef<str>>(
        levels: impl IntoIterator<Item = L>,
    ) -> Result<Self, TopicError> {
        let mut topic = None;
        for level in levels {
            append_level(&mut topic, level.as_ref())?;
        }
        topic.unwrap_or_default().try_into()
    }

    /// Returns the topic name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the levels: at least one, and each may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl TopicFilter {
    /// Builds a topic filter from its levels, of which those that are texts match only themselves.
    ///
    /// ```
    /// use midge::codec::{FilterLevel, TopicError, TopicFilter};
    ///
    /// let levels = ["home".into(), FilterLevel::Any, "lamp".into(), FilterLevel::AllBelow];
    /// assert_eq!(&*TopicFilter::from_levels(levels)?, "home/+/lamp/#");
    /// let from_outside = "#";
    /// let refused = TopicFilter::from_levels(["home".into(), from_outside.into()]);
    /// assert_eq!(refused, Err(TopicError::WildcardLevel));
    /// # Ok::<(), TopicError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TopicError`]: [`Separator`](TopicError::Separator),
    /// [`WildcardLevel`](TopicError::WildcardLevel), or what the whole breaks.
    pub fn from_levels<'a>(
        levels: impl IntoIterator<Item = FilterLevel<'a>>,
    ) -> Result<Self, TopicError> {
        let mut filter = None;
        for level in levels {
            match level {
                FilterLevel::Exact(text) if text.contains(['+', '#']) => {
                    return Err(TopicError::WildcardLevel);
                }
                FilterLevel::Exact(text) => append_level(&mut filter, text)?,
                FilterLevel::Any => append_level(&mut filter, "+")?,
                FilterLevel::AllBelow => append_level(&mut filter, "#")?,
            }
        }
        filter.unwrap_or_default().try_into()
    }

    /// Makes it the filter of the shared subscription with this name (§4.8.2), in the place of the
    /// one that it is of, if any.
    ///
    /// ```
    /// use midge::codec::{TopicError, TopicFilter};
    ///
    /// let jobs = TopicFilter::try_from("jobs/#")?;
    /// assert_eq!(&*jobs.share("workers")?, "$share/workers/jobs/#");
    /// assert_eq!(jobs.share("a/b"), Err(TopicError::Separator));
    /// # Ok::<(), TopicError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TopicError`] when the name is not one.
    pub fn share(&self, name: &str) -> Result<Self, TopicError> {
        if name.contains('/') {
            return Err(TopicError::Separator);
        }
        format!("{SHARE}{name}/{}", self.unshared()).try_into()
    }

    /// Returns the topic filter.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the share name and the filter after it, or `None` where it is not shared.
    pub fn shared(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix(SHARE)?.split_once('/')
    }

    /// Returns the filter that messages have to match, without the name of a shared subscription.
    pub fn unshared(&self) -> &str {
        self.shared().map_or(&self.0, |(_, filter)| filter)
    }

    /// Returns the levels that messages have to match, without the name of a shared subscription.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.unshared().split('/')
    }

    /// Returns whether there is a wildcard in it.
    pub fn has_wildcard(&self) -> bool {
        self.unshared().contains(['+', '#'])
    }

    /// Tells whether all messages that match `other` match this one too, level by level: a
    /// subscription to `other` would bring nothing new.
    ///
    /// ```
    /// use midge::codec::{TopicError, TopicFilter};
    ///
    /// let all = TopicFilter::try_from("home/#")?;
    /// assert!(all.covers(&TopicFilter::try_from("home/+/lamp")?));
    /// assert!(!TopicFilter::try_from("home/+")?.covers(&all));
    /// # Ok::<(), TopicError>(())
    /// ```
    pub fn covers(&self, other: &Self) -> bool {
        let (this, that) = (self.unshared(), other.unshared());
        if that.starts_with('$') && this.starts_with(['+', '#']) {
            return false; // [MQTT-4.7.2-1]
        }
        let mut theirs = that.split('/');
        for ours in this.split('/') {
            if ours == "#" {
                return true;
            }
            match theirs.next() {
                Some(level) if ours == level || (ours == "+" && level != "#") => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
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

fn append_level(topic: &mut Option<String>, level: &str) -> Result<(), TopicError> {
    if level.contains('/') {
        return Err(TopicError::Separator);
    }
    match topic {
        None => *topic = Some(level.to_owned()),
        Some(topic) => {
            topic.push('/');
            topic.push_str(level);
        }
    }
    Ok(())
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
