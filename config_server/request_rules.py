"""The rules that stand in the .proto files, applied to requests. Resources within them have `validation`."""

from collections.abc import Sequence

import protovalidate
from google.protobuf.message import Message
from janua_resources.field_paths import child, item
from janua_resources.violations import INVALID_FIELD
from protovalidate import FieldPathPb

from config_server.errors import RequestViolation, invalid


def check_request(request: Message) -> None:
    """Raises ApiError with every rule that `request` breaks."""
    violations = request_violations(request)
    if violations:
        raise invalid(violations)


def request_violations(request: Message) -> Sequence[RequestViolation]:
    return [
        RequestViolation(path=_path(found.proto.field), message=found.proto.message, reason=INVALID_FIELD)
        for found in protovalidate.collect_violations(request)
    ]


def _path(field: FieldPathPb | None) -> str:
    path = ""
    for element in field.elements if field is not None else ():
        path = child(path, element.field_name)
        if element.subscript is not None and isinstance(element.subscript.value, int):
            path = item(path, element.subscript.value)
    return path
