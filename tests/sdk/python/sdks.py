"""The official SDKs, unmodified, each asked for a streamed answer in every way that it offers.

Read `WAYS` first: what differs between SDKs ends here.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterable
from types import ModuleType

import anthropic
import httpx
import httpx2
import ollama
import openai

from harness import HANG_SECONDS, Answer

MODEL = "simulated-1"
TOKENS_MAX = 1000

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "metric": {"type": "boolean"}},
    "required": ["city", "days", "metric"],
}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": PARAMETERS}}]
RESPONSES_TOOLS = [{"type": "function", "name": "weather", "description": "Tells it", "parameters": PARAMETERS, "strict": False}]
ANTHROPIC_TOOLS = [{"name": "weather", "description": "Tells it", "input_schema": PARAMETERS}]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to ask. `ask(base, prompt, transport=None, **options)` gives the answer, or raises what the SDK raises.

    `transport` makes the transport that the SDK is given; without it the SDK has its own. `options` are the SDK's.
    """

    name: str
    ask: Callable[..., Answer]
    # What the SDK raises, or makes us raise, when a stream tells that it failed.
    stream_error: tuple[type[Exception], ...]
    is_async: bool = False
    # Whose client the SDK takes.
    http: ModuleType = httpx2

    @property
    def family(self) -> str:
        return self.name.partition(" ")[0]


def openai_client(base: str, transport=None, **options) -> openai.OpenAI:
    client = httpx2.Client(transport=transport()) if transport else None
    return openai.OpenAI(base_url=f"{base}/v1", api_key="test", http_client=client, timeout=HANG_SECONDS, **options)


def openai_httpx_client(base: str, transport=None, **options) -> openai.OpenAI:
    """With a client of `httpx`, as those have it who came from the SDK's versions before 3."""
    client = httpx.Client(transport=transport() if transport else None)
    return openai.OpenAI(base_url=f"{base}/v1", api_key="test", http_client=client, timeout=HANG_SECONDS, **options)


def openai_async_client(base: str, transport=None, **options) -> openai.AsyncOpenAI:
    client = httpx2.AsyncClient(transport=transport()) if transport else None
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="test", http_client=client, timeout=HANG_SECONDS, **options)


def anthropic_client(base: str, transport=None, **options) -> anthropic.Anthropic:
    client = httpx2.Client(transport=transport()) if transport else None
    return anthropic.Anthropic(base_url=base, api_key="test", http_client=client, timeout=HANG_SECONDS, **options)


def anthropic_async_client(base: str, transport=None, **options) -> anthropic.AsyncAnthropic:
    client = httpx2.AsyncClient(transport=transport()) if transport else None
    return anthropic.AsyncAnthropic(base_url=base, api_key="test", http_client=client, timeout=HANG_SECONDS, **options)


def ollama_options(transport=None, max_retries: int = 0) -> dict:
    """It does not retry."""
    return {"timeout": HANG_SECONDS, "transport": transport() if transport else None}


def messages(prompt: str) -> list[dict]:
    return [{"role": "user", "content": prompt}]


def chat_request(prompt: str) -> dict:
    return {"model": MODEL, "messages": messages(prompt), "tools": CHAT_TOOLS, "stream_options": {"include_usage": True}}


def responses_request(prompt: str) -> dict:
    return {"model": MODEL, "input": prompt, "tools": RESPONSES_TOOLS}


def anthropic_request(prompt: str) -> dict:
    return {"model": MODEL, "max_tokens": TOKENS_MAX, "messages": messages(prompt), "tools": ANTHROPIC_TOOLS}


def ollama_request(prompt: str) -> dict:
    return {"model": MODEL, "messages": messages(prompt), "tools": CHAT_TOOLS}


# How what each SDK yields becomes an answer.


def read_chat(chunks: Iterable) -> Answer:
    answer = Answer()
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        if chunk.usage:
            answer.input_tokens = chunk.usage.prompt_tokens
            answer.output_tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            answer.text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                name, arguments = calls.setdefault(call.index, ["", ""])
                calls[call.index] = [name + (call.function.name or ""), arguments + (call.function.arguments or "")]
    answer.tools = [(name, json.loads(arguments)) for name, arguments in calls.values()]
    return answer


def chat_completion(completion) -> Answer:
    message = completion.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return Answer(message.content or "", calls, completion.usage.prompt_tokens, completion.usage.completion_tokens)


def read_responses(events: Iterable) -> Answer:
    """What the deltas tell, and what the response at the end tells; both must be the same."""
    streamed, last, numbers = "", None, []
    for event in events:
        last = event
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            streamed += event.delta
    if last is not None and last.type == "response.failed":
        raise ResponseFailed(last.response.error)
    if last is None or last.type != "response.completed":
        raise IncompleteError(f"the last event is {last!r}")
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise IncompleteError(f"the sequence numbers are {numbers}")
    answer = responses_response(last.response)
    if streamed != answer.text:
        raise IncompleteError(f"the deltas say {streamed!r}, their end says {answer.text!r}")
    return answer


class IncompleteError(Exception):
    """An answer that does not hang together."""


class ResponseFailed(Exception):
    """The event `response.failed`: the SDK yields it like any other, and a program is to look at it."""


def responses_response(response) -> Answer:
    calls = [(item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
    return Answer(response.output_text, calls, response.usage.input_tokens, response.usage.output_tokens)


def read_anthropic(events: Iterable) -> Answer:
    answer = Answer()
    names: dict[int, str] = {}
    inputs: dict[int, str] = {}
    stopped = False
    for event in events:
        if event.type == "message_start":
            answer.input_tokens = event.message.usage.input_tokens
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            names[event.index] = event.content_block.name
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            answer.text += event.delta.text
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            inputs[event.index] = inputs.get(event.index, "") + event.delta.partial_json
        elif event.type == "message_delta":
            answer.output_tokens = event.usage.output_tokens
        elif event.type == "message_stop":
            stopped = True
    if not stopped:
        raise IncompleteError("there was no message_stop")
    answer.tools = [(name, json.loads(inputs[index])) for index, name in names.items()]
    return answer


def anthropic_message(message) -> Answer:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    return Answer(text, calls, message.usage.input_tokens, message.usage.output_tokens)


def read_ollama(parts: Iterable) -> Answer:
    answer = Answer()
    done = False
    for part in parts:
        answer.text += part.message.content or ""
        answer.tools += [(call.function.name, dict(call.function.arguments)) for call in part.message.tool_calls or []]
        if part.done:
            done = True
            answer.input_tokens, answer.output_tokens = part.prompt_eval_count, part.eval_count
    if not done:
        raise IncompleteError("no line says that it is done")
    return answer


# The ways themselves.


def chat_create(base: str, prompt: str, transport=None, **options) -> Answer:
    with openai_client(base, transport, **options) as client:
        return read_chat(client.chat.completions.create(stream=True, **chat_request(prompt)))


def chat_create_httpx(base: str, prompt: str, transport=None, **options) -> Answer:
    with openai_httpx_client(base, transport, **options) as client:
        return read_chat(client.chat.completions.create(stream=True, **chat_request(prompt)))


def chat_stream(base: str, prompt: str, transport=None, **options) -> Answer:
    with openai_client(base, transport, **options) as client, client.chat.completions.stream(**chat_request(prompt)) as stream:
        return chat_completion(stream.get_final_completion())


def chat_create_async(base: str, prompt: str, transport=None, **options) -> Answer:
    async def ask() -> Answer:
        async with openai_async_client(base, transport, **options) as client:
            return read_chat(await collect(await client.chat.completions.create(stream=True, **chat_request(prompt))))

    return asyncio.run(ask())


def responses_create(base: str, prompt: str, transport=None, **options) -> Answer:
    with openai_client(base, transport, **options) as client:
        return read_responses(client.responses.create(stream=True, **responses_request(prompt)))


def responses_stream(base: str, prompt: str, transport=None, **options) -> Answer:
    with openai_client(base, transport, **options) as client, client.responses.stream(**responses_request(prompt)) as stream:
        return read_responses(stream)


def responses_create_async(base: str, prompt: str, transport=None, **options) -> Answer:
    async def ask() -> Answer:
        async with openai_async_client(base, transport, **options) as client:
            return read_responses(await collect(await client.responses.create(stream=True, **responses_request(prompt))))

    return asyncio.run(ask())


def messages_create(base: str, prompt: str, transport=None, **options) -> Answer:
    with anthropic_client(base, transport, **options) as client:
        return read_anthropic(client.messages.create(stream=True, **anthropic_request(prompt)))


def messages_stream(base: str, prompt: str, transport=None, **options) -> Answer:
    with anthropic_client(base, transport, **options) as client, client.messages.stream(**anthropic_request(prompt)) as stream:
        return anthropic_message(stream.get_final_message())


def messages_create_async(base: str, prompt: str, transport=None, **options) -> Answer:
    async def ask() -> Answer:
        async with anthropic_async_client(base, transport, **options) as client:
            return read_anthropic(await collect(await client.messages.create(stream=True, **anthropic_request(prompt))))

    return asyncio.run(ask())


def ollama_chat(base: str, prompt: str, transport=None, **options) -> Answer:
    with ollama.Client(base, **ollama_options(transport, **options)) as client:
        return read_ollama(client.chat(stream=True, **ollama_request(prompt)))


def ollama_chat_async(base: str, prompt: str, transport=None, **options) -> Answer:
    async def ask() -> Answer:
        async with ollama.AsyncClient(base, **ollama_options(transport, **options)) as client:
            return read_ollama(await collect(await client.chat(stream=True, **ollama_request(prompt))))

    return asyncio.run(ask())


async def collect(stream: AsyncIterator) -> list:
    return [item async for item in stream]


# By `error`, which the SDK raises where it has an `error` of its own, or by `response.failed`.
RESPONSE_ERRORS = (openai.APIError, ResponseFailed)

WAYS = [
    Way("openai chat.completions.create", chat_create, (openai.APIError,)),
    Way("openai chat.completions.stream", chat_stream, (openai.APIError,)),
    Way("openai async chat.completions.create", chat_create_async, (openai.APIError,), is_async=True),
    Way("openai over httpx chat.completions.create", chat_create_httpx, (openai.APIError,), http=httpx),
    Way("openai responses.create", responses_create, RESPONSE_ERRORS),
    Way("openai responses.stream", responses_stream, RESPONSE_ERRORS),
    Way("openai async responses.create", responses_create_async, RESPONSE_ERRORS, is_async=True),
    Way("anthropic messages.create", messages_create, (anthropic.APIStatusError,)),
    Way("anthropic messages.stream", messages_stream, (anthropic.APIStatusError,)),
    Way("anthropic async messages.create", messages_create_async, (anthropic.APIStatusError,), is_async=True),
    Way("ollama chat", ollama_chat, (ollama.ResponseError,), http=httpx),
    Way("ollama async chat", ollama_chat_async, (ollama.ResponseError,), is_async=True, http=httpx),
]


# Without streams.


def chat_whole(base: str, prompt: str) -> Answer:
    request = chat_request(prompt)
    del request["stream_options"]
    with openai_client(base) as client:
        return chat_completion(client.chat.completions.create(**request))


def responses_whole(base: str, prompt: str) -> Answer:
    with openai_client(base) as client:
        return responses_response(client.responses.create(**responses_request(prompt)))


def messages_whole(base: str, prompt: str) -> Answer:
    with anthropic_client(base) as client:
        return anthropic_message(client.messages.create(**anthropic_request(prompt)))


def ollama_whole(base: str, prompt: str) -> Answer:
    with ollama.Client(base, **ollama_options()) as client:
        return read_ollama([client.chat(**ollama_request(prompt))])


WHOLE = [
    ("openai chat.completions.create", chat_whole),
    ("openai responses.create", responses_whole),
    ("anthropic messages.create", messages_whole),
    ("ollama chat", ollama_whole),
]
