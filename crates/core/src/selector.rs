//! Selectors: which topics a subscription means.
//!
//! [`SelectorSet`] is what one subscription asks for; [`Selector`] is one of its patterns.

use std::fmt;
use std::str::FromStr;

use crate::topic::{SegmentRule, canonical_path};
use crate::{TopicName, TopicNameError};

/// A topic name in which the segment `*` stands for any one segment, and a last segment `**` for one or more.
///
/// A selector without wildcards selects the topic of that name. Wildcards don't reach the server's own topics: only a
/// selector that itself starts with `$` selects those.
///
/// ```
/// use longwave_core::{Selector, TopicName};
/// let selector: Selector = "orders/*/items/**".parse()?;
/// assert!(selector.matches(&"orders/42/items/7/price".parse::<TopicName>().unwrap()));
/// assert!(!selector.matches(&"orders/42/items".parse::<TopicName>().unwrap()));
/// # Ok::<(), longwave_core::SelectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Topic(TopicName),
    /// Canonical, with at least one wildcard segment.
    Pattern(Box<str>),
}

impl Selector {
    /// The selector of exactly one topic.
    #[must_use]
    pub fn topic(name: TopicName) -> Selector {
        Selector { kind: Kind::Topic(name) }
    }

    /// The one topic that this selects; `None` where it has wildcards.
    #[must_use]
    pub fn as_topic(&self) -> Option<&TopicName> {
        match &self.kind {
            Kind::Topic(name) => Some(name),
            Kind::Pattern(_) => None,
        }
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.kind {
            Kind::Topic(name) => name.as_str(),
            Kind::Pattern(text) => text,
        }
    }

    /// The parts between the slashes, wildcards included.
    pub fn segments(&self) -> std::str::Split<'_, char> {
        self.as_str().split('/')
    }

    /// Whether an event of `topic` belongs to this selector.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        let pattern = match &self.kind {
            Kind::Topic(name) => return name == topic,
            Kind::Pattern(text) => text,
        };
        if topic.is_reserved() != pattern.starts_with('$') {
            return false;
        }
        let mut names = topic.segments();
        for wanted in pattern.split('/') {
            let Some(name) = names.next() else { return false };
            match wanted {
                "**" => return true,
                "*" => {}
                _ if wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let wild = text.split('/').any(|segment| matches!(segment, "*" | "**"));
        if !wild {
            let name = if text.starts_with('$') { TopicName::reserved(text) } else { text.parse() };
            return Ok(Selector::topic(name?));
        }
        let (reserved, path) = match text.strip_prefix('$') {
            Some(path) => ("$", path),
            None => ("", text),
        };
        if !reserved.is_empty() && path.starts_with('*') {
            return Err(SelectorError::PartOfSegment);
        }
        if path.split('/').rev().skip(1).any(|segment| segment == "**") {
            return Err(SelectorError::RestNotLast);
        }
        let canonical = canonical_path(path, SegmentRule::Selector)?;
        let text = format!("{reserved}{canonical}");
        if text.len() > TopicName::BYTES_MAX {
            return Err(TopicNameError::TooLong { bytes: text.len() }.into());
        }
        Ok(Selector { kind: Kind::Pattern(text.into()) })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// `**` stands before the end.
    #[error("** stands for the rest of a topic and can only be the last segment")]
    RestNotLast,
    /// A wildcard shares its segment with other characters.
    #[error("a wildcard must be a whole segment: * for one, ** for the rest")]
    PartOfSegment,
    /// A segment is none of a topic's.
    #[error(transparent)]
    Name(TopicNameError),
    /// A subscription names nothing.
    #[error("at least one topic or selector is needed")]
    NoSelector,
    /// A subscription names too much.
    #[error("{count} selectors are too many for one subscription; 100 is the most")]
    TooMany {
        /// How many different ones it names.
        count: usize,
    },
}

impl From<TopicNameError> for SelectorError {
    fn from(error: TopicNameError) -> SelectorError {
        match error {
            TopicNameError::Character('*') => SelectorError::PartOfSegment,
            other => SelectorError::Name(other),
        }
    }
}

/// All that one subscription asks for: 1 to [`SelectorSet::LEN_MAX`] selectors, sorted, none twice.
///
/// An event belongs to the set when at least one selector matches; it is delivered once however many do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SelectorSet(Box<[Selector]>);

impl SelectorSet {
    /// The most selectors in one subscription.
    pub const LEN_MAX: usize = 100;

    /// Sorts, and drops those named twice.
    ///
    /// # Errors
    /// [`SelectorError::NoSelector`] or [`SelectorError::TooMany`].
    pub fn new(
        selectors: impl IntoIterator<Item = Selector>,
    ) -> Result<SelectorSet, SelectorError> {
        let mut selectors: Vec<Selector> = selectors.into_iter().collect();
        selectors.sort_unstable();
        selectors.dedup();
        match selectors.len() {
            0 => Err(SelectorError::NoSelector),
            1..=Self::LEN_MAX => Ok(SelectorSet(selectors.into())),
            count => Err(SelectorError::TooMany { count }),
        }
    }

    /// The set of exactly one topic.
    #[must_use]
    pub fn topic(name: TopicName) -> SelectorSet {
        SelectorSet(Box::new([Selector::topic(name)]))
    }

    /// The selectors in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.0.iter()
    }

    /// The one topic that the set selects; `None` where it selects several or has wildcards.
    #[must_use]
    pub fn as_topic(&self) -> Option<&TopicName> {
        match &*self.0 {
            [only] => only.as_topic(),
            _ => None,
        }
    }

    /// Whether an event of `topic` belongs to the set.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.iter().any(|selector| selector.matches(topic))
    }
}

impl<'a> IntoIterator for &'a SelectorSet {
    type Item = &'a Selector;
    type IntoIter = std::slice::Iter<'a, Selector>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        if text.starts_with('$') {
            TopicName::reserved(text).unwrap()
        } else {
            text.parse().unwrap()
        }
    }

    #[test]
    fn a_star_is_one_segment_and_two_stars_are_the_rest() {
        for (selector, name, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("*/b", "a/b", true),
            ("*/b", "a/c", false),
            ("a/*/c", "a/b/c", true),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("*/**", "a", false),
            ("*/**", "a/b", true),
            ("**", "$sys/rates", false),
            ("*/rates", "$sys/rates", false),
            ("$sys/*", "$sys/rates", true),
            ("$sys/**", "$sys/a/b", true),
            ("$sys/**", "sys/a", false),
            ("caf%c3%a9/*", "café/x", true),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.matches(&topic(name)), expected, "{selector} on {name}");
        }
    }

    #[test]
    fn a_malformed_selector_is_refused_with_the_rule_it_breaks() {
        for (text, error) in [
            ("", SelectorError::Name(TopicNameError::EmptySegment)),
            ("a//*", SelectorError::Name(TopicNameError::EmptySegment)),
            ("**/a", SelectorError::RestNotLast),
            ("a/**/b", SelectorError::RestNotLast),
            ("a*", SelectorError::PartOfSegment),
            ("a/***", SelectorError::PartOfSegment),
            ("a/b*/*", SelectorError::PartOfSegment),
            ("$*", SelectorError::PartOfSegment),
            ("$**", SelectorError::PartOfSegment),
            ("a b/*", SelectorError::Name(TopicNameError::Character(' '))),
        ] {
            assert_eq!(text.parse::<Selector>(), Err(error), "{text:?}");
        }
        assert!(format!("{}/*", "x".repeat(254)).parse::<Selector>().is_err());
    }

    #[test]
    fn a_set_holds_one_to_a_hundred_different_selectors() {
        let numbered = |n: usize| (0..n).map(|i| Selector::topic(topic(&format!("t{i}"))));
        assert_eq!(SelectorSet::new([]), Err(SelectorError::NoSelector));
        assert_eq!(SelectorSet::new(numbered(101)), Err(SelectorError::TooMany { count: 101 }));
        assert_eq!(
            SelectorSet::new(numbered(100).chain(numbered(100))).map(|set| set.iter().len()),
            Ok(100)
        );
    }
}
