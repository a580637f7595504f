"""Follows an event stream to its end, over as many connections as that takes.

    python read.py URL [--drop-after N]

`--drop-after` hangs up after every N events, to show that nothing is lost or repeated.
"""

import argparse
import json
import time

import httpx
from httpx_sse import ServerSentEvent, connect_sse

RETRY_SECONDS = 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--drop-after", type=int, metavar="N")
    arguments = parser.parse_args()

    last_id = None
    ended = False
    with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
        while not ended:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with connect_sse(client, "GET", arguments.url, headers=headers) as source:
                    if source.response.status_code == 204:  # the end was the last thing we saw
                        break
                    source.response.raise_for_status()
                    print(f"-- connected, after {last_id or 'the beginning'}")
                    for count, event in enumerate(source.iter_sse(), start=1):
                        last_id = event.id or last_id
                        ended = show(event)
                        if ended or count == arguments.drop_after:
                            break
            except httpx.TransportError as error:
                print(f"-- {error}; trying again")
                time.sleep(RETRY_SECONDS)


def show(event: ServerSentEvent) -> bool:
    """Prints an event and says whether it was the last one."""
    match event.event:
        case "word":
            word = json.loads(event.data)
            print(f"{word['number']:3} {word['word']}")
        case "longwave.end":
            print(f"-- the end: {json.loads(event.data)['reason']}")
            return True
        case "longwave.gap":
            print(f"-- some words are no longer kept: {event.data}")
    return False


if __name__ == "__main__":
    main()
