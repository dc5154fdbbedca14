"""Measures what a cache costs and saves: the node's CPU time per request that is forwarded on a route without one, that
is forwarded and kept, and that is answered with what was kept; whole answers and streams of a hundred pieces.

Run as `python -m tests.benchmarks.bench_cache [--requests N] [--rounds N]`. Figures are the medians of rounds that take
turns. Exits with 1 if a target is missed.
"""

import json
import statistics
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop
from janua_client.processes import Child
from rich.console import Console
from rich.table import Table

from tests.benchmarks.closed_loop import ask_all
from tests.benchmarks.cores import leave_a_core, starting_on
from tests.benchmarks.mock_upstream import MODEL
from tests.benchmarks.procfs import cpu_seconds
from tests.support.processes import Node, start_node

MOST_OF_A_MISS_US = 40.0
LEAST_GAIN = 1.4
_CONNECTIONS = 32
_START_S = 30.0
_PROMPT = "word " * 200

FORWARDED, MISS, HIT = "forwarded, no cache", "forwarded and kept", "kept"


def configuration(upstream: str) -> str:
    """Two hosts, of which one has a cache."""
    route = {"backends": [{"service": "mock"}]}
    return json.dumps(
        {
            "upstreams": [{"name": "mock", "endpoints": [{"address": upstream}]}],
            "services": [{"name": "mock", "upstream_service": {"upstream": "mock", "schema": "OPENAI"}}],
            "routes": [
                {"name": "plain", "match": {"hosts": ["plain.test"], "models": [MODEL]}, **route},
                {"name": "kept", "match": {"hosts": ["kept.test"], "models": [MODEL]}, **route, "policies": ["cache"]},
            ],
            "policies": [{"name": "cache", "cache": {"ttl": "3600s"}}],
        }
    )


def requests(host: str, numbers: Iterator[int], *, streamed: bool) -> Iterator[bytes]:
    """A request for each number. The same number is the same request."""
    for number in numbers:
        message = {"role": "user", "content": f"{number:08d} {_PROMPT}"}
        asked = {"model": MODEL, "stream": streamed, "messages": [message]}
        body = json.dumps(asked, separators=(",", ":")).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def running_node(directory: Path) -> AsyncIterator[tuple[Node, int]]:
    """A node on a core of its own before a model server that costs next to nothing."""
    core = leave_a_core()
    async with AsyncExitStack() as stack:
        mock = await Child.start("mock", [sys.executable, "-m", "tests.benchmarks.mock_upstream"])
        stack.push_async_callback(mock.stop)
        file = directory / "janua.yaml"
        file.write_text(configuration(str((await mock.ready(_START_S))["address"])))
        options = ("--config-file", str(file), "--access-log", "off")
        with starting_on(core):
            node = await start_node(stack, directory / "state", "measured", *options)
        yield node, node.pid


async def measure(number_of_requests: int, rounds: int, *, streamed: bool) -> dict[str, float]:
    """CPU time per request in microseconds, by what becomes of it."""
    found: dict[str, list[float]] = {FORWARDED: [], MISS: [], HIT: []}
    fresh = count(1)
    with TemporaryDirectory() as directory:
        async with running_node(Path(directory)) as (node, pid):

            async def load(host: str, numbers: list[int]) -> float:
                before = cpu_seconds(pid)
                asked = requests(host, iter(numbers), streamed=streamed)
                await ask_all(node.http, asked, connections=_CONNECTIONS)
                return (cpu_seconds(pid) - before) / len(numbers) * 1e6

            def new() -> list[int]:
                return [next(fresh) for _ in range(number_of_requests)]

            for number in range(rounds + 1):
                known = [1_000_000_000] * number_of_requests
                used = {
                    FORWARDED: await load("plain.test", new()),
                    MISS: await load("kept.test", new()),
                    HIT: await load("kept.test", known),
                }
                if number:  # the first is for warming up
                    for name, each in used.items():
                        found[name].append(each)
    return {name: statistics.median(each) for name, each in found.items()}


@click.command()
@click.option("--requests", "number_of_requests", default=6000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(number_of_requests: int, rounds: int) -> None:
    """Measure what a cache costs and saves."""
    console = Console()
    is_met = True
    for streamed, title in ((False, "whole answers of 1 KB"), (True, "streams of 100 pieces")):
        used = uvloop.run(measure(number_of_requests // (5 if streamed else 1), rounds, streamed=streamed))
        cost, gain = used[MISS] - used[FORWARDED], used[FORWARDED] / used[HIT]
        table = Table(title=title)
        for column in ("request", "CPU in µs"):
            table.add_column(column, justify="right" if column.endswith("µs") else "left")
        for name, each in used.items():
            table.add_row(name, f"{each:.0f}")
        console.print(table)
        console.print(f"keeping costs {cost:.0f} µs, a kept answer is given {gain:.2f} times as often")
        if not streamed:
            is_met = cost <= MOST_OF_A_MISS_US and gain >= LEAST_GAIN
            console.print(f"targets: at most {MOST_OF_A_MISS_US:.0f} µs and at least {LEAST_GAIN} times: {is_met}")
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
