"""Follows one topic with `curl -N`, started anew behind the last event whenever it ends.

python curl_client.py URL

What curl prints is read here line by line, by the standard's rules but without a library.
"""

import subprocess
import sys
import time

from report import report_done, report_event

CLIENT = "curl"
RECONNECT_DELAY_SECONDS = 0.2


def main(url):
    last_event_id = ""
    while True:
        command = ["curl", "--silent", "--no-buffer", "--header", "Accept: text/event-stream"]
        if last_event_id:
            command += ["--header", f"Last-Event-ID: {last_event_id}"]
        command += ["--write-out", "%{stderr}%{http_code}", f"{url}?after=first"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
            for id, type, data in events(curl.stdout, last_event_id):
                last_event_id = id
                if type != "longwave.end":
                    report_event(CLIENT, id, type, data)
            status = curl.stderr.read().decode()
        if status == "204":
            report_done(CLIENT, status)
            return
        print(f"{CLIENT}: ended with {curl.returncode}, goes on after {last_event_id!r}", file=sys.stderr)
        time.sleep(RECONNECT_DELAY_SECONDS)


def events(stream, last_event_id):
    """The events of a stream as (id, type, data); a block that the stream's end cuts off is none."""
    id, type, data = last_event_id, "message", []
    for line in stream:
        if not line.endswith(b"\n"):
            return
        line = line.decode().removesuffix("\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                yield id, type, "\n".join(data)
            type, data = "message", []
        elif field == "id":
            id = value
        elif field == "event":
            type = value
        elif field == "data":
            data.append(value)


main(sys.argv[1])
