"""Endpoints that have just come, or come back, begin with a part of their share."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.config.upstream import BalancingConfig, BalancingPolicy, EndpointState, OutlierConfig, SlowStartConfig
from gateway.upstream.cluster import Cluster
from gateway.upstream.outlier_detection import Outcome
from tests.gateway.upstream.calls import LoopClock
from tests.gateway.upstream.clusters import at, live, mark, named, picked, pool

SLOWLY = BalancingConfig(slow_start=SlowStartConfig(window_s=100, min_weight_percent=10))
OLD = [at("a"), at("b"), at("c")]


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
async def warm(clock: LoopClock) -> AsyncIterator[Cluster]:
    """Three endpoints that have their whole share."""
    async with live(pool(*OLD, balancing=SLOWLY)) as cluster:
        await clock.advance(100)
        assert weights(cluster) == {"a": 1, "b": 1, "c": 1}
        yield cluster


def weights(cluster: Cluster) -> dict[str, float]:
    return {endpoint.address: round(endpoint.weight, 2) for endpoint in cluster.endpoints}


async def test_the_share_of_a_new_endpoint_grows_until_it_is_whole(warm: Cluster, clock: LoopClock) -> None:
    warm.reconfigure(replace(warm.config, endpoints=(*OLD, at("d", weight=2))))
    for seconds, weight in [(0, 0.2), (50, 1.0), (25, 1.5), (25, 2.0), (1000, 2.0)]:
        await clock.advance(seconds)
        assert weights(warm) == {"a": 1, "b": 1, "c": 1, "d": pytest.approx(weight, abs=0.05)}


@pytest.mark.parametrize("policy", [BalancingPolicy.ROUND_ROBIN, BalancingPolicy.LEAST_REQUEST, BalancingPolicy.RANDOM])
async def test_a_new_endpoint_gets_few_requests_at_first(policy: BalancingPolicy, clock: LoopClock) -> None:
    async with live(pool(*OLD, balancing=replace(SLOWLY, policy=policy))) as cluster:
        await clock.advance(100)
        cluster.reconfigure(replace(cluster.config, endpoints=(*OLD, at("d"))))
        assert 20 <= picked(cluster, 1000)["d"] <= 60
        await clock.advance(100)
        assert 200 <= picked(cluster, 1000)["d"] <= 300


async def test_who_comes_back_to_health_begins_slowly_and_nobody_else_does(warm: Cluster, clock: LoopClock) -> None:
    mark(warm, "a")
    await clock.advance(10)
    mark(warm, "a", healthy=True)
    assert weights(warm) == {"a": 0.1, "b": 1, "c": 1}


async def test_who_comes_back_from_an_ejection_begins_slowly(warm: Cluster) -> None:
    warm.reconfigure(replace(warm.config, outlier_detection=OutlierConfig(consecutive_5xx=1)))
    warm.outliers.record(named(warm, "a"), Outcome.SERVER_ERROR)
    warm.outliers.unmark(named(warm, "a"))
    assert weights(warm) == {"a": 0.1, "b": 1, "c": 1}


async def test_who_comes_back_into_service_begins_slowly(warm: Cluster) -> None:
    warm.reconfigure(replace(warm.config, endpoints=(at("a", state=EndpointState.DRAINING), *OLD[1:])))
    warm.reconfigure(replace(warm.config, endpoints=tuple(OLD)))
    assert weights(warm) == {"a": 0.1, "b": 1, "c": 1}


async def test_in_a_panic_all_have_their_whole_share(warm: Cluster) -> None:
    mark(warm, "a", "b")
    assert weights(warm) == {"a": 1, "b": 1, "c": 1}
    assert picked(warm, 300) == {"a": 100, "b": 100, "c": 100}
    mark(warm, "a", healthy=True)
    assert weights(warm) == {"a": 0.1, "b": 1, "c": 1}


@pytest.mark.parametrize(
    "balancing",
    [
        replace(SLOWLY, policy=BalancingPolicy.LEAST_REQUEST),
        replace(SLOWLY, panic_threshold=10),
        replace(SLOWLY, slow_start=SlowStartConfig(window_s=5)),
    ],
)
async def test_other_balancing_does_not_make_anybody_begin_anew(
    warm: Cluster, clock: LoopClock, balancing: BalancingConfig
) -> None:
    warm.reconfigure(replace(warm.config, endpoints=(*OLD, at("d"))))
    await clock.advance(50)
    warm.reconfigure(replace(warm.config, balancing=balancing))
    assert weights(warm) == {"a": 1, "b": 1, "c": 1, "d": pytest.approx(0.5, abs=0.05)}


async def test_other_settings_and_another_level_do_not_either(warm: Cluster) -> None:
    warm.reconfigure(replace(warm.config, endpoints=(at("a", weight=2), at("b", priority=1), at("c")), name="pool"))
    warm.reconfigure(replace(warm.config, connect_timeout_s=9))
    assert weights(warm) == {"a": 2, "b": 1, "c": 1}


async def test_without_slow_start_everybody_has_the_whole_share_at_once(warm: Cluster) -> None:
    warm.reconfigure(replace(warm.config, endpoints=(*OLD, at("d"))))
    warm.reconfigure(replace(warm.config, balancing=BalancingConfig()))
    assert weights(warm) == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_slow_start_is_for_those_who_come_after_it(clock: LoopClock) -> None:
    async with live(pool(*OLD)) as cluster:
        cluster.reconfigure(replace(cluster.config, balancing=SLOWLY))
        assert weights(cluster) == {"a": 1, "b": 1, "c": 1}
        cluster.reconfigure(replace(cluster.config, endpoints=(*OLD, at("d"))))
        assert weights(cluster)["d"] == 0.1
