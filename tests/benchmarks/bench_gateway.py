"""A node with API keys before a mock upstream, against the floor: a bare ASGI relay on the same server. Ratios within
one run are what counts; a machine's absolute figures say little. Usage: `make bench`, or with ARGS="--json FILE", and
with ARGS="--server granian" for the other server and its targets.

`--only PART,…` measures other parts, `--all` every one, with Envoy beside them if it is installed: see `PARTS`. Exit
code 1 when a target is missed, or when a request failed, which makes the run void.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from janua_client.processes import ChildError
from rich.console import Console
from rich.table import Table

from tests.benchmarks.comparison import Check, Comparison, Memory, check
from tests.benchmarks.gateway_parts import PACED, STREAM, UNARY, Bench, Size
from tests.benchmarks.gateway_rows import REFERENCE_RELAY_US, Row, markdown_of, table_of
from tests.benchmarks.gateway_size import SMALL_WORLD, SizeBench, World
from tests.benchmarks.mock_upstream import STREAMED_CHUNKS
from tests.benchmarks.procfs import resident_bytes
from tests.benchmarks.rig import Load, Rig, Sample, running_rig
from tests.support.components import find_program

RELAY, MEMORY, SIZE = "relay", "memory", "size"
PARTS: Mapping[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "http": Bench.http,
    "paced": Bench.paced,
    "latency": Bench.latency,
    "cache": Bench.cache,
    "dialects": Bench.dialects,
    "grpc": Bench.grpc,
    "start": Bench.start,
}
EVERY_PART = (RELAY, MEMORY, *PARTS, SIZE)
USUAL_PARTS = (RELAY, MEMORY)


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
    load = Load(name="memory", body=UNARY, requests=requests // 10)
    seen = []
    for _ in range(10):
        await rig.measure(rig.node, load)
        seen.append(resident_bytes(rig.node.pid))
    return Memory(requests=requests, seen=tuple(seen))


async def bench(args: argparse.Namespace, console: Console) -> bool:
    """Runs the benchmark and returns whether every target is met. Raises `ChildError` if a request fails."""
    comparisons: list[Comparison] = []
    memory: Memory | None = None
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
        wants_envoy = bool(set(args.only) - set(USUAL_PARTS)) and find_program("envoy") is not None
        async with running_rig(Path(directory), args.server, wants_envoy=wants_envoy) as rig:
            for target in (rig.floor, rig.node):
                await rig.measure(target, Load(name="warm-up", body=UNARY, requests=min(1000, args.requests)))
            if RELAY in args.only:
                for load in loads(args.requests):
                    console.print(f"{load.name}: {args.rounds} rounds of {load.requests:,} requests on each")
                    comparisons.append(await compare(rig, load, args.rounds))
            if MEMORY in args.only:
                console.print(f"memory: {args.memory_requests:,} requests")
                memory = await watch_memory(rig, args.memory_requests)
            parts = Bench(rig, Size(requests=args.requests, rounds=args.rounds, seconds=args.seconds))
            for name, part in PARTS.items():
                if name in args.only:
                    console.print(name)
                    rows += await part(parts)
            if SIZE in args.only:  # the last: from then on the node's configuration is a large one
                console.print(SIZE)
                rows += await SizeBench(parts, SMALL_WORLD if args.short else World()).rows()
    checks = [*check(comparisons, memory), *filter(None, (row.check() for row in rows))]
    print_report(console, comparisons, rows, checks)
    if args.json is not None:
        args.json.write_text(as_json(comparisons, memory, rows, checks))
    if args.markdown is not None:
        args.markdown.write_text(markdown_of(rows))
    return all(each.met for each in checks)


def loads(requests: int) -> Sequence[Load]:
    """What is measured. A stream comes in one piece, as from a model that is faster than the gateway, or paced."""
    streams = max(1, requests // 5)
    return (
        Load(name="unary 1 KB", body=UNARY, requests=requests),
        Load(name=f"stream of {STREAMED_CHUNKS}", body=STREAM, requests=streams),
        Load(name=f"paced stream of {STREAMED_CHUNKS}", body=PACED, requests=streams),
    )


def print_report(
    console: Console, comparisons: Sequence[Comparison], rows: Sequence[Row], checks: Sequence[Check]
) -> None:
    """What was measured, and the targets."""
    measured = Table("load", "unit", "floor", "node", "ratio", "floor CPU", "node CPU", "CPU ratio")
    for each in comparisons:
        rates = (f"{each.floor_rate:,.0f}", f"{each.node_rate:,.0f}", f"{each.ratio:.2f}")
        cpu = (f"{each.floor_cpu_us:.0f} µs", f"{each.node_cpu_us:.0f} µs", f"{each.cpu_ratio:.2f}")
        measured.add_row(each.load.name, each.load.unit, *rates, *cpu)
    targets = Table("target", "found", "wanted", "")
    for found in checks:
        targets.add_row(found.what, found.found, found.wanted, "met" if found.met else "[red]MISSED[/red]")
    console.print(*([measured] if comparisons else ()), *([table_of(rows)] if rows else ()), targets)


def as_json(
    comparisons: Sequence[Comparison], memory: Memory | None, rows: Sequence[Row], checks: Sequence[Check]
) -> str:
    """Everything that was measured."""
    figures = {
        "comparisons": [{**asdict(each), "ratio": each.ratio, "cpu_ratio": each.cpu_ratio} for each in comparisons],
        "memory": asdict(memory) if memory is not None else None,
        "rows": [{**asdict(row), "scaled": row.scaled} for row in rows],
        "checks": [asdict(each) for each in checks],
    }
    return json.dumps(figures, indent=2)


def parts_of(text: str) -> Sequence[str]:
    """The parts that a list with commas names. Raises `ArgumentTypeError` for one that there is not."""
    parts = text.split(",")
    if unknown := set(parts) - set(EVERY_PART):
        raise argparse.ArgumentTypeError(f"no part {', '.join(sorted(unknown))}; there are {', '.join(EVERY_PART)}")
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description="A node against a bare relay, and its memory.")
    parser.add_argument("--server", choices=REFERENCE_RELAY_US, default="hypercorn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6_000, help="in a round; a fifth of it for streams")
    parser.add_argument("--memory-requests", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="at a fixed rate")
    parser.add_argument("--only", type=parts_of, metavar="PART,…", help=f"of {', '.join(EVERY_PART)}")
    parser.add_argument("--all", action="store_true", help="every part")
    parser.add_argument("--short", action="store_true", help="so little of each that the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures into this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the rows for docs/performance.md")
    args = parser.parse_args()
    args.only = EVERY_PART if args.all else args.only or USUAL_PARTS
    if args.short:
        args.rounds, args.requests, args.memory_requests, args.seconds = 1, 100, 1000, 0.5
    try:
        met = asyncio.run(bench(args, Console(width=None if sys.stdout.isatty() else 120)))
    except ChildError as error:
        sys.exit("\n".join([*error.__notes__, str(error)]))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
