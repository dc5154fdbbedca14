"""Requests for tests of filters."""

from typing import Any

from gateway.context import RequestContext
from gateway.types import Operation


def context(**changes: Any) -> RequestContext:
    """A chat request for the model `m`, with these things else."""
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "protocol": "http",
        "operation": Operation.CHAT,
        "method": "POST",
        "path": "/v1/chat/completions",
        "host": "ai.example",
        "query_string": b"",
        "headers": {},
        "model": "m",
        "is_streaming": False,
        "client_address": "192.0.2.1",
        "started": 0.0,
    }
    return RequestContext(**(fields | changes))
