"""Values of secrets as they are applied: new ones, and the placeholder that means the one there is."""

from collections.abc import Sequence

from janua.config.v1.secret_pb2 import Secret
from janua_resources.kinds import ConfigMessage
from janua_resources.secret_values import KEPT_VALUE, without_value
from janua_resources.violations import INVALID_FIELD

from config_server.errors import RequestViolation


def with_kept_value(
    path: str, message: ConfigMessage, kept: ConfigMessage | None, *, no_values: str
) -> tuple[ConfigMessage, Sequence[RequestViolation]]:
    """The resource as it is to be stored, and what is wrong with its value.

    `kept`: what is stored at present. `no_values`: why no value can be kept, if so, and what to do."""
    if not isinstance(message, Secret) or not message.HasField("value"):
        return message, ()
    if message.value == KEPT_VALUE:
        if not isinstance(kept, Secret) or not kept.HasField("value"):
            return message, (_violation(path, "stands for a value that is kept, and there is none: give the value"),)
        return without_value(message, kept.value), ()
    if no_values:
        return message, (_violation(path, f"cannot be kept: {no_values}, or use env or file"),)
    return message, ()


def _violation(path: str, text: str) -> RequestViolation:
    return RequestViolation(path=f"{path}.value", message=text, reason=INVALID_FIELD)
