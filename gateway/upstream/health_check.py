"""Active health checks: each endpoint is asked at its own pace whether it is well."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from yarl import URL

from gateway.config.snapshot import HttpHealthCheck
from gateway.transport.http import AnswerTooLargeError, TransportError
from gateway.upstream.cluster import Clock, Cluster, utc_now
from gateway.upstream.endpoint import Endpoint

# A check reads no more of the answer than this; the status is what counts.
_MAX_BODY_BYTES = 64 * 1024

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class HealthTally:
    """Counts checks in a row and says when an endpoint changes sides. Pure.

    The first check of an endpoint decides alone.
    """

    healthy_threshold: int
    unhealthy_threshold: int
    is_healthy: bool = True
    is_first: bool = True
    streak: int = 0

    def record(self, *, passed: bool) -> bool:
        """Takes the result of a check and gives the health after it."""
        if self.is_first:
            self.is_first = False
            self.is_healthy = passed
        elif passed == self.is_healthy:
            self.streak = 0
        else:
            self.streak += 1
            if self.streak >= (self.healthy_threshold if passed else self.unhealthy_threshold):
                self.is_healthy = passed
                self.streak = 0
        return self.is_healthy


class HealthChecker:
    """Checks one endpoint of a cluster with one check, for as long as `run` runs.

    `number` tells the endpoint's checks apart. `on_change` is called when the endpoint's health has changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        endpoint: Endpoint,
        number: int,
        check: HttpHealthCheck,
        *,
        random: Random,
        on_change: Callable[[], None] = lambda: None,
        sleep: Sleep = asyncio.sleep,
        now: Clock = utc_now,
    ) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self._number = number
        self._check = check
        self._random = random
        self._on_change = on_change
        self._sleep = sleep
        self._now = now
        origin = URL(endpoint.config.url, encoded=True).origin()
        self._url = URL(f"{origin}{check.path}", encoded=True)
        self._tally = HealthTally(check.healthy_threshold, check.unhealthy_threshold, endpoint.is_healthy)

    async def run(self) -> None:
        """Checks at once, then at the configured interval, until cancelled."""
        while True:
            fault = await self._ask()
            self._record(fault)
            check = self._check
            interval = check.interval_s if self._endpoint.is_healthy else check.unhealthy_interval_s
            await self._sleep(interval + self._random.uniform(0, check.jitter_s))

    def _record(self, fault: str | None) -> None:
        was_healthy = self._endpoint.is_healthy
        healthy = self._tally.record(passed=fault is None)
        self._endpoint.mark(self._number, healthy=healthy, reason=fault or self._passed(), now=self._now())
        if self._endpoint.is_healthy != was_healthy:
            self._cluster.health_changed()
            self._on_change()

    def _passed(self) -> str:
        passed = f"{self._check.method} {self._check.path} passed"
        if self._tally.is_healthy:
            return passed
        return f"{passed} {self._tally.streak} of {self._check.healthy_threshold} times"

    async def _ask(self) -> str | None:
        """One check: None if it passed, else what was wrong."""
        check = self._check
        what = f"{check.method} {check.path}"
        try:
            async with asyncio.timeout(check.timeout_s):
                status = await self._status()
        except TimeoutError:
            return f"{what}: no answer within {check.timeout_s:g} s"
        except TransportError as error:
            return f"{what}: {error}"
        if any(start <= status <= end for start, end in check.statuses):
            return None
        return f"{what}: status {status}"

    async def _status(self) -> int:
        headers = [("host", self._check.host)] if self._check.host else []
        headers.append(("user-agent", "janua-health-check"))
        response = await self._cluster.transport.send(
            self._check.method, self._url, headers=headers, body=None, connect_timeout_s=self._check.timeout_s
        )
        try:
            await response.read_all(_MAX_BODY_BYTES)
        except AnswerTooLargeError:
            pass  # its status is there
        finally:
            response.close()
        return response.status
