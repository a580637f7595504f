"""Sends a notification to one user, or to everyone. Needs nothing but Python.

    python3 notify.py USER TEXT
    python3 notify.py --everyone TEXT
"""

import json
import os
import sys
import urllib.parse
import urllib.request

LONGWAVE = os.environ.get("LONGWAVE_SERVER", "http://127.0.0.1:4480")


def notify(topic: str, text: str) -> str:
    """Publishes `text` and returns its id. When this returns, the notification is on disk."""
    request = urllib.request.Request(
        f"{LONGWAVE}/topics/{topic}", data=text.encode(), headers={"Content-Type": "text/plain; charset=utf-8"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["id"]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    recipient, text = sys.argv[1:]
    if recipient == "--everyone":
        topic = "notifications/everyone"
    else:
        topic = f"notifications/users/{urllib.parse.quote(recipient, safe='')}"
    print(notify(topic, text))
