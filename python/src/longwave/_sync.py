"""The blocking driver: does what `_resume` says, with sockets and a clock. `_async` is its twin."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ._request import breaks, cancel_request, failures, first_request, may_repeat, resume_request, unanswered
from ._resume import Backoff, Options, Resumption, Verdict, resumption_for


class SyncDriver:
    """One transport's way of sending a request."""

    def __init__(self, http: Any, inner: Any, options: Options, body: Any, error: Any) -> None:
        self.http = http
        self.inner = inner
        self.options = options
        #: What raises when the gateway does not go on.
        self.error = error
        self._body = body

    def handle(self, request: Any) -> Any:
        """Sends a request; an answer that a gateway can go on with gets a body that does."""
        sent = first_request(self.http, request)
        response = self._send(sent)
        resumption = resumption_for(sent, response.status_code, response.headers, self.options.resumes_max)
        if resumption is not None:
            response.stream = self._body(self, sent, response, resumption)
        return response

    def _send(self, request: Any) -> Any:
        backoff = Backoff(self.options.connects_max if may_repeat(self.http, request) else 0)
        while True:
            try:
                return self.inner.handle_request(request)
            except unanswered(self.http):
                delay_s = backoff.next_delay_s()
                if delay_s is None:
                    raise
            time.sleep(delay_s)


class SyncBody:
    """The one body that the caller reads, out of as many answers as it takes."""

    def __init__(self, driver: SyncDriver, request: Any, response: Any, resumption: Resumption) -> None:
        self._driver = driver
        self._request = request
        self._content_type = response.headers["content-type"]
        self._resumption = resumption
        self._stream = response.stream
        #: Neither ended nor failed, so that a close is the caller's wish to stop.
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        broken = breaks(self._driver.http, self._driver.options)
        while True:
            try:
                for chunk in self._stream:
                    whole = self._resumption.feed(chunk)
                    if whole:
                        yield whole
            except broken as error:
                goes_on = self._resume(error)
            else:
                self._is_open = False
                rest = self._resumption.cutter.flush()
                if rest:
                    yield rest
                return
            if not goes_on:
                return

    def close(self) -> None:
        """Leaves the answer, or cancels it, as the caller of the transport chose."""
        self._stream.close()
        gives_up = self._is_open and not self._resumption.cutter.said_done
        self._is_open = False
        if gives_up and self._driver.options.on_close == "cancel":
            # At best: the gateway's own policy decides where it does not get through.
            with contextlib.suppress(*failures(self._driver.http)):
                request = cancel_request(self._driver.http, self._request, self._resumption)
                self._driver.inner.handle_request(request).close()

    def _resume(self, broken: Exception) -> bool:
        """Gets the answer that goes on; `False` where there is nothing more."""
        if not self._resumption.cutter.may_resume:
            self._is_open = False
            raise broken
        self._resumption.cutter.drop()
        self._stream.close()
        retry_after_s = 0.0
        cause: Exception | None = None
        while True:
            delay_s = self._resumption.next_delay_s(retry_after_s)
            if delay_s is None:
                self._is_open = False
                raise broken from cause
            time.sleep(delay_s)
            http = self._driver.http
            request = resume_request(http, self._request, self._resumption, self._content_type)
            try:
                response = self._driver.inner.handle_request(request)
            except failures(http) as error:
                retry_after_s, cause = 0.0, error
                continue
            judgement = self._resumption.judge(response.status_code, response.headers, self._content_type)
            if judgement.verdict is Verdict.GOES_ON:
                self._stream = response.stream
                return True
            response.close()
            if judgement.verdict is Verdict.TRY_AGAIN:
                retry_after_s, cause = judgement.retry_after_s, None
                continue
            self._is_open = False
            if judgement.verdict is Verdict.REFUSED:
                raise self._driver.error(judgement.reason, request=request) from broken
            return False
