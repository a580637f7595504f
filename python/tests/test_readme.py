"""The README's first example does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gateway import Answer, Cut, chat_events, serving


def test_the_first_example_prints_the_whole_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    example = found.group(1)
    assert "http://127.0.0.1:4480" in example
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(Answer(chat_events(["Waves ", "go ", "on."]))) as gateway:
        gateway.faults = [Cut(300)]
        names: dict[str, object] = {}
        exec(example.replace("http://127.0.0.1:4480", gateway.url), names)
        assert capsys.readouterr().out == "Waves go on.\n"
        assert len(gateway.requests) == 2
        names["client"].close()  # type: ignore[attr-defined]
