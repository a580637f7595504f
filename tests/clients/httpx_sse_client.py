"""Follows one topic with PyPI's `httpx-sse`, in the loop that its documentation suggests for reconnecting.

python httpx_sse_client.py URL
"""

import sys
import time

import httpx
from httpx_sse import connect_sse

from report import report_done, report_event

CLIENT = "httpx-sse"
READ_TIMEOUT_SECONDS = 60
# Until the server has said how long.
RECONNECTION_DELAY_MS = 200


def main(url):
    last_event_id = ""
    reconnection_delay_ms = RECONNECTION_DELAY_MS
    with httpx.Client(timeout=httpx.Timeout(10, read=READ_TIMEOUT_SECONDS)) as client:
        while True:
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            try:
                with connect_sse(client, "GET", url, params={"after": "first"}, headers=headers) as source:
                    if source.response.status_code == httpx.codes.NO_CONTENT:
                        report_done(CLIENT, "204")
                        return
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        last_event_id = event.id
                        if event.retry is not None:
                            reconnection_delay_ms = event.retry
                        if event.event != "longwave.end":
                            report_event(CLIENT, event.id, event.event, event.data)
            except httpx.TransportError as error:
                print(f"{CLIENT}: {error!r}, goes on after {last_event_id!r}", file=sys.stderr)
            time.sleep(reconnection_delay_ms / 1000)


main(sys.argv[1])
