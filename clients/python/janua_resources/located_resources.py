"""Trees of nodes as resources that remember where they stood."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from janua_resources.document_errors import LocatedError
from janua_resources.kinds import KINDS, ConfigMessage, Key, KindInfo
from janua_resources.nearest import did_you_mean
from janua_resources.node_decoder import NodeDecoder, named
from janua_resources.nodes import ListNode, MapNode, Node, Place, Report, Scalar
from janua_resources.quoting import quoted
from janua_resources.violations import Violation

_BY_PLURAL: Final = MappingProxyType({info.plural: info for info in KINDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A resource and where it stands in its text. Lines and columns count from 1."""

    message: ConfigMessage
    source: str
    line: int
    column: int
    places: Mapping[str, Place]

    def position(self, path: str) -> Place:
        """The place of a field, by a path such as `endpoints[1].address`, or else of what encloses it."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return Place(self.line, self.column)

    def locate(self, found: Violation) -> LocatedError:
        """A violation of this resource as an error at its place."""
        line, column = self.position(found.field)
        return LocatedError(source=self.source, line=line, column=column, message=str(found))


class ResourceReader:
    """Collects the resources of one text, root after root."""

    def __init__(self, *, source: str, environ: Mapping[str, str], report: Report) -> None:
        self.resources: list[Located] = []
        self._source = source
        self._environ = environ
        self._report = report
        self._places: dict[Key, Place] = {}

    def take(self, root: Node) -> None:
        """Reads one document: a mapping from plurals of kinds to lists of resources. An empty one is fine."""
        if isinstance(root, Scalar) and root.is_null:
            return
        if not isinstance(root, MapNode):
            self._report(root.place, f"expected one or more of {', '.join(_BY_PLURAL)}, not {named(root)}")
            return
        for key, value in root.entries:
            kind = _BY_PLURAL.get(key.text)
            if kind is None:
                hint = did_you_mean(key.text, _BY_PLURAL) or f"; known are {', '.join(_BY_PLURAL)}"
                self._report(key.place, f"unknown kind {quoted(key.text)}{hint}")
            else:
                self._take_list(kind, value)

    def _take_list(self, kind: KindInfo, node: Node) -> None:
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, ListNode):
            self._report(node.place, f"{kind.plural}: expected a list, not {named(node)}")
            return
        for part in node.items:
            if isinstance(part, MapNode):
                self._take_resource(kind, part)
            else:
                self._report(part.place, f"{kind.plural}: expected the fields of a {kind.field}, not {named(part)}")

    def _take_resource(self, kind: KindInfo, node: MapNode) -> None:
        message = kind.message()
        decoder = NodeDecoder(environ=self._environ, report=self._report)
        decoder.decode(node, message)
        located = Located(
            message=message,
            source=self._source,
            line=node.place.line,
            column=node.place.column,
            places=MappingProxyType(decoder.places),
        )
        self._refuse_duplicate(kind, located)
        self.resources.append(located)

    def _refuse_duplicate(self, kind: KindInfo, located: Located) -> None:
        name, place = located.message.name, located.position("name")
        first = self._places.setdefault((kind.kind, name), place)
        if name and first != place:
            text = f"{kind.field} {quoted(name)} is defined already, at {first.line}:{first.column}"
            self._report(place, text)
