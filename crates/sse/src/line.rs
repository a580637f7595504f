//! Lines and the fields in them: where a line ends, and what a whole line says. No state is kept here.
//!
//! Follows "parsing an event stream" and the line rules of "interpreting an event stream" in the HTML standard.

use memchr::{memchr, memchr2};

/// What one whole line says. Values have lost their one leading space.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// The empty line that ends an event.
    Blank,
    /// A line that starts with a colon.
    Comment(&'a [u8]),
    Data(&'a [u8]),
    EventType(&'a [u8]),
    Id(&'a [u8]),
    Retry(&'a [u8]),
    /// A field that the standard does not know.
    Unknown {
        name: &'a [u8],
        value: &'a [u8],
    },
}

impl<'a> Field<'a> {
    /// Reads one line, given without its line end.
    #[inline]
    pub(crate) fn parse(line: &'a [u8]) -> Self {
        // What nearly every line of a real stream is gets told apart before any search for a colon.
        match line {
            [b'd', b'a', b't', b'a', b':', value @ ..] => Self::Data(without_leading_space(value)),
            [] => Self::Blank,
            [b'e', b'v', b'e', b'n', b't', b':', value @ ..] => {
                Self::EventType(without_leading_space(value))
            }
            [b'i', b'd', b':', value @ ..] => Self::Id(without_leading_space(value)),
            _ => Self::parse_rare(line),
        }
    }

    fn parse_rare(line: &'a [u8]) -> Self {
        let (name, value) = match memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        {
            Some((name, [_colon, value @ ..])) => (name, without_leading_space(value)),
            _ => (line, EMPTY),
        };
        match name {
            b"" => Self::Comment(value),
            b"data" => Self::Data(value),
            b"event" => Self::EventType(value),
            b"id" => Self::Id(value),
            b"retry" => Self::Retry(value),
            _ => Self::Unknown { name, value },
        }
    }
}

/// A line found in the input, and what comes after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SplitLine<'i> {
    /// The line without its end.
    pub(crate) line: &'i [u8],
    /// The input after the line end.
    pub(crate) rest: &'i [u8],
    pub(crate) end: LineEnd,
}

/// Whether a line's end has been seen whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// LF, CRLF, or CR followed by something else.
    Whole,
    /// A CR that is the input's last byte: an LF that may follow belongs to it.
    CarriageReturnLast,
}

/// Cuts the first line off `input`. `None` when no line ends in it.
#[inline]
pub(crate) fn split_line(input: &[u8]) -> Option<SplitLine<'_>> {
    if let [b'\n', rest @ ..] = input {
        return Some(SplitLine { line: EMPTY, rest, end: LineEnd::Whole });
    }
    let (line, tail) = input.split_at_checked(memchr2(b'\n', b'\r', input)?)?;
    Some(match tail {
        [b'\r', b'\n', rest @ ..] => SplitLine { line, rest, end: LineEnd::Whole },
        [b'\r'] => SplitLine { line, rest: EMPTY, end: LineEnd::CarriageReturnLast },
        [_, rest @ ..] => SplitLine { line, rest, end: LineEnd::Whole },
        [] => return None,
    })
}

/// The value of a `data` line whose end has not arrived. `None` while the line may still turn out to be another
/// field, or its first value byte, which may be the space to drop, is missing.
pub(crate) fn unfinished_data_value(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data:")? {
        [] => None,
        value => Some(without_leading_space(value)),
    }
}

/// The reconnection time of a `retry` value: ASCII digits and nothing else. A number past `u64` is `u64::MAX`.
pub(crate) fn parse_retry_ms(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |ms, byte| {
        byte.is_ascii_digit().then(|| ms.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

#[inline]
fn without_leading_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

const EMPTY: &[u8] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_its_field() {
        let cases: &[(&[u8], Field<'_>)] = &[
            (b"", Field::Blank),
            (b":", Field::Comment(b"")),
            (b": hi", Field::Comment(b"hi")),
            (b"data", Field::Data(b"")),
            (b"data:  x", Field::Data(b" x")),
            (b"event:a:b", Field::EventType(b"a:b")),
            (b"id", Field::Id(b"")),
            (b"retry: 5", Field::Retry(b"5")),
            (b"Data: x", Field::Unknown { name: b"Data", value: b"x" }),
            (b" data: x", Field::Unknown { name: b" data", value: b"x" }),
            (b"data :x", Field::Unknown { name: b"data ", value: b"x" }),
            (b"nocolon", Field::Unknown { name: b"nocolon", value: b"" }),
        ];
        for (line, expected) in cases {
            assert_eq!(Field::parse(line), *expected);
        }
    }

    #[test]
    fn lines_end_at_lf_cr_and_crlf() {
        let split = |input| split_line(input).map(|found| (found.line, found.rest, found.end));
        assert_eq!(split(b"a\nb"), Some((&b"a"[..], &b"b"[..], LineEnd::Whole)));
        assert_eq!(split(b"a\r\nb"), Some((&b"a"[..], &b"b"[..], LineEnd::Whole)));
        assert_eq!(split(b"a\rb"), Some((&b"a"[..], &b"b"[..], LineEnd::Whole)));
        assert_eq!(split(b"a\r"), Some((&b"a"[..], &b""[..], LineEnd::CarriageReturnLast)));
        assert_eq!(split(b"\n\n"), Some((&b""[..], &b"\n"[..], LineEnd::Whole)));
        assert_eq!(split(b"a"), None);
        assert_eq!(split(b""), None);
    }

    #[test]
    fn retry_takes_digits_only_and_saturates() {
        assert_eq!(parse_retry_ms(b"0"), Some(0));
        assert_eq!(parse_retry_ms(b"007"), Some(7));
        assert_eq!(parse_retry_ms(b"99999999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"+5", b"-5", b" 5", b"5 ", b"5.0", b"5ms", b"0x5", "٣".as_bytes()] {
            assert_eq!(parse_retry_ms(bad), None, "{bad:?}");
        }
    }
}
