"""Measures the config server: large and small Applies, a fleet's syncs and rest, the way of a change to the last node.

Run as `python -m tests.benchmarks.bench_config`. The server and the nodes are processes of their own. Exits with 1 if a
target is missed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import click
from rich.console import Console
from rich.table import Table

from tests.benchmarks.config_rows import Bench, Figure
from tests.benchmarks.cores import leave_a_core
from tests.benchmarks.replica_rows import ReplicaBench
from tests.support.components import COMPONENTS

_QUICK = {"nodes": 20, "cold_nodes": 5, "resources": 1000, "changes": 10, "seconds": 0.5, "idle_seconds": 1.0}


async def figures(
    core: int | None, *, nodes: int, cold_nodes: int, resources: int, changes: int, seconds: float, idle_seconds: float
) -> AsyncIterator[Figure]:
    """All rows, one after the other; those of several servers only where there is a PostgreSQL."""
    bench = Bench(core)
    yield await bench.large_apply(resources)
    yield await bench.small_applies(1000, seconds)
    async for figure in bench.small_world(nodes=nodes, resources=100, changes=changes, idle_s=idle_seconds):
        yield figure
    yield await bench.cold_sync(nodes=cold_nodes, resources=resources)
    async for figure in bench.large_world(nodes=nodes, resources=resources):
        yield figure
    if COMPONENTS["postgres"].missing() is None:
        replicas = ReplicaBench(bench, core)
        async for figure in replicas.small_applies(1000, seconds):
            yield figure
        async for figure in replicas.failover(nodes=nodes, resources=100, most_s=5):
            yield figure
        async for figure in replicas.failover(nodes=nodes, resources=resources, most_s=None):
            yield figure


async def measure(console: Console, **sizes: float) -> list[Figure]:
    found = []
    async for figure in figures(leave_a_core(), **sizes):  # type: ignore[arg-type]
        console.print(f"{figure.what}: {figure.value:.4g} {figure.unit}", highlight=False)
        found.append(figure)
    return found


@click.command(context_settings={"show_default": True})
@click.option("--nodes", type=click.IntRange(min=2), default=1000, help="Discovery clients.")
@click.option("--cold-nodes", type=click.IntRange(min=1), default=100, help="Those that are sent all resources.")
@click.option("--resources", type=click.IntRange(min=100, max=10_000), default=10_000, help="Of a large configuration.")
@click.option("--changes", type=click.IntRange(min=2), default=100, help="Single changes that are followed.")
@click.option("--seconds", type=float, default=3.0, help="How long small Applies are made.")
@click.option("--idle-seconds", type=float, default=20.0, help="How long the fleet's rest is watched.")
@click.option("--quick", is_flag=True, help="A small fleet; missed times do not count.")
def main(*, quick: bool, **sizes: float) -> None:
    """Measure the config server against its targets."""
    console = Console(stderr=True)
    found = asyncio.run(measure(console, **(_QUICK if quick else sizes)))
    table = Table("what", "measured", "target", "")
    for figure in found:
        verdict = {None: "", True: "met", False: "MISSED"}[figure.is_met]
        table.add_row(figure.what, f"{figure.value:.4g} {figure.unit}", figure.target, verdict)
    Console().print(table)
    sys.exit(int(any(figure.is_met is False for figure in found if figure.is_steady or not quick)))


if __name__ == "__main__":
    main()
