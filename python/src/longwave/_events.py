"""Cuts a streamed body at the borders of its events, and keeps the cursor of the last one.

Pure: bytes in, bytes out. Start with `Cutter`; `cutter_for` chooses one by the answer's media type. What is cut is
never changed: all bytes of a whole body come out, in order.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod


class Cutter(ABC):
    """Hands on whole events only, so that what follows a break can be joined at the border."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._passes_all = False
        #: How many events were handed on.
        self.events = 0
        #: Whether an event says that it is the last one, so that nobody needs to wait for the body's end.
        self.said_done = False

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they came; what may be handed on now, up to the last border."""
        if self._passes_all:
            return chunk
        whole = self._cut(chunk)
        if len(self._held) > EVENT_BYTES_MAX:
            # Bounded memory comes first: the rest passes as it comes, and a break is no longer repaired.
            self._passes_all = True
            whole += self.flush()
        return whole

    def flush(self) -> bytes:
        """What is left when the body has ended in order."""
        rest = bytes(self._held)
        self.drop()
        return rest

    def drop(self) -> None:
        """Forgets the event that a break has cut: it comes again, whole."""
        self._held.clear()

    @property
    def may_resume(self) -> bool:
        """Whether it is known where to go on."""
        return not self._passes_all

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """The request headers that ask for what follows the last event."""

    @abstractmethod
    def params(self) -> dict[str, str]:
        """The query parameters that ask for what follows the last event."""

    @abstractmethod
    def _cut(self, chunk: bytes) -> bytes: ...


class SseCutter(Cutter):
    """Server-sent events, with line ends LF, CRLF or CR.

    A border is behind the blank line that ends a block, and behind a comment line that is not inside a block.
    """

    def __init__(self, last_event_id: str | None = None) -> None:
        super().__init__()
        self._last_event_id = last_event_id
        self._is_lost = False
        self._start_over()

    def drop(self) -> None:
        super().drop()
        self._start_over()

    @property
    def may_resume(self) -> bool:
        return super().may_resume and not self._is_lost

    def headers(self) -> dict[str, str]:
        return {} if self._last_event_id is None else {"Last-Event-ID": self._last_event_id}

    def params(self) -> dict[str, str]:
        return {}

    def _start_over(self) -> None:
        #: Where the current line starts in what is held, and where to look for its end.
        self._line_start = 0
        self._search_from = 0
        #: How the line before ended, where it belongs to the same block.
        self._line_end = b""
        self._begin_block()

    def _begin_block(self) -> None:
        self._line_end = b""
        self._block_id: bytes | None = None
        self._block_has_data = False
        self._block_says_done = False

    def _cut(self, chunk: bytes) -> bytes:
        self._held += chunk
        border = 0
        while (found := _LINE_END.search(self._held, self._search_from)) is not None:
            end, line_end = found.end(), found.group()
            line = bytes(self._held[self._line_start : found.start()])
            is_in_block = self._line_end != b""
            may_be_half = line_end == b"\r" and end == len(self._held)
            # Only an event is not kept waiting for the other half, unless LF has to follow. One that follows all the
            # same counts as one more blank line, which ends nothing.
            if may_be_half and (line or not is_in_block or self._line_end == b"\r\n"):
                self._search_from = found.start()
                break
            self._line_start = self._search_from = end
            if not line:
                self._finish_block()
                border = end
            elif line.startswith(b":") and not is_in_block:
                border = end
            else:
                self._line_end = line_end
                self._read_field(line)
        else:
            self._search_from = len(self._held)
        whole = bytes(self._held[:border])
        del self._held[:border]
        self._line_start -= border
        self._search_from -= border
        return whole

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"id":
            self._block_id = value
        elif name == b"data":
            self._block_has_data = True
            self._block_says_done = value.startswith(_DONE)

    def _finish_block(self) -> None:
        if self._block_says_done:
            self.said_done = True
        if self._block_id is not None and _SENDABLE_ID.fullmatch(self._block_id):
            self._last_event_id = self._block_id.decode("ascii")
            self._is_lost = False
            self.events += 1
        elif self._block_has_data:
            # An event without a cursor: going on behind the one before would repeat it.
            self._is_lost = True
        self._begin_block()


class NdjsonCutter(Cutter):
    """JSON documents, one a line. The cursor is a line's place, from 0; blank lines don't count."""

    def __init__(self) -> None:
        super().__init__()
        self._search_from = 0

    def drop(self) -> None:
        super().drop()
        self._search_from = 0

    def headers(self) -> dict[str, str]:
        return {}

    def params(self) -> dict[str, str]:
        return {"starting_after": str(self.events - 1)} if self.events else {}

    def _cut(self, chunk: bytes) -> bytes:
        self._held += chunk
        border = self._held.rfind(b"\n", self._search_from) + 1
        whole = bytes(self._held[:border])
        del self._held[:border]
        self._search_from = len(self._held)
        self.events += sum(1 for line in whole.split(b"\n") if line.strip())
        return whole


def media_type(content_type: str) -> str:
    """A media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def cutter_for(content_type: str, last_event_id: str | None) -> Cutter | None:
    """The cutter for an answer's media type; `None` where it is no stream of events, or its cursor can't be told."""
    kind = media_type(content_type)
    if kind == "text/event-stream":
        return SseCutter(last_event_id)
    # Lines are counted from the first one, which an answer that began at an id does not have.
    if kind in _NDJSON and last_event_id is None:
        return NdjsonCutter()
    return None


#: How much of one event is held back while it is not whole.
EVENT_BYTES_MAX = 64 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
#: What may stand in a request header, and is not empty: an empty id would start from the first event.
_SENDABLE_ID = re.compile(rb"[\x21-\x7e]{1,1024}")
#: How OpenAI's dialects say that nothing follows. Their SDK closes the body on it, without reading to the end.
_DONE = b"[DONE]"
_NDJSON = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
    }
)
