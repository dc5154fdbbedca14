"""JSON as a tree of nodes. Most JSON is YAML, but not all: tabs, and characters written as surrogate pairs."""

import json
import re
from bisect import bisect_right
from typing import Final

from janua_resources.nodes import (
    MAX_DEPTH,
    TOO_DEEP,
    Budget,
    Node,
    Place,
    Report,
    Scalar,
    UnreadableError,
    list_node,
    map_node,
)

_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BARE: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null")


class _Reader:
    """Reads one JSON text from left to right."""

    def __init__(self, text: str, budget: Budget, report: Report) -> None:
        self._text = text
        self._report = report
        self._budget = budget
        self._offset = 0
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def document(self) -> Node:
        root = self._value(depth=1)
        if self._peek():
            raise UnreadableError(self._place(), "there is more after the end of the JSON value")
        return root

    def _value(self, depth: int) -> Node:
        character, place = self._peek(), self._place()
        self._budget.spend(1, place)
        if depth > MAX_DEPTH:
            raise UnreadableError(place, TOO_DEEP)
        if character == '"':
            return self._string()
        if character == "[":
            return list_node(place, self._items(depth))
        if character == "{":
            return map_node(place, self._entries(depth), self._report)
        bare = _BARE.match(self._text, self._offset)
        if bare is None:
            raise UnreadableError(place, "is not JSON: expected a value")
        self._offset = bare.end()
        return Scalar(place, bare[0], is_quoted=False)

    def _string(self) -> Scalar:
        if self._peek() != '"':
            raise UnreadableError(self._place(), "is not JSON: expected a key in double quotes")
        place = self._place()
        try:
            text, self._offset = _DECODER.raw_decode(self._text, self._offset)
        except json.JSONDecodeError as error:
            raise UnreadableError(self._place(error.pos), f"is not JSON: {error.msg}") from None
        if _SURROGATE.search(text):
            raise UnreadableError(place, "is not text: half of a surrogate pair")
        return Scalar(place, text, is_quoted=True)

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        self._offset += 1
        if self._accept("]"):
            return items
        while True:
            items.append(self._value(depth + 1))
            if self._accept("]"):
                return items
            self._expect(",", "expected ',' or ']'")

    def _entries(self, depth: int) -> list[tuple[Node, Node]]:
        entries: list[tuple[Node, Node]] = []
        self._offset += 1
        if self._accept("}"):
            return entries
        while True:
            key = self._string()
            self._expect(":", "expected ':'")
            entries.append((key, self._value(depth + 1)))
            if self._accept("}"):
                return entries
            self._expect(",", "expected ',' or '}'")

    def _peek(self) -> str:
        """The next character that is no white space, or nothing at the end."""
        space = _SPACE.match(self._text, self._offset)
        self._offset = space.end() if space is not None else self._offset
        return self._text[self._offset : self._offset + 1]

    def _accept(self, character: str) -> bool:
        found = self._peek() == character
        self._offset += found
        return found

    def _expect(self, character: str, message: str) -> None:
        if not self._accept(character):
            raise UnreadableError(self._place(), f"is not JSON: {message}")

    def _place(self, offset: int | None = None) -> Place:
        at = self._offset if offset is None else offset
        line = bisect_right(self._line_starts, at)
        return Place(line, at - self._line_starts[line - 1] + 1)


def read_json(text: str, budget: Budget, report: Report) -> Node:
    """The one value in `text`. Reports what can be skipped; raises UnreadableError if it is not JSON (RFC 8259)."""
    return _Reader(text, budget, report).document()
