"""One server of a pool, live: its load, its latency and its health."""

from collections.abc import Callable
from datetime import datetime

from yarl import URL

from gateway.config.upstream import EndpointConfig, EndpointState, SlowStartConfig
from gateway.upstream.balancing.latency import PeakEwma
from gateway.upstream.balancing.slow_start import slow_start_factor

_MAX_KNOWN_URLS = 64


class Endpoint:
    """The state of one endpoint. It outlives configuration changes that keep the address.

    `address` names it: as configured, or `ip:port/base` where a resolver found it. `authority` is what it must be
    called by, if connections go to an address that was found for its name. `server_name` is what TLS asks for and wants
    to see; None for the host of the URL. `is_healthy` is what active checks say; `reason` and `since` tell why and
    since when it is so. `clock` is that of the event loop, in seconds.
    """

    __slots__ = (
        "_clock",
        "_faults",
        "_slow_start",
        "_started",
        "_urls",
        "active_requests",
        "address",
        "authority",
        "config",
        "is_healthy",
        "latency",
        "reason",
        "server_name",
        "since",
    )

    def __init__(
        self, config: EndpointConfig, *, since: datetime, clock: Callable[[], float], server_name: str | None = None
    ) -> None:
        self._configure(config, server_name)
        self.since = since
        self.is_healthy = True
        self.reason = "not checked"
        self.active_requests = 0
        self.latency = PeakEwma(clock=clock)
        self._clock = clock
        self._slow_start: SlowStartConfig | None = None
        self._started = 0.0
        self._faults: dict[int, str] = {}
        self._urls: dict[str, URL] = {}

    def __repr__(self) -> str:
        state = "healthy" if self.is_healthy else f"unhealthy: {self.reason}"
        return f"<Endpoint {self.address} {state}, {self.active_requests} active>"

    @property
    def weight(self) -> float:
        """The configured weight, or in slow start the part of it that the endpoint has reached."""
        slow_start = self._slow_start
        if slow_start is None:
            return self.config.weight
        elapsed = self._clock() - self._started
        if elapsed >= slow_start.window_s:
            self._slow_start = None
            return self.config.weight
        return self.config.weight * slow_start_factor(slow_start, elapsed)

    @property
    def takes_requests(self) -> bool:
        """Whether new requests may be sent to it, its health apart."""
        return self.config.state is EndpointState.ACTIVE

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.config.url.startswith("https:")

    @property
    def connect_address(self) -> str:
        """`host:port` to connect to; an IPv6 address is in brackets."""
        host = self.config.resolved_host or self.config.host
        return f"[{host}]:{self.config.port}" if ":" in host else f"{host}:{self.config.port}"

    def url(self, path: str) -> URL:
        """The URL of a path on this endpoint, with the address that was found for its name, if one was.

        Parsed once per path of inference, which are few.
        """
        url = self._urls.get(path)
        if url is None:
            url = self.make_url(path)
            if len(self._urls) < _MAX_KNOWN_URLS:
                self._urls[path] = url
        return url

    def make_url(self, path: str) -> URL:
        """The same, for a path that will hardly come again."""
        url = URL(self.config.url + path, encoded=True)
        return url if self.config.resolved_host is None else url.with_host(self.config.resolved_host)

    def reconfigure(self, config: EndpointConfig, *, server_name: str | None = None) -> None:
        """Takes a new configuration of the same address."""
        if config != self.config:
            self._urls.clear()
        self._configure(config, server_name)

    def _configure(self, config: EndpointConfig, server_name: str | None) -> None:
        self.config = config
        self.address = config.address
        is_found = config.resolved_host is not None
        self.authority = URL(config.url).authority if is_found else None
        if server_name is None and is_found:
            server_name = config.host
        self.server_name = server_name if self.is_secure else None

    def begin_slow_start(self, config: SlowStartConfig | None) -> None:
        """Has its share grow from now on; None gives it the full share at once."""
        self._slow_start = config
        self._started = self._clock()

    def mark(self, check: int, *, healthy: bool, reason: str, now: datetime) -> None:
        """Records what the active check of that number says. The endpoint is healthy while every check passes."""
        if healthy:
            self._faults.pop(check, None)
        else:
            self._faults[check] = reason
        self.reason = next(iter(self._faults.values()), reason)
        self._set_health(not self._faults, now)

    def keep_checks(self, count: int, now: datetime) -> None:
        """Forgets what checks from that number on have said, because they are made no more."""
        self._faults = {number: fault for number, fault in self._faults.items() if number < count}
        if count == 0:
            self.reason = "no health checks configured"
        elif not self._faults and not self.is_healthy:
            self.reason = "the check that failed is no longer made"
        self._set_health(not self._faults, now)

    def _set_health(self, healthy: bool, now: datetime) -> None:
        if healthy != self.is_healthy:
            self.is_healthy = healthy
            self.since = now
