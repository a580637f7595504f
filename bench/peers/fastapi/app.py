"""A plain FastAPI server: a queue for each subscriber, and a generator that empties it.

Nothing is kept: who is not connected misses what is published.
"""

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()
subscribers: set[asyncio.Queue[bytes]] = set()


@app.get("/events")
async def events() -> StreamingResponse:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    subscribers.add(queue)

    async def body():
        try:
            while True:
                yield await queue.get()
        finally:
            subscribers.discard(queue)

    return StreamingResponse(body(), media_type="text/event-stream")


@app.post("/publish", status_code=204)
async def publish(request: Request) -> None:
    frame = b"data: " + await request.body() + b"\n\n"
    for queue in subscribers:
        queue.put_nowait(frame)
