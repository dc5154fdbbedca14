"""One server of a pool, live: its load and its health."""

from dataclasses import dataclass, field
from datetime import datetime

from yarl import URL

from gateway.config.snapshot import EndpointConfig, EndpointState


@dataclass(slots=True, eq=False)
class Endpoint:
    """The state of one endpoint. It outlives configuration changes that keep the address.

    `is_healthy` is what active checks say; `reason` and `since` tell why and since when it is so.
    """

    config: EndpointConfig
    since: datetime
    is_healthy: bool = True
    reason: str = "not checked"
    active_requests: int = 0
    _faults: dict[int, str] = field(default_factory=dict, repr=False)
    _urls: dict[str, URL] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """The address as configured; it names the endpoint."""
        return self.config.address

    @property
    def takes_requests(self) -> bool:
        """Whether new requests may be sent to it, its health apart."""
        return self.config.state is EndpointState.ACTIVE

    def url(self, path: str) -> URL:
        """The URL of a path on this endpoint. Parsed once per path: paths come from a small fixed set."""
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self.config.url + path, encoded=True)
        return url

    def reconfigure(self, config: EndpointConfig) -> None:
        """Takes a new configuration of the same address."""
        if config != self.config:
            self.config = config
            self._urls.clear()

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
