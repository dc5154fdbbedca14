"""Days and months in UTC."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.limits import BudgetPeriod
from gateway.filters.limits.period import period_at


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "kind", "name", "end"),
    [
        ("2026-11-29T00:00:00", BudgetPeriod.DAY, "2026-11-29", "2026-11-30"),
        ("2026-12-31T23:59:59", BudgetPeriod.DAY, "2026-12-31", "2027-01-01"),
        ("2026-12-31T23:59:59", BudgetPeriod.MONTH, "2026-12", "2027-01-01"),
        ("2028-02-29T12:00:00", BudgetPeriod.MONTH, "2028-02", "2028-03-01"),
        ("2026-01-31T00:00:00", BudgetPeriod.MONTH, "2026-01", "2026-02-01"),
    ],
)
def test_period(now: str, kind: BudgetPeriod, name: str, end: str) -> None:
    period = period_at(kind, seconds(now))
    assert (period.name, period.end) == (name, seconds(end))


@given(st.integers(0, 4_000_000_000), st.sampled_from(BudgetPeriod))
def test_periods_follow_each_other_without_a_gap(now: int, kind: BudgetPeriod) -> None:
    period = period_at(kind, now)
    assert period.end > now
    following = period_at(kind, period.end)
    assert following.name > period.name
    assert period_at(kind, period.end - 1) == period
