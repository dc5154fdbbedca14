"""What an attempt holds is given back once, however often it is closed."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.config.upstream import BreakerConfig, OutlierConfig
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from tests.gateway.upstream.calls import InOrder, upstream_config


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    config = replace(
        upstream_config("e0", "e1"),
        circuit_breakers=BreakerConfig(max_requests=2),
        outlier_detection=OutlierConfig(
            consecutive_5xx=0, consecutive_gateway_failure=0, consecutive_local_origin_failure=2
        ),
    )
    made = Cluster(config, random=InOrder())
    yield made
    await made.connections.close()


def lease(cluster: Cluster, number: int = 0) -> Lease:
    assert cluster.breaker.try_acquire()
    return Lease(cluster, cluster.endpoints[number])


async def test_an_attempt_counts_at_its_endpoint_and_in_the_breaker_until_it_is_closed(cluster: Cluster) -> None:
    first, second = lease(cluster), lease(cluster)
    assert (cluster.endpoints[0].active_requests, cluster.breaker.active) == (2, 2)
    first.close()
    assert (cluster.endpoints[0].active_requests, cluster.breaker.active) == (1, 1)
    second.close()
    assert (cluster.endpoints[0].active_requests, cluster.breaker.active) == (0, 0)


async def test_closing_twice_gives_back_once(cluster: Cluster) -> None:
    kept, closed = lease(cluster), lease(cluster)
    closed.close()
    closed.close()
    assert (cluster.endpoints[0].active_requests, cluster.breaker.active) == (1, 1)
    kept.close()


async def test_an_endpoint_that_leaves_the_pool_still_gets_its_place_back(cluster: Cluster) -> None:
    left, stays = cluster.endpoints
    held = lease(cluster)
    cluster.reconfigure(replace(cluster.config, endpoints=(stays.config,)))
    held.broke()
    held.close()
    assert (left.active_requests, cluster.breaker.active) == (0, 0)
    assert not cluster.outliers.is_ejected(stays)


async def test_an_endpoint_that_breaks_off_its_answers_is_ejected(cluster: Cluster) -> None:
    first, second = lease(cluster), lease(cluster)
    first.broke()
    assert not cluster.outliers.is_ejected(cluster.endpoints[0])
    second.broke()
    assert cluster.outliers.is_ejected(cluster.endpoints[0])
    assert cluster.pick() is cluster.endpoints[1]
    first.close()
    second.close()
