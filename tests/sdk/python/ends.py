"""How an answer ends is told: whatever ends it early is an error of the SDK's own, never silent success.

All here is plain use; where a transport is given, it only looks at the heads of answers, or is the subject.
"""

from collections.abc import Callable

import anthropic
import ollama
import openai
from longwave.httpx2 import ResumingTransport

from harness import Case, Stage, expect, expect_equal, expect_error, fetch_json, wait_until
from sdks import WAYS, IncompleteError, Way, anthropic_client, anthropic_request, chat_request, openai_client, responses_request

# What upstream does, and the state in which the stream ends.
EARLY = {
    "truncated in order": ("end-early=8", "truncated"),
    "cut off": ("cut=8", "truncated"),
    "reset": ("cut=8 reset", "truncated"),
    "cut in the middle of an event": ("cut-bytes=2500", "truncated"),
    "told to have failed": ("error-at=8", "error"),
    "silent for too long": ("hang-at=8", "timeout"),
}
# A route on which upstream may be silent for less than a second.
IMPATIENT = "/impatient"
# Long and slow enough to be in the middle of it.
SLOW = "words=400 delay=20ms"


def cases() -> list[Case]:
    early = [ends_early(way, what, *how) for way in WAYS for what, how in EARLY.items()]
    statuses = [refused(way, *row) for way in WAYS for row in REFUSALS]
    lost = [connection_lost(way, where, at) for way in WAYS for where, at in LOST.items()]
    begun = [case for opener in OPENERS for case in (cancelled(*opener), left(*opener), cancelled_by_leaving(*opener))]
    return early + statuses + lost + begun


def keeping_heads(way: Way, heads: list) -> type:
    """The SDK's own transport, which also keeps the heads of the answers that it carries."""

    class Sync(way.http.HTTPTransport):
        def handle_request(self, request):
            response = super().handle_request(request)
            heads.append(response.headers)
            return response

    class Async(way.http.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            heads.append(response.headers)
            return response

    return Async if way.is_async else Sync


def ends_early(way: Way, what: str, directives: str, state: str) -> Case:
    def run(stage: Stage) -> None:
        base = stage.gateway + (IMPATIENT if state == "timeout" else "")
        heads: list = []
        transport = keeping_heads(way, heads)
        error = expect_error(way.stream_error, lambda: way.ask(base, stage.prompt(f"words=60 {directives}"), transport))
        expect(not is_lost_connection(error), f"the connection was lost instead of an end told: {error!r}")
        stage.only_call()
        expect_equal("answers", len(heads), 1)
        expect_equal("state", state_at_end(stage, heads[0]), state)

    return Case(f"{way.name} raises when upstream's answer is {what}", run)


def is_lost_connection(error: Exception) -> bool:
    return isinstance(error, (openai.APIConnectionError, anthropic.APIConnectionError))


def state_at_end(stage: Stage, headers) -> str:
    """The state of the stream that an answer's head names, once it has ended."""
    url = f"{stage.gateway}{headers['longwave-stream']}?info"
    wait_until("the stream has ended", lambda: fetch_json(url)["state"] != "running")
    return fetch_json(url)["state"]


# What upstream does before there is a first token, and the status that comes of it. `error-first` and the rest are answers
# with status 200: what becomes of them is known only when the first event was seen.
REFUSALS = [
    ("is refused for a bad request", "status=400", range(400, 401)),
    ("is refused for its key", "status=401", range(401, 402)),
    ("is asked to slow down", "status=429", range(429, 430)),
    ("meets a broken upstream", "status=500", range(500, 501)),
    ("fails in its first event", "error-first", range(400, 600)),
    ("gets an empty answer", "end-early=0", range(500, 600)),
    ("is cut off before the first event", "cut=0", range(500, 600)),
    ("gets nothing for too long", "hang-at=0", range(500, 600)),
]


def error_kind(family: str, statuses: range) -> type[Exception]:
    """The class that an SDK has for errors of these statuses."""
    if family == "ollama":
        return ollama.ResponseError
    sdk = {"openai": openai, "anthropic": anthropic}[family]
    kinds = {400: sdk.BadRequestError, 401: sdk.AuthenticationError, 429: sdk.RateLimitError}
    if len(statuses) == 1 and statuses.start in kinds:
        return kinds[statuses.start]
    return sdk.InternalServerError if statuses.start >= 500 else sdk.APIStatusError


def refused(way: Way, what: str, directives: str, statuses: range) -> Case:
    kind = error_kind(way.family, statuses)

    def run(stage: Stage) -> None:
        base = stage.gateway + (IMPATIENT if "hang" in directives else "")
        heads: list = []
        prompt = stage.prompt(directives)
        error = expect_error(kind, lambda: way.ask(base, prompt, keeping_heads(way, heads), max_retries=0))
        expect(error.status_code in statuses, f"the status is {error.status_code}")
        expect("longwave-stream" not in heads[0], "an answer without a token became a stream")
        stage.only_call()

    return Case(f"{way.name} raises {kind.__name__} when it {what}", run)


# Where the only connection is cut, by the relay's plans.
LOST = {"between head and body": "border", "in the middle of the body": "byte"}


def connection_lost(way: Way, where: str, at: str) -> Case:
    """Plain use gets no help, and must not take the part for the whole."""

    def run(stage: Stage) -> None:
        base = stage.cutting_link(at, 1)
        error = expect_error(Exception, lambda: way.ask(base, stage.prompt("words=60"), max_retries=0))
        expect(not isinstance(error, IncompleteError), f"the answer ended as if it were whole: {error!r}")
        expect_equal("cuts", stage.faults_so_far(), 1)
        stage.only_call()

    return Case(f"{way.name} raises without a transport when its connection is cut {where}", run)


# Streams that are still open: what begins one, and what reads the text so far out of what came.


def open_chat(base: str, prompt: str, transport=None):
    return openai_client(base, transport).chat.completions.create(stream=True, **chat_request(prompt))


def open_responses(base: str, prompt: str, transport=None):
    return openai_client(base, transport).responses.create(stream=True, **responses_request(prompt))


def open_messages(base: str, prompt: str, transport=None):
    return anthropic_client(base, transport).messages.create(stream=True, **anthropic_request(prompt))


OPENERS = [
    ("openai chat", open_chat, openai.APIError),
    ("openai responses", open_responses, openai.APIError),
    ("anthropic messages", open_messages, anthropic.APIStatusError),
]


def read_some(stream) -> None:
    for _ in range(8):
        next(stream)


def cancelled(name: str, begin: Callable, kind: type[Exception]) -> Case:
    def run(stage: Stage) -> None:
        stream = begin(stage.gateway, stage.prompt(SLOW))
        read_some(stream)
        url = f"{stage.gateway}{stream.response.headers['longwave-stream']}"
        expect_equal("state", fetch_json(url, method="DELETE")["state"], "cancelled")
        error = expect_error(kind, lambda: list(stream))
        expect(not is_lost_connection(error), f"the connection was lost instead of an end told: {error!r}")
        wait_until("upstream was left", lambda: stage.only_call()["client_left"])
        expect_equal("state when cancelled twice", fetch_json(url, method="DELETE")["state"], "cancelled")

    return Case(f"{name} tells of being cancelled by another client", run)


def left(name: str, begin: Callable, _kind) -> Case:
    def run(stage: Stage) -> None:
        stream = begin(stage.gateway, stage.prompt("words=40 delay=5ms"))
        read_some(stream)
        stream.close()
        expect_equal("state", state_at_end(stage, stream.response.headers), "done")
        expect_equal("upstream's state", stage.only_call()["state"], "whole")

    return Case(f"{name} goes on when its client leaves", run)


def cancelled_by_leaving(name: str, begin: Callable, _kind) -> Case:
    def run(stage: Stage) -> None:
        stream = begin(stage.gateway, stage.prompt(SLOW), lambda: ResumingTransport(on_close="cancel"))
        read_some(stream)
        stream.close()
        wait_until("upstream was left", lambda: stage.only_call()["client_left"])
        expect_equal("state", state_at_end(stage, stream.response.headers), "cancelled")

    return Case(f"{name} is cancelled by a client that leaves with on_close=cancel", run)
