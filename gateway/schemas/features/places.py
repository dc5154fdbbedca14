"""Finding what a request in JSON asks for, field by field, without decoding it: a dialect is a list of places."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.types import Feature


@dataclass(frozen=True, slots=True)
class Asked:
    """A feature that a request asks for. `place` is the field that does, as the caller's dialect has it."""

    feature: Feature
    place: str


@dataclass(frozen=True, slots=True)
class Place:
    """A field that asks for a feature if it is there and `when` holds of its value.

    `path` are names with dots between; `[]` after one stands for each item of its array, or for the only item where no
    array stands.
    """

    path: str
    feature: Feature
    when: Callable[[Any], bool] = bool


def asked_at(places: Iterable[Place], request: object) -> Iterator[Asked]:
    """What the request asks for, in the order of the places."""
    for place in places:
        for where, value in _found(request, place.path.split("."), ""):
            if place.when(value):
                yield Asked(place.feature, where)


def _found(value: object, names: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """The values at a path that are there, each with its own place."""
    if not names:
        yield place, value
        return
    name = names[0].removesuffix("[]")
    if not isinstance(value, dict) or value.get(name) is None:
        return
    inner, where = value[name], f"{place}.{name}" if place else name
    if name == names[0]:
        yield from _found(inner, names[1:], where)
    elif isinstance(inner, list):
        for index, item in enumerate(inner):
            yield from _found(item, names[1:], f"{where}[{index}]")
    elif isinstance(inner, dict):
        yield from _found(inner, names[1:], where)
