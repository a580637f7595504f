"""Follows one topic by long poll with PyPI's `httpx`: one JSON page after the other, by the page's cursor.

python long_poll.py URL
"""

import sys
import time

import httpx

from report import report_done, report_event

CLIENT = "long-poll"
RETRY_DELAY_SECONDS = 0.2


def main(url):
    cursor = "first"
    with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:
        while True:
            parameters = {"after": cursor, "wait": "25s"}
            try:
                response = client.get(url, params=parameters, headers={"Accept": "application/json"})
                response.raise_for_status()
                page = response.json()
            except (httpx.TransportError, httpx.HTTPStatusError, ValueError) as error:
                print(f"{CLIENT}: {error!r}, goes on after {cursor}", file=sys.stderr)
                time.sleep(RETRY_DELAY_SECONDS)
                continue
            for event in page["events"]:
                report_event(CLIENT, event["id"], event.get("type"), event["data"], event.get("encoding"))
            if page.get("gap"):
                report_event(CLIENT, None, "longwave.gap", page["gap"])
            cursor = page["cursor"]
            if page["end"]:
                report_done(CLIENT, "end")
                return


main(sys.argv[1])
