"""How every program here tells what its client delivered."""

import json


def report_event(client, id, type, data, encoding=None):
    """One event, as the client's own API gave it."""
    print(json.dumps({"client": client, "id": id, "type": type, "data": data, "encoding": encoding}), flush=True)


def report_done(client, by):
    """The client was told that nothing more will come."""
    print(json.dumps({"client": client, "done": by}), flush=True)
