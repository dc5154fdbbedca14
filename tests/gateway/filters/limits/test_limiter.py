"""Limits of a node by a clock that a test sets: all or nothing, and how far tokens can go over."""

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.limits import (
    NANO,
    BudgetConfig,
    BudgetPeriod,
    KeyConfig,
    LimitConfig,
    LimitKey,
    LimitUnit,
    RateLimitConfig,
)
from gateway.config.prices import Price, PricedModel
from gateway.config.snapshot import ConsumerConfig
from gateway.context import RequestContext
from gateway.errors import RateLimitedError
from gateway.filters.limits.amounts import ASSUMED_OUTPUT_TOKENS
from gateway.filters.limits.limiter import Limits
from gateway.filters.limits.period import period_at
from gateway.filters.limits.rule import rule_of_budget, rules_of_limits
from gateway.filters.limits.state import LimitState
from gateway.filters.phases import Filters
from gateway.telemetry.metrics import Metrics
from gateway.types import Demand, Usage
from tests.gateway.filters.requests import context

EVERYONE = KeyConfig(kind=LimitKey.ROUTE)
NOON = 1_795_000_000.0


@dataclass
class Asking:
    """A request of that demand."""

    input_tokens: int = 0
    output_tokens: int | None = 0

    def demand(self) -> Demand:
        return Demand(input_tokens=self.input_tokens, output_tokens=self.output_tokens)


@dataclass
class Rig:
    """Policies of a node, and its clocks."""

    now: float = 100.0
    wall: float = NOON
    state_dir: Path | None = None
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.state = LimitState(
            metrics=Metrics(), state_dir=self.state_dir, clock=lambda: self.now, wall_clock=lambda: self.wall
        )

    def limits(self, *limits: LimitConfig) -> Limits:
        name = f"p{next(self.numbers)}"
        return Limits(rules_of_limits(name, RateLimitConfig(limits=limits), self.state), self.state)

    def limit(self, unit: LimitUnit, most: int, key: KeyConfig = EVERYONE) -> Limits:
        return self.limits(
            LimitConfig(unit=unit, limit=most, window_s=0 if unit is LimitUnit.CONCURRENCY else 60, key=key)
        )

    def budget(self, config: BudgetConfig, name: str = "b") -> Limits:
        return Limits([rule_of_budget(name, config, self.state)], self.state)


def settle(request: RequestContext, *, usage: Usage | None = None, answered: bool = True) -> None:
    """Ends a request as `GatewayService.settle` does."""
    request.usage, request.is_answered, request.attempts = usage, answered, 1
    for reservation in request.reservations:
        reservation.settle(request)


def left(request: RequestContext, what: str) -> int:
    return int(dict(request.answer_headers)[f"x-ratelimit-remaining-{what}".encode()])


async def test_all_limits_of_all_policies_are_taken_or_none() -> None:
    rig = Rig()
    wide, tight = rig.limit(LimitUnit.REQUESTS, 10), rig.limit(LimitUnit.REQUESTS, 1)
    filters = Filters.of([wide, tight])
    assert len(filters.limiters) == 1
    await filters.reserve(context(), Asking())
    for _ in range(3):
        refused = context()
        with pytest.raises(RateLimitedError, match="'p2'"):
            await filters.reserve(refused, Asking())
        assert refused.reservations == []
        assert left(refused, "requests") == 0
    alone = context()
    await wide.reserve(alone, Asking())
    assert left(alone, "requests") == 8


async def test_a_consumer_counts_in_each_of_its_groups() -> None:
    limiter = Rig().limit(LimitUnit.REQUESTS, 2, KeyConfig(kind=LimitKey.GROUP))

    def caller(*groups: str) -> RequestContext:
        return context(consumer=ConsumerConfig(name="c", groups=frozenset(groups)))

    await limiter.reserve(caller("a", "b"), Asking())
    await limiter.reserve(caller("a"), Asking())
    await limiter.reserve(caller("b"), Asking())
    for groups in (("a",), ("b",), ("a", "c")):
        with pytest.raises(RateLimitedError):
            await limiter.reserve(caller(*groups), Asking())
    await limiter.reserve(caller("c"), Asking())


@pytest.mark.parametrize("is_bounded", [True, False])
@pytest.mark.parametrize("seed", range(5))
async def test_fifty_concurrent_streams_go_over_a_token_limit_by_no_more_than_documented(
    is_bounded: bool, seed: int
) -> None:
    """Requests that set a maximum: not at all. Others: by what each wrote beyond what is assumed."""
    rig, random, limit = Rig(), Random(seed), 40_000
    limiter = rig.limit(LimitUnit.TOTAL_TOKENS, limit)
    used = beyond = 0

    async def stream() -> None:
        nonlocal used, beyond
        request, read = context(is_streaming=True), random.randrange(1, 200)
        most = random.randrange(1, 3000)
        try:
            await limiter.reserve(request, Asking(read, most if is_bounded else None))
        except RateLimitedError:
            return
        await asyncio.sleep(0)
        written = random.randrange(most) if is_bounded else random.randrange(4000)
        used += read + written
        beyond += 0 if is_bounded else max(0, written - ASSUMED_OUTPUT_TOKENS)
        settle(request, usage=Usage(input_tokens=read, output_tokens=written))

    while used < limit / 2:
        await asyncio.gather(*(stream() for _ in range(50)))
    for _ in range(20):
        await asyncio.gather(*(stream() for _ in range(50)))
    assert used <= limit + beyond
    assert used > limit * 0.8
    rig.now += 61
    late = context()
    await limiter.reserve(late, Asking(1, 1))
    assert left(late, "tokens") == limit - 2


@given(st.lists(st.sampled_from(["usage", "cancelled", "failed", "silent"]), max_size=30))
def test_in_the_end_just_what_was_used_is_counted(ends: list[str]) -> None:
    async def run() -> None:
        rig, limit, used = Rig(), 10**6, 0
        limiter = rig.limit(LimitUnit.TOTAL_TOKENS, limit)
        requests = [context() for _ in ends]
        for request in requests:
            await limiter.reserve(request, Asking(10, 90))
        for request, end in zip(requests, ends, strict=True):
            if end == "usage":
                settle(request, usage=Usage(input_tokens=12, output_tokens=5))
                used += 17
            else:
                settle(request, answered=end == "silent")
                used += 100 if end == "silent" else 0
        last = context()
        await limiter.reserve(last, Asking(1, 0))
        assert left(last, "tokens") == limit - used - 1

    asyncio.run(run())


async def test_what_asks_for_more_than_the_limit_is_told_so_and_what_sets_no_bound_is_not_refused_for_it() -> None:
    limiter = Rig().limit(LimitUnit.TOTAL_TOKENS, 500)
    with pytest.raises(RateLimitedError) as refused:
        await limiter.reserve(context(), Asking(10, 491))
    assert (refused.value.reason, refused.value.retry_after_s) == ("REQUEST_OVER_LIMIT", None)
    unbounded = context()
    await limiter.reserve(unbounded, Asking(10, None))
    assert left(unbounded, "tokens") == 0
    with pytest.raises(RateLimitedError):
        await limiter.reserve(context(), Asking(1, 1))


async def test_cost_is_estimated_by_the_price_and_counted_as_charged() -> None:
    rig = Rig()
    limiter = rig.limit(LimitUnit.COST_USD, NANO)  # one dollar
    priced = PricedModel("m", Price(input=1e6 / 100, output=1e6 / 10))  # a cent in, ten cents out
    request = context(priced=priced)
    await limiter.reserve(request, Asking(10, 5))  # 60 cents
    with pytest.raises(RateLimitedError):
        await limiter.reserve(context(priced=priced), Asking(10, 5))
    request.cost_usd = 0.2
    settle(request, usage=Usage(input_tokens=10, output_tokens=1))
    await limiter.reserve(context(priced=priced), Asking(10, 5))


async def test_requests_that_have_no_tokens_are_no_matter_of_token_limits() -> None:
    limiter = Rig().limit(LimitUnit.TOTAL_TOKENS, 1)
    for _ in range(5):
        request = context()
        await limiter.reserve(request, Asking(0, 0))
        assert request.answer_headers == []


async def test_the_tightest_limit_is_told() -> None:
    rig = Rig()
    limiter = rig.limits(
        LimitConfig(unit=LimitUnit.REQUESTS, limit=100, window_s=60, key=EVERYONE),
        LimitConfig(unit=LimitUnit.REQUESTS, limit=3, window_s=1, key=EVERYONE),
        LimitConfig(unit=LimitUnit.TOTAL_TOKENS, limit=900, window_s=60, key=EVERYONE),
        LimitConfig(unit=LimitUnit.INPUT_TOKENS, limit=5000, window_s=60, key=EVERYONE),
    )
    request = context()
    await limiter.reserve(request, Asking(10, 90))
    assert dict(request.answer_headers) == {
        b"x-ratelimit-limit-requests": b"3",
        b"x-ratelimit-remaining-requests": b"2",
        b"x-ratelimit-reset-requests": b"2",
        b"x-ratelimit-limit-tokens": b"900",
        b"x-ratelimit-remaining-tokens": b"800",
        b"x-ratelimit-reset-tokens": b"61",
    }


async def test_a_budget_begins_again_with_its_period_and_is_kept_on_the_disk(tmp_path: Path) -> None:
    config = BudgetConfig(unit=LimitUnit.TOTAL_TOKENS, amount=100, period=BudgetPeriod.DAY, key=EVERYONE)
    rig = Rig(state_dir=tmp_path)
    budget = rig.budget(config)
    request = context()
    await budget.reserve(request, Asking(10, 10))
    settle(request, usage=Usage(input_tokens=50, output_tokens=60))
    await rig.state.flush(1)

    again = Rig(state_dir=tmp_path)
    with pytest.raises(RateLimitedError) as refused:
        await again.budget(config).reserve(context(), Asking(1, 1))
    assert refused.value.reason == "BUDGET_EXCEEDED"
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 86_400
    again.wall += refused.value.retry_after_s
    await again.budget(config).reserve(context(), Asking(1, 1))


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_is_no_matter_of_windows_and_places(by: float) -> None:
    rig = Rig()
    asked, running = rig.limit(LimitUnit.REQUESTS, 1), rig.limit(LimitUnit.CONCURRENCY, 1)
    request = context()
    await asked.reserve(request, Asking())
    await running.reserve(request, Asking())
    rig.wall += by
    for limits in (asked, running):
        with pytest.raises(RateLimitedError):
            await limits.reserve(context(), Asking())
    settle(request)
    await running.reserve(context(), Asking())
    rig.now += 61
    await asked.reserve(context(), Asking())


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_put_back_over_midnight_fills_no_budget_up(tmp_path: Path, restarts: bool) -> None:
    config = BudgetConfig(unit=LimitUnit.TOTAL_TOKENS, amount=100, period=BudgetPeriod.DAY, key=EVERYONE)
    midnight, hour = period_at(BudgetPeriod.DAY, NOON).end, 3600
    rig = Rig(wall=midnight + hour / 2, state_dir=tmp_path)
    budget = rig.budget(config)
    request = context()
    await budget.reserve(request, Asking(10, 10))
    settle(request, usage=Usage(input_tokens=100))
    await rig.state.flush(1)
    for wall in (midnight - hour / 2, midnight + hour, midnight + 24 * hour - 1):
        if restarts:
            rig = Rig(state_dir=tmp_path)
            budget = rig.budget(config)
        rig.wall = wall
        with pytest.raises(RateLimitedError):
            await budget.reserve(context(), Asking(1, 1))
        await rig.state.flush(1)
    rig.wall = midnight + 24 * hour
    await budget.reserve(context(), Asking(1, 1))


async def test_what_was_spent_is_kept_also_of_keys_that_nobody_has_asked_for_since(tmp_path: Path) -> None:
    config = BudgetConfig(unit=LimitUnit.TOTAL_TOKENS, amount=100, key=KeyConfig(kind=LimitKey.CONSUMER))
    for name in ("ann", "bob", "cid"):
        rig = Rig(state_dir=tmp_path)
        request = context(consumer=ConsumerConfig(name=name))
        await rig.budget(config).reserve(request, Asking(1, 1))
        settle(request, usage=Usage(input_tokens=100))
        await rig.state.flush(1)
    last = Rig(state_dir=tmp_path).budget(config)
    for name in ("ann", "bob", "cid"):
        with pytest.raises(RateLimitedError):
            await last.reserve(context(consumer=ConsumerConfig(name=name)), Asking(1, 1))


def test_a_file_of_budgets_that_cannot_be_read_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "budgets.json").write_bytes(b"{")
    Rig(state_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["budgets.json.corrupt-1"]
