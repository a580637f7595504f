"""Coming back without Longwave's transport: OpenAI's background mode with the SDK's own calls, and keys against double calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai

from harness import Case, Stage, expect, expect_equal, expect_error, expect_what_upstream_sent, wait_until
from sdks import (
    anthropic_client,
    anthropic_request,
    chat_request,
    openai_client,
    read_anthropic,
    read_chat,
    read_responses,
    responses_request,
    responses_response,
)


def cases() -> list[Case]:
    return [
        Case("openai responses.retrieve goes on behind the event that was last", retrieve_goes_on),
        Case("openai responses.retrieve goes on through cuts at every event border", lambda stage: comes_back(stage, "border")),
        Case("openai responses.retrieve goes on through cuts at random bytes", lambda stage: comes_back(stage, "byte")),
        Case("openai responses.retrieve replays a finished response from its first event", replays),
        Case("openai responses.retrieve tells how a response stands", tells),
        Case("openai responses.cancel stops upstream", cancels),
        Case("openai responses.create in the background without a stream can be polled and followed", polled),
        Case("openai chat with the same key is generated once", lambda stage: keyed(stage, ask_chat)),
        Case("openai responses with the same key is generated once", lambda stage: keyed(stage, ask_responses)),
        Case("anthropic messages with the same key is generated once", lambda stage: keyed(stage, ask_messages)),
        Case("openai chat with the same key and another body is refused", key_reused),
    ]


def begin(client: openai.OpenAI, prompt: str):
    return client.responses.create(background=True, stream=True, **responses_request(prompt))


def retrieve_goes_on(stage: Stage) -> None:
    with openai_client(stage.gateway) as client:
        stream = begin(client, stage.prompt("words=40 delay=2ms"))
        seen = [next(stream) for _ in range(10)]
        stream.close()
        rest = client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
        expect_streamed(stage, [*seen, *rest])


def expect_streamed(stage: Stage, events: list) -> None:
    numbers = [event.sequence_number for event in events]
    expect_equal("sequence numbers", numbers, list(range(len(numbers))))
    expect_equal("text", read_responses(events).text, stage.only_call()["text"])


def comes_back(stage: Stage, at: str) -> None:
    """What a program does that knows of background mode: it asks for the rest until it has the end."""
    with openai_client(stage.gateway) as client:
        stream = begin(client, stage.prompt("words=24"))
        events = [next(stream)]
        stream.close()
    with openai_client(stage.cutting_link(at, CUTS_WITHOUT_END), max_retries=RETRIES) as client:
        while events[-1].type != "response.completed":
            last = events[-1].sequence_number
            rest = client.responses.retrieve(events[0].response.id, stream=True, starting_after=last)
            try:
                for event in rest:
                    events.append(event)
            except openai.APIConnectionError:
                # What is tested: it came as far as it came.
                continue
            expect(events[-1].sequence_number > last, "an answer ended in order, and had nothing to add")
    expect_streamed(stage, events)
    expect(stage.faults_so_far() > 0, "no connection was cut")


def replays(stage: Stage) -> None:
    with openai_client(stage.gateway) as client:
        first = list(begin(client, stage.prompt()))
        for _ in range(2):
            again = list(client.responses.retrieve(first[0].response.id, stream=True))
            expect_equal("the replayed events", again, first)
        expect_streamed(stage, first)


def tells(stage: Stage) -> None:
    with openai_client(stage.gateway) as client:
        stream = begin(client, stage.prompt("words=24 delay=10ms"))
        response_id = next(stream).response.id
        expect(client.responses.retrieve(response_id).status in ("queued", "in_progress"), "it is not in progress")
        events = list(stream)
        expect_equal("the response", client.responses.retrieve(response_id).output_text, stage.only_call()["text"])
        expect_equal("status", client.responses.retrieve(response_id).status, "completed")
        expect_equal("the last event", events[-1].type, "response.completed")


def cancels(stage: Stage) -> None:
    with openai_client(stage.gateway) as client:
        stream = begin(client, stage.prompt("words=400 delay=20ms"))
        seen = [next(stream) for _ in range(8)]
        response_id = seen[0].response.id
        for _ in range(2):
            expect_equal("status", client.responses.cancel(response_id).status, "cancelled")
        wait_until("upstream was left", lambda: stage.only_call()["client_left"])
        expect_equal("status", client.responses.retrieve(response_id).status, "cancelled")
        expect_error(openai.APIError, lambda: list(stream))


def polled(stage: Stage) -> None:
    with openai_client(stage.gateway) as client:
        response = client.responses.create(background=True, **responses_request(stage.prompt("words=24 delay=5ms")))
        expect(response.status in ("queued", "in_progress"), f"the status is {response.status}")
        events = list(client.responses.retrieve(response.id, stream=True))
        expect_streamed(stage, events)
        wait_until("it is completed", lambda: client.responses.retrieve(response.id).status == "completed")
        expect_equal("text", responses_response(client.responses.retrieve(response.id)).text, stage.only_call()["text"])


def ask_chat(base: str, prompt: str, key: str):
    with openai_client(base) as client:
        headers = {"Idempotency-Key": key}
        stream = client.chat.completions.create(stream=True, extra_headers=headers, **chat_request(prompt))
        return read_chat(stream), stream.response.headers


def ask_responses(base: str, prompt: str, key: str):
    with openai_client(base) as client:
        headers = {"Idempotency-Key": key}
        stream = client.responses.create(stream=True, extra_headers=headers, **responses_request(prompt))
        return read_responses(stream), stream.response.headers


def ask_messages(base: str, prompt: str, key: str):
    with anthropic_client(base) as client:
        headers = {"Idempotency-Key": key}
        stream = client.messages.create(stream=True, extra_headers=headers, **anthropic_request(prompt))
        return read_anthropic(stream), stream.response.headers


def keyed(stage: Stage, ask: Callable) -> None:
    """Two at once, of which one joins the other, and a third that finds it finished."""
    prompt = stage.prompt("words=24 delay=10ms")
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ask(stage.gateway, prompt, stage.marker), range(2)))
    answers = [*both, ask(stage.gateway, prompt, stage.marker)]
    for answer, _ in answers:
        expect_what_upstream_sent(stage, answer)
    duplicates = [headers.get("longwave-duplicate") for _, headers in answers]
    expect_equal("how many were told that they were duplicates", duplicates.count("true"), 2)
    expect_equal("streams", len({headers["longwave-stream"] for _, headers in answers}), 1)


def key_reused(stage: Stage) -> None:
    ask_chat(stage.gateway, stage.prompt("words=8"), stage.marker)
    other = stage.prompt("words=9")
    expect_error(openai.UnprocessableEntityError, lambda: ask_chat(stage.gateway, other, stage.marker))
    stage.only_call()


CUTS_WITHOUT_END = 1000
# More than a link cuts in a row before an event comes through.
RETRIES = 4
