"""Paths of fields in messages, as violations name them: `endpoints[1].address`, `proxy_service.headers["x-a"]`."""

import json


def child(path: str, field: str) -> str:
    """The path of `field` in the message at `path`; an empty path is the resource itself."""
    return f"{path}.{field}" if path else field


def item(path: str, index: int) -> str:
    """The path of an element of the list at `path`."""
    return f"{path}[{index}]"


def entry(path: str, key: str) -> str:
    """The path of a value of the map at `path`."""
    return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
