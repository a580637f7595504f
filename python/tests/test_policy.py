"""How long to wait, and what a reply means: the numbers, without a socket."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import ClassVar

import pytest

from longwave import _resume
from longwave._resume import Backoff, parse_retry_after_s, resumption_for


def test_waits_are_drawn_from_a_range_that_doubles_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    ceilings: list[float] = []

    def draw(low: float, high: float) -> float:
        assert low == 0
        ceilings.append(high)
        return high / 2

    monkeypatch.setattr(_resume, "BACKOFF_BASE_S", 0.25)
    monkeypatch.setattr("random.uniform", draw)
    backoff = Backoff(8)
    waits = [backoff.next_delay_s() for _ in range(9)]
    assert ceilings == [0.25, 0.5, 1, 2, 4, 8, 8, 8]
    assert waits == [ceiling / 2 for ceiling in ceilings] + [None]


def test_a_wait_is_at_least_what_the_server_asks_for() -> None:
    backoff = Backoff(3)
    wait = backoff.next_delay_s(7.0)
    assert wait is not None
    assert wait >= 7.0
    assert backoff.next_delay_s(_resume.RETRY_AFTER_MAX_S + 1) is None


def test_attempts_are_counted_from_the_last_event() -> None:
    backoff = Backoff(1)
    assert backoff.next_delay_s() is not None
    assert backoff.next_delay_s() is None
    backoff.reset()
    assert backoff.next_delay_s() is not None


def test_any_number_of_attempts_can_be_waited_for() -> None:
    backoff = Backoff(3000)
    assert all(backoff.next_delay_s() is not None for _ in range(3000))


def test_retry_after_is_read_in_both_forms() -> None:
    assert parse_retry_after_s("12") == 12.0
    soon = datetime.now(timezone.utc) + timedelta(seconds=100)
    assert 0 < parse_retry_after_s(format_datetime(soon, usegmt=True)) <= 100
    assert parse_retry_after_s("Fri, 01 Jan 1999 00:00:00 GMT") == 0.0
    assert parse_retry_after_s("Fri, 01 Jan 1999 00:00:00 -0000") == 0.0


@pytest.mark.parametrize("value", [None, "", "soon", "-4", "1.5", "²"])
def test_a_retry_after_that_says_nothing_asks_for_nothing(value: str | None) -> None:
    assert parse_retry_after_s(value) == 0.0


def test_both_modules_are_one_but_for_the_name_of_the_library() -> None:
    folder = Path(_resume.__file__).parent
    ours = (folder / "httpx.py").read_text(encoding="utf-8")
    assert ours.replace("httpx", "httpx2") == (folder / "httpx2.py").read_text(encoding="utf-8")


def test_other_methods_are_left_alone() -> None:
    class Request:
        method = "PUT"
        headers: ClassVar[dict[str, str]] = {}

    headers = {"longwave-stream": "/streams/a", "content-type": "text/event-stream"}
    assert resumption_for(Request(), 200, headers, 1) is None
    Request.method = "POST"
    assert resumption_for(Request(), 200, headers, 1) is not None
