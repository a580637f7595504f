//! Reading a whole segment when the log is opened: [`scan`].
//!
//! Nothing is believed but records whose checksum holds. Where one does not, what follows decides: in a segment that was
//! finished, or where a later record says that the place had been durable, it is damage, which is reported and stepped
//! over; else the process or the machine went down while it was written, nobody was told of it, and the segment ends
//! with the last whole publish before it.

use bytes::Bytes;
use hashbrown::HashMap;
use longwave_core::{
    EndReason, EventType, Fingerprint, IdempotencyKey, Message, Publication, ScopedKey, Seq,
    Snapshot, TopicName, UnixMillis,
};

use super::file::Header;
use super::index::{Place, Role, SegmentIndex};
use super::record::{self, Kind, Record};
use super::settings;

/// Which segment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// One behind which there is another.
    Finished,
    /// The one that was written to last.
    Newest,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) index: SegmentIndex,
    /// What happened, in order.
    pub(super) items: Vec<Item>,
    /// The places that are damaged: the positions behind the first and up to the second of each may be lost. The second
    /// is `None` where no record follows in the segment.
    pub(super) damages: Vec<(Seq, Option<Seq>)>,
    /// Where the last sound record ends. What lies behind it is to be cut off in the newest segment.
    pub(super) end: u32,
    /// Whether more lies behind it than zeros, which only mean that nothing was written there yet.
    pub(super) is_torn: bool,
    /// The last position that a sound record has or reserves, and the last time.
    pub(super) last: (Seq, UnixMillis),
    pub(super) reserved: Seq,
    /// Whether the last record says that the log was closed.
    pub(super) is_closed: bool,
}

/// Something for the ledger. Topics are numbers of the segment's index.
#[derive(Debug)]
pub(super) enum Item {
    Event { topic: u32, seq: Seq, before: Seq, end: Option<(EndReason, UnixMillis)> },
    Settings { topic: u32, seq: Seq, snapshot: Box<Snapshot> },
    Deletion { topic: u32, seq: Seq },
    Key { topic: u32, key: Box<(ScopedKey, Publication)> },
}

/// Reads the records in `bytes`, which is a segment from its first byte on. Keys of publishes before `keys_since` are
/// left out.
pub(super) fn scan(bytes: &[u8], base: Seq, seed: u32, age: Age, keys_since: UnixMillis) -> Scan {
    let mut scanner = Scanner {
        scan: Scan {
            index: SegmentIndex::new(base, Header::END),
            items: Vec::new(),
            damages: Vec::new(),
            end: Header::END,
            is_torn: false,
            last: (Seq(base.0.saturating_sub(1)), UnixMillis(0)),
            reserved: Seq::ZERO,
            is_closed: false,
        },
        names: HashMap::new(),
        publish: None,
        keys_since,
    };
    // Places behind which nothing yet says that they had been durable.
    let mut unsure: Vec<(u32, State)> = Vec::new();
    let mut whole = scanner.state(Header::END);
    let mut at = Header::LEN;
    let blank = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    while at < blank {
        let Some((offset, record, len)) = next_record(bytes, at, seed, scanner.scan.last.0) else {
            break;
        };
        if offset as usize > at {
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            unsure.push((place, whole));
            scanner.scan.damages.push((scanner.scan.last.0, Some(Seq(record.seq.0 - 1))));
            scanner.scan.index.skip(place);
        }
        if age == Age::Finished {
            unsure.clear();
        }
        unsure.retain(|(place, _)| record.synced <= *place);
        scanner.add(&record, offset, len);
        at = offset as usize + len as usize;
        if record.is_last {
            whole = scanner.state(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }
    match (age, unsure.first()) {
        (Age::Newest, Some((_, before))) => scanner.cut(*before, bytes, seed),
        (Age::Newest, None) => scanner.cut(whole, bytes, seed),
        (Age::Finished, _) if at < blank => {
            scanner.scan.damages.push((scanner.scan.last.0, None));
        }
        (Age::Finished, _) => {}
    }
    scanner.scan.is_torn = blank > scanner.scan.end as usize;
    scanner.scan
}

/// The first sound record at `at` or behind it.
fn next_record(bytes: &[u8], at: usize, seed: u32, last: Seq) -> Option<(u32, Record<'_>, u32)> {
    for offset in at..bytes.len().saturating_sub(record::FIXED_LEN - 1) {
        let rest = bytes.get(offset..)?;
        if offset > at && !may_be_record(rest) {
            continue;
        }
        if let Some((record, len)) = record::decode(rest, seed)
            && record.seq > last
        {
            return Some((u32::try_from(offset).ok()?, record, len));
        }
    }
    None
}

/// Cheaply tells most bytes from a record, so that a search costs no checksum at each of them.
fn may_be_record(bytes: &[u8]) -> bool {
    match bytes {
        [l0, l1, l2, l3, _, _, _, _, kind, flags, code, _, _, _, _, zero, ..] => {
            let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
            len <= bytes.len()
                && (1..=6).contains(kind)
                && *flags < record::FLAGS_END
                && *code < 8
                && *zero == 0
        }
        _ => false,
    }
}

struct Scanner<'a> {
    scan: Scan,
    names: HashMap<&'a str, u32>,
    /// The publish whose last record has not come yet.
    publish: Option<OpenPublish>,
    keys_since: UnixMillis,
}

struct OpenPublish {
    first: Seq,
    count: u32,
    key: Option<(ScopedKey, Fingerprint)>,
}

/// How far a scan had come.
#[derive(Clone, Copy)]
struct State {
    end: u32,
    damages: usize,
}

impl<'a> Scanner<'a> {
    fn state(&self, end: u32) -> State {
        State { end, damages: self.scan.damages.len() }
    }

    fn add(&mut self, record: &Record<'a>, offset: u32, len: u32) {
        let seq = record.seq;
        let topic = self.topic(record.topic);
        let role = match record.kind {
            Kind::Message(_) | Kind::End(_) => Role::Event,
            Kind::Deletion => Role::Deletion,
            Kind::Settings | Kind::Reservation | Kind::Close => Role::Other,
        };
        self.scan.index.push(Place { seq, offset, len }, record.time, topic, role);
        self.scan.end = offset + len;
        self.scan.last = (seq, self.scan.last.1.max(record.time));
        self.scan.is_closed = record.kind == Kind::Close;
        let Some(topic) = topic else {
            if record.kind == Kind::Reservation {
                self.scan.reserved = self.scan.reserved.max(record.before);
            }
            return;
        };
        match record.kind {
            Kind::Message(_) | Kind::End(_) => {
                let end = match record.kind {
                    Kind::End(reason) => Some((reason, record.time)),
                    _ => None,
                };
                self.scan.items.push(Item::Event { topic, seq, before: record.before, end });
                self.add_keys(record, topic);
            }
            Kind::Settings => {
                if let Some(snapshot) = settings::decode(record.data) {
                    let snapshot = Box::new(snapshot);
                    self.scan.items.push(Item::Settings { topic, seq, snapshot });
                }
            }
            Kind::Deletion => self.scan.items.push(Item::Deletion { topic, seq }),
            Kind::Reservation | Kind::Close => {}
        }
    }

    fn add_keys(&mut self, record: &Record<'_>, topic: u32) {
        if record.time < self.keys_since {
            return;
        }
        let (seq, time) = (record.seq, record.time);
        let mut remember = |key, publication| {
            self.scan.items.push(Item::Key { topic, key: Box::new((key, publication)) });
        };
        if let (Kind::Message(format), Ok(key)) = (record.kind, IdempotencyKey::new(record.key)) {
            let message = Message {
                event_type: EventType::recorded(record.event_type).ok(),
                format,
                data: Bytes::copy_from_slice(record.data),
                source: record.source.map(Bytes::copy_from_slice),
            };
            let fingerprint = Fingerprint::of_message(&message);
            let publication = Publication { first: seq, last: seq, count: 1, time, fingerprint };
            remember(ScopedKey::Message(key), publication);
        }
        if record.is_first {
            let key = record.publish_key.and_then(|(key, fingerprint)| {
                Some((ScopedKey::Publish(IdempotencyKey::new(key).ok()?), fingerprint))
            });
            self.publish = Some(OpenPublish { first: seq, count: 0, key });
        }
        if let Some(publish) = &mut self.publish {
            publish.count += 1;
        }
        if record.is_last
            && let Some(OpenPublish { first, count, key: Some((key, fingerprint)) }) =
                self.publish.take()
        {
            remember(key, Publication { first, last: seq, count, time, fingerprint });
        }
    }

    fn topic(&mut self, name: &'a str) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        if let Some(id) = self.names.get(name) {
            return Some(*id);
        }
        // Its checksum held, so it was written as it is; but to be sure, an impossible name is no topic's.
        let topic = if name.starts_with('$') { TopicName::reserved(name) } else { name.parse() };
        let id = self.scan.index.intern(&topic.ok()?);
        self.names.insert(name, id);
        Some(id)
    }

    /// Goes back to where the segment had come to: by reading it again up to there, since a torn end is rare and short.
    fn cut(&mut self, to: State, bytes: &[u8], seed: u32) {
        if to.end == self.scan.end && to.damages == self.scan.damages.len() {
            return;
        }
        let base = self.scan.index.base();
        let bytes = bytes.get(..to.end as usize).unwrap_or_default();
        let reserved = self.scan.reserved;
        // All of it is sound or known to be damaged now, so nothing is left to be cut.
        self.scan = scan(bytes, base, seed, Age::Finished, self.keys_since);
        self.scan.reserved = self.scan.reserved.max(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of publishes of one topic: each number is how many records one has. `synced` is told by each.
    fn segment(publishes: &[(u32, u32)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; Header::LEN];
        let mut ends = vec![bytes.len()];
        let mut seq = 0;
        for (count, synced) in publishes {
            for i in 0..*count {
                seq += 1;
                let record = Record {
                    is_first: i == 0,
                    is_last: i + 1 == *count,
                    before: Seq(seq - 1),
                    synced: *synced,
                    topic: "a",
                    data: b"some data",
                    kind: Kind::Message(longwave_core::DataFormat::Text),
                    ..Record::own(Kind::Close, Seq(seq), UnixMillis(seq))
                };
                record::encode(&mut bytes, 1, &record);
                ends.push(bytes.len());
            }
        }
        (bytes, ends)
    }

    /// The events' positions, the damages, and where it ends.
    type Found = (Vec<u64>, Vec<(u64, Option<u64>)>, usize);

    fn check(bytes: &[u8], age: Age) -> Found {
        let scan = scan(bytes, Seq(1), 1, age, UnixMillis(0));
        let indexed: Vec<u64> = scan.index.events_of(0, Seq::ZERO).map(|p| p.seq.0).collect();
        let events = scan.items.iter().map(|item| match item {
            Item::Event { seq, .. } => seq.0,
            _ => panic!("only events were written"),
        });
        assert_eq!(events.collect::<Vec<_>>(), indexed);
        let damages = scan.damages.iter().map(|(a, b)| (a.0, b.map(|b| b.0))).collect();
        (indexed, damages, scan.end as usize)
    }

    #[test]
    fn a_torn_end_is_cut_behind_the_last_whole_publish_wherever_it_is_torn() {
        let (bytes, ends) = segment(&[(1, 0), (2, 0), (3, 0)]);
        for cut in ends[3]..bytes.len() {
            assert_eq!(check(&bytes[..cut], Age::Newest), (vec![1, 2, 3], vec![], ends[3]));
            let mut zeroed = bytes.clone();
            zeroed[cut..].fill(0);
            assert_eq!(check(&zeroed, Age::Newest), (vec![1, 2, 3], vec![], ends[3]), "{cut}");
        }
        assert_eq!(check(&bytes, Age::Newest), ((1..=6).collect(), vec![], bytes.len()));
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + 5000, 0);
        assert_eq!(check(&longer, Age::Newest), ((1..=6).collect(), vec![], bytes.len()));
    }

    #[test]
    fn any_flipped_bit_in_the_last_publish_drops_all_of_it() {
        let (bytes, ends) = segment(&[(1, 0), (2, 0), (3, 0)]);
        for i in ends[3]..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                assert_eq!(check(&damaged, Age::Newest), (vec![1, 2, 3], vec![], ends[3]));
            }
        }
    }

    #[test]
    fn what_had_been_durable_is_damage_and_what_follows_it_is_kept() {
        let (bytes, ends) = segment(&[(1, 0), (2, 64), (1, 0), (1, 0)]);
        // The last publish is made to say that all before it was durable.
        let (tail, _) = segment(&[(1, 0), (2, 64), (1, 0), (1, u32::try_from(ends[4]).unwrap())]);
        for i in ends[1]..ends[2] {
            let mut damaged = tail.clone();
            damaged[i] ^= 1;
            let expected = (vec![1, 3, 4, 5], vec![(1, Some(2))], bytes.len());
            assert_eq!(check(&damaged, Age::Newest), expected, "{i}");
            // Where nothing says so, it is a torn end.
            let mut torn = bytes.clone();
            torn[i] ^= 1;
            assert_eq!(check(&torn, Age::Newest), (vec![1], vec![], ends[1]), "{i}");
        }
    }

    #[test]
    fn in_a_finished_segment_everything_unsound_is_damage() {
        let (bytes, ends) = segment(&[(1, 0), (2, 0), (1, 0)]);
        for i in ends[1]..ends[3] {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x80;
            let lost = if i < ends[2] { 2 } else { 3 };
            let kept = (1..=4).filter(|seq| *seq != lost).collect();
            let damages = vec![(lost - 1, Some(lost))];
            assert_eq!(check(&damaged, Age::Finished), (kept, damages, bytes.len()), "{i}");
        }
        // What was set aside for records that never came is no damage.
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + 5000, 0);
        assert_eq!(check(&longer, Age::Finished), ((1..=4).collect(), vec![], bytes.len()));
        for cut in ends[3] + 1..bytes.len() {
            let expected = (vec![1, 2, 3], vec![(3, None)], ends[3]);
            assert_eq!(check(&bytes[..cut], Age::Finished), expected);
        }
    }

    #[test]
    fn data_that_looks_like_a_record_of_another_log_is_not_taken_for_one() {
        let (other, _) = segment(&[(1, 9999)]);
        let mut bytes = vec![0; Header::LEN];
        let record = Record {
            topic: "a",
            kind: Kind::Message(longwave_core::DataFormat::Binary),
            data: &other[Header::LEN..],
            ..Record::own(Kind::Close, Seq(1), UnixMillis(0))
        };
        record::encode(&mut bytes, 2, &record);
        bytes[Header::LEN + 20] ^= 1;
        let scan = scan(&bytes, Seq(1), 2, Age::Newest, UnixMillis(0));
        assert_eq!((scan.items.len(), scan.end), (0, Header::END));
    }
}
