"""Plain use: each SDK as its documentation has it, only with another base URL.

What upstream sends also comes in the shapes that are hard on parsers: other line ends, comments, bytes one at a time.
"""

from harness import Case, Stage, expect_equal, expect_what_upstream_sent
from sdks import WAYS, WHOLE, Way

TRAVELS = {
    "as it is": "words=24",
    "with text that is hard on parsers": "words=60 unicode",
    "with a tool call": "tool",
    "byte by byte": "words=12 unicode pace=byte",
    "all at once": "words=60 pace=once",
    "cut in the middle of characters": "words=40 unicode pace=split",
    "with CRLF and no space": "words=12 crlf no-space",
    "compressed": "words=40 gzip",
    "with comments and a retry between events": "words=24 comments retry=20",
    "with ids of upstream's own": "words=12 ids",
    "with [DONE] at the end": "words=12 done",
    "slowly": "words=8 delay=20ms",
}
# What the SDKs can't take from upstream itself; behind the gateway all can.
DIRECTLY_BROKEN = {"with comments and a retry between events", "with ids of upstream's own"}


def cases(directly: bool) -> list[Case]:
    """All of them, or those that hold without a gateway in between too."""
    travels = {name: how for name, how in TRAVELS.items() if not (directly and name in DIRECTLY_BROKEN)}
    streamed = [plain(way, name, how) for way in WAYS for name, how in travels.items()]
    return streamed + [whole(name, ask) for name, ask in WHOLE]


def plain(way: Way, travel: str, directives: str) -> Case:
    def run(stage: Stage) -> None:
        answer = way.ask(stage.gateway, stage.prompt(directives), None)
        expect_what_upstream_sent(stage, answer)

    return Case(f"{way.name} streams {travel}", run)


def whole(name: str, ask) -> Case:
    def run(stage: Stage) -> None:
        answer = ask(stage.gateway, stage.prompt())
        expect_equal("text", answer.text, stage.only_call()["text"])

    return Case(f"{name} answers without a stream", run)
