"""Which requests count as failed, and how often that is told."""

import pytest

from gateway.listeners.failures import FailureCount, is_failure


@pytest.mark.parametrize(
    ("status", "reason", "failed"),
    [
        ("200", "", False),
        ("OK", "", False),
        ("404", "NOT_FOUND", False),
        ("429", "LIMITED", False),
        ("499", "CLIENT_GONE", False),
        ("CANCELLED", "CLIENT_GONE", False),
        ("INVALID_ARGUMENT", "X", False),
        ("500", "INTERNAL", True),
        ("503", "", True),
        ("UNAVAILABLE", "", True),
        ("DEADLINE_EXCEEDED", "TIMEOUT", True),
        ("200", "UPSTREAM_CUT", True),
        ("OK", "UPSTREAM_CUT", True),
    ],
)
def test_what_is_a_failure(status: str, reason: str, failed: bool) -> None:
    assert is_failure(status, reason) is failed


def test_failures_are_told_once_in_a_while() -> None:
    told: list[float] = []
    now = 0.0
    count = FailureCount(lambda: told.append(now), clock=lambda: now)
    for second in (0.0, 1.0, 4.9, 5.0, 6.0, 30.0):
        now = second
        count.ended("503", "NO_ENDPOINT")
    assert told == [0.0, 5.0, 30.0]
    assert count.failed == 6
