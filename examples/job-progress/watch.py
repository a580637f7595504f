"""Shows a job's progress in a terminal, and exits with 0 when it is done and 1 when it failed.

    python3 watch.py URL

It reads by long poll: plain requests that wait for news on the server's side. That needs no library at all, works
through any proxy, and uses the same cursor as the page's EventSource.
"""

import json
import sys
import time
import urllib.error
import urllib.request

WAIT_SECONDS = 25
RETRY_SECONDS = 1
BAR_WIDTH = 40


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    url, cursor = sys.argv[1], "first"
    while True:
        try:
            page = poll(url, cursor)
        except urllib.error.HTTPError as error:
            sys.exit(f"{error.code}: {error.read().decode()}")
        except OSError as error:
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(RETRY_SECONDS)
            continue
        for event in page["events"]:
            show(event)
        cursor = page["cursor"]
        if page["end"]:
            sys.exit(0 if page["end"]["reason"] == "done" else 1)


def poll(url: str, cursor: str) -> dict:
    """The events after `cursor`, as soon as there are any."""
    request = urllib.request.Request(
        f"{url}?after={cursor}&wait={WAIT_SECONDS}s", headers={"Accept": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_SECONDS + 30) as response:
        return json.load(response)


def show(event: dict) -> None:
    data = event["data"]
    match event["type"]:
        case "started":
            print(f"{data['files']} files, {data['total']} bytes", flush=True)
        case "progress":
            bar = "#" * (BAR_WIDTH * data["percent"] // 100)
            # On a terminal the bar moves; in a file each step is a line.
            end = "\r" if sys.stdout.isatty() and data["percent"] < 100 else "\n"
            print(f"[{bar:<{BAR_WIDTH}}] {data['percent']:3} % {data['file']:<30}", end=end, flush=True)
        case "finished":
            print(f"done: {data['bytes_before']} bytes became {data['bytes_after']}", flush=True)
        case "failed":
            print(f"\nfailed: {data['message']}", flush=True)


if __name__ == "__main__":
    main()
