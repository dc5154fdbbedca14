"""Upstream services beside a real Envoy: the shares of the endpoints, failover, and changes of the configuration.

Usage: `python -m tests.benchmarks.bench_upstreams [--shares] [--failover] [--flips] [--short] [--json FILE]`; without a
part, all of them. Exit code 1 when Janua misses a target, or when something else went wrong, which makes the run void.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from janua_client.processes import ChildError
from rich.console import Console

from tests.benchmarks.client import Client, VoidRunError, open_client
from tests.benchmarks.cores import leave_a_core
from tests.benchmarks.endpoint_process import running_endpoints
from tests.benchmarks.failover import DELAY_S, RATE, Failover, Trial, measure_failover
from tests.benchmarks.flips import ENDPOINTS as FLIPPED_ENDPOINTS
from tests.benchmarks.flips import Flips, measure_flips
from tests.benchmarks.shares import CASES, Shares, compare_shares
from tests.benchmarks.sufferings import SUFFERINGS
from tests.benchmarks.systems import running_envoy, running_janua
from tests.benchmarks.upstreams_report import Report
from tests.support.components import find_program

_POOL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    requests: int
    cases: int
    normal_s: float
    most_late_s: float
    sufferings: tuple[str, ...]
    flips: int


FULL = Size(
    requests=20_000,
    cases=len(CASES),
    normal_s=3.0,
    most_late_s=0.1,
    sufferings=tuple(each.name for each in SUFFERINGS),
    flips=100,
)
SHORT = Size(requests=400, cases=1, normal_s=0.6, most_late_s=5.0, sufferings=("reset",), flips=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the measuring is done, and with what."""

    client: Client
    directory: Path
    core: int | None
    console: Console


async def bench_shares(place: Place, size: Size) -> list[Shares]:
    """Every case on both systems."""
    found = []
    async with running_endpoints(_POOL) as endpoints:
        for case in CASES[: size.cases]:
            place.console.print(f"{case.what}: {size.requests:,} requests on each")
            shares = await compare_shares(
                case,
                endpoints,
                requests=size.requests,
                directory=place.directory,
                core=place.core,
            )
            found.append(shares)
    return found


async def bench_failover(place: Place, size: Size) -> list[Failover]:
    """Every way to suffer on both systems; each endpoint's turn comes."""
    found = []
    async with running_endpoints(_POOL, delay_s=DELAY_S) as endpoints:
        for number, suffering in enumerate(each for each in SUFFERINGS if each.name in size.sufferings):
            place.console.print(f"{suffering.name}: {RATE:g} requests a second on each")
            trial = Trial(
                suffering=suffering,
                addresses=tuple(endpoint.address for endpoint in endpoints),
                victim=endpoints[number % _POOL],
                normal_s=size.normal_s,
                most_late_s=size.most_late_s,
            )
            found += [
                await measure_failover(trial, start, place.client, directory=place.directory, core=place.core)
                for start in (running_janua, running_envoy)
            ]
    return found


async def bench_flips(place: Place, size: Size) -> Flips:
    """Changes of the configuration."""
    place.console.print(f"{size.flips} config flips")
    async with running_endpoints(FLIPPED_ENDPOINTS, delay_s=DELAY_S) as endpoints:
        return await measure_flips(
            endpoints, place.client, flips=size.flips, directory=place.directory, core=place.core
        )


async def bench(args: argparse.Namespace, console: Console) -> bool:
    """Measures, prints, and returns whether every target is met. Raises `VoidRunError` and `ChildError`."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    size = SHORT if args.short else FULL
    is_all = not (args.shares or args.failover or args.flips)
    core = leave_a_core()
    with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
        async with open_client() as client:
            place = Place(client=client, directory=Path(directory), core=core, console=console)
            report = Report(
                shares=tuple(await bench_shares(place, size)) if args.shares or is_all else (),
                failovers=tuple(await bench_failover(place, size)) if args.failover or is_all else (),
                flips=await bench_flips(place, size) if args.flips or is_all else None,
            )
    console.print(*report.tables())
    if args.json is not None:
        args.json.write_text(report.as_json())
    return all(check.met for check in report.checks())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Upstream services beside a real Envoy.")
    parser.add_argument("--shares", action="store_true", help="the shares of the endpoints, per policy")
    parser.add_argument("--failover", action="store_true", help="what happens when an endpoint suffers")
    parser.add_argument("--flips", action="store_true", help="changes of the configuration under load")
    parser.add_argument("--short", action="store_true", help="so little of each that the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    args = parser.parse_args()
    if find_program("envoy") is None:
        sys.exit("Envoy is not installed: make components")
    try:
        is_met = asyncio.run(bench(args, Console(width=None if sys.stdout.isatty() else 120)))
    except (VoidRunError, ChildError, ExceptionGroup) as error:
        sys.exit(f"the run is void: {_cause(error)}")
    sys.exit(0 if is_met else 1)


def _cause(error: Exception) -> str:
    """The first of what went wrong at once."""
    if isinstance(error, ExceptionGroup):
        return _cause(error.exceptions[0])
    return str(error) if isinstance(error, (VoidRunError, ChildError)) else repr(error)


if __name__ == "__main__":
    main()
