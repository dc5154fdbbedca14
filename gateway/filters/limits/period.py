"""Days and months of the calendar, in UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.config.limits import BudgetPeriod


@dataclass(frozen=True, slots=True)
class Period:
    """One day or month: its name (`2026-11-29`, `2026-11`), and when it ends, in seconds since 1970."""

    name: str
    end: float


def period_at(kind: BudgetPeriod, now: float) -> Period:
    """The period in which a time, in seconds since 1970, lies."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind is BudgetPeriod.DAY:
        return Period(f"{today:%Y-%m-%d}", (today + timedelta(days=1)).timestamp())
    first = today.replace(day=1)
    return Period(f"{first:%Y-%m}", (first + timedelta(days=32)).replace(day=1).timestamp())
