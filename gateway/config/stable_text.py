"""Configuration as text that is the same in every process, which `repr` is not: sets have no order there."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import msgspec


def stable_text(value: Any) -> str:
    """The text of a value of the configuration: all that its `repr` tells, and in one order."""
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case Mapping():
            return f"{{{_joined(sorted((stable_text(name), stable_text(each)) for name, each in value.items()))}}}"
        case set() | frozenset():
            return f"{{{','.join(sorted(map(stable_text, value)))}}}"
        case tuple() | list():
            return f"[{','.join(map(stable_text, value))}]"
        case msgspec.Struct():
            return _of_fields(value, value.__struct_fields__)
        case _ if is_dataclass(value):
            return _of_fields(value, [field.name for field in fields(value) if field.repr])
        case _:
            return repr(value)


def _of_fields(value: Any, names: Any) -> str:
    return f"{type(value).__name__}({_joined((name, stable_text(getattr(value, name))) for name in names)})"


def _joined(pairs: Any) -> str:
    return ",".join(f"{name}={text}" for name, text in pairs)
