"""The text of a scalar as the value of a field, by the field's type, and back."""

import math
import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from janua_resources.nearest import did_you_mean
from janua_resources.quoting import quoted

_RANGES: Final = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: range(-(2**31), 2**31),
        FieldDescriptor.CPPTYPE_UINT32: range(2**32),
        FieldDescriptor.CPPTYPE_INT64: range(-(2**63), 2**63),
        FieldDescriptor.CPPTYPE_UINT64: range(2**64),
    }
)
# No leading zero: YAML 1.1 reads such numbers in base 8.
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})", re.ASCII)
# JSON's numbers: neither the other bases of YAML nor infinity.
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 3339, section 5.6.
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def parse_scalar(field: FieldDescriptor, text: str) -> str | int | float | bool:
    """The value that `text` is for `field`, whose type is no message. Raises ValueError that says what is wrong."""
    if field.enum_type is not None:
        return parse_enum(field.enum_type, text)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return parse_bool(text)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _parse_number(text)
    return _parse_integer(text, _RANGES[field.cpp_type])


def parse_bool(text: str) -> bool:
    """Reads `true` or `false`; YAML's other words for them mean other things elsewhere."""
    if text not in ("true", "false"):
        raise ValueError(f"{quoted(text)} is not true or false")
    return text == "true"


def _parse_integer(text: str, allowed: range) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a whole number")
    number = int(text)
    if number not in allowed:
        raise ValueError(f"{number} is not in the range {allowed[0]} to {allowed[-1]}")
    return number


def _parse_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a number; write it as in 1.5")
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{quoted(text)} is too large for a number")
    return number


def format_number(number: float) -> int | float:
    """A number as files have it, whole ones without a fraction. Raises ValueError for what is none, or infinite."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a number that a file can say")
    is_negative_zero = not number and math.copysign(1, number) < 0
    # Beyond this many digits a whole number would claim to be exact.
    is_whole = number.is_integer() and abs(number) < 10**15 and not is_negative_zero
    return int(number) if is_whole else number


def enum_prefix(enum: EnumDescriptor) -> str:
    """What the names of the enum's values begin with: `POLICY_` for `POLICY_ROUND_ROBIN`."""
    return enum.values[0].name.removesuffix("UNSPECIFIED")


def parse_enum(enum: EnumDescriptor, text: str) -> int:
    """The number of an enum value, by its full name or by what follows the prefix."""
    prefix = enum_prefix(enum)
    value = enum.values_by_name.get(text) or enum.values_by_name.get(prefix + text)
    if value is None:
        short = [name.removeprefix(prefix) for name in enum.values_by_name]
        hint = did_you_mean(text, short) or f"; known are {', '.join(short[1:])}"
        raise ValueError(f"unknown value {quoted(text)}{hint}")
    return value.number


def format_enum(enum: EnumDescriptor, number: int) -> str | int:
    """The short name of an enum value, or its number if this version has no name for it."""
    value = enum.values_by_number.get(number)
    return number if value is None else value.name.removeprefix(enum_prefix(enum))


def parse_timestamp(text: str) -> Timestamp:
    """Reads RFC 3339, such as `2027-01-01T00:00:00Z`. Raises ValueError that says what is wrong."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError(f"{quoted(text)} is not a time; write it as in 2027-01-01T00:00:00Z")
    date, time, fraction, zone = found.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{zone.upper().replace('Z', '+00:00')}")
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
        _EPOCH + timedelta(seconds=seconds)  # raises if the zone takes it out of the years 1 to 9999
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(text)} is not a time that exists") from None
    return Timestamp(seconds=seconds, nanos=int(f"{fraction:0<9}"))


def format_timestamp(timestamp: Timestamp) -> str:
    """RFC 3339 in UTC, with as many digits as needed. Raises ValueError outside of the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(seconds=timestamp.seconds)
    except OverflowError:
        raise ValueError(f"{timestamp.seconds} s is not in the years 1 to 9999") from None
    fraction = f".{timestamp.nanos:09d}".rstrip("0").rstrip(".")
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"
