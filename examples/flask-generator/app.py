"""A Flask service that makes a report row by row, and a page that shows the rows as they come.

`report` is the generator that such services have today, behind `Response(report(…), mimetype="text/event-stream")`, as
in `GET /report`. `POST /reports` sends the same generator to a Longwave topic from a thread of its own, so that the
page may be reloaded, closed or opened twice while the report is made.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator

import requests
from flask import Flask, Response, jsonify, request, send_file

LONGWAVE = os.environ.get("LONGWAVE_SERVER", "http://127.0.0.1:4480")

app = Flask(__name__)


def report(rows: int, seconds_per_row: float) -> Iterator[bytes]:
    total = 0
    for row in range(1, rows + 1):
        total += row * row
        data = {"row": row, "square": row * row, "total": total}
        yield f"event: row\ndata: {json.dumps(data)}\n\n".encode()
        time.sleep(seconds_per_row)


@app.get("/")
def page() -> Response:
    return send_file("page.html")


@app.get("/report")
def stream_directly() -> Response:
    """Before: the stream lives and dies with this connection, and holds a worker for as long."""
    return Response(report(*asked_for()), mimetype="text/event-stream")


@app.post("/reports")
def stream_durably() -> tuple[Response, int]:
    """After: the stream is a topic, and this request is over at once."""
    topic = f"reports/{uuid.uuid4().hex}"
    threading.Thread(target=publish, args=(topic, report(*asked_for())), daemon=True).start()
    return jsonify(stream=f"{LONGWAVE}/topics/{topic}?after=first"), 202


def publish(topic: str, events: Iterator[bytes]) -> None:
    """Sends the generator as the body of one POST; each event is appended as it arrives."""
    url = f"{LONGWAVE}/topics/{topic}"
    try:
        response = requests.post(
            url,
            params={"format": "json", "end": "done"},
            headers={"Content-Type": "text/event-stream"},
            data=events,
        )
        response.raise_for_status()
    except Exception:
        # Readers keep the rows made so far, and learn that no more will come.
        requests.post(url, params={"end": "error"}, timeout=10)
        raise


def asked_for() -> tuple[int, float]:
    return request.args.get("rows", 20, int), request.args.get("seconds_per_row", 0.3, float)
