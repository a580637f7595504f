//! What the decoder promises beyond the cases: when things come out, its size limit, its states.

use std::time::Duration;

use longwave_sse::{DecodeError, Decoded, Decoder, EVENT_BYTES_MAX_DEFAULT, UnknownFields};

use crate::record::Record;

#[test]
fn an_event_goes_out_at_the_cr_and_the_late_lf_is_swallowed() {
    let mut decoder = Decoder::new();
    let mut input = &b"data: a\r\n\r"[..];
    assert!(
        matches!(decoder.decode(&mut input), Ok(Some(Decoded::Event(event))) if event.data() == "a")
    );
    assert!(input.is_empty());
    let seen =
        Record::of_decoder(&mut decoder, [&b"\n"[..], b"data: b\n", b"\r", b"\n\ndata: c\n\n"]);
    let data: Vec<_> = seen.events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["b", "c"]);
}

#[test]
fn an_event_within_one_piece_is_borrowed_from_it() {
    let piece = b"id: 1\nevent: t\ndata: borrowed\n\n".to_vec();
    let mut decoder = Decoder::new();
    let mut input = piece.as_slice();
    let Ok(Some(Decoded::Event(event))) = decoder.decode(&mut input) else { panic!("no event") };
    assert!(piece.as_ptr_range().contains(&event.data().as_ptr()));
}

#[test]
fn a_caller_may_stop_after_any_item_and_go_on_later() {
    let stream = b"data: a\n\n: hi\nretry: 5\ndata: b\n\n";
    let mut decoder = Decoder::new();
    let mut offset = 0;
    let mut seen = Vec::new();
    loop {
        let mut input = &stream[offset..];
        let Some(decoded) = decoder.decode(&mut input).unwrap() else { break };
        seen.push(match decoded {
            Decoded::Event(event) => event.data().to_owned(),
            Decoded::Comment(text) => text.to_owned(),
            Decoded::Retry(delay) => format!("{delay:?}"),
            other => panic!("{other:?}"),
        });
        offset = stream.len() - input.len();
    }
    assert_eq!(seen, ["a", "hi", "5ms", "b"]);
}

#[test]
fn an_event_tells_its_own_id_from_an_inherited_one() {
    let seen =
        Record::of([&b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\n\ndata: d\n\n"[..]]);
    let ids: Vec<_> = seen
        .events
        .iter()
        .map(|event| (event.id.as_deref(), event.last_event_id.as_str()))
        .collect();
    assert_eq!(ids, [(Some("1"), "1"), (None, "1"), (Some(""), ""), (None, "2")]);
}

#[test]
fn the_last_event_id_moves_at_the_blank_line_and_not_before() {
    let mut decoder = Decoder::new().with_last_event_id("0");
    let mut id_after = |piece: &[u8]| Record::of_decoder(&mut decoder, [piece]).last_event_id;
    assert_eq!(id_after(b"data: x\n\n"), "0");
    assert_eq!(id_after(b"id: 1\ndata: a\n"), "0");
    assert_eq!(id_after(b"\n"), "1");
    assert_eq!(id_after(b"id: 2\n\n"), "2");
}

#[test]
fn unknown_fields_are_ignored_unless_asked_for() {
    let stream = &b"topic: t\ndata: a\n\n"[..];
    let ignored = Record::of_decoder(&mut Decoder::new(), [stream]);
    assert!(ignored.events[0].extensions.is_empty());
    let kept =
        Record::of_decoder(&mut Decoder::new().with_unknown_fields(UnknownFields::Keep), [stream]);
    assert_eq!(kept.events[0].extensions["topic"], "t");
}

#[test]
fn a_repeated_extension_field_is_listed_each_time_and_the_last_is_its_value() {
    let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
    let mut input = &b"t: 1\nu\nt: 2:3\ndata\n\n"[..];
    let Ok(Some(Decoded::Event(event))) = decoder.decode(&mut input) else { panic!("no event") };
    let fields: Vec<_> = event.extensions().iter().collect();
    assert_eq!(fields, [("t", "1"), ("u", ""), ("t", "2:3")]);
    assert_eq!(event.extensions().value("t"), Some("2:3"));
    assert_eq!(event.extensions().value("T"), None);
}

#[test]
fn a_retry_past_what_fits_is_the_longest_there_is() {
    let seen = Record::of([&b"retry: 99999999999999999999999999\n"[..]]);
    assert_eq!(seen.retries, [u64::MAX]);
}

#[test]
fn an_event_of_exactly_the_limit_passes_and_one_byte_more_fails() {
    let streams: [&[u8]; 5] = [
        b"data: 4567\n\n",
        b"id: 1\ndata:\n\n",
        b"data\ndata: \n\n",
        b"x: 45\ndata:\r\r",
        b"event:t\nid:\n\n",
    ];
    for stream in streams {
        let ends = stream.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        let size = stream.len() - ends;
        for keep in [UnknownFields::Ignore, UnknownFields::Keep] {
            let error_at = |event_bytes_max, pieces: Vec<&[u8]>| {
                let mut decoder =
                    Decoder::new().with_unknown_fields(keep).with_event_bytes_max(event_bytes_max);
                Record::of_decoder(&mut decoder, pieces).error
            };
            let too_large = Some(DecodeError::EventTooLarge { event_bytes_max: size - 1 });
            for at in 0..=stream.len() {
                let (before, after) = stream.split_at(at);
                assert_eq!(error_at(size, vec![before, after]), None, "cut at {at}");
                assert_eq!(error_at(size - 1, vec![before, after]), too_large, "cut at {at}");
            }
        }
    }
}

#[test]
fn a_line_without_end_fails_at_the_limit_whatever_its_field() {
    for start in ["data: ", ": ", "id: ", "event: ", "retry: ", "unknown: ", ""] {
        let mut decoder = Decoder::new().with_event_bytes_max(64 * 1024);
        let mut fed = 0_usize;
        let mut piece = start.as_bytes();
        let error = loop {
            fed += piece.len();
            match decoder.decode(&mut piece) {
                Ok(decoded) => assert_eq!(decoded, None),
                Err(error) => break error,
            }
            piece = &[b'x'; 1000];
        };
        assert_eq!(error, DecodeError::EventTooLarge { event_bytes_max: 64 * 1024 });
        assert!(fed > 64 * 1024 && fed <= 65 * 1024, "{start:?} failed after {fed} bytes");
    }
}

#[test]
fn an_endless_event_of_short_lines_fails_at_the_default_limit() {
    let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
    let line = "unknown: and never a blank line\n";
    let piece = line.repeat(1024);
    let pieces =
        (0..EVENT_BYTES_MAX_DEFAULT).step_by((line.len() - 1) * 1024).map(|_| piece.as_bytes());
    let seen = Record::of_decoder(&mut decoder, pieces);
    assert_eq!(
        seen.error,
        Some(DecodeError::EventTooLarge { event_bytes_max: EVENT_BYTES_MAX_DEFAULT })
    );
}

#[test]
fn heartbeats_and_finished_events_do_not_add_up() {
    let mut decoder = Decoder::new().with_event_bytes_max(16);
    let stream = ":\n: hi\nid: 1\n:\ndata: a\n\n".repeat(1000);
    let seen = Record::of_decoder(&mut decoder, [stream.as_bytes()]);
    assert_eq!((seen.error, seen.events.len(), seen.comments.len()), (None, 1000, 3000));
}

#[test]
fn a_failed_decoder_stays_failed_keeps_its_id_and_a_reset_revives_it() {
    let mut decoder =
        Decoder::new().with_event_bytes_max(10).with_unknown_fields(UnknownFields::Keep);
    let failed = DecodeError::EventTooLarge { event_bytes_max: 10 };
    let seen = Record::of_decoder(
        &mut decoder,
        [&b"id:1\ndata:a\n\nid:2\ndata: too much\n\ndata:b\n\n"[..]],
    );
    assert_eq!(
        (seen.events.len(), seen.error, seen.last_event_id.as_str()),
        (1, Some(failed), "1")
    );

    let mut input = &b"data:c\n\n"[..];
    assert_eq!(decoder.decode(&mut input), Err(failed));
    assert!(input.is_empty());
    assert!(!decoder.is_mid_event());

    decoder.reset();
    let seen = Record::of_decoder(
        &mut decoder,
        [&b"\xEF\xBB\xBFt:u\ndata:d\n\n"[..], b"data: too much\n"],
    );
    assert_eq!((seen.events[0].data.as_str(), seen.events[0].last_event_id.as_str()), ("d", "1"));
    assert_eq!(seen.events[0].extensions["t"], "u");
    assert_eq!(seen.error, Some(failed));
}

#[test]
fn a_reset_forgets_the_unfinished_event_and_a_pending_line_feed() {
    for cut in [
        &b"id: 1\ndata: a\nevent: t\ntopic: u\n"[..],
        b"data: a",
        b"da",
        b": hi",
        b"data: a\r",
        b"\xEF\xBB",
    ] {
        let mut decoder = Decoder::new().with_unknown_fields(UnknownFields::Keep);
        Record::of_decoder(&mut decoder, [cut]);
        decoder.reset();
        let seen = Record::of_decoder(&mut decoder, [&b"\ndata: b\n\n"[..]]);
        assert_eq!(seen, Record::of([&b"\ndata: b\n\n"[..]]), "after {cut:?}");
    }
}

#[test]
fn the_decoder_knows_whether_an_end_now_would_cut_something_off() {
    let mid_event = |stream: &[u8]| {
        let mut decoder = Decoder::new();
        Record::of_decoder(&mut decoder, [stream]);
        decoder.is_mid_event()
    };
    for cut in [
        &b"data: a\n"[..],
        b"data",
        b"data\n",
        b"id\n",
        b"event: t\n",
        b":",
        b"retry: 5",
        b"data: a\n\nid: 1\r",
    ] {
        assert!(mid_event(cut), "{cut:?}");
    }
    for whole in [
        &b""[..],
        b"\xEF\xBB\xBF",
        b"data: a\n\n",
        b"data: a\r\r",
        b":\n",
        b"retry: 5\n",
        b"id: 1\n\n",
        b"event: t\n\n:\n",
    ] {
        assert!(!mid_event(whole), "{whole:?}");
    }
}

#[test]
fn after_an_event_is_handed_out_the_decoder_is_between_events() {
    let mut decoder = Decoder::new();
    let mut input = &b"data: a\ndata: b\n\nid: 1\n"[..];
    assert!(matches!(decoder.decode(&mut input), Ok(Some(Decoded::Event(_)))));
    assert!(!decoder.is_mid_event());
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(decoder.is_mid_event());
}

#[test]
fn a_retry_is_handed_out_at_its_line() {
    let mut decoder = Decoder::new();
    let mut input = &b"retry: 3000\n"[..];
    assert_eq!(decoder.decode(&mut input), Ok(Some(Decoded::Retry(Duration::from_secs(3)))));
}
