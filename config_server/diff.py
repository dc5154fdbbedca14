"""How two states of a resource differ, field by field."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from janua.config.v1.config_service_pb2 import FieldDiff
from janua.config.v1.secret_pb2 import Secret
from janua_resources.kinds import ConfigMessage
from janua_resources.secret_values import without_value

# Messages that people read as one value.
_SINGLE_VALUES: Final = frozenset({"google.protobuf.Duration", "google.protobuf.Timestamp"})


# Clients take answers of 4 MiB by default. The differences in one may fill a quarter of that.
MAX_DIFF_BYTES: Final = 1024 * 1024


class DiffRoom:
    """The room that an answer has for differences: once it is full, the rest is left out."""

    def __init__(self, size: int = MAX_DIFF_BYTES) -> None:
        self._left = size

    def take(self, differences: Iterable[FieldDiff]) -> list[FieldDiff]:
        """The differences if there is room for them. They are not even looked for if there is none."""
        found = list(differences) if self._left > 0 else []
        self._left -= sum(part.ByteSize() for part in found)
        return found if self._left > 0 else []


def resource_diff(old: ConfigMessage, new: ConfigMessage) -> list[FieldDiff]:
    """The fields of a resource that differ. Of a secret's value only that it does."""
    if isinstance(old, Secret) and isinstance(new, Secret) and old.value != new.value:
        return diff(without_value(old, "(the value before)"), without_value(new, "(another value)"))
    return diff(without_value(old), without_value(new))


def diff(old: Message, new: Message) -> list[FieldDiff]:
    """The fields that differ, in the order of their numbers. Lists are compared by index, maps by key."""
    return list(_messages("", old, new))


def set_diff(old: str, new: str) -> list[FieldDiff]:
    """Whether the set that a resource is marked with differs: beside its fields, but changed like one."""
    return [] if old == new else [FieldDiff(field="set", old_json=json.dumps(old), new_json=json.dumps(new))]


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
