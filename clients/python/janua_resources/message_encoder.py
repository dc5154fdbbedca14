"""Messages as plain lists and mappings, in the form that files have."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from janua_resources.durations import format_duration
from janua_resources.environment import escape
from janua_resources.field_values import format_enum, format_number, format_timestamp

Plain: TypeAlias = "str | int | float | list[Plain] | dict[str, Plain]"


def encode(message: Message) -> dict[str, Plain]:
    """The fields of `message` that are set, in the order of their numbers.

    Fields that this version does not know are left out. Raises ValueError for a timestamp out of range, and for a
    number that is none.
    """
    return {field.name: _encode_field(field, value) for field, value in message.ListFields()}


def _encode_field(field: FieldDescriptor, value: object) -> Plain:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        values = cast("Mapping[str, object]", value)
        return {key: _encode_one(nested.fields_by_name["value"], values[key]) for key in sorted(values)}
    if field.is_repeated:
        return [_encode_one(field, part) for part in cast("Sequence[object]", value)]
    return _encode_one(field, value)


def _encode_one(field: FieldDescriptor, value: object) -> Plain:
    match value:
        case Duration():
            return format_duration(value)
        case Timestamp():
            return format_timestamp(value)
        case Message():
            return encode(value)
        case str():
            return escape(value)
        case int():
            return value if field.enum_type is None else format_enum(field.enum_type, value)
        case float():
            return format_number(value)
        case _:
            raise TypeError(f"{field.full_name} has a type that no file can say")
