"""Nodes as messages, driven by the descriptors: unknown fields and wrong values are errors at their place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from janua_resources.durations import parse_duration
from janua_resources.environment import expand
from janua_resources.field_paths import child, entry, item
from janua_resources.field_values import parse_scalar, parse_timestamp
from janua_resources.nearest import did_you_mean
from janua_resources.nodes import ListNode, MapNode, Node, Place, Report, Scalar
from janua_resources.quoting import quoted


class NodeDecoder:
    """Fills one resource from a node.

    `places` has the place of every field that the text gives, by path. Errors go to `report`, and decoding goes on.
    """

    def __init__(self, *, environ: Mapping[str, str], report: Report) -> None:
        self.places: dict[str, Place] = {}
        self._environ = environ
        self._report = report

    def decode(self, node: MapNode, message: Message, path: str = "") -> None:
        """Sets the fields of `message`, whose own path is `path`."""
        descriptor = cast("Descriptor", message.DESCRIPTOR)  # the stubs also name the type of the C library
        for key, value in node.entries:
            field = descriptor.fields_by_name.get(key.text)
            if field is None:
                self._report(key.place, _unknown_field(key.text, descriptor, path))
                continue
            place = child(path, field.name)
            self.places[place] = key.place
            if self._is_free(field, message, key.place):
                self._decode_field(field, value, message, place)

    def _is_free(self, field: FieldDescriptor, message: Message, place: Place) -> bool:
        oneof = field.containing_oneof
        taken = message.WhichOneof(oneof.name) if oneof is not None else None
        if taken is not None:
            self._report(place, f"{taken} and {field.name} exclude each other")
        return taken is None

    def _decode_field(self, field: FieldDescriptor, node: Node, message: Message, path: str) -> None:
        nested = field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            self._decode_map(nested.fields_by_name["value"], node, getattr(message, field.name), path)
        elif field.is_repeated:
            self._decode_list(field, node, message, path)
        elif nested is not None:
            target: Message = getattr(message, field.name)
            target.SetInParent()
            self._decode_message(node, target, path)
        else:
            self._decode_scalar(field, node, path, lambda value: setattr(message, field.name, value))

    def _decode_list(self, field: FieldDescriptor, node: Node, message: Message, path: str) -> None:
        values = getattr(message, field.name)
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, ListNode):
            self._report(node.place, f"{path}: expected a list, not {named(node)}")
            return
        for index, part in enumerate(node.items):
            place = item(path, index)
            self.places[place] = part.place
            if field.message_type is not None:
                self._decode_message(part, values.add(), place)
            else:
                self._decode_scalar(field, part, place, values.append)

    def _decode_map(self, field: FieldDescriptor, node: Node, values: dict[str, object], path: str) -> None:
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, MapNode):
            self._report(node.place, f"{path}: expected keys with values, not {named(node)}")
            return
        for key, value in node.entries:
            place = entry(path, key.text)
            self.places[place] = key.place
            self._decode_scalar(field, value, place, partial(values.__setitem__, key.text))

    def _decode_message(self, node: Node, message: Message, path: str) -> None:
        match message:
            case Duration():
                self._decode_text(node, path, lambda text: message.CopyFrom(parse_duration(text)))
            case Timestamp():
                self._decode_text(node, path, lambda text: message.CopyFrom(parse_timestamp(text)))
            case _ if isinstance(node, MapNode):
                self.decode(node, message, path)
            case _:
                hint = "; write {} for its defaults" if isinstance(node, Scalar) and node.is_null else ""
                self._report(node.place, f"{path}: expected fields, not {named(node)}{hint}")

    def _decode_scalar(
        self, field: FieldDescriptor, node: Node, path: str, store: Callable[[str | int | float | bool], None]
    ) -> None:
        self._decode_text(node, path, lambda text: store(parse_scalar(field, text)))

    def _decode_text(self, node: Node, path: str, store: Callable[[str], None]) -> None:
        """Gives the text of a scalar, its variables expanded, to `store`, whose ValueError is reported."""
        if not isinstance(node, Scalar):
            self._report(node.place, f"{path}: expected a single value, not {named(node)}")
        elif node.is_null:
            self._report(node.place, f'{path}: has no value; leave the field out, or write "" for empty text')
        else:
            try:
                store(expand(node.text, self._environ))
            except ValueError as error:
                self._report(node.place, f"{path}: {error}")


def _unknown_field(name: str, descriptor: Descriptor, path: str) -> str:
    known = list(descriptor.fields_by_name)
    hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
    return f"unknown field {quoted(name)} in {path or descriptor.name.lower()}{hint}"


def named(node: Node) -> str:
    """A few words for what stands where something else was expected."""
    match node:
        case Scalar():
            return "nothing" if node.is_null else quoted(node.text)
        case ListNode():
            return "a list"
        case MapNode():
            return "keys with values"
