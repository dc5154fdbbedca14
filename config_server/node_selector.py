"""Which nodes are meant by a `NodeSelector`. Pure."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import re2
from janua.config.v1.config_service_pb2 import NodeSelector
from janua_resources.regexes import Regex, compile_regex

_HUNDRED: Final = 100


class Selection:
    """Tells of a node whether it is meant. Knows nothing but what the node says of itself: equal on every replica."""

    def __init__(self, selector: NodeSelector) -> None:
        self._text = " and ".join(_words(selector))
        self._ids = _pattern(selector.ids)
        self._clusters = _pattern(selector.clusters)
        self._percent = selector.percent or _HUNDRED

    def covers(self, node_id: str, cluster: str) -> bool:
        return (
            (self._ids is None or self._ids.fullmatch(node_id) is not None)
            and (self._clusters is None or self._clusters.fullmatch(cluster) is not None)
            and place(node_id) < self._percent
        )

    def __str__(self) -> str:
        return self._text


def place(node_id: str) -> float:
    """Where a node stands among all, from 0 to 100. Always the same."""
    digest = hashlib.sha256(node_id.encode()).digest()
    return int.from_bytes(digest[:8]) * _HUNDRED / 2**64


def _pattern(globs: Iterable[str]) -> Regex | None:
    """Matches what one of the globs does; None if there is none."""
    parts = [".*".join(map(re2.escape, glob.split("*"))) for glob in globs]
    return compile_regex(f"(?s:{'|'.join(parts)})") if parts else None


def _words(selector: NodeSelector) -> Iterator[str]:
    if selector.percent:
        yield f"{selector.percent}% of the nodes"
    if selector.clusters:
        yield f"cluster {' or '.join(selector.clusters)}"
    if selector.ids:
        yield f"node {' or '.join(selector.ids)}"
