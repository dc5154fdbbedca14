"""The rules of the .proto files: patterns, lengths, ranges. They need protovalidate, which nodes never load."""

from typing import TYPE_CHECKING

from janua_resources.field_paths import child, entry, item
from janua_resources.kinds import ConfigMessage
from janua_resources.violations import Violation, violation

if TYPE_CHECKING:
    from protovalidate import FieldPathPb


def check_fields(message: ConfigMessage) -> list[Violation]:
    """Every rule of the .proto that `message` breaks."""
    # Imported here because it costs time and memory that a node fed by a config server should not pay.
    import protovalidate

    return [
        violation(message, _path(found.proto.field), found.proto.message)
        for found in protovalidate.collect_violations(message)
    ]


def _path(field: "FieldPathPb | None") -> str:
    path = ""
    for element in field.elements if field is not None else ():
        path = child(path, element.field_name)
        if element.subscript is not None:
            key = element.subscript.value
            path = entry(path, key) if isinstance(key, str) else item(path, key)
    return path
