"""Fixtures of all tests."""

from __future__ import annotations

import pytest
from callers import KINDS

from longwave import _resume


@pytest.fixture(autouse=True)
def retries_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of how long to wait look at the numbers."""
    monkeypatch.setattr(_resume, "BACKOFF_BASE_S", 0.0)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each transport in turn."""
    return str(request.param)
