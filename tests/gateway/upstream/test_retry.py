"""When an attempt is made again, and how long before."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import RetryConfig, RetryOn
from gateway.errors import BadGatewayError
from gateway.upstream.retry import AttemptFailedError, RetryBudget


def budget(**config: object) -> RetryBudget:
    return RetryBudget(RetryConfig(**config), Random(1))  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize("num_retries", [0, 1, 3])
def test_number_of_retries(num_retries: int) -> None:
    allowed = budget(num_retries=num_retries)
    made = [attempts for attempts in range(1, 10) if allowed.wait_before_retry(attempts, RetryOn.RESET) is not None]
    assert made == list(range(1, num_retries + 1))


@pytest.mark.parametrize("kind", RetryOn)
def test_only_named_failures_are_retried(kind: RetryOn) -> None:
    assert budget(retry_on=frozenset({kind})).wait_before_retry(1, kind) is not None
    assert budget(retry_on=frozenset(RetryOn) - {kind}).wait_before_retry(1, kind) is None


def test_failure_that_is_of_no_kind_is_never_retried() -> None:
    assert budget(retry_on=frozenset(RetryOn), num_retries=10).wait_before_retry(1, None) is None


def test_timeouts_are_not_retried_by_default() -> None:
    assert budget().wait_before_retry(1, RetryOn.TIMEOUT) is None
    for kind in (RetryOn.CONNECT_FAILURE, RetryOn.RESET, RetryOn.GATEWAY_ERROR):
        assert budget().wait_before_retry(1, kind) is not None


@given(
    base=st.floats(0.001, 10),
    factor=st.floats(1, 100),
    attempts=st.integers(1, 10),
    seed=st.integers(),
)
def test_wait_is_within_its_bound(base: float, factor: float, attempts: int, seed: int) -> None:
    config = RetryConfig(num_retries=10, base_interval_s=base, max_interval_s=base * factor)
    wait = RetryBudget(config, Random(seed)).wait_before_retry(attempts, RetryOn.RESET)
    assert wait is not None
    assert 0 <= wait <= min(base * 2 ** (attempts - 1), base * factor)


def test_waits_are_spread_over_the_whole_bound() -> None:
    allowed = budget(num_retries=10, base_interval_s=1.0, max_interval_s=4.0)
    for attempts, bound in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 4.0)]:
        waits = [wait for _ in range(2000) if (wait := allowed.wait_before_retry(attempts, RetryOn.RESET)) is not None]
        assert min(waits) < 0.01 * bound
        assert max(waits) > 0.99 * bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.05)


def test_failure_tells_what_the_client_would_be_told() -> None:
    failure = AttemptFailedError(RetryOn.RESET, BadGatewayError("it broke"))
    assert str(failure) == "it broke"
