"""What is spent of a budget in one period of the calendar, and what is set aside for requests that run."""

from collections.abc import Callable

from gateway.config.limits import BudgetPeriod
from gateway.filters.limits.meter import NEVER, Reading
from gateway.filters.limits.period import Period, period_at


class Purse:
    """Begins anew with each period, of `wall_clock`'s calendar. What requests use is charged to the period in
    which they end."""

    __slots__ = ("_held", "_kind", "_on_spent", "_period", "_wall_clock", "spent")

    def __init__(self, kind: BudgetPeriod, wall_clock: Callable[[], float], on_spent: Callable[[], None]) -> None:
        self._kind = kind
        self._wall_clock = wall_clock
        self._on_spent = on_spent
        self._period = Period("", 0.0)
        self._held = 0
        self.spent = 0

    @property
    def period(self) -> str:
        """The period that is counted."""
        return self._period.name

    def restore(self, period: str, spent: int) -> None:
        """Takes up what was spent before, if it is of the period of now, or of the next, which had begun before the
        clock was put back: that one goes on, or it would be filled up twice."""
        current = self._current()
        following = period_at(self._kind, current.end)
        if period == following.name:
            self._period = following
        if period == self._period.name:
            self.spent += spent

    def _current(self) -> Period:
        now = self._wall_clock()
        if now >= self._period.end:
            self._period = period_at(self._kind, now)
            self.spent = 0
        return self._period

    def wait(self, now: float, amount: int, limit: int) -> float:
        """Seconds until the next period, if the amount is more than what is left."""
        period = self._current()
        if self.spent + self._held + amount <= limit:
            return 0.0
        return NEVER if amount > limit else period.end - self._wall_clock()

    def take(self, now: float, amount: int, limit: int) -> int:
        """Sets it aside."""
        self._held += amount
        return 0

    def settle(self, now: float, mark: int, taken: int, used: int, limit: int) -> None:
        """Spends what was used."""
        self._current()
        self._held -= taken
        self.spent += used
        if used:
            self._on_spent()

    def read(self, now: float, limit: int) -> Reading:
        """What is left, and how long the period lasts."""
        period = self._current()
        return Reading(max(0, limit - self.spent - self._held), period.end - self._wall_clock())

    def is_idle(self, now: float) -> bool:
        """Whether it holds nothing of this period."""
        self._current()
        return not self.spent and not self._held
