"""The cutters alone, fed in pieces of any size."""

from __future__ import annotations

import itertools

import pytest
from gateway import parse_sse, with_id

from longwave import _events
from longwave._events import Cutter, NdjsonCutter, SseCutter, cutter_for

BLOCKS = [
    b": hello\nretry: 5\nevent: a\ndata: 1\n\n",
    b"data\ndata: x:\n\n",
    b"event: \xc3\xa9\ndata: \xe2\x82\xac\n\n",
]


def body_of(line_end: bytes, heartbeat: bytes = b"") -> tuple[bytes, list[int]]:
    """A body, and where its events end."""
    body, borders = b"", []
    for index, block in enumerate(BLOCKS):
        body += heartbeat + with_id(block.replace(b"\n", line_end), f"s:{index}")
        borders.append(len(body))
    return body, borders


BODIES = {
    "lf": body_of(b"\n"),
    "crlf": body_of(b"\r\n"),
    "cr": body_of(b"\r"),
    "heartbeats": body_of(b"\n", b":\n:\n"),
    "crlf with heartbeats": body_of(b"\r\n", b":\n"),
    "cr with heartbeats": body_of(b"\r", b":\n"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_in_three_pieces_comes_out_as_it_went_in_and_never_within_an_event(name: str) -> None:
    body, borders = BODIES[name]
    for first, second in itertools.combinations_with_replacement(range(len(body) + 1), 2):
        cutter = SseCutter()
        out = b""
        for piece in (body[:first], body[first:second], body[second:]):
            out += cutter.feed(piece)
            assert body.startswith(out)
            whole = sum(border <= len(out) for border in borders)
            # A CR may have come before its LF, which is still due.
            assert cutter.events == whole or out + b"\n" == body[: len(out) + 1]
            if cutter.events:
                assert cutter.headers() == {"Last-Event-ID": f"s:{cutter.events - 1}"}
            assert parse_sse(out) == parse_sse(body)[: cutter.events]
        assert out + cutter.flush() == body
        assert cutter.may_resume


@pytest.mark.parametrize("name", BODIES)
def test_an_event_is_handed_on_with_its_last_byte(name: str) -> None:
    body, borders = BODIES[name]
    for index, border in enumerate(borders):
        cutter = SseCutter()
        for place in range(border):
            cutter.feed(body[place : place + 1])
        assert cutter.events == index + 1


@pytest.mark.parametrize("name", BODIES)
def test_what_comes_after_a_break_joins_at_the_border(name: str) -> None:
    body, borders = BODIES[name]
    for cut in range(len(body) + 1):
        cutter = SseCutter()
        out = cutter.feed(body[:cut])
        cutter.drop()
        start = ([0, *borders])[cutter.events]
        out += cutter.feed(body[start:])
        assert parse_sse(out) == parse_sse(body)


def test_a_line_end_whose_halves_come_apart_ends_one_event() -> None:
    cutter = SseCutter()
    assert cutter.feed(b"id: a\ndata: 1\n\r") == b"id: a\ndata: 1\n\r"
    assert cutter.feed(b"\nid: b\n") == b"\n"
    assert cutter.feed(b"data: 2\n\r\n") == b"id: b\ndata: 2\n\r\n"
    assert cutter.events == 2


def test_a_comment_inside_an_event_is_no_border() -> None:
    cutter = SseCutter()
    assert cutter.feed(b"data: 1\n:\n") == b""
    assert cutter.feed(b"id: a\n\n") == b"data: 1\n:\nid: a\n\n"


def test_a_heartbeat_is_handed_on_at_once() -> None:
    cutter = SseCutter()
    assert cutter.feed(b":\n") == b":\n"
    assert cutter.feed(b":") == b""
    assert cutter.feed(b"\ndata") == b":\n"


def test_the_last_of_two_ids_counts() -> None:
    cutter = SseCutter()
    cutter.feed(b"id: theirs\ndata: 1\nid:ours\n\n")
    assert cutter.headers() == {"Last-Event-ID": "ours"}


def test_an_answer_that_began_behind_an_event_goes_on_behind_it() -> None:
    cutter = cutter_for("text/event-stream", "s:4")
    assert cutter is not None
    assert cutter.headers() == {"Last-Event-ID": "s:4"}


@pytest.mark.parametrize(
    "block", [b"data: 1\n\n", b"id:\ndata: 1\n\n", b"id: \xc3\xa9\ndata: 1\n\n", b"id: a b\ndata\n\n"]
)
def test_an_event_whose_cursor_cannot_be_sent_back_is_not_repeated_by_a_resume(block: bytes) -> None:
    cutter = SseCutter()
    cutter.feed(b"id: a\ndata: 0\n\n" + block)
    assert not cutter.may_resume
    cutter.feed(b"id: b\ndata: 2\n\n")
    assert cutter.may_resume


def test_blocks_that_are_no_events_need_no_cursor() -> None:
    cutter = SseCutter()
    assert cutter.feed(b"\n\nretry: 4\n\nevent: x\n\n") == b"\n\nretry: 4\n\nevent: x\n\n"
    assert cutter.may_resume


def test_lines_are_counted_when_they_are_whole() -> None:
    body = b'{"a":1}\n\n{"b":"\\n"}\r\n{"c":3}'
    for cut in range(len(body) + 1):
        cutter = NdjsonCutter()
        out = cutter.feed(body[:cut]) + cutter.feed(body[cut:])
        assert out == body[:-7]
        assert cutter.params() == {"starting_after": "1"}
        assert cutter.flush() == body[-7:]
    assert NdjsonCutter().params() == {}


@pytest.mark.parametrize("cutter", [SseCutter(), NdjsonCutter()])
def test_an_event_beyond_the_bound_passes_without_being_held(cutter: Cutter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_events, "EVENT_BYTES_MAX", 10)
    assert cutter.feed(b"0123456789") == b""
    assert cutter.feed(b"a") == b"0123456789a"
    assert cutter.feed(b"bc") == b"bc"
    assert not cutter.may_resume


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("text/event-stream", SseCutter),
        ("Text/Event-Stream ; charset=utf-8", SseCutter),
        ("application/x-ndjson", NdjsonCutter),
        ("application/jsonl; charset=utf-8", NdjsonCutter),
    ],
)
def test_the_media_type_chooses(content_type: str, kind: type[Cutter]) -> None:
    assert isinstance(cutter_for(content_type, None), kind)


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "text/event-stream2"])
def test_other_media_types_are_not_cut(content_type: str) -> None:
    assert cutter_for(content_type, None) is None


def test_lines_that_began_behind_an_id_cannot_be_counted() -> None:
    assert cutter_for("application/x-ndjson", "s:4") is None
