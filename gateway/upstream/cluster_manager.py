"""All clusters of a node: makes, changes and retires them as the configuration says, and runs their health checks."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from random import Random

from gateway.config.resources import EndpointReport
from gateway.config.snapshot import HttpHealthCheck, UpstreamConfig
from gateway.transport.http import HttpTransport
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health_check import HealthChecker

_RETIRE_GRACE_S = 1.0

_CheckKey = tuple[str, str, str, int, HttpHealthCheck]


class ClusterManager:
    """Keeps one `Cluster` per upstream. Changes are synchronous; `run` must be running for checks to be made."""

    def __init__(self, *, random: Random, on_health_change: Callable[[], None] = lambda: None) -> None:
        self._random = random
        self._on_health_change = on_health_change
        self._clusters: dict[str, Cluster] = {}
        self._checkers: dict[_CheckKey, asyncio.Task[None]] = {}
        self._retired: set[HttpTransport] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by upstream name."""
        return self._clusters

    async def run(self) -> None:
        """Makes the health checks until cancelled, then closes all connections."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._reconcile_checkers()
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            self._checkers.clear()
            transports = {cluster.transport for cluster in self._clusters.values()}
            for transport in transports | self._retired:
                await transport.close()

    def reconcile(self, upstreams: Iterable[UpstreamConfig]) -> None:
        """Makes the clusters be as configured. What did not change is not touched."""
        wanted = {upstream.name: upstream for upstream in upstreams}
        for name in self._clusters.keys() - wanted.keys():
            cluster = self._clusters.pop(name)
            self._retire(cluster.transport)
        for name, config in wanted.items():
            known = self._clusters.get(name)
            if known is None:
                self._clusters[name] = Cluster(config, random=self._random)
            elif known.config != config and (replaced := known.reconfigure(config)):
                self._retire(replaced)
        self._reconcile_checkers()

    def report(self) -> list[EndpointReport]:
        """Every endpoint as it is now."""
        return [
            EndpointReport(
                upstream=cluster.name,
                address=endpoint.address,
                healthy=endpoint.is_healthy,
                reason=endpoint.reason,
                since=endpoint.since,
                active_requests=endpoint.active_requests,
            )
            for cluster in self._clusters.values()
            for endpoint in cluster.endpoints
        ]

    def _reconcile_checkers(self) -> None:
        """Starts and stops checkers so that each runs for exactly as long as its endpoint and its check stay."""
        if self._tasks is None:
            return
        wanted: dict[_CheckKey, tuple[Cluster, Endpoint]] = {}
        for cluster in self._clusters.values():
            for endpoint in cluster.endpoints:
                for key in _check_keys(cluster, endpoint):
                    wanted[key] = (cluster, endpoint)
        for key in self._checkers.keys() - wanted.keys():
            self._checkers.pop(key).cancel()
        for key in wanted.keys() - self._checkers.keys():
            cluster, endpoint = wanted[key]
            checker = HealthChecker(
                cluster, endpoint, key[3], key[4], random=self._random, on_change=self._on_health_change
            )
            self._checkers[key] = self._tasks.create_task(checker.run(), name=f"health check {key[0]} {key[1]}")

    def _retire(self, transport: HttpTransport) -> None:
        self._retired.add(transport)
        if self._tasks is not None:
            self._tasks.create_task(self._close_when_idle(transport))

    async def _close_when_idle(self, transport: HttpTransport) -> None:
        """Closes connections once no request can use them. The grace covers requests that were just routed."""
        await asyncio.sleep(_RETIRE_GRACE_S)
        await transport.close_when_idle()
        self._retired.discard(transport)


def _check_keys(cluster: Cluster, endpoint: Endpoint) -> Iterable[_CheckKey]:
    if endpoint.config.state.is_checked:
        for number, check in enumerate(cluster.config.health_checks):
            yield cluster.name, endpoint.address, endpoint.config.url, number, check
