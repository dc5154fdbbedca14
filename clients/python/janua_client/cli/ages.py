"""Moments as people and programs read them: `2m ago`, `2m left`, `2026-01-01T00:00:00Z`."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def ago(moment: Timestamp, now: datetime) -> str:
    """How long ago, in the largest unit that fits; `-` if the moment is not set, `now` if it has not come yet."""
    if not moment.seconds:
        return "-"
    return _words(now - moment.ToDatetime(UTC), "ago")


def left(moment: Timestamp, now: datetime) -> str:
    """How long until then, in the largest unit that fits; `now` if it has passed."""
    return _words(moment.ToDatetime(UTC) - now, "left")


def _words(length: timedelta, what: str) -> str:
    seconds = int(length.total_seconds())
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit} {what}"
    return "now"


def rfc3339(moment: Timestamp) -> str | None:
    """The moment in UTC, None if it is not set."""
    return moment.ToJsonString() if moment.seconds else None
