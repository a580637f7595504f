"""The official clients, unmodified, on connections that break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from gateway import Answer, Cut, Drop, Gateway, Hang, Reply, chat_events, serving

import longwave.httpx
import longwave.httpx2

TEXTS = ["Every ", "wave\n\n", "data: [DONE]", " — \N{WATER WAVE}", "\u2028", "."]
TEXT = "".join(TEXTS)
MESSAGES: Any = [{"role": "user", "content": "Tell me about waves."}]


def named(event: dict[str, Any]) -> bytes:
    """An event as Anthropic and OpenAI's Responses name it."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())


def messages_events() -> list[bytes]:
    """Anthropic's messages."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "simulated", "usage": usage}
    block = {"type": "text", "text": ""}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in TEXTS
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": head},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    return [named(event) for event in events]


def responses_events() -> list[bytes]:
    """OpenAI's responses."""
    item = {"item_id": "m", "output_index": 0, "content_index": 0}
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "simulated", "output": []}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**base, **rest, "status": "in_progress"}},
        *({"type": "response.output_text.delta", **item, "delta": text, "logprobs": []} for text in TEXTS),
        {"type": "response.completed", "response": {**base, **rest, "status": "completed"}},
    ]
    return [named({**event, "sequence_number": number}) for number, event in enumerate(events)]


@dataclass(frozen=True)
class Sdk:
    """A client with one of its streaming calls."""

    events: list[bytes]
    #: The text of one answer from the gateway at this address, with the options of the transport.
    read: Callable[..., str]
    connection_error: type[Exception]


def openai_chat(url: str, **options: Any) -> str:
    return _openai_chat(httpx2.Client(transport=longwave.httpx2.ResumingTransport(**options)), url)


def openai_chat_on_httpx(url: str, **options: Any) -> str:
    client: Any = httpx.Client(transport=longwave.httpx.ResumingTransport(**options))
    return _openai_chat(client, url)


def _openai_chat(http_client: httpx2.Client, url: str) -> str:
    with openai.OpenAI(base_url=url + "/v1", api_key="k", http_client=http_client, max_retries=0) as client:
        answer = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def openai_chat_async(url: str, **options: Any) -> str:
    return asyncio.run(
        _openai_chat_async(httpx2.AsyncClient(transport=longwave.httpx2.AsyncResumingTransport(**options)), url)
    )


def openai_chat_async_on_httpx(url: str, **options: Any) -> str:
    client: Any = httpx.AsyncClient(transport=longwave.httpx.AsyncResumingTransport(**options))
    return asyncio.run(_openai_chat_async(client, url))


async def _openai_chat_async(http_client: httpx2.AsyncClient, url: str) -> str:
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", http_client=http_client, max_retries=0) as client:
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])


def openai_responses(url: str, **options: Any) -> str:
    http_client = httpx2.Client(transport=longwave.httpx2.ResumingTransport(**options))
    with openai.OpenAI(base_url=url + "/v1", api_key="k", http_client=http_client, max_retries=0) as client:
        answer = client.responses.create(model="m", input="Tell me about waves.", stream=True)
        seen = list(answer)
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert seen[-1].type == "response.completed"
        return "".join(event.delta for event in seen if event.type == "response.output_text.delta")


def anthropic_messages(url: str, **options: Any) -> str:
    http_client = httpx2.Client(transport=longwave.httpx2.ResumingTransport(**options))
    with (
        anthropic.Anthropic(base_url=url, api_key="k", http_client=http_client, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=99, messages=MESSAGES) as answer,
    ):
        text = "".join(answer.text_stream)
        assert answer.get_final_message().stop_reason == "end_turn"
        return text


def anthropic_messages_async(url: str, **options: Any) -> str:
    async def read() -> str:
        http_client = httpx2.AsyncClient(transport=longwave.httpx2.AsyncResumingTransport(**options))
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key="k", http_client=http_client, max_retries=0) as client,
            client.messages.stream(model="m", max_tokens=99, messages=MESSAGES) as answer,
        ):
            text = "".join([text async for text in answer.text_stream])
            assert (await answer.get_final_message()).stop_reason == "end_turn"
            return text

    return asyncio.run(read())


SDKS = {
    "openai chat": Sdk(chat_events(TEXTS), openai_chat, openai.APIConnectionError),
    "openai chat, httpx": Sdk(chat_events(TEXTS), openai_chat_on_httpx, openai.APIConnectionError),
    "openai chat, async": Sdk(chat_events(TEXTS), openai_chat_async, openai.APIConnectionError),
    "openai chat, async, httpx": Sdk(chat_events(TEXTS), openai_chat_async_on_httpx, openai.APIConnectionError),
    "openai responses": Sdk(responses_events(), openai_responses, openai.APIConnectionError),
    "anthropic": Sdk(messages_events(), anthropic_messages, httpx2.RemoteProtocolError),
    "anthropic, async": Sdk(messages_events(), anthropic_messages_async, httpx2.RemoteProtocolError),
}


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return SDKS[request.param]


def borders(gateway: Gateway) -> list[int]:
    """Where the events of the body end."""
    whole = len(gateway.wire())
    return [whole - len(gateway.wire("s1", index)) for index in range(-1, len(gateway.answer.events))]


#: Not a divisor of anything: cuts fall on all kinds of bytes.
STEP_BYTES = 37


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_the_text_is_whole_wherever_the_answer_is_cut(sdk: Sdk, line_end: bytes) -> None:
    answer = Answer([event.replace(b"\n", line_end) for event in sdk.events])
    with serving(answer) as gateway:
        cuts = sorted({*borders(gateway), *range(0, len(gateway.wire()), STEP_BYTES)})
        for cut in cuts:
            gateway.faults = [Cut(cut)]
            assert sdk.read(gateway.url) == TEXT, f"cut at {cut}"
        assert gateway.calls == len(cuts)


def test_the_text_is_whole_though_nearly_every_connection_breaks(sdk: Sdk) -> None:
    with serving(Answer(sdk.events, heartbeat=b":\n")) as gateway:
        gateway.faults = [Drop(), *(Cut(place * STEP_BYTES % 400) for place in range(30)), Drop(), Reply(503)]
        assert sdk.read(gateway.url, resumes_max=100) == TEXT
        assert gateway.calls == 1


def test_attempts_that_are_used_up_are_an_error_and_never_a_shorter_text(sdk: Sdk) -> None:
    with serving(Answer(sdk.events)) as gateway:
        gateway.faults = [Cut(500), Drop(), Drop(), Drop()]
        with pytest.raises(sdk.connection_error):
            sdk.read(gateway.url, resumes_max=3)


def test_a_refusal_is_an_error_that_names_its_cause(sdk: Sdk) -> None:
    with serving(Answer(sdk.events)) as gateway:
        gateway.faults = [Cut(500), Reply(410)]
        with pytest.raises(sdk.connection_error) as raised:
            sdk.read(gateway.url)
        told = raised.value if isinstance(raised.value, httpx2.RemoteProtocolError) else raised.value.__cause__
        assert "no longer keeps" in str(told)


def test_an_answer_that_the_sdk_read_to_its_end_is_not_cancelled(sdk: Sdk) -> None:
    with serving(Answer(sdk.events)) as gateway:
        assert sdk.read(gateway.url, on_close="cancel") == TEXT
        assert gateway.requests_of("DELETE") == []


def test_a_loop_that_is_left_cancels_where_the_caller_says_so() -> None:
    with serving(Answer(chat_events(TEXTS))) as gateway:
        http_client = httpx2.Client(transport=longwave.httpx2.ResumingTransport(on_close="cancel"))
        with openai.OpenAI(base_url=gateway.url + "/v1", api_key="k", http_client=http_client) as client:
            gateway.faults = [Hang(600)]
            with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as answer:
                assert answer.response.headers["Longwave-Stream"] == "/streams/s1"
                assert next(iter(answer)).choices[0].delta.content == TEXTS[0]
            assert gateway.cancelled.is_set()


def test_a_task_that_is_cancelled_cancels_where_the_caller_says_so() -> None:
    async def read(url: str) -> None:
        transport = longwave.httpx2.AsyncResumingTransport(on_close="cancel")
        began = asyncio.Event()

        async def follow() -> None:
            answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            async with answer:
                async for _ in answer:
                    began.set()

        async with openai.AsyncOpenAI(
            base_url=url + "/v1", api_key="k", http_client=httpx2.AsyncClient(transport=transport)
        ) as client:
            task = asyncio.create_task(follow())
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serving(Answer(chat_events(TEXTS))) as gateway:
        gateway.faults = [Hang(600)]
        asyncio.run(read(gateway.url))
        assert gateway.cancelled.is_set()


def test_a_key_that_the_caller_chose_holds_over_the_sdks_own_retries() -> None:
    with serving(Answer(chat_events(TEXTS))) as gateway:
        http_client = httpx2.Client(transport=longwave.httpx2.ResumingTransport(connects_max=0))
        with openai.OpenAI(base_url=gateway.url + "/v1", api_key="k", http_client=http_client) as client:
            gateway.faults = [Drop()]
            answer = client.chat.completions.create(
                model="m", messages=MESSAGES, stream=True, extra_headers={"Idempotency-Key": "mine"}
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == TEXT
        assert (len(gateway.requests), gateway.calls) == (2, 1)
