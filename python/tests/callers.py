"""One way to use all four transports, so that a test is written once. Start with `Caller`.

The asynchronous ones run on an event loop in a thread of their own.
"""

from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal


@dataclass(frozen=True)
class Result:
    """An answer, as far as it was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller(ABC):
    """A client of a gateway."""

    def __init__(self, library: str) -> None:
        self.http: Any = importlib.import_module(library)
        self.longwave: Any = importlib.import_module(f"longwave.{library}")

    def post(self, url: str, **arguments: Any) -> Result:
        """Posts, and reads the answer to its end."""
        return self.request("POST", url, json={"stream": True}, **arguments)

    @abstractmethod
    def request(self, method: str, url: str, *, chunks_max: int | None = None, **arguments: Any) -> Result:
        """Sends a request, and reads its answer to the end, or so many pieces before it is closed."""

    @abstractmethod
    def send_generated(self, url: str) -> Result:
        """Posts a body that can be read once only."""


class SyncCaller(Caller):
    def __init__(self, library: str, options: dict[str, Any]) -> None:
        super().__init__(library)
        transport = self.longwave.ResumingTransport(**options)
        self.client = self.http.Client(transport=transport, timeout=TIMEOUT_S)

    def request(self, method: str, url: str, *, chunks_max: int | None = None, **arguments: Any) -> Result:
        with self.client.stream(method, url, **arguments) as response:
            body = b""
            for index, chunk in enumerate(response.iter_raw(), start=1):
                body += chunk
                if index == chunks_max:
                    break
            return Result(response.status_code, response.headers, body)

    def send_generated(self, url: str) -> Result:
        response = self.client.post(url, content=iter([b"{", b"}"]))
        return Result(response.status_code, response.headers, response.content)


class AsyncCaller(Caller):
    def __init__(self, library: str, options: dict[str, Any], portal: BlockingPortal) -> None:
        super().__init__(library)
        self.portal = portal
        transport = self.longwave.AsyncResumingTransport(**options)
        self.client = self.http.AsyncClient(transport=transport, timeout=TIMEOUT_S)

    def request(self, method: str, url: str, *, chunks_max: int | None = None, **arguments: Any) -> Result:
        async def call() -> Result:
            async with self.client.stream(method, url, **arguments) as response:
                body, index = b"", 0
                chunks = response.aiter_raw()
                async for chunk in chunks:
                    body, index = body + chunk, index + 1
                    if index == chunks_max:
                        await chunks.aclose()
                return Result(response.status_code, response.headers, body)

        return self.portal.call(call)

    def send_generated(self, url: str) -> Result:
        async def body() -> Any:
            for part in (b"{", b"}"):
                yield part

        async def call() -> Result:
            response = await self.client.post(url, content=body())
            return Result(response.status_code, response.headers, response.content)

        return self.portal.call(call)


@contextlib.contextmanager
def calling(kind: str, **options: Any) -> Iterator[Caller]:
    """A caller of a kind, with options of its transport: `sync`, `async` or `trio`, then the library."""
    mode, _, library = kind.partition(" ")
    if mode == "sync":
        caller = SyncCaller(library, options)
        with caller.client:
            yield caller
        return
    with start_blocking_portal("trio" if mode == "trio" else "asyncio") as portal:
        asynchronous = AsyncCaller(library, options, portal)
        try:
            yield asynchronous
        finally:
            portal.call(asynchronous.client.aclose)


KINDS = ("sync httpx", "sync httpx2", "async httpx", "async httpx2")
#: Long enough for a loaded machine: no test waits for it but those that set their own.
TIMEOUT_S = 60.0
