"""The line a model server prints once it can answer."""

import json


def print_ready(url: str) -> None:
    """Prints one line of JSON with the server's base URL, `http://host:port`, and flushes it."""
    print(json.dumps({"event": "ready", "component": "model-server", "url": url}), flush=True)
