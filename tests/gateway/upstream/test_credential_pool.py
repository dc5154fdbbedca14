"""Which credential has its turn, and how long one that was refused is left alone."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.credential import CredentialConfig, HeaderKey
from gateway.config.secret import SecretValue
from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError, RateLimitedError, UnavailableError
from gateway.providers.credential import Credential
from gateway.upstream.credential_pool import CredentialPool, CredentialTurn
from gateway.upstream.retry import AttemptFailedError

START = datetime(2030, 1, 1, tzinfo=UTC)


def config(name: str, weight: int = 1, value: str = "") -> CredentialConfig:
    key = HeaderKey(name="authorization", value=SecretValue(value or f"sk-{name}"))
    return CredentialConfig(secret=name, weight=weight, key=key)


class Rig:
    """A pool and its clock."""

    def __init__(self, *configs: CredentialConfig) -> None:
        self.now = 100.0
        self.pool = CredentialPool(
            configs, random=Random(1), clock=lambda: self.now, now=lambda: START + timedelta(seconds=self.now)
        )

    def name(self, credential: Credential) -> str:
        return next(key.config.secret for key in self.pool._keys if key.credential is credential)

    def fresh(self) -> list[str]:
        return [report.secret for report in self.pool.describe("u") if report.is_fresh]

    def take(self, times: int) -> Counter[str]:
        """How often each is taken by requests that succeed."""
        return Counter(self.name(CredentialTurn(self.pool).next()) for _ in range(times))

    def refuse(self, name: str, failure: AttemptFailedError) -> None:
        """Has a request that takes this key fail."""
        while True:
            turn = CredentialTurn(self.pool)
            if self.name(turn.next()) == name:
                turn.goes_on(failure)
                return


def limited(retry_after_s: float | None = None) -> AttemptFailedError:
    return AttemptFailedError(RateLimitedError("slow", retry_after_s=retry_after_s), Failure.RATE_LIMITED)


def refusal(failure: Failure = Failure.UNAUTHENTICATED) -> AttemptFailedError:
    return AttemptFailedError(BadGatewayError("refused"), failure)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.integers(0, 400))
def test_shares_are_those_of_the_weights(weights: Sequence[int], requests: int) -> None:
    rig = Rig(*(config(f"k{number}", weight) for number, weight in enumerate(weights)))
    taken = rig.take(requests)
    for number, weight in enumerate(weights):
        assert abs(taken[f"k{number}"] - requests * weight / sum(weights)) <= 2


@pytest.mark.parametrize(
    "failure",
    [limited(), refusal(), refusal(Failure.PERMISSION_DENIED), refusal(Failure.NO_CREDENTIAL)],
    ids=lambda failure: failure.result,
)
def test_refused_key_is_left_alone_and_comes_back(failure: AttemptFailedError) -> None:
    rig = Rig(config("a"), config("b"))
    rig.refuse("a", failure)
    assert rig.take(10) == {"b": 10}
    rig.now += 5.0
    assert set(rig.take(10)) == {"a", "b"}


def test_pauses_grow_while_it_is_refused_and_begin_anew_once_it_is_taken() -> None:
    rig = Rig(config("a"), config("b"))
    pauses = []
    for _ in range(11):
        rig.refuse("a", limited())
        began = rig.now
        while "a" not in rig.fresh():
            rig.now += 0.5
        pauses.append(rig.now - began)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]
    turn = CredentialTurn(rig.pool)
    while rig.name(turn.next()) != "a":
        turn = CredentialTurn(rig.pool)
    turn.succeeded()
    rig.refuse("a", limited())
    rig.now += 5
    assert "a" in rig.fresh()


@pytest.mark.parametrize(("asked", "pause"), [(7.0, 7.0), (0.0, 0.0), (86400.0, 3600.0)])
def test_pause_that_the_provider_asks_for_is_kept_within_an_hour(asked: float, pause: float) -> None:
    rig = Rig(config("a"), config("b"))
    rig.refuse("a", limited(asked))
    if pause:
        rig.now += pause - 0.1
        assert rig.fresh() == ["b"]
        rig.now += 0.1
    assert rig.fresh() == ["a", "b"]


def test_refusals_of_requests_that_were_under_way_are_one() -> None:
    rig = Rig(config("a"), config("b"))
    turns = [CredentialTurn(rig.pool) for _ in range(20)]
    with_a = [turn for turn in turns if rig.name(turn.next()) == "a"]
    assert len(with_a) == 10
    for turn in with_a:
        assert turn.goes_on(limited())
    rig.now += 5
    assert rig.fresh() == ["a", "b"]
    (shown,) = [report for report in rig.pool.describe("u") if report.secret == "a"]
    assert shown.refusals == 10


def test_request_goes_through_the_keys_once() -> None:
    rig = Rig(*(config(name) for name in "abc"))
    turn = CredentialTurn(rig.pool)
    taken = []
    for is_more in (True, True, False):
        taken.append(rig.name(turn.next()))
        # Asked to come again at once: without a memory of its own the request would go on for ever.
        assert turn.goes_on(limited(0.0)) is is_more
    assert sorted(taken) == ["a", "b", "c"]


@pytest.mark.parametrize("failure", [Failure.RESET, Failure.SERVER_ERROR, Failure.TIMEOUT, Failure.CONTENT_FILTER])
def test_other_failures_are_not_the_keys(failure: Failure) -> None:
    rig = Rig(config("a"), config("b"))
    turn = CredentialTurn(rig.pool)
    turn.next()
    assert not turn.goes_on(refusal(failure))
    assert rig.fresh() == ["a", "b"]


def test_all_at_their_limits() -> None:
    rig = Rig(config("a"), config("b"))
    rig.refuse("a", limited(30))
    rig.refuse("b", limited(20))
    with pytest.raises(AttemptFailedError) as caught:
        CredentialTurn(rig.pool).next()
    assert isinstance(caught.value.error, RateLimitedError)
    assert caught.value.error.retry_after_s == 20
    assert caught.value.failures == (Failure.RATE_LIMITED,)
    assert not rig.pool.has_fresh


def test_all_refused() -> None:
    rig = Rig(config("a"), config("b"))
    rig.refuse("a", refusal())
    rig.refuse("b", refusal(Failure.NO_CREDENTIAL))
    with pytest.raises(AttemptFailedError) as caught:
        CredentialTurn(rig.pool).next()
    assert isinstance(caught.value.error, UnavailableError)
    assert caught.value.error.retry_after_s == 5
    assert caught.value.failures == (Failure.NO_CREDENTIAL,)


def test_what_no_key_may_do_is_held_against_none() -> None:
    rig = Rig(config("a"), config("b"))
    turn = CredentialTurn(rig.pool)
    turn.next()
    assert turn.goes_on(refusal(Failure.PERMISSION_DENIED))
    turn.next()
    assert not turn.goes_on(refusal(Failure.PERMISSION_DENIED))
    assert rig.fresh() == ["a", "b"]


def test_single_key_is_never_left_alone() -> None:
    rig = Rig(config("a"))
    for failure in (limited(600), refusal(), refusal(Failure.PERMISSION_DENIED)):
        turn = CredentialTurn(rig.pool)
        turn.next()
        assert not turn.goes_on(failure)
    assert rig.take(3) == {"a": 3}


def test_change_keeps_the_keys_that_stay() -> None:
    rig = Rig(config("a"), config("b"))
    rig.refuse("a", limited(600))
    rig.pool.reconfigure([config("b", 5), config("a", 2), config("c")])
    assert rig.fresh() == ["b", "c"]
    rig.pool.reconfigure([config("b"), config("a", value="sk-renewed")])
    assert rig.fresh() == ["b", "a"]


def test_report_tells_names_and_no_values() -> None:
    rig = Rig(config("a", 3), config("b"))
    rig.refuse("a", limited(60))
    first, second = rig.pool.describe("provider:v")
    assert (first.upstream, first.secret, first.weight, first.is_fresh, first.reason, first.refusals) == (
        "provider:v",
        "a",
        3,
        False,
        "rate_limited",
        1,
    )
    assert first.fresh_at == START + timedelta(seconds=160)
    assert (second.is_fresh, second.reason, second.refusals, second.fresh_at) == (True, "", 0, None)
    assert "sk-" not in f"{first} {rig.pool!r} {rig.pool._keys!r} {[key.config for key in rig.pool._keys]}"
