"""What can happen to a server's bytes on their way to the client. Pure values; `fault_proxy` does it to them.

`after` is how many bytes of an answer still pass. What comes after the client has last sent something is an answer.
"""

from dataclasses import dataclass
from typing import TypeAlias

_NOISE = bytes(range(128, 256))
"""Neither text nor anything of HTTP."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends in order (FIN)."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is broken (RST)."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more comes while the fault lasts, but the connection stays."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Garbage:
    """Noise comes instead of the bytes, as much as there were."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Slow:
    """So many bytes a second pass."""

    bytes_per_s: float


Fault: TypeAlias = Cut | Reset | Stall | Garbage | Slow


def split(data: bytes, passed: int, after: int) -> tuple[bytes, bytes]:
    """The part of the data that still passes when so many bytes of the answer have, and the rest."""
    left = max(0, after - passed)
    return data[:left], data[left:]


def noise(size: int) -> bytes:
    """So many bytes that mean nothing."""
    return (_NOISE * (size // len(_NOISE) + 1))[:size]
