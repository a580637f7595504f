//! Durations, sizes and times as people write them: `10m`, `64MiB`, `2026-11-20T13:07:00.000Z`.
//!
//! Pure functions between text and numbers. Each has one canonical spelling, which is what answers hold.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use longwave_core::UnixMillis;

/// Milliseconds of a duration such as `500ms`, `90s`, `1h30m` or `7d`; a number without a unit is seconds.
pub(crate) fn parse_duration_ms(text: &str) -> Option<u64> {
    if let Some(seconds) = whole_number(text) {
        return seconds.checked_mul(1000);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let (number, behind) = split_number(rest)?;
        let unit_chars = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_chars);
        let (_, unit_ms) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit)?;
        if unit_ms >= smaller_than {
            return None;
        }
        smaller_than = unit_ms;
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
        rest = behind;
    }
    (smaller_than != u64::MAX).then_some(total)
}

/// The duration as a whole number of the largest unit that divides it: `90s`, `1d`.
pub(crate) fn format_duration_ms(ms: u64) -> String {
    let (unit, unit_ms) = DURATION_UNITS
        .into_iter()
        .find(|(_, unit_ms)| ms != 0 && ms.is_multiple_of(*unit_ms))
        .unwrap_or(("s", 1000));
    format!("{}{unit}", ms / unit_ms)
}

/// Bytes of a size such as `64MiB`, `10MB` or `512`; a number without a unit is bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    if let Some(bytes) = whole_number(text) {
        return Some(bytes);
    }
    let (number, unit) = split_number(text)?;
    let unit = unit.trim_start();
    let (_, unit_bytes) =
        SIZE_UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(unit_bytes)
}

/// RFC 3339 in UTC with milliseconds. Times behind the year 9999 are told as its last moment.
pub(crate) fn rfc3339(time: UnixMillis) -> String {
    let time = i64::try_from(time.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    TIME_PRINTER.timestamp_to_string(&time)
}

fn whole_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((whole_number(number)?, rest))
}

/// Largest first.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const TIME_PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1w2d3h4m5s6ms", 788_645_006),
            ("60", 60_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "m",
            "10",
            "-1s",
            "1.5h",
            "10 m",
            "1m1h",
            "1m1m",
            "10x",
            "10M",
            "99999999999999999999s",
            "9999999999999999999w",
        ] {
            assert_eq!(parse_duration_ms(text), (text == "10").then_some(10_000), "{text:?}");
        }
    }

    #[test]
    fn a_duration_has_one_spelling_which_reads_back() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (86_400_000, "1d"),
            (5_400_000, "90m"),
        ] {
            assert_eq!(format_duration_ms(ms), text);
            assert_eq!(parse_duration_ms(text), Some(ms));
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("10kB", 10_000),
            ("10 MB", 10_000_000),
            ("64MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MB", "-1", "1.5GB", "1K", "99999999TiB", "1 000"] {
            assert_eq!(parse_bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_time_is_told_in_milliseconds() {
        assert_eq!(rfc3339(UnixMillis(1_763_644_020_007)), "2025-11-20T13:07:00.007Z");
        assert_eq!(rfc3339(UnixMillis(u64::MAX)), "9999-12-30T22:00:00.999Z");
    }
}
