"""Durations of the configuration as seconds."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def seconds(message: Message, field: str, default: float) -> float:
    """The duration field in seconds, or the default if it is not set."""
    value = optional_seconds(message, field)
    return default if value is None else value


def optional_seconds(message: Message, field: str) -> float | None:
    """The duration field in seconds, or None if it is not set."""
    if not message.HasField(field):
        return None
    duration: Duration = getattr(message, field)
    return duration.seconds + duration.nanos / 1e9
