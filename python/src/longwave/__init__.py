"""Goes on with a streamed answer where its connection broke, behind a Longwave gateway.

`longwave.httpx` and `longwave.httpx2` each have a `ResumingTransport` and an `AsyncResumingTransport`, for the clients
of the library of that name. This module has what both share.
"""

from ._resume import OnClose, OnReadTimeout

__all__ = ["OnClose", "OnReadTimeout", "__version__"]

__version__ = "0.1.0"
