"""Durations: their range, as whole nanoseconds, and as text such as `250ms`."""

import re
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration

from janua_resources.quoting import quoted

_NANOS_PER_SECOND: Final = 1_000_000_000
# The limit of google.protobuf.Duration, about 10,000 years.
_MAX_SECONDS: Final = 315_576_000_000

# Nanoseconds per unit. `s` alone is also protojson's form.
_UNITS: Final = MappingProxyType(
    {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": _NANOS_PER_SECOND, "m": 60 * 10**9, "h": 3600 * 10**9}
)
_TEXT: Final = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,18}))?([a-z]+)", re.ASCII)


def to_nanos(duration: Duration) -> int:
    """The duration in nanoseconds, exactly. Also for one that `is_valid` refuses."""
    return duration.seconds * _NANOS_PER_SECOND + duration.nanos


def from_nanos(nanos: int) -> Duration:
    """The duration of so many nanoseconds, in its one legal form. Raises ValueError beyond ±10,000 years."""
    seconds, rest = divmod(abs(nanos), _NANOS_PER_SECOND)
    if seconds > _MAX_SECONDS:
        raise ValueError("the duration is longer than 10,000 years")
    sign = -1 if nanos < 0 else 1
    return Duration(seconds=sign * seconds, nanos=sign * rest)


def is_valid(duration: Duration) -> bool:
    """Whether the duration is in range and both its parts have one sign, as google.protobuf.Duration demands."""
    if abs(duration.seconds) > _MAX_SECONDS or abs(duration.nanos) >= _NANOS_PER_SECOND:
        return False
    return duration.seconds * duration.nanos >= 0


def parse_duration(text: str) -> Duration:
    """Reads `5s`, `250ms`, `1.5s`, `2m`, `1h`. Raises ValueError that says what is wrong.

    Fractions must be whole nanoseconds: nothing is rounded.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII):
            raise ValueError(f"duration {quoted(text)} has no unit; put s or ms after it")
        raise ValueError(f"{quoted(text)} is not a duration; write a number and a unit, such as '5s' or '250ms'")
    sign, whole, fraction, unit = found.groups(default="")
    if unit not in _UNITS:
        raise ValueError(f"{quoted(unit)} is not a unit of time; the units are h, m, s, ms, us and ns")
    nanos, rest = divmod(int(whole + fraction) * _UNITS[unit], 10 ** len(fraction))
    if rest:
        raise ValueError(f"duration {quoted(text)} is finer than a nanosecond")
    return from_nanos(-nanos if sign else nanos)


def format_duration(duration: Duration) -> str:
    """The duration in seconds, or in milliseconds if it is below one: `90s`, `1.5s`, `250ms`. Always exact."""
    nanos = to_nanos(duration)
    return _decimal(nanos, 6) + "ms" if 0 < abs(nanos) < _NANOS_PER_SECOND else _decimal(nanos, 9) + "s"


def _decimal(value: int, places: int) -> str:
    whole, fraction = divmod(abs(value), 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
