"""Values of secrets, and what is shown in their place."""

import json
from typing import Final

from janua.config.v1.secret_pb2 import Secret

from janua_resources.kinds import ConfigMessage

KEPT_VALUE: Final = "(kept by the config server)"
"""Stands wherever a value is asked for. Applied, it means: as it is."""


_PEM: Final = "-----BEGIN "


def value_fault(value: str) -> str | None:
    """Why a value, without the white space around it, is none that anything could be done with; None if it is one.

    Certificates and JSON have lines; whatever stands in a header has not.
    """
    if not value:
        return "is empty"
    if not (value.isascii() and value.isprintable()) and not value.startswith(_PEM) and not _is_json_object(value):
        return "has characters that cannot stand in a header"
    return None


def _is_json_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def without_value(message: ConfigMessage, shown: str = KEPT_VALUE) -> ConfigMessage:
    """The resource as it may be shown: the same one, or a copy of a secret with `shown` in place of its value."""
    if not isinstance(message, Secret) or not message.HasField("value"):
        return message
    copy = Secret()
    copy.CopyFrom(message)
    copy.value = shown
    return copy
