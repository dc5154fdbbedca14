"""One endpoint of a pool suffers under load: what clients notice, and when the system does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.client import Client, VoidRunError
from tests.benchmarks.comparison import Check
from tests.benchmarks.endpoint_process import EndpointProcess
from tests.benchmarks.open_loop import OpenLoop, Sent, percentile
from tests.benchmarks.pool import Pool
from tests.benchmarks.sufferings import Suffering
from tests.benchmarks.systems import StartSystem, System, all_well
from tests.benchmarks.watch import Watch

RATE = 200.0
"""Requests a second."""
DELAY_S = 0.04
"""How long an endpoint takes to answer while it is well."""

_MOST_SLOWDOWN = 2.0
_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """What one system did. Times in seconds; None where it did not happen. `out_after_s` is from the beginning of the
    fault, `back_after_s` from its end where checks are made, else from the ejection."""

    system: str
    suffering: Suffering
    requests: int
    failures: tuple[str, ...]
    normal_p99_s: float
    fault_p99_s: float
    out_after_s: float | None
    back_after_s: float | None
    wanted_out_s: float

    def checks(self) -> list[Check]:
        """Against the targets."""
        what, interval_s = f"{self.suffering.name}:", self.suffering.interval_s
        wanted_back_s = self.suffering.back_after_s
        bound_s = _MOST_SLOWDOWN * self.normal_p99_s + (self.out_after_s or 0.0)
        return [
            Check(
                what=f"{what} failed requests",
                found=f"{len(self.failures)} of {self.requests:,}",
                wanted="0",
                met=not self.failures,
            ),
            Check(
                what=f"{what} left out after",
                found=seconds(self.out_after_s),
                wanted=f"{self.wanted_out_s:.2f} ± {interval_s:g} s",
                met=_is_within(self.out_after_s, self.wanted_out_s, interval_s),
            ),
            Check(
                what=f"{what} back after",
                found=seconds(self.back_after_s),
                wanted=f"{wanted_back_s:.2f} ± {interval_s:g} s",
                met=_is_within(self.back_after_s, wanted_back_s, interval_s),
            ),
            Check(
                what=f"{what} p99 meanwhile",
                found=f"{1000 * self.fault_p99_s:.0f} ms",
                wanted=f"at most {1000 * bound_s:.0f} ms",
                met=self.fault_p99_s <= bound_s,
            ),
        ]


def seconds(value: float | None) -> str:
    """In words."""
    return "never" if value is None else f"{value:.2f} s"


def _is_within(value: float | None, wanted: float, tolerance: float) -> bool:
    return value is not None and abs(value - wanted) <= tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried out: a suffering, for which pool, and how. All is well for `normal_s` before it; a run in which
    requests were sent later than `most_late_s` says nothing."""

    suffering: Suffering
    addresses: tuple[str, ...]
    victim: EndpointProcess
    normal_s: float
    most_late_s: float

    @property
    def pool(self) -> Pool:
        """The pool that has to bear it."""
        return self.suffering.pool(self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Of the event loop: when the load had settled, and when the fault began and ended."""

    settled: float
    begun: float
    ended: float


async def measure_failover(
    trial: Trial, start: StartSystem, client: Client, *, directory: Path, core: int | None
) -> Failover:
    """Puts the load on a system, then has the victim suffer. Raises `VoidRunError`."""
    async with start(trial.pool, directory, core) as system:
        await all_well(system)
        return await _run(trial, system, client)


async def _run(trial: Trial, system: System, client: Client) -> Failover:
    clock = asyncio.get_running_loop().time
    suffering = trial.suffering
    load = OpenLoop(lambda number: client.ask(system.address), RATE)
    watch = Watch(system, trial.victim.address)
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(load.run())
        tasks.create_task(watch.run())
        await asyncio.sleep(_WARM_UP_S)
        settled = clock()
        await asyncio.sleep(trial.normal_s)
        begun = clock()
        await suffering.suffer(trial.victim, suffering.seconds)
        ended = clock()
        await watch.until_calm(2 * suffering.interval_s, most_s=suffering.back_after_s + 4 * suffering.interval_s)
        load.stop()
        watch.stop()
    return _result(trial, system.name, sending.result(), watch, _Times(settled=settled, begun=begun, ended=ended))


def _result(trial: Trial, system: str, sent: Sequence[Sent], watch: Watch, times: _Times) -> Failover:
    suffering, begun = trial.suffering, times.begun
    normal = [each for each in sent if times.settled <= each.due and each.due + each.took_s < begun]
    meanwhile = [each for each in sent if begun <= each.due < times.ended]
    _check_run(trial, system, sent, normal)
    out, back = watch.changes[:1], watch.changes[-1:] if not watch.is_out else []
    if out and out[0] < begun:
        raise VoidRunError(f"{system} left out an endpoint that was well")
    since = times.ended if suffering.checks else next(iter(out), times.ended)
    return Failover(
        system=system,
        suffering=suffering,
        requests=len(sent),
        failures=tuple(each.fault for each in sent if each.fault is not None),
        normal_p99_s=percentile((each.took_s for each in normal), 99),
        fault_p99_s=percentile((each.took_s for each in meanwhile), 99),
        out_after_s=out[0] - begun if out else None,
        back_after_s=back[0] - since if back else None,
        wanted_out_s=suffering.out_after_s(trial.pool, RATE),
    )


def _check_run(trial: Trial, system: str, sent: Sequence[Sent], normal: Sequence[Sent]) -> None:
    """Raises `VoidRunError` for what does not come of the fault."""
    if (late_s := percentile((each.late_s for each in sent), 99)) > trial.most_late_s:
        raise VoidRunError(f"the load on {system} was not even: requests were sent {late_s:.2f} s late")
    if fault := next((each.fault for each in normal if each.fault is not None), None):
        raise VoidRunError(f"a request to {system} failed before anything suffered: {fault}")
