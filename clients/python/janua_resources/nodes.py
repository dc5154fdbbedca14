"""Text as a tree: scalars, lists and mappings with their places. YAML and JSON are both read into it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from janua_resources.quoting import quoted

# What YAML 1.1 and JSON write for "no value".
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

# Nested deeper than any resource by far. The readers of YAML and JSON slow down, or overflow, on deep nesting.
MAX_DEPTH: Final = 64
TOO_DEEP: Final = f"lists and mappings are nested deeper than {MAX_DEPTH} levels"

# Nodes in one text, several times those of the largest Apply. Aliases can make a small text stand for a huge tree
# ("billion laughs"), and a tree takes 20 times the memory of its text.
MAX_NODES: Final = 1_000_000


class Place(NamedTuple):
    """A position in a text. Lines and columns count from 1, columns in characters."""

    line: int
    column: int


# Takes what is wrong at a place, so that reading can go on to the next error.
Report: TypeAlias = Callable[[Place, str], None]


class UnreadableError(Exception):
    """What is wrong at a place, where reading cannot go on."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as it was written, without quotes and escapes. Which type it has is for its field to say."""

    place: Place
    text: str
    is_quoted: bool

    @property
    def is_null(self) -> bool:
        """Whether it stands for no value."""
        return not self.is_quoted and self.text in _NULLS

    @property
    def size(self) -> int:
        """As in `ListNode`."""
        return 1


@dataclass(frozen=True, slots=True)
class ListNode:
    """Values in order. `size` counts all nodes in it and itself, each as often as aliases repeat it."""

    place: Place
    items: "tuple[Node, ...]"
    size: int


@dataclass(frozen=True, slots=True)
class MapNode:
    """Values by key, no key twice. `size` as in `ListNode`."""

    place: Place
    entries: "tuple[tuple[Scalar, Node], ...]"
    size: int


Node: TypeAlias = Scalar | ListNode | MapNode


class Budget:
    """How many nodes a text may still have."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self._limit = nodes
        self._left = nodes

    def spend(self, nodes: int, place: Place) -> None:
        """Takes `nodes` away. Raises UnreadableError at `place` if fewer are left."""
        self._left -= nodes
        if self._left < 0:
            raise UnreadableError(place, f"the text stands for more than {self._limit:,} values")


def list_node(place: Place, items: Sequence[Node]) -> ListNode:
    """A list of nodes."""
    return ListNode(place, tuple(items), 1 + sum(item.size for item in items))


def map_node(place: Place, entries: Iterable[tuple[Node, Node]], report: Report) -> MapNode:
    """A mapping. Entries whose key is no text, or is there already, are reported and left out."""
    kept: dict[str, tuple[Scalar, Node]] = {}
    size = 1
    for key, value in entries:
        if not isinstance(key, Scalar):
            report(key.place, "a key must be text")
        elif key.text == "<<" and not key.is_quoted:
            report(key.place, "merge keys (<<) are not supported; repeat the values, or use an alias for a whole value")
        elif key.text in kept:
            first = kept[key.text][0].place
            report(key.place, f"key {quoted(key.text)} is there already, at {first.line}:{first.column}")
        else:
            kept[key.text] = key, value
            size += 1 + value.size
    return MapNode(place, tuple(kept.values()), size)
