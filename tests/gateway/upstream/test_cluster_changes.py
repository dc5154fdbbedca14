"""A pool under load takes another configuration, and holds to its bounds: weights, full endpoints, breakers and
outlier detection."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.config.resources import BreakerReport
from gateway.config.upstream import (
    BalancingConfig,
    BalancingPolicy,
    BreakerConfig,
    OutlierConfig,
    TlsConfig,
    UpstreamConfig,
    UpstreamProtocol,
)
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.outlier_detection import Outcome
from tests.gateway.upstream.clusters import at, live, mark, named, picked, pool

# Weights.


async def test_new_weights_hold_at_once_and_nobody_leaves() -> None:
    async with live(pool(at("a"), at("b", weight=3))) as cluster:
        before = cluster.endpoints
        assert picked(cluster) == {"a": 25, "b": 75}
        cluster.reconfigure(pool(at("a", weight=4), at("b", weight=1)))
        assert cluster.endpoints == before
        counts = picked(cluster)
        assert counts["a"] == pytest.approx(80, abs=1)
        cluster.reconfigure(pool(at("a", weight=128), at("b", weight=128)))
        assert picked(cluster)["a"] == pytest.approx(50, abs=1)


async def test_weights_that_change_all_the_time_keep_the_shares() -> None:
    async with live(pool(at("a"), at("b", weight=3))) as cluster:
        counts = {"a": 0, "b": 0}
        for turn in range(400):
            for address, count in picked(cluster, 1).items():
                counts[address] += count
            cluster.reconfigure(pool(at("a", weight=1 + turn % 2), at("b", weight=3 + 3 * (turn % 2))))
        assert counts["b"] == pytest.approx(300, abs=12)


@pytest.mark.parametrize("policy", BalancingPolicy)
async def test_any_policy_takes_new_weights_endpoints_and_health(policy: BalancingPolicy) -> None:
    config = pool(at("a"), at("b"), at("c"), balancing=BalancingConfig(policy=policy))
    async with live(config) as cluster:
        keys = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(300)]

        def chosen() -> set[str]:
            return {endpoint.address for key in keys if (endpoint := cluster.pick(key)) is not None}

        assert chosen() <= {"a", "b", "c"}
        cluster.reconfigure(replace(config, endpoints=(at("b", weight=5), at("d"))))
        assert chosen() <= {"b", "d"}
        mark(cluster, "b")
        assert chosen() == {"d"}
        assert picked(cluster) == {"d": 100}


# Full endpoints.


def limited(limit: int | None, *, levels: int = 1) -> UpstreamConfig:
    """Levels of two endpoints: `a0` and `b0`, `a1` and `b1`, …"""
    endpoints = [at(f"{name}{level}", priority=level) for level in range(levels) for name in "ab"]
    return pool(*endpoints, max_connections_per_endpoint=limit)


def load(cluster: Cluster, **active: int) -> None:
    for address, count in active.items():
        named(cluster, address).active_requests = count


async def test_a_full_endpoint_is_passed_over() -> None:
    async with live(limited(2)) as cluster:
        load(cluster, a0=2, b0=1)
        assert picked(cluster) == {"b0": 100}
        load(cluster, a0=1)
        assert picked(cluster) == {"a0": 50, "b0": 50}


async def test_when_all_are_full_nobody_is_picked_and_none_gets_more_than_it_may() -> None:
    async with live(limited(2)) as cluster:
        leases = []
        while (endpoint := cluster.pick()) is not None:
            assert cluster.breaker.try_acquire()
            leases.append(Lease(cluster, endpoint))
        assert [endpoint.active_requests for endpoint in cluster.endpoints] == [2, 2]
        leases[0].close()
        assert cluster.pick() is leases[0].endpoint
        for lease in leases:
            lease.close()


async def test_another_attempt_goes_where_one_was_made_before_it_goes_where_it_is_full() -> None:
    async with live(limited(2)) as cluster:
        load(cluster, b0=2)
        assert picked(cluster, exclude={named(cluster, "a0")}) == {"a0": 100}


async def test_a_full_level_spills_over_to_the_next() -> None:
    async with live(limited(1, levels=2)) as cluster:
        load(cluster, a0=1)
        assert picked(cluster) == {"b0": 100}
        load(cluster, b0=1)
        assert picked(cluster) == {"a1": 50, "b1": 50}


async def test_the_bound_can_be_changed_and_lifted() -> None:
    async with live(limited(1)) as cluster:
        load(cluster, a0=5, b0=5)
        assert cluster.pick() is None
        cluster.reconfigure(limited(6))
        assert picked(cluster) == {"a0": 50, "b0": 50}
        cluster.reconfigure(limited(5))
        assert cluster.pick() is None
        cluster.reconfigure(limited(None))
        assert picked(cluster) == {"a0": 50, "b0": 50}


# Circuit breakers.


@pytest.mark.parametrize(
    ("protocol", "limit"), [(UpstreamProtocol.HTTP1, 2), (UpstreamProtocol.HTTP2, 5), (UpstreamProtocol.GRPC, 5)]
)
async def test_a_request_is_a_connection_only_where_it_has_one_of_its_own(
    protocol: UpstreamProtocol, limit: int
) -> None:
    bounds = BreakerConfig(max_connections=2, max_requests=5)
    async with live(pool(at("a"), protocol=protocol, circuit_breakers=bounds)) as cluster:
        assert sum(cluster.breaker.try_acquire() for _ in range(10)) == limit


async def test_the_breaker_outlives_changes_with_what_is_in_flight() -> None:
    config = pool(at("a"), circuit_breakers=BreakerConfig(max_requests=2, max_pending_requests=0, max_retries=0))
    async with live(config) as cluster:
        breaker = cluster.breaker
        held = [Lease(cluster, cluster.endpoints[0]) for _ in range(2) if breaker.try_acquire()]
        assert list(cluster.describe_breaker()) == [
            BreakerReport(upstream="pool", kind=kind, is_open=True) for kind in ("requests", "pending", "retries")
        ]
        cluster.reconfigure(replace(config, endpoints=(at("b"),), circuit_breakers=BreakerConfig(max_requests=3)))
        assert cluster.breaker is breaker
        assert [breaker.try_acquire(), breaker.try_acquire()] == [True, False]
        assert [report.is_open for report in cluster.describe_breaker()] == [True, False, False]
        for lease in held:
            lease.close()
        assert breaker.active == 1


# Outlier detection.

EJECTING = OutlierConfig(consecutive_5xx=1, base_ejection_time_s=1000, max_ejection_time_s=1000)


async def test_an_ejection_outlives_changes_of_the_configuration() -> None:
    config = pool(at("a"), at("b"), outlier_detection=EJECTING)
    async with live(config) as cluster:
        cluster.outliers.record(named(cluster, "a"), Outcome.SERVER_ERROR)
        cluster.reconfigure(replace(config, endpoints=(*config.endpoints, at("c")), connect_timeout_s=9))
        cluster.reconfigure(replace(cluster.config, outlier_detection=replace(EJECTING, consecutive_5xx=9)))
        assert picked(cluster).keys() == {"b", "c"}
        report = cluster.describe(named(cluster, "a"))
        assert (report.healthy, report.ejections) == (False, 1)
        assert report.reason == "ejected: 1 server errors in a row"


@pytest.mark.parametrize(
    "without",
    [
        lambda config: replace(config, outlier_detection=None),
        lambda config: replace(config, outlier_detection=None, endpoints=(at("b"), at("a"))),
    ],
)
async def test_nobody_stays_ejected_when_detection_is_turned_off(
    without: Callable[[UpstreamConfig], UpstreamConfig],
) -> None:
    config = pool(at("a"), at("b"), outlier_detection=EJECTING)
    async with live(config) as cluster:
        cluster.outliers.record(named(cluster, "a"), Outcome.SERVER_ERROR)
        cluster.reconfigure(without(config))
        assert picked(cluster) == {"a": 50, "b": 50}
        cluster.outliers.record(named(cluster, "a"), Outcome.SERVER_ERROR)
        assert picked(cluster) == {"a": 50, "b": 50}


async def test_a_check_brings_an_ejected_endpoint_back_only_if_all_checks_pass() -> None:
    config = pool(at("a"), at("b"), outlier_detection=EJECTING)
    async with live(replace(config, health_checks=config.health_checks * 2)) as cluster:
        ejected = named(cluster, "a")
        cluster.outliers.record(ejected, Outcome.SERVER_ERROR)
        cluster.record_check(ejected, 1, passed=False, healthy=False, reason="bad")
        cluster.record_check(ejected, 0, passed=True, healthy=True, reason="good")
        assert cluster.outliers.is_ejected(ejected)
        cluster.record_check(ejected, 1, passed=True, healthy=True, reason="good")
        assert not cluster.outliers.is_ejected(ejected)
        assert picked(cluster).keys() == {"a", "b"}


# Settings that cannot be used.


async def test_tls_settings_that_cannot_be_used_change_nothing() -> None:
    config = pool(at("a"), at("b"))
    async with live(config) as cluster:
        connections, endpoints = cluster.connections, cluster.endpoints
        with pytest.raises(ValueError, match="CA certificate"):
            cluster.reconfigure(replace(config, endpoints=(at("c"),), tls=TlsConfig(ca_pem="nothing")))
        assert cluster.config is config
        assert cluster.connections is connections
        assert cluster.endpoints == endpoints
