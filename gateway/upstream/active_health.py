"""Active health checks: each endpoint is asked at its own pace whether it is well."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from gateway.config.upstream import HealthCheckConfig
from gateway.transport.http import TransportError
from gateway.upstream.probes.probe import Probe

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
    """Makes one check of one endpoint again and again, for as long as `run` runs.

    `record` is called with every result: whether it passed, the health that follows, and why.
    """

    def __init__(
        self,
        probe: Probe,
        config: HealthCheckConfig,
        *,
        is_healthy: bool,
        record: Callable[[bool, bool, str], None],
        random: Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._probe = probe
        self._config = config
        self._record = record
        self._random = random
        self._sleep = sleep
        self._tally = HealthTally(config.healthy_threshold, config.unhealthy_threshold, is_healthy)

    async def run(self) -> None:
        """Checks at once, then at the configured interval, until cancelled."""
        config = self._config
        while True:
            fault = await self._ask()
            healthy = self._tally.record(passed=fault is None)
            self._record(fault is None, healthy, self._reason(fault))
            interval = config.interval_s if healthy else config.unhealthy_interval_s
            await self._sleep(interval + self._random.uniform(0, config.jitter_s))

    def _reason(self, fault: str | None) -> str:
        if fault is not None:
            return f"{self._probe.name}: {fault}"
        passed = f"{self._probe.name} passed"
        if self._tally.is_healthy:
            return passed
        return f"{passed} {self._tally.streak} of {self._config.healthy_threshold} times"

    async def _ask(self) -> str | None:
        """One check: None if it passed, else what was wrong."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await self._probe.ask(self._config.timeout_s)
        except TimeoutError:
            return f"no answer within {self._config.timeout_s:g} s"
        except TransportError as error:
            return str(error)
