"""All clusters of a node: makes, changes and retires them as configured, and runs what watches over them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from random import Random
from typing import TypeAlias

import structlog

from gateway.config.resources import BreakerReport, CredentialReport, EndpointReport
from gateway.config.upstream import EndpointConfig, HealthCheckConfig, UpstreamConfig
from gateway.upstream.active_health import HealthChecker
from gateway.upstream.cluster import Cluster
from gateway.upstream.connections import Connections
from gateway.upstream.ejection_timer import EjectionTimer
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.probes.table import make_probe
from gateway.upstream.resolver import NameResolver, is_host_name

_RETIRE_GRACE_S = 1.0

# What a watcher is for: as long as that stays, so does the watcher.
_Key: TypeAlias = tuple[object, ...]
_Watcher: TypeAlias = Coroutine[None, None, None]

_log = structlog.get_logger("janua.upstream")


class ClusterManager:
    """Keeps one `Cluster` per upstream. Changes are synchronous; `run` must be running for checks to be made."""

    def __init__(self, *, random: Random, on_health_change: Callable[[], None] = lambda: None) -> None:
        self._random = random
        self._on_health_change = on_health_change
        self._clusters: dict[str, Cluster] = {}
        self._prepared: dict[str, Cluster] = {}
        self._watchers: dict[_Key, asyncio.Task[None]] = {}
        self._retired: set[Connections] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """The clusters by upstream name."""
        return self._clusters

    async def run(self) -> None:
        """Checks, resolves and sweeps until cancelled, then closes all connections."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._reconcile_watchers()
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            self._watchers.clear()
            clusters = (*self._clusters.values(), *self._prepared.values())
            for connections in {cluster.connections for cluster in clusters} | self._retired:
                await connections.close()

    def prepare(self, upstreams: Iterable[UpstreamConfig]) -> Iterator[None]:
        """Makes clusters that are new, each in a step of its own, for `reconcile` to bring into use."""
        for config in upstreams:
            if config.name not in self._clusters and config.name not in self._prepared:
                with suppress(ValueError):  # `reconcile` says so
                    self._prepared[config.name] = self._make(config)
                yield

    def reconcile(self, upstreams: Iterable[UpstreamConfig]) -> None:
        """Makes the clusters be as configured. What did not change is not touched."""
        wanted = {upstream.name: upstream for upstream in upstreams}
        for name in self._clusters.keys() - wanted.keys():
            self._retire(self._clusters.pop(name).connections)
        for name, config in wanted.items():
            known = self._clusters.get(name)
            try:
                self._take(known, config)
            except ValueError as error:
                # A certificate that has gone bad on the disk must not take the rest down with it.
                _log.error("upstream not changed, going on as before", upstream=name, error=str(error))
        for unwanted in self._prepared.values():
            self._retire(unwanted.connections)
        self._prepared.clear()
        self._reconcile_watchers()

    def _take(self, known: Cluster | None, config: UpstreamConfig) -> None:
        if known is None:
            prepared = self._prepared.get(config.name)
            if prepared is not None and prepared.config == config:
                self._clusters[config.name] = self._prepared.pop(config.name)
            else:
                self._clusters[config.name] = self._make(config)
        elif known.config != config and (replaced := known.reconfigure(config)):
            self._retire(replaced)

    def _make(self, config: UpstreamConfig) -> Cluster:
        return Cluster(config, random=self._random, on_change=self._endpoints_changed)

    def report(self) -> list[EndpointReport]:
        """Every endpoint as it is now."""
        return [cluster.describe(endpoint) for cluster in self._clusters.values() for endpoint in cluster.endpoints]

    def report_breakers(self) -> list[BreakerReport]:
        """Every bound of every circuit breaker."""
        return [report for cluster in self._clusters.values() for report in cluster.describe_breaker()]

    def report_credentials(self) -> list[CredentialReport]:
        """Every credential of a pool."""
        return [report for cluster in self._clusters.values() for report in cluster.describe_credentials()]

    def _endpoints_changed(self) -> None:
        self._reconcile_watchers()
        self._on_health_change()

    def _reconcile_watchers(self) -> None:
        """Starts and stops watchers so that each runs for exactly as long as what it watches stays."""
        if self._tasks is None:
            return
        wanted = dict(self._wanted_watchers())
        for key in self._watchers.keys() - wanted.keys():
            self._watchers.pop(key).cancel()
        for key in wanted.keys() - self._watchers.keys():
            self._watchers[key] = self._tasks.create_task(wanted[key](), name=" ".join(map(str, key[:3])))

    def _wanted_watchers(self) -> Iterator[tuple[_Key, Callable[[], _Watcher]]]:
        for cluster in self._clusters.values():
            config = cluster.config
            # Health checks speak over these connections, and watch these very endpoints.
            for endpoint in cluster.endpoints:
                if endpoint.config.state.is_checked:
                    for number, check in enumerate(config.health_checks):
                        check_key: _Key = ("health check", cluster.name, endpoint.address, number, check)
                        start = _checker(cluster, endpoint, number, check, self._random)
                        yield (*check_key, endpoint, endpoint.config.url, cluster.connections), start
            if config.outlier_detection is not None:
                yield ("ejections", cluster.name, cluster), EjectionTimer(cluster.outliers).run
            if config.dns_refresh_s is not None:
                for endpoint_config in config.endpoints:
                    if is_host_name(endpoint_config.host):
                        key: _Key = ("resolver", cluster.name, endpoint_config.address, config.dns_refresh_s, cluster)
                        yield key, _resolver(cluster, endpoint_config, config.dns_refresh_s, self._random)

    def _retire(self, connections: Connections) -> None:
        self._retired.add(connections)
        if self._tasks is not None:
            self._tasks.create_task(self._close_when_idle(connections))

    async def _close_when_idle(self, connections: Connections) -> None:
        """Closes connections once no request can use them. The grace covers requests that were just routed."""
        await asyncio.sleep(_RETIRE_GRACE_S)
        await connections.close_when_idle()
        self._retired.discard(connections)


def _checker(
    cluster: Cluster, endpoint: Endpoint, number: int, config: HealthCheckConfig, random: Random
) -> Callable[[], _Watcher]:
    def record(passed: bool, healthy: bool, reason: str) -> None:
        cluster.record_check(endpoint, number, passed=passed, healthy=healthy, reason=reason)

    def start() -> _Watcher:
        probe = make_probe(config.probe, endpoint, cluster.connections)
        return HealthChecker(probe, config, is_healthy=endpoint.is_healthy, record=record, random=random).run()

    return start


def _resolver(cluster: Cluster, endpoint: EndpointConfig, refresh_s: float, random: Random) -> Callable[[], _Watcher]:
    def start() -> _Watcher:
        return NameResolver(
            endpoint.host,
            endpoint.port,
            refresh_s=refresh_s,
            on_addresses=lambda addresses: cluster.set_addresses(endpoint.address, addresses),
            random=random,
        ).run()

    return start
