"""How two states of a resource differ, field by field."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from janua.config.v1.config_service_pb2 import FieldDiff

# Messages that people read as one value.
_SINGLE_VALUES: Final = frozenset({"google.protobuf.Duration", "google.protobuf.Timestamp"})


def diff(old: Message, new: Message) -> list[FieldDiff]:
    """The fields that differ, in the order of their numbers. Lists are compared by index, maps by key."""
    return list(_messages("", old, new))


def _messages(path: str, old: Message, new: Message) -> Iterator[FieldDiff]:
    before, after = (dict(message.ListFields()) for message in (old, new))
    fields = sorted({*before, *after}, key=lambda field: field.number)
    for field in fields:
        place = f"{path}.{field.name}" if path else field.name
        if _is_map(field):
            yield from _maps(place, field, before.get(field, {}), after.get(field, {}))
        elif field.is_repeated:
            yield from _lists(place, field, before.get(field, ()), after.get(field, ()))
        else:
            yield from _values(place, field, before.get(field), after.get(field))


def _lists(path: str, field: FieldDescriptor, old: Sequence[object], new: Sequence[object]) -> Iterator[FieldDiff]:
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else None
        after = new[index] if index < len(new) else None
        yield from _values(f"{path}[{index}]", field, before, after)


def _maps(
    path: str, field: FieldDescriptor, old: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[FieldDiff]:
    assert field.message_type is not None
    value_field = field.message_type.fields_by_name["value"]
    for key in sorted({*old, *new}):
        yield from _values(f"{path}[{json.dumps(key)}]", value_field, old.get(key), new.get(key))


def _values(path: str, field: FieldDescriptor, old: object, new: object) -> Iterator[FieldDiff]:
    if old == new:
        return
    if isinstance(old, Message) and isinstance(new, Message) and old.DESCRIPTOR.full_name not in _SINGLE_VALUES:
        yield from _messages(path, old, new)
    else:
        yield FieldDiff(field=path, old_json=_json(field, old), new_json=_json(field, new))


def _json(field: FieldDescriptor, value: object) -> str:
    """The value as protojson in one line; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Message):
        value = json_format.MessageToDict(value, preserving_proto_field_name=True)
    elif field.enum_type is not None:
        known = field.enum_type.values_by_number.get(cast("int", value))
        value = value if known is None else known.name
    elif isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
