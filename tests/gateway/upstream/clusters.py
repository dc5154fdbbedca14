"""What tests of clusters have in common: a live pool without the network, and who is picked from it."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from gateway.config.upstream import EndpointConfig, EndpointState, UpstreamConfig
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from tests.gateway.upstream.calls import CHECK, upstream_config

START = datetime(2030, 1, 1, tzinfo=UTC)


class Evenly(Random):
    """No chance at all: what is drawn goes through the hundredths in turn, so that shares of a hundred are exact."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0

    def random(self) -> float:
        self._drawn += 1
        return (self._drawn % 100 + 0.5) / 100


def at(
    address: str, *, priority: int = 0, weight: int = 1, state: EndpointState = EndpointState.ACTIVE
) -> EndpointConfig:
    """An endpoint at `host:port`."""
    return EndpointConfig(address=address, url=f"http://{address}", priority=priority, weight=weight, state=state)


def pool(*endpoints: EndpointConfig, **fields: Any) -> UpstreamConfig:
    """A pool of these endpoints, with one check each."""
    return replace(upstream_config(health_checks=[CHECK]), endpoints=endpoints, **fields)


@asynccontextmanager
async def live(config: UpstreamConfig) -> AsyncIterator[Cluster]:
    """A cluster whose connections are closed in the end."""
    cluster = Cluster(config, random=Evenly(), now=lambda: START)
    try:
        yield cluster
    finally:
        await cluster.connections.close()


def named(cluster: Cluster, address: str) -> Endpoint:
    """The endpoint at that address."""
    return next(endpoint for endpoint in cluster.endpoints if endpoint.address == address)


def mark(cluster: Cluster, *addresses: str, healthy: bool = False) -> None:
    """Has the active check of these endpoints fail, or pass."""
    for address in addresses:
        named(cluster, address).mark(0, healthy=healthy, reason="checked", now=START)
    cluster.health_changed()


def picked(cluster: Cluster, times: int = 100, exclude: Collection[Endpoint] = ()) -> Mapping[str, int]:
    """How often each endpoint is picked."""
    chosen = [cluster.pick(None, exclude) for _ in range(times)]
    return dict(Counter(endpoint.address for endpoint in chosen if endpoint is not None))
