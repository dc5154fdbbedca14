"""One upstream, live: its endpoints in their levels, its balancers, its connections, and what keeps it from harm."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from urllib.parse import urlsplit

from gateway.config.resources import BreakerReport, CredentialReport, EndpointReport
from gateway.config.upstream import (
    BalancingPolicy,
    BreakerConfig,
    EndpointConfig,
    OutlierConfig,
    UpstreamConfig,
    UpstreamProtocol,
)
from gateway.upstream.balancing.load_balancer import BALANCERS, LoadBalancer
from gateway.upstream.balancing.priority import LevelHealth, PriorityChoice, level_loads
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.connections import Connections
from gateway.upstream.credential_pool import CredentialPool
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.outlier_detection import OutlierDetector
from gateway.upstream.resolver import is_host_name

Clock = Callable[[], datetime]

_NO_OUTLIERS = OutlierConfig(consecutive_5xx=0, consecutive_gateway_failure=0, consecutive_local_origin_failure=0)
_HASHING = frozenset({BalancingPolicy.RING_HASH, BalancingPolicy.MAGLEV, BalancingPolicy.PREFIX_AFFINITY})


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Level:
    """The endpoints of one priority that the configuration lets take requests, and the balancer among the usable."""

    balancer: LoadBalancer[Endpoint]
    members: list[Endpoint] = field(default_factory=list)
    usable: Sequence[Endpoint] = ()


class Cluster:
    """A pool of endpoints that requests are balanced over.

    Made and changed by the cluster manager, used by requests. A change of the configuration keeps the state of every
    endpoint whose address stays, and all connections unless their settings change. `on_change` is called when an
    endpoint's health or ejection has changed.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        random: Random,
        now: Clock = utc_now,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._random = random
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._on_change = on_change
        self.connections = Connections(config)
        self.breaker = CircuitBreaker(_breaker_config(config))
        self.outliers: OutlierDetector[Endpoint] = OutlierDetector(
            config.outlier_detection or _NO_OUTLIERS,
            clock=self._clock,
            now=self._now,
            on_change=self._ejections_changed,
        )
        self.credentials: CredentialPool | None = None
        self._set_credentials()
        self.endpoints: tuple[Endpoint, ...] = ()
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._levels: dict[int, _Level] = {}
        self._well: set[Endpoint] = set()
        self._choice = PriorityChoice(self._random)
        self._set_endpoints()

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self.config.name

    @property
    def wants_key(self) -> bool:
        """Whether `pick` cares which requests belong together."""
        return self.config.balancing.policy in _HASHING

    @property
    def is_live(self) -> bool:
        """Whether there is an endpoint that is thought to be well, and a credential for it if it needs one."""
        if self.credentials is not None and not self.credentials.has_fresh:
            return False
        return any(self.is_well(endpoint) for level in self._levels.values() for endpoint in level.members)

    def is_well(self, endpoint: Endpoint) -> bool:
        """Whether health checks and outlier detection have nothing against the endpoint."""
        return endpoint.is_healthy and not self.outliers.is_ejected(endpoint)

    def pick(self, key: int | None = None, exclude: Collection[Endpoint] = ()) -> Endpoint | None:
        """An endpoint for the next attempt, or None if no endpoint takes requests.

        Endpoints in `exclude` are chosen only when nothing else is left: a second try on the same server is better
        than none.
        """
        if not self._levels:
            return None
        limit = self.config.max_connections_per_endpoint
        if limit is not None:
            full = {endpoint for endpoint in self.endpoints if endpoint.active_requests >= limit}
            return self._pick(key, full.union(exclude)) or self._pick(key, full)
        return self._pick(key, exclude) or (self._pick(key, ()) if exclude else None)

    def _pick(self, key: int | None, exclude: Collection[Endpoint]) -> Endpoint | None:
        """An endpoint of the level whose turn it is, or of the first other level that has one."""
        level = self._levels[self._choice.choose(key)]
        if (endpoint := level.balancer.pick(key, exclude)) is not None:
            return endpoint
        others = (other.balancer.pick(key, exclude) for other in self._levels.values() if other is not level)
        return next((endpoint for endpoint in others if endpoint is not None), None)

    def has_other(self, tried: Collection[Endpoint]) -> bool:
        """Whether an endpoint can be picked that has not been tried."""
        return any(endpoint not in tried for level in self._levels.values() for endpoint in level.usable)

    def record_check(self, endpoint: Endpoint, check: int, *, passed: bool, healthy: bool, reason: str) -> None:
        """Takes what the active check of that number has found, and the health that follows from it."""
        was_healthy = endpoint.is_healthy
        endpoint.mark(check, healthy=healthy, reason=reason, now=self._now())
        if passed and endpoint.is_healthy:
            self.outliers.unmark(endpoint)
        if endpoint.is_healthy != was_healthy:
            self.health_changed()
            self._on_change()

    def describe(self, endpoint: Endpoint) -> EndpointReport:
        """How an endpoint of this pool is now."""
        ejection = self.outliers.state(endpoint)
        until = ejection.ejected_until
        return EndpointReport(
            upstream=self.name,
            address=endpoint.address,
            healthy=self.is_well(endpoint),
            reason=endpoint.reason if until is None or not endpoint.is_healthy else ejection.reason,
            since=max(endpoint.since, ejection.since or endpoint.since),
            active_requests=endpoint.active_requests,
            state=endpoint.config.state,
            priority=endpoint.config.priority,
            latency_s=endpoint.latency.last if endpoint.latency.is_known else None,
            ejections=ejection.ejections,
            ejected_until=None if until is None else self._now() + timedelta(seconds=until - self._clock()),
        )

    def describe_breaker(self) -> Iterator[BreakerReport]:
        """Which bounds of the circuit breaker are reached."""
        for kind, is_open in (
            ("requests", self.breaker.is_full),
            ("pending", self.breaker.refuses),
            ("retries", not self.breaker.allows_retry),
        ):
            yield BreakerReport(upstream=self.name, kind=kind, is_open=is_open)

    def describe_credentials(self) -> Sequence[CredentialReport]:
        """How the credentials are that attempts choose from."""
        return self.credentials.describe(self.name) if self.credentials is not None else ()

    def health_changed(self) -> None:
        """Takes the endpoints' health into account. To be called after every change of it."""
        balancing = self.config.balancing
        levels = list(self._levels.items())
        well = {number: [each for each in level.members if self.is_well(each)] for number, level in levels}
        self._begin_slow_starts({endpoint for group in well.values() for endpoint in group})
        if not levels:
            return
        loads = level_loads(
            [LevelHealth(number, len(well[number]), len(level.members)) for number, level in levels],
            overprovisioning_factor=balancing.overprovisioning_factor,
            panic_threshold=balancing.panic_threshold,
        )
        self._choice.update(loads)
        in_panic = {load.number for load in loads if load.in_panic}
        for number, level in levels:
            # With hardly any healthy endpoint the checks may be wrong, and trying is better than failing for sure.
            level.usable = level.members if number in in_panic else well[number]
            level.balancer.update(level.usable)

    def _begin_slow_starts(self, well: set[Endpoint]) -> None:
        """Has those that have just become well begin with a part of their share. Who is not well has the whole of it:
        in a panic the others need relief."""
        slow_start = self.config.balancing.slow_start
        for endpoint in self.endpoints:
            if slow_start is None or endpoint not in well:
                endpoint.begin_slow_start(None)
            elif endpoint not in self._well:
                endpoint.begin_slow_start(slow_start)
        self._well = well

    def reconfigure(self, config: UpstreamConfig) -> Connections | None:
        """Takes a new configuration of the same upstream. Returns the connections that it replaced, if it did, for the
        caller to close once their requests are done. Raises `ValueError`, and changes nothing, for TLS settings that
        cannot be used."""
        fresh = None if self.connections.suit(config) else Connections(config)
        before, self.config = self.config, config
        if before.balancing != config.balancing:
            self._levels.clear()
        self.breaker.reconfigure(_breaker_config(config))
        self.outliers.reconfigure(config.outlier_detection or _NO_OUTLIERS)
        if config.outlier_detection is None:
            self.outliers.forget()
        self._set_credentials()
        self._set_endpoints()
        if fresh is None:
            return None
        replaced, self.connections = self.connections, fresh
        return replaced

    def _set_credentials(self) -> None:
        configs = self.config.credentials
        if self.credentials is not None and configs:
            self.credentials.reconfigure(configs)
        else:
            self.credentials = (
                CredentialPool(configs, random=self._random, clock=self._clock, now=self._now) if configs else None
            )

    def set_addresses(self, address: str, ips: tuple[str, ...]) -> None:
        """Takes what a resolver found for the host name in a configured address."""
        if self._addresses.get(address) != ips:
            self._addresses[address] = ips
            self._set_endpoints()
            self._on_change()

    def _set_endpoints(self) -> None:
        known = {endpoint.address: endpoint for endpoint in self.endpoints}
        endpoints: dict[str, Endpoint] = {}
        server_name = self.config.tls.server_name if self.config.tls else None
        for config in self._resolved_endpoints():
            endpoint = known.get(config.address)
            if endpoint is None:
                endpoint = Endpoint(config, since=self._now(), clock=self._clock, server_name=server_name)
            else:
                endpoint.reconfigure(config, server_name=server_name)
            endpoint.keep_checks(len(self.config.health_checks), self._now())
            endpoints[config.address] = endpoint
        self.endpoints = tuple(endpoints.values())
        self.outliers.set_hosts(self.endpoints)
        self._set_levels()
        self.health_changed()

    def _set_levels(self) -> None:
        members: dict[int, list[Endpoint]] = {}
        for endpoint in self.endpoints:
            if endpoint.takes_requests:
                members.setdefault(endpoint.config.priority, []).append(endpoint)
        levels: dict[int, _Level] = {}
        for number in sorted(members):
            level = self._levels.get(number) or _Level(self._make_balancer())
            level.members = members[number]
            levels[number] = level
        self._levels = levels

    def _make_balancer(self) -> LoadBalancer[Endpoint]:
        balancing = self.config.balancing
        return BALANCERS[balancing.policy](balancing, self._random)

    def _resolved_endpoints(self) -> Iterator[EndpointConfig]:
        """The configured endpoints, those with a host name once per address that was found for it."""
        for config in self.config.endpoints:
            if self.config.dns_refresh_s is None or not is_host_name(config.host):
                yield config
                continue
            for ip in self._addresses.get(config.address, ()):
                authority = f"[{ip}]" if ":" in ip else ip
                base_path = urlsplit(config.url).path
                yield replace(config, address=f"{authority}:{config.port}{base_path}", resolved_host=ip)

    def _ejections_changed(self) -> None:
        self.health_changed()
        self._on_change()


def _breaker_config(config: UpstreamConfig) -> BreakerConfig:
    """The bounds of requests. A bound of connections is one only where each request takes a connection."""
    if config.protocol is UpstreamProtocol.HTTP1:
        return config.circuit_breakers
    return replace(config.circuit_breakers, max_connections=None)
