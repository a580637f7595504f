"""A FastAPI service that answers a question word by word: as it is usually done, and made durable.

`answer` is the async generator that such services have today. `GET /answer` returns it with `StreamingResponse`: when
the connection drops, the rest of the answer is lost. `POST /answers` sends the same generator to a Longwave topic
instead and returns the topic's address, which any number of clients can read, leave and resume.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

LONGWAVE = os.environ.get("LONGWAVE_SERVER", "http://127.0.0.1:4480")

app = FastAPI()
publishing: set[asyncio.Task] = set()


async def answer(question: str, seconds_per_word: float) -> AsyncIterator[str]:
    words = f"You asked: {question} Here is a long answer, one word at a time, as a model would give it.".split()
    for number, word in enumerate(words, start=1):
        yield f"event: word\ndata: {json.dumps({'number': number, 'word': word})}\n\n"
        await asyncio.sleep(seconds_per_word)


@app.get("/answer")
async def stream_directly(question: str, seconds_per_word: float = 0.2) -> StreamingResponse:
    """Before: the stream lives and dies with this connection."""
    return StreamingResponse(answer(question, seconds_per_word), media_type="text/event-stream")


@app.post("/answers", status_code=202)
async def stream_durably(question: str, seconds_per_word: float = 0.2) -> dict[str, str]:
    """After: the stream is a topic, and this request is over at once."""
    topic = f"answers/{uuid.uuid4().hex}"
    task = asyncio.create_task(publish(topic, answer(question, seconds_per_word)))
    publishing.add(task)  # the event loop itself keeps only a weak reference to a task
    task.add_done_callback(publishing.discard)
    return {"stream": f"{LONGWAVE}/topics/{topic}?after=first"}


async def publish(topic: str, events: AsyncIterator[str]) -> None:
    """Sends the generator as the body of one POST; each event is appended as it arrives."""
    url = f"{LONGWAVE}/topics/{topic}"
    async with httpx.AsyncClient(timeout=None) as client:
        try:
            response = await client.post(
                url,
                params={"format": "json", "end": "done"},
                headers={"Content-Type": "text/event-stream"},
                content=(event.encode() async for event in events),
            )
            response.raise_for_status()
        except Exception:
            # Readers keep what was said so far, and learn that no more will come.
            await client.post(url, params={"end": "error"})
            raise
