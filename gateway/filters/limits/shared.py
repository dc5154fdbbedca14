"""What is counted for all nodes together, in the shared store: names of keys and the scripts that work on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gateway.config.limits import BudgetPeriod
from gateway.filters.limits.meter import NEVER, Reading
from gateway.filters.limits.period import period_at
from gateway.shared_store import Script

_MICRO: Final = 1_000_000


class SharedKind(Enum):
    """How it is counted; the values are the scripts' names."""

    WINDOW = "window"
    BUCKET = "bucket"
    PLACES = "places"
    PURSE = "purse"


def _script(name: str) -> Script:
    folder = Path(__file__).parent
    return Script.of("\n".join((folder / file).read_text("utf-8") for file in ("common.lua", f"{name}.lua")))


RESERVE: Final = _script("reserve")
SETTLE: Final = _script("settle")
RENEW: Final = _script("renew")


@dataclass(frozen=True, slots=True)
class SharedMeter:
    """One key. `span` is what the scripts want: microseconds of a window or bucket, milliseconds left of a period."""

    kind: SharedKind
    key: bytes
    span: int

    @property
    def is_leased(self) -> bool:
        """Whether what is taken is held by a lease, which must be renewed."""
        return self.kind in (SharedKind.PLACES, SharedKind.PURSE)


class SharedMeters:
    """The meters of one limit by key. Their names in the store tell nothing of the keys."""

    __slots__ = ("_identity", "_kind", "_period", "_span", "_wall_clock")

    def __init__(
        self,
        identity: tuple[str, ...],
        kind: SharedKind,
        window_s: float,
        period: BudgetPeriod | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self._identity = "\0".join(identity)
        self._kind = kind
        self._period = period
        self._span = round(window_s * _MICRO)
        self._wall_clock = wall_clock

    def get(self, key: str) -> SharedMeter:
        """The meter of a key, of a budget in the period of now."""
        if self._period is None:
            return SharedMeter(self._kind, _name(self._identity, key), self._span)
        now = self._wall_clock()
        period = period_at(self._period, now)
        return SharedMeter(
            self._kind, _name(self._identity, period.name, key), max(1, math.ceil((period.end - now) * 1000))
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the store says of one limit. `wait_s` 0: there is enough left."""

    wait_s: float
    mark: int
    reading: Reading

    @classmethod
    def of(cls, wait_us: int, mark: int, remaining: int, reset_us: int) -> "Verdict":
        """From the numbers that `reserve.lua` gives."""
        return cls(NEVER if wait_us < 0 else wait_us / _MICRO, mark, Reading(remaining, reset_us / _MICRO))


def _name(*parts: str) -> bytes:
    return b"janua:limit:" + blake2b("\0".join(parts).encode(), digest_size=16).hexdigest().encode()
