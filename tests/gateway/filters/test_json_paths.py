"""Fields of JSON by path."""

from typing import Any

import pytest

from gateway.filters import json_paths


def path(text: str) -> tuple[str, ...]:
    return tuple(text.split("."))


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("b", {"a": {"l": [1, {"x": 2}]}, "b": 9}),
        ("a.l.0", {"a": {"l": [9, {"x": 2}]}}),
        ("a.l.1.y", {"a": {"l": [1, {"x": 2, "y": 9}]}}),
        ("b.c.d", {"a": {"l": [1, {"x": 2}]}, "b": {"c": {"d": 9}}}),
        ("a.l.2", {"a": {"l": [1, {"x": 2}]}}),
        ("a.l.0.z", {"a": {"l": [1, {"x": 2}]}}),
        ("a.l.-1", {"a": {"l": [1, {"x": 2}]}}),
    ],
)
def test_put(place: str, expected: Any) -> None:
    value = {"a": {"l": [1, {"x": 2}]}}
    json_paths.put(value, path(place), 9)
    assert value == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a", {"b": [1, 1]}),
        ("a.c", {"a": {}, "b": [1, 1]}),
        ("b.1", {"a": {"c": None}, "b": [1]}),
        ("b.2", {"a": {"c": None}, "b": [1, 1]}),
        ("a.c.d", {"a": {"c": None}, "b": [1, 1]}),
        ("x.y", {"a": {"c": None}, "b": [1, 1]}),
    ],
)
def test_remove(place: str, expected: Any) -> None:
    value = {"a": {"c": None}, "b": [1, 1]}
    json_paths.remove(value, path(place))
    assert value == expected


def test_move() -> None:
    value: dict[str, Any] = {"a": {"b": 1}, "c": 2}
    json_paths.move(value, path("a.b"), path("d.e"))
    json_paths.move(value, path("a.none"), path("c"))
    assert value == {"a": {}, "c": 2, "d": {"e": 1}}
