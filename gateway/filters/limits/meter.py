"""What counts under one key of one limit."""

import math
from dataclasses import dataclass
from typing import Final, Protocol

NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Reading:
    """How much may be taken yet, and in how many seconds all of the limit will be free if nobody takes any."""

    remaining: int
    reset_s: float


class Meter(Protocol):
    """Counts amounts against a limit. Times are in seconds of one clock, and may stand still but not go back.

    The limit is handed in, because it may change while what was counted stays.
    """

    def wait(self, now: float, amount: int, limit: int) -> float:
        """How many seconds until the amount may be taken: 0 for now, `NEVER` for more than the limit."""

    def take(self, now: float, amount: int, limit: int) -> int:
        """Counts it, whether or not it may be. Gives a mark of when, for `settle`."""

    def settle(self, now: float, mark: int, taken: int, used: int, limit: int) -> None:
        """Counts `used` instead of what was taken at the mark."""

    def read(self, now: float, limit: int) -> Reading:
        """What is left."""

    def is_idle(self, now: float) -> bool:
        """Whether a new meter would be as good."""
