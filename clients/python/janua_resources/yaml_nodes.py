"""YAML as a tree of nodes. It is built from parser events, so that depth and size are bounded while reading."""

from dataclasses import dataclass, field
from typing import Final, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

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
from janua_resources.quoting import quoted

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What libyaml says of nesting that is too deep for itself. Within a line it reads ahead, and comes to it before we do.
_LIBYAML_TOO_DEEP: Final = "exceeded maximum nesting depth"

# Tags that say what a node is anyway.
_YAML_TAGS: Final = "tag:yaml.org,2002:"
_HARMLESS_TAGS: Final = frozenset(_YAML_TAGS + name for name in ("str", "seq", "map"))


class _Mark(Protocol):
    """A position as the parsers in C and in Python give it, both numbers from 0."""

    line: int
    column: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet; keys and values of a mapping alternate in `children`."""

    place: Place
    anchor: str | None
    is_map: bool
    children: list[Node] = field(default_factory=list)


class _Builder:
    """Takes the events of a text in order and keeps the roots of its documents."""

    def __init__(self, budget: Budget, report: Report) -> None:
        self.roots: list[Node] = []
        self._report = report
        self._budget = budget
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: Event) -> None:
        place = _place(event.start_mark)
        match event:
            case DocumentStartEvent():
                self._anchors = {}
            case ScalarEvent():
                self._budget.spend(1, place)
                self._refuse_tag(event.tag, place)
                self._add(Scalar(place, event.value, not event.implicit[0]), event.anchor)
            case AliasEvent():
                self._add(self._target(event, place), None)
            case CollectionStartEvent():
                self._budget.spend(1, place)
                self._refuse_tag(event.tag, place)
                self._open.append(_Open(place, event.anchor, isinstance(event, MappingStartEvent)))
                if len(self._open) > MAX_DEPTH:
                    raise UnreadableError(place, TOO_DEEP)
            case CollectionEndEvent():
                closed = self._open.pop()
                self._add(self._built(closed), closed.anchor)

    def _built(self, closed: _Open) -> Node:
        if not closed.is_map:
            return list_node(closed.place, closed.children)
        entries = zip(closed.children[::2], closed.children[1::2], strict=True)
        return map_node(closed.place, entries, self._report)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            # Only now, at its end: a node that contains itself would have no end.
            self._anchors[anchor] = node
        (self._open[-1].children if self._open else self.roots).append(node)

    def _target(self, alias: NodeEvent, place: Place) -> Node:
        node = self._anchors.get(alias.anchor or "")
        if node is None:
            raise UnreadableError(place, f"alias {quoted(f'*{alias.anchor}')} has no anchor before it")
        self._budget.spend(node.size, place)
        return node

    def _refuse_tag(self, tag: str | None, place: Place) -> None:
        if tag is not None and tag not in _HARMLESS_TAGS:
            written = tag.replace(_YAML_TAGS, "!!")
            self._report(place, f"tag {quoted(written)} is not supported; a field knows its type")


def read_yaml(text: str, budget: Budget, report: Report) -> list[Node]:
    """The roots of the documents in `text`.

    What can be skipped is reported; after an error of syntax, which is reported too, only the documents before it are
    there.
    """
    builder = _Builder(budget, report)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except UnreadableError as error:
        report(error.place, error.message)
    except yaml.MarkedYAMLError as error:
        reason = " ".join(part for part in (error.problem, error.context) if part)
        place = _place(error.problem_mark or error.context_mark)
        is_too_deep = _LIBYAML_TOO_DEEP in reason
        report(place, TOO_DEEP if is_too_deep else f"is not YAML: {reason}{_variable_hint(text, place)}")
    return builder.roots


def _variable_hint(text: str, place: Place) -> str:
    """YAML takes the brace of a bare `${NAME}` within `{…}` or `[…]` for its own."""
    lines = text.splitlines()
    is_likely = place.line <= len(lines) and "${" in lines[place.line - 1]
    return '; put quotes around "${NAME}" within {…} and […]' if is_likely else ""


def _place(mark: _Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
