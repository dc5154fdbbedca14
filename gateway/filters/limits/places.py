"""How many requests may run at a time."""

from gateway.filters.limits.meter import NEVER, Reading


class Places:
    """Counts what is held. Nobody knows when a place is given back, so a second is what a caller is told to wait."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = 0

    def wait(self, now: float, amount: int, limit: int) -> float:
        """1 if they are all held."""
        if amount > limit:
            return NEVER
        return 0.0 if self._held + amount <= limit else 1.0

    def take(self, now: float, amount: int, limit: int) -> int:
        """Takes places."""
        self._held += amount
        return 0

    def settle(self, now: float, mark: int, taken: int, used: int, limit: int) -> None:
        """Gives them back, all of them."""
        self._held -= taken

    def read(self, now: float, limit: int) -> Reading:
        """How many are free."""
        return Reading(max(0, limit - self._held), 0.0)

    def is_idle(self, now: float) -> bool:
        """Whether none is held."""
        return not self._held
