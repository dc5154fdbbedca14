"""When an attempt is made again, and how long before."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure, RetryConfig
from gateway.errors import UnavailableError
from gateway.upstream.retry import AttemptFailedError, RetryPlan


def plan(**config: object) -> RetryPlan:
    return RetryPlan(RetryConfig(**config), Random(1))  # type: ignore[arg-type]  # any field


def failed(*failures: Failure, retry_after_s: float | None = None) -> AttemptFailedError:
    return AttemptFailedError(UnavailableError("it broke", retry_after_s=retry_after_s), *failures)


@pytest.mark.parametrize("num_retries", [0, 1, 3])
def test_number_of_retries(num_retries: int) -> None:
    allowed = plan(num_retries=num_retries)
    made = [
        attempts
        for attempts in range(1, 10)
        if allowed.wait_before_retry(attempts, failed(Failure.RESET), is_same_endpoint=False) is not None
    ]
    assert made == list(range(1, num_retries + 1))


@pytest.mark.parametrize("kind", Failure)
def test_only_named_failures_are_retried(kind: Failure) -> None:
    assert plan(retry_on=frozenset({kind})).wait_before_retry(1, failed(kind), is_same_endpoint=False) is not None
    assert plan(retry_on=frozenset(Failure) - {kind}).wait_before_retry(1, failed(kind), is_same_endpoint=False) is None


def test_failure_that_is_of_no_kind_is_never_retried() -> None:
    assert (
        plan(retry_on=frozenset(Failure), num_retries=10).wait_before_retry(1, failed(), is_same_endpoint=False) is None
    )


def test_timeouts_are_not_retried_by_default() -> None:
    assert plan().wait_before_retry(1, failed(Failure.TIMEOUT), is_same_endpoint=False) is None
    for kind in (Failure.CONNECT_FAILURE, Failure.RESET, Failure.GATEWAY_ERROR):
        assert plan().wait_before_retry(1, failed(kind), is_same_endpoint=False) is not None


@given(
    base=st.floats(0.001, 10),
    factor=st.floats(1, 100),
    attempts=st.integers(1, 10),
    seed=st.integers(),
)
def test_wait_is_within_its_bound(base: float, factor: float, attempts: int, seed: int) -> None:
    config = RetryConfig(num_retries=10, base_interval_s=base, max_interval_s=base * factor)
    wait = RetryPlan(config, Random(seed)).wait_before_retry(attempts, failed(Failure.RESET), is_same_endpoint=False)
    assert wait is not None
    assert 0 <= wait <= min(base * 2 ** (attempts - 1), base * factor)


def test_waits_are_spread_over_the_whole_bound() -> None:
    allowed = plan(num_retries=10, base_interval_s=1.0, max_interval_s=4.0)
    for attempts, bound in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 4.0)]:
        waits = [
            wait
            for _ in range(2000)
            if (wait := allowed.wait_before_retry(attempts, failed(Failure.RESET), is_same_endpoint=False)) is not None
        ]
        assert min(waits) < 0.01 * bound
        assert max(waits) > 0.99 * bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.05)


def test_failure_tells_what_the_client_would_be_told() -> None:
    failure = failed(Failure.RESET)
    assert (str(failure), failure.result) == ("it broke", "reset")
    assert failed().result == "failed"


def test_any_class_of_a_failure_is_enough() -> None:
    overloaded = failed(Failure.GATEWAY_ERROR, Failure.OVERLOADED)
    for named in (Failure.GATEWAY_ERROR, Failure.OVERLOADED):
        allowed = plan(retry_on=frozenset({named}))
        assert allowed.wait_before_retry(1, overloaded, is_same_endpoint=False) is not None


def test_the_only_endpoint_gets_the_pause_it_asks_for() -> None:
    busy = failed(Failure.GATEWAY_ERROR, retry_after_s=7.0)
    assert plan().wait_before_retry(1, busy, is_same_endpoint=True) == 7.0
    elsewhere = plan().wait_before_retry(1, busy, is_same_endpoint=False)
    assert elsewhere is not None
    assert elsewhere < 1
    disrespectful = plan(respect_retry_after=False).wait_before_retry(1, busy, is_same_endpoint=True)
    assert disrespectful is not None
    assert disrespectful < 1


def test_a_long_pause_is_not_waited_for_when_there_is_another_backend() -> None:
    movable = RetryPlan(RetryConfig(), Random(1), can_move_on=True)
    assert movable.wait_before_retry(1, failed(Failure.RESET, retry_after_s=7.0), is_same_endpoint=True) is None
    assert movable.wait_before_retry(1, failed(Failure.RESET, retry_after_s=0.1), is_same_endpoint=True) is not None
