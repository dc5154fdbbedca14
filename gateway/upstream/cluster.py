"""One upstream, live: its endpoints, its balancer, its connections and its health checks."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from random import Random

from gateway.config.snapshot import UpstreamConfig
from gateway.transport.http import HttpTransport
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.load_balancer import BALANCERS, LoadBalancer

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Cluster:
    """A pool of endpoints that requests are balanced over.

    Made and changed by the cluster manager, used by requests. A change of the configuration keeps the state of every
    endpoint whose address stays, and all connections unless their settings change.
    """

    def __init__(self, config: UpstreamConfig, *, random: Random, now: Clock = utc_now) -> None:
        self.config = config
        self._random = random
        self._now = now
        self.transport = HttpTransport(idle_timeout_s=config.idle_timeout_s)
        self._balancer: LoadBalancer = BALANCERS[config.balancing](config, random)
        self.endpoints: tuple[Endpoint, ...] = ()
        self._usable: Sequence[Endpoint] = ()
        self._set_endpoints(config)

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self.config.name

    def pick(self, exclude: Collection[Endpoint] = ()) -> Endpoint | None:
        """An endpoint for the next attempt, or None if no endpoint takes requests.

        Endpoints in `exclude` are chosen only when nothing else is left: a second try on the same server is better
        than none.
        """
        endpoint = self._balancer.pick(self._usable, exclude)
        if endpoint is None and exclude:
            endpoint = self._balancer.pick(self._usable, ())
        return endpoint

    def health_changed(self) -> None:
        """Takes the endpoints' health into account. To be called after every change of it."""
        serving = [endpoint for endpoint in self.endpoints if endpoint.takes_requests]
        # With no healthy endpoint at all the checks may be wrong, and trying is better than failing for sure.
        self._usable = [endpoint for endpoint in serving if endpoint.is_healthy] or serving

    def reconfigure(self, config: UpstreamConfig) -> HttpTransport | None:
        """Takes a new configuration of the same upstream. Returns the transport that it replaced, if it did, for the
        caller to close once its requests are done."""
        before, self.config = self.config, config
        if (before.balancing, before.choice_count) != (config.balancing, config.choice_count):
            self._balancer = BALANCERS[config.balancing](config, self._random)
        self._set_endpoints(config)
        if before.idle_timeout_s == config.idle_timeout_s:
            return None
        replaced, self.transport = self.transport, HttpTransport(idle_timeout_s=config.idle_timeout_s)
        return replaced

    def _set_endpoints(self, config: UpstreamConfig) -> None:
        known = {endpoint.address: endpoint for endpoint in self.endpoints}
        endpoints = []
        for endpoint_config in config.endpoints:
            endpoint = known.get(endpoint_config.address)
            if endpoint is None:
                endpoint = Endpoint(config=endpoint_config, since=self._now())
            else:
                endpoint.reconfigure(endpoint_config)
            endpoint.keep_checks(len(config.health_checks), self._now())
            endpoints.append(endpoint)
        self.endpoints = tuple(endpoints)
        self.health_changed()
