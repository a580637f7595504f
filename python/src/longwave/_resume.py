"""How a broken answer is gone on with: what is asked, how often, and what the reply means.

Pure but for the jitter: no clock, no sockets. Start with `Resumption`, which belongs to one answer. The drivers in
`_sync` and `_async` do what it says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Literal

from ._events import Cutter, NdjsonCutter, SseCutter, cutter_for, media_type

OnClose = Literal["leave", "cancel"]
OnReadTimeout = Literal["raise", "resume"]


@dataclass(frozen=True)
class Options:
    """What the user of a transport chose. `ResumingTransport` says what each means."""

    on_close: OnClose
    on_read_timeout: OnReadTimeout
    resumes_max: int
    connects_max: int

    def __post_init__(self) -> None:
        if self.on_close not in ("leave", "cancel"):
            raise ValueError(f'on_close is "leave" or "cancel", not {self.on_close!r}')
        if self.on_read_timeout not in ("raise", "resume"):
            raise ValueError(f'on_read_timeout is "raise" or "resume", not {self.on_read_timeout!r}')
        for name in ("resumes_max", "connects_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, not {getattr(self, name)}")


class Backoff:
    """Full jitter between attempts that failed one after another, up to a number of them."""

    def __init__(self, attempts_max: int) -> None:
        self._attempts_max = attempts_max
        self._attempts = 0

    def next_delay_s(self, retry_after_s: float = 0.0) -> float | None:
        """How long to wait before the next attempt; `None` when there is none, or none so soon."""
        if self._attempts >= self._attempts_max or retry_after_s > RETRY_AFTER_MAX_S:
            return None
        ceiling_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(self._attempts, _DOUBLINGS_MAX))
        self._attempts += 1
        # On top of what the server asks for, so that not all come at that moment.
        return retry_after_s + random.uniform(0.0, ceiling_s)

    def reset(self) -> None:
        """Something came through: what failed before no longer counts."""
        self._attempts = 0


class Verdict(Enum):
    """What a reply to a resume means."""

    GOES_ON = auto()
    IS_OVER = auto()
    TRY_AGAIN = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class Judgement:
    """A verdict with what belongs to it."""

    verdict: Verdict
    #: Why it is refused, for a person.
    reason: str = ""
    retry_after_s: float = 0.0


class Resumption:
    """One answer that can be gone on with: its cursor and its attempts."""

    def __init__(self, stream_path: str, method: str, cutter: Cutter, attempts_max: int) -> None:
        self.stream_path = stream_path
        self.cutter = cutter
        self._backoff = Backoff(attempts_max)
        self._repeats_request = method != "POST"

    @property
    def starts_over(self) -> bool:
        """Whether to repeat the request itself: a read that may not begin at the stream's first event, before its
        own first one came."""
        return self._repeats_request and self.cutter.events == 0

    def feed(self, chunk: bytes) -> bytes:
        """As `Cutter.feed`; an event that came whole makes good for the attempts before it."""
        events = self.cutter.events
        whole = self.cutter.feed(chunk)
        if self.cutter.events != events:
            self._backoff.reset()
        return whole

    def next_delay_s(self, retry_after_s: float = 0.0) -> float | None:
        """How long to wait before the next attempt; `None` when it is time to give up."""
        return self._backoff.next_delay_s(retry_after_s)

    def judge(self, status: int, headers: Mapping[str, str], content_type: str) -> Judgement:
        """What a reply to a resume means. `content_type` is the one of the answer that broke."""
        if status == 200:
            expected = media_type(content_type)
            if media_type(headers.get("content-type", "")) == expected and is_identity(headers):
                return Judgement(Verdict.GOES_ON)
            # Not the gateway: the page of a portal, or of a proxy whose server is away.
            return Judgement(Verdict.TRY_AGAIN)
        if status == 204:
            end = headers.get("longwave-end", _DONE).strip()
            if end == _DONE:
                return Judgement(Verdict.IS_OVER)
            # Never a clean end for an answer that is not whole: some dialects can't say so in the body.
            return Judgement(Verdict.REFUSED, f"the stream {self.stream_path} ended as `{end}`")
        if status >= 500 or status in _TRY_AGAIN:
            return Judgement(Verdict.TRY_AGAIN, retry_after_s=parse_retry_after_s(headers.get("retry-after")))
        meaning = _REFUSALS.get(status, "the gateway does not go on with it")
        return Judgement(Verdict.REFUSED, f"the stream {self.stream_path} broke, and {meaning} ({status})")


def resumption_for(request: Any, status: int, headers: Mapping[str, str], attempts_max: int) -> Resumption | None:
    """How to go on with an answer; `None` where no gateway offers to, which leaves the answer as it is."""
    path = headers.get("longwave-stream", "")
    # A path on the origin that was asked, and nothing else: the request's credentials go there.
    if status != 200 or _PATH.fullmatch(path) is None or not is_identity(headers):
        return None
    cutter = cutter_for(headers.get("content-type", ""), request.headers.get("last-event-id"))
    # A read of lines may have begun anywhere, so they can't be counted; events of SSE carry their cursor.
    resumes = {"POST": (SseCutter, NdjsonCutter), "GET": (SseCutter,)}
    if not isinstance(cutter, resumes.get(request.method, ())):
        return None
    return Resumption(path, request.method, cutter, attempts_max)


def resume_headers(original: Mapping[str, str], cutter: Cutter, content_type: str) -> dict[str, str]:
    """The headers of a request for the rest: who asks stays, what described the first request's body goes."""
    headers = {name: value for name, value in original.items() if name.lower() not in _OF_THE_BODY}
    headers.update({"Accept": media_type(content_type), "Accept-Encoding": "identity"})
    headers.update(cutter.headers())
    return headers


def is_identity(headers: Mapping[str, str]) -> bool:
    """Whether the body is not compressed: what is compressed as a whole can't be joined."""
    return headers.get("content-encoding", "identity").strip().lower() in ("", "identity")


def parse_retry_after_s(value: str | None) -> float:
    """Seconds from a `Retry-After` of either form; 0 where there is none that can be read."""
    if value is None:
        return 0.0
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds())


#: The delay before attempt n is drawn from 0 to `BACKOFF_BASE_S` · 2ⁿ, and at most `BACKOFF_MAX_S`.
BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 8.0
#: A server that asks for more than this is taken at its word, and the answer is given up.
RETRY_AFTER_MAX_S = 60.0
#: How long a cancel on close may take.
CANCEL_TIMEOUT_S = 5.0

#: Beyond it the ceiling is long reached, and a float would overflow.
_DOUBLINGS_MAX = 32
_DONE = "done"
_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9\-._~%!$&'()*+,;=:@/]{1,1024}")
_SECONDS = re.compile(r"[0-9]+")
_TRY_AGAIN = frozenset({408, 425, 429})
_OF_THE_BODY = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "idempotency-key",
        "last-event-id",
        "transfer-encoding",
    }
)
_REFUSALS = {
    401: "the gateway does not know who asks for the rest",
    403: "the gateway does not let this client read the rest",
    404: "the gateway does not know it (any more)",
    410: "the gateway no longer keeps what follows the last event received",
}
