"""What no message may have, whatever it means: unset oneofs, unknown enum numbers, times out of range, numbers that are
none.

A newer config server may send kinds and values that this version does not know. Proto3 shows them as an unset oneof
or a bare number; acting on the rest of the message would be acting on half a rule, so the message is refused.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from janua_resources.durations import is_valid, to_nanos
from janua_resources.field_paths import child, entry, item
from janua_resources.kinds import KINDS
from janua_resources.violations import UNKNOWN_KIND, Problem

# 0001-01-01 and 9999-12-31, the limits of google.protobuf.Timestamp.
_MIN_TIMESTAMP: Final = -62_135_596_800
_MAX_TIMESTAMP: Final = 253_402_300_799


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field that must be looked at: a message, a float, or an enum, whose `numbers` are known."""

    numbers: frozenset[int]
    is_list: bool
    is_map: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    oneofs: tuple[tuple[str, str], ...]  # name, and its alternatives for people
    fields: MappingProxyType[str, _Field]


# A message, the number of an enum value, or a float.
_Part: TypeAlias = Message | int | float

# By full name of the message. Reading a descriptor takes longer than checking a message, so it is done once.
Shapes: TypeAlias = MappingProxyType[str, _Shape]


def shapes_of(descriptors: Iterable[Descriptor]) -> Shapes:
    """What to look at in these messages and in all messages within them."""
    shapes: dict[str, _Shape] = {}
    pending = list(descriptors)
    while pending:
        descriptor = pending.pop()
        if descriptor.full_name not in shapes:
            shapes[descriptor.full_name] = _shape(descriptor)
            pending += [field.message_type for field in descriptor.fields if field.message_type is not None]
    return MappingProxyType(shapes)


def _shape(descriptor: Descriptor) -> _Shape:
    # An `optional` field is a oneof of its own on paper, named after the field with `_` before it.
    real = [oneof for oneof in descriptor.oneofs if not oneof.name.startswith("_")]
    fields = {field.name: found for field in descriptor.fields if (found := _field(field)) is not None}
    return _Shape(
        oneofs=tuple((oneof.name, " or ".join(field.name for field in oneof.fields)) for oneof in real),
        fields=MappingProxyType(fields),
    )


def _field(field: FieldDescriptor) -> _Field | None:
    message = field.message_type
    is_map = message is not None and message.GetOptions().map_entry
    value = message.fields_by_name["value"] if message is not None and is_map else field
    if value.enum_type is not None:
        numbers = frozenset(value.enum_type.values_by_number)
    elif value.message_type is not None or value.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        numbers = frozenset[int]()
    else:
        return None
    return _Field(numbers=numbers, is_list=field.is_repeated and not is_map, is_map=is_map)


CONFIG_SHAPES: Final = shapes_of(info.message.DESCRIPTOR for info in KINDS)


def check_structure(message: Message, shapes: Shapes = CONFIG_SHAPES, path: str = "") -> Iterator[Problem]:
    """What is wrong with the structure of `message` and of all messages within it. `path` is its own path."""
    shape = shapes[message.DESCRIPTOR.full_name]
    for oneof, alternatives in shape.oneofs:
        if message.WhichOneof(oneof) is None:
            yield _unset(message, child(path, oneof), alternatives)
    for descriptor, value in message.ListFields():
        field = shape.fields.get(descriptor.name)
        if field is None:
            continue
        for place, part in _parts(child(path, descriptor.name), field, value):
            if isinstance(part, Message):
                yield from _check_message(part, shapes, place)
            elif isinstance(part, float):
                if not math.isfinite(part):
                    yield Problem(field=place, message="is not a finite number")
            elif part not in field.numbers:
                yield Problem(field=place, message=f"{part} is not a value that this version knows")


def _parts(path: str, field: _Field, value: object) -> Iterator[tuple[str, _Part]]:
    """The value of a field as single values, each with its path."""
    if field.is_list:
        for index, part in enumerate(cast("Sequence[_Part]", value)):
            yield item(path, index), part
    elif field.is_map:
        for key, part in cast("Mapping[str, _Part]", value).items():
            yield entry(path, key), part
    else:
        yield path, cast("_Part", value)


def _check_message(message: Message, shapes: Shapes, path: str) -> Iterator[Problem]:
    match message:
        case Duration():
            if not is_valid(message):
                yield Problem(field=path, message="is out of the range of a duration, ±10,000 years")
            elif to_nanos(message) < 0:
                yield Problem(field=path, message="is negative")
        case Timestamp():
            if not (_MIN_TIMESTAMP <= message.seconds <= _MAX_TIMESTAMP and 0 <= message.nanos < 10**9):
                yield Problem(field=path, message="is out of the range of a timestamp, the years 1 to 9999")
        case _:
            yield from check_structure(message, shapes, path)


def _unset(message: Message, path: str, alternatives: str) -> Problem:
    if len(UnknownFieldSet(message)):
        text = f"is of a kind that this version does not know; it knows {alternatives}"
    else:
        text = f"is not set; give {alternatives}"
    return Problem(field=path, message=text, reason=UNKNOWN_KIND)
