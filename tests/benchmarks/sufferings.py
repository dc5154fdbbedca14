"""How an endpoint can suffer, and what is configured to notice it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.benchmarks.endpoint_process import EndpointProcess
from tests.benchmarks.fault_endpoint import Mode
from tests.benchmarks.pool import Checks, Outliers, Pool

Suffer = Callable[[EndpointProcess, float], Awaitable[None]]
"""Makes an endpoint suffer for so many seconds; returns once it is well again."""

CHECKS = Checks()
OUTLIERS = Outliers()
_FLAPS = 3


async def killed(endpoint: EndpointProcess, seconds: float) -> None:
    """SIGKILL, and later started again on its port."""
    await endpoint.kill()
    await asyncio.sleep(seconds)
    await endpoint.restart()


async def stopped(endpoint: EndpointProcess, seconds: float) -> None:
    """SIGSTOP, and later SIGCONT."""
    endpoint.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        endpoint.thaw()


def in_mode(mode: Mode) -> Suffer:
    """Does this to every request."""

    async def suffer(endpoint: EndpointProcess, seconds: float) -> None:
        await endpoint.turn(mode)
        await asyncio.sleep(seconds)
        await endpoint.turn(Mode.WELL)

    return suffer


async def flapping(endpoint: EndpointProcess, seconds: float) -> None:
    """Answers 503, is well, and so on in turn."""
    part_s = seconds / (2 * _FLAPS - 1)
    for number in range(_FLAPS):
        if number:
            await asyncio.sleep(part_s)
        await endpoint.turn(Mode.UNAVAILABLE)
        await asyncio.sleep(part_s)
        await endpoint.turn(Mode.WELL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffering:
    """One way to suffer, for how long in seconds, and what notices it. A silent fault shows only when a try, or a
    check, has waited as long as it may."""

    name: str
    suffer: Suffer
    seconds: float
    checks: Checks | None = None
    outliers: Outliers | None = None
    is_silent: bool = False

    def pool(self, addresses: tuple[str, ...]) -> Pool:
        """The pool that has to bear it."""
        return Pool(addresses=addresses, checks=self.checks, outliers=self.outliers)

    @property
    def noticed_by(self) -> str:
        """In words."""
        return " + ".join([*["checks"] * bool(self.checks), *["outliers"] * bool(self.outliers)])

    def out_after_s(self, pool: Pool, rate: float) -> float:
        """How long after the beginning of the fault the configuration says that the endpoint is left out, at so many
        requests a second to the pool: the sooner of what is configured."""
        times = []
        if (outliers := self.outliers) is not None:
            wait_s = pool.per_try_s or 0.0 if self.is_silent else 0.0
            times.append(outliers.consecutive * len(pool.addresses) / rate + wait_s)
        if (checks := self.checks) is not None:
            wait_s = checks.timeout_s if self.is_silent else 0.0
            times.append(checks.unhealthy_threshold * wait_s + (checks.unhealthy_threshold - 1) * checks.interval_s)
        return min(times)

    @property
    def back_after_s(self) -> float:
        """When it is used again: with checks, from the end of the fault; without, from its ejection."""
        if self.checks is not None:
            return self.checks.healthy_threshold * self.checks.interval_s
        assert self.outliers is not None
        return self.outliers.base_ejection_s

    @property
    def interval_s(self) -> float:
        """By how much both may differ: checks and sweeps are made so often."""
        settings = self.checks or self.outliers
        assert settings is not None
        return settings.interval_s


SUFFERINGS = (
    Suffering(name="kill", suffer=killed, seconds=2.0, checks=CHECKS),
    Suffering(name="stop", suffer=stopped, seconds=2.0, checks=CHECKS, outliers=OUTLIERS, is_silent=True),
    Suffering(
        name="slow to 10x",
        suffer=in_mode(Mode.SLOW),
        seconds=2.0,
        checks=CHECKS,
        outliers=OUTLIERS,
        is_silent=True,
    ),
    # Shorter than an ejection, so that its end is seen and not that of the next.
    Suffering(name="503 storm", suffer=in_mode(Mode.UNAVAILABLE), seconds=1.5, outliers=OUTLIERS),
    Suffering(name="reset", suffer=in_mode(Mode.RESET), seconds=1.5, outliers=OUTLIERS),
    Suffering(name="flapping", suffer=flapping, seconds=3.0, checks=CHECKS, outliers=OUTLIERS),
)
