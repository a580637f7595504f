"""Connections are cut, and with Longwave's transport no SDK sees any of it: the answer is whole, and upstream was asked once."""

import httpx
import httpx2
import longwave.httpx
import longwave.httpx2

from harness import Case, Stage, expect, expect_what_upstream_sent
from sdks import WAYS, Way

# Where connections are cut, by which plan of the relay, how many of them, and what is answered.
PLANS = [
    ("at every event border", "border", CUTS_WITHOUT_END := 1000, "words=16"),
    ("at every event border of a tool call", "border", CUTS_WITHOUT_END, "tool"),
    ("at random bytes", "byte", CUTS_WITHOUT_END, "words=48 unicode"),
    ("before there is an answer", "request", 3, "words=8"),
    ("anywhere", "mixed", CUTS_WITHOUT_END, "words=32 unicode"),
    ("anywhere while the answer comes slowly", "mixed", CUTS_WITHOUT_END, "words=16 delay=3ms"),
]


def cases() -> list[Case]:
    return [cut(way, *plan) for way in WAYS for plan in PLANS]


def cut(way: Way, where: str, at: str, cuts: int, directives: str) -> Case:
    def run(stage: Stage) -> None:
        link = stage.cutting_link(at, cuts)
        answer = way.ask(link, stage.prompt(directives), transport(way))
        expect_what_upstream_sent(stage, answer)
        expect(stage.faults_so_far() > 0, "no connection was cut")

    return Case(f"{way.name} is whole when it is cut {where}", run)


def transport(way: Way) -> type:
    """Longwave's transport for the client that the SDK takes."""
    ours = {httpx: longwave.httpx, httpx2: longwave.httpx2}[way.http]
    return ours.AsyncResumingTransport if way.is_async else ours.ResumingTransport
