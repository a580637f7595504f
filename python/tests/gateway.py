"""A gateway for tests: real sockets in a thread of this process, and faults where a test wants them.

It keeps the contract of Longwave's own as far as a client sees it: it records what one call of upstream gave, joins
requests with the same key, and goes on behind a cursor. Start with `Gateway`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Union
from urllib.parse import parse_qs, urlsplit

SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Answer:
    """What upstream answers: its events as they stand in the body."""

    events: list[bytes]
    content_type: str = SSE
    #: What the gateway sends in front of each event, and does not record.
    heartbeat: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """The connection breaks behind so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Hang:
    """Nothing comes any more behind so many bytes of the body, until the gateway is closed."""

    after: int


@dataclass(frozen=True)
class Drop:
    """The connection breaks before there is an answer; upstream has been called."""


@dataclass(frozen=True)
class Reply:
    """Something else answers."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Fault = Union[Cut, Hang, Drop, Reply, None]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Gateway:
    """`faults` are used up in order, one by each request; then everything goes well."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.names_streams = True
        self.stream_header: str | None = None
        self.end = "done"
        #: How often upstream was called.
        self.calls = 0
        self.cancelled = threading.Event()
        self._streams: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def requests_of(self, method: str) -> list[Seen]:
        return [request for request in self.requests if request.method == method]

    def wire(self, stream: str = "s1", behind: int = -1) -> bytes:
        """The body that a reader gets who has the event at `behind`."""
        is_sse = self.answer.content_type == SSE
        parts = []
        for index, event in enumerate(self.answer.events):
            if index > behind:
                block = with_id(event, f"{stream}:{sequence(index)}") if is_sse else event
                parts.append(self.answer.heartbeat + block)
        return b"".join(parts)

    def start_stream(self, key: str | None) -> tuple[str, bool]:
        """The stream of a key, and whether there was one."""
        with self._lock:
            if key is not None and key in self._streams:
                return self._streams[key], True
            self.calls += 1
            stream = f"s{self.calls}"
            self._streams[key or stream] = stream
            return stream, False

    def take_fault(self, request: Seen) -> Fault:
        with self._lock:
            self.requests.append(request)
            return self.faults.pop(0) if self.faults else None

    def hang(self) -> None:
        self._closing.wait()

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def with_id(block: bytes, cursor: str) -> bytes:
    """A block with an id line before its blank line, ended as the blank line is."""
    found = re.search(rb"(\r\n|\n|\r)\Z", block)
    assert found is not None, block
    line_end = found.group()
    return block[: found.start()] + b"id: " + cursor.encode() + line_end + line_end


def sequence(index: int) -> int:
    """Positions in a log are not dense."""
    return 7 + 3 * index


def parse_sse(body: bytes) -> list[tuple[str, str, str]]:
    """What an EventSource makes of a body: the type, data and last id of each event."""
    events, name, data, last_id = [], "", "", ""
    for line in re.split(r"\r\n|\n|\r", body.decode())[:-1]:
        if not line:
            if data:
                events.append((name or "message", data[:-1], last_id))
            name, data = "", ""
            continue
        key, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if key == "event":
            name = value
        elif key == "data":
            data += value + "\n"
        elif key == "id":
            last_id = value
    return events


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that leaves is no failure."""


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A client that keeps an idle connection would keep the thread.
        timeout = 10

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request, fault = self._request()
            key = request.headers.get("idempotency-key")
            stream, is_joined = gateway.start_stream(key)
            extra = {"Longwave-Duplicate": "true"} if is_joined else {}
            self._answer(fault, stream, -1, extra)

        def do_GET(self) -> None:
            request, fault = self._request()
            path = urlsplit(request.path)
            stream = path.path.rpartition("/")[2] if path.path.startswith("/streams/") else "s1"
            self._answer(fault, stream, _cursor(request, path.query), {})

        def do_DELETE(self) -> None:
            _, fault = self._request()
            gateway.cancelled.set()
            self._send(fault if isinstance(fault, Reply) else Reply(200, {}, b"{}"))

        def _request(self) -> tuple[Seen, Fault]:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Seen(self.command, self.path, headers, self.rfile.read(length))
            return request, gateway.take_fault(request)

        def _answer(self, fault: Fault, stream: str, behind: int, extra: dict[str, str]) -> None:
            if isinstance(fault, Drop):
                self._break()
                return
            if isinstance(fault, Reply):
                self._send(fault)
                return
            body = gateway.wire(stream, behind)
            if not body:
                self._send(Reply(204, {"Longwave-End": gateway.end}))
                return
            self.send_response(200)
            self.send_header("Content-Type", gateway.answer.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            if gateway.names_streams:
                self.send_header("Longwave-Stream", gateway.stream_header or f"/streams/{stream}")
            for name, value in {**gateway.answer.headers, **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            sent = body if fault is None else body[: fault.after]
            if sent:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent))
            if fault is None:
                self.wfile.write(b"0\r\n\r\n")
                return
            if isinstance(fault, Hang):
                gateway.hang()
            self._break()

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _break(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def _cursor(request: Seen, query: str) -> int:
    last_event_id = request.headers.get("last-event-id")
    if last_event_id is not None:
        return (int(last_event_id.rpartition(":")[2]) - sequence(0)) // 3
    starting_after = parse_qs(query).get("starting_after")
    return int(starting_after[0]) if starting_after else -1


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[Gateway]:
    """A gateway for a while."""
    with Gateway(answer) as gateway:
        yield gateway


def chat_events(texts: list[str]) -> list[bytes]:
    """OpenAI's chat completions."""

    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "simulated"}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    return [*(chunk({"content": text}) for text in texts), chunk({}, "stop"), b"data: [DONE]\n\n"]
