"""The requests that a transport sends, built with the classes of httpx or of httpx2.

Both libraries have the same names, so what is shared takes the library as an argument, `http`, and leaves the types to
`longwave.httpx` and `longwave.httpx2`.
"""

from __future__ import annotations

import ssl
import uuid
from typing import Any

from ._resume import CANCEL_TIMEOUT_S, Options, Resumption, resume_headers


def first_request(http: Any, request: Any) -> Any:
    """The request as it is sent: a POST gets a key, unless it has one, and an answer that can be cut at events.

    The caller's own request stays as it is: sent once more, it is a new one.
    """
    if request.method != "POST":
        return request
    headers = request.headers.copy()
    headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
    headers["Accept-Encoding"] = "identity"
    return http.Request(
        request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
    )


def may_repeat(http: Any, request: Any) -> bool:
    """Whether a request that got no answer may be sent again: it has a key, and a body that can be read again."""
    return request.method == "POST" and isinstance(request.stream, http.ByteStream)


def resume_request(http: Any, request: Any, resumption: Resumption, content_type: str) -> Any:
    """Asks for what follows the last whole event."""
    headers = resume_headers(request.headers, resumption.cutter, content_type)
    if resumption.starts_over:
        url = request.url
    else:
        url = request.url.join(resumption.stream_path).copy_merge_params(resumption.cutter.params())
    return http.Request("GET", url, headers=headers, extensions=request.extensions)


def cancel_request(http: Any, request: Any, resumption: Resumption) -> Any:
    """Tells the gateway that nobody wants the rest."""
    headers = resume_headers(request.headers, resumption.cutter, "*/*")
    headers.pop("Last-Event-ID", None)
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), CANCEL_TIMEOUT_S)
    extensions = {**request.extensions, "timeout": timeout}
    url = request.url.join(resumption.stream_path)
    return http.Request("DELETE", url, headers=headers, extensions=extensions)


def unanswered(http: Any) -> tuple[type[Exception], ...]:
    """The errors of a connection that could not be made, or broke before there was an answer."""
    return (http.ConnectTimeout, http.NetworkError, http.RemoteProtocolError, ssl.SSLError)


def breaks(http: Any, options: Options) -> tuple[type[Exception], ...]:
    """The errors of a connection that broke within a body."""
    silence = (http.ReadTimeout,) if options.on_read_timeout == "resume" else ()
    return (http.NetworkError, http.RemoteProtocolError, ssl.SSLError, *silence)


def failures(http: Any) -> tuple[type[Exception], ...]:
    """The errors of a resume that may go better the next time."""
    return (http.TimeoutException, http.NetworkError, http.RemoteProtocolError, http.ProxyError, ssl.SSLError)
