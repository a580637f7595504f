//! The types that settings have, and how each is read from text. Start with [`Value`].

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use longwave::http::{HostNames, Origins};

/// A type that a setting may have.
pub(crate) trait Value: Sized {
    /// What its values look like, for people.
    const KIND: &'static str;
    const SHAPE: Shape = Shape::One;
    const FORM: Form = Form::Words;

    /// Reads a value from its words: one, or several where the shape is [`Shape::Many`].
    ///
    /// # Errors
    /// A clause that says what was expected instead.
    fn parse(words: &[String]) -> Result<Self, String>;

    /// Whether the value lies within two others. Only asked of settings that have bounds.
    fn is_within(&self, least: &Self, most: &Self) -> bool;

    /// The words as everybody may see them who sees the server's messages: without what may be a secret.
    fn text(words: &[String]) -> String {
        words.join(", ")
    }
}

/// How many words a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    /// A flag that may be repeated, a list in the file, commas in either.
    Many,
    /// A flag without a value.
    Switch,
}

/// How the file writes a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text, a number, true or false, or a list of these.
    Words,
    /// The same, or a table of texts, each of whose pairs is a word: `name=value`.
    WordsOrPairs,
    /// Such a table.
    Pairs,
    /// A list of tables, each of which is a route with keys of its own.
    Routes,
}

/// A limit that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bounded<T> {
    At(T),
    Off,
}

impl<T> Bounded<T> {
    /// The limit; `None` where it is off.
    pub(crate) fn limit(self) -> Option<T> {
        match self {
            Bounded::At(limit) => Some(limit),
            Bounded::Off => None,
        }
    }
}

impl From<Bounded<Duration>> for Duration {
    /// The longest of all durations where the limit is off.
    fn from(limit: Bounded<Duration>) -> Duration {
        limit.limit().unwrap_or(Duration::MAX)
    }
}

/// How many threads there are for a kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Threads {
    /// One for each processor that the process may use.
    Auto,
    /// So many.
    Fixed(u64),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl Value for Duration {
    const KIND: &'static str = "duration";

    fn parse(words: &[String]) -> Result<Duration, String> {
        let word = one(words)?;
        let expected =
            || "expected a duration with its unit, such as 500ms, 15s, 10m or 24h".to_owned();
        let span: Span = word.parse().map_err(|_| expected())?;
        let signed =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
        Duration::try_from(signed).map_err(|_| "a duration can't be negative".to_owned())
    }

    fn is_within(&self, least: &Duration, most: &Duration) -> bool {
        (least..=most).contains(&self)
    }
}

impl Value for Size {
    const KIND: &'static str = "size";

    fn parse(words: &[String]) -> Result<Size, String> {
        let word = one(words)?;
        let expected = || "expected a size such as 512KiB, 64MiB or 1GiB".to_owned();
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = word.split_at(digits);
        let number: u64 = number.parse().map_err(|_| expected())?;
        let unit = unit.trim();
        let (_, bytes) = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(expected)?;
        number.checked_mul(*bytes).map(Size).ok_or_else(|| "that is too large".to_owned())
    }

    fn is_within(&self, least: &Size, most: &Size) -> bool {
        (least..=most).contains(&self)
    }
}

impl Value for u64 {
    const KIND: &'static str = "number";

    fn parse(words: &[String]) -> Result<u64, String> {
        let digits = one(words)?.replace('_', "");
        digits.parse().map_err(|_| "expected a whole number".to_owned())
    }

    fn is_within(&self, least: &u64, most: &u64) -> bool {
        (least..=most).contains(&self)
    }
}

impl Value for Threads {
    const KIND: &'static str = "number, or auto";

    fn parse(words: &[String]) -> Result<Threads, String> {
        match one(words)? {
            "auto" => Ok(Threads::Auto),
            _ => u64::parse(words)
                .map(Threads::Fixed)
                .map_err(|expected| format!("{expected}, or auto for one a processor")),
        }
    }

    fn is_within(&self, least: &Threads, most: &Threads) -> bool {
        *self == Threads::Auto || (least..=most).contains(&self)
    }
}

impl Value for Bounded<Duration> {
    const KIND: &'static str = "duration, or off";

    fn parse(words: &[String]) -> Result<Self, String> {
        parse_bounded(words)
    }

    fn is_within(&self, least: &Self, most: &Self) -> bool {
        *self == Bounded::Off || (least..=most).contains(&self)
    }
}

impl Value for Bounded<Size> {
    const KIND: &'static str = "size, or off";

    fn parse(words: &[String]) -> Result<Self, String> {
        parse_bounded(words)
    }

    fn is_within(&self, least: &Self, most: &Self) -> bool {
        *self == Bounded::Off || (least..=most).contains(&self)
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    const SHAPE: Shape = Shape::Switch;

    fn parse(words: &[String]) -> Result<bool, String> {
        match one(words)?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }

    fn is_within(&self, _: &bool, _: &bool) -> bool {
        true
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn parse(words: &[String]) -> Result<PathBuf, String> {
        match one(words)? {
            "" => Err("expected a path".to_owned()),
            path => Ok(path.into()),
        }
    }

    fn is_within(&self, _: &PathBuf, _: &PathBuf) -> bool {
        true
    }
}

impl Value for Option<PathBuf> {
    const KIND: &'static str = "path";

    fn parse(words: &[String]) -> Result<Self, String> {
        if words == [""] { Ok(None) } else { PathBuf::parse(words).map(Some) }
    }

    fn is_within(&self, _: &Self, _: &Self) -> bool {
        true
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn parse(words: &[String]) -> Result<String, String> {
        one(words).map(str::to_owned)
    }

    fn is_within(&self, _: &String, _: &String) -> bool {
        true
    }
}

impl Value for Vec<SocketAddr> {
    const KIND: &'static str = "addresses";
    const SHAPE: Shape = Shape::Many;

    fn parse(words: &[String]) -> Result<Self, String> {
        if words.is_empty() {
            return Err("expected at least one address".to_owned());
        }
        words.iter().map(|word| parse_address(word)).collect()
    }

    fn is_within(&self, _: &Self, _: &Self) -> bool {
        true
    }
}

impl Value for Origins {
    const KIND: &'static str = "loopback, any, or a list of origins";
    const SHAPE: Shape = Shape::Many;

    fn parse(words: &[String]) -> Result<Origins, String> {
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["loopback"] => return Ok(Origins::Loopback),
            ["any"] => return Ok(Origins::Any),
            [] => return Err("expected loopback, any, or origins".to_owned()),
            _ => {}
        }
        words.iter().map(|word| parse_origin(word)).collect::<Result<_, _>>().map(Origins::List)
    }

    fn is_within(&self, _: &Origins, _: &Origins) -> bool {
        true
    }
}

impl Value for HostNames {
    const KIND: &'static str = "bound, any, or a list of host names";
    const SHAPE: Shape = Shape::Many;

    fn parse(words: &[String]) -> Result<HostNames, String> {
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["bound"] => return Ok(HostNames::Bound),
            ["any"] => return Ok(HostNames::Any),
            [] => return Err("expected bound, any, or host names".to_owned()),
            _ => {}
        }
        words.iter().map(|word| parse_host(word)).collect::<Result<_, _>>().map(HostNames::List)
    }

    fn is_within(&self, _: &HostNames, _: &HostNames) -> bool {
        true
    }
}

/// Reads a duration such as `15s`, for flags of other commands too.
///
/// # Errors
/// A clause that says what was expected instead.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::parse(&[text.to_owned()])
}

/// A duration as the server takes it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The only word of a setting that takes one.
pub(super) fn one(words: &[String]) -> Result<&str, String> {
    match words {
        [word] => Ok(word.trim()),
        _ => Err("expected one value".to_owned()),
    }
}

fn parse_bounded<T: Value>(words: &[String]) -> Result<Bounded<T>, String> {
    match one(words)? {
        "off" => Ok(Bounded::Off),
        _ => T::parse(words)
            .map(Bounded::At)
            .map_err(|expected| format!("{expected}, or off for no limit")),
    }
}

fn parse_address(word: &str) -> Result<SocketAddr, String> {
    let on_loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let port = word.strip_prefix("localhost:").unwrap_or(word);
    word.parse().or_else(|_| port.parse().map(on_loopback)).map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:4480, 0.0.0.0:4480 or [::]:4480"
            .to_owned()
    })
}

/// As browsers spell an origin: scheme, host, a port unless it is the scheme's own, and nothing else.
fn parse_origin(word: &str) -> Result<String, String> {
    let origin = longwave_client::Url::parse(word)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization());
    origin
        .filter(|origin| word.trim_end_matches('/').eq_ignore_ascii_case(origin))
        .ok_or_else(|| format!("{word:?} is no origin, which looks like https://example.com"))
}

fn parse_host(word: &str) -> Result<String, String> {
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !word.is_empty() && word.chars().all(is_host) {
        return Ok(word.to_owned());
    }
    Err(format!("{word:?} is no host name, which looks like example.com, without a port"))
}

/// Powers of 1024 with an `i`, of 1000 without, as on the box of a disk.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: Value>(text: &str) -> Result<T, String> {
        T::parse(&[text.to_owned()])
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, ms) in
            [("500ms", 500), ("15s", 15_000), ("1h 30m", 5_400_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text:?}");
        }
        for text in ["", "15", "s", "fifteen", "-5s", "1 fortnight", "9999999999999999h"] {
            assert!(parse::<Duration>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_may_carry_a_unit() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("1KiB", 1024), ("64 MiB", 64 << 20), ("1gb", 1_000_000_000)]
        {
            assert_eq!(parse(text), Ok(Size(bytes)), "{text:?}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "1 elephant", "99999999999TiB"] {
            assert!(parse::<Size>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_limit_can_be_off() {
        assert_eq!(parse("off"), Ok(Bounded::<Size>::Off));
        assert_eq!(
            parse::<Bounded<Duration>>("1h").map(Bounded::limit),
            Ok(Some(Duration::from_secs(3600)))
        );
        assert_eq!(Duration::from(Bounded::<Duration>::Off), Duration::MAX);
        assert!(parse::<Bounded<Duration>>("never").unwrap_err().contains("off"));
    }

    #[test]
    fn an_address_may_be_short() {
        for (text, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:0", "[::1]:0"),
            ("8080", "127.0.0.1:8080"),
            ("localhost:9", "127.0.0.1:9"),
        ] {
            assert_eq!(parse(text), Ok(vec![expected.parse::<SocketAddr>().unwrap()]), "{text:?}");
        }
        for text in ["", "example.com:80", "127.0.0.1", "127.0.0.1:99999", "::1:80:"] {
            assert!(parse::<Vec<SocketAddr>>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn origins_are_kept_as_browsers_spell_them() {
        assert_eq!(parse("any"), Ok(Origins::Any));
        assert_eq!(
            parse("https://Example.com/"),
            Ok(Origins::List(vec!["https://example.com".into()]))
        );
        for text in ["example.com", "https://example.com/app", "*", "", "ftp://x"] {
            assert!(parse::<Origins>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_names_have_no_port() {
        assert_eq!(parse("bound"), Ok(HostNames::Bound));
        assert_eq!(parse("a.example"), Ok(HostNames::List(vec!["a.example".into()])));
        for text in ["", "a.example:80", "https://a.example", "*"] {
            assert!(parse::<HostNames>(text).is_err(), "{text:?}");
        }
    }
}
