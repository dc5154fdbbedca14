"""Runs scenarios of a client: a line of JSON in for each, `{"variant", "scenario", "url", "key"}`, and one out with
what the client gave, or with the error that it raised. Knows nothing of Janua, nor of any client."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Scenario = Callable[[], Mapping[str, Any]]
Variant = Callable[[str, str], Mapping[str, Scenario]]

HELLO = "hello"


def serve(variants: Mapping[str, Variant]) -> None:
    """Until there are no more lines. A variant is given the node's URL and a key."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            result = variants[asked["variant"]](asked["url"], asked["key"])[asked["scenario"]]()
        except Exception as error:
            result = {"error": _describe(error)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def _describe(error: Exception) -> Mapping[str, Any]:
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return {
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "retry_after": response.headers.get("retry-after") if response is not None else None,
        "message": str(error),
    }
