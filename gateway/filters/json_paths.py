"""Changing JSON by path: names, and numbers for places in arrays. Pure, but that objects are changed in place."""

from typing import Any

from gateway.config.transform import JsonPath

_MISSING = object()


def get(value: Any, path: JsonPath) -> Any:
    """What stands there; raises `KeyError` if nothing does."""
    for name in path:
        value = _child(value, name)
        if value is _MISSING:
            raise KeyError(name)
    return value


def put(root: dict[str, Any], path: JsonPath, value: Any) -> None:
    """Sets a field. Objects on the way are made; where something else is in the way, or no such place in an array,
    nothing happens."""
    here: Any = root
    for name in path[:-1]:
        below = _child(here, name)
        if below is _MISSING and isinstance(here, dict):
            below = here[name] = {}
        here = below
    last = path[-1]
    if isinstance(here, dict):
        here[last] = value
    elif _child(here, last) is not _MISSING:
        here[int(last)] = value


def remove(root: dict[str, Any], path: JsonPath) -> None:
    """Leaves a field out, if it is there."""
    try:
        parent = get(root, path[:-1])
        get(parent, path[-1:])
    except KeyError:
        return
    del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]


def move(root: dict[str, Any], source: JsonPath, target: JsonPath) -> None:
    """Gives a field another path, if it is there."""
    try:
        value = get(root, source)
    except KeyError:
        return
    remove(root, source)
    put(root, target, value)


def _child(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name, _MISSING)
    if isinstance(value, list) and name.isdecimal() and len(name) < 10 and int(name) < len(value):
        return value[int(name)]
    return _MISSING
