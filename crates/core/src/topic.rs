//! Topic names: the part of the URL behind `/topics/`.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A topic's name in its one canonical spelling.
///
/// `/`-separated segments of `A-Z a-z 0-9 . _ ~ -` and percent-encoded UTF-8, 1 to [`TopicName::BYTES_MAX`] bytes as
/// spelled here, no empty segment, no segment `.` or `..` (URL libraries would resolve them away), no control
/// characters. Canonical means: what need not be encoded is not, and encoded bytes have upper-case digits, so one topic
/// has one name however a client spells it (RFC 3986, section 6.2.2). Names that start with `$` are the server's own.
///
/// ```
/// use longwave_core::TopicName;
/// let name: TopicName = "caf%c3%a9/%6frders".parse()?;
/// assert_eq!(name.as_str(), "caf%C3%A9/orders");
/// assert_eq!("café/orders".parse(), Ok(name));
/// # Ok::<(), longwave_core::TopicNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest name, in bytes of its canonical spelling.
    pub const BYTES_MAX: usize = 255;

    /// A name of the server's own, `$` included: `$sys/rates`.
    ///
    /// # Errors
    /// As for any name; also where the `$` is missing.
    pub fn reserved(text: &str) -> Result<TopicName, TopicNameError> {
        let rest = text.strip_prefix('$').ok_or(TopicNameError::Reserved)?;
        let mut canonical = String::from("$");
        canonical.push_str(&canonical_path(rest, SegmentRule::Name)?);
        within_bounds(canonical)
    }

    /// A name as a reader may give it: anybody's, or one of the server's own.
    ///
    /// # Errors
    /// As for any name.
    pub fn readable(text: &str) -> Result<TopicName, TopicNameError> {
        match text.strip_prefix('$').or_else(|| text.strip_prefix("%24")) {
            Some(rest) => TopicName::reserved(&format!("${rest}")),
            None => text.parse(),
        }
    }

    /// The canonical spelling, ready to stand in a URL's path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes; at least one, none empty.
    pub fn segments(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether the name is one of the server's own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<TopicName, TopicNameError> {
        if text.starts_with('$') || text.starts_with("%24") {
            return Err(TopicNameError::Reserved);
        }
        within_bounds(canonical_path(text, SegmentRule::Name)?)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text can't name a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// Nothing, or nothing between two slashes, or a slash at an end.
    #[error("a topic is segments with one slash between two of them, and none of them empty")]
    EmptySegment,
    /// A segment that URL libraries resolve away.
    #[error("\".\" and \"..\" can't be segments of a topic, since URLs give them another meaning")]
    DotSegment,
    /// More bytes than allowed, counted as percent-encoded.
    #[error("the topic has {bytes} bytes as it stands in a URL, and 255 is the most")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A character that must be percent-encoded.
    #[error(
        "{0:?} must be percent-encoded in a topic; only A-Z a-z 0-9 . _ ~ - stand for themselves"
    )]
    Character(char),
    /// `%` without two hexadecimal digits behind it.
    #[error("a % in a topic must be followed by two hexadecimal digits")]
    Percent,
    /// What is percent-encoded is not UTF-8.
    #[error("the percent-encoded bytes of a topic must be UTF-8")]
    Utf8,
    /// A control character, encoded or not.
    #[error("a topic can't hold control characters")]
    Control,
    /// The name starts with `$`.
    #[error("topics that start with $ are the server's own")]
    Reserved,
}

/// What else than a name's characters a segment may be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentRule {
    /// Names: nothing else.
    Name,
    /// Selectors: the segments `*` and `**` pass as they are.
    Selector,
}

/// The canonical spelling of a slash-separated path, unbounded in length.
pub(crate) fn canonical_path(text: &str, rule: SegmentRule) -> Result<String, TopicNameError> {
    let mut canonical = String::with_capacity(text.len());
    for (i, segment) in text.split('/').enumerate() {
        if i > 0 {
            canonical.push('/');
        }
        if rule == SegmentRule::Selector && matches!(segment, "*" | "**") {
            canonical.push_str(segment);
        } else {
            push_canonical_segment(&mut canonical, segment)?;
        }
    }
    Ok(canonical)
}

fn push_canonical_segment(out: &mut String, segment: &str) -> Result<(), TopicNameError> {
    let decoded = decode(segment)?;
    match decoded.as_str() {
        "" => return Err(TopicNameError::EmptySegment),
        "." | ".." => return Err(TopicNameError::DotSegment),
        _ => {}
    }
    for c in decoded.chars() {
        if c.is_control() {
            return Err(TopicNameError::Control);
        }
        if is_plain(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    Ok(())
}

/// The text that a segment spells. Characters that a URL's path may not hold plainly are refused, all but those
/// beyond ASCII, which have only one possible meaning and come from JSON and command lines.
fn decode(segment: &str) -> Result<String, TopicNameError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let mut digit =
                    || chars.next().and_then(|c| c.to_digit(16)).and_then(|d| u8::try_from(d).ok());
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(TopicNameError::Percent);
                };
                bytes.push(high << 4 | low);
            }
            c if c.is_control() => return Err(TopicNameError::Control),
            c if is_plain(c) || !c.is_ascii() => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes())
            }
            c => return Err(TopicNameError::Character(c)),
        }
    }
    String::from_utf8(bytes).map_err(|_| TopicNameError::Utf8)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-')
}

fn within_bounds(canonical: String) -> Result<TopicName, TopicNameError> {
    if canonical.len() > TopicName::BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: canonical.len() });
    }
    Ok(TopicName(canonical.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, TopicNameError> {
        text.parse::<TopicName>().map(|name| name.to_string())
    }

    #[test]
    fn one_topic_has_one_spelling() {
        for (text, canonical) in [
            ("orders/42", "orders/42"),
            ("A.b_c~d-e", "A.b_c~d-e"),
            ("%41%2d", "A-"),
            ("caf%c3%a9", "caf%C3%A9"),
            ("café", "caf%C3%A9"),
            ("user%3a42", "user%3A42"),
            ("a%2Fb/c", "a%2Fb/c"),
            ("...", "..."),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(canonical), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_name_is_refused_with_the_rule_it_breaks() {
        for (text, error) in [
            ("", TopicNameError::EmptySegment),
            ("/a", TopicNameError::EmptySegment),
            ("a/", TopicNameError::EmptySegment),
            ("a//b", TopicNameError::EmptySegment),
            ("a/../b", TopicNameError::DotSegment),
            ("a/%2e/b", TopicNameError::DotSegment),
            ("user:42", TopicNameError::Character(':')),
            ("a b", TopicNameError::Character(' ')),
            ("a/*", TopicNameError::Character('*')),
            ("a?b", TopicNameError::Character('?')),
            ("100%", TopicNameError::Percent),
            ("%4", TopicNameError::Percent),
            ("%zz", TopicNameError::Percent),
            ("%+1", TopicNameError::Percent),
            ("%ff", TopicNameError::Utf8),
            ("%c3/%a9", TopicNameError::Utf8),
            ("%00", TopicNameError::Control),
            ("a%0Ab", TopicNameError::Control),
            ("a\nb", TopicNameError::Control),
            ("%C2%85", TopicNameError::Control),
            ("$sys/rates", TopicNameError::Reserved),
            ("%24sys", TopicNameError::Reserved),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_length_counts_as_it_stands_in_a_url() {
        assert!(parse(&"x".repeat(255)).is_ok());
        assert_eq!(parse(&"x".repeat(256)), Err(TopicNameError::TooLong { bytes: 256 }));
        assert_eq!(parse(&"é".repeat(43)), Err(TopicNameError::TooLong { bytes: 258 }));
    }

    #[test]
    fn the_servers_own_topics_are_made_on_purpose() {
        assert_eq!(TopicName::reserved("$sys/rates").map(|t| t.is_reserved()), Ok(true));
        assert_eq!(TopicName::reserved("sys"), Err(TopicNameError::Reserved));
        assert_eq!(TopicName::reserved("$"), Err(TopicNameError::EmptySegment));
    }

    #[test]
    fn a_reader_may_name_the_servers_own_topics_too() {
        for (text, expected) in
            [("$sys/stats", "$sys/stats"), ("%24sys/stats", "$sys/stats"), ("a%2fb", "a%2Fb")]
        {
            assert_eq!(TopicName::readable(text).unwrap().as_str(), expected, "{text}");
        }
        for text in ["$", "$/a", "$a//b", "a/$b", ""] {
            assert!(TopicName::readable(text).is_err(), "{text}");
        }
    }
}
