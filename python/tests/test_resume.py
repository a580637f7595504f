"""The transports against a gateway that breaks connections."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx2
import pytest
from callers import calling
from gateway import NDJSON, Answer, Cut, Drop, Fault, Hang, Reply, chat_events, parse_sse, serving

import longwave.httpx2

TEXTS = ["Wave", " after wave — ", "\N{WATER WAVE}", "!"]
LF = Answer(chat_events(TEXTS))
NAMED = [b"event: a\ndata: 1\n\n", b"event: b\ndata: two\ndata: lines\n\n", b"data:3\n\n"]
ANSWERS = {
    "lf": LF,
    "crlf": Answer([event.replace(b"\n", b"\r\n") for event in NAMED]),
    "cr": Answer([event.replace(b"\n", b"\r") for event in NAMED]),
    "heartbeats": Answer(NAMED, heartbeat=b":\n"),
    "comments": Answer([b": note\nretry: 9\n" + event for event in NAMED]),
    "ndjson": Answer([b'{"response":"A","done":false}\n', b'{"response":"\xc3\xa9"}\n', b'{"done":true}\n'], NDJSON),
}
POST = "/v1/chat/completions"


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_cut_at_any_byte_is_read_whole(kind: str, name: str) -> None:
    with serving(ANSWERS[name]) as gateway, calling(kind) as caller:
        length = len(gateway.wire())
        for after in range(length + 1):
            gateway.faults = [Cut(after)]
            result = caller.post(gateway.url + POST)
            check_whole(gateway.wire(f"s{after + 1}"), result.body, ANSWERS[name])
            assert gateway.calls == after + 1
        assert len(gateway.requests_of("GET")) == length + 1


# The library's own transport leaves a generator behind when an answer is closed, of which trio complains.
@pytest.mark.filterwarnings(
    "ignore:Async generator 'httpcore2:ResourceWarning",
    "ignore:.*PoolByteStream:pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("name", ANSWERS)
def test_it_goes_on_with_trio_too(name: str) -> None:
    with serving(ANSWERS[name]) as gateway, calling("trio httpx2", on_close="cancel") as caller:
        for after in range(0, len(gateway.wire()), 7):
            gateway.faults = [Drop(), Cut(after), Drop()]
            assert caller.post(gateway.url + POST).body
        assert gateway.requests_of("DELETE") == []
        gateway.faults = [Hang(len(gateway.wire()) - 1)]
        caller.post(gateway.url + POST, chunks_max=1)
        assert gateway.cancelled.is_set()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_whole_though_every_connection_breaks_a_little_later(kind: str, name: str) -> None:
    with serving(ANSWERS[name]) as gateway, calling(kind, resumes_max=2000) as caller:
        gateway.faults = [Cut(after) for after in range(len(gateway.wire()))]
        result = caller.post(gateway.url + POST)
        check_whole(gateway.wire(), result.body, ANSWERS[name])
        assert gateway.calls == 1


def check_whole(wanted: bytes, found: bytes, answer: Answer) -> None:
    if answer.content_type == NDJSON:
        assert found == wanted
        return
    assert parse_sse(found) == parse_sse(wanted)
    # A heartbeat or a comment may come once more, but nothing else changes.
    comments = (b":\n", b": note\n")
    for comment in comments:
        found, wanted = found.replace(comment, b""), wanted.replace(comment, b"")
    assert found == wanted


def test_a_read_asks_with_the_credentials_of_the_post_and_not_with_its_body(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(len(gateway.wire()) - 1)]
        caller.post(gateway.url + POST, headers={"Authorization": "Bearer k", "X-Api-Key": "k2"})
        (read,) = gateway.requests_of("GET")
        assert read.path == "/streams/s1"
        assert read.headers["authorization"] == "Bearer k"
        assert read.headers["x-api-key"] == "k2"
        assert read.headers["accept"] == "text/event-stream"
        assert read.headers["accept-encoding"] == "identity"
        assert read.headers["last-event-id"] == "s1:19"
        assert not {"content-type", "content-length", "idempotency-key"} & set(read.headers)


def test_lines_are_gone_on_with_behind_the_last_whole_one(kind: str) -> None:
    with serving(ANSWERS["ndjson"]) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(3), Cut(len(gateway.answer.events[0]))]
        caller.post(gateway.url + POST)
        assert [request.path for request in gateway.requests_of("GET")] == [
            "/streams/s1",
            "/streams/s1?starting_after=0",
        ]


def test_a_post_gets_a_key_of_its_own_unless_it_has_one(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        caller.post(gateway.url + POST)
        caller.post(gateway.url + POST)
        caller.post(gateway.url + POST, headers={"idempotency-key": "mine"})
        caller.request("GET", gateway.url + "/v1/models")
        keys = [request.headers.get("idempotency-key") for request in gateway.requests]
        assert keys[0] and keys[1] and keys[0] != keys[1]
        assert keys[2:] == ["mine", None]
        assert [request.headers["accept-encoding"] for request in gateway.requests[:3]] == ["identity"] * 3


def test_a_post_that_was_not_answered_is_sent_again_with_the_same_key(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Drop(), Drop()]
        result = caller.post(gateway.url + POST)
        assert result.body == gateway.wire()
        assert result.headers["longwave-duplicate"] == "true"
        assert len({(seen.headers["idempotency-key"], seen.body) for seen in gateway.requests}) == 1
        assert (len(gateway.requests), gateway.calls) == (3, 1)


def test_a_post_is_sent_again_only_so_often(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, connects_max=1) as caller:
        gateway.faults = [Drop(), Drop(), Drop()]
        with pytest.raises(caller.http.RemoteProtocolError):
            caller.post(gateway.url + POST)
        assert len(gateway.requests) == 2


def test_a_post_whose_body_is_gone_is_not_sent_again(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Drop()]
        with pytest.raises(caller.http.TransportError):
            caller.send_generated(gateway.url + POST)
        assert len(gateway.requests) <= 1


def test_a_gateway_that_is_away_is_an_error_of_the_connection(kind: str) -> None:
    with serving(LF) as gateway:
        url = gateway.url
    with calling(kind) as caller, pytest.raises(caller.http.ConnectError):
        caller.post(url + POST)


def test_nothing_behind_the_last_event_ends_the_answer_in_order(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(len(gateway.wire()))]
        assert caller.post(gateway.url + POST).body == gateway.wire()
        assert len(gateway.requests) == 2


def test_an_end_that_is_not_done_is_never_clean(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.end = "truncated"
        gateway.faults = [Cut(len(gateway.wire()))]
        with pytest.raises(caller.longwave.ResumeError, match="truncated"):
            caller.post(gateway.url + POST)


@pytest.mark.parametrize("name", ["lf", "ndjson"])
def test_the_error_of_the_connection_is_raised_when_attempts_are_used_up(kind: str, name: str) -> None:
    with serving(ANSWERS[name]) as gateway, calling(kind, resumes_max=3) as caller:
        # Something came, so the count starts again once.
        first = len(gateway.answer.events[0]) + 20
        gateway.faults = [Cut(3), Drop(), Cut(first), Drop(), Reply(503), Cut(0), Drop()]
        with pytest.raises(caller.http.RemoteProtocolError, match="incomplete chunked read"):
            caller.post(gateway.url + POST)
        assert gateway.calls == 1


@pytest.mark.parametrize("name", ["lf", "ndjson"])
def test_an_event_that_came_makes_good_for_the_attempts_before_it(kind: str, name: str) -> None:
    with serving(ANSWERS[name]) as gateway, calling(kind, resumes_max=1) as caller:
        longest = max(len(gateway.wire("s1", index - 1)) - len(gateway.wire("s1", index)) for index in range(3))
        gateway.faults = [Cut(longest)] * 3
        assert caller.post(gateway.url + POST).body == gateway.wire()
        assert len(gateway.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 302])
def test_a_refusal_is_an_error_that_says_so(kind: str, status: int) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(300), Reply(status)]
        with pytest.raises(caller.longwave.ResumeError, match=f"/streams/s1 broke.*{status}") as raised:
            caller.post(gateway.url + POST)
        assert isinstance(raised.value, caller.http.RemoteProtocolError)
        assert len(gateway.requests) == 2


PORTAL = Reply(200, {"Content-Type": "text/html"}, b"<html>Log in to this network</html>")
PACKED = Reply(200, {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, b"x")


@pytest.mark.parametrize(
    "fault", [Reply(503), Reply(500), Reply(429, {"Retry-After": "0"}), Reply(408), Drop(), PORTAL, PACKED]
)
def test_what_may_pass_is_tried_again(kind: str, fault: Fault) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(300), fault, fault]
        assert caller.post(gateway.url + POST).body == gateway.wire()
        assert (len(gateway.requests), gateway.calls) == (4, 1)


def test_a_server_that_wants_to_be_left_alone_for_long_is_not_asked_again(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Cut(300), Reply(503, {"Retry-After": "3600"})]
        with pytest.raises(caller.http.RemoteProtocolError):
            caller.post(gateway.url + POST)
        assert len(gateway.requests) == 2


def falling_silent(kind: str) -> Any:
    """A transport whose first answer times out behind its first piece, as by a clock."""
    mode, _, library = kind.partition(" ")
    http: Any = importlib.import_module(library)

    class Silent(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            yield next(iter(self.stream))
            raise http.ReadTimeout("")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield await self.stream.__aiter__().__anext__()
            raise http.ReadTimeout("")

        def close(self) -> None:
            self.stream.close()

        async def aclose(self) -> None:
            await self.stream.aclose()

    class Sync(http.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            response = super().handle_request(request)
            if request.method == "POST":
                response.stream = Silent(response.stream)
            return response

    class Async(http.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            if request.method == "POST":
                response.stream = Silent(response.stream)
            return response

    return Sync() if mode == "sync" else Async()


def test_a_read_timeout_is_the_callers_own(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, transport=falling_silent(kind)) as caller:
        gateway.faults = [Hang(300)]
        with pytest.raises(caller.http.ReadTimeout):
            caller.post(gateway.url + POST)
        assert len(gateway.requests) == 1


def test_a_read_timeout_is_resumed_where_the_caller_says_so(kind: str) -> None:
    options = {"on_read_timeout": "resume", "transport": falling_silent(kind)}
    with serving(LF) as gateway, calling(kind, **options) as caller:
        gateway.faults = [Hang(300)]
        assert caller.post(gateway.url + POST).body == gateway.wire()
        assert (len(gateway.requests), gateway.calls) == (2, 1)


def test_a_close_leaves_the_stream_to_the_gateway(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Hang(300)]
        caller.post(gateway.url + POST, chunks_max=1)
        assert gateway.requests_of("DELETE") == []


def test_a_close_cancels_where_the_caller_says_so(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, on_close="cancel") as caller:
        gateway.faults = [Hang(300)]
        caller.post(gateway.url + POST, chunks_max=1, headers={"Authorization": "Bearer k"})
        assert gateway.cancelled.is_set()
        (cancel,) = gateway.requests_of("DELETE")
        assert (cancel.path, cancel.headers["authorization"]) == ("/streams/s1", "Bearer k")


@pytest.mark.parametrize("fault", [None, Cut(300), Cut(5)])
def test_an_answer_that_was_read_to_its_end_is_not_cancelled(kind: str, fault: Fault) -> None:
    with serving(LF) as gateway, calling(kind, on_close="cancel") as caller:
        gateway.faults = [fault]
        caller.post(gateway.url + POST)
        assert gateway.requests_of("DELETE") == []


@pytest.mark.filterwarnings(
    "ignore:Async generator 'httpcore2:ResourceWarning",
    "ignore:.*PoolByteStream:pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_scope_that_is_cancelled_still_cancels_the_stream(backend: str) -> None:
    async def read(url: str) -> None:
        transport = longwave.httpx2.AsyncResumingTransport(on_close="cancel")
        async with httpx2.AsyncClient(transport=transport, timeout=60) as client:
            with anyio.CancelScope() as scope:
                async with client.stream("POST", url, json={}) as response:
                    async for _ in response.aiter_raw():
                        scope.cancel()
            assert scope.cancelled_caught

    with serving(LF) as gateway:
        gateway.faults = [Hang(300)]
        anyio.run(read, gateway.url + POST, backend=backend)
        assert gateway.cancelled.is_set()


def test_an_answer_that_said_it_is_done_is_not_cancelled(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, on_close="cancel") as caller:
        gateway.faults = [Hang(len(gateway.wire()))]
        caller.post(gateway.url + POST, chunks_max=1)
        assert gateway.requests_of("DELETE") == []


def test_a_cancel_that_fails_is_not_told(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, on_close="cancel") as caller:
        gateway.faults = [Hang(300), Reply(500)]
        caller.post(gateway.url + POST, chunks_max=1)
        assert len(gateway.requests_of("DELETE")) == 1


def test_without_a_gateway_a_break_is_the_callers(kind: str) -> None:
    with serving(LF) as gateway, calling(kind, on_close="cancel") as caller:
        gateway.names_streams = False
        assert caller.post(gateway.url + POST).body == gateway.wire()
        gateway.faults = [Cut(300)]
        with pytest.raises(caller.http.RemoteProtocolError):
            caller.post(gateway.url + POST)
        assert len(gateway.requests) == 2


@pytest.mark.parametrize(
    "value",
    ["http://elsewhere.test/streams/s1", "//elsewhere.test/s1", "/\\elsewhere.test/", "streams/s1", "", "/a b", "/"],
)
def test_the_credentials_go_nowhere_but_to_the_origin_that_was_asked(kind: str, value: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.stream_header = value or " "
        gateway.faults = [Cut(300)]
        with pytest.raises(caller.http.RemoteProtocolError):
            caller.post(gateway.url + POST)
        assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer([b'{"id":1}'], "application/json"),
        Answer([b"\x1f\x8b\x00"], "text/event-stream", headers={"Content-Encoding": "br"}),
    ],
)
def test_what_is_no_stream_of_events_passes_as_it_is(kind: str, answer: Answer) -> None:
    with serving(answer) as gateway, calling(kind) as caller:
        result = caller.post(gateway.url + POST)
        assert (result.body, result.headers["longwave-stream"]) == (answer.events[0], "/streams/s1")
        gateway.faults = [Cut(2)]
        with pytest.raises(caller.http.RemoteProtocolError):
            caller.post(gateway.url + POST)
        assert gateway.requests_of("GET") == []


def test_an_error_passes_as_it_is(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        gateway.faults = [Reply(429, {"Retry-After": "1", "Longwave-Stream": "/streams/s1"}, b'{"error":{}}')]
        result = caller.post(gateway.url + POST)
        assert (result.status, result.body) == (429, b'{"error":{}}')


def test_a_read_of_a_stream_is_gone_on_with_too(kind: str) -> None:
    with serving(LF) as gateway, calling(kind) as caller:
        wanted = gateway.wire("s1", 0)
        for after in (0, 100, 300, len(wanted)):
            gateway.requests, gateway.faults = [], [Cut(after)]
            url = gateway.url + "/v1/responses/r?stream=true&starting_after=0"
            assert caller.request("GET", url).body == wanted
            assert len(gateway.requests) == 2


def test_the_transport_that_is_given_sends_everything_and_is_closed_at_last(kind: str) -> None:
    mode, _, library = kind.partition(" ")
    http: Any = importlib.import_module(library)
    base = http.HTTPTransport if mode == "sync" else http.AsyncHTTPTransport
    seen: list[str] = []

    class Given(base):  # type: ignore[misc,valid-type]
        def handle_request(self, request: Any) -> Any:
            seen.append(request.method)
            return super().handle_request(request)

        def handle_async_request(self, request: Any) -> Any:
            seen.append(request.method)
            return super().handle_async_request(request)

        def close(self) -> None:
            seen.append("closed")
            super().close()

        def aclose(self) -> Any:
            seen.append("closed")
            return super().aclose()

    with serving(LF) as gateway:
        with calling(kind, transport=Given()) as caller:
            gateway.faults = [Cut(300)]
            assert caller.post(gateway.url + POST).body == gateway.wire()
        assert seen == ["POST", "GET", "closed"]


def test_the_callers_request_stays_as_it_is(kind: str) -> None:
    mode, _, _ = kind.partition(" ")
    with serving(LF) as gateway, calling(kind) as caller:
        client: Any = caller.client  # type: ignore[attr-defined]
        request = client.build_request("POST", gateway.url + POST, json={})
        for _ in range(2):
            if mode == "sync":
                client.send(request)
            else:
                caller.portal.call(client.send, request)  # type: ignore[attr-defined]
        assert "idempotency-key" not in request.headers
        assert gateway.calls == 2


@pytest.mark.parametrize("options", [{"on_close": "maybe"}, {"on_read_timeout": ""}, {"resumes_max": -1}])
def test_options_that_mean_nothing_are_refused(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))), calling(kind, **options):
        pass
