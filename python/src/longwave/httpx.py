"""For clients of httpx: `ResumingTransport` for `httpx.Client`, `AsyncResumingTransport` for `httpx.AsyncClient`."""

from __future__ import annotations

import httpx

from ._async import AsyncBody, AsyncDriver
from ._resume import OnClose, OnReadTimeout, Options
from ._sync import SyncBody, SyncDriver

__all__ = ["AsyncResumingTransport", "ResumeError", "ResumingTransport"]


class ResumeError(httpx.RemoteProtocolError):
    """An answer broke, and the gateway does not go on with it: the message says why."""


class ResumingTransport(httpx.BaseTransport):
    """Sends requests to a Longwave gateway, and goes on with a streamed answer when its connection breaks.

    `transport` is what sends: `httpx.HTTPTransport()`, unless another is given. Limits, certificates and a proxy are
    its business, since a client that is given a transport leaves them to it.

    `on_close` says what it means when the answer is closed before its end: `"leave"` is a disconnect, and the
    gateway's policy decides what becomes of the stream; `"cancel"` asks the gateway to stop upstream, within 5 s and
    without telling where that fails.

    `on_read_timeout` says what a read timeout within an answer is: `"raise"` passes it on, as the caller's own limit;
    `"resume"` takes it for a dead connection, which suits a timeout well above the gateway's heartbeat.

    `resumes_max` is how often in a row the rest is asked for in vain (an event that arrives starts the count again),
    and `connects_max` how often a POST that was not answered is sent again, with the same key. The waits between are
    drawn from 0 to 0.25 s, 0.5 s, 1 s … 8 s. When they are used up, the error of the connection that broke is raised.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | None = None,
        *,
        on_close: OnClose = "leave",
        on_read_timeout: OnReadTimeout = "raise",
        resumes_max: int = 8,
        connects_max: int = 2,
    ) -> None:
        options = Options(on_close, on_read_timeout, resumes_max, connects_max)
        self._inner = httpx.HTTPTransport() if transport is None else transport
        self._driver = SyncDriver(httpx, self._inner, options, _Body, ResumeError)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request, for a client."""
        response: httpx.Response = self._driver.handle(request)
        return response

    def close(self) -> None:
        """Closes the transport that sends."""
        self._inner.close()


class AsyncResumingTransport(httpx.AsyncBaseTransport):
    """`ResumingTransport` for asynchronous clients, on asyncio or trio; the arguments mean the same."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        on_close: OnClose = "leave",
        on_read_timeout: OnReadTimeout = "raise",
        resumes_max: int = 8,
        connects_max: int = 2,
    ) -> None:
        options = Options(on_close, on_read_timeout, resumes_max, connects_max)
        self._inner = httpx.AsyncHTTPTransport() if transport is None else transport
        self._driver = AsyncDriver(httpx, self._inner, options, _AsyncBody, ResumeError)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request, for a client."""
        response: httpx.Response = await self._driver.handle(request)
        return response

    async def aclose(self) -> None:
        """Closes the transport that sends."""
        await self._inner.aclose()


class _Body(SyncBody, httpx.SyncByteStream):
    """As the library wants a body to be."""


class _AsyncBody(AsyncBody, httpx.AsyncByteStream):
    """As the library wants a body to be."""
