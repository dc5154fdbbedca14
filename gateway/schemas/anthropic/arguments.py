"""The arguments of a call: an object in Anthropic's blocks, a JSON text in canonical form."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.schemas.openai.fields import UNREADABLE

# Anthropic's own advice for handing back what is no JSON object.
_INVALID = "INVALID_JSON"


def to_input(arguments: str) -> msgspec.Raw:
    """The object, written as the model wrote it. Text that is none, such as of a call cut off, is wrapped in one."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    if is_object(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode({_INVALID: arguments}))


def to_arguments(value: Mapping[str, Any]) -> str:
    """The JSON text of an object."""
    wrapped = value.get(_INVALID)
    if isinstance(wrapped, str) and len(value) == 1:
        return wrapped
    return msgspec.json.encode(value).decode()


def is_object(arguments: str) -> bool:
    """Whether the text is a whole JSON object."""
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except UNREADABLE:
        return False
