"""Priorities: the preferred level takes what its health allows, the next take the rest, panic is the last resort."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.config.upstream import (
    BalancingConfig,
    BalancingPolicy,
    EndpointConfig,
    EndpointState,
    OutlierConfig,
    UpstreamConfig,
)
from gateway.upstream.cluster import Cluster
from gateway.upstream.outlier_detection import Outcome
from tests.gateway.upstream.clusters import at, live, mark, named, picked, pool

ACTIVE, DRAINING, DISABLED = EndpointState.ACTIVE, EndpointState.DRAINING, EndpointState.DISABLED


def levels(*sizes: int, **fields: object) -> UpstreamConfig:
    """Levels of so many endpoints: `0-0`, `0-1`, …, `1-0`, …"""
    return pool(
        *(at(f"{level}-{number}", priority=level) for level, size in enumerate(sizes) for number in range(size)),
        **fields,
    )


def unhealthy(cluster: Cluster, *counts: int) -> None:
    """Has the first so many endpoints of each level fail."""
    mark(cluster, *(f"{level}-{number}" for level, count in enumerate(counts) for number in range(count)))


def shares(cluster: Cluster) -> Sequence[int]:
    """How many of a hundred requests each level gets."""
    counts = {endpoint.config.priority: 0 for endpoint in cluster.endpoints}
    for address, count in picked(cluster).items():
        counts[int(address[0])] += count
    return [counts[level] for level in sorted(counts)]


@pytest.mark.parametrize(
    ("failed", "expected"),
    [(0, [100, 0]), (28, [100, 0]), (29, [99, 1]), (50, [70, 30]), (75, [35, 65]), (100, [0, 100])],
)
async def test_what_a_level_cannot_take_goes_to_the_next(failed: int, expected: list[int]) -> None:
    async with live(levels(100, 4)) as cluster:
        unhealthy(cluster, failed)
        assert shares(cluster) == expected


async def test_a_third_level_takes_what_the_second_cannot() -> None:
    async with live(levels(10, 10, 10)) as cluster:
        unhealthy(cluster, 8, 5)
        assert shares(cluster) == [28, 70, 2]


async def test_the_factor_says_how_much_a_level_may_lose() -> None:
    config = levels(10, 1, balancing=BalancingConfig(overprovisioning_factor=2.0))
    async with live(config) as cluster:
        unhealthy(cluster, 5)
        assert shares(cluster) == [100, 0]
        cluster.reconfigure(replace(config, balancing=BalancingConfig(overprovisioning_factor=1.0)))
        assert shares(cluster) == [50, 50]


async def test_the_lowest_number_is_preferred_wherever_it_stands_and_whatever_it_is() -> None:
    async with live(pool(at("9-a", priority=9), at("3-a", priority=3), at("5-a", priority=5))) as cluster:
        assert picked(cluster) == {"3-a": 100}
        mark(cluster, "3-a")
        assert picked(cluster) == {"5-a": 100}
        mark(cluster, "5-a")
        assert picked(cluster) == {"9-a": 100}


async def test_nobody_panics_while_another_level_can_take_all() -> None:
    async with live(levels(4, 2)) as cluster:
        unhealthy(cluster, 4)
        assert picked(cluster) == {"1-0": 50, "1-1": 50}


async def test_where_all_levels_together_are_too_weak_those_below_the_threshold_try_all() -> None:
    async with live(levels(10, 10)) as cluster:
        unhealthy(cluster, 9, 4)
        tried = picked(cluster, 1000).keys()
        assert tried == {f"0-{number}" for number in range(10)} | {f"1-{number}" for number in range(4, 10)}


async def test_when_nobody_is_well_anywhere_all_levels_are_tried() -> None:
    async with live(levels(3, 1)) as cluster:
        unhealthy(cluster, 3, 1)
        assert shares(cluster) == [75, 25]
        assert not cluster.is_live


async def test_without_a_panic_threshold_nobody_who_is_not_well_is_tried() -> None:
    async with live(levels(2, 1, balancing=BalancingConfig(panic_threshold=0))) as cluster:
        unhealthy(cluster, 1, 1)
        assert picked(cluster) == {"0-1": 100}
        unhealthy(cluster, 2, 1)
        assert cluster.pick() is None


async def test_ejected_endpoints_are_not_well() -> None:
    ejecting = OutlierConfig(consecutive_5xx=1, max_ejection_percent=100)
    async with live(levels(2, 1, outlier_detection=ejecting)) as cluster:
        cluster.outliers.record(named(cluster, "0-0"), Outcome.SERVER_ERROR)
        assert picked(cluster) == {"0-1": 70, "1-0": 30}
        cluster.outliers.record(named(cluster, "0-1"), Outcome.SERVER_ERROR)
        assert picked(cluster) == {"1-0": 100}
        assert cluster.is_live


# Another attempt.


async def test_another_attempt_stays_in_its_level_as_long_as_that_has_another_endpoint() -> None:
    async with live(levels(2, 1)) as cluster:
        assert picked(cluster, exclude={named(cluster, "0-0")}) == {"0-1": 100}


async def test_another_attempt_goes_to_another_level_before_it_goes_where_one_was_made() -> None:
    async with live(levels(1, 1, 1)) as cluster:
        first, second, third = cluster.endpoints
        assert cluster.has_other({first})
        assert picked(cluster, exclude={first}) == {"1-0": 100}
        assert picked(cluster, exclude={first, second}) == {"2-0": 100}
        assert not cluster.has_other({first, second, third})
        assert picked(cluster, exclude={first, second, third}) == {"0-0": 100}


async def test_what_is_not_well_is_no_other_endpoint() -> None:
    async with live(levels(1, 1)) as cluster:
        mark(cluster, "1-0")
        first = named(cluster, "0-0")
        assert not cluster.has_other({first})
        assert picked(cluster, exclude={first}) == {"0-0": 100}


# Endpoints out of service.


@pytest.mark.parametrize("state", [DRAINING, DISABLED])
async def test_a_level_is_as_large_as_what_it_has_in_service(state: EndpointState) -> None:
    out = [at(f"0-{number}", state=state) for number in range(8)]
    async with live(pool(*out, at("0-8"), at("0-9"), at("1-0", priority=1))) as cluster:
        assert picked(cluster) == {"0-8": 50, "0-9": 50}
        mark(cluster, "0-8")
        assert picked(cluster) == {"0-9": 70, "1-0": 30}


@pytest.mark.parametrize("state", [DRAINING, DISABLED])
async def test_a_level_that_is_out_of_service_is_passed_over(state: EndpointState) -> None:
    async with live(pool(at("0-0", state=state), at("1-0", priority=1))) as cluster:
        assert picked(cluster) == {"1-0": 100}
        mark(cluster, "1-0")
        assert picked(cluster) == {"1-0": 100}  # the panic is its own


async def test_what_leaves_service_is_picked_no_more_and_what_comes_back_is() -> None:
    config = levels(1, 1)
    async with live(config) as cluster:
        kept = named(cluster, "0-0")
        kept.active_requests = 3
        for state in (DRAINING, DISABLED):
            cluster.reconfigure(pool(at("0-0", state=state), at("1-0", priority=1)))
            assert picked(cluster) == {"1-0": 100}
            assert kept.active_requests == 3
        cluster.reconfigure(config)
        assert picked(cluster) == {"0-0": 100}
        assert named(cluster, "0-0") is kept


# Changes.


async def test_an_endpoint_keeps_its_state_in_another_level() -> None:
    async with live(levels(2, 1)) as cluster:
        moved = named(cluster, "0-1")
        moved.active_requests = 2
        cluster.reconfigure(pool(at("0-0"), at("0-1", priority=1), at("1-0", priority=1)))
        assert named(cluster, "0-1") is moved
        assert moved.active_requests == 2
        assert picked(cluster) == {"0-0": 100}
        mark(cluster, "0-0")
        assert picked(cluster) == {"0-1": 50, "1-0": 50}


async def test_a_level_that_comes_takes_over_and_one_that_goes_gives_back() -> None:
    last: EndpointConfig = at("5-0", priority=5)
    async with live(pool(last)) as cluster:
        assert picked(cluster) == {"5-0": 100}
        cluster.reconfigure(pool(last, at("2-0", priority=2)))
        assert picked(cluster) == {"2-0": 100}
        cluster.reconfigure(pool(last))
        assert picked(cluster) == {"5-0": 100}


@pytest.mark.parametrize("policy", [BalancingPolicy.RING_HASH, BalancingPolicy.MAGLEV])
async def test_what_belongs_together_stays_together_when_levels_share_requests(policy: BalancingPolicy) -> None:
    async with live(levels(10, 10, balancing=BalancingConfig(policy=policy))) as cluster:
        unhealthy(cluster, 5)
        keys = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(200)]
        chosen = [cluster.pick(key) for key in keys]
        assert [cluster.pick(key) for key in keys] == chosen
        assert {endpoint.config.priority for endpoint in chosen if endpoint is not None} == {0, 1}
