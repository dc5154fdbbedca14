"""A node with API keys before a mock upstream, against the floor: a bare ASGI relay on Hypercorn. Ratios within one
run are what counts; a machine's absolute figures say little. Usage: `make bench`, or with ARGS="--json FILE".

Exit code 1 when a target is missed, or when a request failed, which makes the run void.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from janua_client.processes import ChildError
from rich.console import Console
from rich.table import Table

from tests.benchmarks.comparison import Check, Comparison, Memory, check
from tests.benchmarks.mock_upstream import MODEL, STREAMED_CHUNKS
from tests.benchmarks.procfs import resident_bytes
from tests.benchmarks.rig import Load, Rig, Sample, running_rig

_UNARY = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 900}]}
_STREAM = {**_UNARY, "stream": True}
_PACED = {**_STREAM, "user": "paced"}


async def compare(rig: Rig, load: Load, rounds: int) -> Comparison:
    """Measures floor and node in turn, each first every other round, so that neither has the quieter machine."""
    floor: list[Sample] = []
    node: list[Sample] = []
    for number in range(rounds):
        turns = [(rig.floor, floor), (rig.node, node)]
        for target, samples in turns if number % 2 == 0 else reversed(turns):
            samples.append(await rig.measure(target, load))
    return Comparison(load=load, floor=tuple(floor), node=tuple(node))


async def watch_memory(rig: Rig, requests: int) -> Memory:
    """Ten equal runs on the node, its memory looked at after each."""
    load = Load(name="memory", body=_UNARY, requests=requests // 10)
    seen = []
    for _ in range(10):
        await rig.measure(rig.node, load)
        seen.append(resident_bytes(rig.node.pid))
    return Memory(requests=requests, seen=tuple(seen))


async def bench(args: argparse.Namespace, console: Console) -> bool:
    """Runs the benchmark and returns whether every target is met. Raises `ChildError` if a request fails."""
    with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
        async with running_rig(Path(directory)) as rig:
            for target in (rig.floor, rig.node):
                await rig.measure(target, Load(name="warm-up", body=_UNARY, requests=1000))
            comparisons = []
            for load in loads(args.requests):
                console.print(f"{load.name}: {args.rounds} rounds of {load.requests:,} requests on each")
                comparisons.append(await compare(rig, load, args.rounds))
            console.print(f"memory: {args.memory_requests:,} requests")
            memory = await watch_memory(rig, args.memory_requests)
    checks = check(comparisons, memory)
    print_report(console, comparisons, checks)
    if args.json is not None:
        args.json.write_text(as_json(comparisons, memory, checks))
    return all(each.met for each in checks)


def loads(requests: int) -> Sequence[Load]:
    """What is measured. A stream comes in one piece, as from a model that is faster than the gateway, or paced."""
    streams = max(1, requests // 5)
    return (
        Load(name="unary 1 KB", body=_UNARY, requests=requests),
        Load(name=f"stream of {STREAMED_CHUNKS}", body=_STREAM, requests=streams),
        Load(name=f"paced stream of {STREAMED_CHUNKS}", body=_PACED, requests=streams),
    )


def print_report(console: Console, comparisons: Sequence[Comparison], checks: Sequence[Check]) -> None:
    """Two tables: what was measured, and the targets."""
    measured = Table("load", "unit", "floor", "node", "ratio", "floor CPU", "node CPU", "CPU ratio")
    for each in comparisons:
        rates = (f"{each.floor_rate:,.0f}", f"{each.node_rate:,.0f}", f"{each.ratio:.2f}")
        cpu = (f"{each.floor_cpu_us:.0f} µs", f"{each.node_cpu_us:.0f} µs", f"{each.cpu_ratio:.2f}")
        measured.add_row(each.load.name, each.load.unit, *rates, *cpu)
    targets = Table("target", "found", "wanted", "")
    for found in checks:
        targets.add_row(found.what, found.found, found.wanted, "met" if found.met else "[red]MISSED[/red]")
    console.print(measured, targets)


def as_json(comparisons: Sequence[Comparison], memory: Memory, checks: Sequence[Check]) -> str:
    """Everything that was measured."""
    figures = [{**asdict(each), "ratio": each.ratio, "cpu_ratio": each.cpu_ratio} for each in comparisons]
    return json.dumps(
        {"comparisons": figures, "memory": asdict(memory), "checks": [asdict(each) for each in checks]}, indent=2
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A node against a bare relay, and its memory.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6_000, help="in a round; a fifth of it for streams")
    parser.add_argument("--memory-requests", type=int, default=200_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    args = parser.parse_args()
    try:
        met = asyncio.run(bench(args, Console(width=None if sys.stdout.isatty() else 120)))
    except ChildError as error:
        sys.exit("\n".join([*error.__notes__, str(error)]))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
