"""What all cases share: how they are told apart and counted, what upstream really sent, and links that cut connections.

Read `Case` and `Stage` first.
"""

import dataclasses
import json
import re
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# How long anything may take before it counts as hung. Far more than a loaded machine needs.
HANG_SECONDS = 60
# Those nearest to what was raised: the first ones are always the same.
TRACEBACK_FRAMES = 5


class CaseFailed(Exception):
    """A case that does not hold. The message is what a person needs to mend it."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that holds; `name` is a sentence about it."""

    name: str
    run: Callable[["Stage"], None]


@dataclasses.dataclass
class Answer:
    """What a program learns from an SDK's answer, whichever SDK it is."""

    text: str = ""
    # Name and arguments of each tool that is to be called.
    tools: list[tuple[str, dict]] = dataclasses.field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None


class Stage:
    """Where a case plays: the servers, and a prompt that no other case has."""

    def __init__(self, case: str, arguments) -> None:
        self.case = case
        self.gateway = arguments.gateway.rstrip("/")
        self.upstream = arguments.upstream.rstrip("/")
        self.relay = arguments.relay
        self.seed = f"{arguments.seed}/{case}"
        # Prompts are found again by their beginning, so none may be the beginning of another one.
        self.marker = f"<{case} {arguments.seed}>"
        self.faults = 0
        self.links: list[str] = []

    def prompt(self, directives: str = "words=24") -> str:
        """A prompt of this case's own. The simulator's `directives` don't change what it answers."""
        return f"{self.marker} Tell me about rivers. [simulate: delay=0 {directives}]"

    def calls(self) -> list[dict]:
        """What upstream says of every call that this case led to."""
        query = urllib.parse.urlencode({"contains": self.marker})
        return fetch_json(f"{self.upstream}/simulator/answers?{query}")["answers"]

    def only_call(self) -> dict:
        """The same, of a case that leads to one call."""
        calls = self.calls()
        expect_equal("how often upstream was called", len(calls), 1)
        return calls[0]

    def cutting_link(self, at: str, cuts: int, seed: str = "") -> str:
        """The URL of a way to the gateway on which connections are cut. `at` is what `relay.mjs` tells."""
        plan = {"at": at, "cuts": cuts, "seed": f"{self.seed}/{seed}"}
        link = fetch_json(f"{self.relay}/links", method="POST", value=plan)
        self.links.append(f"{self.relay}/links/{link['id']}")
        return link["url"]

    def faults_so_far(self) -> int:
        """How many connections were cut on the links of this case."""
        return sum(fetch_json(link)["faults"] for link in self.links)

    def close(self) -> None:
        """Ends the links, and counts what they did."""
        self.faults = sum(fetch_json(link, method="DELETE")["faults"] for link in self.links)


def fetch_json(url: str, method: str = "GET", value: object = None, headers: dict[str, str] | None = None) -> dict:
    """Asks by the standard library alone, so that nothing of what is tested is needed to judge it."""
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json", **(headers or {})}, method=method)
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
        return json.load(response)


def expect_equal(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise CaseFailed(f"{what}: got {got!r}, wanted {wanted!r}")


def expect(holds: object, complaint: str) -> None:
    if not holds:
        raise CaseFailed(complaint)


def expect_error(kind: type[Exception] | tuple[type[Exception], ...], ask: Callable[[], object]) -> Exception:
    """The error of this kind that `ask` raises. An answer without one would be silent success."""
    try:
        answer = ask()
    except kind as error:
        return error
    raise CaseFailed(f"no error, but an answer: {answer!r}")


def expect_what_upstream_sent(stage: Stage, answer: Answer) -> None:
    """The answer is the one that left upstream, whole, and upstream was asked for it once."""
    wait_until("upstream has ended", lambda: stage.only_call()["state"] != "running")
    sent = stage.only_call()
    # An SDK may close at the last event; a gateway that stands in between reads to the end.
    ends = ("whole", "client-left") if stage.gateway == stage.upstream else ("whole",)
    expect(sent["state"] in ends, f"upstream's answer is {sent['state']}")
    expect_equal("text", answer.text, sent["text"])
    expect_equal("tools", answer.tools, [(tool["name"], tool["input"]) for tool in sent["tools"]])
    expect(sent["text"] or sent["tools"], "upstream sent nothing to compare with")
    expect(answer.input_tokens, "usage does not tell the input tokens")
    expect(answer.output_tokens, "usage does not tell the output tokens")


def wait_until(what: str, holds: Callable[[], object]) -> None:
    """Waits for a state that can only be looked at."""
    deadline = time.monotonic() + HANG_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise CaseFailed(f"never: {what}")
        time.sleep(0.02)


def run(cases: list[Case], arguments) -> bool:
    """Runs the cases, several at a time, and prints a line for each; whether all hold."""
    names = [case.name for case in cases]
    expect_equal("cases with a name of their own", len(set(names)), len(names))
    pattern = re.compile(arguments.only)
    chosen = [case for case in cases if pattern.search(case.name)]
    printing = threading.Lock()
    failed = faults = 0

    def run_one(case: Case) -> tuple[bool, int]:
        stage = Stage(case.name, arguments)
        failure = None
        try:
            case.run(stage)
        except CaseFailed as error:
            failure = str(error)
        except Exception:
            failure = traceback.format_exc(limit=-TRACEBACK_FRAMES)
        finally:
            stage.close()
        with printing:
            if failure is None:
                print(f"ok {case.name}", flush=True)
            else:
                lines = failure.strip().replace("\n", "\n    ")
                print(f"FAILED {case.name}\n    seed {arguments.seed}\n    {lines}", flush=True)
        return failure is None, stage.faults

    with ThreadPoolExecutor(arguments.jobs) as pool:
        for holds, count in pool.map(run_one, chosen):
            failed += not holds
            faults += count
    print(f"{faults} faults", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    return failed == 0
