//! Records as they stand in a segment: [`Record`], [`encode`], [`decode`].
//!
//! ```text
//! u32 len of all behind the crc | u32 crc32c, seeded with the epoch, over len and what follows the crc
//! u8 kind | u8 flags | u8 code | u8 topic len | u8 type len | u8 key len | u8 publish key len | u8 zero
//! u64 seq | u64 before | u64 time | u32 synced | u64 fingerprint, where there is a publish key
//! u32 source len, where there is a source
//! topic | type | key | publish key | source | data
//! ```
//!
//! The flags are, from the lowest bit: first of its publish, last of its publish, has a publish key, has a source.
//! All numbers are little-endian. A `len` of zero is never valid, so no run of zeros is a record. The seed makes records
//! of another log invalid in this one, should a disk give back old blocks.

use longwave_core::{DataFormat, EndReason, Epoch, Fingerprint, Message, Seq, UnixMillis};

/// What one record says, borrowed from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    /// The publish that it belongs to starts here.
    pub(crate) is_first: bool,
    /// The publish that it belongs to ends here.
    pub(crate) is_last: bool,
    pub(crate) seq: Seq,
    /// Of an event: the topic's newest position before this one. Of a reservation: the last position reserved.
    pub(crate) before: Seq,
    pub(crate) time: UnixMillis,
    /// How far the segment was known to be durable when this was written.
    pub(crate) synced: u32,
    /// Empty where the record is of no topic.
    pub(crate) topic: &'a str,
    /// Empty where the event has no type.
    pub(crate) event_type: &'a str,
    /// The message's own key; empty where it has none.
    pub(crate) key: &'a str,
    /// The publish's key and what the publish says, on its first record.
    pub(crate) publish_key: Option<(&'a str, Fingerprint)>,
    pub(crate) data: &'a [u8],
    /// What the event came in as, where that was kept; it may be empty.
    pub(crate) source: Option<&'a [u8]>,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message(DataFormat),
    End(EndReason),
    /// A topic's settings and where it stands; `data` has them.
    Settings,
    /// A topic's deletion.
    Deletion,
    /// Positions that may be given to events which a power cut can take back.
    Reservation,
    /// The log was closed: all before this is durable.
    Close,
}

impl<'a> Record<'a> {
    /// A record of the log's own, of no topic.
    pub(crate) fn own(kind: Kind, seq: Seq, time: UnixMillis) -> Record<'a> {
        Record {
            kind,
            is_first: true,
            is_last: true,
            seq,
            before: Seq::ZERO,
            time,
            synced: 0,
            topic: "",
            event_type: "",
            key: "",
            publish_key: None,
            data: b"",
            source: None,
        }
    }
}

/// The checksum's start for records of a log.
pub(crate) fn seed(epoch: Epoch) -> u32 {
    crc32c::crc32c(epoch.as_str().as_bytes())
}

/// How many bytes an event takes: a message, or an end.
pub(crate) fn encoded_len(
    topic: &str,
    message: Option<&Message>,
    key: &str,
    publish_key: Option<&str>,
) -> u64 {
    let publish_key = publish_key.map_or(0, |key| key.len() + FINGERPRINT_LEN);
    let said = message.map_or(0, |message| {
        let event_type = message.event_type.as_ref().map_or(0, |t| t.as_str().len());
        let source_len = message.source.as_ref().map_or(0, |_| SOURCE_LEN_LEN);
        event_type + source_len + message.content_bytes()
    });
    (FIXED_LEN + topic.len() + key.len() + publish_key + said) as u64
}

/// Writes a record behind what stands in `out`, and tells its length.
pub(crate) fn encode(out: &mut Vec<u8>, seed: u32, record: &Record<'_>) -> u32 {
    let start = out.len();
    let (kind, code) = match record.kind {
        Kind::Message(format) => (KIND_MESSAGE, format_code(format)),
        Kind::End(reason) => (KIND_END, reason_code(reason)),
        Kind::Settings => (KIND_SETTINGS, 0),
        Kind::Deletion => (KIND_DELETION, 0),
        Kind::Reservation => (KIND_RESERVATION, 0),
        Kind::Close => (KIND_CLOSE, 0),
    };
    let flags = u8::from(record.is_first) * FLAG_FIRST
        + u8::from(record.is_last) * FLAG_LAST
        + u8::from(record.publish_key.is_some()) * FLAG_PUBLISH_KEY
        + u8::from(record.source.is_some()) * FLAG_SOURCE;
    let publish_key = record.publish_key.map_or("", |(key, _)| key);
    out.extend_from_slice(&[0; PREFIX_LEN]);
    out.extend_from_slice(&[
        kind,
        flags,
        code,
        short_len(record.topic),
        short_len(record.event_type),
        short_len(record.key),
        short_len(publish_key),
        0,
    ]);
    out.extend_from_slice(&record.seq.0.to_le_bytes());
    out.extend_from_slice(&record.before.0.to_le_bytes());
    out.extend_from_slice(&record.time.0.to_le_bytes());
    out.extend_from_slice(&record.synced.to_le_bytes());
    if let Some((_, fingerprint)) = record.publish_key {
        out.extend_from_slice(&fingerprint.0.to_le_bytes());
    }
    // An append is bounded far below 4 GiB.
    if let Some(source) = record.source {
        let source_len = u32::try_from(source.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&source_len.to_le_bytes());
    }
    for text in [record.topic, record.event_type, record.key, publish_key] {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(record.source.unwrap_or_default());
    out.extend_from_slice(record.data);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    let body_len = (len - PREFIX_BYTES).to_le_bytes();
    let body = out.get(start + PREFIX_LEN..).unwrap_or_default();
    let crc = checksum(seed, body_len, body).to_le_bytes();
    if let Some(prefix) = out.get_mut(start..start + PREFIX_LEN) {
        let (len_at, crc_at) = prefix.split_at_mut(4);
        len_at.copy_from_slice(&body_len);
        crc_at.copy_from_slice(&crc);
    }
    len
}

/// Reads the record at the start of `bytes`, and its length; `None` where there is no whole and sound one.
pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<(Record<'_>, u32)> {
    let (len_bytes, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len_bytes);
    let body = rest.get(..usize::try_from(len).ok()?)?;
    if body.len() < FIXED_LEN - PREFIX_LEN
        || checksum(seed, *len_bytes, body) != u32::from_le_bytes(*crc)
    {
        return None;
    }
    Some((decode_body(body)?, len + PREFIX_BYTES))
}

fn decode_body(body: &[u8]) -> Option<Record<'_>> {
    let ([kind, flags, code, topic, event_type, key, publish_key, _], mut rest) =
        body.split_first_chunk::<8>()?;
    let (seq, before, time) = (u64_in(&mut rest)?, u64_in(&mut rest)?, u64_in(&mut rest)?);
    let synced = u32_in(&mut rest)?;
    let fingerprint = match flags & FLAG_PUBLISH_KEY {
        0 => None,
        _ => Some(Fingerprint(u64_in(&mut rest)?)),
    };
    let source_len = match flags & FLAG_SOURCE {
        0 => None,
        _ => Some(u32_in(&mut rest)?),
    };
    let mut text = |len: u8| {
        let (text, after) = rest.split_at_checked(usize::from(len))?;
        rest = after;
        std::str::from_utf8(text).ok()
    };
    let (topic, event_type) = (text(*topic)?, text(*event_type)?);
    let (key, publish_key) = (text(*key)?, text(*publish_key)?);
    let (source, data) = match source_len {
        None => (None, rest),
        Some(len) => {
            let (source, data) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            (Some(source), data)
        }
    };
    let kind = match *kind {
        KIND_MESSAGE => Kind::Message(format_of(*code)?),
        KIND_END => Kind::End(reason_of(*code)?),
        KIND_SETTINGS => Kind::Settings,
        KIND_DELETION => Kind::Deletion,
        KIND_RESERVATION => Kind::Reservation,
        KIND_CLOSE => Kind::Close,
        _ => return None,
    };
    Some(Record {
        kind,
        is_first: flags & FLAG_FIRST != 0,
        is_last: flags & FLAG_LAST != 0,
        seq: Seq(seq),
        before: Seq(before),
        time: UnixMillis(time),
        synced,
        topic,
        event_type,
        key,
        publish_key: fingerprint.map(|fingerprint| (publish_key, fingerprint)),
        data,
        source,
    })
}

fn u32_in(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn u64_in(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn checksum(seed: u32, len: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &len), body)
}

/// Names, types and keys are bounded by 255 bytes where they come in.
fn short_len(text: &str) -> u8 {
    u8::try_from(text.len()).unwrap_or(u8::MAX)
}

pub(crate) fn reason_code(reason: EndReason) -> u8 {
    match reason {
        EndReason::Done => 1,
        EndReason::Error => 2,
        EndReason::Cancelled => 3,
        EndReason::Truncated => 4,
        EndReason::Timeout => 5,
        EndReason::Crashed => 6,
        EndReason::Deleted => 7,
    }
}

pub(crate) fn reason_of(code: u8) -> Option<EndReason> {
    Some(match code {
        1 => EndReason::Done,
        2 => EndReason::Error,
        3 => EndReason::Cancelled,
        4 => EndReason::Truncated,
        5 => EndReason::Timeout,
        6 => EndReason::Crashed,
        7 => EndReason::Deleted,
        _ => return None,
    })
}

fn format_code(format: DataFormat) -> u8 {
    match format {
        DataFormat::Text => 1,
        DataFormat::Json => 2,
        DataFormat::Binary => 3,
    }
}

fn format_of(code: u8) -> Option<DataFormat> {
    Some(match code {
        1 => DataFormat::Text,
        2 => DataFormat::Json,
        3 => DataFormat::Binary,
        _ => return None,
    })
}

/// Length and checksum.
const PREFIX_BYTES: u32 = 8;
const PREFIX_LEN: usize = PREFIX_BYTES as usize;
/// A record without texts and data.
pub(crate) const FIXED_LEN: usize = PREFIX_LEN + 8 + 3 * 8 + 4;
const FINGERPRINT_LEN: usize = 8;
/// The number in front of a source.
const SOURCE_LEN_LEN: usize = 4;

const KIND_MESSAGE: u8 = 1;
const KIND_END: u8 = 2;
const KIND_SETTINGS: u8 = 3;
const KIND_DELETION: u8 = 4;
const KIND_RESERVATION: u8 = 5;
const KIND_CLOSE: u8 = 6;

const FLAG_FIRST: u8 = 1;
const FLAG_LAST: u8 = 2;
const FLAG_PUBLISH_KEY: u8 = 4;
const FLAG_SOURCE: u8 = 8;
/// No record has a flag of this value or above.
pub(crate) const FLAGS_END: u8 = 16;

#[cfg(test)]
mod tests {
    use longwave_core::EventType;

    use super::*;

    fn full() -> Record<'static> {
        Record {
            kind: Kind::Message(DataFormat::Json),
            is_first: true,
            is_last: false,
            seq: Seq(0x0102_0304_0506_0708),
            before: Seq(7),
            time: UnixMillis(1_700_000_000_000),
            synced: 99,
            topic: "orders/42",
            event_type: "price",
            key: "k",
            publish_key: Some(("pk", Fingerprint(5))),
            data: b"{}",
            source: None,
        }
    }

    fn with_source() -> Record<'static> {
        Record { source: Some(b"event:price\r\ndata:{}\r\n\r\n"), ..full() }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let own = Record::own(Kind::Close, Seq(1), UnixMillis(2));
        let end = Record { kind: Kind::End(EndReason::Truncated), data: b"", ..full() };
        let empty = Record { source: Some(b""), ..full() };
        let no_publish_key = Record { publish_key: None, data: b"", ..with_source() };
        for record in [full(), own, end, with_source(), empty, no_publish_key] {
            let mut bytes = b"before".to_vec();
            let len = encode(&mut bytes, 3, &record);
            assert_eq!(bytes.len(), 6 + len as usize);
            bytes.extend_from_slice(b"behind");
            assert_eq!(decode(&bytes[6..], 3), Some((record, len)));
        }
    }

    #[test]
    fn a_records_length_is_known_before_it_is_written() {
        for record in [full(), with_source(), Record { source: Some(b""), ..full() }] {
            let mut bytes = Vec::new();
            encode(&mut bytes, 0, &record);
            let message = Message {
                event_type: EventType::new(record.event_type).ok(),
                format: DataFormat::Json,
                data: record.data.into(),
                source: record.source.map(Into::into),
            };
            let len = encoded_len("orders/42", Some(&message), "k", Some("pk"));
            assert_eq!(bytes.len() as u64, len);
        }
        let end = Record { kind: Kind::End(EndReason::Done), event_type: "", data: b"", ..full() };
        let mut bytes = Vec::new();
        encode(&mut bytes, 0, &end);
        assert_eq!(bytes.len() as u64, encoded_len("orders/42", None, "k", Some("pk")));
    }

    #[test]
    fn a_source_that_would_be_longer_than_its_record_is_none() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, &with_source());
        let at = FIXED_LEN + FINGERPRINT_LEN;
        let room = 26_u32;
        let with_len = |len: u32| {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
            // A record that was written like this, not one that was damaged.
            let crc = checksum(3, bytes[..4].try_into().unwrap(), &bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            bytes
        };
        let all = with_len(room);
        let (record, _) = decode(&all, 3).unwrap();
        assert_eq!(
            (record.source, record.data),
            (Some(&b"event:price\r\ndata:{}\r\n\r\n{}"[..]), &b""[..])
        );
        for len in [room + 1, 1 << 24, u32::MAX] {
            assert_eq!(decode(&with_len(len), 3), None, "{len}");
        }
    }

    #[test]
    fn a_damaged_or_cut_record_is_none() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, &with_source());
        assert_eq!(decode(&bytes, 4), None);
        for i in 0..bytes.len() {
            assert_eq!(decode(&bytes[..i], 3), None, "cut at {i}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                assert_eq!(decode(&damaged, 3), None, "bit {bit} of byte {i}");
            }
        }
        assert_eq!(decode(&[0; 4096], 0), None);
    }
}
